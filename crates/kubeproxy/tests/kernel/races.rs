//! Packets that are on their way while the rules change.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nft::ruleset::{
    Bytes, Element, Family, LiveElement, Table, Value, add_elements, delete_elements, live_elements,
};
use nft::{Batch, Socket, Transaction};
use serde_json::json;

use crate::lab::{Lab, Worker, output, tcp_many};

const WEB: &str = "100.64.3.7:80";
/// Between two changes of a proxy there is more.
const PAUSE: Duration = Duration::from_millis(1);

fn elements(socket: &mut Socket, table: &Table, map: &str) -> Vec<Element> {
    let mut found = Vec::new();
    live_elements(socket, table, map, |LiveElement { element, .. }| found.push(element)).unwrap();
    found
}

/// What takes the last of three endpoints from a service, and what gives it back, as a proxy does it.
fn takes_and_gives_back(socket: &mut Socket) -> [Batch; 2] {
    let table = Table::new(Family::Ip, "kube-proxy");
    let key = Bytes::default().address(IpAddr::from(Ipv4Addr::new(100, 64, 3, 7))).protocol(6).port(80);
    let of = |elements: Vec<Element>, key: Bytes| elements.into_iter().find(|one| one.key == key).unwrap();
    let three = of(elements(socket, &table, "services"), key);
    let endpoint = of(elements(socket, &table, "service-endpoints"), key.number(2));
    let Value::Data(mark) = &three.value else { panic!("{three:?}") };
    let mark = u32::from_ne_bytes(*mark.first_chunk().unwrap());
    assert_eq!(mark & 0x1fff, 3);
    let two = Element { value: Value::Data(Bytes::default().number(mark - 1)), ..three.clone() };
    let (mut takes, mut gives) = (Transaction::new(), Transaction::new());
    let replace = |transaction: &mut Transaction, by: &Element| {
        delete_elements(&table, "services", [&*by.key]).for_each(|change| transaction.push(&change));
        add_elements(&table, "services", [by]).for_each(|change| transaction.push(&change));
    };
    replace(&mut takes, &two);
    delete_elements(&table, "service-endpoints", [&*endpoint.key]).for_each(|change| takes.push(&change));
    add_elements(&table, "service-endpoints", [&endpoint]).for_each(|change| gives.push(&change));
    replace(&mut gives, &three);
    [takes.seal(), gives.seal()]
}

/// Changes the rules without end while connections are made; says how many were, up to the first that fails, and
/// whether one failed.
fn connect_meanwhile(lab: &Lab, client: &net::NetNs, pause: Option<Duration>, most: usize) -> (usize, bool) {
    let mut socket = lab.w1.ns.run(|| Ok::<_, net::Error>(Socket::open())).unwrap().unwrap();
    let batches = takes_and_gives_back(&mut socket);
    let (stop, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // An even number of times, so that in the end all is as it was.
            while !stop.load(Ordering::Relaxed) {
                for batch in &batches {
                    socket.run(batch).unwrap();
                    turns.fetch_add(1, Ordering::Relaxed);
                    pause.into_iter().for_each(std::thread::sleep);
                }
            }
        });
        let (mut made, mut failed) = (0, false);
        while made < most && !failed {
            let answers = tcp_many(client, WEB, 50);
            failed = answers.iter().any(Result::is_err);
            made += answers.len();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(turns.load(Ordering::Relaxed) > 10, "the rules did change");
        (made, failed)
    })
}

/// Deletes the rules that look again.
fn look_once(worker: &Worker) {
    let listing = output(&worker.ns, "nft", &["-a", "list", "chain", "ip", "kube-proxy", "services"]);
    let again: Vec<_> = listing.lines().filter(|line| line.contains("again, if the rules")).collect();
    assert!(!again.is_empty(), "{listing}");
    for line in again {
        let handle = line.rsplit(' ').next().unwrap();
        output(&worker.ns, "nft", &["delete", "rule", "ip", "kube-proxy", "services", "handle", handle]);
    }
}

#[test]
fn a_packet_that_sees_half_of_a_change_looks_again_and_without_that_it_would_be_refused() {
    let mut lab = Lab::new();
    let pods: Vec<_> = (0..3).map(|n| lab.pod(1, &format!("p{n}"))).collect();
    let client = lab.pod(1, "client");
    lab.service("web", json!({"clusterIP": "100.64.3.7"}), &pods.iter().collect::<Vec<_>>());
    // So that there is a chain for two endpoints all the time.
    lab.service("two", json!({"clusterIP": "100.64.3.8"}), &[&pods[0], &pods[1]]);
    lab.w1.wait_for_listing("default/web -> default/p2", true);
    lab.w1.wait_for_listing("default/two -> default/p1", true);
    lab.w1.stop_proxy();

    let (made, failed) = connect_meanwhile(&lab, &client.ns, Some(PAUSE), 2000);
    assert!(!failed, "one of {made} connections failed");
    // The other way round: what the second look is there for does happen.
    look_once(&lab.w1);
    let began = Instant::now();
    let (mut made, mut failed) = (0, false);
    while !failed {
        assert!(began.elapsed() < Duration::from_secs(120), "{made} connections, and none saw half a change");
        let more = connect_meanwhile(&lab, &client.ns, None, 1000);
        (made, failed) = (made + more.0, more.1);
    }
}
