use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use api::Kind;
use api::skupper::{Connector, Link, Listener, Site};
use api::types::ByteString;
use api::types::api::core::v1::{Pod, Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::{ObjectName, Objects};

use super::*;
use crate::network::{Network, RouterView, TcpEnd};

fn place() -> Place {
    Place {
        cluster: "C0".into(),
        node: "C0w1".into(),
        address: [10, 0, 0, 3].into(),
        folder: "/run/lab/C0w1/skupper".into(),
    }
}

fn objects<K: Kind + DeserializeOwned>(of: &[(&str, &str, Value)]) -> Arc<Objects<K>> {
    let one = |(namespace, name, rest): &(&str, &str, Value)| {
        let mut document = rest.clone();
        document["apiVersion"] = K::API_VERSION.into();
        document["kind"] = K::KIND.into();
        document["metadata"]["namespace"] = (*namespace).into();
        document["metadata"]["name"] = (*name).into();
        document["metadata"]["resourceVersion"] = "7".into();
        let object: K = serde_json::from_value(document).unwrap();
        (ObjectName::new(namespace, name), Arc::new(object))
    };
    Arc::new(of.iter().map(one).collect())
}

fn secret(namespace: &str, name: &str) -> (ObjectName, Arc<Secret>) {
    let data = ["ca.crt", "tls.crt", "tls.key"].map(|key| (key.to_owned(), ByteString(key.into())));
    let mut secret = Secret { data: Some(data.into()), ..Default::default() };
    secret.metadata.resource_version = Some("9".into());
    (ObjectName::new(namespace, name), Arc::new(secret))
}

fn pod(ip: &str, ready: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "c4"}},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn inputs() -> Inputs {
    Inputs {
        sites: objects::<Site>(&[("default", "c0", json!({"spec": {"linkAccess": "default"}}))]),
        links: objects::<Link>(&[(
            "default",
            "to-c1",
            json!({"spec": {
                "endpoints": [{"name": "inter-router", "host": "10.0.0.8", "port": "55671"}],
                "tlsCredentials": "to-c1", "cost": 5,
            }}),
        )]),
        listeners: objects::<Listener>(&[
            ("default", "svc1", json!({"spec": {"routingKey": "svc1", "host": "svc1", "port": 1028}})),
            ("default", "web", json!({"spec": {"routingKey": "web", "host": "svc1", "port": 80}})),
        ]),
        connectors: objects::<Connector>(&[(
            "default",
            "svc1",
            json!({"spec": {"routingKey": "svc1", "selector": "app=c4", "port": 80}}),
        )]),
        pods: objects::<Pod>(&[
            ("default", "c4", pod("11.10.0.2", "True")),
            ("default", "c5", pod("11.10.0.3", "False")),
            ("other", "c4", pod("11.10.0.4", "True")),
        ]),
        secrets: Arc::new([secret("default", SERVER), secret("default", "to-c1")].into()),
        ..Inputs::default()
    }
}

fn planned(inputs: &Inputs, network: Network) -> SitePlan {
    let networks = BTreeMap::from([("default".to_owned(), network)]);
    plan(&place(), inputs, &networks).sites.remove("default").unwrap()
}

/// The configuration, then what is said of the objects, and the Services.
fn shown(plan: &SitePlan) -> String {
    let mut text = plan.config.to_text().unwrap();
    let mut say = |what: &str, name: &str, state: &State| writeln!(text, "{what} {name}: {state:?}").unwrap();
    say("site", plan.site.metadata.name.as_deref().unwrap(), &plan.state);
    plan.links.iter().for_each(|(name, state)| say("link", name, state));
    plan.listeners.iter().for_each(|(name, one)| say("listener", name, &one.state));
    plan.connectors.iter().for_each(|(name, one)| say("connector", name, &one.state));
    for service in &plan.services {
        writeln!(text, "service {}: {:?}", service.name, service.ports).unwrap();
    }
    text
}

#[test]
fn a_site_with_a_link_listeners_and_a_connector() {
    insta::assert_snapshot!(shown(&planned(&inputs(), Network::default())));
}

#[test]
fn the_same_objects_give_the_same_plan() {
    assert_eq!(planned(&inputs(), Network::default()), planned(&inputs(), Network::default()));
}

#[test]
fn what_is_wrong_is_told_of_its_object_and_the_rest_goes_on() {
    let mut inputs = inputs();
    inputs.links = objects::<Link>(&[
        (
            "default",
            "edge-only",
            json!({"spec": {"endpoints": [{"name": "edge", "host": "a", "port": "1"}]}}),
        ),
        (
            "default",
            "plain",
            json!({"spec": {"endpoints": [{"name": "inter-router", "host": "a", "port": "1"}]}}),
        ),
        (
            "default",
            "unknown",
            json!({"spec": {
                "endpoints": [{"name": "inter-router", "host": "a", "port": "1"}], "tlsCredentials": "gone",
            }}),
        ),
    ]);
    let listener =
        |key: &str, host: &str, port: i32| json!({"spec": {"routingKey": key, "host": host, "port": port}});
    inputs.listeners = objects::<Listener>(&[
        ("default", "a", listener("a", "a", 80)),
        ("default", "again", listener("b", "a", 80)),
        ("default", "taken", listener("c", "web", 80)),
        ("other", "elsewhere", listener("c", "web", 80)),
    ]);
    inputs.services = objects::<Service>(&[("default", "web", json!({"spec": {"clusterIP": "None"}}))]);
    let host = |host: &str| json!({"spec": {"routingKey": "k", "host": host, "port": 80}});
    inputs.connectors = objects::<Connector>(&[
        ("default", "by-address", host("10.0.0.99")),
        ("default", "by-name", host("example.test")),
        ("default", "by-service", host("nowhere")),
        ("default", "headless", host("web")),
        ("default", "nobody", json!({"spec": {"routingKey": "k", "selector": "app=none", "port": 80}})),
    ]);
    insta::assert_snapshot!(shown(&planned(&inputs, Network::default())));
}

#[test]
fn ports_stay_whatever_comes_before_them() {
    let mut inputs = inputs();
    let remembered = json!({"metadata": {"annotations": {PORTS_ANNOTATION: r#"{"web": 1024}"#}}, "addressType": "IPv4", "endpoints": []});
    inputs.slices = objects::<EndpointSlice>(&[("default", "svc1-skupper", remembered)]);
    let mut listeners = (*inputs.listeners).clone();
    let early: Objects<Listener> = (*objects::<Listener>(&[(
        "default",
        "early",
        json!({"spec": {"routingKey": "x", "host": "early", "port": 80}}),
    )]))
    .clone();
    listeners.extend(early);
    inputs.listeners = Arc::new(listeners);
    let plan = planned(&inputs, Network::default());
    let ports: Vec<_> = plan.config.tcp_listeners.iter().map(|one| (one.name.as_str(), one.port)).collect();
    assert_eq!(ports, [("listener/early", 1025), ("listener/svc1", 1028), ("listener/web", 1024)]);
}

#[test]
fn what_is_for_some_sites_only_has_an_address_for_each() {
    let mut inputs = inputs();
    let spec = json!({
        "metadata": {"annotations": {api::skupper::CONSUMERS: "C1, C2/west"}},
        "spec": {"routingKey": "svc1", "selector": "app=c4", "port": 80},
    });
    inputs.connectors = objects::<Connector>(&[("default", "svc1", spec)]);
    let plan = planned(&inputs, Network::default());
    let addresses: Vec<_> = plan.config.tcp_connectors.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(addresses, ["svc1@C1", "svc1@C2-west"]);
    let listens = |network: Network| planned(&inputs, network).listeners["svc1"].address.clone();
    assert_eq!(listens(Network::default()), "svc1");
    let offers = |address: &str| {
        let end = TcpEnd { name: "svc1/c4".into(), address: address.into(), up: false };
        let view = RouterView { connectors: vec![end], ..RouterView::default() };
        Network { routers: BTreeMap::from([("C1".to_owned(), view)]) }
    };
    assert_eq!(listens(offers("svc1@C1")), "svc1", "that is for another");
    assert_eq!(listens(offers("svc1@C0")), "svc1@C0");
}

#[test]
fn a_site_consumes_what_it_may() {
    let mut inputs = inputs();
    let site = json!({"metadata": {"annotations": {api::skupper::MAY_CONSUME: "svc1, db-*"}}});
    inputs.sites = objects::<Site>(&[("default", "c0", site)]);
    let plan = planned(&inputs, Network::default());
    assert_eq!(plan.listeners["svc1"].state, State::Ready);
    assert!(
        matches!(&plan.listeners["web"].state, State::Error(why) if why.contains("may not consume \"web\""))
    );
    assert!(plan.endpoints.is_empty(), "it takes in no links");
    assert!(listeners::allows("svc1, db-*", "db-1"));
}

#[test]
fn sites_of_several_namespaces_have_ports_of_their_own_and_one_each() {
    let mut inputs = Inputs::default();
    let site = |age: u8| json!({"metadata": {"creationTimestamp": format!("2026-01-0{age}T00:00:00Z")}});
    inputs.sites = objects::<Site>(&[("east", "a", site(2)), ("east", "b", site(1)), ("west", "a", site(3))]);
    let plan = plan(&place(), &inputs, &BTreeMap::new());
    let sites: Vec<_> = plan.sites.values().map(|one| (one.router_id.as_str(), one.ports.amqp)).collect();
    assert_eq!(sites, [("C0-east", 5672), ("C0-west", 5673)]);
    let idle: Vec<_> = plan.idle.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert_eq!(idle, ["east/a: An active site already exists in the namespace (b)"]);
}
