//! VXLAN devices.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkVxlan};

use crate::error::{Error, Result};
use crate::links::{Link, Links, decode};
use crate::mac::Mac;

/// A VXLAN device that is to be made: point to point, its peers entered by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Name, at most 15 bytes.
    pub name: String,
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// UDP port; none leaves it to the kernel (8472).
    pub port: Option<u16>,
    /// Index of the interface that carries the packets.
    pub underlay: u32,
    /// Source address of the packets.
    pub local: Ipv4Addr,
    /// Whether peers are learnt from what they send.
    pub learning: bool,
    /// Group based policy.
    pub gbp: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Ethernet address.
    pub mac: Mac,
}

/// What the kernel says of a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanInfo {
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Index of the interface that carries the packets, if it is bound to one.
    pub underlay: Option<u32>,
    /// Source address of the packets, if it is fixed.
    pub local: Option<Ipv4Addr>,
    /// Where packets to unknown stations go, if anywhere.
    pub group: Option<Ipv4Addr>,
    /// Whether peers are learnt from what they send.
    pub learning: bool,
    /// Group based policy.
    pub gbp: bool,
}

impl Links {
    /// Makes a VXLAN device, down and without address.
    ///
    /// It has no transmit queue: packets go on to the interface below, which has one. What else `device`
    /// does not say is left to the kernel.
    ///
    /// # Errors
    /// `EEXIST` when the name, or the identifier on that port, is taken; `EOPNOTSUPP` when the kernel
    /// has no VXLAN.
    pub async fn add_vxlan(&self, device: &Vxlan) -> Result<()> {
        let mut message = LinkMessageBuilder::<LinkVxlan>::new(&device.name)
            .id(device.vni)
            .dev(device.underlay)
            .local(device.local)
            .learning(device.learning)
            .mtu(device.mtu)
            .txqueuelen(0)
            .address(device.mac.0.to_vec());
        if let Some(port) = device.port {
            message = message.port(port);
        }
        if device.gbp {
            message = message.append_info_data(InfoVxlan::Gbp);
        }
        self.handle()
            .link()
            .add(message.build())
            .execute()
            .await
            .map_err(|e| Error::netlink(format!("add vxlan device {}", device.name), e))
    }

    /// All links of the namespace in the order of their indices, and what VXLAN devices are beside.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn list_with_vxlan(&self) -> Result<Vec<(Link, Option<VxlanInfo>)>> {
        let messages: Vec<LinkMessage> = self
            .handle()
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink("list links", e))?;
        Ok(messages.into_iter().map(|m| (vxlan_info(&m), m)).map(|(info, m)| (decode(m), info)).collect())
    }
}

fn vxlan_info(message: &LinkMessage) -> Option<VxlanInfo> {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
            _ => None,
        }),
        _ => None,
    })?;
    let mut found =
        VxlanInfo { vni: 0, port: 0, underlay: None, local: None, group: None, learning: false, gbp: false };
    for attribute in info {
        match attribute {
            InfoVxlan::Id(vni) => found.vni = *vni,
            InfoVxlan::Port(port) => found.port = *port,
            InfoVxlan::Link(index) => found.underlay = Some(*index).filter(|i| *i != 0),
            InfoVxlan::Local(address) => found.local = Some(*address).filter(|a| !a.is_unspecified()),
            InfoVxlan::Group(address) => found.group = Some(*address).filter(|a| !a.is_unspecified()),
            InfoVxlan::Learning(learning) => found.learning = *learning,
            InfoVxlan::Gbp => found.gbp = true,
            _ => {}
        }
    }
    Some(found)
}
