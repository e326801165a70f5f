//! Packets to a port where nobody listens.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use nft::silence::keep_silence;
use testkit::netns;

/// What comes of a packet to a port of this namespace that nobody has.
fn refusal() -> ErrorKind {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    socket.send(b"a").unwrap();
    socket.recv(&mut [0]).unwrap_err().kind()
}

#[test]
fn nobody_is_told_that_nobody_listens() {
    let ns = netns();
    let listing = ns
        .run(|| {
            assert_eq!(refusal(), ErrorKind::ConnectionRefused);
            keep_silence("first").unwrap();
            assert_eq!(refusal(), ErrorKind::WouldBlock);
            keep_silence("again").unwrap();
            assert_eq!(refusal(), ErrorKind::WouldBlock);
            Ok::<_, net::Error>(Command::new("nft").args(["list", "ruleset"]).output().unwrap())
        })
        .unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    // As it stands in the module, and once.
    let rule = "drop comment \"again\"";
    assert!(listing.contains("type filter hook output priority filter; policy accept;"), "{listing}");
    assert!(listing.lines().filter(|line| line.contains("drop")).count() == 1, "{listing}");
    assert!(listing.contains("icmp type destination-unreachable") && listing.contains(rule), "{listing}");
}
