//! The few operations of etcd that objects need, each within a time limit.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, GetOptions, KvClient, Txn, TxnOp};

use crate::error::{Error, Result};

/// Beyond this etcd counts as away: callers try again, and say so meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// etcd-client refuses answers above 4 MiB; objects are mostly below 10 KB.
const PAGE: i64 = 200;

/// A value and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) value: Vec<u8>,
    pub(crate) revision: i64,
}

/// A connection to a cluster's etcd; connects when first used, and again when it broke.
#[derive(Clone)]
pub(crate) struct Etcd {
    kv: KvClient,
    endpoints: String,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Etcd {
    pub(crate) async fn connect(endpoints: &[String]) -> Result<Self> {
        let name = endpoints.join(",");
        let options = ConnectOptions::new().with_connect_timeout(PATIENCE);
        let connected = Client::connect(endpoints, Some(options)).await;
        let client = connected.map_err(|e| Error::Etcd { endpoints: name.clone(), source: Box::new(e) })?;
        Ok(Self { kv: client.kv_client(), endpoints: name })
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let mut kv = self.kv.clone();
        let answer = self.within(kv.get(key, None)).await?;
        Ok(answer
            .kvs()
            .first()
            .map(|kv| Versioned { value: kv.value().to_vec(), revision: kv.mod_revision() }))
    }

    /// Everything below a prefix, as of one revision, in pages.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let mut entries = Vec::new();
        let mut kv = self.kv.clone();
        let mut from = prefix.to_owned();
        let mut revision = 0;
        loop {
            let options =
                GetOptions::new().with_range(end_of(prefix)).with_limit(PAGE).with_revision(revision);
            let answer = self.within(kv.get(from.as_str(), Some(options))).await?;
            revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision).max(revision);
            for kv in answer.kvs() {
                let key = String::from_utf8_lossy(kv.key()).into_owned();
                entries.push((key, Versioned { value: kv.value().to_vec(), revision: kv.mod_revision() }));
            }
            match entries.last() {
                // The next key in order: the last one and a zero byte.
                Some((last, _)) if answer.more() => from = format!("{last}\0"),
                _ => return Ok(entries),
            }
        }
    }

    /// Writes if the key's revision is `expected` (0: the key is not there); gives the new revision.
    pub(crate) async fn put_if(&self, key: &str, expected: i64, value: Vec<u8>) -> Result<Option<i64>> {
        let mut kv = self.kv.clone();
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, expected);
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::put(key, value, None)]);
        let answer = self.within(kv.txn(txn)).await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(answer.succeeded().then_some(revision))
    }

    /// Deletes if the key's revision is `expected`.
    pub(crate) async fn delete_if(&self, key: &str, expected: i64) -> Result<bool> {
        let mut kv = self.kv.clone();
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, expected);
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::delete(key, None)]);
        Ok(self.within(kv.txn(txn)).await?.succeeded())
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(Error::Etcd { endpoints: self.endpoints.clone(), source: Box::new(e) }),
            Err(_) => Err(Error::Timeout { endpoints: self.endpoints.clone() }),
        }
    }
}

/// The first key after all that begin with `prefix`. Prefixes here end in `/`, so this is the same
/// with `0`, the character after it.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
