//! The few operations of etcd that objects need, each within a time limit.
//!
//! Several endpoints are members of one cluster. One is used until it fails, then the next: reads are
//! tried on all of them in turn, writes only where it is certain that nothing was sent.

mod watch;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, GetResponse, KeyValue, KvClient,
    ResponseHeader, Txn, TxnOp, TxnOpResponse,
};

use crate::entry::{Entry, Listing, Outcome, Page};
use crate::error::{Error, Result};

pub(crate) use watch::EtcdWatch;

/// Beyond this etcd counts as away: callers try again, and say so meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// etcd-client refuses answers above 4 MiB; objects are mostly below 10 KB. Where they are not, pages get
/// shorter.
const PAGE: i64 = 200;

/// A connection to a cluster's etcd; connects when first used, and again when it broke.
#[derive(Clone)]
pub(crate) struct Etcd(Arc<Inner>);

struct Inner {
    members: Vec<Member>,
    /// The one in use.
    current: AtomicUsize,
    /// All of their addresses, for messages.
    endpoints: String,
}

struct Member {
    endpoint: String,
    client: Mutex<Client>,
}

impl Member {
    async fn new(endpoint: &str) -> Result<Self> {
        Ok(Self { endpoint: endpoint.into(), client: Mutex::new(Self::connect(endpoint).await?) })
    }

    async fn connect(endpoint: &str) -> Result<Client> {
        // A member that knows no leader says so instead of keeping its watchers waiting.
        let options = ConnectOptions::new().with_connect_timeout(PATIENCE).with_require_leader(true);
        let connected = Client::connect([endpoint], Some(options)).await;
        connected.map_err(|e| Error::Etcd { endpoints: endpoint.into(), source: e.into() })
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("endpoints", &self.0.endpoints).finish_non_exhaustive()
    }
}

/// Whether an operation may be done twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Yes,
    No,
}

impl Etcd {
    pub(crate) async fn connect(endpoints: &[String]) -> Result<Self> {
        let mut members = Vec::new();
        for endpoint in endpoints {
            members.push(Member::new(endpoint).await?);
        }
        let endpoints = endpoints.join(",");
        if members.is_empty() {
            let source = etcd_client::Error::InvalidArgs("no endpoints".into()).into();
            return Err(Error::Etcd { endpoints, source });
        }
        Ok(Self(Arc::new(Inner { members, current: AtomicUsize::new(0), endpoints })))
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let get = |mut kv: KvClient| async move { kv.get(key, None).await };
        Ok(self.call(Repeat::Yes, get).await?.kvs().first().map(entry))
    }

    /// Everything below a prefix, as of one revision, in pages.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Listing> {
        loop {
            match self.pages(prefix).await {
                // The revision of the first page was compacted meanwhile: the next one is newer.
                Err(Error::Etcd { source, .. }) if source.is_compacted() => {}
                // Another member is not that far yet.
                Err(Error::Etcd { source, .. }) if source.is_future() => {}
                listing => return listing,
            }
        }
    }

    async fn pages(&self, prefix: &str) -> Result<Listing> {
        let mut listing = Listing { entries: Vec::new(), revision: 0 };
        let mut from = None;
        loop {
            let page = self.page_from(prefix, from.as_deref(), listing.revision).await?;
            listing.revision = page.revision;
            listing.entries.extend(page.entries);
            from = page.next;
            if from.is_none() {
                return Ok(listing);
            }
        }
    }

    /// A page of what is below a prefix: the first as of now, the others as of its revision.
    pub(crate) async fn page_from(&self, prefix: &str, from: Option<&str>, revision: i64) -> Result<Page> {
        let mut size = PAGE;
        let page = loop {
            match self.page(from.unwrap_or(prefix), prefix, size, revision).await {
                Err(Error::Etcd { source, .. }) if source.is_too_large() && size > 1 => {
                    size = (size / 4).max(1);
                }
                page => break page?,
            }
        };
        let entries: Vec<Entry> = page.kvs().iter().map(entry).collect();
        // The next key in order: the last one and a zero byte.
        let next = entries.last().filter(|_| page.more()).map(|last| format!("{}\0", last.key));
        // The header tells how far etcd is now, not as of when the page is: only of the first that is the
        // same.
        let revision = if revision > 0 { revision } else { revision_of(page.header()) };
        Ok(Page { entries, revision, next })
    }

    async fn page(&self, from: &str, prefix: &str, size: i64, revision: i64) -> Result<GetResponse> {
        let options = GetOptions::new().with_range(end_of(prefix)).with_limit(size);
        // The first page is as of now, the others as of the first.
        let options = if revision > 0 { options.with_revision(revision) } else { options };
        let get = |mut kv: KvClient| {
            let options = options.clone();
            async move { kv.get(from, Some(options)).await }
        };
        self.call(Repeat::Yes, get).await
    }

    /// Writes, if the key's revision is `expected` (0: the key is not there); gives the new revision.
    pub(crate) async fn put(&self, key: &str, expected: Option<i64>, value: Vec<u8>) -> Result<Outcome<i64>> {
        let put = TxnOp::put(key, value, None);
        let answer = self.change(key, expected, put).await?;
        if answer.succeeded() {
            return Ok(Outcome::Done(revision_of(answer.header())));
        }
        Ok(refused(answer.op_responses()))
    }

    /// Deletes, if the key's revision is `expected`; gives what it was.
    pub(crate) async fn delete(&self, key: &str, expected: Option<i64>) -> Result<Outcome<Entry>> {
        let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()));
        let answer = self.change(key, expected, delete).await?;
        let responses = answer.op_responses();
        if !answer.succeeded() {
            return Ok(refused(responses));
        }
        let deleted = responses.iter().find_map(|response| match response {
            TxnOpResponse::Delete(deleted) => deleted.prev_kvs().first().map(entry),
            _ => None,
        });
        Ok(deleted.map_or(Outcome::Missing, Outcome::Done))
    }

    /// One operation on a key, if nothing else has changed it; otherwise what is there.
    async fn change(
        &self,
        key: &str,
        expected: Option<i64>,
        operation: TxnOp,
    ) -> Result<etcd_client::TxnResponse> {
        let unchanged: Vec<_> = expected
            .map(|revision| Compare::mod_revision(key, CompareOp::Equal, revision))
            .into_iter()
            .collect();
        let look = TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        let txn = Txn::new().when(unchanged).and_then([operation]).or_else([look]);
        let change = |mut kv: KvClient| {
            let txn = txn.clone();
            async move { kv.txn(txn).await }
        };
        self.call(Repeat::No, change).await
    }

    /// What changes below a prefix after a revision.
    pub(crate) async fn watch(&self, prefix: &str, after: i64) -> Result<EtcdWatch> {
        EtcdWatch::open(self.clone(), prefix, Some(after)).await
    }

    /// From now on.
    pub(crate) async fn watch_from_now(&self, prefix: &str) -> Result<EtcdWatch> {
        EtcdWatch::open(self.clone(), prefix, None).await
    }

    /// Forgets what was before a revision.
    pub(crate) async fn compact(&self, revision: i64) -> Result<()> {
        let compact = |mut kv: KvClient| async move { kv.compact(revision, None).await };
        match self.call(Repeat::Yes, compact).await {
            // It has been done already.
            Err(Error::Etcd { source, .. }) if source.is_compacted() => Ok(()),
            Err(Error::Etcd { source, .. }) if source.is_future() => {
                let current = self.revision().await?;
                Err(Error::Ahead { revision, current })
            }
            answer => answer.map(|_| ()),
        }
    }

    async fn revision(&self) -> Result<i64> {
        let get = |mut kv: KvClient| async move {
            kv.get("/registry/", Some(GetOptions::new().with_count_only())).await
        };
        Ok(revision_of(self.call(Repeat::Yes, get).await?.header()))
    }

    /// Asks the member in use, and if it fails and the question may be repeated, the others.
    async fn call<T, F>(&self, repeat: Repeat, ask: impl Fn(KvClient) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut tries = self.0.members.len();
        loop {
            let (at, client) = self.member();
            let error = match self.within(ask(client.kv_client())).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries -= 1;
            self.give_up(at, &error).await;
            let nothing_sent = matches!(&error, Error::Etcd { source, .. } if source.is_refused());
            if tries == 0 || !is_away(&error) || repeat == Repeat::No && !nothing_sent {
                return Err(error);
            }
        }
    }

    fn member(&self) -> (usize, Client) {
        let at = self.0.current.load(Ordering::Relaxed) % self.0.members.len();
        (at, self.0.members[at].client().clone())
    }

    /// After a failure of a member: the next one is used, and where it did not answer, a new connection
    /// will be made. TCP alone would wait for minutes after a cable was plugged in again.
    async fn give_up(&self, at: usize, error: &Error) {
        if !is_away(error) {
            return;
        }
        let next = (at + 1) % self.0.members.len();
        // Another task may have turned away from it already.
        let _ = self.0.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if matches!(error, Error::Timeout { .. }) {
            let member = &self.0.members[at];
            if let Ok(client) = Member::connect(&member.endpoint).await {
                *member.client() = client;
            }
        }
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T> {
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(self.failed(e)),
            Err(_) => Err(self.silent()),
        }
    }

    fn failed(&self, error: etcd_client::Error) -> Error {
        Error::Etcd { endpoints: self.0.endpoints.clone(), source: error.into() }
    }

    fn silent(&self) -> Error {
        Error::Timeout { endpoints: self.0.endpoints.clone() }
    }
}

/// Whether another member, or the same one later, may answer.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Timeout { .. } => true,
        Error::Etcd { source, .. } => !(source.is_compacted() || source.is_future() || source.is_too_large()),
        _ => false,
    }
}

fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec(),
        revision: kv.mod_revision(),
        created: kv.create_revision(),
    }
}

fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, ResponseHeader::revision)
}

/// What was there instead.
fn refused<T>(responses: Vec<TxnOpResponse>) -> Outcome<T> {
    let there = responses.iter().any(|r| matches!(r, TxnOpResponse::Get(get) if !get.kvs().is_empty()));
    if there { Outcome::Differs } else { Outcome::Missing }
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
