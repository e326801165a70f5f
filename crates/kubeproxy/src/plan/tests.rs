use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

fn worker() -> Worker {
    Worker { node: "w1".into(), zone: Some("east".into()), family: Family::Ip }
}

/// A service as the API server would have it, but for what a test says.
fn service_of(spec: Value) -> Service {
    let mut all = json!({
        "type": "ClusterIP", "clusterIP": "100.64.3.7", "clusterIPs": ["100.64.3.7"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
    });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": all})).unwrap()
}

fn endpoint(n: u8, more: Value) -> Value {
    let mut all = json!({
        "addresses": [format!("11.10.0.{n}")], "nodeName": if n < 10 { "w1" } else { "w2" },
        "targetRef": {"kind": "Pod", "name": format!("p{n}")},
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn slice_of(endpoints: Vec<Value>) -> EndpointSlice {
    slice_with(json!([{"name": "http", "port": 8080, "protocol": "TCP"}]), endpoints)
}

fn slice_with(ports: Value, endpoints: Vec<Value>) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": "web-x", "namespace": "default"}, "addressType": "IPv4",
        "ports": ports, "endpoints": endpoints,
    }))
    .unwrap()
}

/// A plan in lines, for people.
fn lines(plan: &Plan) -> String {
    let mut out = String::new();
    for (frontend, balance) in &plan.frontends {
        let target = match &balance.target {
            Target::Reject => "reject".to_owned(),
            Target::Drop => "drop".to_owned(),
            Target::Backends(backends) => {
                let one = |backend: &Backend| {
                    let port = if backend.port == 0 { String::new() } else { format!(":{}", backend.port) };
                    format!("{}{port}{}", backend.address, if backend.local { "*" } else { "" })
                };
                backends.iter().map(one).collect::<Vec<_>>().join(" ")
            }
        };
        let affinity = balance.affinity.map(|seconds| format!(", {seconds} s")).unwrap_or_default();
        writeln!(out, "{} {frontend} -> {target} ({:?}{affinity})", balance.owner, balance.masquerade)
            .unwrap();
    }
    plan.warnings.iter().for_each(|warning| writeln!(out, "! {warning}").unwrap());
    out
}

fn planned(spec: Value, slices: &[EndpointSlice]) -> String {
    lines(&service(&service_of(spec), slices, &worker()))
}

fn two() -> EndpointSlice {
    slice_of(vec![endpoint(2, json!({})), endpoint(12, json!({}))])
}

#[test]
fn the_kinds_of_services() {
    let table = [
        ("a cluster IP", json!({})),
        ("headless", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
        ("a name elsewhere", json!({"type": "ExternalName", "clusterIP": "", "clusterIPs": []})),
        ("not yet an address", json!({"clusterIP": "", "clusterIPs": []})),
        ("two families", json!({"clusterIPs": ["100.64.3.7", "fd00:64::7"]})),
        (
            "a node port",
            json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}),
        ),
        ("a node port of a cluster IP", json!({"ports": [{"name": "http", "port": 80, "nodePort": 30080}]})),
        ("external IPs", json!({"externalIPs": ["192.0.2.1", "fd00::1"]})),
        ("affinity", json!({"sessionAffinity": "ClientIP"})),
        (
            "affinity for a minute",
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
        ),
        (
            "only here from outside",
            json!({
                "type": "NodePort", "externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.1"],
                "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            }),
        ),
        ("only here from inside", json!({"internalTrafficPolicy": "Local"})),
        (
            "several ports",
            json!({"ports": [
                {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "zero", "port": 0}, {"name": "odd", "port": 1, "protocol": "ICMP"},
            ]}),
        ),
    ];
    let mut out = String::new();
    for (what, spec) in table {
        writeln!(out, "{what}\n{}", planned(spec, &[two()])).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_balancers_addresses_are_those_that_packets_come_with() {
    let mut of_balancer = service_of(json!({"type": "LoadBalancer"}));
    let ingress = json!({"loadBalancer": {"ingress": [
        {"ip": "192.0.2.8"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"hostname": "lb.example"},
    ]}});
    of_balancer.status = serde_json::from_value(ingress).unwrap();
    let addresses = |service: &Service| {
        let plan = super::service(service, [&two()], &worker());
        plan.frontends.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&of_balancer), ["100.64.3.7:80/tcp", "192.0.2.8:80/tcp"]);
    // What is left of the time when it was one.
    of_balancer.spec.kind = "ClusterIP".into();
    assert_eq!(addresses(&of_balancer), ["100.64.3.7:80/tcp"]);
    // Somebody else serves it.
    of_balancer.metadata.labels = Some([(PROXY_NAME.to_owned(), "other".to_owned())].into());
    assert_eq!(addresses(&of_balancer), [""; 0]);
}

#[test]
fn endpoints_by_how_they_are() {
    let ready = |ready: bool, serving: bool, terminating: bool| json!({"conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
    let (up, ending, gone) = (ready(true, true, false), ready(false, true, true), ready(false, false, true));
    let table = [
        ("nothing said is ready", vec![endpoint(2, json!({})), endpoint(12, up.clone())]),
        ("those that end are left out", vec![endpoint(2, up.clone()), endpoint(12, ending.clone())]),
        ("unless there are no others", vec![endpoint(2, gone.clone()), endpoint(12, ending.clone())]),
        ("one here ends, others do not", vec![endpoint(2, ending), endpoint(12, up)]),
        ("not even serving", vec![endpoint(2, gone.clone()), endpoint(12, gone)]),
        ("twice the same", vec![endpoint(2, ready(false, false, false)), endpoint(2, json!({}))]),
        ("no address at all", vec![json!({"addresses": []}), endpoint(2, json!({"addresses": ["x"]}))]),
    ];
    let mut out = String::new();
    let spec = json!({
        "type": "NodePort", "externalTrafficPolicy": "Local",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    for (what, endpoints) in table {
        writeln!(out, "{what}\n{}", planned(spec.clone(), &[slice_of(endpoints)])).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn ports_are_found_by_name_in_every_slice() {
    let port = |name: &str, number: Value, protocol: &str| json!({"name": name, "port": number, "protocol": protocol});
    let slices = [
        slice_with(json!([port("http", json!(8080), "TCP")]), vec![endpoint(2, json!({}))]),
        // Another version of the pods has the port elsewhere.
        slice_with(json!([port("http", json!(9090), "TCP")]), vec![endpoint(3, json!({}))]),
        slice_with(json!([port("http", json!(8080), "UDP")]), vec![endpoint(4, json!({}))]),
        slice_with(json!([port("other", json!(8080), "TCP")]), vec![endpoint(5, json!({}))]),
        slice_with(json!([port("http", Value::Null, "TCP")]), vec![endpoint(6, json!({}))]),
        slice_with(Value::Null, vec![endpoint(7, json!({}))]),
        serde_json::from_value(json!({
            "metadata": {"name": "six"}, "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}],
            "ports": [port("http", json!(8080), "TCP")],
        }))
        .unwrap(),
    ];
    assert_eq!(
        planned(json!({}), &slices),
        "default/web:http 100.64.3.7:80/tcp -> 11.10.0.2:8080* 11.10.0.3:9090* (Outside)\n"
    );
    // The only port may have no name, in both.
    let slice = slice_with(json!([{"port": 8080}]), vec![endpoint(2, json!({}))]);
    assert_eq!(
        planned(json!({"ports": [{"port": 80}]}), &[slice]),
        "default/web 100.64.3.7:80/tcp -> 11.10.0.2:8080* (Outside)\n"
    );
}

#[test]
fn hints_are_heard_if_everybody_gives_them_and_somebody_is_near() {
    let zone = |n: u8, zone: &str, hint: &str| {
        endpoint(n, json!({"zone": zone, "hints": {"forZones": [{"name": hint}]}}))
    };
    let node = |n: u8, node: &str| endpoint(n, json!({"hints": {"forNodes": [{"name": node}]}}));
    let silent = |n: u8, zone: &str| endpoint(n, json!({"zone": zone}));
    let addresses = |spec: Value, endpoints: Vec<Value>| {
        let text = planned(spec, &[slice_of(endpoints)]);
        text.split_once(" -> ").unwrap().1.split_once(" (").unwrap().0.to_owned()
    };
    let none = || json!({});
    let close = || json!({"trafficDistribution": "PreferClose"});
    assert_eq!(addresses(none(), vec![zone(2, "east", "east"), zone(12, "west", "west")]), "11.10.0.2:8080*");
    // A hint may send clients to another zone than the endpoint's.
    assert_eq!(addresses(none(), vec![zone(2, "east", "west"), zone(12, "west", "east")]), "11.10.0.12:8080");
    let all = "11.10.0.2:8080* 11.10.0.12:8080";
    assert_eq!(addresses(none(), vec![zone(2, "north", "north"), zone(12, "west", "west")]), all);
    assert_eq!(addresses(none(), vec![zone(2, "east", "east"), silent(12, "west")]), all);
    assert_eq!(addresses(none(), vec![node(2, "w1"), node(12, "w2")]), "11.10.0.2:8080*");
    assert_eq!(addresses(none(), vec![node(2, "w3"), node(12, "w2")]), all);
    // Without hints zones count only where that is wanted.
    assert_eq!(addresses(none(), vec![silent(2, "east"), silent(12, "west")]), all);
    assert_eq!(addresses(close(), vec![silent(2, "east"), silent(12, "west")]), "11.10.0.2:8080*");
    assert_eq!(addresses(close(), vec![silent(2, "north"), silent(12, "west")]), all);
    assert_eq!(addresses(close(), vec![silent(2, "east"), endpoint(12, json!({}))]), all);
}

#[test]
fn more_endpoints_than_there_is_room_for_are_told() {
    let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0b0a_0000 + n)).to_string();
    let endpoints = (0..9000).map(|n| json!({"addresses": [address(n)]})).collect();
    let plan = service(&service_of(json!({})), [&slice_of(endpoints)], &worker());
    assert_eq!(plan.warnings, ["service default/web:http: only 8190 of its 9000 endpoints are used"]);
}

#[test]
fn a_virtual_ip_has_the_pods_that_are_known() {
    let vip = |spec: Value| -> VirtualIP {
        serde_json::from_value(json!({"metadata": {"name": "v", "namespace": "default"}, "spec": spec}))
            .unwrap()
    };
    let at = |text: &str, local| PodAddress { address: text.parse().unwrap(), local };
    let pods: BTreeMap<_, _> = [
        (ObjectName::new("default", "c2"), at("11.10.0.2", true)),
        (ObjectName::new("default", "c3"), at("11.10.0.12", false)),
        (ObjectName::new("other", "c4"), at("11.10.0.4", false)),
    ]
    .into();
    let table = [
        json!({"address": "100.64.10.1", "pods": ["c3", "c2"]}),
        json!({"address": "100.64.10.1", "pods": ["c4"]}),
        json!({"address": "100.64.10.1", "pods": ["c2"], "addresses": ["11.10.0.2", "11.10.0.9", "fd00::1", "x"]}),
        json!({"address": "fd00::7", "pods": ["c2"]}),
        json!({"address": "", "pods": ["c2"]}),
    ];
    let text: Vec<_> =
        table.into_iter().map(|spec| lines(&virtual_ip(&vip(spec), &pods, &worker()))).collect();
    insta::assert_snapshot!(text.join("\n"));
}
