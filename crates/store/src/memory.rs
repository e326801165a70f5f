//! etcd's keys and revisions, in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::etcd::Versioned;

/// Keys, values and revisions; every write is the next revision, as in etcd.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    revision: i64,
    entries: BTreeMap<String, Versioned>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Versioned> {
        self.lock().entries.get(key).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<(String, Versioned)> {
        let inner = self.lock();
        let from = inner.entries.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Writes if the key's revision is `expected` (0: the key is not there); gives the new revision.
    pub(crate) fn put_if(&self, key: &str, expected: i64, value: Vec<u8>) -> Option<i64> {
        let mut inner = self.lock();
        if inner.entries.get(key).map_or(0, |entry| entry.revision) != expected {
            return None;
        }
        inner.revision += 1;
        let revision = inner.revision;
        inner.entries.insert(key.into(), Versioned { value, revision });
        Some(revision)
    }

    /// Deletes if the key's revision is `expected`.
    pub(crate) fn delete_if(&self, key: &str, expected: i64) -> bool {
        let mut inner = self.lock();
        if inner.entries.get(key).is_none_or(|entry| entry.revision != expected) {
            return false;
        }
        inner.revision += 1;
        inner.entries.remove(key);
        true
    }
}
