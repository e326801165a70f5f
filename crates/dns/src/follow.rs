//! Keeps the index as the store is.
//!
//! A [`store::Reflector`] would keep a second copy of all objects; here the index is the copy: read all, page
//! by page, compare, watch from there, and after any trouble read all again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{Backoff, chain};
use store::{Error, Event, Object, Store};
use tokio::sync::{Semaphore, watch};

use crate::server::Server;
use crate::zone::{EndpointSlice, Index, Namespace, Service};

/// The first try after trouble comes at once, for a leader is elected in a moment; later ones are rare.
const FIRST: Duration = Duration::from_millis(5);
const MOST: Duration = Duration::from_secs(1);

/// How one kind is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether all objects have been read once.
    pub(crate) synced: bool,
    /// Whether changes are told.
    pub(crate) connected: bool,
    /// The last trouble.
    pub(crate) error: Option<String>,
}

/// A kind that has names.
pub(crate) trait Named: Object + PartialEq + Send + Sync + 'static {
    fn put(&self, index: &mut Index) -> bool;
    fn delete(index: &mut Index, namespace: &str, name: &str) -> bool;
    fn retain(index: &mut Index, there: &BTreeSet<(&str, &str)>) -> bool;
}

impl Named for Namespace {
    fn put(&self, index: &mut Index) -> bool {
        index.put_namespace(self)
    }

    fn delete(index: &mut Index, _: &str, name: &str) -> bool {
        index.delete_namespace(name)
    }

    fn retain(index: &mut Index, there: &BTreeSet<(&str, &str)>) -> bool {
        index.retain_namespaces(|name| there.contains(&("", name)))
    }
}

impl Named for Service {
    fn put(&self, index: &mut Index) -> bool {
        index.put_service(self)
    }

    fn delete(index: &mut Index, namespace: &str, name: &str) -> bool {
        index.delete_service(namespace, name)
    }

    fn retain(index: &mut Index, there: &BTreeSet<(&str, &str)>) -> bool {
        index.retain_services(|namespace, name| there.contains(&(namespace, name)))
    }
}

impl Named for EndpointSlice {
    fn put(&self, index: &mut Index) -> bool {
        index.put_slice(self)
    }

    fn delete(index: &mut Index, namespace: &str, name: &str) -> bool {
        index.delete_slice(namespace, name)
    }

    fn retain(index: &mut Index, there: &BTreeSet<(&str, &str)>) -> bool {
        index.retain_slices(|namespace, name| there.contains(&(namespace, name)))
    }
}

/// Follows one kind.
pub(crate) struct Follower {
    pub(crate) store: Store,
    pub(crate) server: Arc<Server>,
    /// One kind is read at a time: together they would need the more memory.
    pub(crate) reading: Arc<Semaphore>,
    pub(crate) state: watch::Sender<State>,
}

impl Follower {
    /// Never ends.
    pub(crate) async fn run<K: Named>(self) {
        let mut backoff = Backoff::new(FIRST, MOST);
        loop {
            let began = Instant::now();
            let Err(error) = self.follow::<K>().await;
            self.tell(|state| {
                state.connected = false;
                state.error = Some(chain(&error));
            });
            tokio::time::sleep(backoff.after(began.elapsed())).await;
        }
    }

    /// Reads and watches until that fails.
    async fn follow<K: Named>(&self) -> Result<Infallible, Error> {
        let revision = self.read::<K>().await?;
        let mut watch = self.store.watch::<K>(None, revision).await?;
        self.tell(|state| *state = State { synced: true, connected: true, error: None });
        loop {
            match watch.next().await {
                Ok(Event::Added(object) | Event::Modified(object)) => self.put(&object),
                Ok(Event::Deleted { object, .. }) => self.delete(&object),
                Ok(Event::Bookmark(_)) => {}
                // What was there before stays; it is the best that is known.
                Err(error @ Error::Invalid { .. }) => {
                    tracing::warn!(error = chain(&error), "passed over");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads all objects as they are now; gives their revision. Questions are answered between them.
    async fn read<K: Named>(&self) -> Result<i64, Error> {
        // The semaphore is never closed.
        let _reading = self.reading.acquire().await;
        let mut pages = self.store.pages::<K>(None);
        let mut there = BTreeSet::new();
        while let Some(page) = pages.next().await? {
            for object in page {
                match object {
                    Ok(object) => {
                        self.put(&object);
                        let (namespace, name) = names(object.metadata());
                        there.insert((namespace.to_owned(), name.to_owned()));
                    }
                    Err(error) => {
                        tracing::warn!(error = chain(&error), "passed over");
                        // What was there before stays; it is the best that is known.
                        if let Error::Invalid { key, .. } = &error
                            && let Some((namespace, name)) = api::keys::parse(K::INFO, key)
                        {
                            there.insert((namespace.to_owned(), name.to_owned()));
                        }
                    }
                }
            }
        }
        let there = there.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect();
        self.server.change(|index| K::retain(index, &there));
        self.tell(|state| state.synced = true);
        Ok(pages.revision())
    }

    fn put<K: Named>(&self, object: &K) {
        self.server.change(|index| object.put(index));
    }

    fn delete<K: Named>(&self, object: &K) {
        let (namespace, name) = names(object.metadata());
        self.server.change(|index| K::delete(index, namespace, name));
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

fn names(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}
