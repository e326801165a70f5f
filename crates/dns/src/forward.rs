//! Names of others: asked for at the resolvers of the machine, and kept for a while.
//!
//! ```text
//! resolve ── known? ── being asked for? ── ask one resolver after the other, within a time limit ── keep
//! ```
//!
//! A question that is asked by many at once goes out once; so a resolver that leads back here by mistake
//! is asked once too, and the question ends with its time.

mod cache;
mod upstream;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::{Semaphore, watch};

use crate::metrics::{Metrics, add};
use crate::wire::Request;
use cache::Cache;
use upstream::Upstreams;

/// Questions that others are being asked at once; each takes a socket. More than that fail.
const AT_ONCE: usize = 400;
/// Less than the five seconds after which a resolver asks again (`resolv.conf(5)`, `timeout`).
const PATIENCE: Duration = Duration::from_millis(4500);
/// What of this others may take.
const THEIRS: Duration = Duration::from_millis(4200);

/// Asks others.
#[derive(Debug)]
pub(crate) struct Forwarder {
    upstreams: Upstreams,
    cache: Mutex<Cache>,
    /// What is being asked for, and how it ends.
    under_way: Mutex<HashMap<Key, watch::Receiver<Option<Shared>>>>,
    permits: Semaphore,
}

/// What others have said.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// An answer, also one that there is none.
    Answer(Box<Message>),
    /// Nobody answered, or nobody could.
    Failed,
}

/// As a cache keeps it: its bytes, or none if it failed.
type Shared = Option<Arc<[u8]>>;

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Compared without case.
    name: Name,
    kind: RecordType,
    signatures: bool,
    unchecked: bool,
}

impl Forwarder {
    /// One for these resolvers; none if there are none.
    pub(crate) fn new(upstreams: &[SocketAddr]) -> Option<Self> {
        (!upstreams.is_empty()).then(|| Self {
            upstreams: Upstreams::new(upstreams),
            cache: Mutex::new(Cache::default()),
            under_way: Mutex::new(HashMap::new()),
            permits: Semaphore::new(AT_ONCE),
        })
    }

    /// Entries and bytes.
    pub(crate) fn cache_size(&self) -> (usize, usize) {
        self.cache().size()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Option<Shared>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a name what `request` asks.
    pub(crate) async fn resolve(&self, request: &Request, name: &Name, metrics: &Metrics) -> Outcome {
        let key = Key {
            name: name.clone(),
            kind: request.query.query_type(),
            signatures: request.wants_signatures(),
            unchecked: request.checks_itself(),
        };
        let resolve = async {
            loop {
                if let Some(known) = self.cache().get(&key) {
                    add(&metrics.cache_hits, 1);
                    return known;
                }
                let begun = self.begin(&key);
                match begun {
                    Begun::Ours(turn) => {
                        add(&metrics.cache_misses, 1);
                        return self.ask(&key, &turn, metrics).await;
                    }
                    // Whoever asked may have gone away without an answer; then it is our turn.
                    Begun::Others(mut ends) => {
                        if let Ok(end) = ends.wait_for(Option::is_some).await
                            && let Some(shared) = end.clone()
                        {
                            return Outcome::read(shared.as_deref());
                        }
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, resolve).await.unwrap_or(Outcome::Failed)
    }

    fn begin(&self, key: &Key) -> Begun<'_> {
        let mut under_way = self.under_way();
        if let Some(ends) = under_way.get(key).filter(|ends| ends.has_changed().is_ok()) {
            return Begun::Others(ends.clone());
        }
        let (end, ends) = watch::channel(None);
        under_way.insert(key.clone(), ends);
        Begun::Ours(Turn { forwarder: self, key: key.clone(), end })
    }

    async fn ask(&self, key: &Key, turn: &Turn<'_>, metrics: &Metrics) -> Outcome {
        let Ok(_permit) = self.permits.try_acquire() else {
            add(&metrics.forward_failures, 1);
            return Outcome::Failed;
        };
        add(&metrics.forwarded, 1);
        let answer = tokio::time::timeout(THEIRS, self.upstreams.ask(key)).await.ok().flatten();
        if answer.is_none() {
            add(&metrics.forward_failures, 1);
        }
        let shared: Shared = answer.map(Into::into);
        self.cache().put(key.clone(), shared.clone());
        turn.end.send_replace(Some(shared.clone()));
        Outcome::read(shared.as_deref())
    }
}

enum Begun<'a> {
    Ours(Turn<'a>),
    Others(watch::Receiver<Option<Shared>>),
}

/// The one that asks. When it ends, however that is, another may.
struct Turn<'a> {
    forwarder: &'a Forwarder,
    key: Key,
    end: watch::Sender<Option<Shared>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.forwarder.under_way().remove(&self.key);
    }
}

impl Outcome {
    fn read(message: Option<&[u8]>) -> Self {
        match message.map(Message::from_vec) {
            Some(Ok(message)) => Self::Answer(Box::new(message)),
            _ => Self::Failed,
        }
    }
}
