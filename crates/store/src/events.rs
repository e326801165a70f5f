//! Events: what a component did or could not do with an object, for `describe` and `get events`.
//!
//! ```text
//! Recorder::event ── bounded queue ── Correlator: the same again, similar, too often? ── create or count up
//! ```
//!
//! Telling never waits. The same event again counts up the one that is there; many similar ones become one;
//! an object of which too much is told is heard of more rarely. While etcd is away events wait in the queue,
//! and when that is full new ones are lost, which [`Recorder::lost`] counts.
//!
//! Model: client-go `tools/record/{event,events_cache}.go`. Kubernetes lets events expire with leases of
//! etcd; here [`expire`] deletes the old ones, called now and then by one component of a cluster.

mod correlate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::time;
use api::types::api::core::v1::{Event, EventSource, ObjectReference};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::types::jiff::{SignedDuration, Timestamp};
use runtime::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::typed::{Object, Store};
use crate::uid::new_uid;

use correlate::{Correlator, Write};

/// As many events wait to be written (client-go `maxQueuedEvents`).
const QUEUE: usize = 1000;
/// As often is an event tried to be written (client-go `maxTriesPerEvent`).
const TRIES: usize = 12;
/// How long an event is kept (`kube-apiserver --event-ttl`).
pub const TTL: Duration = Duration::from_secs(3600);

/// Something went as it should.
pub const NORMAL: &str = "Normal";
/// Someone should look at it.
pub const WARNING: &str = "Warning";

/// Tells events of one component. Clones are the same recorder; with the last one its task ends, and what
/// is still in the queue is lost unless it was [flushed](Recorder::flush).
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: EventSource,
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
enum Message {
    Event(Box<Event>),
    /// To be answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// What an event of this object refers to.
#[must_use]
pub fn reference<K: Object>(object: &K) -> ObjectReference {
    let meta: &ObjectMeta = object.metadata();
    ObjectReference {
        api_version: Some(K::INFO.api_version()),
        kind: Some(K::INFO.kind.into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl Recorder {
    /// A recorder for a component, as `kubelet` or `replicaset-controller`, on a host, which may be empty.
    /// It writes in a task of its own.
    #[must_use]
    pub fn new(store: &Store, component: &str, host: &str) -> Self {
        let some = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
        let source = EventSource { component: some(component), host: some(host) };
        let (queue, messages) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write_all(store.clone(), messages, lost.clone()));
        Self(Arc::new(Inner { source, queue, lost, task }))
    }

    /// Tells an event of `kind` [`NORMAL`] or [`WARNING`]: `reason` is one word for machines, as
    /// `SuccessfulCreate`, `message` a sentence for people. Never waits.
    pub fn event(&self, object: &ObjectReference, kind: &str, reason: &str, message: &str) {
        let event = self.make(object, kind, reason, message);
        if self.0.queue.try_send(Message::Event(Box::new(event))).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events could not be told, because the queue was full or etcd refused them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything told so far is written or given up.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.queue.send(Message::Flush(done)).await.is_ok() {
            // The task holds the other end until it has answered or ended.
            let _ = wait.await;
        }
    }

    /// (client-go `makeEvent`)
    fn make(&self, object: &ObjectReference, kind: &str, reason: &str, message: &str) -> Event {
        let now = time::now();
        let name = object.name.as_deref().unwrap_or_default();
        let namespace = object.namespace.clone().filter(|namespace| !namespace.is_empty());
        let source = &self.0.source;
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", Timestamp::now().as_nanosecond())),
                // Events of objects without a namespace have to be somewhere.
                namespace: Some(namespace.unwrap_or_else(|| "default".into())),
                uid: Some(new_uid()),
                creation_timestamp: Some(now.clone()),
                ..ObjectMeta::default()
            },
            involved_object: object.clone(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            type_: Some(kind.into()),
            count: Some(1),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(source.clone()),
            reporting_component: source.component.clone(),
            reporting_instance: source.host.clone(),
            ..Event::default()
        }
    }
}

/// Deletes events that were last told longer than `ttl` before `now`; says how many.
///
/// # Errors
/// When etcd is away.
pub async fn expire(store: &Store, ttl: Duration, now: Timestamp) -> Result<usize> {
    let oldest = SignedDuration::try_from(ttl).ok().and_then(|ttl| now.checked_sub(ttl).ok());
    let Some(oldest) = oldest else { return Ok(0) };
    let mut deleted = 0;
    for event in store.list::<Event>(None).await? {
        if last_told(&event).is_none_or(|at| at >= oldest) {
            continue;
        }
        match store.delete(&event).await {
            Ok(()) => deleted += 1,
            // Someone else has deleted it, or counted it up.
            Err(Error::NotFound { .. } | Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

fn last_told(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let told = event.last_timestamp.as_ref().map(|time| time.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    [series.map(|time| time.0), told, first, made].into_iter().flatten().max()
}

async fn write_all(store: Store, mut messages: mpsc::Receiver<Message>, lost: Arc<AtomicU64>) {
    let mut correlator = Correlator::default();
    while let Some(message) = messages.recv().await {
        match message {
            Message::Event(event) => {
                let Some(write) = correlator.correlate(*event, Timestamp::now()) else { continue };
                if write_one(&store, write).await.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Whoever asked may have gone.
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

async fn write_one(store: &Store, write: Write) -> Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(10));
    let mut tries = TRIES;
    loop {
        let began = Instant::now();
        let error = match try_write(store, &write).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tries -= 1;
        if tries == 0 || !matches!(error, Error::Etcd { .. } | Error::Timeout { .. }) {
            return Err(error);
        }
        tokio::time::sleep(backoff.after(began.elapsed())).await;
    }
}

async fn try_write(store: &Store, write: &Write) -> Result<()> {
    let event = match write {
        Write::Create(event) => event,
        Write::Update(event) => {
            let (namespace, name) = (event.metadata.namespace.as_deref(), event.metadata.name.as_deref());
            let update = |stored: &mut Event| {
                stored.count = event.count;
                stored.message.clone_from(&event.message);
                stored.last_timestamp.clone_from(&event.last_timestamp);
            };
            match store.modify(namespace.unwrap_or_default(), name.unwrap_or_default(), update).await {
                // It has expired.
                Err(Error::NotFound { .. }) => event,
                result => return result.map(|_| ()),
            }
        }
    };
    match store.create(&mut event.as_ref().clone()).await {
        // An earlier try was carried out though its answer was lost.
        Err(Error::Exists { .. }) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
