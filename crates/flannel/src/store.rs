//! A network's keys in etcd, all below one prefix: `config` and `subnets/…`.
//!
//! Sources: flannel `pkg/subnet/etcd/registry.go`.

use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, KeyValue, PutOptions, ResponseHeader,
    Txn, TxnOp, WatchOptions, WatchStream,
};

use crate::error::{Error, Result};

#[cfg(test)]
pub(crate) mod memory;

/// Beyond this etcd counts as away.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch may be silent before the other end is asked whether it is there. etcd ends
/// connections that ask more often than every five seconds (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// etcd-client refuses answers above 4 MiB; a lease has some 150 bytes.
const PAGE: i64 = 1000;

/// A key, without the prefix, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// Whether it goes with a grant.
    pub(crate) granted: bool,
    /// Of its last change.
    pub(crate) revision: i64,
}

/// All keys as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    pub(crate) revision: i64,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Put(Entry),
    Delete { key: String, revision: i64 },
}

impl Event {
    /// When it happened.
    pub(crate) fn revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// A network's keys. Keys are given and taken without the prefix.
pub(crate) trait Registry: Send + Sync + 'static {
    type Watch: Watch;

    /// Where it is, and its full name of a key, for messages.
    fn full(&self, key: &str) -> String;

    /// All keys.
    fn list(&self) -> impl Future<Output = Result<Listing>> + Send;

    /// All changes from now on: open when this returns.
    fn watch(&self) -> impl Future<Output = Result<Self::Watch>> + Send;

    /// Writes a key that is not there yet, with a grant for `ttl`; gives the revision, or nothing when it
    /// is there.
    fn create(
        &self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Option<i64>>> + Send;

    /// Writes a key, with a new grant for `ttl`, or for ever; gives the revision.
    fn put(&self, key: &str, value: &str, ttl: Option<Duration>) -> impl Future<Output = Result<i64>> + Send;

    /// Deletes a key, if it is there.
    fn delete(&self, key: &str) -> impl Future<Output = Result<()>> + Send;
}

/// Changes as they happen.
pub(crate) trait Watch: Send {
    /// The next changes, in their order. After an error the watch is over: some changes may be lost
    /// (compaction, a broken connection), so list again.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Event>>> + Send;
}

/// The network's keys in a cluster's etcd.
#[derive(Clone)]
pub(crate) struct Etcd {
    client: Client,
    endpoints: String,
    /// Ends in a slash.
    prefix: String,
}

impl Etcd {
    /// Connects with the first request, and again when the connection broke.
    pub(crate) async fn connect(endpoints: &[String], prefix: &str) -> Result<Self> {
        let name = endpoints.join(",");
        let options = ConnectOptions::new()
            .with_connect_timeout(PATIENCE)
            // Only while there is a watch: etcd does not want to be asked for nothing.
            .with_keep_alive(KEEP_ALIVE, PATIENCE)
            .with_keep_alive_while_idle(false);
        let connected = Client::connect(endpoints, Some(options)).await;
        let client = connected.map_err(|e| Error::Etcd { endpoints: name.clone(), source: Box::new(e) })?;
        Ok(Self { client, endpoints: name, prefix: format!("{}/", prefix.trim_end_matches('/')) })
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(self.failed(e)),
            Err(_) => Err(Error::Away { endpoints: self.endpoints.clone(), what: "does not answer" }),
        }
    }

    fn failed(&self, source: etcd_client::Error) -> Error {
        Error::Etcd { endpoints: self.endpoints.clone(), source: Box::new(source) }
    }

    async fn grant(&self, ttl: Duration) -> Result<i64> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let mut leases = self.client.lease_client();
        Ok(self.within(leases.grant(seconds, None)).await?.id())
    }

    /// Takes back a grant that no key came to have.
    async fn revoke(&self, grant: i64) {
        let mut leases = self.client.lease_client();
        if let Err(error) = self.within(leases.revoke(grant)).await {
            tracing::debug!(%error, "a grant without key was not taken back; it ends by itself");
        }
    }
}

impl Registry for Etcd {
    type Watch = EtcdWatch;

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut kv = self.client.kv_client();
        let mut from = self.prefix.clone();
        loop {
            let options = GetOptions::new()
                .with_range(end_of(&self.prefix))
                .with_limit(PAGE)
                .with_revision(listing.revision);
            let answer = self.within(kv.get(from.as_str(), Some(options))).await?;
            // Every page is as of the first one's revision.
            if listing.revision == 0 {
                listing.revision = answer.header().map_or(0, ResponseHeader::revision);
            }
            listing.entries.extend(answer.kvs().iter().filter_map(|kv| entry(kv, &self.prefix)));
            match answer.kvs().last() {
                // The next key in order: the last one and a zero byte.
                Some(last) if answer.more() => from = format!("{}\0", String::from_utf8_lossy(last.key())),
                _ => return Ok(listing),
            }
        }
    }

    /// Not from a revision: that is in the past as soon as anybody writes anything, and etcd lets such
    /// watches wait for up to 100 ms (etcd `server/mvcc/watchable_store.go`, `syncWatchersLoop`).
    async fn watch(&self) -> Result<EtcdWatch> {
        let options = WatchOptions::new().with_prefix();
        let mut client = self.client.watch_client();
        let mut stream = self.within(client.watch(self.prefix.as_str(), Some(options))).await?;
        // The first answer says that the watch has begun.
        self.within(stream.message()).await?;
        Ok(EtcdWatch { stream, etcd: self.clone() })
    }

    async fn create(&self, key: &str, value: &str, ttl: Duration) -> Result<Option<i64>> {
        let key = self.full(key);
        let grant = self.grant(ttl).await?;
        let absent = Compare::version(key.as_str(), CompareOp::Equal, 0);
        let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(grant)));
        let mut kv = self.client.kv_client();
        let answer = self.within(kv.txn(Txn::new().when([absent]).and_then([put]))).await;
        if !matches!(&answer, Ok(answer) if answer.succeeded()) {
            self.revoke(grant).await;
        }
        let answer = answer?;
        let revision = answer.header().map_or(0, ResponseHeader::revision);
        Ok(answer.succeeded().then_some(revision))
    }

    async fn put(&self, key: &str, value: &str, ttl: Option<Duration>) -> Result<i64> {
        let mut options = PutOptions::new();
        let grant = match ttl {
            Some(ttl) => Some(self.grant(ttl).await?),
            None => None,
        };
        if let Some(grant) = grant {
            options = options.with_lease(grant);
        }
        let mut kv = self.client.kv_client();
        let answer = self.within(kv.put(self.full(key), value, Some(options))).await;
        if let (Err(_), Some(grant)) = (&answer, grant) {
            self.revoke(grant).await;
        }
        Ok(answer?.header().map_or(0, ResponseHeader::revision))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let mut kv = self.client.kv_client();
        self.within(kv.delete(self.full(key), None)).await.map(|_| ())
    }
}

/// A watch of etcd.
pub(crate) struct EtcdWatch {
    stream: WatchStream,
    etcd: Etcd,
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            let message = self.stream.message().await.map_err(|e| self.etcd.failed(e))?;
            let away = |what| Error::Away { endpoints: self.etcd.endpoints.clone(), what };
            let answer = message.ok_or_else(|| away("ended the watch"))?;
            if answer.canceled() {
                let compacted = answer.compact_revision() != 0;
                return Err(away(if compacted { "compacted its history" } else { "cancelled the watch" }));
            }
            if !answer.events().is_empty() {
                let prefix = &self.etcd.prefix;
                return Ok(answer.events().iter().filter_map(|e| event(e, prefix)).collect());
            }
        }
    }
}

fn event(event: &etcd_client::Event, prefix: &str) -> Option<Event> {
    let entry = entry(event.kv()?, prefix)?;
    Some(match event.event_type() {
        EventType::Put => Event::Put(entry),
        EventType::Delete => Event::Delete { key: entry.key, revision: entry.revision },
    })
}

fn entry(kv: &KeyValue, prefix: &str) -> Option<Entry> {
    let key = std::str::from_utf8(kv.key()).ok()?.strip_prefix(prefix)?.to_owned();
    Some(Entry { key, value: kv.value().to_vec(), granted: kv.lease() != 0, revision: kv.mod_revision() })
}

/// The first key after all that begin with `prefix`, which ends in a slash: the same with `0`, the
/// character after it.
fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}
