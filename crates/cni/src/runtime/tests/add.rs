use super::*;

#[tokio::test]
async fn add_calls_every_plugin_in_order_each_with_the_result_before() {
    let lab = Lab::new();
    lab.next("a", "ADD", print(&result("1.1.0", "from a")));
    lab.next("b", "ADD", print(&result("1.1.0", "from b")));
    lab.next("c", "ADD", print(&result("1.1.0", "from c")));
    let added = lab.cni.add(&network("1.1.0", &["a", "b", "c"]), &attachment("c1")).await.unwrap();
    assert_eq!(added.raw()["own"], "from c");
    assert_eq!(lab.order(), ["ADD a", "ADD b", "ADD c"]);
    let calls = lab.calls("ADD");
    let own = |i: usize| calls[i].config["prevResult"]["own"].as_str();
    assert_eq!(calls[0].config.get("prevResult"), None);
    assert_eq!((own(1), own(2)), (Some("from a"), Some("from b")));
    for (call, kind) in calls.iter().zip(["a", "b", "c"]) {
        assert_eq!((&call.config["name"], &call.config["key"]), (&json!("dbnet"), &json!(kind)));
        assert_eq!(call.config["cniVersion"], "1.1.0");
    }
}

#[tokio::test]
async fn a_plugin_is_told_container_namespace_interface_arguments_and_path() {
    let lab = Lab::new();
    let attachment = Attachment { args: vec![("K".into(), "V".into())], ..attachment("c1") };
    lab.cni.add(&network("1.1.0", &["a"]), &attachment).await.unwrap();
    let call = &lab.calls("ADD")[0];
    let expected = [
        ("CNI_ARGS", "K=V"),
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_PATH", "/plugins:/more"),
    ];
    let found: Vec<_> =
        call.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn capabilities_reach_only_the_plugin_that_declares_them() {
    let lab = Lab::new();
    let capability_args =
        [("mac".to_owned(), json!("02::1")), ("portMappings".to_owned(), json!([]))].into_iter().collect();
    let attachment = Attachment { capability_args, ..attachment("c1") };
    lab.cni.add(&network("1.1.0", &["a", "b"]), &attachment).await.unwrap();
    let calls = lab.calls("ADD");
    assert_eq!(calls[0].config.get("runtimeConfig"), None);
    assert_eq!(calls[1].config["runtimeConfig"], json!({"mac": "02::1"}));
    assert!(calls.iter().all(|call| call.config.get("capabilities").is_none()));
}

#[tokio::test]
async fn the_last_result_is_kept_with_configuration_and_arguments() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b"]);
    let attachment = Attachment { args: vec![("K".into(), "V".into())], ..attachment("c1") };
    let added = lab.cni.add(&network, &attachment).await.unwrap();
    assert_eq!(added.ips()[0].address.to_string(), "10.1.0.5/24");
    let cached = lab.cached("c1").unwrap();
    assert_eq!((&cached.attachment, cached.network_list().unwrap()), (&attachment, network.clone()));
    assert_eq!(lab.cni.cached_result(&network, "c1", "eth0").unwrap(), Some(added));
    assert_eq!(lab.cni.attachments().unwrap(), [cached]);
}

#[tokio::test]
async fn a_result_in_another_version_is_converted_for_the_next_plugin_and_the_caller() {
    let lab = Lab::new();
    let old = json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.1/24"}]});
    lab.next("a", "ADD", print(&old));
    let added = lab.cni.add(&network("1.0.0", &["a", "b"]), &attachment("c1")).await.unwrap();
    let expected = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}]});
    assert_eq!(lab.calls("ADD")[1].config["prevResult"], expected);
    assert_eq!(added.version(), Version::V1_0_0);
}

#[tokio::test]
async fn add_stops_at_the_first_error_and_rolls_back_in_reverse() {
    let lab = Lab::new();
    lab.next("b", "ADD", Answer::Error(11, "busy".into()));
    let error = lab.cni.add(&network("1.1.0", &["a", "b", "c"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TryAgain));
    assert_eq!(lab.order(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
    let dels = lab.calls("DEL");
    assert!(dels.iter().all(|call| call.config.get("prevResult").is_none()));
    assert!(dels.iter().all(|call| call.variable("CNI_NETNS") == "/run/netns/c1"));
    assert_eq!(lab.cached("c1"), None);
    // Nothing is left of it: the same again works.
    lab.cni.add(&network("1.1.0", &["a", "b", "c"]), &attachment("c1")).await.unwrap();
}

#[tokio::test]
async fn a_roll_back_goes_on_past_failures_and_tells_both() {
    let lab = Lab::new();
    lab.next("b", "ADD", Answer::Error(7, "bad".into()));
    lab.next("b", "DEL", Answer::Error(5, "stuck".into()));
    lab.next("a", "DEL", Answer::Exit(2, String::new(), "oops".into()));
    let error = lab.cni.add(&network("1.1.0", &["a", "b"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(lab.order(), ["ADD a", "ADD b", "DEL b", "DEL a"]);
    assert_eq!(error.code(), Some(Code::InvalidConfig));
    let Error::RollBack { failures, .. } = &error else { panic!("{error}") };
    assert_eq!(failures.len(), 2);
    let who = |plugin: &str, command: &str| {
        format!("network dbnet: plugin {plugin} (/plugins/{plugin}): {command}: ")
    };
    let expected = [
        who("b", "ADD"),
        "exit status: 1: code 7, invalid configuration: bad; container c1 may keep parts of it, for the \
         roll-back failed: "
            .into(),
        who("b", "DEL"),
        "exit status: 1: code 5, input or output failed: stuck; ".into(),
        who("a", "DEL"),
        "exit status: 2, without a CNI error; stderr: oops".into(),
    ];
    assert_eq!(error.to_string(), expected.concat());
}

#[tokio::test]
async fn what_a_plugin_that_did_nothing_says_to_the_roll_back_does_not_matter() {
    let lab = Lab::with(FakeExec::new(&["a", "c"]).with("b", &[Version::V0_4_0]));
    let error = lab.cni.add(&network("1.0.0", &["a", "b", "c"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::IncompatibleVersion));
    assert!(matches!(error, Error::Plugin(_)), "{error}");
    assert_eq!(lab.order(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn without_a_container_there_is_nothing_to_roll_back() {
    let lab = Lab::new();
    lab.next("a", "ADD", Answer::Error(3, "gone".into()));
    let error = lab.cni.add(&network("1.1.0", &["a", "b"]), &attachment("c1")).await.unwrap_err();
    assert_eq!((error.code(), lab.order()), (Some(Code::UnknownContainer), vec!["ADD a".into()]));
    // The first plugin has done something by the time that the second one says so.
    lab.next("b", "ADD", Answer::Error(3, "gone".into()));
    lab.cni.add(&network("1.1.0", &["a", "b"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(lab.order()[1..], ["ADD a", "ADD b", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn a_missing_plugin_is_found_before_any_is_called() {
    let lab = Lab::new();
    let error = lab.cni.add(&network("1.1.0", &["a", "x"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "network dbnet: plugin x not found in /plugins:/more");
    assert!(lab.order().is_empty());
}

#[tokio::test]
async fn a_result_that_cannot_be_kept_is_rolled_back() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b"]);
    std::fs::create_dir_all(lab.folder.path().join("results/dbnet-c1-eth0")).unwrap();
    let error = lab.cni.add(&network, &attachment("c1")).await.unwrap_err();
    assert!(matches!(error, Error::Cache { what: "write", .. }), "{error}");
    assert_eq!(lab.order(), ["ADD a", "ADD b", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn a_second_add_is_refused_and_leaves_the_first_alone() {
    let lab = Lab::new();
    lab.cni.add(&network("1.1.0", &["a"]), &attachment("c1")).await.unwrap();
    let other = changed("1.1.0", &["a"], |list| list["name"] = "other".into());
    for network in [&network("1.1.0", &["a"]), &other] {
        let error = lab.cni.add(network, &attachment("c1")).await.unwrap_err();
        assert_eq!(error.to_string(), "container c1 already has eth0, attached to network dbnet");
    }
    assert_eq!(lab.order(), ["ADD a"]);
    let second = Attachment { ifname: "eth1".into(), ..attachment("c1") };
    lab.cni.add(&network("1.1.0", &["a"]), &second).await.unwrap();
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_before_anything_is_called() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a"]);
    let no_netns = Attachment { netns: None, ..attachment("c1") };
    for attachment in [attachment("a/b"), Attachment { ifname: "e:0".into(), ..attachment("c1") }, no_netns] {
        assert!(matches!(lab.cni.add(&network, &attachment).await, Err(Error::Parameter { .. })));
        assert!(matches!(lab.cni.check(&network, &attachment).await, Err(Error::Parameter { .. })));
    }
    assert!(lab.cni.del(&network, &attachment("a/b")).await.is_err());
    assert!(lab.order().is_empty());
}
