//! CHECK, DEL and STATUS.

use super::*;

#[tokio::test]
async fn del_goes_in_reverse_with_the_final_result_and_the_arguments_of_add() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b", "c"]);
    lab.next("c", "ADD", print(&result("1.1.0", "final")));
    let capability_args = Some(("mac".to_owned(), json!("02::1"))).into_iter().collect();
    let added = Attachment { args: vec![("K".into(), "V".into())], capability_args, ..attachment("c1") };
    lab.cni.add(&network, &added).await.unwrap();
    lab.cni.del(&network, &Attachment { netns: None, ..attachment("c1") }).await.unwrap();
    assert_eq!(lab.order()[3..], ["DEL c", "DEL b", "DEL a"]);
    let dels = lab.calls("DEL");
    for call in &dels {
        assert_eq!(call.config["prevResult"]["own"], "final");
        assert_eq!((call.variable("CNI_ARGS"), call.variable("CNI_NETNS")), ("K=V".into(), String::new()));
    }
    assert_eq!(dels[0].config["runtimeConfig"], json!({"mac": "02::1"}));
    assert_eq!(lab.cached("c1"), None);
}

#[tokio::test]
async fn del_of_what_is_not_attached_calls_the_plugins_all_the_same() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b"]);
    for _ in 0..2 {
        lab.cni.del(&network, &attachment("c1")).await.unwrap();
    }
    assert_eq!(lab.order(), ["DEL b", "DEL a", "DEL b", "DEL a"]);
    assert!(lab.calls("DEL").iter().all(|call| call.config.get("prevResult").is_none()));
}

#[tokio::test]
async fn del_stops_at_the_first_error_and_can_be_tried_again() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b", "c"]);
    lab.cni.add(&network, &attachment("c1")).await.unwrap();
    lab.next("b", "DEL", Answer::Error(11, "busy".into()));
    let error = lab.cni.del(&network, &attachment("c1")).await.unwrap_err();
    assert_eq!(
        (error.code(), &lab.order()[3..]),
        (Some(Code::TryAgain), &["DEL c".into(), "DEL b".into()][..])
    );
    assert!(lab.cached("c1").is_some());
    lab.cni.del(&network, &attachment("c1")).await.unwrap();
    assert_eq!(lab.cached("c1"), None);
}

#[tokio::test]
async fn del_before_0_4_0_has_no_previous_result() {
    let lab = Lab::new();
    let network = network("0.3.1", &["a"]);
    lab.cni.add(&network, &attachment("c1")).await.unwrap();
    lab.cni.del(&network, &attachment("c1")).await.unwrap();
    assert_eq!(lab.calls("DEL")[0].config.get("prevResult"), None);
}

#[tokio::test]
async fn del_does_not_need_a_cached_result_that_can_be_read() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a"]);
    lab.cni.add(&network, &attachment("c1")).await.unwrap();
    let file = lab.folder.path().join("results/dbnet-c1-eth0");
    std::fs::write(&file, "rubbish").unwrap();
    assert!(matches!(lab.cni.check(&network, &attachment("c1")).await, Err(Error::CacheEntry { .. })));
    lab.cni.del(&network, &attachment("c1")).await.unwrap();
    assert_eq!(lab.calls("DEL")[0].config.get("prevResult"), None);
    assert!(!file.exists());
}

#[tokio::test]
async fn check_asks_in_order_with_the_final_result_until_one_finds_a_fault() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b", "c"]);
    lab.next("c", "ADD", print(&result("1.1.0", "final")));
    let added = Attachment { args: vec![("K".into(), "V".into())], ..attachment("c1") };
    lab.cni.add(&network, &added).await.unwrap();
    lab.cni.check(&network, &attachment("c1")).await.unwrap();
    assert_eq!(lab.order()[3..], ["CHECK a", "CHECK b", "CHECK c"]);
    for call in lab.calls("CHECK") {
        assert_eq!(
            (call.config["prevResult"]["own"].as_str(), call.variable("CNI_ARGS")),
            (Some("final"), "K=V".into())
        );
    }
    lab.next("b", "CHECK", Answer::Error(100, "address is gone".into()));
    let error = lab.cni.check(&network, &attachment("c1")).await.unwrap_err();
    assert_eq!((error.code(), lab.order().len()), (Some(Code::Own(100)), 8));
}

#[tokio::test]
async fn the_cached_result_is_converted_when_the_networks_version_changed() {
    let lab = Lab::new();
    lab.cni.add(&network("1.1.0", &["a"]), &attachment("c1")).await.unwrap();
    lab.cni.check(&network("0.4.0", &["a"]), &attachment("c1")).await.unwrap();
    let previous = &lab.calls("CHECK")[0].config["prevResult"];
    assert_eq!((&previous["cniVersion"], &previous["ips"][0]["version"]), (&json!("0.4.0"), &json!("4")));
}

#[tokio::test]
async fn check_is_not_for_what_is_not_attached_nor_for_old_networks() {
    let lab = Lab::new();
    let error = lab.cni.check(&network("1.1.0", &["a"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "container c1 has no eth0 attached to network dbnet");
    let error = lab.cni.check(&network("0.3.1", &["a"]), &attachment("c1")).await.unwrap_err();
    assert_eq!(error.to_string(), "network dbnet: CHECK came after version 0.3.1 of CNI");
    let silent = changed("1.1.0", &["a"], |list| list["disableCheck"] = true.into());
    lab.cni.check(&silent, &attachment("c1")).await.unwrap();
    assert!(lab.order().is_empty());
}

#[tokio::test]
async fn status_stops_at_the_first_error_and_keeps_its_code() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b", "c"]);
    lab.cni.status(&network).await.unwrap();
    assert_eq!(lab.order(), ["STATUS a", "STATUS b", "STATUS c"]);
    let call = &lab.calls("STATUS")[0];
    assert_eq!(call.environment.keys().collect::<Vec<_>>(), ["CNI_COMMAND", "CNI_PATH"]);
    assert_eq!((&call.config["name"], &call.config["key"]), (&json!("dbnet"), &json!("a")));
    for (code, expected) in [(50, Code::NotAvailable), (51, Code::LimitedConnectivity)] {
        lab.next("b", "STATUS", Answer::Error(code, "no daemon".into()));
        assert_eq!(lab.cni.status(&network).await.unwrap_err().code(), Some(expected));
    }
    assert_eq!(lab.order()[3..], ["STATUS a", "STATUS b", "STATUS a", "STATUS b"]);
}

#[tokio::test]
async fn before_1_1_0_there_is_no_status() {
    let lab = Lab::new();
    lab.cni.status(&network("1.0.0", &["a"])).await.unwrap();
    assert!(lab.order().is_empty());
}
