//! A controller's own view of a kind's objects: those that its reflector has told it of, with an index.
//!
//! A view changes only when its controller looks ([`View::drain`]), so that all planning of one moment sees
//! the same objects, and it knows how far it has come, so that a controller can wait for its own writes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use api::KindInfo;
use runtime::Queue;
use store::{Change, Changes, Object, Reflector};
use tokio::sync::watch;

pub(crate) use store::ObjectName;

use crate::meta::Meta;

/// Objects of a kind, found by name and by what `index_by` says of them.
#[derive(Debug)]
pub(crate) struct View<K> {
    reflector: Reflector<K>,
    changes: Changes<K>,
    revision: i64,
    objects: BTreeMap<ObjectName, Arc<K>>,
    index: BTreeMap<String, BTreeMap<ObjectName, Arc<K>>>,
    index_by: fn(&K) -> Vec<String>,
}

impl<K: Object + PartialEq + Send + Sync + 'static> View<K> {
    pub(crate) fn new(reflector: &Reflector<K>, index_by: fn(&K) -> Vec<String>) -> Self {
        Self {
            reflector: reflector.clone(),
            changes: reflector.changes(),
            revision: 0,
            objects: BTreeMap::new(),
            index: BTreeMap::new(),
            index_by,
        }
    }

    /// Takes in what has changed, and tells it.
    pub(crate) fn drain(&mut self) -> Vec<Change<K>> {
        // Before the changes: all up to it have been told.
        let revision = self.reflector.revision();
        let mut told = Vec::new();
        while let Some(change) = self.changes.try_next() {
            let (old, new) = sides(&change);
            if let Some(old) = old {
                self.forget(old);
            }
            if let Some(new) = new {
                self.remember(new);
            }
            told.push(change);
        }
        self.revision = revision;
        told
    }

    /// Takes in what has changed, and has a controller look at each object of it.
    pub(crate) fn drain_into(&mut self, queue: &mut Queue<ObjectName>) {
        for change in self.drain() {
            let (old, new) = sides(&change);
            new.or(old).into_iter().for_each(|object| queue.add(object.key()));
        }
    }

    fn forget(&mut self, object: &Arc<K>) {
        let name = object.key();
        for key in (self.index_by)(object) {
            if let Some(found) = self.index.get_mut(&key) {
                found.remove(&name);
                if found.is_empty() {
                    self.index.remove(&key);
                }
            }
        }
        self.objects.remove(&name);
    }

    fn remember(&mut self, object: &Arc<K>) {
        for key in (self.index_by)(object) {
            self.index.entry(key).or_default().insert(object.key(), object.clone());
        }
        self.objects.insert(object.key(), object.clone());
    }
}

impl<K> View<K> {
    /// Whether it is being told of changes now.
    pub(crate) fn is_connected(&self) -> bool {
        self.reflector.connected()
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Arc<K>> {
        self.objects.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// Those of which `index_by` said so, in the order of their names.
    pub(crate) fn by<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        self.index.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// How many they are.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.index.get(key).map_or(0, BTreeMap::len)
    }

    /// Those of a namespace.
    pub(crate) fn of_namespace<'a>(
        &'a self,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<K>> + use<'a, K> {
        let first = ObjectName::new(namespace, "");
        let namespace = namespace.to_owned();
        let rest = self.objects.range(first..);
        rest.take_while(move |(name, _)| name.namespace == namespace).map(|(_, object)| object)
    }
}

/// What an object was, and what it is.
pub(crate) fn sides<K>(change: &Change<K>) -> (Option<&Arc<K>>, Option<&Arc<K>>) {
    match change {
        Change::Added(new) => (None, Some(new)),
        Change::Modified { old, new } => (Some(old), Some(new)),
        Change::Deleted(old) => (Some(old), None),
    }
}

/// What a driver needs of a view, whatever its kind.
pub(crate) trait Source {
    fn info(&self) -> &'static KindInfo;
    /// All changes up to this one are in the view.
    fn revision(&self) -> i64;
    /// Whether an object is there, and the same.
    fn has(&self, name: &ObjectName, uid: &str) -> bool;
    fn wakes(&self) -> watch::Receiver<()>;
    fn synced(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<K: Object + PartialEq + Send + Sync + 'static> Source for View<K> {
    fn info(&self) -> &'static KindInfo {
        K::INFO
    }

    fn revision(&self) -> i64 {
        self.revision
    }

    fn has(&self, name: &ObjectName, uid: &str) -> bool {
        self.objects.get(name).is_some_and(|object| object.uid() == uid)
    }

    fn wakes(&self) -> watch::Receiver<()> {
        self.reflector.subscribe()
    }

    fn synced(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let reflector = self.reflector.clone();
        Box::pin(async move { reflector.wait_synced().await })
    }
}

/// Names, each once, in order; for those who collect what to look at.
pub(crate) type Names = BTreeSet<ObjectName>;
