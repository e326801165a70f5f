//! Tampering, restarts, foreign tables, loads that the kernel does not take at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use api::types::api::core::v1::Event;
use kubeproxy::Networks;
use kubeproxy::apply::Netlink;
use kubeproxy::objects::EndpointSlice;
use kubeproxy::plan::{self, Worker};
use kubeproxy::proxy::Proxy;
use kubeproxy::state::{Source, State};
use nft::ruleset::{Family, Table, live_elements};
use serde_json::{Value, json};
use store::ObjectName;
use testkit::wait_for;

use crate::lab::{LIMIT, Lab, Pod, counts, endpoint, numbered, output, say, talk, tcp, tcp_many};

const WEB: &str = "100.64.3.7:80";
const RESYNC: Duration = Duration::from_millis(100);

fn cluster_ip() -> Value {
    json!({"clusterIP": "100.64.3.7"})
}

/// A listing with the elements of each map in order, one a line: the kernel has them in none.
fn sorted(listing: &str) -> String {
    let mut out = String::new();
    let mut rest = listing;
    while let Some((before, after)) = rest.split_once("elements = {") {
        let (elements, after) = after.split_once(" }\n").unwrap();
        let joined = elements.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut quoted = false;
        let ends = |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        };
        let mut elements: Vec<_> = joined.split(ends).map(str::trim).collect();
        elements.sort_unstable();
        out += &format!("{before}elements = {{\n\t\t\t{}\n\t\t}}\n", elements.join(",\n\t\t\t"));
        rest = after;
    }
    out + rest
}

#[test]
fn the_table_explains_itself_and_loads_again() {
    let mut lab = Lab::without_proxies();
    let (a, b, c) = (lab.pod(1, "a"), lab.pod(1, "b"), lab.pod(2, "c"));
    let http = |port: u16| json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": port}]);
    lab.service("web", cluster_ip(), &[&a, &b, &c]);
    lab.service("empty", json!({"clusterIP": "100.64.3.8"}), &[]);
    lab.service(
        "local",
        json!({"type": "NodePort", "clusterIP": "100.64.3.9", "externalTrafficPolicy": "Local", "ports": http(30_080)}),
        &[&c],
    );
    lab.service(
        "sticky",
        json!({"type": "NodePort", "clusterIP": "100.64.3.10", "sessionAffinity": "ClientIP", "ports": http(30_081)}),
        &[&a],
    );
    lab.apply(json!({
        "apiVersion": "knetsim.dev/v1", "kind": "VirtualIP", "metadata": {"name": "100.64.10.1"},
        "spec": {"address": "100.64.10.1", "addresses": ["11.10.0.3", "11.10.16.2"]},
    }));
    lab.start_proxies();
    let listing = lab.w1.listing();
    insta::assert_snapshot!(sorted(&listing));
    // Every element and every chain says what it is there for.
    let text = sorted(&listing);
    let element = |line: &&str| line.starts_with("\t\t\t");
    let silent: Vec<_> = text.lines().filter(element).filter(|line| !line.contains("comment \"")).collect();
    assert!(silent.is_empty() && text.lines().filter(element).count() > 30, "{silent:?}");
    let chains = listing.matches("\tchain ").count();
    assert_eq!(listing.matches("{\n\t\tcomment \"").count(), chains);

    let other = testkit::netns();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &listing).unwrap();
    output(&other, "nft", &["-f", file.path().to_str().unwrap()]);
    assert_eq!(sorted(&output(&other, "nft", &["list", "ruleset"])), sorted(&listing));
}

#[test]
fn what_somebody_changes_is_put_right_and_told_and_other_tables_are_left_alone() {
    let mut lab = Lab::without_proxies();
    let (a, b) = (lab.pod(1, "a"), lab.pod(1, "b"));
    lab.service("web", cluster_ip(), &[&a, &b]);
    let ns = lab.w1.ns.try_clone().unwrap();
    let nft = |words: &str, ns: &net::NetNs| output(ns, "nft", &words.split(' ').collect::<Vec<_>>());
    nft("add table ip other", &ns);
    nft("add chain ip other nat-output", &ns);
    nft("add table ip6 kube-proxy", &ns);
    lab.w1.start_proxy_with(&lab.store, RESYNC);
    let whole = sorted(&lab.w1.listing());
    let others = nft("list table ip other", &ns);
    for (what, words) in [
        ("map services lacked an element", "flush map ip kube-proxy services"),
        ("map cluster-ips had an element too many", "add element ip kube-proxy cluster-ips { 100.64.3.99 }"),
        ("chain refuse had other rules", "flush chain ip kube-proxy refuse"),
        ("chain services had other rules", "insert rule ip kube-proxy services accept"),
        ("chain stranger was too many", "add chain ip kube-proxy stranger"),
        ("map stranger was too many", "add set ip kube-proxy stranger { type inet_service; }"),
        ("the table was gone", "delete table ip kube-proxy"),
    ] {
        nft(words, &ns);
        wait_for(what, LIMIT, || {
            let listing = sorted(&output(&lab.w1.ns, "nft", &["list", "tables"]));
            let now = if listing.contains("ip kube-proxy") { sorted(&lab.w1.listing()) } else { listing };
            if now == whole { Ok(()) } else { Err(now) }
        });
        wait_for(what, LIMIT, || {
            let events: Vec<Event> = lab.run(lab.store.list(None)).unwrap();
            let said: Vec<_> = events.iter().filter_map(|event| event.message.clone()).collect();
            if said.iter().any(|message| message.contains(what)) { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
    assert_eq!(nft("list table ip other", &ns), others);
    assert_eq!(nft("list table ip6 kube-proxy", &ns), "table ip6 kube-proxy {\n}\n");
    assert_eq!(counts(tcp_many(&a.ns, WEB, 40)).len(), 2);
    // What others do to tables of theirs is no event.
    nft("add rule ip other nat-output accept", &ns);
    lab.service("more", json!({"clusterIP": "100.64.3.8"}), &[&a]);
    lab.w1.wait_for_listing("default/more", true);
    let events = lab.run(lab.store.list::<Event>(None)).unwrap();
    let of_others: Vec<_> =
        events.iter().filter_map(|e| e.message.as_ref()).filter(|said| said.contains("nat-output")).collect();
    assert!(of_others.is_empty(), "{of_others:?}");
}

#[test]
fn a_table_of_someone_else_is_not_touched() {
    let mut lab = Lab::without_proxies();
    let a = lab.pod(1, "a");
    lab.service("web", cluster_ip(), &[&a]);
    let foreign = ["add", "table", "ip", "kube-proxy", "{ comment \"rules for kube-proxy\"; }"];
    output(&lab.w1.ns, "nft", &foreign);
    let before = lab.w1.listing();
    lab.w1.start_proxy_unready(&lab.store);
    lab.w1
        .wait_until(false, "table ip kube-proxy was not made by knetsim (its comment: rules for kube-proxy)");
    lab.service("more", json!({"clusterIP": "100.64.3.8"}), &[&a]);
    lab.w1.wait_until(false, "delete it (nft delete table ip kube-proxy) or stop what made it");
    assert_eq!(lab.w1.listing(), before);
    output(&lab.w1.ns, "nft", &["delete", "table", "ip", "kube-proxy"]);
    lab.w1.wait_until(true, "2 services");
    assert!(tcp(&a.ns, WEB).is_ok());
}

#[test]
fn an_agent_that_starts_anew_writes_only_what_has_changed_and_connections_do_not_notice() {
    let mut lab = Lab::new();
    let pods: Vec<_> = (0..4).map(|n| lab.pod(1, &format!("p{n}"))).collect();
    let all: Vec<_> = pods.iter().collect();
    let sticky = json!({"clusterIP": "100.64.3.8", "sessionAffinity": "ClientIP"});
    lab.service("web", cluster_ip(), &all);
    lab.service("sticky", sticky, &all);
    // So that endpoints are not where a fresh table would have them.
    for name in ["web", "sticky"] {
        lab.endpoints(name, &all[1..]);
        lab.w1.wait_for_listing(&format!("default/{name} -> default/p0/"), false);
    }
    let generation = |lab: &Lab| -> u32 {
        let mut socket = lab.w1.ns.run(|| Ok::<_, net::Error>(nft::Socket::open())).unwrap().unwrap();
        socket.generation().unwrap()
    };
    let (before, listing) = (generation(&lab), lab.w1.listing());
    lab.w1.stop_proxy();
    // Without one the last state serves.
    assert_eq!(counts(tcp_many(&pods[0].ns, WEB, 40)).len(), 3);
    lab.w1.start_proxy(&lab.store);
    assert_eq!(generation(&lab), before, "nothing was written");
    lab.w1.stop_proxy();
    lab.endpoints("web", &all[..2]);
    lab.delete("svc", "sticky");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let failures = scope.spawn(|| {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                failures.extend(tcp_many(&pods[3].ns, WEB, 10).into_iter().filter_map(Result::err));
            }
            failures
        });
        lab.w1.start_proxy(&lab.store);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failures.join().unwrap(), []);
    });
    assert_eq!(generation(&lab), before + 1, "one transaction");
    let now = lab.w1.listing();
    assert!(!now.contains("sticky") && now != listing, "{now}");
    assert_eq!(counts(tcp_many(&pods[3].ns, WEB, 40)).into_keys().collect::<Vec<_>>(), ["p0", "p1"]);
}

#[test]
fn endpoints_come_and_go_and_no_connection_goes_where_none_is() {
    const CONNECTIONS: usize = 10_000;
    let mut lab = Lab::new();
    let pods: Vec<_> = (0..3).map(|n| lab.pod(1, &format!("p{n}"))).collect();
    let (client, stays) = (lab.pod(1, "client"), lab.pod(2, "stays"));
    let all: Vec<_> = pods.iter().collect();
    lab.service("web", cluster_ip(), &all);
    lab.service("long", json!({"clusterIP": "100.64.3.9"}), &[]);
    let long = |pods: &[&Pod]| lab.slice_on("long", 8081, pods.iter().map(|pod| endpoint(pod)).collect());
    long(&[&all[..], &[&stays]].concat());
    pods.iter().chain([&stays]).for_each(|pod| lab.echo(pod));
    lab.w1.wait_for_listing("default/web -> default/p2", true);
    lab.w1.wait_for_listing("default/long -> default/stays", true);
    // Of a service whose endpoints go but for one, whoever talks to that one goes on talking.
    let mut talks: Vec<_> = (0..20).map(|_| talk(&client.ns, "100.64.3.9:80")).collect();
    assert!(talks.iter_mut().all(|talk| say(talk, "hello") == "hello"));
    let (made, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let more = tcp_many(&client.ns, WEB, 50);
                made.fetch_add(more.len(), Ordering::Relaxed);
                answers.extend(more);
            }
            answers
        });
        let mut round = 0;
        while round < 60 || made.load(Ordering::Relaxed) < CONNECTIONS {
            let gone = round % 3;
            let some: Vec<_> =
                all.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, pod)| *pod).collect();
            lab.endpoints("web", &some);
            long(&[&some[..], &[&stays]].concat());
            lab.w1.wait_for_listing(&format!("default/web -> default/p{gone}/"), false);
            // From now on not one connection goes there.
            let found = counts(tcp_many(&client.ns, WEB, 30));
            assert!(!found.contains_key(&format!("p{gone}")), "{found:?}");
            made.fetch_add(30, Ordering::Relaxed);
            round += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let answers = answers.join().unwrap();
        let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
        assert!(failed.is_empty(), "of {}: {failed:?}", answers.len());
    });
    long(&[&stays]);
    lab.w1.wait_for_listing("default/long -> default/p", false);
    talks.iter_mut().for_each(|talk| assert_eq!(say(talk, "still there?"), "still there?"));
}

#[test]
fn a_load_that_the_kernel_does_not_take_at_once_is_split_and_no_connection_notices() {
    const SERVICES: u32 = 1500;
    let mut lab = Lab::without_proxies();
    let pods: Vec<_> = (0..6).map(|n| lab.pod(1, &format!("p{n}"))).collect();
    let worker = Worker { node: "w1".into(), zone: None, family: Family::Ip };
    let networks =
        Networks { pods: "11.0.0.0/8".parse().unwrap(), services: "100.64.0.0/14".parse().unwrap() };
    let kernel = lab.w1.ns.run(|| Ok::<_, net::Error>(Netlink::open(Family::Ip, "w1"))).unwrap().unwrap();
    // A message has 64 KiB at most.
    let mut proxy = Proxy::new(kernel.at_most(70_000), State::new(networks), lab.w1.address.into());
    let plan = |n: u32, (service, slice): (Value, Value)| {
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let plan = plan::service(&serde_json::from_value(service).unwrap(), [&slice], &worker);
        (Source::Service(ObjectName::new("default", &format!("svc-{n}"))), plan)
    };
    // Of number 0 the endpoints are real ones, in turn these and those, so that it is in every load.
    let real = |pods: &[Pod]| {
        let (service, mut slice) = numbered(0, 0);
        slice["endpoints"] = pods.iter().map(endpoint).collect();
        plan(0, (service, slice))
    };
    let others = |endpoints: u32| (1..SERVICES).map(move |n| plan(n, numbered(n, endpoints)));
    proxy.load([real(&pods[..3])]).unwrap();
    let mut socket = lab.w1.ns.run(|| Ok::<_, net::Error>(nft::Socket::open())).unwrap().unwrap();
    let before = socket.generation().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                answers.extend(tcp_many(&pods[5].ns, "100.64.0.1:80", 50));
            }
            answers
        });
        for (some, endpoints) in [(2..6, 3), (0..2, 1), (1..5, 4), (3..4, 2)] {
            let all = others(endpoints).chain([real(&pods[some])]);
            proxy.change(all.map(|(source, plan)| (source, Some(plan)))).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let answers = answers.join().unwrap();
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        assert!(failed == 0 && answers.len() > 50, "{failed} of {}", answers.len());
    });
    assert!(socket.generation().unwrap() > before + 20, "many transactions");
    assert_eq!(counts(tcp_many(&pods[0].ns, "100.64.0.1:80", 10)).into_keys().collect::<Vec<_>>(), ["p3"]);
    let table = Table::new(Family::Ip, "kube-proxy");
    for (map, count) in
        [("services", SERVICES), ("service-endpoints", 2 * SERVICES - 1), ("cluster-ips", SERVICES)]
    {
        let mut found = 0;
        live_elements(&mut socket, &table, map, |_| found += 1).unwrap();
        assert_eq!(found, count, "{map}");
    }
    assert_eq!(proxy.resync().unwrap().ops, 0);
}

#[test]
fn of_two_services_that_want_the_same_one_gets_it_and_the_other_one_when_it_goes() {
    let mut lab = Lab::new();
    let (a, b) = (lab.pod(1, "a"), lab.pod(1, "b"));
    let spec = |ip: &str| json!({"clusterIP": ip, "externalIPs": ["192.0.2.7"]});
    lab.service("first", spec("100.64.3.7"), &[&a]);
    lab.w1.wait_for_listing("192.0.2.7 . tcp . 80", true);
    lab.service("second", spec("100.64.3.8"), &[&b]);
    lab.w1.wait_for_listing("default/second -> default/b", true);
    let who = |at: &str| counts(tcp_many(&lab.outside, at, 10)).into_keys().collect::<Vec<_>>();
    assert_eq!((who("192.0.2.7:80"), who("100.64.3.8:80")), (vec!["a".into()], vec!["b".into()]));
    lab.delete("svc", "first");
    lab.w1.wait_for_listing("default/first", false);
    assert_eq!(who("192.0.2.7:80"), ["b"]);
}
