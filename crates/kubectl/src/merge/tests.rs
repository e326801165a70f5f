//! What kubectl's users count on.

use serde_json::json;

use super::*;

fn merged(kind: &str, original: Value, modified: Value, current: Value) -> Value {
    three_way(Strategy::Strategic, kind, Some(&original), &modified, &current)
}

#[test]
fn what_others_have_set_stays_and_what_is_no_longer_written_goes() {
    let original =
        json!({"metadata": {"labels": {"a": "1", "b": "1"}}, "spec": {"replicas": 2, "paused": true}});
    let modified = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"paused": null}});
    let current = json!({
        "metadata": {"labels": {"a": "1", "b": "1", "c": "other"}, "uid": "x"},
        "spec": {"replicas": 5, "paused": true, "defaulted": 1},
    });
    let expected = json!({
        "metadata": {"labels": {"a": "2", "c": "other"}, "uid": "x"},
        "spec": {"defaulted": 1},
    });
    assert_eq!(merged("Deployment", original, modified.clone(), current.clone()), expected);
    // Nobody knows what was written last time: nothing goes.
    let merged = three_way(Strategy::Strategic, "Deployment", None, &modified, &current);
    assert_eq!(merged["metadata"]["labels"], json!({"a": "2", "b": "1", "c": "other"}));
}

#[test]
fn containers_are_known_by_their_names_and_ports_by_their_numbers() {
    let original = json!({"spec": {"containers": [
        {"name": "web", "image": "nginx:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
        {"name": "old", "image": "x"},
    ]}});
    let modified = json!({"spec": {"containers": [
        {"name": "new", "image": "y"},
        {"name": "web", "image": "nginx:2", "env": [{"name": "B", "value": "2"}],
         "ports": [{"containerPort": 80, "name": "http"}], "args": ["a"]},
    ]}});
    let current = json!({"spec": {"containers": [
        {"name": "injected", "image": "z"},
        {"name": "web", "image": "nginx:1", "imagePullPolicy": "Always", "args": ["b", "c"],
         "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}, {"name": "X", "value": "other"}],
         "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        {"name": "old", "image": "x"},
    ]}});
    let expected = json!({"spec": {"containers": [
        {"name": "new", "image": "y"},
        {"name": "injected", "image": "z"},
        {"name": "web", "image": "nginx:2", "imagePullPolicy": "Always", "args": ["a"],
         "env": [{"name": "B", "value": "2"}, {"name": "X", "value": "other"}],
         "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
    ]}});
    assert_eq!(merged("Pod", original, modified, current), expected);
}

#[test]
fn services_ports_are_known_by_their_numbers_unless_two_have_one() {
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    let allocated = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
    let result = merged(
        "Service",
        ports(json!([{"port": 80}, {"port": 443}])),
        ports(json!([{"port": 80, "name": "http"}])),
        ports(allocated),
    );
    let expected = ports(json!([{"port": 80, "protocol": "TCP", "nodePort": 30080, "name": "http"}]));
    assert_eq!(result, expected);
    let both = ports(json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]));
    assert_eq!(merged("Service", json!({}), both.clone(), ports(json!([{"port": 53}]))), both);
    // The same field of another kind is one value.
    let slice = json!({"ports": [{"port": 80}]});
    assert_eq!(merged("EndpointSlice", json!({}), slice.clone(), json!({"ports": [{"port": 81}]})), slice);
}

#[test]
fn other_lists_are_one_value() {
    let tolerations = |keys: &[&str]| {
        let all: Vec<_> = keys.iter().map(|key| json!({"key": key})).collect();
        json!({"spec": {"tolerations": all}})
    };
    let result = merged("Pod", tolerations(&["a"]), tolerations(&["b"]), tolerations(&["a", "c"]));
    assert_eq!(result, tolerations(&["b"]));
    let custom = |names: &[&str]| {
        let all: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": all}})
    };
    let result = three_way(Strategy::Json, "Site", None, &custom(&["b"]), &custom(&["a"]));
    assert_eq!(result, custom(&["b"]));
}

#[test]
fn finalizers_are_a_set() {
    let of = |all: &[&str]| json!({"metadata": {"finalizers": all}});
    let result =
        merged("ConfigMap", of(&["a/x", "b/x"]), of(&["b/x", "c/x"]), of(&["other/x", "a/x", "b/x"]));
    assert_eq!(result, of(&["b/x", "c/x", "other/x"]));
}

#[test]
fn a_union_changes_as_a_whole() {
    let strategy = |value: Value| json!({"spec": {"strategy": value}});
    let defaulted = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}});
    let result =
        merged("Deployment", json!({}), strategy(json!({"type": "Recreate"})), strategy(defaulted.clone()));
    assert_eq!(result, strategy(json!({"type": "Recreate"})));
    let same = strategy(json!({"type": "RollingUpdate"}));
    assert_eq!(merged("Deployment", same.clone(), same, strategy(defaulted.clone())), strategy(defaulted));
    let volume = |value: Value| json!({"spec": {"volumes": [value]}});
    let result = merged(
        "Pod",
        volume(json!({"name": "v", "emptyDir": {}})),
        volume(json!({"name": "v", "configMap": {"name": "c"}})),
        volume(json!({"name": "v", "emptyDir": {}})),
    );
    assert_eq!(result, volume(json!({"name": "v", "configMap": {"name": "c"}})));
}

#[test]
fn what_is_applied_again_changes_nothing() {
    let document = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}, "externalIPs": ["10.0.0.3"]},
    });
    let mut current = document.clone();
    current["spec"]["clusterIP"] = "100.64.0.10".into();
    current["spec"]["ports"][0]["targetPort"] = 80.into();
    assert_eq!(merged("Service", document.clone(), document, current.clone()), current);
}
