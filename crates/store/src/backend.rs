//! Where keys and values are.

use std::sync::Arc;

use crate::entry::{Entry, Listing, Outcome, Page, Update};
use crate::error::Result;
use crate::etcd::{Etcd, EtcdWatch};
use crate::memory::{Memory, MemoryWatch};

/// etcd, or its twin.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Etcd(Etcd),
    Memory(Arc<Memory>),
}

impl Backend {
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Entry>> {
        match self {
            Self::Etcd(etcd) => etcd.get(key).await,
            Self::Memory(memory) => Ok(memory.get(key)),
        }
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Listing> {
        match self {
            Self::Etcd(etcd) => etcd.list(prefix).await,
            Self::Memory(memory) => Ok(memory.list(prefix)),
        }
    }

    /// A page, as of `revision` unless it is the first.
    pub(crate) async fn page(&self, prefix: &str, from: Option<&str>, revision: i64) -> Result<Page> {
        match self {
            Self::Etcd(etcd) => etcd.page_from(prefix, from, revision).await,
            Self::Memory(memory) => {
                let Listing { entries, revision } = memory.list(prefix);
                Ok(Page { entries, revision, next: None })
            }
        }
    }

    pub(crate) async fn put(&self, key: &str, expected: Option<i64>, value: Vec<u8>) -> Result<Outcome<i64>> {
        match self {
            Self::Etcd(etcd) => etcd.put(key, expected, value).await,
            Self::Memory(memory) => Ok(memory.put(key, expected, value)),
        }
    }

    pub(crate) async fn delete(&self, key: &str, expected: Option<i64>) -> Result<Outcome<Entry>> {
        match self {
            Self::Etcd(etcd) => etcd.delete(key, expected).await,
            Self::Memory(memory) => Ok(memory.delete(key, expected)),
        }
    }

    pub(crate) async fn watch(&self, prefix: &str, after: i64) -> Result<BackendWatch> {
        match self {
            Self::Etcd(etcd) => Ok(BackendWatch::Etcd(Box::new(etcd.watch(prefix, after).await?))),
            Self::Memory(memory) => Ok(BackendWatch::Memory(memory.watch(prefix, after)?)),
        }
    }

    /// Every change from now on; what a list then shows may come once more.
    pub(crate) async fn watch_from_now(&self, prefix: &str) -> Result<BackendWatch> {
        match self {
            Self::Etcd(etcd) => Ok(BackendWatch::Etcd(Box::new(etcd.watch_from_now(prefix).await?))),
            Self::Memory(memory) => Ok(BackendWatch::Memory(memory.watch_from_now(prefix)?)),
        }
    }

    pub(crate) async fn compact(&self, revision: i64) -> Result<()> {
        match self {
            Self::Etcd(etcd) => etcd.compact(revision).await,
            Self::Memory(memory) => memory.compact(revision),
        }
    }
}

/// An open watch of either.
#[derive(Debug)]
pub(crate) enum BackendWatch {
    Etcd(Box<EtcdWatch>),
    Memory(MemoryWatch),
}

impl BackendWatch {
    /// The next change; after an error there is none. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Result<Update> {
        match self {
            Self::Etcd(watch) => watch.next().await,
            Self::Memory(watch) => watch.next().await,
        }
    }
}
