//! Links, addresses and routes of one network namespace, over rtnetlink.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnetwork::Ipv4Network;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::ns::NetNs;

/// A netlink socket in one namespace, and the operations on its links.
///
/// Must be opened and used within a tokio runtime. Operations take effect in the order of their
/// first poll, so independent ones may be joined.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// What `ip link` shows as alias: where the cable leads.
    pub alias: &'a str,
}

/// What the kernel says of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index within its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Largest packet, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether someone set it up (`IFF_UP`).
    pub admin_up: bool,
    /// Whether it can carry packets now (`IFF_LOWER_UP`): its peer is up too.
    pub carrier: bool,
    /// Ethernet address, six bytes.
    pub mac: Vec<u8>,
    /// Index of the bridge whose port it is.
    pub controller: Option<u32>,
    /// Driver: `veth`, `bridge`, `vxlan`.
    pub kind: Option<String>,
    /// `IFLA_IFALIAS`.
    pub alias: Option<String>,
}

impl Links {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// When netlink is not to be had.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|e| Error::sys("open netlink socket", e))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Opens a socket in `ns`, for use from here.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn open_in(ns: &NetNs) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        ns.run(|| {
            let _guard = runtime.enter();
            Self::open()
        })
    }

    /// The raw handle, for requests that stand elsewhere in this crate.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A bridge that is up, without spanning tree and without delay: a plain switch.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub async fn add_bridge(&self, name: &str, mtu: u32) -> Result<()> {
        let message = LinkMessageBuilder::<LinkBridge>::new(name)
            .mtu(mtu)
            .up()
            // Snooping would make the switch drop multicast that it has not learnt yet.
            .set_info_data(InfoData::Bridge(vec![
                InfoBridge::ForwardDelay(0),
                InfoBridge::StpState(netlink_packet_route::link::BridgeStpState::Disabled),
                InfoBridge::MulticastSnooping(false),
            ]))
            .build();
        self.add(message).await.map_err(|e| Error::netlink(format!("add bridge {name}"), e))
    }

    /// A veth pair: `port` here, up, and a port of bridge `controller` if given; `peer` in
    /// `peer_ns` (down: the kernel refuses to make it up), else here too.
    ///
    /// # Errors
    /// `EEXIST` when a name is taken.
    pub async fn add_veth(
        &self,
        port: VethEnd<'_>,
        controller: Option<u32>,
        peer: VethEnd<'_>,
        peer_ns: Option<&NetNs>,
        mtu: u32,
    ) -> Result<()> {
        let mut far = LinkMessageBuilder::<LinkUnspec>::new().name(peer.name).mtu(mtu);
        if let Some(ns) = peer_ns {
            far = far.setns_by_fd(ns.as_fd().as_raw_fd());
        }
        let far = far.build();
        let mut near = LinkMessageBuilder::<LinkVeth>::new(port.name, peer.name)
            .mtu(mtu)
            .up()
            .alias(port.alias)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
        if let Some(index) = controller {
            near = near.controller(index);
        }
        self.add(near.build())
            .await
            .map_err(|e| Error::netlink(format!("add veth {} - {}", port.name, peer.name), e))
    }

    async fn add(&self, message: LinkMessage) -> Result<(), rtnetlink::Error> {
        self.handle.link().add(message).execute().await
    }

    /// The link of that name.
    ///
    /// # Errors
    /// [`Error::NoLink`] when there is none.
    pub async fn get(&self, name: &str) -> Result<Link> {
        let mut stream = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        match stream.try_next().await {
            Ok(Some(message)) => Ok(decode(message)),
            Ok(None) => Err(Error::NoLink(name.into())),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => {
                Err(Error::NoLink(name.into()))
            }
            Err(e) => Err(Error::netlink(format!("get link {name}"), e)),
        }
    }

    /// Waits until a link carries packets, which it does a moment after both of its ends are up: the
    /// kernel passes a new carrier on by a work queue, and only then a bridge forwards to its port
    /// (`net/core/link_watch.c`, `br_port_carrier_check`).
    ///
    /// # Errors
    /// [`Error::Other`] when it does not within `limit`.
    pub async fn wait_for_carrier(&self, name: &str, limit: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let link = self.get(name).await?;
            if link.carrier {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::Other(format!("link {name} has no carrier after {limit:?}: {link:?}")));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// All links of the namespace, in the order of their indices.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn list(&self) -> Result<Vec<Link>> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink("list links", e))?;
        Ok(messages.into_iter().map(decode).collect())
    }

    /// Deletes a link (of a veth pair: both ends).
    ///
    /// # Errors
    /// [`Error::NoLink`] when there is none.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let index = self.get(name).await?.index;
        self.handle
            .link()
            .del(index)
            .execute()
            .await
            .map_err(|e| Error::netlink(format!("delete link {name}"), e))
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// [`Error::NoLink`] when there is none.
    pub async fn set_up(&self, name: &str, up: bool) -> Result<()> {
        let message = LinkUnspec::new_with_name(name);
        let message = if up { message.up() } else { message.down() };
        self.set(name, message, if up { "set up" } else { "set down" }).await
    }

    /// Sets up, and names what the link leads to.
    ///
    /// # Errors
    /// [`Error::NoLink`] when there is none.
    pub async fn set_up_with_alias(&self, name: &str, alias: &str) -> Result<()> {
        self.set(name, LinkUnspec::new_with_name(name).up().alias(alias), "set up").await
    }

    /// Sets the largest packet, in bytes.
    ///
    /// # Errors
    /// `EINVAL` outside what the driver can do.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.set(name, LinkUnspec::new_with_name(name).mtu(mtu), "set mtu of").await
    }

    /// Makes a link a port of bridge `controller`, or of none.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn set_controller(&self, name: &str, controller: Option<u32>) -> Result<()> {
        let message = LinkUnspec::new_with_name(name);
        let message = match controller {
            Some(index) => message.controller(index),
            None => message.nocontroller(),
        };
        self.set(name, message, "set bridge of").await
    }

    async fn set(&self, name: &str, message: LinkMessageBuilder<LinkUnspec>, what: &str) -> Result<()> {
        match self.handle.link().set(message.build()).execute().await {
            Ok(()) => Ok(()),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => {
                Err(Error::NoLink(name.into()))
            }
            Err(e) => Err(Error::netlink(format!("{what} link {name}"), e)),
        }
    }

    /// Adds an address; the kernel adds the route to its network.
    ///
    /// # Errors
    /// `EEXIST` when it is there already.
    pub async fn add_address(&self, index: u32, address: Ipv4Network) -> Result<()> {
        self.handle
            .address()
            .add(index, address.ip().into(), address.prefix())
            .execute()
            .await
            .map_err(|e| Error::netlink(format!("add address {address}"), e))
    }

    /// The IPv4 addresses of a link.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn addresses(&self, index: u32) -> Result<Vec<Ipv4Network>> {
        let messages: Vec<_> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink("list addresses", e))?;
        Ok(messages
            .iter()
            .flat_map(|m| m.attributes.iter().map(move |a| (m.header.prefix_len, a)))
            .filter_map(|(prefix, attribute)| match attribute {
                AddressAttribute::Local(std::net::IpAddr::V4(ip)) => Ipv4Network::new(*ip, prefix).ok(),
                _ => None,
            })
            .collect())
    }

    /// Adds a route to `to` (`0.0.0.0/0` is the default route) through link `index`, by `gateway`
    /// or else directly.
    ///
    /// # Errors
    /// `EEXIST` when it is there already, `ENETUNREACH` when the gateway is not on the link.
    pub async fn add_route(&self, to: Ipv4Network, gateway: Option<Ipv4Addr>, index: u32) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.network(), to.prefix())
            .output_interface(index)
            // As `ip route add` does, so that listings look as one knows them.
            .protocol(netlink_packet_route::route::RouteProtocol::Boot);
        let route = match gateway {
            Some(gateway) => route.gateway(gateway),
            None => route.scope(netlink_packet_route::route::RouteScope::Link),
        };
        self.handle
            .route()
            .add(route.build())
            .execute()
            .await
            .map_err(|e| Error::netlink(format!("add route {to}"), e))
    }
}

pub(crate) fn decode(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        admin_up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mac: Vec::new(),
        controller: None,
        kind: None,
        alias: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::OperState(State::LowerLayerDown | State::Down) => link.carrier = false,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = Some(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    link
}
