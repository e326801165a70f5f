//! Writing, with a note of what was written, so that the next look waits until it can be seen.
//!
//! client-go's controllers count expectations; here each write has a revision, and a view knows how far it
//! has come, so a controller never plans on a view that lacks what it did itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::types::Metadata;
use api::types::api::core::v1::Pod;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use store::{Error, Object, Result, Store};

use crate::clock::{Clock, whole};
use crate::meta::Meta;
use crate::pods;
use crate::view::{ObjectName, Source};

/// What was written with one look at a key.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// By folder: the newest revision, and the one that the view had then.
    revisions: BTreeMap<&'static str, (i64, i64)>,
    /// Folder, name and uid of what was deleted.
    gone: Vec<(&'static str, ObjectName, String)>,
}

impl Written {
    pub(crate) fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.gone.is_empty()
    }

    /// Notes how far the views are now.
    pub(crate) fn since(&mut self, sources: &[&dyn Source]) {
        for source in sources {
            if let Some((_, before)) = self.revisions.get_mut(source.info().folder) {
                *before = source.revision();
            }
        }
    }

    /// Whether the views show it. Of a kind that is not viewed nothing is awaited.
    pub(crate) fn is_seen(&self, sources: &[&dyn Source]) -> bool {
        sources.iter().all(|source| {
            let folder = source.info().folder;
            let reached = self.revisions.get(folder).is_none_or(|(revision, before)| {
                let now = source.revision();
                // It goes back when etcd has lost its data, and what was written with them.
                now >= *revision || now < *before
            });
            let mut gone = self.gone.iter().filter(|(one, ..)| *one == folder);
            reached && gone.all(|(_, name, uid)| !source.has(name, uid))
        })
    }
}

/// A store that notes what is written to it.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    store: Store,
    clock: Clock,
    written: Arc<Mutex<Written>>,
}

impl Writer {
    pub(crate) fn new(store: &Store, clock: &Clock) -> Self {
        Self { store: store.clone(), clock: clock.clone(), written: Arc::default() }
    }

    /// For reading.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What was written since the last call.
    pub(crate) fn take(&self) -> Written {
        std::mem::take(&mut self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note<K: Object>(&self, object: &K) {
        let version = object.metadata().resource_version.as_deref();
        let Some(revision) = version.and_then(|version| version.parse().ok()) else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = &mut written.revisions.entry(K::FOLDER).or_default().0;
        *newest = (*newest).max(revision);
    }

    fn note_gone<K: Object>(&self, object: &K) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.gone.push((K::FOLDER, object.key(), object.uid().to_owned()));
    }

    pub(crate) async fn create<K: Object>(&self, object: &mut K) -> Result<()> {
        self.store.create(object).await?;
        self.note(object);
        Ok(())
    }

    /// Changes an object if it is still the same one, whatever its version.
    pub(crate) async fn modify<K>(&self, of: &K, mut change: impl FnMut(&mut K)) -> Result<K>
    where
        K: Object + Clone + PartialEq,
    {
        let change_same = |object: &mut K| {
            if object.uid() == of.uid() {
                change(object);
            }
        };
        let changed = self.store.modify(of.namespace(), of.name(), change_same).await?;
        self.note(&changed);
        Ok(changed)
    }

    /// Replaces an object of which one has the newest version.
    pub(crate) async fn update<K: Object>(&self, object: &mut K) -> Result<()> {
        self.store.update(object).await?;
        self.note(object);
        Ok(())
    }

    /// Deletes an object if it is still there and the same one. One with finalizers is only marked: whoever
    /// takes the last one off deletes it.
    pub(crate) async fn delete<K>(&self, object: &K) -> Result<()>
    where
        K: Object + Clone + PartialEq,
    {
        self.delete_in(object, 0).await
    }

    /// Deletes a pod as the API server does: one that runs on a node gets time to end, and its kubelet
    /// deletes it; another one is gone at once.
    pub(crate) async fn delete_pod(&self, pod: &Pod) -> Result<()> {
        self.delete_in(pod, pods::grace_seconds(pod)).await
    }

    async fn delete_in<K>(&self, object: &K, grace: i64) -> Result<()>
    where
        K: Object + Clone + PartialEq,
    {
        let mut current = object.clone();
        loop {
            let marked = grace > 0 || has_finalizers(current.metadata());
            let result = if marked {
                if current.is_deleting() {
                    self.note(&current);
                    return Ok(());
                }
                let at = self.clock.now().checked_add(std::time::Duration::from_secs(grace.unsigned_abs()));
                let meta = Metadata::metadata_mut(&mut current);
                meta.deletion_timestamp = at.ok().map(whole);
                meta.deletion_grace_period_seconds = Some(grace);
                self.update(&mut current).await
            } else {
                self.store.delete(&current).await.inspect(|()| self.note_gone(object))
            };
            match result {
                Err(Error::Conflict { .. }) => {}
                Err(Error::NotFound { .. }) => {
                    self.note_gone(object);
                    return Ok(());
                }
                result => return result,
            }
            match self.store.get::<K>(object.namespace(), object.name()).await? {
                Some(latest) if latest.uid() == object.uid() => current = latest,
                _ => {
                    self.note_gone(object);
                    return Ok(());
                }
            }
        }
    }
}

fn has_finalizers(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
}
