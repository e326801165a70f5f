//! What every service does, from wherever it is used.

use std::io::ErrorKind;
use std::time::Instant;

use serde_json::json;

use crate::lab::{Lab, OUTSIDE, W1, W2, ask, client, counts, ping, tcp, tcp_many, udp};

const WEB: &str = "100.64.3.7:80";

fn cluster_ip() -> serde_json::Value {
    json!({"clusterIP": "100.64.3.7"})
}

#[test]
fn a_cluster_ip_answers_pods_workers_outside_and_the_endpoint_itself() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.pod(1, "a"), lab.pod(1, "b"), lab.pod(2, "c"));
    lab.service("web", cluster_ip(), &[&a, &b, &c]);
    for worker in [&lab.w1, &lab.w2] {
        worker.wait_for_listing("default/web -> default/c/11.10.16.2", true);
    }
    let all = |ns| {
        let found = counts(tcp_many(ns, WEB, 60));
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"], "{found:?}");
    };
    all(&a.ns);
    all(&c.ns);
    all(&lab.w1.ns);
    all(&lab.w2.ns);
    all(&lab.outside);

    // Pods are seen as they are, also on their own bridge; others come from the worker, and so does who reaches itself.
    for answer in tcp_many(&a.ns, WEB, 30) {
        let answer = answer.unwrap();
        let expected = if answer.starts_with("a ") { lab.w1.gateway() } else { a.address.to_string() };
        assert_eq!(client(&answer).to_string(), expected, "{answer}");
    }
    for answer in tcp_many(&lab.outside, WEB, 30) {
        let answer = answer.unwrap();
        let expected = if answer.starts_with("c ") { W1.to_owned() } else { lab.w1.gateway() };
        assert_eq!(client(&answer).to_string(), expected, "{answer}");
    }
}

#[test]
fn connections_are_spread_evenly() {
    const COUNT: usize = 3000;
    let mut lab = Lab::new();
    let pods: Vec<_> = (0..5).map(|n| lab.pod(1 + n % 2, &format!("p{n}"))).collect();
    lab.service("web", cluster_ip(), &pods.iter().collect::<Vec<_>>());
    lab.w1.wait_for_listing("default/web -> default/p4", true);
    let found = counts(tcp_many(&pods[0].ns, WEB, COUNT));
    let expected = COUNT as f64 / 5.0;
    let chi_squared: f64 = found.values().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    // 4 degrees of freedom: one in a hundred thousand is above.
    assert!(found.len() == 5 && chi_squared < 28.47, "{chi_squared}: {found:?}");
}

#[test]
fn what_nobody_serves_is_refused_at_once_and_what_is_no_service_is_dropped() {
    let mut lab = Lab::new();
    let (a, client) = (lab.pod(1, "a"), lab.pod(1, "client"));
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 8080},
    ]);
    lab.service("web", json!({"clusterIP": "100.64.3.7", "ports": ports}), &[&a]);
    lab.service("empty", json!({"clusterIP": "100.64.3.8", "ports": ports}), &[]);
    lab.w1.wait_for_listing("default/empty:dns", true);
    assert_eq!(tcp(&client.ns, WEB).unwrap(), format!("a {}", client.address));
    for ns in [&client.ns, &lab.w1.ns, &lab.outside] {
        let began = Instant::now();
        // No endpoints, and no such port.
        for at in ["100.64.3.8:80", "100.64.3.7:81"] {
            assert_eq!(tcp(ns, at), Err(ErrorKind::ConnectionRefused), "{at}");
        }
        for at in ["100.64.3.8:53", "100.64.3.7:54"] {
            // A process of the worker is told by its own system call.
            let refused = [Err(ErrorKind::ConnectionRefused), Err(ErrorKind::PermissionDenied)];
            assert!(refused.contains(&ask(&udp(ns, at))), "{at}");
        }
        assert!(began.elapsed().as_secs() < 1, "{:?}", began.elapsed());
        // A service's address is one of ports, not of a machine.
        assert!(!ping(ns, "100.64.3.7"));
    }
    assert_eq!(tcp(&client.ns, "100.64.3.9:80"), Err(ErrorKind::TimedOut));
    assert!(!lab.w1.listing().contains("counter packets 0 bytes 0 drop"), "it was counted");

    // Endpoints come, and go again.
    lab.endpoints("empty", &[&a]);
    lab.w1.wait_for_listing("default/empty:http -> default/a", true);
    assert_eq!(tcp(&client.ns, "100.64.3.8:80").unwrap(), format!("a {}", client.address));
    assert_eq!(ask(&udp(&client.ns, "100.64.3.8:53")).unwrap(), format!("a {}", client.address));
    lab.endpoints("empty", &[]);
    lab.w1.wait_for_listing("default/empty:http -> default/a", false);
    assert_eq!(tcp(&client.ns, "100.64.3.8:80"), Err(ErrorKind::ConnectionRefused));

    // With the service everything of it goes.
    lab.delete("svc", "web");
    lab.delete("svc", "empty");
    for worker in [&lab.w1, &lab.w2] {
        worker.wait_for_listing("100.64.3.", false);
        assert!(!worker.listing().contains("elements"), "{}", worker.listing());
    }
}

#[test]
fn a_node_port_answers_everyone_at_every_address_of_every_worker() {
    let mut lab = Lab::new();
    let (a, c) = (lab.pod(1, "a"), lab.pod(2, "c"));
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 8080, "nodePort": 30053},
    ]);
    let spec = json!({"type": "NodePort", "clusterIP": "100.64.3.7", "ports": ports});
    lab.service("web", spec, &[&a, &c]);
    for worker in [&lab.w1, &lab.w2] {
        worker.wait_for_listing("tcp . 30080 . 1", true);
    }
    let gateway = lab.w1.gateway();
    for (ns, addresses) in [
        (&lab.outside, vec![W1, W2]),
        (&a.ns, vec![W1, W2, &gateway]),
        (&c.ns, vec![W1, W2]),
        (&lab.w1.ns, vec![W1, W2, &gateway]),
    ] {
        for address in addresses {
            let found = counts(tcp_many(ns, &format!("{address}:30080"), 30));
            assert_eq!(found.len(), 2, "{address}: {found:?}");
            assert!(ask(&udp(ns, &format!("{address}:30053"))).is_ok(), "{address}");
        }
    }
    // The other worker would answer whoever asks, so the client comes from this one.
    for answer in tcp_many(&lab.outside, &format!("{W1}:30080"), 20) {
        let answer = answer.unwrap();
        let expected = if answer.starts_with("c ") { W1.to_owned() } else { lab.w1.gateway() };
        assert_eq!(client(&answer).to_string(), expected, "{answer}");
    }
    // Loopback has none, as in the real one, and neither have other hosts.
    assert_eq!(tcp(&lab.w1.ns, "127.0.0.1:30080"), Err(ErrorKind::ConnectionRefused));
    assert_eq!(tcp(&lab.w1.ns, &format!("{OUTSIDE}:30080")), Err(ErrorKind::ConnectionRefused));

    lab.endpoints("web", &[]);
    lab.w1.wait_for_listing("tcp . 30080 . 0", false);
    assert_eq!(tcp(&lab.outside, &format!("{W1}:30080")), Err(ErrorKind::ConnectionRefused));
}
