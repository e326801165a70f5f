//! Namespaces in namespaces, and the devices that labs are wired with.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail};
use net::links::VethEnd;
use net::{Links, NetNs, ping};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::netlink::Netlink;
use super::{Lane, NotTried, Teller};

/// A namespace inside ours with a name, entered by it, as nodes are. Says whether there can be any.
pub(super) fn nested(teller: &Teller, own_run: bool) -> bool {
    teller.attempt("network namespace", || {
        let ns = NetNs::create()?;
        if !own_run {
            // Never on the machine's own /run.
            return Err(NotTried("names of namespaces need a /run of their own".into()).into());
        }
        fs::create_dir("/run/netns")?;
        ns.bind("/run/netns/node")?;
        NetNs::open("/run/netns/node")?.run(|| Ok::<_, anyhow::Error>(()))?;
        Ok(String::new())
    })
}

pub(super) fn run(lane: &Lane<'_>) {
    lane.attempt_async("bridge", async {
        Links::open()?.add_bridge("br", 1500).await?;
        Ok(String::new())
    });
    lane.attempt_async("veth", async {
        let links = Links::open()?;
        let bridge = links.get("br").await.ok().map(|bridge| bridge.index);
        let far = NetNs::create()?;
        links.add_veth(end("port"), bridge, end("eth0"), Some(&far), 1500).await?;
        Ok(String::new())
    });
    lane.attempt_async("vxlan", vxlan());
    lane.attempt("ip forwarding", || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(String::new())
    });
    lane.attempt_async("icmp", async {
        Links::open()?.set_up("lo", true).await?;
        match ping::ping_all(&[Ipv4Addr::LOCALHOST], Duration::from_secs(1))?.as_slice() {
            [Some(_)] => Ok(String::new()),
            _ => bail!("no answer from the loopback"),
        }
    });
    lane.attempt("packet socket", || {
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
        Ok(String::new())
    });
}

/// What flannel makes: the device, and for another worker the neighbour and where its frames are sent.
async fn vxlan() -> Result<String> {
    let netlink = Netlink::open()?;
    netlink.add_vxlan("flannel.100", 100, 8472)?;
    let index = Links::open()?.get("flannel.100").await?.index;
    let mac = [2, 0, 0, 0, 0, 1];
    netlink.add_fdb(index, mac, Ipv4Addr::new(10, 0, 0, 4))?;
    netlink.add_neighbour(index, Ipv4Addr::new(11, 10, 16, 0), mac)?;
    Ok(String::new())
}

pub(super) fn end(name: &str) -> VethEnd<'_> {
    VethEnd { name, alias: "probe of knetsim" }
}
