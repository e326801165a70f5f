//! Addresses, each an `IPAddress` object while it is taken.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use api::time;
use api::types::api::core::v1::Service;
use api::types::api::networking::v1::{IPAddress, IPAddressSpec, ParentReference};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::types::jiff::Timestamp;

use super::{Allocator, Refusal, addresses_of, chance, dynamic, lower_part};
use crate::error::{Error, Result};
use crate::reflector::ObjectName;
use crate::uid::new_uid;

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// Names who keeps an `IPAddress`; see [`Owner`].
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// An address is taken before its service is stored, so for so long one without a service is no orphan
/// (`repairip.go`, `gracePeriod`).
pub const GRACE: Duration = Duration::from_secs(60);
/// The uid of the owner, which an `IPAddress` of Kubernetes 1.33 does not have: so that two services of one
/// name, of which one is refused, are told apart.
const OWNER_UID: &str = "knetsim.dev/owner-uid";
/// As many addresses are tried by chance before all that are taken are read.
const GUESSES: usize = 8;

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who keeps it, in the label [`MANAGED_BY`].
    pub manager: String,
    /// As `services`.
    pub resource: String,
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its uid; empty where it is not known, which fits all.
    pub uid: String,
}

impl Owner {
    /// As the cluster IP of a service.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            manager: "ipallocator.k8s.io".into(),
            resource: "services".into(),
            group: String::new(),
            name: ObjectName::of(&service.metadata),
            uid: service.metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// Whether both are the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let uid = self.uid == other.uid || self.uid.is_empty() || other.uid.is_empty();
        uid && *self == Self { uid: self.uid.clone(), ..other.clone() }
    }
}

/// Whose an address is.
#[must_use]
pub fn owner_of(address: &IPAddress) -> Owner {
    let parent = address.spec.clone().unwrap_or_default().parent_ref;
    let labels = address.metadata.labels.as_ref();
    Owner {
        manager: labels.and_then(|labels| labels.get(MANAGED_BY)).cloned().unwrap_or_default(),
        resource: parent.resource,
        group: parent.group.unwrap_or_default(),
        name: ObjectName::new(parent.namespace.as_deref().unwrap_or_default(), &parent.name),
        uid: address
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(OWNER_UID))
            .cloned()
            .unwrap_or_default(),
    }
}

impl Allocator {
    /// Takes an address of the network for its owner, who may have it already; says whether it may be had.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn reserve(&self, address: Ipv4Addr, owner: &Owner) -> Result<bool> {
        Ok(self.take_address(address, owner).await?.is_ok())
    }

    /// Gives an address back, if it is the owner's.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn release_address(&self, address: Ipv4Addr, owner: &Owner) -> Result<()> {
        let found: Option<IPAddress> = self.store.get("", &address.to_string()).await?;
        let Some(found) = found.filter(|found| owner_of(found).is(owner)) else { return Ok(()) };
        match self.store.delete(&found).await {
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            result => result,
        }
    }

    pub(super) async fn take_address(
        &self,
        address: Ipv4Addr,
        owner: &Owner,
    ) -> Result<std::result::Result<(), Refusal>> {
        let (first, last) = self.bounds();
        if !(first..=last).contains(&u32::from(address)) {
            return Ok(Err(Refusal::OutOfRange));
        }
        loop {
            match self.store.create(&mut object(address, owner)).await {
                Ok(()) => return Ok(Ok(())),
                Err(Error::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
            let found: Option<IPAddress> = self.store.get("", &address.to_string()).await?;
            // It has just been given back.
            let Some(mut found) = found else { continue };
            if owner_of(&found).is(owner) {
                return Ok(Ok(()));
            }
            if self.is_in_use(&found).await? {
                return Ok(Err(Refusal::Taken));
            }
            let new = object(address, owner);
            found.spec = new.spec;
            found.metadata.labels = new.metadata.labels;
            found.metadata.annotations = new.metadata.annotations;
            match self.store.update(&mut found).await {
                Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
                result => return result.map(Ok),
            }
        }
    }

    /// Whether the service that has an address still wants it, or may be about to be stored.
    async fn is_in_use(&self, address: &IPAddress) -> Result<bool> {
        let owner = owner_of(address);
        let made = address.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let is_new = made.is_some_and(|made| Timestamp::now().duration_since(made).unsigned_abs() < GRACE);
        if is_new || owner.resource != "services" || !owner.group.is_empty() {
            return Ok(true);
        }
        let service: Option<Service> = self.store.get(&owner.name.namespace, &owner.name.name).await?;
        let ip = address.metadata.name.as_deref().and_then(|name| name.parse::<Ipv4Addr>().ok());
        Ok(service.is_some_and(|service| {
            let cluster_ip = Owner::of(&service);
            if cluster_ip.manager != owner.manager {
                return true;
            }
            cluster_ip.is(&owner) && ip.is_some_and(|ip| addresses_of(&service).contains(&ip))
        }))
    }

    /// Takes any address of the network; none if all are taken.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn next_address(&self, owner: &Owner) -> Result<Option<Ipv4Addr>> {
        let (first, last) = self.bounds();
        if first > last {
            return Ok(None);
        }
        let size = last - first + 1;
        let lower = lower_part(size, 16, 256);
        for candidate in dynamic(size, lower, chance()).take(GUESSES) {
            let address = Ipv4Addr::from(first + candidate);
            if self.try_address(address, owner).await? {
                return Ok(Some(address));
            }
        }
        let taken = self.store.list::<IPAddress>(None).await?;
        let taken: BTreeSet<u32> = taken
            .iter()
            .filter_map(|address| address.metadata.name.as_deref()?.parse::<Ipv4Addr>().ok())
            .map(u32::from)
            .collect();
        let free = dynamic(size, lower, chance()).map(|at| first + at).filter(|at| !taken.contains(at));
        for candidate in free {
            let address = Ipv4Addr::from(candidate);
            if self.try_address(address, owner).await? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    async fn try_address(&self, address: Ipv4Addr, owner: &Owner) -> Result<bool> {
        match self.store.create(&mut object(address, owner)).await {
            Ok(()) => Ok(true),
            Err(Error::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first and the last address: not that of the network, and not the broadcast address.
    fn bounds(&self) -> (u32, u32) {
        let (first, last) = (u32::from(self.network.network()), u32::from(self.network.broadcast()));
        if self.network.prefix() >= 31 { (first, last) } else { (first + 1, last - 1) }
    }
}

fn object(address: Ipv4Addr, owner: &Owner) -> IPAddress {
    let labels = [(FAMILY, "IPv4"), (MANAGED_BY, &owner.manager)];
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_string()),
            uid: Some(new_uid()),
            creation_timestamp: Some(time::now()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: some(&owner.uid).map(|uid| [(OWNER_UID.to_owned(), uid)].into()),
            ..ObjectMeta::default()
        },
        spec: Some(IPAddressSpec {
            parent_ref: ParentReference {
                group: Some(owner.group.clone()),
                resource: owner.resource.clone(),
                namespace: some(&owner.name.namespace),
                name: owner.name.name.clone(),
            },
        }),
    }
}
