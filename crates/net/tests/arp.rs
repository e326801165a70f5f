//! An address that moves from one station to another.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use net::links::VethEnd;
use net::{Error, Links, NetNs, arp, ping};
use testkit::{in_ns, netns};

const MOVES: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
const LABEL: &str = "eth0:lb";

fn answers(ns: &NetNs) -> bool {
    ns.run(|| ping::ping_all(&[MOVES], Duration::from_secs(2))).unwrap()[0].is_some()
}

#[test]
fn who_knows_an_address_hears_where_it_is_now() {
    let underlay = netns();
    let bridge = in_ns(&underlay, async {
        let links = Links::open()?;
        links.add_bridge("t0", 1500).await?;
        Ok::<_, Error>(links.get("t0").await?.index)
    })
    .unwrap();
    let node = |name: &str, host: u8| {
        let ns = netns();
        let (near, far) = (VethEnd { name, alias: "" }, VethEnd { name: "eth0", alias: "" });
        in_ns(&underlay, async { Links::open()?.add_veth(near, Some(bridge), far, Some(&ns), 1500).await })
            .unwrap();
        let own = Ipv4Network::new(Ipv4Addr::new(10, 0, 0, host), 8).unwrap();
        in_ns(&ns, async {
            let links = Links::open()?;
            links.add_address(links.get("eth0").await?.index, own).await?;
            links.set_up("eth0", true).await
        })
        .unwrap();
        ns
    };
    let (client, a, b) = (node("c", 1), node("a", 2), node("b", 3));
    let at = |ns: &NetNs| {
        in_ns(ns, async {
            let links = Links::open()?;
            let eth0 = links.get("eth0").await?;
            links.add_labelled_address(eth0.index, MOVES.into(), LABEL).await?;
            assert_eq!(links.labelled_addresses(eth0.index, LABEL).await?, [MOVES.into()]);
            assert_eq!(links.addresses(eth0.index).await?.len(), 2);
            arp::announce(eth0.index, eth0.mac.try_into().unwrap(), MOVES)
        })
        .unwrap();
    };
    at(&a);
    assert!(answers(&client));
    // The first one falls silent without a word: who knows it would ask there for a long time.
    in_ns(&a, async { Links::open()?.set_up("eth0", false).await }).unwrap();
    at(&b);
    assert!(answers(&client));
}
