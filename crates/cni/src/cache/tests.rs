use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;

const LIST: &[u8] = br#"{"cniVersion":"1.0.0","name":"dbnet","plugins":[{"type":"bridge"}]}"#;

fn attachment(container: &str) -> Attachment {
    Attachment {
        container_id: container.into(),
        netns: Some("/run/netns/blue".into()),
        ifname: "eth0".into(),
        args: vec![("FOO".into(), "BAR".into())],
        capability_args: Map::from_iter([("mac".into(), "02:00:00:00:00:01".into())]),
    }
}

fn result() -> AddResult {
    AddResult::parse(br#"{"ips":[{"address":"10.0.0.1/24"}],"own":1}"#, Version::V1_0_0).unwrap()
}

fn put(cache: &Cache, network: &str, attachment: &Attachment) {
    let text = String::from_utf8_lossy(LIST).replace("dbnet", network);
    cache.put(&NetworkList::parse(text.as_bytes()).unwrap(), attachment, &result()).unwrap();
}

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("cni"));
    (folder, cache)
}

#[test]
fn a_file_has_libcnis_name_form_and_mode() {
    let (_folder, cache) = cache();
    put(&cache, "dbnet", &attachment("c1"));
    let path = cache.folder.join("results/dbnet-c1-eth0");
    let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let expected = json!({
        "kind": "cniCacheV1", "containerId": "c1", "config": STANDARD.encode(LIST), "ifName": "eth0",
        "networkName": "dbnet", "netns": "/run/netns/blue", "cniArgs": [["FOO", "BAR"]],
        "capabilityArgs": {"mac": "02:00:00:00:00:01"},
        "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}], "own": 1},
    });
    assert_eq!(file, expected);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&cache.folder)), (0o600, 0o700, 0o700));
    // Nothing is left of writing it.
    let left: Vec<_> = fs::read_dir(&cache.folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["results"]);
}

#[test]
fn what_is_empty_is_left_out() {
    let (_folder, cache) = cache();
    let bare = Attachment { container_id: "c1".into(), ifname: "eth0".into(), ..Attachment::default() };
    put(&cache, "dbnet", &bare);
    let file: Value =
        serde_json::from_slice(&fs::read(cache.folder.join("results/dbnet-c1-eth0")).unwrap()).unwrap();
    let keys: Vec<&String> = file.as_object().unwrap().keys().collect();
    let mut expected = ["kind", "containerId", "config", "ifName", "networkName", "result"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(cache.get("dbnet", "c1", "eth0").unwrap().unwrap().attachment, bare);
}

#[test]
fn what_is_put_is_got_and_can_be_removed_twice() {
    let (_folder, cache) = cache();
    put(&cache, "dbnet", &attachment("c1"));
    let cached = cache.get("dbnet", "c1", "eth0").unwrap().unwrap();
    assert_eq!(cached.attachment, attachment("c1"));
    assert_eq!(cached.network_list().unwrap().bytes(), LIST);
    assert_eq!(cached.result(Version::V1_0_0).unwrap(), result());
    assert_eq!(cached.result(Version::V0_4_0).unwrap().raw()["ips"][0]["version"], "4");
    assert_eq!(cache.get("dbnet", "c2", "eth0").unwrap(), None);
    cache.remove("dbnet", "c1", "eth0").unwrap();
    cache.remove("dbnet", "c1", "eth0").unwrap();
    assert_eq!(cache.get("dbnet", "c1", "eth0").unwrap(), None);
}

#[test]
fn nulls_of_go_are_nothing() {
    let (_folder, cache) = cache();
    fs::create_dir_all(cache.results()).unwrap();
    let file = json!({
        "kind": "cniCacheV1", "containerId": "c", "config": null, "ifName": "e", "networkName": "n",
        "cniArgs": null, "capabilityArgs": null, "result": null, "more": 1,
    });
    fs::write(cache.path("n", "c", "e"), file.to_string()).unwrap();
    let cached = cache.get("n", "c", "e").unwrap().unwrap();
    assert!(cached.config.is_empty() && cached.network_list().is_err());
    assert!(cached.result(Version::V1_1_0).unwrap().ips().is_empty());
}

#[test]
fn broken_files_are_named() {
    let (_folder, cache) = cache();
    fs::create_dir_all(cache.results()).unwrap();
    let path = cache.path("n", "c", "e");
    for (text, why) in [
        ("oops", "expected value"),
        (r#"{"kind":"other","containerId":"c","ifName":"e","networkName":"n"}"#, r#"its kind is "other""#),
        (
            r#"{"kind":"cniCacheV1","containerId":"c","config":"!","ifName":"e","networkName":"n"}"#,
            "config: ",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let error = cache.get("n", "c", "e").unwrap_err().to_string();
        assert!(error.starts_with(&format!("cached result {}: {why}", path.display())), "{error}");
    }
    cache.remove("n", "c", "e").unwrap();
    assert!(!path.exists());
}

#[test]
fn names_that_make_the_same_file_are_kept_apart() {
    let (_folder, cache) = cache();
    put(&cache, "a", &attachment("b-c"));
    assert_eq!(cache.get("a-b", "c", "eth0").unwrap(), None);
    cache.remove("a-b", "c", "eth0").unwrap();
    assert!(cache.get("a", "b-c", "eth0").unwrap().is_some());
    let error = cache.refuse_clash("a-b", "c", "eth0").unwrap_err().to_string();
    assert!(error.ends_with("/a-b-c-eth0: taken by container b-c in network a"), "{error}");
    assert!(cache.refuse_clash("a", "b-c", "eth0").is_ok());
}

#[test]
fn a_list_is_by_file_name_and_passes_over_what_is_not_ours() {
    let (_folder, cache) = cache();
    assert!(cache.list().unwrap().is_empty());
    put(&cache, "net", &attachment("c2"));
    put(&cache, "net", &attachment("c1"));
    fs::write(cache.results().join("legacy"), r#"{"cniVersion":"0.4.0"}"#).unwrap();
    fs::create_dir(cache.results().join("folder")).unwrap();
    let listed: Vec<String> = cache.list().unwrap().into_iter().map(|c| c.attachment.container_id).collect();
    assert_eq!(listed, ["c1", "c2"]);
}
