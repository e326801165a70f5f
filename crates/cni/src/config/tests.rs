use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::error::Error;

fn parse(value: &Value) -> Result<NetworkList, String> {
    NetworkList::parse(value.to_string().as_bytes()).map_err(|e| e.to_string())
}

/// A good list with one key changed.
fn with(key: &str, value: Value) -> Result<NetworkList, String> {
    let mut list = json!({"cniVersion": "1.0.0", "name": "dbnet", "plugins": [{"type": "bridge"}]});
    list[key] = value;
    parse(&list)
}

fn version(list: Result<NetworkList, String>) -> Version {
    list.unwrap().version()
}

fn kinds(list: &NetworkList) -> Vec<&str> {
    list.plugins().iter().map(Plugin::kind).collect()
}

#[test]
fn a_list_is_read_with_everything_in_it() {
    let text = br#"{
        "cniVersion": "1.1.0", "name": "dbnet", "disableCheck": true, "disableGC": "TRUE",
        "loadOnlyInlinedPlugins": true, "own": {"key": 1},
        "plugins": [
            {"type": "bridge", "keyA": ["some", 1], "ipam": {"type": "host-local"}},
            {"type": "portmap", "capabilities": {"portMappings": true, "mac": false}},
            {"type": "tuning", "capabilities": {"mac": true}}
        ]}"#;
    let list = NetworkList::parse(text).unwrap();
    assert_eq!((list.name(), list.version()), ("dbnet", Version::V1_1_0));
    assert!(list.disable_check() && list.disable_gc());
    assert_eq!(kinds(&list), ["bridge", "portmap", "tuning"]);
    assert_eq!(list.plugins()[0].raw()["keyA"], json!(["some", 1]));
    assert_eq!(Vec::from_iter(list.plugins()[1].capabilities()), ["portMappings"]);
    assert_eq!(Vec::from_iter(list.capabilities()), ["mac", "portMappings"]);
    assert_eq!(list.bytes(), text);
}

#[test]
fn the_highest_version_that_is_spoken_here_wins() {
    let both = |one: &str, many: &[&str]| {
        let mut list = json!({"name": "n", "plugins": [{"type": "p"}], "cniVersions": many});
        list["cniVersion"] = one.into();
        version(parse(&list))
    };
    assert_eq!(version(with("cniVersion", "0.3.1".into())), Version::V0_3_1);
    assert_eq!(both("0.4.0", &["0.3.1", "1.0.0"]), Version::V1_0_0);
    assert_eq!(both("1.0.0", &["0.3.1"]), Version::V1_0_0);
    assert_eq!(both("1.0.0", &["1.1.0", "1.2.0", "2.0.0", "0.1.0"]), Version::V1_1_0);
    assert_eq!(both("9.9.9", &["0.4.0"]), Version::V0_4_0);
    let only = json!({"name": "n", "cniVersions": ["1.0.0"], "plugins": [{"type": "p"}]});
    assert_eq!(version(parse(&only)), Version::V1_0_0);
}

#[test]
fn versions_that_cannot_be_are_told() {
    let error = with("cniVersion", "1.2.0".into()).unwrap_err();
    assert!(error.contains("cniVersion: version 1.2.0 is not supported, only 0.3.0,"), "{error}");
    let error = with("cniVersion", Value::Null).unwrap_err();
    assert!(error.contains("cniVersion: missing, which means 0.1.0; supported are 0.3.0,"), "{error}");
    assert!(with("cniVersion", 1.into()).unwrap_err().contains("cniVersion: 1 is no text"));
    let error = with("cniVersions", json!(["1.0.0", "one"])).unwrap_err();
    assert!(error.contains(r#"cniVersions[1]: "one" is no version"#), "{error}");
    assert!(with("cniVersions", "1.0.0".into()).unwrap_err().contains("cniVersions: no list"));
}

#[test]
fn every_mistake_is_told_at_once() {
    let list = json!({
        "name": "db/net", "cniVersion": "1", "disableCheck": "maybe", "disableGC": 1,
        "plugins": [{"type": "../sh"}, 7, {}, {"type": "a", "capabilities": {"x": "yes"}}, {"type": 5}],
    });
    let error = NetworkList::parse(list.to_string().as_bytes()).unwrap_err();
    let messages: Vec<&str> = error.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            r#"name: "db/net": only letters, digits, _ . and - may be in it"#,
            r#"cniVersion: "1" is no version of the form 1.1.0"#,
            r#"disableCheck: "maybe" is neither true nor false"#,
            "disableGC: 1 is neither true nor false",
            r#"plugins[0].type: "../sh": neither / nor \ may be in it"#,
            "plugins[1]: no object",
            "plugins[2].type: missing",
            r#"plugins[3].capabilities: x: "yes" is neither true nor false"#,
            "plugins[4].type: 5 is no text",
        ]
    );
    assert!(error.to_string().starts_with(r#"network configuration: name: "db/net": only"#));
    assert!(error.to_string().contains("; plugins[1]: no object; "));
}

#[test]
fn lists_need_a_name_and_plugins() {
    let error = parse(&json!({})).unwrap_err();
    assert!(error.contains("name: missing; cniVersion: missing"), "{error}");
    assert!(with("plugins", json!([])).unwrap_err().ends_with("plugins: empty"));
    assert!(with("plugins", json!({})).unwrap_err().ends_with("plugins: no list"));
    let mut list = json!({"cniVersion": "1.1.0", "name": "n"});
    assert!(parse(&list).unwrap_err().ends_with("plugins: missing"));
    list["loadOnlyInlinedPlugins"] = true.into();
    assert!(parse(&list).unwrap_err().contains("loadOnlyInlinedPlugins lets no others in"));
}

#[test]
fn text_that_is_no_json_has_a_place() {
    let error = NetworkList::parse(b"{\n  \"name\": \"n\",,\n}").unwrap_err();
    assert_eq!(error.problems[0].place, Some((2, 15)));
    assert_eq!(error.in_file("/c/1.conflist").to_string(), "/c/1.conflist:2:15: key must be a string");
    assert_eq!(NetworkList::parse(b"[]").unwrap_err().to_string(), "network configuration: no JSON object");
    assert!(NetworkList::parse(b"").is_err());
}

#[test]
fn a_single_plugin_becomes_a_list_of_one() {
    let plugin = json!({"cniVersion": "0.3.1", "name": "old", "type": "bridge", "bridge": "cni0"});
    let list = parse(&plugin).unwrap();
    assert_eq!((list.name(), list.version(), kinds(&list)), ("old", Version::V0_3_1, vec!["bridge"]));
    assert_eq!(list.plugins()[0].raw()["bridge"], "cni0");
    // Its text is a list, as the Go library makes one of it.
    let text: Value = serde_json::from_slice(list.bytes()).unwrap();
    assert_eq!(text["plugins"][0], plugin);
    assert_eq!(NetworkList::parse(list.bytes()).unwrap(), list);
}

#[test]
fn another_version_is_in_the_text_too() {
    let list = with("cniVersions", json!(["0.4.0", "1.1.0"])).unwrap();
    let other = list.with_version(Version::V0_4_0);
    assert_eq!(NetworkList::parse(other.bytes()).unwrap(), other);
    assert_eq!(other.version(), Version::V0_4_0);
}

fn write(folder: &Path, name: &str, value: &Value) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

fn list(name: &str, plugin: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": name, "plugins": [{"type": plugin}]})
}

#[test]
fn a_network_is_found_by_name_lists_first_then_by_file_name() {
    let folder = tempfile::tempdir().unwrap();
    let single = json!({"cniVersion": "1.0.0", "name": "a", "type": "single"});
    write(folder.path(), "01-a.conf", &single);
    write(folder.path(), "20-a.conflist", &list("a", "second"));
    write(folder.path(), "10-a.conflist", &list("a", "first"));
    write(folder.path(), "b.json", &json!({"cniVersion": "1.0.0", "name": "b", "type": "b"}));
    write(folder.path(), "00-a.txt", &list("a", "text"));
    fs::create_dir(folder.path().join("00.conflist")).unwrap();
    assert_eq!(kinds(&load(folder.path(), "a").unwrap()), ["first"]);
    assert_eq!(kinds(&load(folder.path(), "b").unwrap()), ["b"]);
    let error = load(folder.path(), "c").unwrap_err();
    assert!(matches!(&error, Error::NoNetwork { found, .. } if found == &["a", "b"]), "{error}");
    assert!(error.to_string().ends_with(", only a, b"), "{error}");
    let all: Vec<_> = load_all(folder.path()).unwrap();
    let files: Vec<_> = all.iter().map(|loaded| loaded.file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["01-a.conf", "10-a.conflist", "20-a.conflist", "b.json"]);
    assert!(all.iter().all(|loaded| loaded.list.is_ok()));
}

#[test]
fn a_broken_file_is_named_when_it_comes_before_the_one_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "10.conflist", &list("a", "p"));
    fs::write(folder.path().join("20.conflist"), "{\n\n oops").unwrap();
    assert!(load(folder.path(), "a").is_ok());
    let error = load(folder.path(), "b").unwrap_err().to_string();
    assert!(error.contains("/20.conflist:3:2: "), "{error}");
    let all = load_all(folder.path()).unwrap();
    assert!(all[0].list.is_ok() && all[1].list.is_err());
}

#[test]
fn an_empty_or_missing_folder_has_no_network() {
    let folder = tempfile::tempdir().unwrap();
    for folder in [folder.path(), Path::new("/no/such/folder")] {
        let error = load(folder, "a").unwrap_err().to_string();
        assert_eq!(error, format!("no network a in {}: no configuration there", folder.display()));
        assert!(load_all(folder).unwrap().is_empty());
    }
}

#[test]
fn plugins_of_the_networks_folder_are_appended_by_file_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "n.conflist", &list("n", "inlined"));
    write(folder.path(), "n/20.conf", &json!({"type": "last", "capabilities": {"mac": true}}));
    write(folder.path(), "n/10.conf", &json!({"type": "middle"}));
    write(folder.path(), "n/05.json", &json!({"type": "not-this"}));
    let list = load(folder.path(), "n").unwrap();
    assert_eq!(kinds(&list), ["inlined", "middle", "last"]);
    // The cached text does not need the folder.
    assert_eq!(NetworkList::parse(list.bytes()).unwrap(), list);
}

#[test]
fn all_plugins_may_come_from_the_folder_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let network = json!({"cniVersion": "1.1.0", "name": "n"});
    write(folder.path(), "n.conflist", &network);
    let error = load(folder.path(), "n").unwrap_err().to_string();
    assert!(error.ends_with("/n.conflist: plugins: missing"), "{error}");
    write(folder.path(), "n/1.conf", &json!({"type": "only"}));
    assert_eq!(kinds(&load(folder.path(), "n").unwrap()), ["only"]);
    let mut closed = list("n", "inlined");
    closed["loadOnlyInlinedPlugins"] = true.into();
    write(folder.path(), "n.conflist", &closed);
    assert_eq!(kinds(&load(folder.path(), "n").unwrap()), ["inlined"]);
}

#[test]
fn a_broken_plugin_of_the_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "n.conflist", &list("n", "inlined"));
    write(folder.path(), "n/1.conf", &json!({"kind": "typo"}));
    let error = load(folder.path(), "n").unwrap_err().to_string();
    assert!(error.ends_with("/n/1.conf: type: missing"), "{error}");
}
