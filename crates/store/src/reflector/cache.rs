//! The copy itself: what was read goes in, what has changed comes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys;
use memchr::memmem::Finder;
use tokio::sync::mpsc;

use super::{Change, ObjectName, Objects};
use crate::encoding::decode;
use crate::entry::{Entry, Update};
use crate::error::Error;
use crate::typed::Object;

/// What was read under a key.
#[derive(Debug)]
pub(super) struct Found<K> {
    name: ObjectName,
    key: String,
    /// The revision that made it; tells an object from another of the same name.
    created: i64,
    what: What<K>,
}

#[derive(Debug)]
enum What<K> {
    Object(K),
    /// It is of no interest.
    Unwanted,
    /// It is no object, for this reason.
    Invalid(String),
}

/// What a watch told.
#[derive(Debug)]
pub(super) enum News<K> {
    Found(Found<K>),
    Gone(ObjectName, String),
}

/// What is of interest.
#[derive(Debug)]
pub(super) struct Filter<W> {
    /// A text without which an object is of none: looked for before it is decoded, which costs much more.
    pub(super) mention: Option<Finder<'static>>,
    /// The judge of the others.
    pub(super) wanted: W,
}

impl<W> Filter<W> {
    fn may_want(&self, entry: &Entry) -> bool {
        self.mention.as_ref().is_none_or(|mention| mention.find(&entry.value).is_some())
    }
}

/// Reads an entry; none where the key is not one of the kind.
pub(super) fn read<K: Object>(entry: &Entry, filter: &Filter<impl Fn(&K) -> bool>) -> Option<Found<K>> {
    let (namespace, name) = keys::parse(K::INFO, &entry.key)?;
    let decoded = filter.may_want(entry).then(|| decode::<K>(entry)).transpose();
    let what = match decoded {
        Ok(Some(object)) if (filter.wanted)(&object) => What::Object(object),
        Ok(_) => What::Unwanted,
        Err(error) => What::Invalid(why(&error)),
    };
    Some(Found {
        name: ObjectName::new(namespace, name),
        key: entry.key.clone(),
        created: entry.created,
        what,
    })
}

fn why(error: &Error) -> String {
    match error {
        Error::Invalid { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn news<K: Object>(update: Update, filter: &Filter<impl Fn(&K) -> bool>) -> Option<News<K>> {
    match update {
        Update::Put(entry) => Some(News::Found(read(&entry, filter)?)),
        Update::Deleted { key, .. } => {
            let (namespace, name) = keys::parse(K::INFO, &key)?;
            Some(News::Gone(ObjectName::new(namespace, name), key))
        }
        Update::Progress(_) => None,
    }
}

/// The copy, and who wants to know of its changes.
#[derive(Debug)]
pub(super) struct Cache<K> {
    /// Shared with those who look at it; a change makes a new one if someone still does.
    objects: Arc<Objects<K>>,
    created: BTreeMap<ObjectName, i64>,
    invalid: BTreeMap<String, String>,
    listeners: Vec<mpsc::UnboundedSender<Change<K>>>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: Arc::default(),
            created: BTreeMap::new(),
            invalid: BTreeMap::new(),
            listeners: Vec::new(),
        }
    }
}

impl<K> Cache<K> {
    pub(super) fn objects(&self) -> Arc<Objects<K>> {
        self.objects.clone()
    }

    pub(super) fn invalid(&self) -> BTreeMap<String, String> {
        self.invalid.clone()
    }

    /// A new listener, who is told first what is there.
    pub(super) fn listen(&mut self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for object in self.objects.values() {
            // The receiver is held here.
            let _ = sender.send(Change::Added(object.clone()));
        }
        self.listeners.push(sender);
        receiver
    }

    fn tell(&mut self, change: impl Fn() -> Change<K>) {
        self.listeners.retain(|listener| listener.send(change()).is_ok());
    }

    fn remove(&mut self, name: &ObjectName) -> bool {
        self.created.remove(name);
        if !self.objects.contains_key(name) {
            return false;
        }
        let Some(old) = Arc::make_mut(&mut self.objects).remove(name) else { return false };
        self.tell(|| Change::Deleted(old.clone()));
        true
    }

    fn insert(&mut self, name: &ObjectName, created: i64, object: Arc<K>) -> Option<Arc<K>> {
        self.created.insert(name.clone(), created);
        Arc::make_mut(&mut self.objects).insert(name.clone(), object)
    }
}

impl<K: Object + PartialEq> Cache<K> {
    /// Everything as it is now. Says whether that differs from before.
    pub(super) fn replace(&mut self, found: Vec<Found<K>>) -> bool {
        self.invalid.clear();
        let there: std::collections::BTreeSet<_> = found.iter().map(|found| found.name.clone()).collect();
        let gone: Vec<_> = self.objects.keys().filter(|name| !there.contains(name)).cloned().collect();
        let mut changed = false;
        for name in gone {
            changed |= self.remove(&name);
        }
        for found in found {
            changed |= self.put(found);
        }
        changed
    }

    /// One thing as it is now. Says whether that differs from before.
    pub(super) fn apply(&mut self, news: News<K>) -> bool {
        match news {
            News::Found(found) => self.put(found),
            News::Gone(name, key) => {
                self.invalid.remove(&key);
                self.remove(&name)
            }
        }
    }

    fn put(&mut self, found: Found<K>) -> bool {
        let Found { name, key, created, what } = found;
        self.invalid.remove(&key);
        let new = match what {
            What::Object(object) => Arc::new(object),
            What::Unwanted => return self.remove(&name),
            What::Invalid(why) => {
                self.invalid.insert(key, why);
                return false;
            }
        };
        let Some(old) = self.objects.get(&name).cloned() else {
            self.insert(&name, created, new.clone());
            self.tell(|| Change::Added(new.clone()));
            return true;
        };
        if self.is_another(&name, created, &old, &new) {
            self.remove(&name);
            self.insert(&name, created, new.clone());
            self.tell(|| Change::Added(new.clone()));
            return true;
        }
        // Not only the version: after a loss of data the numbers come round again.
        if *old == *new {
            return false;
        }
        self.insert(&name, created, new.clone());
        self.tell(|| Change::Modified { old: old.clone(), new: new.clone() });
        true
    }

    /// Whether the object was deleted and made anew.
    fn is_another(&self, name: &ObjectName, created: i64, old: &K, new: &K) -> bool {
        let (old, new) = (&old.metadata().uid, &new.metadata().uid);
        let other_uid = old.is_some() && new.is_some() && old != new;
        other_uid || self.created.get(name) != Some(&created)
    }
}
