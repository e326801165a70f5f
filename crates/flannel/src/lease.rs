//! Leases: their keys and values, and which one a worker takes.
//!
//! Sources: flannel `pkg/subnet/subnet.go` (keys), `pkg/lease/lease.go` and `pkg/backend/vxlan` (values),
//! `pkg/subnet/etcd/local_manager.go` (`tryAcquireLease`, `allocateSubnet`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use net::Mac;
use serde::{Deserialize, Serialize};

use crate::cidr;
use crate::config::NetworkConfig;
use crate::fields::Fields;

/// For how long a lease is granted (`subnetTTL`).
pub const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a lease is renewed (`-subnet-lease-renew-margin`).
pub const RENEW_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Of so many free subnets, the first ones, one is drawn.
const CANDIDATES: usize = 100;

/// A worker's lease, as it stands in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The worker's part of the pod network.
    pub subnet: Ipv4Network,
    /// Whose it is; none when the value cannot be read: the subnet is taken all the same.
    pub attributes: Option<Attributes>,
    /// Whether it never ends (flannel `Documentation/reservations.md`): its key has no grant.
    pub reserved: bool,
    /// Whether it has an IPv6 subnet, too, which no configuration that is built in allows.
    pub dual: bool,
}

/// Whose a lease is, and how that worker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The worker's underlay address.
    pub public_ip: Ipv4Addr,
    /// How it is reached.
    pub backend: BackendData,
}

/// How a worker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendData {
    /// Through VXLAN, by the Ethernet address of its device.
    Vxlan {
        /// VXLAN network identifier.
        vni: u32,
        /// The device's Ethernet address.
        mac: Mac,
    },
    /// By a route.
    HostGw,
    /// In a way that is not built in.
    Other(String),
}

/// The name of a subnet's key, below `<prefix>/subnets/`: `11.10.16.0-20`.
#[must_use]
pub fn key(subnet: Ipv4Network) -> String {
    format!("{}-{}", subnet.ip(), subnet.prefix())
}

/// A lease from the name of its key and its value; none when the name is no subnet's.
#[must_use]
pub fn parse(name: &str, value: &[u8], reserved: bool) -> Option<Lease> {
    // `11.10.16.0-20&fd00:-64` where there is IPv6.
    let (v4, dual) = name.split_once('&').map_or((name, false), |(v4, _)| (v4, true));
    let (address, prefix) = v4.split_once('-')?;
    let subnet = cidr::parse_v4(&format!("{address}/{prefix}"))?;
    let exact = key(subnet) == v4;
    exact.then(|| Lease { subnet, attributes: Attributes::parse(value), reserved, dual })
}

impl Attributes {
    /// Reads a lease's value.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let fields: Fields = serde_json::from_slice(value).ok()?;
        let public_ip = fields.text("PublicIP").ok()??.parse().ok()?;
        let backend = match fields.text("BackendType").ok()?.unwrap_or_default().as_str() {
            "vxlan" => {
                let data = Fields::deserialize(fields.get("BackendData")?).ok()?;
                let vni = u32::try_from(data.number("VNI").ok()?.unwrap_or(0)).ok()?;
                let mac: Mac = data.text("VtepMAC").ok()??.parse().ok()?;
                BackendData::Vxlan { vni, mac }
            }
            "host-gw" => BackendData::HostGw,
            other => BackendData::Other(other.into()),
        };
        Some(Self { public_ip, backend })
    }

    /// The value, byte for byte as the real one writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Value<'a> {
            #[serde(rename = "PublicIP")]
            public_ip: Ipv4Addr,
            #[serde(rename = "PublicIPv6")]
            public_ipv6: Option<()>,
            backend_type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            backend_data: Option<Data>,
        }
        #[derive(Serialize)]
        struct Data {
            #[serde(rename = "VNI")]
            vni: u32,
            #[serde(rename = "VtepMAC")]
            mac: String,
        }
        let (backend_type, backend_data) = match &self.backend {
            BackendData::Vxlan { vni, mac } => ("vxlan", Some(Data { vni: *vni, mac: mac.to_string() })),
            BackendData::HostGw => ("host-gw", None),
            BackendData::Other(name) => (name.as_str(), None),
        };
        let value = Value { public_ip: self.public_ip, public_ipv6: None, backend_type, backend_data };
        // Numbers and strings: nothing in it can fail.
        serde_json::to_string(&value).unwrap_or_default()
    }
}

/// What a worker without a lease does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Delete this key: it is the worker's own, but not of this network.
    Drop(String),
    /// Take over the lease that bears the worker's address.
    Renew {
        /// The subnet.
        subnet: Ipv4Network,
        /// It never ends, and is to stay so.
        reserved: bool,
    },
    /// Create a lease of this subnet, unless someone else does so first.
    Create(Ipv4Network),
}

/// All subnets are leased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no subnet is free: all {count} from {first} to {last} are leased; delete a lease under <prefix>/subnets, \
     or widen Network, SubnetMin and SubnetMax"
)]
pub struct Exhausted {
    /// The first one that could be leased.
    pub first: Ipv4Network,
    /// The last one.
    pub last: Ipv4Network,
    /// How many there are.
    pub count: u64,
}

/// Chooses a lease for the worker at `address`: the one that bears its address; else the subnet that it
/// had before, `previous`, if nobody has it; else one of the first hundred free ones, which `draw` draws
/// (it is given how many there are).
///
/// # Errors
/// When no subnet is free.
pub fn choose(
    config: &NetworkConfig,
    leases: &BTreeMap<String, Lease>,
    address: Ipv4Addr,
    previous: Option<Ipv4Network>,
    draw: impl FnOnce(usize) -> usize,
) -> Result<Choice, Exhausted> {
    let own =
        leases.iter().find(|(_, lease)| lease.attributes.as_ref().is_some_and(|a| a.public_ip == address));
    if let Some((key, lease)) = own {
        return Ok(if config.admits(lease.subnet) && !lease.dual {
            Choice::Renew { subnet: lease.subnet, reserved: lease.reserved }
        } else {
            Choice::Drop(key.clone())
        });
    }
    let free = |subnet: &Ipv4Network| !leases.values().any(|lease| cidr::overlap(lease.subnet, *subnet));
    if let Some(previous) = previous.filter(|subnet| config.admits(*subnet) && free(subnet)) {
        return Ok(Choice::Create(previous));
    }
    let candidates: Vec<Ipv4Network> = config.subnets().filter(free).take(CANDIDATES).collect();
    if candidates.is_empty() {
        return Err(exhausted(config));
    }
    Ok(Choice::Create(candidates[draw(candidates.len()) % candidates.len()]))
}

fn exhausted(config: &NetworkConfig) -> Exhausted {
    let mut subnets = config.subnets();
    let first = subnets.next().unwrap_or(config.network);
    let span = u64::from(u32::from(config.subnet_max).saturating_sub(u32::from(config.subnet_min)));
    let last = Ipv4Network::new(config.subnet_max, config.subnet_len).unwrap_or(first);
    Exhausted { first, last, count: (span >> (32 - config.subnet_len)) + 1 }
}

#[cfg(test)]
mod tests;
