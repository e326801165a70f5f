//! etcd's keys, revisions and history, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::entry::{Entry, Listing, Outcome, Update};
use crate::error::{Error, Result};

/// As many changes are remembered; older ones are compacted.
const HISTORY: usize = 10_000;

/// Keys, values and revisions; every write is the next revision, as in etcd.
#[derive(Debug)]
pub(crate) struct Memory {
    inner: Mutex<Inner>,
    /// The newest revision, for those who watch.
    revision: watch::Sender<i64>,
}

#[derive(Debug)]
struct Inner {
    revision: i64,
    /// Changes before this one are forgotten.
    compacted: i64,
    entries: BTreeMap<String, Entry>,
    history: VecDeque<(i64, Update)>,
}

impl Default for Memory {
    fn default() -> Self {
        // An empty etcd begins with 1, too.
        let inner = Inner { revision: 1, compacted: 0, entries: BTreeMap::new(), history: VecDeque::new() };
        Self { inner: Mutex::new(inner), revision: watch::Sender::new(1) }
    }
}

impl Inner {
    /// The revision of a change that is about to be made, unless the key is not as expected.
    fn next(&self, key: &str, expected: Option<i64>) -> Outcome<i64> {
        let there = self.entries.get(key).map_or(0, |entry| entry.revision);
        match expected {
            Some(expected) if there != expected && there == 0 => Outcome::Missing,
            Some(expected) if there != expected => Outcome::Differs,
            _ => Outcome::Done(self.revision + 1),
        }
    }

    fn note(&mut self, revision: i64, update: Update) {
        self.revision = revision;
        self.history.push_back((revision, update));
        if self.history.len() > HISTORY {
            self.compact(self.history[1].0);
        }
    }

    fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
        self.history.retain(|(at, _)| *at >= self.compacted);
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.lock().entries.get(key).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Listing {
        let inner = self.lock();
        let from = inner.entries.range(prefix.to_owned()..);
        let entries = from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.clone());
        Listing { entries: entries.collect(), revision: inner.revision }
    }

    /// Writes, if the key's revision is `expected` (0: the key is not there); gives the new revision.
    pub(crate) fn put(&self, key: &str, expected: Option<i64>, value: Vec<u8>) -> Outcome<i64> {
        let mut inner = self.lock();
        let revision = match inner.next(key, expected) {
            Outcome::Done(revision) => revision,
            refused => return refused,
        };
        let created = inner.entries.get(key).map_or(revision, |entry| entry.created);
        let entry = Entry { key: key.into(), value, revision, created };
        inner.entries.insert(key.into(), entry.clone());
        inner.note(revision, Update::Put(entry));
        self.revision.send_replace(revision);
        Outcome::Done(revision)
    }

    /// Deletes, if the key's revision is `expected`; gives what it was.
    pub(crate) fn delete(&self, key: &str, expected: Option<i64>) -> Outcome<Entry> {
        let mut inner = self.lock();
        let revision = match inner.next(key, expected) {
            Outcome::Done(revision) => revision,
            Outcome::Differs => return Outcome::Differs,
            Outcome::Missing => return Outcome::Missing,
        };
        let Some(before) = inner.entries.remove(key) else { return Outcome::Missing };
        let update = Update::Deleted { key: key.into(), revision, before: Some(before.clone()) };
        inner.note(revision, update);
        self.revision.send_replace(revision);
        Outcome::Done(before)
    }

    /// Forgets what was before a revision.
    pub(crate) fn compact(&self, revision: i64) -> Result<()> {
        let mut inner = self.lock();
        let current = inner.revision;
        if revision > current {
            return Err(Error::Ahead { revision, current });
        }
        inner.compact(revision);
        // Watchers that lag behind have to be told.
        self.revision.send_replace(current);
        Ok(())
    }

    /// What changes below a prefix after a revision.
    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, after: i64) -> Result<MemoryWatch> {
        let current = self.lock().revision;
        if after > current {
            return Err(Error::Ahead { revision: after, current });
        }
        let changed = self.revision.subscribe();
        Ok(MemoryWatch { memory: self.clone(), changed, prefix: prefix.into(), after })
    }
}

impl Memory {
    pub(crate) fn watch_from_now(self: &Arc<Self>, prefix: &str) -> Result<MemoryWatch> {
        let current = self.lock().revision;
        self.watch(prefix, current)
    }
}

/// An open watch.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    memory: Arc<Memory>,
    changed: watch::Receiver<i64>,
    prefix: String,
    /// The last revision that was looked at.
    after: i64,
}

impl MemoryWatch {
    /// The next change. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Result<Update> {
        loop {
            self.changed.borrow_and_update();
            if let Some(update) = self.look()? {
                return Ok(update);
            }
            // The sender is in `memory`, which is held.
            let _ = self.changed.changed().await;
        }
    }

    fn look(&mut self) -> Result<Option<Update>> {
        let inner = self.memory.lock();
        if self.after + 1 < inner.compacted {
            return Err(Error::Compacted { revision: self.after, oldest: inner.compacted });
        }
        let from = inner.history.partition_point(|(revision, _)| *revision <= self.after);
        for (revision, update) in inner.history.iter().skip(from) {
            self.after = *revision;
            let (Update::Put(Entry { key, .. }) | Update::Deleted { key, .. }) = update else { continue };
            if key.starts_with(&self.prefix) {
                return Ok(Some(update.clone()));
            }
        }
        Ok(None)
    }
}
