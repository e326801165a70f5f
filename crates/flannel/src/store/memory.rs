//! etcd in memory, for tests: keys, revisions, grants that end, watches, and trouble on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Entry, Event, Listing, Registry, Watch};
use crate::error::{Error, Result};

/// Clones are the same store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<String, (Entry, Option<Instant>)>,
    revision: i64,
    history: Vec<(i64, Event)>,
    /// Changes up to this revision are forgotten.
    compacted: i64,
    /// Requests fail while this is set; watches break when it is.
    away: bool,
    /// Keys that someone else creates just before we do.
    rivals: Vec<String>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Lets every request fail from now on, or no longer; `away` breaks the watches.
    pub(crate) fn set_away(&self, away: bool) {
        self.lock().away = away;
        self.changed.notify_waiters();
    }

    /// Forgets the history, so that watches that have not read it break.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        inner.compacted = inner.revision;
    }

    /// Lets someone else create `key` just before the next to create it.
    pub(crate) fn rival(&self, key: &str) {
        self.lock().rivals.push(key.into());
    }

    /// Writes as an administrator does.
    pub(crate) fn write(&self, key: &str, value: &str) {
        self.lock().put(key, value, None);
        self.changed.notify_waiters();
    }

    pub(crate) fn remove(&self, key: &str) {
        self.lock().remove(key);
        self.changed.notify_waiters();
    }

    /// All keys and values, those whose grant is over left out.
    pub(crate) fn dump(&self) -> BTreeMap<String, String> {
        let mut inner = self.lock();
        inner.expire();
        let text = |entry: &Entry| String::from_utf8(entry.value.clone()).unwrap();
        inner.entries.iter().map(|(key, (entry, _))| (key.clone(), text(entry))).collect()
    }

    /// For how long a key is still granted.
    pub(crate) fn left(&self, key: &str) -> Option<Duration> {
        self.lock().entries.get(key)?.1.map(|end| end - Instant::now())
    }

    fn request(&self) -> Result<MutexGuard<'_, Inner>> {
        let mut inner = self.lock();
        if inner.away {
            return Err(away());
        }
        inner.expire();
        Ok(inner)
    }
}

fn away() -> Error {
    Error::Away { endpoints: "memory".into(), what: "does not answer" }
}

impl Inner {
    fn put(&mut self, key: &str, value: &str, ttl: Option<Duration>) -> i64 {
        self.revision += 1;
        let entry =
            Entry { key: key.into(), value: value.into(), granted: ttl.is_some(), revision: self.revision };
        self.history.push((self.revision, Event::Put(entry.clone())));
        self.entries.insert(key.into(), (entry, ttl.map(|ttl| Instant::now() + ttl)));
        self.revision
    }

    fn remove(&mut self, key: &str) {
        if self.entries.remove(key).is_some() {
            self.revision += 1;
            self.history.push((self.revision, Event::Delete { key: key.into(), revision: self.revision }));
        }
    }

    fn expire(&mut self) {
        let over = |end: &Option<Instant>| end.is_some_and(|end| end <= Instant::now());
        let gone: Vec<String> =
            self.entries.iter().filter(|(_, (_, end))| over(end)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }
}

impl Registry for Memory {
    type Watch = MemoryWatch;

    fn full(&self, key: &str) -> String {
        format!("/coreos.com/network/{key}")
    }

    async fn list(&self) -> Result<Listing> {
        let inner = self.request()?;
        let entries = inner.entries.values().map(|(entry, _)| entry.clone()).collect();
        Ok(Listing { entries, revision: inner.revision })
    }

    async fn watch(&self) -> Result<MemoryWatch> {
        let after = self.request()?.revision;
        Ok(MemoryWatch { store: self.clone(), after })
    }

    async fn create(&self, key: &str, value: &str, ttl: Duration) -> Result<Option<i64>> {
        let mut inner = self.request()?;
        if let Some(at) = inner.rivals.iter().position(|rival| rival == key) {
            inner.rivals.remove(at);
            inner.put(key, r#"{"PublicIP":"10.9.9.9","BackendType":"host-gw"}"#, Some(ttl));
        }
        let created = (!inner.entries.contains_key(key)).then(|| inner.put(key, value, Some(ttl)));
        drop(inner);
        self.changed.notify_waiters();
        Ok(created)
    }

    async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<i64> {
        let revision = self.request()?.put(key, value, ttl);
        self.changed.notify_waiters();
        Ok(revision)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.request()?.remove(key);
        self.changed.notify_waiters();
        Ok(())
    }
}

pub(crate) struct MemoryWatch {
    store: Memory,
    after: i64,
}

impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            let changed = self.store.changed.notified();
            {
                let inner = self.store.lock();
                if inner.away || self.after < inner.compacted {
                    return Err(away());
                }
                let events: Vec<Event> =
                    inner.history.iter().filter(|(at, _)| *at > self.after).map(|(_, e)| e.clone()).collect();
                if !events.is_empty() {
                    self.after = inner.revision;
                    return Ok(events);
                }
            }
            changed.await;
        }
    }
}
