//! Writing, with a note of what was written, so that the next look waits until it can be seen.
//!
//! client-go's controllers count expectations; here each write has a revision, and a view knows how far it
//! has come, so a controller never plans on a view that lacks what it did itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::kinds::NAMESPACES;
use api::types::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions};
use api::{KindInfo, Rules};
use serde_json::Value;
use store::registry::{self, Deleted, Propagation};
use store::{Object, Store};

use crate::error::Result;
use crate::meta::Meta;
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
    written: Arc<Mutex<Written>>,
}

impl Writer {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), written: Arc::default() }
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
        let version = object.meta().resource_version.as_deref();
        self.note_revision(K::FOLDER, version.and_then(|version| version.parse().ok()));
    }

    fn note_revision(&self, folder: &'static str, revision: Option<i64>) {
        let Some(revision) = revision else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = &mut written.revisions.entry(folder).or_default().0;
        *newest = (*newest).max(revision);
    }

    fn note_gone<K: Object>(&self, object: &K) {
        self.note_absent(K::FOLDER, &object.key(), object.uid());
    }

    fn note_absent(&self, folder: &'static str, name: &ObjectName, uid: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.gone.push((folder, name.clone(), uid.to_owned()));
    }

    /// Stores a new object as the API server does, from what a client would send.
    pub(crate) async fn create<K: Object + Rules>(&self, document: &K) -> Result<K> {
        let created = registry::create(&self.store, document).await?;
        self.note(&created);
        Ok(created)
    }

    /// Changes an object if it is still the same one, whatever its version; it goes if it is being deleted and
    /// has no finalizer any more.
    pub(crate) async fn modify<K>(&self, of: &K, mut change: impl FnMut(&mut K)) -> Result<K>
    where
        K: Object + Clone + PartialEq,
    {
        let change_same = |object: &mut K| {
            if object.uid() == of.uid() {
                change(object);
            }
        };
        let changed = registry::modify(&self.store, of.namespace(), of.name(), change_same).await?;
        if changed.is_deleting() && !is_held(&changed) && grace_is_over(&changed) {
            self.note_gone(&changed);
        } else {
            self.note(&changed);
        }
        Ok(changed)
    }

    /// Replaces an object of which one has the newest version.
    pub(crate) async fn update<K: Object>(&self, object: &mut K) -> Result<()> {
        self.store.update(object).await?;
        self.note(object);
        Ok(())
    }

    /// Deletes an object as the API server does, if it is still there and the same one: a pod that runs gets
    /// time to end, one with finalizers is only marked.
    pub(crate) async fn delete<K: Object>(&self, object: &K) -> Result<()> {
        let options = DeleteOptions {
            preconditions: Some(Preconditions { uid: object.meta().uid.clone(), resource_version: None }),
            ..DeleteOptions::default()
        };
        match registry::delete::<K>(&self.store, object.namespace(), object.name(), &options).await {
            Ok(Deleted::Marked(marked)) => self.note_revision(K::FOLDER, revision(&marked)),
            Ok(Deleted::Gone(_)) | Err(registry::Error::Precondition { .. }) => self.note_gone(object),
            Err(error) if error.is_not_found() => self.note_gone(object),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Changes an object of any kind if it is still the same one; it goes if it is being deleted and has no
    /// finalizer any more.
    pub(crate) async fn patch_raw(
        &self,
        info: &'static KindInfo,
        (name, uid): (&ObjectName, &str),
        change: impl Fn(&mut Value),
    ) -> Result<()> {
        let patch = |old: &Value| {
            let mut new = old.clone();
            if text(old, "/metadata/uid") == uid {
                change(&mut new);
            }
            Ok(new)
        };
        let patched = registry::patch_raw(&self.store, info, &name.namespace, &name.name, patch).await;
        match patched {
            Ok(patched) => self.note_revision(info.folder, revision(&patched.new)),
            Err(error) if error.is_not_found() => self.note_absent(info.folder, name, uid),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Deletes an object of any kind, if it is still there and the same one.
    pub(crate) async fn delete_raw(
        &self,
        info: &'static KindInfo,
        (name, uid): (&ObjectName, &str),
        propagation: Propagation,
    ) -> Result<()> {
        let options = DeleteOptions {
            preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
            propagation_policy: Some(propagation.word().into()),
            ..DeleteOptions::default()
        };
        let deleted = registry::delete_raw(&self.store, info, &name.namespace, &name.name, &options).await;
        match deleted {
            Ok(Deleted::Marked(marked)) => self.note_revision(info.folder, revision(&marked)),
            Ok(Deleted::Gone(_)) | Err(registry::Error::Precondition { .. }) => {
                self.note_absent(info.folder, name, uid);
            }
            Err(error) if error.is_not_found() => self.note_absent(info.folder, name, uid),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn revision(object: &Value) -> Option<i64> {
    object.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

/// A namespace has a finalizer of its own, which its controller takes away.
fn is_held<K: Object>(object: &K) -> bool {
    let finalizers = object.meta().finalizers.as_ref();
    *K::INFO == NAMESPACES || finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}

fn grace_is_over(object: &impl Meta) -> bool {
    object.meta().deletion_grace_period_seconds == Some(0)
}
