//! Addresses and ports of services, each given to one service only, however many give at the same time.
//!
//! An address is taken by creating an `IPAddress` object of its name, ports by comparing and swapping one
//! bitmap; both are where Kubernetes keeps them. Who stores a service first takes what it needs
//! ([`Allocator::allocate`]), gives it back if storing fails ([`Allocator::give_back`]), and releases what an
//! old version had and the new one has not ([`Allocator::release`]). Whatever is lost between is found by
//! those who repair.
//!
//! The lower part of each range is left to those who choose addresses themselves, as long as there is room
//! above it.
//!
//! Sources: kubernetes `pkg/registry/core/service/storage/alloc.go`,
//! `pkg/registry/core/service/{ipallocator,portallocator}`, `pkg/registry/core/service/ipallocator/
//! controller/repairip.go`, KEP-1880 (`IPAddress`), KEP-3070 and KEP-3668 (the lower part).

mod addresses;
mod ports;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use api::field::{Errors, Path};
use api::types::api::core::v1::{Service, ServiceSpec};
use api::types::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::{Invalid, Kind, time};
use ipnetwork::Ipv4Network;

use crate::error::Error;
use crate::typed::Store;
use crate::uid::new_uid;

pub use addresses::{GRACE, MANAGED_BY, Owner, owner_of};

/// The name of the `ServiceCIDR` with the cluster's service network.
const CIDR: &str = "kubernetes";
/// `kube-apiserver --service-node-port-range`.
const DEFAULT_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Gives addresses and ports to services.
#[derive(Debug, Clone)]
pub struct Allocator {
    store: Store,
    network: Ipv4Network,
    node_ports: RangeInclusive<u16>,
}

/// What was taken and may have to be given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Allocated {
    addresses: Vec<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// The service wants what it cannot have, in the API server's words.
    #[error(transparent)]
    Refused(#[from] Invalid),
    /// All are taken.
    #[error("failed to allocate {what}: range is full")]
    Full {
        /// As `a nodePort`.
        what: &'static str,
    },
    /// The store is away.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Why this one cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Taken,
    OutOfRange,
}

impl Allocator {
    /// Of a cluster's service network and its range of node ports.
    #[must_use]
    pub fn new(store: &Store, network: Ipv4Network, node_ports: RangeInclusive<u16>) -> Self {
        Self { store: store.clone(), network, node_ports }
    }

    /// That of a cluster whose control plane has [published](Self::publish) its ranges.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn of_cluster(store: &Store) -> Result<Option<Self>, Error> {
        let found: Option<ServiceCIDR> = store.get("", CIDR).await?;
        let cidrs = found.and_then(|found| found.spec?.cidrs).unwrap_or_default();
        let Some(network) = cidrs.iter().find_map(|cidr| cidr.parse().ok()) else { return Ok(None) };
        let node_ports = ports::range(store).await?.unwrap_or(DEFAULT_PORTS);
        Ok(Some(Self::new(store, network, node_ports)))
    }

    /// Writes the ranges where all who store services find them: the network as the `ServiceCIDR` named
    /// `kubernetes`, the ports with what is taken of them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn publish(&self) -> Result<(), Error> {
        let spec = ServiceCIDRSpec { cidrs: Some(vec![self.network.to_string()]) };
        let mut object = ServiceCIDR {
            metadata: ObjectMeta {
                name: Some(CIDR.into()),
                uid: Some(new_uid()),
                creation_timestamp: Some(time::now()),
                ..ObjectMeta::default()
            },
            spec: Some(spec.clone()),
            status: None,
        };
        match self.store.create(&mut object).await {
            Err(Error::Exists { .. }) => {
                let set = |object: &mut ServiceCIDR| object.spec = Some(spec.clone());
                self.store.modify("", CIDR, set).await?;
            }
            result => result?,
        }
        self.publish_ports().await
    }

    /// The service network.
    #[must_use]
    pub fn network(&self) -> Ipv4Network {
        self.network
    }

    /// The range of node ports.
    #[must_use]
    pub fn node_ports(&self) -> RangeInclusive<u16> {
        self.node_ports.clone()
    }

    /// Takes for a service with defaults what it wants and has not, and writes it into the service; `old` is
    /// what is stored of it. Nothing stays taken if that fails.
    ///
    /// # Errors
    /// What it wants is not to be had, in the API server's words; or the store is away.
    pub async fn allocate(
        &self,
        service: &mut Service,
        old: Option<&Service>,
    ) -> Result<Allocated, AllocationError> {
        let mut allocated = Allocated::default();
        let result = match self.allocate_address(service, old, &mut allocated).await {
            Ok(()) => self.allocate_ports(service, old, &mut allocated).await,
            error => error,
        };
        match result {
            Ok(()) => Ok(allocated),
            Err(error) => {
                // The first failure is the one to be told; what is left is found by those who repair.
                let _ = self.give_back(service, allocated).await;
                Err(error)
            }
        }
    }

    /// Gives back what was taken for a service that could not be stored.
    ///
    /// # Errors
    /// When the store is away; it will be found by those who repair.
    pub async fn give_back(&self, service: &Service, allocated: Allocated) -> Result<(), Error> {
        let owner = Owner::of(service);
        for address in allocated.addresses {
            self.release_address(address, &owner).await?;
        }
        self.release_ports(&allocated.ports).await
    }

    /// Releases what a service had and its new version, if there is one, has not.
    ///
    /// # Errors
    /// When the store is away; it will be found by those who repair.
    pub async fn release(&self, old: &Service, new: Option<&Service>) -> Result<(), Error> {
        let kept = new.map(addresses_of).unwrap_or_default();
        for address in addresses_of(old).difference(&kept) {
            self.release_address(*address, &Owner::of(old)).await?;
        }
        let kept = new.map(ports_of).unwrap_or_default();
        let ports: BTreeSet<u16> = ports_of(old).difference(&kept).copied().collect();
        self.release_ports(&ports).await
    }

    async fn allocate_address(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        allocated: &mut Allocated,
    ) -> Result<(), AllocationError> {
        let spec = service.spec.clone().unwrap_or_default();
        if !wants_address(&spec) {
            return Ok(());
        }
        let owner = Owner::of(service);
        let wanted = spec.cluster_ip.clone().filter(|ip| !ip.is_empty());
        let address = match wanted {
            None => self.next_address(&owner).await?.ok_or(AllocationError::Full { what: "a serviceIP" })?,
            Some(text) => {
                let refused = |why: &str| {
                    let why = format!("failed to allocate IP {text}: {why}");
                    invalid(service, |errors| {
                        let ips = spec.cluster_ips.clone().unwrap_or_else(|| vec![text.clone()]);
                        errors.invalid(&Path::new("spec").child("clusterIPs"), ips, &why);
                    })
                };
                // Of another family, of which there is no network here.
                let address: Ipv4Addr = text.parse().map_err(|_| refused(&self.out_of_range(&text)))?;
                if old.map(addresses_of).unwrap_or_default().contains(&address) {
                    return Ok(());
                }
                match self.take_address(address, &owner).await? {
                    Ok(()) => address,
                    Err(Refusal::Taken) => return Err(refused("provided IP is already allocated").into()),
                    Err(Refusal::OutOfRange) => return Err(refused(&self.out_of_range(&text)).into()),
                }
            }
        };
        allocated.addresses.push(address);
        let spec = service.spec.get_or_insert_default();
        spec.cluster_ip = Some(address.to_string());
        spec.cluster_ips = Some(vec![address.to_string()]);
        Ok(())
    }

    fn out_of_range(&self, address: &str) -> String {
        let network = self.network;
        format!("the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}")
    }

    async fn allocate_ports(
        &self,
        service: &mut Service,
        old: Option<&Service>,
        allocated: &mut Allocated,
    ) -> Result<(), AllocationError> {
        let spec = service.spec.clone().unwrap_or_default();
        if !wants_ports(&spec) {
            return Ok(());
        }
        let had = old.map(ports_of).unwrap_or_default();
        // TCP and UDP under one number are one port, of one service.
        let mut chosen: Vec<Option<u16>> = Vec::new();
        let mut wanted = BTreeSet::new();
        for (i, port) in spec.ports.iter().flatten().enumerate() {
            let number = port.node_port.filter(|number| *number != 0);
            let at = Path::new("spec").child("ports").index(i).child("nodePort");
            let number = number
                .map(|number| {
                    u16::try_from(number).ok().filter(|number| self.node_ports.contains(number)).ok_or_else(|| {
                        let (first, last) = (self.node_ports.start(), self.node_ports.end());
                        let why = format!(
                            "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                        );
                        invalid(service, |errors| errors.invalid(&at, number, &why))
                    })
                })
                .transpose()?;
            wanted.extend(number.filter(|number| !had.contains(number)));
            chosen.push(number);
        }
        let health = wants_health_port(&spec) && spec.health_check_node_port.unwrap_or_default() == 0;
        let lacking = chosen.iter().filter(|number| number.is_none()).count() + usize::from(health);
        if wanted.is_empty() && lacking == 0 {
            return Ok(());
        }
        let mut found = match self.take_ports(&wanted, lacking).await? {
            Ok(found) => found.into_iter(),
            Err(None) => return Err(AllocationError::Full { what: "a nodePort" }),
            Err(Some(taken)) => {
                let at = chosen.iter().position(|number| *number == Some(taken)).unwrap_or_default();
                let at = Path::new("spec").child("ports").index(at).child("nodePort");
                let why = "provided port is already allocated";
                return Err(invalid(service, |errors| errors.invalid(&at, taken, why)).into());
            }
        };
        allocated.ports = wanted.into_iter().chain(found.clone()).collect();
        let spec = service.spec.get_or_insert_default();
        for (port, chosen) in spec.ports.iter_mut().flatten().zip(chosen) {
            port.node_port = chosen.or_else(|| found.next()).map(i32::from);
        }
        if health {
            spec.health_check_node_port = found.next().map(i32::from);
        }
        Ok(())
    }
}

/// Whether a service of that type has an address (`ClusterIP: None` has none).
fn wants_address(spec: &ServiceSpec) -> bool {
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    kind != "ExternalName" && spec.cluster_ip.as_deref() != Some("None")
}

fn wants_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => {
            spec.allocate_load_balancer_node_ports != Some(false) || wants_health_port(spec)
        }
        _ => false,
    }
}

fn wants_health_port(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// The addresses that a service has.
#[must_use]
pub fn addresses_of(service: &Service) -> BTreeSet<Ipv4Addr> {
    let Some(spec) = service.spec.as_ref().filter(|spec| wants_address(spec)) else { return BTreeSet::new() };
    let all = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    all.filter_map(|ip| ip.parse().ok()).collect()
}

/// The node ports that a service has, that for health checks included.
#[must_use]
pub fn ports_of(service: &Service) -> BTreeSet<u16> {
    let Some(spec) = service.spec.as_ref().filter(|spec| wants_ports(spec)) else { return BTreeSet::new() };
    let ports = spec.ports.iter().flatten().filter_map(|port| port.node_port);
    let all = ports.chain(spec.health_check_node_port);
    all.filter(|port| *port != 0).filter_map(|port| u16::try_from(port).ok()).collect()
}

/// Whether a service lacks something that [`Allocator::allocate`] would give it.
#[must_use]
pub fn lacks(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let address = wants_address(spec) && spec.cluster_ip.as_deref().unwrap_or_default().is_empty();
    let mut ports = spec.ports.iter().flatten();
    let numbered =
        spec.type_.as_deref() == Some("NodePort") || spec.allocate_load_balancer_node_ports != Some(false);
    let port = wants_ports(spec) && numbered && ports.any(|port| port.node_port.unwrap_or_default() == 0);
    let health = wants_health_port(spec) && spec.health_check_node_port.unwrap_or_default() == 0;
    address || port || health
}

fn invalid(service: &Service, tell: impl FnOnce(&mut Errors)) -> Invalid {
    let mut errors = Errors::default();
    tell(&mut errors);
    let info = Service::INFO;
    Invalid {
        group: info.group.into(),
        kind: info.kind.into(),
        name: service.metadata.name.clone().unwrap_or_default(),
        errors: errors.into_vec(),
    }
}

/// Some of a range's numbers: first the upper part in an order by chance, then the lower, which is left to
/// those who choose themselves.
fn dynamic(size: u32, lower: u32, seed: u64) -> impl Iterator<Item = u32> {
    let upper = size - lower;
    let start = |of: u32| if of == 0 { 0 } else { u32::try_from(seed % u64::from(of)).unwrap_or(0) };
    let (in_upper, in_lower) = (start(upper), start(lower));
    let first = (0..upper).map(move |i| lower + (in_upper + i) % upper);
    first.chain((0..lower).map(move |i| (in_lower + i) % lower))
}

/// How much of a range is left to those who choose themselves (`calculateRangeOffset`).
fn lower_part(size: u32, step: u32, most: u32) -> u32 {
    const LEAST: u32 = 16;
    let part = size / step;
    if part == 0 || size <= LEAST { 0 } else { part.clamp(LEAST, most) }
}

fn chance() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod tests;
