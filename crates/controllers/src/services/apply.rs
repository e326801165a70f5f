//! Writes what was planned for services.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use api::VirtualIP;
use api::types::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service};
use api::types::apimachinery::pkg::apis::meta::v1::Condition;
use store::allocator::{AllocationError, Allocator, Owner};
use store::events::{NORMAL, Recorder, WARNING, reference};

use super::plan::{Fault, Leaks, Step, balancer, ingress, taken, virtual_owner};
use crate::claim::ignore_missing;
use crate::clock::Clock;
use crate::error::Result;
use crate::writer::Writer;

/// The condition that tells what is wrong with a service's address or ports.
const CONDITION: &str = "Allocated";

/// Everything that writing takes.
pub(super) struct Applier {
    pub(super) allocator: Allocator,
    /// Of the addresses of load balancers.
    pub(super) pool: Option<Allocator>,
    pub(super) recorder: Recorder,
    pub(super) clock: Clock,
    pub(super) writer: Writer,
}

/// What a service's condition says is wrong.
pub(super) fn told(service: &Service) -> Option<Fault> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == CONDITION)?;
    let reason = REASONS.iter().find(|reason| **reason == condition.reason)?;
    Some(Fault { reason, message: condition.message.clone() })
}

const REFUSED: &str = "AllocationRefused";
const REASONS: [&str; 4] =
    ["ClusterIPOutOfRange", "ClusterIPAlreadyAllocated", "PortAlreadyAllocated", REFUSED];

impl Applier {
    pub(super) async fn service(&self, service: &Service, steps: Vec<Step>) -> Result<()> {
        let mut fault = None;
        for step in steps {
            match step {
                Step::Complete => fault = self.complete(service).await?,
                Step::Claim(address) => {
                    if !self.allocator.reserve(address, &Owner::of(service)).await? {
                        fault = Some(taken(address));
                    }
                }
                Step::Note(ports) => {
                    self.allocator.note_ports(&ports).await?;
                }
                Step::Balance(wanted) => self.balance(service, wanted).await?,
                Step::Unbalance => self.unbalance(service).await?,
                Step::Tell(planned) => fault = fault.or(planned),
            }
        }
        if told(service) == fault { Ok(()) } else { self.tell(service, fault).await }
    }

    /// Gives a service what it lacks; what it cannot have is told.
    async fn complete(&self, service: &Service) -> Result<Option<Fault>> {
        let mut complete = service.clone();
        let allocated = match self.allocator.allocate(&mut complete, None).await {
            Ok(allocated) => allocated,
            Err(AllocationError::Store(error)) => return Err(error.into()),
            Err(AllocationError::Refused(invalid)) => {
                return Ok(Some(Fault { reason: REFUSED, message: invalid.message() }));
            }
            Err(full) => return Ok(Some(Fault { reason: REFUSED, message: full.to_string() })),
        };
        let written = self.writer.update(&mut complete).await;
        if written.is_err() {
            // The service as it is now will be looked at; what is left is found when ports are looked at.
            self.allocator.give_back(&complete, allocated).await?;
        }
        written.map(|()| None)
    }

    /// Takes the address of a virtual IP, so that no service gets it.
    pub(super) async fn virtual_ip(&self, vip: &VirtualIP, address: Ipv4Addr) -> Result<()> {
        if !self.allocator.reserve(address, &virtual_owner(vip)).await? {
            let message = format!("{address} is the address of a service, or of another virtual IP");
            self.recorder.event(&reference(vip), WARNING, "AddressAlreadyAllocated", &message);
        }
        Ok(())
    }

    async fn balance(&self, service: &Service, wanted: Option<Ipv4Addr>) -> Result<()> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let owner = balancer(service);
        let address = match wanted {
            Some(address) => pool.reserve(address, &owner).await?.then_some(address),
            None => pool.next_address(&owner).await?,
        };
        let Some(address) = address else {
            let why = wanted.map_or_else(
                || format!("no free address in the pool {}", pool.network()),
                |address| format!("{address} is taken, or not in the pool {}", pool.network()),
            );
            let message = format!("Error syncing load balancer: failed to ensure load balancer: {why}");
            self.recorder.event(&reference(service), WARNING, "SyncLoadBalancerFailed", &message);
            return Ok(());
        };
        let others: Vec<_> = ingress(service).into_iter().filter(|one| *one != address).collect();
        self.set_ingress(service, vec![address]).await?;
        for other in others {
            pool.release_address(other, &owner).await?;
        }
        self.recorder.event(&reference(service), NORMAL, "EnsuredLoadBalancer", "Ensured load balancer");
        Ok(())
    }

    async fn unbalance(&self, service: &Service) -> Result<()> {
        let Some(pool) = &self.pool else { return Ok(()) };
        self.set_ingress(service, vec![]).await?;
        for address in ingress(service) {
            pool.release_address(address, &balancer(service)).await?;
        }
        self.recorder.event(&reference(service), NORMAL, "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    async fn set_ingress(&self, service: &Service, addresses: Vec<Ipv4Addr>) -> Result<()> {
        let one = |address: &Ipv4Addr| LoadBalancerIngress {
            ip: Some(address.to_string()),
            ip_mode: Some("VIP".into()),
            ..LoadBalancerIngress::default()
        };
        let all: Vec<_> = addresses.iter().map(one).collect();
        let status = LoadBalancerStatus { ingress: Some(all).filter(|all| !all.is_empty()) };
        let set = |service: &mut Service| {
            service.status.get_or_insert_default().load_balancer = Some(status.clone());
        };
        ignore_missing(self.writer.modify(service, set).await)
    }

    async fn tell(&self, service: &Service, fault: Option<Fault>) -> Result<()> {
        if let Some(fault) = &fault {
            self.recorder.event(&reference(service), WARNING, fault.reason, &fault.message);
        }
        let now = self.clock.time();
        let set = |service: &mut Service| {
            let status = service.status.get_or_insert_default();
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|condition| condition.type_ != CONDITION);
            conditions.extend(fault.clone().map(|fault| Condition {
                type_: CONDITION.into(),
                status: "False".into(),
                reason: fault.reason.into(),
                message: fault.message,
                last_transition_time: now.clone(),
                observed_generation: None,
            }));
            status.conditions.take_if(|conditions| conditions.is_empty());
        };
        ignore_missing(self.writer.modify(service, set).await)
    }

    /// Publishes the ranges, and releases ports that no service has had for a while.
    pub(super) async fn ports(&self, used: &BTreeSet<u16>, leaks: &Mutex<Leaks>, now: Instant) -> Result<()> {
        self.allocator.publish().await?;
        let noted = self.allocator.taken_ports().await?;
        let leaked = leaks.lock().unwrap_or_else(PoisonError::into_inner).check(&noted, used, now);
        Ok(self.allocator.release_ports(&leaked).await?)
    }
}
