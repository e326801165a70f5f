//! Who is served by which endpoint: traffic policies, affinity, addresses from outside, topology.

use std::io::ErrorKind;

use serde_json::{Value, json};

use crate::lab::{Lab, Pod, W1, W2, client, counts, endpoint, output, tcp, tcp_many};

const WEB: &str = "100.64.3.7:80";

fn names(answers: Vec<Result<String, ErrorKind>>) -> Vec<String> {
    counts(answers).into_keys().collect()
}

#[test]
fn external_traffic_policy_local_keeps_the_client_and_the_worker() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.pod(1, "a"), lab.pod(1, "b"), lab.pod(1, "c"));
    let spec = json!({
        "type": "NodePort", "clusterIP": "100.64.3.7", "externalTrafficPolicy": "Local",
        "externalIPs": ["192.0.2.7"], "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
    });
    lab.service("web", spec, &[&a, &b]);
    lab.w1.wait_for_listing("outside-node-ports", true);
    lab.w2.wait_for_listing("outside-node-ports", true);
    // The client is seen as it is. It has no way to pods of its own, and needs none.
    for at in [format!("{W1}:30080"), "192.0.2.7:80".into()] {
        let answers = tcp_many(&lab.outside, &at, 30);
        answers
            .iter()
            .for_each(|answer| assert_eq!(client(answer.as_ref().unwrap()).to_string(), "10.1.0.1"));
        assert_eq!(names(answers), ["a", "b"], "{at}");
    }
    // A worker without an endpoint does not answer from outside, but pods and the worker itself are served.
    assert_eq!(tcp(&lab.outside, &format!("{W2}:30080")), Err(ErrorKind::TimedOut));
    for ns in [&lab.w2.ns, &c.ns] {
        assert_eq!(names(tcp_many(ns, WEB, 30)), ["a", "b"]);
    }
    assert_eq!(names(tcp_many(&lab.w2.ns, &format!("{W2}:30080"), 30)), ["a", "b"]);
    // A pod stays itself at an address from outside, as at the service's own.
    assert_eq!(client(&tcp(&c.ns, "192.0.2.7:80").unwrap()).to_string(), c.address.to_string());
    // From outside, too, the service's own address leads anywhere, by way of the worker.
    assert_eq!(client(&tcp(&lab.outside, WEB).unwrap()).to_string(), lab.w1.gateway());

    lab.endpoints("web", &[]);
    lab.w2.wait_for_listing("default/web -> ", false);
    assert_eq!(
        tcp(&lab.outside, &format!("{W2}:30080")),
        Err(ErrorKind::ConnectionRefused),
        "nobody anywhere"
    );
}

#[test]
fn internal_traffic_policy_local_stays_on_the_worker() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.pod(1, "a"), lab.pod(1, "b"), lab.pod(2, "c"));
    let spec = json!({"clusterIP": "100.64.3.7", "internalTrafficPolicy": "Local"});
    lab.service("web", spec, &[&a, &c]);
    lab.w1.wait_for_listing("default/web -> default/a/", true);
    lab.w2.wait_for_listing("default/web -> default/c/", true);
    assert_eq!(names(tcp_many(&b.ns, WEB, 30)), ["a"]);
    assert_eq!(names(tcp_many(&lab.w1.ns, WEB, 30)), ["a"]);
    assert_eq!(names(tcp_many(&c.ns, WEB, 30)), ["c"]);
    lab.endpoints("web", &[&a]);
    lab.w2.wait_for_listing("default/web -> ", false);
    assert_eq!(tcp(&c.ns, WEB), Err(ErrorKind::TimedOut), "there is one, but elsewhere");
    lab.endpoints("web", &[]);
    lab.w2.wait_for_listing("comment \"no endpoints\" : goto refuse", true);
    assert_eq!(tcp(&c.ns, WEB), Err(ErrorKind::ConnectionRefused));
}

#[test]
fn a_client_stays_with_its_endpoint_until_that_goes_or_its_time_is_up() {
    let mut lab = Lab::new();
    let pods: Vec<_> = (0..4).map(|n| lab.pod(1 + n % 2, &format!("p{n}"))).collect();
    let all: Vec<&Pod> = pods.iter().collect();
    let spec = |seconds: u32| {
        json!({
            "type": "NodePort", "clusterIP": "100.64.3.7", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        })
    };
    lab.service("web", spec(10_800), &all);
    lab.w1.wait_for_listing("default/web -> default/p3", true);
    let mut seen = Vec::new();
    // A pod, the worker and one from outside, of whom only the pod is not masqueraded; and by the node port.
    for (ns, at) in
        [(&pods[0].ns, WEB), (&lab.w1.ns, WEB), (&lab.outside, WEB), (&lab.outside, &format!("{W1}:30080"))]
    {
        let found = names(tcp_many(ns, at, 40));
        assert_eq!(found.len(), 1, "{found:?}");
        seen.extend(found);
    }
    let listing = lab.w1.listing();
    assert!(listing.contains("timeout 3h expires"), "{listing}");
    let answer = tcp(&pods[0].ns, WEB).unwrap();
    let own = if answer.starts_with("p0 ") { lab.w1.gateway() } else { pods[0].address.to_string() };
    assert_eq!(client(&answer).to_string(), own);

    // Others may go: the client stays. Its own goes: it gets another, and stays with that.
    let own = pods.iter().find(|pod| pod.name == seen[0]).unwrap();
    let other = pods.iter().find(|pod| pod.name != seen[0]).unwrap();
    let without = |gone: &[&Pod]| -> Vec<&Pod> {
        pods.iter().filter(|pod| !gone.iter().any(|gone| gone.name == pod.name)).collect()
    };
    lab.endpoints("web", &without(&[other]));
    lab.w1.wait_for_listing(&format!("default/{}/", other.name), false);
    assert_eq!(names(tcp_many(&pods[0].ns, WEB, 40)), [own.name.as_str()]);
    lab.endpoints("web", &without(&[own, other]));
    lab.w1.wait_for_listing(&format!("default/web -> default/{}/", own.name), false);
    let found = names(tcp_many(&pods[0].ns, WEB, 40));
    assert!(found.len() == 1 && found[0] != own.name, "{found:?}");
    // It comes back, but the client has found another.
    lab.endpoints("web", &without(&[other]));
    lab.w1.wait_for_listing(&format!("default/web -> default/{}/", own.name), true);
    assert_eq!(names(tcp_many(&pods[0].ns, WEB, 40)), found);

    // With a second of time it does not last.
    lab.service("web", spec(1), &all);
    lab.w1.wait_for_listing("service-4-1s", true);
    // What is remembered of the longer time stays for that long.
    output(&lab.w1.ns, "nft", &["flush", "map", "ip", "kube-proxy", "service-clients"]);
    let first = names(tcp_many(&pods[0].ns, WEB, 20));
    assert_eq!(first.len(), 1, "{first:?}");
    testkit::wait_for("another endpoint after a second", crate::lab::LIMIT, || {
        // Each connection begins the second anew; so it waits for the entry to go.
        let clients = output(&lab.w1.ns, "nft", &["list", "map", "ip", "kube-proxy", "service-clients"]);
        let gone = !clients.contains("expires");
        let found = if gone { names(tcp_many(&pods[0].ns, WEB, 1)) } else { first.clone() };
        if found == first { Err(format!("{found:?}")) } else { Ok(()) }
    });
}

#[test]
fn addresses_from_outside_are_served() {
    let mut lab = Lab::new();
    let (a, c) = (lab.pod(1, "a"), lab.pod(2, "c"));
    let document = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "100.64.3.7", "externalIPs": ["192.0.2.7"],
            "ports": [{"port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}]}},
    });
    lab.apply(document);
    lab.endpoints("web", &[&a, &c]);
    lab.w1.wait_for_listing("192.0.2.8 . tcp . 80 . 1", true);
    assert!(!lab.w1.listing().contains("192.0.2.9"), "a proxy's packets come with another address");
    for at in ["192.0.2.7:80", "192.0.2.8:80"] {
        for ns in [&lab.outside, &a.ns, &lab.w1.ns] {
            assert_eq!(names(tcp_many(ns, at, 30)), ["a", "c"], "{at}");
        }
        // Answers have to come by this worker.
        for answer in tcp_many(&lab.outside, at, 10) {
            let answer = answer.unwrap();
            let expected = if answer.starts_with("c ") { W1.to_owned() } else { lab.w1.gateway() };
            assert_eq!(client(&answer).to_string(), expected);
        }
    }
}

#[test]
fn endpoints_that_end_serve_while_there_are_no_others_and_near_ones_are_preferred() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.pod(1, "a"), lab.pod(1, "b"), lab.pod(2, "c"));
    lab.service("web", json!({"clusterIP": "100.64.3.7"}), &[]);
    let with = |pod: &Pod, ready: bool, serving: bool, terminating: bool| {
        let mut endpoint = endpoint(pod);
        endpoint["conditions"] = json!({"ready": ready, "serving": serving, "terminating": terminating});
        endpoint
    };
    lab.slice(
        "web",
        vec![with(&a, true, true, false), with(&b, false, true, true), with(&c, false, false, false)],
    );
    lab.w1.wait_for_listing("default/web -> default/a/", true);
    assert_eq!(names(tcp_many(&lab.outside, WEB, 20)), ["a"]);
    lab.slice(
        "web",
        vec![with(&a, false, false, true), with(&b, false, true, true), with(&c, false, false, false)],
    );
    lab.w1.wait_for_listing("default/web -> default/b/", true);
    assert_eq!(names(tcp_many(&lab.outside, WEB, 20)), ["b"]);
    lab.slice("web", vec![with(&a, false, false, true), with(&b, false, false, true)]);
    lab.w1.wait_for_listing("default/web -> ", false);
    assert_eq!(tcp(&lab.outside, WEB), Err(ErrorKind::ConnectionRefused));

    // Hints, once the worker is in a zone.
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "w1", "labels": {"topology.kubernetes.io/zone": "east"}},
    });
    lab.apply(node);
    let hinted = |pod: &Pod, zone: &str| {
        let mut endpoint = endpoint(pod);
        endpoint["zone"] = zone.into();
        endpoint["hints"] = json!({"forZones": [{"name": zone}]});
        endpoint
    };
    lab.slice("web", vec![hinted(&a, "east"), hinted(&b, "west"), hinted(&c, "east")]);
    lab.w1.wait_for_listing("default/web -> default/c/", true);
    lab.w1.wait_for_listing("default/web -> default/b/", false);
    assert_eq!(names(tcp_many(&lab.w1.ns, WEB, 30)), ["a", "c"]);
    lab.w2.wait_for_listing("default/web -> default/b/", true);
    assert_eq!(names(tcp_many(&lab.w2.ns, WEB, 60)), ["a", "b", "c"], "of no zone");
    // One that says nothing, and all are used.
    lab.slice("web", vec![hinted(&a, "east"), hinted(&b, "west"), endpoint(&c)]);
    lab.w1.wait_for_listing("default/web -> default/b/", true);
    assert_eq!(names(tcp_many(&lab.w1.ns, WEB, 60)), ["a", "b", "c"]);

    // Zones without hints count for who wants near ones.
    let near = |distribution: Value| json!({"clusterIP": "100.64.3.7", "trafficDistribution": distribution});
    lab.service("web", near("PreferClose".into()), &[]);
    let zoned = |pod: &Pod, zone: &str| {
        let mut endpoint = endpoint(pod);
        endpoint["zone"] = zone.into();
        endpoint
    };
    lab.slice("web", vec![zoned(&a, "east"), zoned(&b, "west"), zoned(&c, "west")]);
    lab.w1.wait_for_listing("default/web -> default/b/", false);
    assert_eq!(names(tcp_many(&lab.w1.ns, WEB, 30)), ["a"]);
    lab.service("web", near(Value::Null), &[]);
    lab.slice("web", vec![zoned(&a, "east"), zoned(&b, "west"), zoned(&c, "west")]);
    lab.w1.wait_for_listing("default/web -> default/c/", true);
    assert_eq!(names(tcp_many(&lab.w1.ns, WEB, 60)), ["a", "b", "c"]);
}
