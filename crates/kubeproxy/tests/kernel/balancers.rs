//! Addresses of load balancers, from a node that is in the same network and in no cluster.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use api::types::api::core::v1::Event;
use net::{Error, Links};
use serde_json::{Value, json};
use testkit::{in_ns, wait_for};

use crate::lab::{LIMIT, Lab, W1, W2, Worker, client, counts, output, tcp, tcp_many};

const ADDRESS: &str = "10.200.0.1";
/// To be asked after, found missing, and told again.
const PATIENCE: Duration = Duration::from_secs(60);
const AT: &str = "10.200.0.1:80";

fn node(lab: &Lab, name: &str, ready: bool, labels: Value) {
    let ready = if ready { "True" } else { "Unknown" };
    let own = if name == "w1" { W1 } else { W2 };
    lab.apply(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": own}],
        },
    }));
}

fn balanced(policy: &str) -> Value {
    json!({
        "type": "LoadBalancer", "clusterIP": "100.64.3.7", "externalTrafficPolicy": policy,
        "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
    })
}

fn with_address(lab: &Lab, spec: &Value) {
    let mut spec = spec.clone();
    spec["clusterIP"] = "100.64.3.7".into();
    lab.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}},
    }));
}

fn holds(worker: &Worker) -> bool {
    output(&worker.ns, "ip", &["-o", "address", "show", "dev", "eth0"]).contains(ADDRESS)
}

fn holders(lab: &Lab) -> BTreeSet<&'static str> {
    [&lab.w1, &lab.w2].into_iter().filter(|worker| holds(worker)).map(|worker| worker.name).collect()
}

fn wait_for_holders(lab: &Lab, wanted: &[&'static str]) {
    let wanted: BTreeSet<_> = wanted.iter().copied().collect();
    wait_for("who announces the address", PATIENCE, || {
        let now = holders(lab);
        if now == wanted { Ok(()) } else { Err(format!("{now:?} and not {wanted:?}")) }
    });
}

#[test]
fn one_node_announces_an_address_and_another_one_when_it_fails() {
    let mut lab = Lab::new();
    let (a, c) = (lab.pod(1, "a"), lab.pod(2, "c"));
    node(&lab, "w1", true, json!({}));
    node(&lab, "w2", true, json!({}));
    lab.service("web", balanced("Cluster"), &[&a, &c]);
    with_address(&lab, &balanced("Cluster"));
    let first = wait_for("somebody who announces the address", LIMIT, || {
        holders(&lab).into_iter().next().ok_or_else(|| "nobody".to_owned())
    });
    // From outside, from a worker that has it and from one that has it not, and from pods, whoever has it.
    for ns in [&lab.outside, &lab.w1.ns, &lab.w2.ns, &a.ns, &c.ns] {
        assert_eq!(counts(tcp_many(ns, AT, 40)).len(), 2);
    }
    assert_eq!(holders(&lab), [first].into(), "only one");
    let other = if first == "w1" { "w2" } else { "w1" };
    let told = wait_for("an event", LIMIT, || {
        let events = lab.run(lab.store.list::<Event>(None)).unwrap();
        let told = events.into_iter().find(|event| event.reason.as_deref() == Some("nodeAssigned"));
        told.ok_or_else(|| "none yet".to_owned())
    });
    let announcing = format!("announcing from node \"{first}\" with protocol \"layer2\"");
    assert_eq!(told.message.unwrap(), announcing);
    assert_eq!(told.involved_object.name.as_deref(), Some("web"));

    // The node fails: its cable is pulled. Nobody is told, but the other one asks after it.
    let failed = if first == "w1" { &lab.w1 } else { &lab.w2 };
    lab.endpoints("web", &[if first == "w1" { &c } else { &a }]);
    in_ns(&failed.ns, async { Links::open()?.set_up("eth0", false).await }).unwrap();
    let answers = |what: &str| {
        wait_for(what, PATIENCE, || tcp(&lab.outside, AT).map(drop).map_err(|kind| kind.to_string()));
    };
    answers("the other one to announce it");
    assert_eq!(holders(&lab).len(), 2, "the kernel of the one that has failed goes on");
    // It is back, and so is its address; its pod serves it, for without its link it has lost the ways to others.
    lab.endpoints("web", &[if first == "w1" { &a } else { &c }]);
    in_ns(&failed.ns, async { Links::open()?.set_up("eth0", true).await }).unwrap();
    wait_for_holders(&lab, &[first]);
    answers("it to be there again");

    // It is not heard of any more.
    lab.endpoints("web", &[if first == "w1" { &c } else { &a }]);
    node(&lab, first, false, json!({}));
    wait_for_holders(&lab, &[other]);
    answers("the other one to announce it again");
    node(&lab, first, true, json!({}));
    wait_for_holders(&lab, &[first]);

    // Kept away, gone.
    node(&lab, first, true, json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""}));
    wait_for_holders(&lab, &[other]);
    lab.delete("svc", "web");
    wait_for_holders(&lab, &[]);
}

#[test]
fn with_the_policy_local_the_address_is_where_endpoints_are_and_clients_are_seen() {
    let mut lab = Lab::new();
    let (a, c) = (lab.pod(1, "a"), lab.pod(2, "c"));
    node(&lab, "w1", true, json!({}));
    node(&lab, "w2", true, json!({}));
    for (pods, node, name) in [([&a], "w1", "a"), ([&c], "w2", "c")] {
        lab.service("web", balanced("Local"), &pods);
        with_address(&lab, &balanced("Local"));
        wait_for_holders(&lab, &[node]);
        let mut answer = String::new();
        wait_for("an answer", LIMIT, || {
            answer = tcp(&lab.outside, AT).map_err(|kind| kind.to_string())?;
            if answer.starts_with(name) { Ok(()) } else { Err(answer.clone()) }
        });
        assert_eq!(client(&answer).to_string(), "10.1.0.1");
    }
    // Clients in the cluster are served, too.
    assert_eq!(counts(tcp_many(&a.ns, AT, 5)).into_keys().collect::<Vec<_>>(), ["c"]);
    // Nobody serves it, so nobody has it.
    lab.endpoints("web", &[]);
    wait_for_holders(&lab, &[]);
    assert_eq!(tcp(&a.ns, AT), Err(ErrorKind::ConnectionRefused));
}

#[test]
fn an_address_stays_while_the_agent_is_away_and_what_is_not_ours_is_left_alone() {
    let mut lab = Lab::new();
    let a = lab.pod(1, "a");
    node(&lab, "w1", true, json!({}));
    output(&lab.w1.ns, "ip", &["address", "add", "10.9.9.9/32", "dev", "eth0"]);
    lab.service("web", balanced("Cluster"), &[&a]);
    with_address(&lab, &balanced("Cluster"));
    wait_for_holders(&lab, &["w1"]);
    assert!(tcp(&lab.outside, AT).is_ok());
    lab.w1.stop_proxy();
    assert!(tcp(&lab.outside, AT).is_ok());
    lab.w1.start_proxy(&lab.store);
    assert!(holds(&lab.w1) && tcp(&lab.outside, AT).is_ok());
    // It went while nobody looked.
    lab.w1.stop_proxy();
    lab.delete("svc", "web");
    lab.w1.start_proxy(&lab.store);
    wait_for_holders(&lab, &[]);
    let left = in_ns(&lab.w1.ns, async {
        let links = Links::open()?;
        let index = links.get("eth0").await?.index;
        Ok::<_, Error>(
            links.addresses(index).await?.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>(),
        )
    });
    assert_eq!(left.unwrap(), [W1, "10.9.9.9"]);
    assert!(!holds(&lab.w2), "{W2} is no node of the cluster");
}
