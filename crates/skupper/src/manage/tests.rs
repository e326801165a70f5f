use std::collections::BTreeMap;

use api::router_config::{TcpConnector, TcpListener};
use serde_json::json;

use super::fake::Fake;
use super::{apply, entities, observe};
use crate::network::Network;
use crate::ops::{Attributes, Wanted, plan};
use crate::plan::{Access, Ports, base};

fn attributes(value: serde_json::Value) -> Attributes {
    value.as_object().unwrap().clone().into_iter().collect()
}

#[tokio::test]
async fn a_router_is_brought_to_its_configuration_and_back_from_drift() {
    let empty = base("C0", "{}", Ports::of(0), &Access::Plain, false);
    let mut config = empty.clone();
    let listener = TcpListener { name: "a".into(), address: "a".into(), port: 1024, ..Default::default() };
    config.tcp_listeners.push(listener);
    let mut router = Fake::of(&empty);
    let wanted = Wanted::of(&config).unwrap();
    let ops = plan(&wanted, &entities(&mut router).await.unwrap());
    assert!(apply(&mut router, &ops).await.unwrap().is_empty());
    assert_eq!(router.calls, ["create tcpListener a"]);
    assert!(plan(&wanted, &entities(&mut router).await.unwrap()).is_empty(), "it is there");

    router.calls.clear();
    router.entities.retain(|one| one.name() != "interior-listener");
    let stray = json!({"name": "b", "address": "b", "port": 1025, "host": "11.10.0.2"});
    super::Management::create(&mut router, "tcpConnector", "b", stray.as_object().unwrap()).await.unwrap();
    let ops = plan(&wanted, &entities(&mut router).await.unwrap());
    assert!(apply(&mut router, &ops).await.unwrap().is_empty());
    assert_eq!(router.calls[1..], ["delete tcpConnector b", "create listener interior-listener"]);
    assert!(plan(&wanted, &entities(&mut router).await.unwrap()).is_empty());
}

#[tokio::test]
async fn what_the_router_refuses_is_told_and_the_rest_done() {
    let empty = base("C0", "{}", Ports::of(0), &Access::None, false);
    let mut config = empty.clone();
    for name in ["a", "b"] {
        let end = TcpConnector { name: name.into(), address: "x".into(), port: 80, ..Default::default() };
        config.tcp_connectors.push(end);
    }
    let mut ops = plan(&Wanted::of(&config).unwrap(), &entities(&mut Fake::of(&empty)).await.unwrap());
    ops.insert(1, ops[0].clone());
    let mut router = Fake::of(&empty);
    let refused = apply(&mut router, &ops).await.unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(router.calls, ["create tcpConnector a", "create tcpConnector a", "create tcpConnector b"]);
    router.away = true;
    assert!(entities(&mut router).await.is_err());
}

#[tokio::test]
async fn others_are_asked_through_the_nearest() {
    let named = |id: &str, name: &str| {
        let metadata = json!({"id": id, "name": name, "platform": id}).to_string();
        let mut config = base(id, &metadata, Ports::of(0), &Access::None, false);
        let end = TcpConnector { name: "s/p".into(), address: "s".into(), port: 80, ..Default::default() };
        config.tcp_connectors.push(end);
        Fake::of(&config)
    };
    let mut router = named("C0", "east");
    router.others.insert("C1".into(), named("C1", "west"));
    let node = |id: &str| attributes(json!({"id": id}));
    router.runtime.insert("router.node".into(), vec![node("C0"), node("C1"), node("C2")]);
    let connection = json!({"dir": "in", "role": "inter-router", "container": "C1", "operStatus": "up"});
    router.runtime.insert("connection".into(), vec![attributes(connection)]);
    let before = Network { routers: BTreeMap::from([("C2".into(), Default::default())]) };
    let seen = observe(&mut router, &before).await.unwrap();
    assert_eq!(seen.id, "C0");
    let ids: Vec<_> = seen.network.routers.keys().cloned().collect();
    assert_eq!(ids, ["C0", "C1", "C2"], "one that does not answer now is known on");
    assert_eq!(seen.network.routers["C1"].site.name, "west");
    assert_eq!(seen.network.routers["C0"].incoming, ["C1"]);
    assert!(seen.network.has_connector("s") && !seen.network.has_connector("t"));
}
