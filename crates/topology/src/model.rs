//! A topology with every default filled in.
//!
//! Its YAML form is itself a valid topology file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use images::Image;
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::units::{Delay, Grace, Loss, Rate};

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The network that all nodes of all clusters share.
    pub underlay: Underlay,
    /// The clusters, in the file's order.
    pub clusters: Vec<Cluster>,
    /// What is run for images, beside the table that every lab has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Image>,
    /// Links that are not plain.
    pub links: Vec<LinkSpec>,
    /// Clusters that are linked by Skupper from the begin: each has a site then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_links: Vec<SiteLink>,
}

/// A link of one cluster's site to another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLink {
    /// The cluster whose router connects.
    pub from: String,
    /// The cluster that it connects to.
    pub to: String,
    /// What it costs to go this way.
    pub cost: u32,
}

/// The network below the clusters: their switches, joined by one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Underlay {
    /// Every node's address is in it; its length is every node's prefix length.
    pub network: Ipv4Network,
    /// The switch that joins those of the clusters.
    pub switch: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// As `C0`.
    pub name: String,
    /// The switch that its nodes are plugged into.
    pub switch: String,
    /// The etcd members, one or three.
    pub etcd: Vec<EtcdMember>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// flannel's configuration.
    pub pod_network: PodNetwork,
    /// Where the services' addresses come from.
    pub service_network: Ipv4Network,
    /// Where services of type LoadBalancer get theirs from; none where the underlay has no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_pool: Option<Ipv4Network>,
    /// Manifest files, absolute; [`crate::manifest`] reads them.
    pub manifests: Vec<String>,
    /// Whether it has a DNS service.
    pub dns: bool,
    /// A node that has been silent for so long is not ready.
    pub node_monitor_grace_period: Grace,
}

/// A node that runs etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// As `C0e1`.
    pub name: String,
    /// Its underlay address.
    pub address: Ipv4Addr,
}

/// A node that runs pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// As `C0w1`.
    pub name: String,
    /// Its underlay address.
    pub address: Ipv4Addr,
    /// What runs its parts.
    pub components: Components,
}

/// The real program, ours, or the real one where it is found and else ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The real one where it is found.
    #[default]
    Auto,
    /// The real one, or an error.
    Real,
    /// Ours.
    Builtin,
}

impl Choice {
    /// As it stands in a topology file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Real => "real",
            Self::Builtin => "builtin",
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let all = [Self::Auto, Self::Real, Self::Builtin];
        let found = all.into_iter().find(|choice| choice.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is not auto, real or builtin"))
    }
}

/// The parts that exist twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Components {
    /// The flannel daemon.
    pub flannel: Choice,
    /// The `flannel` CNI plugin.
    pub flannel_plugin: Choice,
    /// The multi-cluster router.
    pub router: Choice,
}

/// flannel's network configuration, under its own names
/// (flannel `Documentation/configuration.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PodNetwork {
    /// Where all pods' addresses come from.
    pub network: Ipv4Network,
    /// Prefix length of one worker's share.
    pub subnet_len: u8,
    /// The first share.
    pub subnet_min: Ipv4Addr,
    /// The last share.
    pub subnet_max: Ipv4Addr,
    /// Whether the real flannel makes its rules with nftables instead of iptables; ours always does.
    #[serde(rename = "EnableNFTables", default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_nftables: bool,
    /// How shares reach each other.
    pub backend: BTreeMap<String, BackendValue>,
}

/// A value in flannel's `Backend` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BackendValue {
    /// As `DirectRouting`.
    Bool(bool),
    /// As `VNI`.
    Number(u32),
    /// As `Type`.
    Text(String),
}

/// What a link between two neighbours is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkSpec {
    /// The two neighbours: a node and its switch, or two switches.
    pub between: (String, String),
    /// What to change of it.
    #[serde(flatten)]
    pub properties: LinkProperties,
}

/// Impairments of a link, in both directions; `None` is a plain link.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LinkProperties {
    /// Most that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Share of packets that get lost, each way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// One-way delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Largest packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether the cable is plugged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
}

impl LinkProperties {
    /// What `change` sets replaces what is here; the rest stays.
    #[must_use]
    pub fn with(self, change: Self) -> Self {
        Self {
            rate: change.rate.or(self.rate),
            loss: change.loss.or(self.loss),
            delay: change.delay.or(self.delay),
            mtu: change.mtu.or(self.mtu),
            up: change.up.or(self.up),
        }
    }
}

impl Topology {
    /// Every switch, the joining one first.
    pub fn switches(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.underlay.switch.as_str()).chain(self.clusters.iter().map(|c| c.switch.as_str()))
    }

    /// Name and address of every node: of each cluster the etcd members, then the workers.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.clusters.iter().flat_map(Cluster::nodes)
    }
}

/// The address of a cluster's DNS service: the tenth of its service network (kubeadm `GetDNSIP`). None where
/// the network is that small.
#[must_use]
pub fn dns_address(service_network: Ipv4Network) -> Option<Ipv4Addr> {
    service_network.nth(10)
}

impl Cluster {
    /// Name and address of every node: the etcd members, then the workers.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        let etcd = self.etcd.iter().map(|m| (m.name.as_str(), m.address));
        etcd.chain(self.workers.iter().map(|w| (w.name.as_str(), w.address)))
    }

    /// Where its etcd listens for clients.
    #[must_use]
    pub fn etcd_endpoints(&self) -> Vec<String> {
        self.etcd.iter().map(|m| format!("http://{}:2379", m.address)).collect()
    }
}
