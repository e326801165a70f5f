//! The network's configuration, the JSON under `<prefix>/config`.
//!
//! Sources: flannel `pkg/subnet/config.go` (`ParseConfig`, `CheckNetworkConfig`),
//! `pkg/backend/vxlan/vxlan.go` (`parseVXLANConfig`).

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::Deserialize;
use serde_json::Value;

use crate::cidr;
use crate::fields::{Fields, WrongType};

/// What is around a packet within VXLAN: Ethernet, IPv4, UDP and VXLAN headers, in bytes.
pub const VXLAN_OVERHEAD: u32 = 50;
/// Identifiers have 24 bits.
const VNI_BITS: u32 = 24;
/// Names of interfaces are shorter than 16 bytes (`IFNAMSIZ`).
const NAME: usize = 15;
/// The least MTU of IPv4 (RFC 791).
const LEAST_MTU: u32 = 68;

/// A configuration that flannel takes, completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The pod network, of which each worker leases a part.
    pub network: Ipv4Network,
    /// Prefix length of such a part.
    pub subnet_len: u8,
    /// The first part that is leased.
    pub subnet_min: Ipv4Addr,
    /// The last part that is leased.
    pub subnet_max: Ipv4Addr,
    /// How packets get from worker to worker.
    pub backend: Backend,
}

/// How packets get from worker to worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// Within UDP packets, through a device `flannel.<VNI>`.
    Vxlan(Vxlan),
    /// As they are, by a route to the other worker.
    HostGw,
}

/// Options of the backend `vxlan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Identifier, 24 bits.
    pub vni: u32,
    /// UDP port; none leaves it to the kernel (8472).
    pub port: Option<u16>,
    /// Largest packet of the underlay, in bytes; none takes the interface's.
    pub mtu: Option<u32>,
    /// Group based policy.
    pub gbp: bool,
    /// Whether the device learns peers from what they send.
    pub learning: bool,
    /// Whether peers on the same link get a route as with `host-gw`.
    pub direct_routing: bool,
}

/// A configuration that is refused: all that the real flannel refuses, and what is not built in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a field of the wrong type.
    #[error("network config: {0}")]
    Malformed(String),
    /// Values that do not go together.
    #[error("network config: {0}")]
    Invalid(String),
    /// The real flannel can do it, this one cannot.
    #[error("network config: {0} is not built in; the real flanneld can do it (components: real)")]
    Unsupported(String),
}

impl NetworkConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the field.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let fields: Fields =
            serde_json::from_slice(json).map_err(|e| ConfigError::Malformed(e.to_string()))?;
        if fields.bool("EnableIPv6")?.unwrap_or(false) {
            return Err(ConfigError::Unsupported("EnableIPv6".into()));
        }
        if !fields.bool("EnableIPv4")?.unwrap_or(true) {
            return Err(ConfigError::Invalid("EnableIPv4 is false, and so is EnableIPv6".into()));
        }
        // Where the real one would use nftables instead of iptables, we do always.
        fields.bool("EnableNFTables")?;
        let network = network(&fields)?.ok_or_else(|| {
            ConfigError::Invalid("Network is missing: which addresses have the pods?".into())
        })?;
        let subnet_len = subnet_len(network, fields.number("SubnetLen")?.unwrap_or(0))?;
        let size = 1_u32 << (32 - subnet_len);
        let base = u32::from(network.network());
        let after = base.wrapping_add(1_u32.checked_shl(32 - u32::from(network.prefix())).unwrap_or(0));
        // The first part is left out: its base is the address of the network itself.
        let subnet_min = bound(&fields, "SubnetMin", network, subnet_len, base + size)?;
        let subnet_max = bound(&fields, "SubnetMax", network, subnet_len, after.wrapping_sub(size))?;
        let backend = backend(&fields)?;
        Ok(Self { network, subnet_len, subnet_min, subnet_max, backend })
    }

    /// Whether a subnet may be leased under this configuration (`isSubnetConfigCompat` of
    /// `pkg/subnet/etcd/local_manager.go`).
    #[must_use]
    pub fn admits(&self, subnet: Ipv4Network) -> bool {
        (self.subnet_min..=self.subnet_max).contains(&subnet.ip()) && subnet.prefix() == self.subnet_len
    }

    /// All subnets that may be leased, in order.
    pub fn subnets(&self) -> impl Iterator<Item = Ipv4Network> {
        let step = 1_usize << (32 - self.subnet_len);
        (u32::from(self.subnet_min)..=u32::from(self.subnet_max))
            .step_by(step)
            .filter_map(|base| Ipv4Network::new(base.into(), self.subnet_len).ok())
    }
}

impl Backend {
    /// As it stands in the configuration and in leases.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vxlan(_) => "vxlan",
            Self::HostGw => "host-gw",
        }
    }
}

impl Vxlan {
    /// Name of the device.
    #[must_use]
    pub fn device(&self) -> String {
        format!("flannel.{}", self.vni)
    }

    /// Largest packet of the overlay, in bytes, where the interface below carries `underlay`.
    ///
    /// # Errors
    /// When nothing would be left.
    pub fn device_mtu(&self, underlay: u32) -> Result<u32, ConfigError> {
        let mtu = self.mtu.unwrap_or(underlay);
        mtu.checked_sub(VXLAN_OVERHEAD).filter(|left| *left >= LEAST_MTU).ok_or_else(|| {
            ConfigError::Invalid(format!("an MTU of {mtu} leaves no room for VXLAN's {VXLAN_OVERHEAD} bytes"))
        })
    }
}

/// `CheckNetworkConfig`, the part about SubnetLen.
fn subnet_len(network: Ipv4Network, asked: u64) -> Result<u8, ConfigError> {
    let invalid = |text: &str| Err(ConfigError::Invalid(text.into()));
    let prefix = network.prefix();
    match asked {
        0 if prefix > 28 => {
            invalid("Network is too small: below /28 there are no four subnets of four addresses")
        }
        0 if prefix <= 22 => Ok(24),
        0 => Ok(prefix + 2),
        31.. => invalid("SubnetLen is above 30: a subnet has room for a bridge and a pod"),
        len if len < u64::from(prefix) + 2 => {
            invalid("SubnetLen leaves Network less than four subnets, the first of which is not leased")
        }
        len => u8::try_from(len)
            .or_else(|_| invalid("SubnetLen is above 30: a subnet has room for a bridge and a pod")),
    }
}

fn backend(fields: &Fields) -> Result<Backend, ConfigError> {
    let backend = match fields.get("Backend") {
        // The oldest backend, and still the default.
        None => return Err(ConfigError::Unsupported("backend udp".into())),
        Some(Value::Null) => Fields::default(),
        Some(value) => {
            Fields::deserialize(value).map_err(|e| ConfigError::Malformed(format!("Backend: {e}")))?
        }
    };
    match backend.text("Type")?.unwrap_or_default().to_lowercase().as_str() {
        "vxlan" => vxlan(&backend).map(Backend::Vxlan),
        "host-gw" => Ok(Backend::HostGw),
        known @ ("udp" | "alloc" | "extension" | "ipip" | "ipsec" | "tencent-vpc" | "wireguard") => {
            Err(ConfigError::Unsupported(format!("backend {known}")))
        }
        unknown => Err(ConfigError::Invalid(format!("there is no backend {unknown:?}"))),
    }
}

fn vxlan(fields: &Fields) -> Result<Vxlan, ConfigError> {
    let invalid = |what: &str, value: u64| ConfigError::Invalid(format!("{what} {value} is out of range"));
    let vni = fields.number("VNI")?.unwrap_or(1);
    let port = fields.number("Port")?.unwrap_or(0);
    let mtu = fields.number("MTU")?;
    let config = Vxlan {
        vni: u32::try_from(vni).ok().filter(|v| *v < 1 << VNI_BITS).ok_or_else(|| invalid("VNI", vni))?,
        port: Some(u16::try_from(port).map_err(|_| invalid("Port", port))?).filter(|p| *p != 0),
        mtu: mtu.map(|mtu| u32::try_from(mtu).map_err(|_| invalid("MTU", mtu))).transpose()?,
        gbp: fields.bool("GBP")?.unwrap_or(false),
        learning: fields.bool("Learning")?.unwrap_or(false),
        direct_routing: fields.bool("DirectRouting")?.unwrap_or(false),
    };
    if config.device().len() > NAME {
        return Err(ConfigError::Invalid(format!(
            "VNI {vni}: no interface can be named {}",
            config.device()
        )));
    }
    Ok(config)
}

fn network(fields: &Fields) -> Result<Option<Ipv4Network>, ConfigError> {
    let read = |value: &Value| cidr::parse_v4(value.as_str()?);
    let network = fields.read("Network", "an IPv4 network, such as 10.5.0.0/16", read)?;
    // 0.0.0.0/0 is what an absent one is to the real flannel.
    Ok(network.filter(|network| !network.ip().is_unspecified() || network.prefix() != 0))
}

/// SubnetMin or SubnetMax; 0.0.0.0 is as good as absent.
fn bound(
    fields: &Fields,
    name: &str,
    network: Ipv4Network,
    subnet_len: u8,
    default: u32,
) -> Result<Ipv4Addr, ConfigError> {
    let read = |value: &Value| value.as_str()?.parse::<Ipv4Addr>().ok();
    let given = fields.read(name, "an IPv4 address", read)?.filter(|address| !address.is_unspecified());
    if given.is_some_and(|address| !network.contains(address)) {
        return Err(ConfigError::Invalid(format!("{name} is not within Network")));
    }
    let bound = given.map_or(default, u32::from);
    if bound & ((1 << (32 - subnet_len)) - 1) != 0 {
        let bound = Ipv4Addr::from(bound);
        return Err(ConfigError::Invalid(format!(
            "{name} {bound} is not where a subnet of SubnetLen begins"
        )));
    }
    Ok(bound.into())
}

impl From<WrongType> for ConfigError {
    fn from(wrong: WrongType) -> Self {
        Self::Malformed(wrong.to_string())
    }
}

#[cfg(test)]
mod tests;
