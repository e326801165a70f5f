//! Losses against the real kernel, with real packets.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use net::links::VethEnd;
use net::{Links, NetNs};
use nft::loss::{Counted, Hook, Loss, losses, set_loss};
use testkit::{in_ns, netns, wait_for};

const DATAGRAMS: u64 = 400;

/// Any error of a test.
#[derive(Debug)]
struct Failed(#[allow(dead_code)] String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(format!("{error}: {:?}", error.source()))
    }
}

fn loss(hook: Hook, percent: f64) -> Loss {
    Loss { device: "eth0".into(), percent, hook, comment: "C0w1 - C0s0: 5%".into() }
}

fn set(ns: &NetNs, wanted: &[Loss]) -> Result<(), nft::Error> {
    ns.run(|| Ok::<_, net::Error>(set_loss("loss", wanted))).unwrap()
}

fn get(ns: &NetNs) -> Vec<Counted> {
    ns.run(|| Ok::<_, net::Error>(losses("loss"))).unwrap().unwrap()
}

/// Runs a command inside `ns` and gives what it prints.
fn run(ns: &NetNs, line: &str, input: &str) -> String {
    ns.run(|| {
        let mut words = line.split_whitespace();
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().unwrap().write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{line}: {output:?}");
        Ok::<_, Failed>(String::from_utf8(output.stdout)?)
    })
    .unwrap()
}

/// Two namespaces, 192.0.2.1 and 192.0.2.2, with a veth `eth0` in each that carries only what a test
/// sends: no IPv6, no ARP.
fn pair() -> (NetNs, NetNs) {
    let (a, b) = (netns(), netns());
    for ns in [&a, &b] {
        ns.run(|| Ok::<_, Failed>(std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?)).unwrap();
        ns.run(|| Ok::<_, Failed>(std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?))
            .unwrap();
    }
    let end = VethEnd { name: "eth0", alias: "" };
    in_ns(&a, async { Links::open()?.add_veth(end, None, end, Some(&b), 1500).await }).unwrap();
    let mut macs = Vec::new();
    for (ns, address) in [(&a, "192.0.2.1/24"), (&b, "192.0.2.2/24")] {
        let mac = in_ns(ns, async {
            let links = Links::open()?;
            links.set_up("eth0", true).await?;
            let link = links.get("eth0").await?;
            links.add_address(link.index, address.parse().unwrap()).await?;
            Ok::<_, net::Error>(link.mac)
        });
        macs.push(mac.unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    }
    run(&a, &format!("ip neigh replace 192.0.2.2 lladdr {} dev eth0 nud permanent", macs[1]), "");
    (a, b)
}

/// Sends datagrams from `a` to `b` and tells how many arrived; `lost` tells how many did not.
fn exchange(a: &NetNs, b: &NetNs, lost: impl Fn() -> u64) -> u64 {
    let receiver = b.run(|| Ok::<_, Failed>(UdpSocket::bind("192.0.2.2:0")?)).unwrap();
    let sender = a.run(|| Ok::<_, Failed>(UdpSocket::bind("192.0.2.1:0")?)).unwrap();
    receiver.set_nonblocking(true).unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let mut arrived = 0;
    // Between the sends, so that the receive buffer never fills.
    let mut drain = || {
        while receiver.recv(&mut [0; 8]).is_ok() {
            arrived += 1;
        }
        arrived
    };
    for n in 0..DATAGRAMS {
        sender.send(&n.to_ne_bytes()).unwrap();
        drain();
    }
    wait_for("each datagram arrived or was counted as lost", Duration::from_secs(5), || {
        let (arrived, lost) = (drain(), lost());
        if arrived + lost == DATAGRAMS { Ok(arrived) } else { Err(format!("{arrived} arrived, {lost} lost")) }
    })
}

#[test]
fn the_ruleset_says_what_is_lost_and_why_and_loads_again() {
    let (a, b) = pair();
    set(&a, &[loss(Hook::Egress, 100.0), loss(Hook::Ingress, 5.0)]).unwrap();
    let listing = run(&a, "nft list ruleset", "");
    let expected = r#"table netdev loss {
	chain ingress-eth0 {
		type filter hook ingress device "eth0" priority filter; policy accept;
		numgen random mod 10000 < 500 counter packets 0 bytes 0 drop comment "C0w1 - C0s0: 5%"
	}

	chain egress-eth0 {
		type filter hook egress device "eth0" priority filter; policy accept;
		counter packets 0 bytes 0 drop comment "C0w1 - C0s0: 5%"
	}
}
"#;
    assert_eq!(listing, expected);
    run(&b, "nft -f -", &listing);
    assert_eq!(run(&b, "nft list ruleset", ""), expected);
    assert_eq!(get(&b), get(&a), "what nft loads is read like what we load");
}

#[test]
fn what_is_set_is_read_back_replaced_and_deleted() {
    let (a, _b) = pair();
    assert_eq!(get(&a), []);
    set(&a, &[]).unwrap();
    for wanted in [
        vec![loss(Hook::Ingress, 0.01)],
        vec![loss(Hook::Ingress, 12.34), loss(Hook::Egress, 100.0)],
        // Twice is once.
        vec![loss(Hook::Ingress, 12.34), loss(Hook::Egress, 100.0)],
        vec![Loss { comment: String::new(), ..loss(Hook::Egress, 7.0) }],
        vec![Loss { device: "lo".into(), ..loss(Hook::Ingress, 50.0) }],
        vec![],
    ] {
        set(&a, &wanted).unwrap();
        let found: Vec<Loss> = get(&a).into_iter().map(|counted| counted.loss).collect();
        assert_eq!(found, wanted);
    }
    assert_eq!(run(&a, "nft list ruleset", ""), "");
}

#[test]
fn half_of_the_datagrams_are_lost_then_all_then_none() {
    let (a, b) = pair();
    let counted = || get(&b).iter().map(|counted| counted.packets).sum();
    set(&b, &[loss(Hook::Ingress, 50.0)]).unwrap();
    let arrived = exchange(&a, &b, counted);
    // Six standard deviations are 60.
    assert!((DATAGRAMS / 4..=DATAGRAMS * 3 / 4).contains(&arrived), "{arrived} of {DATAGRAMS}");
    assert_eq!(get(&b)[0].bytes, (DATAGRAMS - arrived) * 36, "8 bytes, UDP and IP header");

    set(&b, &[loss(Hook::Ingress, 100.0)]).unwrap();
    assert_eq!(exchange(&a, &b, counted), 0);

    set(&b, &[]).unwrap();
    assert_eq!(exchange(&a, &b, counted), DATAGRAMS);
}

#[test]
fn what_a_device_sends_is_lost_too() {
    let (a, b) = pair();
    let counted = || get(&a).iter().map(|counted| counted.packets).sum();
    set(&a, &[loss(Hook::Egress, 50.0)]).unwrap();
    let arrived = exchange(&a, &b, counted);
    assert!((DATAGRAMS / 4..=DATAGRAMS * 3 / 4).contains(&arrived), "{arrived} of {DATAGRAMS}");
    set(&a, &[loss(Hook::Ingress, 100.0)]).unwrap();
    assert_eq!(exchange(&a, &b, counted), DATAGRAMS, "the other direction is free");
}

#[test]
fn other_tables_are_left_alone() {
    let (a, _b) = pair();
    let others = r#"table inet loss {
	chain c {
	}
}
table netdev other {
	chain ingress-eth0 {
		type filter hook ingress device "eth0" priority filter; policy accept;
		counter packets 0 bytes 0 accept
	}
}
"#;
    run(&a, "nft -f -", others);
    assert_eq!(get(&a), [], "neither is ours");
    set(&a, &[loss(Hook::Ingress, 5.0)]).unwrap();
    let listing = run(&a, "nft list ruleset", "");
    assert!(listing.starts_with(others), "{listing}");
    assert_eq!(get(&a).len(), 1);
    set(&a, &[]).unwrap();
    assert_eq!(run(&a, "nft list ruleset", ""), others);
}

#[test]
fn an_unknown_device_is_named_and_changes_nothing() {
    let (a, _b) = pair();
    set(&a, &[loss(Hook::Ingress, 5.0)]).unwrap();
    let error = set(&a, &[Loss { device: "eth9".into(), ..loss(Hook::Ingress, 5.0) }]).unwrap_err();
    assert!(matches!(&error, nft::Error::NoDevice(device) if device == "eth9"), "{error:?}");
    assert_eq!(error.to_string(), "device eth9 not found");
    assert_eq!(get(&a).len(), 1, "what was there stays");
}

#[test]
fn a_rule_of_someone_else_is_not_taken_for_a_loss() {
    let (a, _b) = pair();
    set(&a, &[loss(Hook::Ingress, 5.0)]).unwrap();
    run(&a, "nft add rule netdev loss ingress-eth0 meta protocol arp drop", "");
    let error = a.run(|| Ok::<_, net::Error>(losses("loss"))).unwrap().unwrap_err();
    let said = error.to_string();
    assert!(said.ends_with("of chain netdev loss ingress-eth0 is not one that makes a loss"), "{said}");
    set(&a, &[loss(Hook::Ingress, 5.0)]).unwrap();
    assert_eq!(get(&a).len(), 1, "it is gone with the table");
}
