use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use api::types::api::core::v1::Pod;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::environment::Sources;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What is in a volume of this kind.
fn planned(source: Value) -> Result<Plan, String> {
    let pod: Pod = read(json!({
        "metadata": {"name": "web-0", "namespace": "shop", "labels": {"b": "2", "a": "1"}},
        "spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "64Mi"}}}]},
    }));
    let config: ConfigMap = read(json!({
        "metadata": {"name": "settings"}, "data": {"colour": "red", "size": "9"}, "binaryData": {"blob": "AAE="},
    }));
    let secret: Secret = read(json!({"metadata": {"name": "login"}, "data": {"password": "czNjcmV0"}}));
    let sources = Sources {
        config_maps: BTreeMap::from([("settings".into(), Arc::new(config))]),
        secrets: BTreeMap::from([("login".into(), Arc::new(secret))]),
    };
    let context = Context {
        pod: &pod,
        pod_ips: &[],
        host_ips: &[],
        allocatable: &BTreeMap::new(),
        sources: &sources,
        services: &[],
    };
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    plan(&read(volume), &context).map_err(|error| error.to_string())
}

/// Path, mode and content of each file.
fn files(source: Value) -> Vec<String> {
    let Plan::Files(payload) = planned(source).unwrap() else { panic!() };
    let shown = |file: &Projection| format!("{:o} {}", file.mode, String::from_utf8_lossy(&file.data));
    payload.iter().map(|(path, file)| format!("{path} {}", shown(file))).collect()
}

fn error(source: Value) -> String {
    let error = planned(source).unwrap_err();
    error.strip_prefix("MountVolume.SetUp failed for volume \"v\" : ").unwrap().to_owned()
}

#[test]
fn config_maps_and_secrets_become_files() {
    let whole = json!({"configMap": {"name": "settings", "defaultMode": 0o600}});
    assert_eq!(files(whole), ["blob 600 \0\u{1}", "colour 600 red", "size 600 9"]);
    assert_eq!(files(json!({"secret": {"secretName": "login"}})), ["password 644 s3cret"]);
    let items = json!([{"key": "colour", "path": "a/./b//c"}, {"key": "size", "path": "s", "mode": 0o400}]);
    let some = json!({"configMap": {"name": "settings", "items": items}});
    assert_eq!(files(some), ["a/b/c 644 red", "s 400 9"]);
}

#[test]
fn what_is_missing_is_told_as_the_kubelet_does() {
    assert_eq!(error(json!({"configMap": {"name": "no"}})), "configmap \"no\" not found");
    assert_eq!(error(json!({"secret": {"secretName": "no"}})), "secret \"no\" not found");
    let items = json!([{"key": "no", "path": "x"}, {"key": "colour", "path": "y"}]);
    let config =
        |optional: bool| json!({"configMap": {"name": "settings", "items": items, "optional": optional}});
    assert_eq!(error(config(false)), "references non-existent config key: no");
    assert_eq!(files(config(true)), ["y 644 red"]);
    let secret = json!({"secret": {"secretName": "login", "items": items}});
    assert_eq!(error(secret), "references non-existent secret key: no");
    let optional = json!({"secret": {"secretName": "no", "optional": true, "items": items}});
    assert_eq!(files(optional), [""; 0]);
    let only = "only emptyDir, configMap, secret, downwardAPI and projected volumes are supported here";
    assert_eq!(error(json!({"hostPath": {"path": "/"}})), only);
}

#[test]
fn paths_stay_within_the_volume() {
    let at = |path: &str| {
        error(json!({"configMap": {"name": "settings", "items": [{"key": "size", "path": path}]}}))
    };
    assert_eq!(at("a/../../b"), "invalid path: must not contain '..': a/../../b");
    assert_eq!(at("/a"), "invalid path: must be relative path: /a");
    assert_eq!(at("..a/b"), "invalid path: must not start with '..': ..a/b");
    assert_eq!(at("./"), "invalid path: must not be empty: \"\"");
    assert_eq!(at(&"a".repeat(256)), "invalid path: filenames must be less than or equal to 255 characters");
}

#[test]
fn a_pod_tells_of_itself_in_files() {
    let items = json!([
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "a", "fieldRef": {"fieldPath": "metadata.labels['a']"}, "mode": 0o440},
        {"path": "memory", "resourceFieldRef": {"containerName": "a", "resource": "limits.memory", "divisor": "1Mi"}},
    ]);
    let all = ["a 440 1", "labels 644 a=\"1\"\nb=\"2\"", "memory 644 64"];
    assert_eq!(files(json!({ "downwardAPI": { "items": items } })), all);
    let wrong = json!([
        {"path": "x", "fieldRef": {"fieldPath": "status.podIP"}},
        {"path": "y", "resourceFieldRef": {"containerName": "b", "resource": "limits.memory"}},
    ]);
    let text = "[unsupported fieldPath: status.podIP, container b not found]";
    assert_eq!(error(json!({ "downwardAPI": { "items": wrong } })), text);
}

#[test]
fn projected_volumes_join_their_sources() {
    let name = json!({"items": [{"path": "colour", "fieldRef": {"fieldPath": "metadata.name"}}]});
    let sources = json!([
        {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "colour"}]}},
        {"secret": {"name": "login", "items": [{"key": "password", "path": "keys/one"}]}},
        {"configMap": {"name": "no", "optional": true}},
        {"downwardAPI": name},
    ]);
    let volume = json!({"projected": {"sources": sources, "defaultMode": 0o400}});
    assert_eq!(files(volume), ["colour 400 web-0", "keys/one 400 s3cret"]);
    let sources = json!([{"configMap": {"name": "no"}}, {"secret": {"name": "login"}}]);
    assert_eq!(error(json!({"projected": {"sources": sources}})), "configmap \"no\" not found");
    let sources = json!([{"serviceAccountToken": {"path": "token"}}, {"secret": {"name": "no"}}]);
    assert_eq!(
        error(json!({"projected": {"sources": sources}})),
        "[only secret, configMap and downwardAPI can be projected here, secret \"no\" not found]"
    );
}

#[test]
fn empty_folders() {
    let empty = |source: Value| planned(json!({ "emptyDir": source }));
    assert_eq!(empty(json!({})), Ok(Plan::EmptyDir { memory: false, limit: None }));
    let memory = json!({"medium": "Memory", "sizeLimit": "1Mi"});
    assert_eq!(empty(memory), Ok(Plan::EmptyDir { memory: true, limit: Some(1 << 20) }));
    assert!(error(json!({"emptyDir": {"medium": "HugePages"}})).contains("\"HugePages\""));
}

fn payload(files: &[(&str, &str, u32)]) -> Payload {
    let file = |data: &str, mode| Projection { data: data.into(), mode };
    files.iter().map(|(path, data, mode)| ((*path).to_owned(), file(data, *mode))).collect()
}

/// Every path below the folder, with where it leads or what it is.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let (path, meta) = (entry.path(), entry.metadata().unwrap());
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if meta.is_dir() {
                found.push(format!("{name}/ {mode:o}"));
                folders.push(path);
            } else {
                found.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_volume_is_written_at_one_moment() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("pods/v");
    let write = |files: &[(&str, &str, u32)], second| {
        atomic::write(&folder, &payload(files), Timestamp::from_second(second).unwrap()).unwrap()
    };
    let first = [("a", "1", 0o644), ("keys/x", "2", 0o400), ("keys/deep/y", "3", 0o644)];
    assert!(write(&first, 0));
    assert_eq!(
        tree(&folder),
        [
            "..1970_01_01_00_00_00.0/ 755",
            "..1970_01_01_00_00_00.0/a 644 1",
            "..1970_01_01_00_00_00.0/keys/ 755",
            "..1970_01_01_00_00_00.0/keys/deep/ 755",
            "..1970_01_01_00_00_00.0/keys/deep/y 644 3",
            "..1970_01_01_00_00_00.0/keys/x 400 2",
            "..data -> ..1970_01_01_00_00_00.0",
            "a -> ..data/a",
            "keys -> ..data/keys",
        ]
    );
    assert_eq!(fs::read_to_string(folder.join("keys/deep/y")).unwrap(), "3");
    // The same again writes nothing.
    assert!(!write(&first, 1));
    assert_eq!(fs::read_link(folder.join("..data")).unwrap(), Path::new("..1970_01_01_00_00_00.0"));

    // Another mode, a file less, a new one; twice in a second.
    let second = [("a", "1", 0o600), ("b", "4", 0o644)];
    assert!(write(&second, 0));
    assert_eq!(
        tree(&folder),
        [
            "..1970_01_01_00_00_00.1/ 755",
            "..1970_01_01_00_00_00.1/a 600 1",
            "..1970_01_01_00_00_00.1/b 644 4",
            "..data -> ..1970_01_01_00_00_00.1",
            "a -> ..data/a",
            "b -> ..data/b",
        ]
    );
    assert!(write(&[], 2));
    assert_eq!(tree(&folder), ["..1970_01_01_00_00_02.0/ 755", "..data -> ..1970_01_01_00_00_02.0"]);
    assert!(!write(&[], 3));
}

#[test]
fn what_was_left_half_written_is_repaired() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let files = payload(&[("a", "1", 0o644)]);
    let write =
        |files: &Payload, second| atomic::write(folder, files, Timestamp::from_second(second).unwrap());
    assert!(write(&files, 0).unwrap());
    // Killed after the new version was written, and before the links were removed.
    fs::create_dir(folder.join("..1970_01_01_00_00_09.0")).unwrap();
    symlink("..1970_01_01_00_00_09.0", folder.join("..data_tmp")).unwrap();
    symlink("..data/old", folder.join("old")).unwrap();
    assert!(write(&files, 9).unwrap());
    let whole = [
        "..1970_01_01_00_00_09.1/ 755",
        "..1970_01_01_00_00_09.1/a 644 1",
        "..data -> ..1970_01_01_00_00_09.1",
        "a -> ..data/a",
    ];
    assert_eq!(tree(folder), whole);

    // A file that is also a folder cannot be; nothing of it stays.
    let error = write(&payload(&[("a", "2", 0o644), ("a/b", "3", 0o644)]), 10).unwrap_err();
    assert!(error.to_string().contains("..1970_01_01_00_00_10.0/a"), "{error}");
    assert_eq!(tree(folder), whole);
}
