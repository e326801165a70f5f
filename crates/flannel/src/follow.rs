//! What stands in etcd, as one knows it now: listed once, then kept by a watch; listed again whenever the
//! watch breaks (etcd restarted, or has forgotten the changes that one has missed).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::{Backoff, chain};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::lease::{self, Lease};
use crate::store::{Entry, Event, Listing, Registry, Watch};

const CONFIG: &str = "config";
const SUBNETS: &str = "subnets/";

/// The key of a subnet's lease.
pub(crate) fn lease_key(name: &str) -> String {
    format!("{SUBNETS}{name}")
}

/// A network's keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirror {
    /// How often they were listed; 0 when not even once.
    pub(crate) listed: u64,
    /// Changes up to this revision are in it.
    pub(crate) revision: i64,
    /// The network's configuration.
    pub(crate) config: Option<Arc<[u8]>>,
    /// Leases by the names of their keys, without `subnets/`.
    pub(crate) leases: BTreeMap<String, Lease>,
    /// Why it may be out of date.
    pub(crate) trouble: Option<String>,
}

impl Mirror {
    /// As a listing says.
    pub(crate) fn from_listing(listing: Listing) -> Self {
        let mut mirror = Self { listed: 1, revision: listing.revision, ..Self::default() };
        for entry in listing.entries {
            mirror.put(entry);
        }
        mirror
    }

    fn put(&mut self, entry: Entry) {
        if entry.key == CONFIG {
            self.config = Some(entry.value.into());
        } else if let Some(name) = entry.key.strip_prefix(SUBNETS) {
            match lease::parse(name, &entry.value, !entry.granted) {
                Some(lease) => {
                    self.leases.insert(name.into(), lease);
                }
                None => tracing::warn!(key = entry.key, "not a lease"),
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let revision = match event {
            Event::Put(entry) => {
                let revision = entry.revision;
                self.put(entry);
                revision
            }
            Event::Delete { key, revision } => {
                if key == CONFIG {
                    self.config = None;
                } else if let Some(name) = key.strip_prefix(SUBNETS) {
                    self.leases.remove(name);
                }
                revision
            }
        };
        self.revision = self.revision.max(revision);
    }
}

/// Keeps a mirror for as long as it lives.
#[derive(Debug)]
pub(crate) struct Follower {
    task: JoinHandle<()>,
    /// The mirror, and when it changes.
    pub(crate) mirror: watch::Receiver<Mirror>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Begins to follow. Must be called within a tokio runtime.
    pub(crate) fn start<R: Registry>(registry: Arc<R>) -> Self {
        let (sender, mirror) = watch::channel(Mirror::default());
        Self { task: tokio::spawn(follow(registry, sender)), mirror }
    }
}

async fn follow<R: Registry>(registry: Arc<R>, sender: watch::Sender<Mirror>) {
    // While etcd starts, in the first moment of a lab, tries are frequent; later ones are rare.
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(2));
    loop {
        let began = Instant::now();
        let listed = sender.borrow().listed;
        if let Err(error) = list_and_watch(&*registry, &sender).await {
            let trouble = chain(&error);
            tracing::debug!(trouble, "the network's keys cannot be followed");
            sender.send_modify(|mirror| mirror.trouble = Some(trouble));
        }
        if sender.borrow().listed > listed {
            backoff.reset();
        }
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

/// Ends with an error only.
async fn list_and_watch<R: Registry>(registry: &R, sender: &watch::Sender<Mirror>) -> Result<()> {
    let mut watch = registry.watch().await?;
    let listing = registry.list().await?;
    let listed_at = listing.revision;
    sender.send_modify(|mirror| {
        let listed = mirror.listed + 1;
        *mirror = Mirror { listed, ..Mirror::from_listing(listing) };
    });
    loop {
        let mut events = watch.next().await?;
        // What came between the two is in the list already.
        events.retain(|event| event.revision() > listed_at);
        sender.send_modify(|mirror| events.into_iter().for_each(|event| mirror.apply(event)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    const LEASE: &str = r#"{"PublicIP":"10.0.0.9","PublicIPv6":null,"BackendType":"host-gw"}"#;

    fn names(mirror: &Mirror) -> Vec<&str> {
        mirror.leases.keys().map(String::as_str).collect()
    }

    async fn until(follower: &mut Follower, what: impl FnMut(&Mirror) -> bool) -> Mirror {
        let seen = tokio::time::timeout(Duration::from_secs(60), follower.mirror.wait_for(what)).await;
        seen.expect("in time").unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_and_what_changes_is_seen() {
        let store = Memory::default();
        store.write("config", "{}");
        store.write("subnets/11.10.0.0-20", LEASE);
        store.write("subnets/nonsense", LEASE);
        store.write("other", "x");
        let mut follower = Follower::start(Arc::new(store.clone()));
        let mirror = until(&mut follower, |m| m.listed == 1).await;
        assert_eq!(mirror.config.as_deref(), Some(&b"{}"[..]));
        assert_eq!((names(&mirror), mirror.revision), (vec!["11.10.0.0-20"], 4));

        store.write("subnets/11.10.16.0-20", LEASE);
        store.remove("subnets/11.10.0.0-20");
        store.remove("config");
        let mirror = until(&mut follower, |m| m.config.is_none()).await;
        assert_eq!((names(&mirror), mirror.revision, mirror.listed), (vec!["11.10.16.0-20"], 7, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_while_etcd_was_away_or_was_forgotten_is_seen_by_a_new_list() {
        let store = Memory::default();
        store.write("subnets/11.10.0.0-20", LEASE);
        let mut follower = Follower::start(Arc::new(store.clone()));
        until(&mut follower, |m| m.listed == 1).await;
        store.set_away(true);
        let mirror = until(&mut follower, |m| m.trouble.is_some()).await;
        assert_eq!(names(&mirror), ["11.10.0.0-20"], "what was known stays");
        store.remove("subnets/11.10.0.0-20");
        store.write("subnets/11.10.32.0-20", LEASE);
        store.compact();
        store.set_away(false);
        let mirror = until(&mut follower, |m| m.listed == 2).await;
        assert_eq!((names(&mirror), &mirror.trouble), (vec!["11.10.32.0-20"], &None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_etcd_that_is_not_there_yet_is_told_and_found() {
        let store = Memory::default();
        store.set_away(true);
        let mut follower = Follower::start(Arc::new(store.clone()));
        let mirror = until(&mut follower, |m| m.trouble.is_some()).await;
        assert_eq!((mirror.listed, mirror.trouble.as_deref()), (0, Some("etcd at memory does not answer")));
        store.set_away(false);
        until(&mut follower, |m| m.listed == 1).await;
    }
}
