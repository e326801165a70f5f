//! A local copy of a kind's objects that stays true whatever happens to etcd.
//!
//! ```text
//! watch from now on ── list ── compare with the copy ── apply each change after the list
//!  ▲                                           │ compacted, disconnected, hung, leader lost,
//!  └──────────────── back-off ◄────────────────┘ restarted, data lost
//! ```
//!
//! It never resumes a watch: after any trouble it lists again and compares, so what is told is exactly how
//! the copy differs from before. An object that was deleted and made anew meanwhile is told as deleted and
//! added; one that changed several times, as changed once. While etcd is away the copy stays as it was,
//! and [`Status`] says so.
//!
//! Model: client-go `tools/cache/reflector.go`.

mod cache;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::entry::Listing;
use crate::error::Error;
use crate::typed::{Object, Store};

use cache::{Cache, Filter};
use memchr::memmem::Finder;

/// The first try after trouble comes at once, for a leader is elected in a moment; later ones are rare.
const FIRST: Duration = Duration::from_millis(5);
const MOST: Duration = Duration::from_secs(1);

/// What an object is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Empty for a kind without namespaces.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl ObjectName {
    /// The name in a namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name of the object with this metadata.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Objects by namespace and name.
pub type Objects<K> = BTreeMap<ObjectName, Arc<K>>;

/// How the copy has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<K> {
    /// An object is there that was not.
    Added(Arc<K>),
    /// An object is another than before.
    Modified {
        /// Before.
        old: Arc<K>,
        /// Now.
        new: Arc<K>,
    },
    /// An object is gone; this is what it last was.
    Deleted(Arc<K>),
}

/// The changes of the copy, none left out, none twice.
#[derive(Debug)]
pub struct Changes<K>(mpsc::UnboundedReceiver<Change<K>>);

impl<K> Changes<K> {
    /// Waits for the next one; none when the reflector is gone.
    pub async fn next(&mut self) -> Option<Change<K>> {
        self.0.recv().await
    }

    /// The next one if it is there already.
    pub fn try_next(&mut self) -> Option<Change<K>> {
        self.0.try_recv().ok()
    }
}

/// How a reflector is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the objects have been read at all. Before, an empty copy means nothing.
    pub synced: bool,
    /// Whether it is being told of changes now. If not, the copy is as it last was.
    pub connected: bool,
    /// The last trouble; none while it is connected.
    pub error: Option<String>,
    /// What is stored under these keys is no object of the kind; the copy has what was there before.
    pub invalid: BTreeMap<String, String>,
    /// How often everything was read.
    pub lists: u64,
}

/// A local copy of a kind's objects. Clones are the same copy; with the last one its task ends.
#[derive(Debug)]
pub struct Reflector<K>(Arc<Inner<K>>);

impl<K> Clone for Reflector<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<K> {
    shared: Arc<Shared<K>>,
    task: JoinHandle<()>,
}

impl<K> Drop for Inner<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared<K> {
    cache: Mutex<Cache<K>>,
    /// All changes up to this one are in the copy.
    revision: AtomicI64,
    /// Says that something has changed, not what.
    changed: watch::Sender<()>,
    status: watch::Sender<Status>,
}

impl<K> Shared<K> {
    fn cache(&self) -> MutexGuard<'_, Cache<K>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Object + PartialEq + Send + Sync + 'static> Reflector<K> {
    /// Begins to copy a kind's objects, of one namespace or of all, in a task of its own.
    #[must_use]
    pub fn start(store: &Store, namespace: Option<&str>) -> Self {
        Self::start_where(store, namespace, |_| true)
    }

    /// As [`Reflector::start`], but only of those objects that are `wanted`, as a node's pods. One that
    /// becomes or ceases to be so is told as added or deleted.
    #[must_use]
    pub fn start_where(
        store: &Store,
        namespace: Option<&str>,
        wanted: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start_filtered(store, namespace, Filter { mention: None, wanted })
    }

    /// As [`Self::start_where`], but an object is only looked at if its JSON has `mention` in it, as
    /// `"C0w1"` with the quotes: for those who watch many objects of which few are theirs.
    #[must_use]
    pub fn start_mentioning(
        store: &Store,
        namespace: Option<&str>,
        mention: &str,
        wanted: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Self {
        let mention = Some(Finder::new(mention).into_owned());
        Self::start_filtered(store, namespace, Filter { mention, wanted })
    }

    /// As [`Self::start`], but of one object alone: etcd tells of no other.
    #[must_use]
    pub fn start_one(store: &Store, namespace: &str, name: &str) -> Self {
        let filter = Filter { mention: None, wanted: |_: &K| true };
        Self::start_at(store, K::INFO.key(namespace, name), filter)
    }

    fn start_filtered(
        store: &Store,
        namespace: Option<&str>,
        filter: Filter<impl Fn(&K) -> bool + Send + Sync + 'static>,
    ) -> Self {
        Self::start_at(store, K::INFO.prefix(namespace), filter)
    }

    fn start_at(
        store: &Store,
        prefix: String,
        filter: Filter<impl Fn(&K) -> bool + Send + Sync + 'static>,
    ) -> Self {
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::default()),
            revision: AtomicI64::new(0),
            changed: watch::Sender::new(()),
            status: watch::Sender::new(Status::default()),
        });
        let source = Source { backend: store.0.clone(), prefix, filter };
        let task = tokio::spawn(run(source, shared.clone()));
        Self(Arc::new(Inner { shared, task }))
    }
}

impl<K> Reflector<K> {
    /// Wakes when something has changed, also when the first sync found nothing. First look at the copy,
    /// then wait; then look again.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.shared.changed.subscribe()
    }

    /// Every change, beginning with what is there now as added.
    #[must_use]
    pub fn changes(&self) -> Changes<K> {
        Changes(self.0.shared.cache().listen())
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.snapshot().get(&ObjectName::new(namespace, name)).cloned()
    }

    /// The objects of a namespace, or all, in the order of their names.
    #[must_use]
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        let objects = self.snapshot();
        let inside = |name: &ObjectName| namespace.is_none_or(|namespace| name.namespace == namespace);
        objects.iter().filter(|(name, _)| inside(name)).map(|(_, object)| object.clone()).collect()
    }

    /// All objects, as of one moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Objects<K>> {
        self.0.shared.cache().objects()
    }

    /// All changes up to this revision are in the copy and have been told: whoever waits until it reaches the
    /// `resourceVersion` of what he wrote sees it. It goes back only when etcd has lost data.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.0.shared.revision.load(Ordering::Acquire)
    }

    /// Waits until the objects have been read for the first time.
    pub async fn wait_synced(&self) {
        let mut status = self.0.shared.status.subscribe();
        // The sender is held here.
        let _ = status.wait_for(|status| status.synced).await;
    }

    /// How it is, and how that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.shared.status.subscribe()
    }

    /// Whether it is being told of changes now.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.0.shared.status.borrow().connected
    }
}

/// Where objects come from, and which.
struct Source<W> {
    backend: Backend,
    /// What the keys begin with, and `/`; or the one key.
    prefix: String,
    filter: Filter<W>,
}

async fn run<K, W>(source: Source<W>, shared: Arc<Shared<K>>)
where
    K: Object + PartialEq,
    W: Fn(&K) -> bool,
{
    let mut backoff = Backoff::new(FIRST, MOST);
    loop {
        let began = Instant::now();
        let Err(error) = follow(&source, &shared).await;
        let message = error.in_one_line();
        shared.status.send_if_modified(|status| {
            let news = status.connected || status.error.as_ref() != Some(&message);
            status.connected = false;
            status.error = Some(message);
            news
        });
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

/// Lists and watches until that fails.
async fn follow<K, W>(source: &Source<W>, shared: &Shared<K>) -> Result<Infallible, Error>
where
    K: Object + PartialEq,
    W: Fn(&K) -> bool,
{
    // Opened before the list is read, and not from its revision: that would be in the past as soon as anybody
    // writes anything, and etcd makes such a watch wait.
    let mut watch = source.backend.watch_from_now(&source.prefix).await?;
    let Listing { entries, revision: listed } = source.backend.list(&source.prefix).await?;
    let found = entries.iter().filter_map(|entry| cache::read::<K>(entry, &source.filter)).collect();
    // Or else all of it would stay for as long as the watch does.
    drop(entries);
    let changed = shared.cache().replace(found);
    shared.revision.store(listed, Ordering::Release);
    let invalid = shared.cache().invalid();
    shared.status.send_modify(|status| {
        status.lists += 1;
        status.invalid = invalid;
    });
    let first = !shared.status.borrow().synced;
    shared.status.send_if_modified(|status| !std::mem::replace(&mut status.synced, true));
    if changed || first {
        shared.changed.send_replace(());
    }
    shared.status.send_modify(|status| {
        status.connected = true;
        status.error = None;
    });
    loop {
        let update = watch.next().await?;
        let revision = update.revision();
        if revision <= listed {
            continue;
        }
        let news = cache::news::<K>(update, &source.filter);
        let changed = news.is_some_and(|news| shared.cache().apply(news));
        shared.revision.store(revision, Ordering::Release);
        let invalid = shared.cache().invalid();
        shared.status.send_if_modified(|status| {
            let news = status.invalid != invalid;
            status.invalid = invalid;
            news
        });
        if changed {
            shared.changed.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests;
