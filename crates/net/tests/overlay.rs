//! VXLAN devices and batches of entries against the real kernel.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use net::batch::{Batcher, Change};
use net::events::LinkEvents;
use net::links::VethEnd;
use net::neighbours::{Forwarding, GatewayRoute, Neighbour};
use net::vxlan::Vxlan;
use net::{Error, Links, Mac, NetNs};
use testkit::{in_ns, netns};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A namespace with `eth0`, 192.0.2.1/24, and the VXLAN device `vx` upon it; their indices.
fn overlay() -> (NetNs, u32, u32) {
    let ns = netns();
    let (eth0, vx) = in_ns(&ns, async {
        let links = Links::open()?;
        let end = |name| VethEnd { name, alias: "" };
        links.add_veth(end("eth0"), None, end("far"), None, 1500).await?;
        links.set_up("far", true).await?;
        let eth0 = links.get("eth0").await?.index;
        links.add_address(eth0, Ipv4Network::new(LOCAL, 24).unwrap()).await?;
        links.add_vxlan(&device(eth0)).await?;
        let vx = links.get("vx").await?.index;
        links.add_address(vx, "198.18.0.0/32".parse().unwrap()).await?;
        links.set_up("vx", true).await?;
        Ok::<_, Error>((eth0, vx))
    })
    .unwrap();
    (ns, eth0, vx)
}

fn device(underlay: u32) -> Vxlan {
    Vxlan {
        name: "vx".into(),
        vni: 100,
        port: Some(8472),
        underlay,
        local: LOCAL,
        learning: false,
        gbp: false,
        mtu: 1450,
        mac: Mac([2, 0, 0, 0, 0, 1]),
    }
}

fn output(ns: &NetNs, program: &str, arguments: &[&str]) -> String {
    let output = ns.run(|| Ok::<_, Error>(Command::new(program).args(arguments).output())).unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The three entries of peer number `n`.
fn peer(n: u32, vx: u32) -> [Change; 3] {
    let to = Ipv4Network::new(Ipv4Addr::from(0x0a0a_0000 + (n << 8)), 24).unwrap();
    let mac = Mac([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
    [
        Change::SetNeighbour { index: vx, address: to.ip(), mac },
        Change::SetForwarding { index: vx, mac, to: Ipv4Addr::from(0xc000_0200 + n) },
        Change::SetRoute { to, gateway: to.ip(), index: vx, onlink: true },
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

#[test]
fn a_device_is_what_was_asked_for() {
    let (ns, eth0, _) = overlay();
    let all = in_ns(&ns, async { Links::open()?.list_with_vxlan().await }).unwrap();
    let (link, info) = all.iter().find(|(link, _)| link.name == "vx").unwrap();
    let info = info.as_ref().unwrap();
    assert_eq!((link.mtu, link.admin_up, link.mac.as_slice()), (1450, true, &device(0).mac.0[..]));
    assert_eq!((info.vni, info.port, info.underlay, info.local), (100, 8472, Some(eth0), Some(LOCAL)));
    assert_eq!((info.group, info.learning, info.gbp), (None, false, false));
    assert!(all.iter().filter(|(link, _)| link.name != "vx").all(|(_, info)| info.is_none()));
    // The kernel names what is in the way.
    let error = in_ns(&ns, async { Links::open()?.add_vxlan(&device(eth0)).await }).unwrap_err();
    assert_eq!((error.to_string(), error.errno()), ("add vxlan device vx".into(), Some(libc::EEXIST)));
}

#[test]
fn a_batch_is_read_back_and_shown_as_everybody_shows_it() {
    let (ns, _, vx) = overlay();
    let changes = peer(1, vx);
    let refused = ns.run(|| Batcher::open()?.run(&changes)).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let mac = Mac([2, 1, 0, 0, 0, 1]);
    let at = Ipv4Addr::new(10, 10, 1, 0);
    let (neighbours, forwarding, routes, addresses) = in_ns(&ns, async {
        let links = Links::open()?;
        Ok::<_, Error>((
            links.neighbours().await?,
            links.forwarding().await?,
            links.gateway_routes().await?,
            links.all_addresses().await?,
        ))
    })
    .unwrap();
    assert_eq!(neighbours, [Neighbour { index: vx, address: at, mac }]);
    let host = Ipv4Addr::new(192, 0, 2, 1);
    let permanent: Vec<_> = forwarding.into_iter().filter(|f| f.index == vx).collect();
    assert_eq!(permanent, [Forwarding { index: vx, mac, to: host }]);
    let route = GatewayRoute {
        to: "10.10.1.0/24".parse().unwrap(),
        gateway: at,
        index: vx,
        onlink: true,
        boot: true,
    };
    assert_eq!(routes, [route]);
    assert!(addresses.contains(&(vx, "198.18.0.0/32".parse().unwrap())), "{addresses:?}");
    assert_eq!(
        output(&ns, "ip", &["-4", "neigh", "show", "dev", "vx"]).trim(),
        "10.10.1.0 lladdr 02:01:00:00:00:01 PERMANENT"
    );
    assert_eq!(
        output(&ns, "bridge", &["fdb", "show", "dev", "vx"]).trim(),
        "02:01:00:00:00:01 dst 192.0.2.1 self permanent"
    );
    assert_eq!(
        output(&ns, "ip", &["route", "show", "root", "10.10.0.0/16"]).trim(),
        "10.10.1.0/24 via 10.10.1.0 dev vx onlink"
    );
}

#[test]
fn entries_are_replaced_and_deleted_whatever_their_number() {
    let (ns, _, vx) = overlay();
    let all: Vec<Change> = (1..=700).flat_map(|n| peer(n, vx)).collect();
    let deletions: Vec<Change> = all.iter().map(undo).collect();
    let count = |ns: &NetNs| {
        in_ns(ns, async {
            let links = Links::open()?;
            let forwarding = links.forwarding().await?.iter().filter(|f| f.index == vx).count();
            Ok::<_, Error>((links.neighbours().await?.len(), forwarding, links.gateway_routes().await?.len()))
        })
        .unwrap()
    };
    let mut batcher = ns.run(Batcher::open).unwrap();
    for _ in 0..2 {
        let refused = batcher.run(&all).unwrap();
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(count(&ns), (700, 700, 700));
    }
    assert!(batcher.run(&deletions).unwrap().is_empty());
    assert_eq!(count(&ns), (0, 0, 0));
    // Now each one of them is refused, and each is told, with its position.
    let refused = batcher.run(&deletions).unwrap();
    let positions: Vec<usize> = refused.iter().map(|r| r.position).collect();
    assert_eq!(positions, (0..deletions.len()).collect::<Vec<_>>());
    for refused in refused {
        let errno = refused.source.raw_os_error().unwrap();
        let expected = if refused.position % 3 == 2 { libc::ESRCH } else { libc::ENOENT };
        assert_eq!(errno, expected, "{:?}", deletions[refused.position]);
    }
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let (ns, _, vx) = overlay();
    let unreachable = Change::SetRoute {
        to: "10.99.0.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(203, 0, 113, 1),
        index: vx,
        onlink: false,
    };
    let [neighbour, forwarding, route] = peer(1, vx);
    let changes = [neighbour, unreachable, forwarding, route, unreachable];
    let refused = ns.run(|| Batcher::open()?.run(&changes)).unwrap();
    let told: Vec<_> = refused.iter().map(|r| (r.position, r.source.raw_os_error())).collect();
    assert_eq!(told, [(1, Some(libc::ENETUNREACH)), (4, Some(libc::ENETUNREACH))]);
    let routes = in_ns(&ns, async { Links::open()?.gateway_routes().await }).unwrap();
    assert_eq!(routes.len(), 1);
    assert!(ns.run(|| Batcher::open()?.run(&[])).unwrap().is_empty(), "nothing is nothing");
}

#[test]
fn an_address_goes_and_a_device_that_goes_is_told() {
    let (ns, _, vx) = overlay();
    let next = in_ns(&ns, async {
        let mut events = LinkEvents::open()?;
        let links = Links::open()?;
        links.delete_address(vx, "198.18.0.0/32".parse().unwrap()).await?;
        assert_eq!(links.addresses(vx).await?, []);
        links.delete("vx").await?;
        // `eth0` may still be telling that its carrier came.
        let told = async { while events.next().await.is_some_and(|name| name != "vx") {} };
        Ok::<_, Error>(tokio::time::timeout(Duration::from_secs(5), told).await)
    })
    .unwrap();
    next.expect("told that vx went");
}
