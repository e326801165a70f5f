//! What [`net::ping`] and [`net::throughput`] measure, in the kernel.

// Helpers of tests are tests, too; the lint sees only functions marked as such.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use net::links::VethEnd;
use net::ping::ping_all;
use net::throughput::measure;
use net::{Error, Links, NetNs};
use testkit::{in_ns, netns, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

fn address(subnet: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 8, subnet, host)
}

fn add_address(ns: &NetNs, device: &str, ip: Ipv4Addr, prefix: u8) {
    in_ns(ns, async {
        let links = Links::open()?;
        let index = links.get(device).await?.index;
        links.add_address(index, ipnetwork::Ipv4Network::new(ip, prefix).unwrap()).await
    })
    .unwrap();
}

fn set_up(ns: &NetNs, device: &str, up: bool) {
    in_ns(ns, async { Links::open()?.set_up(device, up).await }).unwrap();
}

/// Two hosts with a cable, 10.8.0.1 and 10.8.0.2.
fn hosts() -> (NetNs, NetNs) {
    let (a, b) = (netns(), netns());
    let end = VethEnd { name: "eth0", alias: "" };
    in_ns(&a, async { Links::open()?.add_veth(end, None, end, Some(&b), 1500).await }).unwrap();
    set_up(&b, "eth0", true);
    add_address(&a, "eth0", address(0, 1), 24);
    add_address(&b, "eth0", address(0, 2), 24);
    (a, b)
}

#[test]
fn loopback_answers_a_ping() {
    let times = netns().run(|| ping_all(&[Ipv4Addr::LOCALHOST], LIMIT)).unwrap();
    assert!(times[0].unwrap() < LIMIT);
}

#[test]
fn a_neighbour_answers_a_ping() {
    let (a, _b) = hosts();
    let times = a.run(|| ping_all(&[address(0, 2)], LIMIT)).unwrap();
    assert!(times[0].unwrap() < LIMIT);
}

#[test]
fn an_unanswered_ping_takes_the_timeout_and_others_keep_their_times() {
    let (a, _b) = hosts();
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let times = a.run(|| ping_all(&[address(0, 2), address(0, 77), address(0, 2)], timeout)).unwrap();
    assert!(times[0].is_some() && times[1].is_none() && times[2].is_some(), "{times:?}");
    let took = start.elapsed();
    assert!((timeout..timeout + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[test]
fn a_target_without_a_route_is_unanswered_at_once() {
    let start = Instant::now();
    let times = netns().run(|| ping_all(&[address(9, 9), Ipv4Addr::BROADCAST], LIMIT)).unwrap();
    assert_eq!(times, [None, None]);
    assert!(start.elapsed() < LIMIT);
}

#[test]
fn nothing_to_ping_is_done_at_once() {
    assert_eq!(netns().run(|| ping_all(&[], LIMIT)).unwrap(), []);
}

#[test]
fn many_pingers_of_many_targets_each_get_their_own_replies() {
    let (a, b) = hosts();
    let targets: Vec<Ipv4Addr> = (1..=50).map(|host| address(1, host)).collect();
    for &target in &targets {
        add_address(&b, "eth0", target, 32);
    }
    in_ns(&a, async {
        let links = Links::open()?;
        let index = links.get("eth0").await?.index;
        links.add_route("10.8.1.0/24".parse().unwrap(), Some(address(0, 2)), index).await
    })
    .unwrap();
    // Each target four times, from four threads of one namespace.
    let targets = targets.repeat(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let times = a.run(|| ping_all(&targets, LIMIT)).unwrap();
                let answered = times.iter().flatten().count();
                assert_eq!(answered, targets.len());
            });
        }
    });
}

#[test]
fn a_cable_carries_more_than_100_megabits() {
    let (a, b) = hosts();
    let result = measure(&b, &a, address(0, 2), Duration::from_millis(200)).unwrap();
    assert!(result.server_bits_per_second > 1e8, "{result:?}");
    assert!(result.client_bits_per_second > 1e8, "{result:?}");
}

#[test]
fn a_connection_that_does_not_come_about_names_both_ends() {
    let (a, b) = hosts();
    let start = Instant::now();
    let error = measure(&b, &a, address(0, 77), Duration::from_millis(200)).unwrap_err().to_string();
    assert!(error.starts_with("connect from 10.8.0.1 to 10.8.0.77:"), "{error}");
    assert!(start.elapsed() < LIMIT);
    let error = measure(&b, &a, address(9, 9), Duration::from_millis(200)).unwrap_err().to_string();
    assert!(error.starts_with("connect from a client without a route to 10.8.9.9:"), "{error}");
}

#[test]
fn a_link_that_goes_down_midway_is_an_error() {
    let (a, b) = hosts();
    let start = Instant::now();
    thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(&b, &a, address(0, 2), Duration::from_secs(1)));
        wait_for("the stream runs", LIMIT, || {
            let bytes = received(&b);
            if bytes > 1 << 20 { Ok(()) } else { Err(format!("{bytes} bytes received")) }
        });
        set_up(&b, "eth0", false);
        let error = measuring.join().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("receive on stream from 10.8.0.1:"), "{error}");
    });
    assert!(start.elapsed() < LIMIT);
}

/// Bytes that a host's eth0 has received (`proc(5)`).
fn received(ns: &NetNs) -> u64 {
    let path = "/proc/thread-self/net/dev";
    let table = ns.run(|| std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))).unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
