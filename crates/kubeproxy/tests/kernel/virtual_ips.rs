//! Addresses for every protocol, and datagrams.

use std::io::ErrorKind;

use serde_json::{Value, json};

use crate::lab::{LIMIT, Lab, Pod, ask, client, counts, output, ping, tcp, tcp_many, udp};
use testkit::wait_for;

const VIP: &str = "100.64.10.1";

fn vip(pods: &[&str]) -> Value {
    json!({
        "apiVersion": "knetsim.dev/v1", "kind": "VirtualIP", "metadata": {"name": VIP},
        "spec": {"address": VIP, "pods": pods},
    })
}

/// As a kubelet has it.
fn pod(pod: &Pod) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name},
        "spec": {"nodeName": pod.node, "containers": [{"name": "a", "image": "a"}]},
        "status": {"podIP": pod.address.to_string(), "podIPs": [{"ip": pod.address.to_string()}]},
    })
}

#[test]
fn a_virtual_ip_answers_everything_in_turn_whoever_is_there() {
    let mut lab = Lab::new();
    let (c1, c2, c3) = (lab.pod(1, "c1"), lab.pod(1, "c2"), lab.pod(2, "c3"));
    lab.apply(vip(&["c2", "c3"]));
    lab.w1.wait_for_listing("default/100.64.10.1", true);
    assert_eq!(
        tcp(&c1.ns, "100.64.10.1:8080"),
        Err(ErrorKind::ConnectionRefused),
        "no pod has an address yet"
    );
    for one in [&c2, &c3] {
        lab.apply(pod(one));
    }
    lab.w1.wait_for_listing("default/100.64.10.1 -> default/c3/11.10.16.2", true);
    lab.w2.wait_for_listing("default/100.64.10.1 -> default/c3/11.10.16.2", true);
    for ns in [&c1.ns, &c2.ns, &c3.ns, &lab.w1.ns, &lab.w2.ns, &lab.outside] {
        let found = counts(tcp_many(ns, "100.64.10.1:8080", 20));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("c2".into(), 10), ("c3".into(), 10)]);
        assert!(ask(&udp(ns, "100.64.10.1:8080")).is_ok());
        assert!(ping(ns, VIP));
    }
    // A pod is seen as it is; one that reaches itself comes from the worker.
    for answer in tcp_many(&c2.ns, "100.64.10.1:8080", 4) {
        let answer = answer.unwrap();
        let expected = if answer.starts_with("c2 ") { lab.w1.gateway() } else { c2.address.to_string() };
        assert_eq!(client(&answer).to_string(), expected, "{answer}");
    }

    // With one of them gone every other connection fails: nobody looks after it.
    lab.delete("po", "c3");
    output(&c3.ns, "ip", &["link", "set", "eth0", "down"]);
    let found: Vec<_> = (0..6).map(|_| tcp(&c1.ns, "100.64.10.1:8080").is_ok()).collect();
    assert!(
        found == [true, false, true, false, true, false] || found == [false, true, false, true, false, true]
    );
    assert!(lab.w1.listing().contains("default/c3/11.10.16.2"));
    // Also by one who comes later, and has only the table to know it from.
    lab.w1.stop_proxy();
    let before = lab.w1.listing();
    lab.w1.start_proxy(&lab.store);
    assert_eq!(lab.w1.listing(), before);

    lab.delete("vip", VIP);
    lab.w1.wait_for_listing(VIP, false);
    assert_eq!(tcp(&c1.ns, "100.64.10.1:8080"), Err(ErrorKind::TimedOut));
}

#[test]
fn a_pod_that_comes_back_elsewhere_is_found() {
    let mut lab = Lab::new();
    let (c2, again) = (lab.pod(1, "c2"), lab.pod(2, "again"));
    lab.apply(vip(&["c2"]));
    lab.apply(pod(&c2));
    lab.w1.wait_for_listing(&format!("default/c2/{}", c2.address), true);
    lab.delete("po", "c2");
    let moved = Pod { name: "c2".into(), ns: again.ns.try_clone().unwrap(), ..again };
    lab.apply(pod(&moved));
    lab.w1.wait_for_listing(&format!("default/c2/{}", moved.address), true);
    assert!(tcp(&lab.w1.ns, "100.64.10.1:8080").unwrap().starts_with("again "));
}

#[test]
fn datagrams_leave_an_endpoint_that_has_gone() {
    let mut lab = Lab::new();
    let (a, b, other) = (lab.pod(1, "a"), lab.pod(2, "b"), lab.pod(1, "other"));
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 8080, "nodePort": 30053},
        {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
    ]);
    let spec = json!({"type": "NodePort", "clusterIP": "100.64.3.7", "ports": ports});

    // Before there is a service a client has begun already: its datagrams are dropped or refused, and tracked.
    lab.service("web", spec.clone(), &[&a]);
    lab.w1.wait_for_listing("default/web:dns -> default/a/", true);
    let cluster = udp(&other.ns, "100.64.3.7:53");
    let node = udp(&lab.outside, "10.0.0.3:30053");
    for socket in [&cluster, &node] {
        assert!(ask(socket).unwrap().starts_with("a "));
    }
    lab.endpoints("web", &[&a, &b]);
    lab.w1.wait_for_listing("default/web:dns -> default/b/", true);
    // The same sockets go on where they went.
    for socket in [&cluster, &node] {
        assert!(ask(socket).unwrap().starts_with("a "));
    }
    lab.endpoints("web", &[&b]);
    lab.w1.wait_for_listing("default/web:dns -> default/a/", false);
    for socket in [&cluster, &node] {
        wait_for("the other endpoint", LIMIT, || match ask(socket) {
            Ok(answer) if answer.starts_with("b ") => Ok(()),
            answer => Err(format!("{answer:?}")),
        });
    }
    lab.endpoints("web", &[]);
    lab.w1.wait_for_listing("default/web:dns -> ", false);
    wait_for("a refusal", LIMIT, || match ask(&cluster) {
        Err(ErrorKind::ConnectionRefused) => Ok(()),
        answer => Err(format!("{answer:?}")),
    });

    // And where the service itself has gone.
    lab.endpoints("web", &[&b]);
    wait_for("an answer", LIMIT, || ask(&cluster).map_err(|e| e.to_string()));
    lab.delete("svc", "web");
    lab.w1.wait_for_listing("100.64.3.7", false);
    wait_for("silence", LIMIT, || match ask(&cluster) {
        Err(ErrorKind::WouldBlock) => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
    lab.service("web", spec, &[&a]);
    lab.w1.wait_for_listing("default/web:dns -> default/a/", true);
    wait_for("the first endpoint", LIMIT, || match ask(&cluster) {
        Ok(answer) if answer.starts_with("a ") => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
}
