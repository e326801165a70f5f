use serde_json::json;

use super::*;

fn list() -> NetworkList {
    let list = json!({
        "cniVersion": "1.0.0", "name": "dbnet",
        "plugins": [{
            "type": "bridge", "cniVersion": "0.3.1", "name": "wrong", "keyA": {"deep": [1, null]},
            "capabilities": {"mac": true, "ips": true, "bandwidth": false},
            "runtimeConfig": {"stale": 1}, "prevResult": {"stale": 1}, "cni.dev/x": 1, "args": {"cni": 1},
        }],
    });
    NetworkList::parse(list.to_string().as_bytes()).unwrap()
}

fn attachment() -> Attachment {
    Attachment {
        container_id: "c1".into(),
        netns: Some("/run/netns/blue".into()),
        ifname: "eth0".into(),
        args: vec![("FOO".into(), "BAR".into()), ("ABC".into(), "1=2".into())],
        capability_args: Map::from_iter([
            ("mac".into(), "02:00:00:00:00:01".into()),
            ("bandwidth".into(), json!({"rate": 1})),
            ("portMappings".into(), json!([])),
        ]),
    }
}

fn value(config: &[u8]) -> Value {
    serde_json::from_slice(config).unwrap()
}

#[test]
fn a_plugins_own_fields_pass_and_the_runtimes_are_replaced() {
    let list = list();
    let config = attachment_config(&list, &list.plugins()[0], None, &Map::new());
    let expected = json!({
        "cniVersion": "1.0.0", "name": "dbnet", "type": "bridge", "keyA": {"deep": [1, null]},
        "args": {"cni": 1},
    });
    assert_eq!(value(&config), expected);
}

#[test]
fn capability_arguments_go_only_where_they_are_declared() {
    let list = list();
    let config = attachment_config(&list, &list.plugins()[0], None, &attachment().capability_args);
    assert_eq!(value(&config)["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
}

#[test]
fn the_previous_result_has_the_networks_version() {
    let list = list();
    let previous = br#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.1/24"}],"own":1}"#;
    let previous = AddResult::parse(previous, Version::V0_4_0).unwrap();
    let config = attachment_config(&list, &list.plugins()[0], Some(&previous), &Map::new());
    let expected = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}], "own": 1});
    assert_eq!(value(&config)["prevResult"], expected);
}

#[test]
fn gc_gets_what_is_valid_and_keeps_capabilities() {
    let list = list();
    let config = value(&gc_config(&list, &list.plugins()[0], &[("c1".into(), "eth0".into())]));
    let valid = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!((&config["cni.dev/valid-attachments"], &config["cni.dev/attachments"]), (&valid, &valid));
    assert_eq!((&config["name"], &config["type"]), (&json!("dbnet"), &json!("bridge")));
    assert!(config["capabilities"].is_object() && config.get("cni.dev/x").is_none());
    let none = value(&gc_config(&list, &list.plugins()[0], &[]));
    assert_eq!(none["cni.dev/valid-attachments"], json!([]));
}

#[test]
fn status_and_version_get_no_attachment() {
    let list = list();
    let config = value(&status_config(&list, &list.plugins()[0]));
    assert_eq!(config["cniVersion"], "1.0.0");
    assert!(config.get("cni.dev/valid-attachments").is_none() && config.get("prevResult").is_none());
    assert_eq!(value(&version_config()), json!({"cniVersion": "1.1.0"}));
}

#[test]
fn each_command_has_its_variables_and_no_others() {
    let path = ["/a", "/b"].map(PathBuf::from);
    let names = |command, attachment: Option<&Attachment>| -> Vec<&str> {
        environment(command, attachment, &path).unwrap().into_keys().collect()
    };
    assert_eq!(names(Command::Version, None), ["CNI_COMMAND"]);
    assert_eq!(names(Command::Gc, None), ["CNI_COMMAND", "CNI_PATH"]);
    assert_eq!(names(Command::Status, None), ["CNI_COMMAND", "CNI_PATH"]);
    for command in [Command::Add, Command::Check, Command::Del] {
        let variables = environment(command, Some(&attachment()), &path).unwrap();
        let text: Vec<String> =
            variables.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
        let expected = [
            "CNI_ARGS=FOO=BAR;ABC=1=2",
            &format!("CNI_COMMAND={command}"),
            "CNI_CONTAINERID=c1",
            "CNI_IFNAME=eth0",
            "CNI_NETNS=/run/netns/blue",
            "CNI_PATH=/a:/b",
        ];
        assert_eq!(text, expected);
    }
    let gone = Attachment { netns: None, args: Vec::new(), ..attachment() };
    let variables = environment(Command::Del, Some(&gone), &path).unwrap();
    assert_eq!((&variables["CNI_NETNS"], &variables["CNI_ARGS"]), (&"".into(), &"".into()));
}

#[test]
fn a_folder_with_a_colon_cannot_be_on_the_path() {
    let error = environment(Command::Gc, None, &["/a:b".into()]).unwrap_err().to_string();
    assert_eq!(error, r#"plugin path "/a:b": no : may be in the name of a folder"#);
}

#[test]
fn attachments_that_cannot_be_are_refused() {
    assert!(attachment().validate(true).is_ok());
    let refused = |change: &dyn Fn(&mut Attachment), netns| {
        let mut attachment = attachment();
        change(&mut attachment);
        attachment.validate(netns).unwrap_err().to_string()
    };
    assert_eq!(refused(&|a| a.container_id = String::new(), false), r#"container id "": empty"#);
    assert!(refused(&|a| a.container_id = "a/b".into(), false).starts_with(r#"container id "a/b": "#));
    assert!(refused(&|a| a.ifname = "a b".into(), false).starts_with(r#"interface name "a b": "#));
    assert_eq!(refused(&|a| a.netns = None, true), r#"network namespace "": missing"#);
    assert!(refused(&|a| a.args = vec![("a=b".into(), "c".into())], false).starts_with("argument"));
    assert!(refused(&|a| a.args = vec![("a".into(), "b;c".into())], false).starts_with("argument"));
    assert!(Attachment { netns: None, ..attachment() }.validate(false).is_ok());
}
