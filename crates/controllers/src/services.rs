//! Services' addresses and ports: those that were stored without get theirs, what two have is told, what
//! nobody has any more is released; and services of type LoadBalancer get an address of the pool.
//!
//! Who stores a service by the registry gives it its address himself, so there is mostly nothing to do.
//!
//! [`plan`] decides, [`apply`] writes.

mod apply;
mod plan;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::VirtualIP;
use api::types::api::core::v1::Service;
use api::types::api::networking::v1::IPAddress;
use ipnetwork::Ipv4Network;
use runtime::Queue;
use store::ObjectName;
use store::allocator::{Allocator, addresses_of, owner_of, ports_of};
use store::events::Recorder;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::meta::Meta;
use crate::view::{Source, View, sides};
use crate::writer::Writer;

use apply::Applier;
use plan::{Leaks, Observed, Step, is_orphan, is_wanted, virtual_owner};

/// How often ports are looked for that no service has.
const PORTS_PERIOD: Duration = Duration::from_secs(180);

/// How often it is tried to give a service what was refused.
const RETRY: Duration = Duration::from_secs(30);

/// The controller.
#[derive(Debug)]
pub(crate) struct Services {
    services: View<Service>,
    addresses: View<IPAddress>,
    virtual_ips: View<VirtualIP>,
    allocator: Allocator,
    pool: Option<Ipv4Network>,
    recorder: Recorder,
    clock: Clock,
    leaks: Arc<Mutex<Leaks>>,
    /// Whether everything was looked at for the first time.
    begun: bool,
}

/// What is looked at by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The ranges, and ports that no service has.
    Ports,
    Service(ObjectName),
    /// An address of ours that stands for pods.
    Virtual(ObjectName),
    Address(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports => f.write_str("node ports"),
            Self::Service(name) | Self::Virtual(name) => write!(f, "{name}"),
            Self::Address(address) => f.write_str(address),
        }
    }
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Work {
    Service(Arc<Service>, Vec<Step>),
    /// Its address is to be taken.
    Virtual(Arc<VirtualIP>, Ipv4Addr),
    /// Nobody wants it.
    Delete(Arc<IPAddress>),
    /// Ports that services have.
    Ports(BTreeSet<u16>),
}

fn by_numbers(service: &Service) -> Vec<String> {
    let addresses = addresses_of(service).into_iter().map(|address| address.to_string());
    let balancer = plan::ingress(service).into_iter().map(|address| address.to_string());
    addresses.chain(balancer).chain(ports_of(service).into_iter().map(port_key)).collect()
}

fn port_key(port: u16) -> String {
    format!("port {port}")
}

fn by_owner(address: &IPAddress) -> Vec<String> {
    vec![owner_of(address).name.to_string()]
}

impl Services {
    pub(crate) fn new(cluster: &Cluster, allocator: Allocator, pool: Option<Ipv4Network>) -> Self {
        Self {
            services: View::new(&cluster.services, by_numbers),
            addresses: View::new(&cluster.ip_addresses, by_owner),
            virtual_ips: View::new(&cluster.virtual_ips, |vip| vec![vip.spec.address.clone()]),
            allocator,
            pool,
            recorder: cluster.recorder(Self::NAME),
            clock: cluster.clock.clone(),
            leaks: Arc::default(),
            begun: false,
        }
    }

    fn plan_service(&self, name: &ObjectName) -> Option<Work> {
        let service = self.services.get(name)?;
        let owner = |address: Ipv4Addr| {
            self.addresses.get(&ObjectName::new("", &address.to_string())).map(|address| owner_of(address))
        };
        let sharers = |port: u16| self.services.by(&port_key(port)).cloned().collect();
        let observed =
            Observed { network: self.allocator.network(), pool: self.pool, owner: &owner, sharers: &sharers };
        let mut steps = plan::plan(service, &observed);
        steps.retain(|step| !matches!(step, Step::Tell(fault) if apply::told(service) == *fault));
        (!steps.is_empty()).then(|| Work::Service(service.clone(), steps))
    }

    fn plan_virtual(&self, name: &ObjectName) -> Option<Work> {
        let vip = self.virtual_ips.get(name)?;
        let address: Ipv4Addr = vip.spec.address.parse().ok()?;
        let noted = self.addresses.get(&ObjectName::new("", &vip.spec.address));
        let ours = noted.is_some_and(|address| owner_of(address).is(&virtual_owner(vip)));
        (self.allocator.network().contains(address) && !ours).then(|| Work::Virtual(vip.clone(), address))
    }

    fn plan_address(&self, name: &str) -> Plan<Work> {
        let Some(address) = self.addresses.get(&ObjectName::new("", name)) else { return Plan::nothing() };
        let owner = owner_of(address).name;
        let wanted = match (self.services.get(&owner), self.virtual_ips.get(&owner)) {
            (_, Some(vip)) if owner_of(address).is(&virtual_owner(vip)) => vip.spec.address == name,
            (service, _) => is_wanted(address, service.map(Arc::as_ref)),
        };
        match is_orphan(address, wanted, self.clock.now()) {
            Ok(orphan) => Plan { work: orphan.then(|| Work::Delete(address.clone())), again: None },
            Err(left) => Plan { work: None, again: Some(left) },
        }
    }
}

impl Controller for Services {
    const NAME: &'static str = "service-controller";
    type Key = Key;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.services, &self.addresses, &self.virtual_ips]
    }

    fn observe(&mut self, queue: &mut Queue<Key>) {
        if !std::mem::replace(&mut self.begun, true) {
            queue.add(Key::Ports);
        }
        for change in self.services.drain() {
            let (old, new) = sides(&change);
            for service in [old, new].into_iter().flatten() {
                queue.add(Key::Service(service.key()));
                let addresses = self.addresses.by(&service.key().to_string());
                addresses.for_each(|address| queue.add(Key::Address(address.name().into())));
                // Who shared a port with it, or waited for its address.
                for number in by_numbers(service) {
                    self.services.by(&number).for_each(|other| queue.add(Key::Service(other.key())));
                }
            }
        }
        for change in self.virtual_ips.drain() {
            let (old, new) = sides(&change);
            for vip in [old, new].into_iter().flatten() {
                queue.add(Key::Virtual(vip.key()));
                queue.add(Key::Address(vip.spec.address.clone()));
            }
        }
        for change in self.addresses.drain() {
            let (old, new) = sides(&change);
            for address in [old, new].into_iter().flatten() {
                queue.add(Key::Address(address.name().into()));
                self.virtual_ips.by(address.name()).for_each(|vip| queue.add(Key::Virtual(vip.key())));
                self.services.by(address.name()).for_each(|service| queue.add(Key::Service(service.key())));
            }
        }
    }

    fn plan(&mut self, key: &Key) -> Plan<Work> {
        match key {
            Key::Ports => {
                let used = self.services.all().flat_map(|service| ports_of(service)).collect();
                Plan { work: Some(Work::Ports(used)), again: Some(PORTS_PERIOD) }
            }
            Key::Service(name) => {
                let work = self.plan_service(name);
                // What was refused may be free later, without anyone telling.
                let tries = |step: &Step| matches!(step, Step::Complete | Step::Balance(_));
                let again = matches!(&work, Some(Work::Service(_, steps)) if steps.iter().any(tries));
                Plan { work, again: again.then_some(RETRY) }
            }
            Key::Virtual(name) => Plan { work: self.plan_virtual(name), again: None },
            Key::Address(name) => self.plan_address(name),
        }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let applier = Applier {
            allocator: self.allocator.clone(),
            pool: self.pool.map(|pool| Allocator::new(writer.store(), pool, 0..=0)),
            recorder: self.recorder.clone(),
            clock: self.clock.clone(),
            writer,
        };
        let leaks = self.leaks.clone();
        async move {
            match work {
                Work::Service(service, steps) => applier.service(&service, steps).await,
                Work::Virtual(vip, address) => applier.virtual_ip(&vip, address).await,
                Work::Delete(address) => applier.writer.delete(address.as_ref()).await,
                Work::Ports(used) => applier.ports(&used, &leaks, Instant::now().into_std()).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
