//! What a worker's overlay costs: `cargo bench -p flannel`.
//!
//! Prints the time of each entry (neighbour, forwarding entry, route of each of 100 peers) written by one
//! batch and by requests that are awaited one after the other, and the time until clusters of real daemons
//! (etcd, namespaces, all on this machine) are complete.
// clippy.toml allows it in tests, but does not see that this is much like one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../tests/kernel/lab.rs"]
mod lab;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use net::batch::{Batcher, Change};
use net::links::VethEnd;
use net::vxlan::Vxlan;
use net::{Error, Links, Mac, NetNs};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use netlink_packet_route::route::RouteFlags;
use rtnetlink::RouteMessageBuilder;
use testkit::{in_ns, netns};

const PEERS: u32 = 100;
const ROUNDS: usize = 20;

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let short = std::env::args().any(|argument| argument == "--test");
    let rounds = if short { 1 } else { ROUNDS };
    let entries = f64::from(PEERS * 3);
    let print = |what: &str, mut times: Vec<Duration>| {
        times.sort();
        let us = |time: Duration| time.as_secs_f64() * 1e6 / entries;
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what:<34} {:>7.2} us an entry (worst of {rounds}: {:.2})", us(median), us(worst));
    };
    let (ns, index) = overlay();
    let mut batcher = ns.run(Batcher::open).unwrap();
    let all: Vec<Change> = (1..=PEERS).flat_map(|n| peer(n, index)).collect();
    let deletions: Vec<Change> = all.iter().map(undo).collect();
    let mut run = |changes: &[Change]| {
        let began = Instant::now();
        assert!(batcher.run(changes).unwrap().is_empty());
        began.elapsed()
    };
    let (mut added, mut again, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        added.push(run(&all));
        again.push(run(&all));
        deleted.push(run(&deletions));
    }
    print("one batch: new entries", added);
    print("one batch: entries that are there", again);
    print("one batch: deletions", deleted);
    let mut awaited = Vec::new();
    for _ in 0..rounds {
        awaited.push(in_ns(&ns, one_by_one(&all)));
        run(&deletions);
    }
    print("awaited one by one: new entries", awaited);
    for workers in if short { [2, 3] } else { [10, 100] } {
        cluster(workers);
    }
}

fn overlay() -> (NetNs, u32) {
    let ns = netns();
    let index = in_ns(&ns, async {
        let links = Links::open()?;
        let end = |name| VethEnd { name, alias: "" };
        links.add_veth(end("eth0"), None, end("far"), None, 1500).await?;
        let device = Vxlan {
            name: "flannel.100".into(),
            vni: 100,
            port: Some(8472),
            underlay: links.get("eth0").await?.index,
            local: Ipv4Addr::new(10, 0, 0, 3),
            learning: false,
            gbp: false,
            mtu: 1450,
            mac: Mac([2, 0, 0, 0, 0, 1]),
        };
        links.add_vxlan(&device).await?;
        let index = links.get("flannel.100").await?.index;
        links.add_address(index, "11.10.0.0/32".parse().unwrap()).await?;
        links.set_up("flannel.100", true).await?;
        Ok::<_, Error>(index)
    });
    (ns, index.unwrap())
}

fn peer(n: u32, index: u32) -> [Change; 3] {
    let to = Ipv4Network::new(Ipv4Addr::from(0x0b0a_0000 + (n << 12)), 20).unwrap();
    let mac = Mac([2, 1, 0, 0, 0, n as u8]);
    [
        Change::SetNeighbour { index, address: to.ip(), mac },
        Change::SetForwarding { index, mac, to: Ipv4Addr::from(0x0a00_0003 + n) },
        Change::SetRoute { to, gateway: to.ip(), index, onlink: true },
    ]
}

fn undo(change: &Change) -> Change {
    match *change {
        Change::SetNeighbour { index, address, .. } => Change::DeleteNeighbour { index, address },
        Change::SetForwarding { index, mac, to } => Change::DeleteForwarding { index, mac, to },
        Change::SetRoute { to, gateway, index, .. } => Change::DeleteRoute { to, gateway, index },
        other => other,
    }
}

/// The same by rtnetlink.
async fn one_by_one(changes: &[Change]) -> Duration {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    let began = Instant::now();
    for change in changes {
        match *change {
            Change::SetNeighbour { index, address, mac } => {
                let request = handle.neighbours().add(index, address.into()).link_layer_address(&mac.0);
                request.state(NeighbourState::Permanent).replace().execute().await.unwrap();
            }
            Change::SetForwarding { index, mac, to } => {
                let request = handle.neighbours().add_bridge(index, &mac.0).destination(to.into());
                let request = request.state(NeighbourState::Permanent).flags(NeighbourFlags::Own);
                request.replace().execute().await.unwrap();
            }
            Change::SetRoute { to, gateway, index, .. } => {
                let mut message = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to.ip(), to.prefix())
                    .output_interface(index)
                    .gateway(gateway)
                    .build();
                message.header.flags = RouteFlags::Onlink;
                handle.route().add(message).replace().execute().await.unwrap();
            }
            _ => {}
        }
    }
    let taken = began.elapsed();
    connection.abort();
    taken
}

/// So many workers that start at once.
fn cluster(count: u8) {
    let cluster = lab::Cluster::new(lab::CONFIG);
    let mut workers: Vec<_> = (1..=count).map(|n| cluster.worker(n)).collect();
    let began = Instant::now();
    workers.iter_mut().for_each(lab::Worker::start);
    workers.iter().for_each(|worker| {
        worker.subnet();
    });
    let leased = began.elapsed();
    let peers = format!("{} peer", count - 1);
    workers.iter().for_each(|worker| worker.wait_until(true, &peers));
    let complete = began.elapsed();
    println!(
        "{count:>3} workers at once: all have a lease after {leased:.0?}, all peers after {complete:.0?}"
    );
    // And one that joins them.
    let mut last = cluster.worker(count + 1);
    let began = Instant::now();
    last.start();
    last.wait_until(true, &format!("{count} peer"));
    println!("{:>3} joins them: ready with {count} peers after {:.1?}", "one", began.elapsed());
}
