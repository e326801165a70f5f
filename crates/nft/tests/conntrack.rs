//! Tracked connections of a namespace: seen, told apart, forgotten.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, UdpSocket};

use net::NetNs;
use nft::conntrack::{flows, forget};
use nft::ruleset::{At, Chain, Family, Hook, Rule, Table};
use nft::{Socket, Transaction};
use testkit::netns;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// Nothing is tracked before somebody wants to know of connections.
fn tracked() -> (NetNs, Socket) {
    let ns = netns();
    let mut socket = ns.run(|| Ok::<_, net::Error>(Socket::open())).unwrap().unwrap();
    let mut transaction = Transaction::new();
    for family in [Family::Ip, Family::Ip6] {
        let table = Table::new(family, "test");
        let chain = Chain {
            name: "out".into(),
            hook: Some(Hook { at: At::Output, priority: -100 }),
            comment: String::new(),
            rules: vec![],
        };
        transaction.push(&table.add(""));
        transaction.push(&table.add_chain(&chain));
        transaction.push(&table.add_rule("out", &Rule::new(family).not_translated().leave()));
    }
    socket.run(&transaction.seal()).unwrap();
    (ns, socket)
}

fn udp(ns: &NetNs, address: &str) -> UdpSocket {
    ns.run(|| Ok::<_, net::Error>(UdpSocket::bind(address).unwrap())).unwrap()
}

#[test]
fn flows_are_seen_by_protocol_and_family_and_forgotten_one_by_one() {
    let (ns, mut socket) = tracked();
    let server = udp(&ns, "127.0.0.1:0");
    let to = server.local_addr().unwrap();
    let clients = [udp(&ns, "127.0.0.1:0"), udp(&ns, "127.0.0.1:0")];
    clients.iter().for_each(|client| assert_eq!(client.send_to(b"x", to).unwrap(), 1));
    let (server6, client6) = (udp(&ns, "[::1]:0"), udp(&ns, "[::1]:0"));
    client6.send_to(b"x", server6.local_addr().unwrap()).unwrap();

    let mut found = flows(&mut socket, Family::Ip, UDP).unwrap();
    found.sort_by_key(|flow| flow.source);
    let mut sources: Vec<SocketAddr> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    sources.sort();
    assert_eq!(found.iter().map(|flow| flow.source).collect::<Vec<_>>(), sources);
    assert!(
        found.iter().all(|flow| flow.destination == to && flow.answers_from == to && flow.protocol == UDP)
    );
    assert_eq!(flows(&mut socket, Family::Ip, TCP).unwrap(), []);
    let sixes = flows(&mut socket, Family::Ip6, UDP).unwrap();
    assert_eq!(sixes.iter().map(|flow| flow.source).collect::<Vec<_>>(), [client6.local_addr().unwrap()]);

    assert!(forget(&mut socket, &found[0]).unwrap());
    assert!(!forget(&mut socket, &found[0]).unwrap(), "it is gone already");
    assert_eq!(flows(&mut socket, Family::Ip, UDP).unwrap(), found[1..]);
    assert!(forget(&mut socket, &sixes[0]).unwrap());
}
