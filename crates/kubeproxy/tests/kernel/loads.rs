//! Tables with many services.

use kubeproxy::Networks;
use kubeproxy::apply::Netlink;
use kubeproxy::objects::EndpointSlice;
use kubeproxy::plan::{self, Worker};
use kubeproxy::proxy::Proxy;
use kubeproxy::state::{Plan, Source, State};
use nft::ruleset::{Family, Table, live_elements};
use serde_json::Value;
use store::ObjectName;

use crate::lab::{Lab, counts, endpoint, numbered, output, tcp_many};

fn plan(n: u32, (service, slice): (Value, Value)) -> (Source, Plan) {
    let worker = Worker { node: "w1".into(), zone: None, family: Family::Ip };
    let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
    let plan = plan::service(&serde_json::from_value(service).unwrap(), [&slice], &worker);
    (Source::Service(ObjectName::new("default", &format!("svc-{n}"))), plan)
}

#[test]
fn a_table_that_begins_large_has_its_size_and_gets_another_when_that_is_not_enough() {
    const BEGIN: u32 = 1100;
    let mut lab = Lab::without_proxies();
    let pods: Vec<_> = (0..2).map(|n| lab.pod(1, &format!("p{n}"))).collect();
    let networks =
        Networks { pods: "11.0.0.0/8".parse().unwrap(), services: "100.64.0.0/14".parse().unwrap() };
    let proxy = |lab: &Lab| {
        let kernel = lab.w1.ns.run(|| Ok::<_, net::Error>(Netlink::open(Family::Ip, "w1"))).unwrap().unwrap();
        Proxy::new(kernel, State::new(networks.clone()), lab.w1.address.into())
    };
    let real = |n: usize| {
        let (service, mut slice) = numbered(0, 0);
        slice["endpoints"] = [endpoint(&pods[n])].into_iter().collect();
        plan(0, (service, slice))
    };
    let others = |from: u32, to: u32| (from..to).map(|n| plan(n, numbered(n, 1)));
    let size = |lab: &Lab| {
        let listing = output(&lab.w1.ns, "nft", &["-t", "list", "map", "ip", "kube-proxy", "services"]);
        listing.lines().find_map(|line| line.trim().strip_prefix("size ")?.parse::<u32>().ok())
    };
    let mut socket = lab.w1.ns.run(|| Ok::<_, net::Error>(nft::Socket::open())).unwrap().unwrap();
    let table = Table::new(Family::Ip, "kube-proxy");
    let mut count = || {
        let mut found = 0;
        live_elements(&mut socket, &table, "services", |_| found += 1).unwrap();
        found
    };
    let answers = || counts(tcp_many(&pods[0].ns, "100.64.0.1:80", 5)).into_keys().next().unwrap();

    let mut first = proxy(&lab);
    first.load(others(1, BEGIN).chain([real(0)])).unwrap();
    assert_eq!((size(&lab), count()), (Some(4096), BEGIN));
    // One that starts anew leaves it, and goes on with it.
    let mut second = proxy(&lab);
    assert_eq!(second.load(others(1, BEGIN).chain([real(0)])).unwrap().ops, 0);
    let more = |from, to| others(from, to).map(|(source, plan)| (source, Some(plan)));
    second.change(more(BEGIN, 4096)).unwrap();
    assert_eq!((size(&lab), count()), (Some(4096), 4096));
    assert_eq!(answers(), "p0");
    let (source, plan) = real(1);
    let done = second.change(more(4096, 4100).chain([(source, Some(plan))])).unwrap();
    assert_eq!((size(&lab), count(), done.repaired), (Some(16_384), 4100, None));
    assert_eq!(answers(), "p1");
    assert_eq!(second.resync().unwrap().ops, 0);
    // Who fills it up with something else is put out.
    let strange: Vec<_> = (0..13_000)
        .map(|n: u32| format!("10.{}.{}.{} . tcp . 9 : 0", n >> 16, n >> 8 & 255, n & 255))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let last = 16_384 - 4100;
    let strange = format!("add element ip kube-proxy services {{ {} }}\n", strange[..last].join(", "));
    std::fs::write(file.path(), strange + "delete element ip kube-proxy services { 100.64.0.1 . tcp . 80 }\nadd element ip kube-proxy services { 10.9.9.9 . tcp . 9 : 0 }\n").unwrap();
    output(&lab.w1.ns, "nft", &["-f", file.path().to_str().unwrap()]);
    let done = second.resync().unwrap();
    assert_eq!((size(&lab), count(), done.repaired.is_some()), (Some(16_384), 4100, true));
    assert_eq!(answers(), "p1");
}
