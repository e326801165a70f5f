//! What a service, or an address, lacks or has too much. Pure.
//!
//! Sources: kubernetes `pkg/registry/core/service/ipallocator/controller/repairip.go`,
//! `pkg/registry/core/service/portallocator/controller/repair.go`, cloud-provider
//! `controllers/service/controller.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::types::api::core::v1::{LoadBalancerIngress, Service};
use api::types::api::networking::v1::IPAddress;
use api::types::jiff::Timestamp;
use api::{Kind, VirtualIP};
use ipnetwork::Ipv4Network;
use store::ObjectName;
use store::allocator::{GRACE, Owner, addresses_of, lacks, owner_of, ports_of};

/// Keeps the addresses of load balancers.
pub(crate) const BALANCER: &str = "load-balancer.knetsim.dev";
/// A port that no service has is released after so long: someone may be about to store the service.
const LEAK: Duration = GRACE;

/// Something that is wrong with a service and that somebody has to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What there is to do for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It lacks an address or ports.
    Complete,
    /// It has an address that nobody has noted.
    Claim(Ipv4Addr),
    /// It has ports, which are to be noted if they are not.
    Note(BTreeSet<u16>),
    /// It wants an address of the pool: this one, or any.
    Balance(Option<Ipv4Addr>),
    /// It has an address of the pool and wants none.
    Unbalance,
    /// Its condition is to say this.
    Tell(Option<Fault>),
}

/// What is there beside the service.
pub(crate) struct Observed<'a> {
    pub(crate) network: Ipv4Network,
    pub(crate) pool: Option<Ipv4Network>,
    /// Who has an address.
    pub(crate) owner: &'a dyn Fn(Ipv4Addr) -> Option<Owner>,
    /// Other services that have a port.
    pub(crate) sharers: &'a dyn Fn(u16) -> Vec<Arc<Service>>,
}

/// Plans. Faults that only show when allocation is tried are not told here.
pub(crate) fn plan(service: &Service, observed: &Observed<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut fault = None;
    if lacks(service) {
        return vec![Step::Complete];
    }
    for address in addresses_of(service) {
        match (observed.owner)(address) {
            _ if !observed.network.contains(address) => fault = Some(out_of_range(address)),
            None => steps.push(Step::Claim(address)),
            Some(owner) if !owner.is(&Owner::of(service)) => fault = Some(taken(address)),
            Some(_) => {}
        }
    }
    let ports = ports_of(service);
    for port in &ports {
        let mut others = (observed.sharers)(*port).into_iter();
        if others.any(|other| is_before(&other, service)) {
            fault = Some(Fault {
                reason: "PortAlreadyAllocated",
                message: format!("Port {port} was assigned to multiple services; please recreate service"),
            });
        }
    }
    if !ports.is_empty() {
        steps.push(Step::Note(ports));
    }
    steps.extend(balance(service, observed));
    steps.push(Step::Tell(fault));
    steps
}

fn out_of_range(address: Ipv4Addr) -> Fault {
    let message = format!(
        "Cluster IP [IPv4]:{address} is not within any configured Service CIDR; please recreate service"
    );
    Fault { reason: "ClusterIPOutOfRange", message }
}

/// An address that another service has.
pub(crate) fn taken(address: Ipv4Addr) -> Fault {
    let message =
        format!("Cluster IP [IPv4]:{address} was assigned to multiple services; please recreate service");
    Fault { reason: "ClusterIPAlreadyAllocated", message }
}

/// Who came first keeps what two have.
fn is_before(a: &Service, b: &Service) -> bool {
    let rank = |service: &Service| {
        let meta = &service.metadata;
        (meta.creation_timestamp.as_ref().map(|at| at.0), meta.namespace.clone(), meta.name.clone())
    };
    rank(a) < rank(b)
}

fn balance(service: &Service, observed: &Observed<'_>) -> Option<Step> {
    let pool = observed.pool?;
    let has = ingress(service);
    let ours =
        |address: &Ipv4Addr| (observed.owner)(*address).is_some_and(|owner| owner.is(&balancer(service)));
    if !wants_balancer(service) {
        let some = !has.is_empty() && has.iter().all(|address| pool.contains(*address));
        return some.then_some(Step::Unbalance);
    }
    let spec = service.spec.as_ref()?;
    let wanted = spec.load_balancer_ip.as_deref().and_then(|ip| ip.parse().ok());
    let right = has.len() == 1
        && has.iter().all(|address| wanted.is_none_or(|wanted| wanted == *address) && ours(address));
    (!right)
        .then_some(Step::Balance(wanted.or_else(|| has.first().copied().filter(|one| pool.contains(*one)))))
}

/// Those of another class are somebody else's.
pub(crate) fn wants_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let balanced = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    balanced
        && spec.is_some_and(|spec| spec.load_balancer_class.is_none())
        && service.metadata.deletion_timestamp.is_none()
}

/// The owner of a service's address of the pool.
pub(crate) fn balancer(service: &Service) -> Owner {
    Owner { manager: BALANCER.into(), ..Owner::of(service) }
}

/// The addresses of the pool that a service's status tells.
pub(crate) fn ingress(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    all.iter().filter_map(|one: &LoadBalancerIngress| one.ip.as_deref()?.parse().ok()).collect()
}

/// The owner of the address of a virtual IP.
pub(crate) fn virtual_owner(vip: &VirtualIP) -> Owner {
    let info = VirtualIP::INFO;
    Owner {
        manager: format!("{}.{}", info.plural, info.group),
        group: info.group.into(),
        resource: info.plural.into(),
        name: ObjectName::of(&vip.metadata),
        uid: vip.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Whether its service wants an address. Of other owners nothing is known, so they do.
pub(crate) fn is_wanted(address: &IPAddress, service: Option<&Service>) -> bool {
    let owner = owner_of(address);
    let (cluster_ip, ip) = (Owner::of(&Service::default()), address.metadata.name.as_deref());
    let Some(ip) = ip.and_then(|name| name.parse::<Ipv4Addr>().ok()) else { return true };
    if owner.manager == cluster_ip.manager {
        service.is_some_and(|service| Owner::of(service).is(&owner) && addresses_of(service).contains(&ip))
    } else if owner.manager == BALANCER {
        service.is_some_and(|service| balancer(service).is(&owner) && ingress(service).contains(&ip))
    } else {
        owner.resource != VirtualIP::INFO.plural
    }
}

/// Whether an address is to be released. One that has just been made may be of an object that is about to be
/// stored; then it says when to look again.
pub(crate) fn is_orphan(address: &IPAddress, wanted: bool, now: Timestamp) -> Result<bool, Duration> {
    if wanted {
        return Ok(false);
    }
    let made = address.metadata.creation_timestamp.as_ref().map_or(now, |at| at.0);
    let age = Duration::try_from(now.duration_since(made)).unwrap_or_default();
    match GRACE.checked_sub(age) {
        Some(left) if !left.is_zero() => Err(left),
        _ => Ok(true),
    }
}

/// Ports that are noted and that no service has.
#[derive(Debug, Default)]
pub(crate) struct Leaks(BTreeMap<u16, Instant>);

impl Leaks {
    /// Those that nobody has had for long enough.
    pub(crate) fn check(
        &mut self,
        noted: &BTreeSet<u16>,
        used: &BTreeSet<u16>,
        now: Instant,
    ) -> BTreeSet<u16> {
        let unused: BTreeSet<u16> = noted.difference(used).copied().collect();
        self.0.retain(|port, _| unused.contains(port));
        for port in unused {
            self.0.entry(port).or_insert(now);
        }
        self.0
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= LEAK)
            .map(|(port, _)| *port)
            .collect()
    }
}
