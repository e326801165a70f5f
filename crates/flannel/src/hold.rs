//! The worker's own lease: got, kept, renewed, and got again when it is lost.
//!
//! Sources: flannel `pkg/subnet/etcd/local_manager.go` (`AcquireLease`, `CompleteLease`). The real one
//! ends when its lease is deleted and when someone else was faster; this one chooses again.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::time::Instant;

use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::follow::{Mirror, lease_key};
use crate::lease::{self, Attributes, Choice, Lease, RENEW_MARGIN, TTL};
use crate::store::Registry;
use crate::subnet_env::Previous;
use runtime::chain;

/// When a lease that could not be renewed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// How often a subnet is chosen because someone else was faster (`raceRetries`).
const RACES: u32 = 10;

/// Who holds a lease, or is about to.
#[derive(Debug)]
pub(crate) struct Holder<R> {
    registry: Arc<R>,
    /// The worker's, for logs.
    node: String,
    address: Ipv4Addr,
    /// Where a former daemon left its subnet.
    subnet_file: PathBuf,
    held: Option<Held>,
}

/// The lease that is held.
#[derive(Debug, Clone)]
struct Held {
    subnet: Ipv4Network,
    attributes: Attributes,
    /// None when it never ends.
    renew_at: Option<Instant>,
    /// The mirror shows it from this revision on, or from the next list on.
    revision: i64,
    listed: u64,
}

impl<R: Registry> Holder<R> {
    pub(crate) fn new(registry: Arc<R>, node: &str, address: Ipv4Addr, subnet_file: PathBuf) -> Self {
        Self { registry, node: node.into(), address, subnet_file, held: None }
    }

    /// What our lease says of us, if we hold one.
    pub(crate) fn attributes(&self) -> Option<&Attributes> {
        self.held.as_ref().map(|held| &held.attributes)
    }

    /// When the lease must be looked after.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|held| held.renew_at)
    }

    /// The subnet that we hold, after everything that it takes to hold it and to have it say
    /// `attributes`; beside it, what went wrong without harm.
    pub(crate) async fn hold(
        &mut self,
        config: &NetworkConfig,
        attributes: &Attributes,
        mirror: &Mirror,
    ) -> Result<(Ipv4Network, Option<String>)> {
        let Some(held) = self.held.as_mut().filter(|held| config.admits(held.subnet) && held.stands(mirror))
        else {
            if let Some(Held { subnet, .. }) = &self.held {
                tracing::warn!(node = self.node, %subnet, "our lease is gone, or not of this network; taking another");
            }
            return Ok((self.acquire(config, attributes, mirror).await?, None));
        };
        let subnet = held.subnet;
        let reserved = held.shown(mirror).is_some_and(|lease| lease.reserved);
        if reserved {
            held.renew_at = None;
        }
        let due = held.renew_at.map_or(!reserved, |at| at <= Instant::now());
        if held.attributes == *attributes && held.agrees(mirror) && !due {
            return Ok((subnet, None));
        }
        let same = held.attributes == *attributes;
        match self.renew(subnet, reserved, attributes, mirror).await {
            Ok(()) => Ok((subnet, None)),
            // It is ours for another hour.
            Err(error) if same => {
                let again = Instant::now() + RENEW_AGAIN;
                self.held.iter_mut().for_each(|held| held.renew_at = Some(again));
                Ok((subnet, Some(format!("the lease is not renewed: {}", chain(&error)))))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a lease: ours, the one that we had before, or a free one.
    async fn acquire(
        &mut self,
        config: &NetworkConfig,
        attributes: &Attributes,
        mirror: &Mirror,
    ) -> Result<Ipv4Network> {
        let previous = match &self.held {
            Some(held) => Some(held.subnet),
            None => Previous::read(&self.subnet_file).subnet,
        };
        for _ in 0..RACES {
            // Not the mirror: it may be behind.
            let listing = Mirror::from_listing(self.registry.list().await?);
            let number = u32::from_ne_bytes(random()?) as usize;
            match lease::choose(config, &listing.leases, self.address, previous, |of| number % of)? {
                Choice::Drop(name) => {
                    tracing::info!(node = self.node, name, "our lease is not of this network; deleted");
                    self.registry.delete(&lease_key(&name)).await?;
                }
                Choice::Renew { subnet, reserved } => {
                    self.renew(subnet, reserved, attributes, mirror).await?;
                    return Ok(subnet);
                }
                Choice::Create(subnet) => {
                    let key = lease_key(&lease::key(subnet));
                    if let Some(revision) = self.registry.create(&key, &attributes.to_json(), TTL).await? {
                        self.held = Some(Held::new(subnet, attributes, false, revision, mirror));
                        return Ok(subnet);
                    }
                }
            }
        }
        Err(Error::Race { tries: RACES })
    }

    /// Writes our lease with a new grant, so that peers see it anew; a reservation without.
    async fn renew(
        &mut self,
        subnet: Ipv4Network,
        reserved: bool,
        attributes: &Attributes,
        mirror: &Mirror,
    ) -> Result<()> {
        let key = lease_key(&lease::key(subnet));
        let ttl = (!reserved).then_some(TTL);
        let revision = self.registry.put(&key, &attributes.to_json(), ttl).await?;
        self.held = Some(Held::new(subnet, attributes, reserved, revision, mirror));
        Ok(())
    }
}

impl Held {
    fn new(
        subnet: Ipv4Network,
        attributes: &Attributes,
        reserved: bool,
        revision: i64,
        mirror: &Mirror,
    ) -> Self {
        let renew_at = (!reserved).then(|| Instant::now() + (TTL - RENEW_MARGIN));
        Self { subnet, attributes: attributes.clone(), renew_at, revision, listed: mirror.listed }
    }

    /// Whether the mirror knows of what we wrote last.
    fn is_known(&self, mirror: &Mirror) -> bool {
        mirror.revision >= self.revision || mirror.listed > self.listed
    }

    /// Our lease as the mirror has it.
    fn shown<'a>(&self, mirror: &'a Mirror) -> Option<&'a Lease> {
        mirror.leases.get(&lease::key(self.subnet)).filter(|lease| !lease.dual)
    }

    /// Whether it is still ours, for all that one knows.
    fn stands(&self, mirror: &Mirror) -> bool {
        let ours = |attributes: &Attributes| attributes.public_ip == self.attributes.public_ip;
        let shown = self.shown(mirror).and_then(|lease| lease.attributes.as_ref());
        !self.is_known(mirror) || shown.is_some_and(ours)
    }

    /// Whether it says what we wrote, for all that one knows.
    fn agrees(&self, mirror: &Mirror) -> bool {
        let shown = self.shown(mirror).and_then(|lease| lease.attributes.as_ref());
        !self.is_known(mirror) || shown == Some(&self.attributes)
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::Random(std::io::Error::other(e)))?;
    Ok(bytes)
}
