use serde_json::{Value, json};

use super::*;

fn objects<T: serde::de::DeserializeOwned>(kind: &str, of: Vec<Value>) -> Vec<T> {
    let read = |mut document: Value| {
        document["apiVersion"] = "skupper.io/v2alpha1".into();
        document["kind"] = kind.into();
        document["metadata"]["namespace"] = "default".into();
        serde_json::from_value(document).unwrap()
    };
    of.into_iter().map(read).collect()
}

fn clusters() -> Vec<Cluster> {
    let configured = json!([{
        "type": "Configured", "status": "True", "reason": "Ready", "message": "OK",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let endpoints = json!([{"name": "inter-router", "host": "10.0.0.3", "port": "55671"}]);
    let incoming =
        json!({"name": "from c1", "remoteSiteId": "b", "remoteSiteName": "c1", "operational": true});
    let c0 = Cluster {
        name: "C0".into(),
        sites: objects(
            "Site",
            vec![json!({
                "metadata": {"name": "c0", "uid": "a"},
                "status": {
                    "status": "Ready", "message": "OK", "sitesInNetwork": 2, "endpoints": endpoints,
                    "network": [{"id": "a", "links": [incoming]}],
                },
            })],
        ),
        connectors: objects(
            "Connector",
            vec![json!({
                "metadata": {"name": "svc1"},
                "spec": {"routingKey": "svc1", "selector": "app=c4", "port": 80},
                "status": {"conditions": configured, "selectedPods": [{"name": "c4", "ip": "11.10.0.2"}]},
            })],
        ),
        ..Cluster::default()
    };
    let c1 = Cluster {
        name: "C1".into(),
        sites: objects(
            "Site",
            vec![json!({"metadata": {"name": "c1", "uid": "b"}, "status": {"status": "Ready"}})],
        ),
        links: objects(
            "Link",
            vec![
                json!({
                    "metadata": {"name": "to-c0"}, "spec": {"endpoints": []},
                    "status": {"status": "Ready", "message": "OK", "remoteSiteId": "a", "remoteSiteName": "c0"},
                }),
                json!({
                    "metadata": {"name": "lost"}, "spec": {"endpoints": [], "cost": 5},
                    "status": {"status": "Pending", "message": "Not operational"},
                }),
            ],
        ),
        listeners: objects(
            "Listener",
            vec![
                json!({
                    "metadata": {"name": "svc1"}, "spec": {"routingKey": "svc1", "host": "svc1", "port": 1028},
                    "status": {"hasMatchingConnector": true},
                }),
                json!({
                    "metadata": {"name": "web"}, "spec": {"routingKey": "<web>", "host": "web", "port": 80},
                    "status": {"message": "No matching connectors"},
                }),
            ],
        ),
        ..Cluster::default()
    };
    vec![c0, c1]
}

#[test]
fn who_talks_to_whom() {
    insta::assert_snapshot!(text(&graph(&clusters())));
}

#[test]
fn a_link_is_told_as_both_ends_see_it() {
    let seen = graph(&clusters());
    let ends: Vec<_> =
        seen.links.iter().map(|link| (link.status.as_str(), link.other_end.as_str())).collect();
    assert_eq!(ends, [("Ready", "up"), ("Pending", "unknown")]);
}

#[test]
fn the_picture_has_everything_and_no_name_breaks_it() {
    let picture = svg(&graph(&clusters()));
    for part in ["C0", "C1", "to-c0 (cost 1)", "servers C0 c4:80", "clients C1 svc1:1028", "&lt;web&gt;"] {
        assert!(picture.contains(part), "{part}");
    }
    assert!(!picture.contains("<web>"));
    assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
}
