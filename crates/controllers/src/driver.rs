//! The loop that all controllers share: what changes names keys; a key is planned on what the views show,
//! the plan is carried out, and the key is not planned again before the views show what was done.
//!
//! ```text
//! reflectors ── observe ── queue ── plan (pure, at once) ── apply (writes, several at a time) ──┐
//!                  ▲         ▲                                                               │
//!                  │         └── failed: later ── not seen yet: when it is seen ◄────────────┤
//!                  └────────────────────────────── what was written is told ◄────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use runtime::{Queue, chain};
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::error::Result;
use crate::view::Source;
use crate::writer::{Writer, Written};

/// As many keys are worked on at a time.
const WORKERS: usize = 16;
/// After as many plans others get their turn.
const TURN: usize = 64;

/// If what was written does not show for so long, something is wrong with the view or with etcd, and the key is
/// looked at all the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// One of the things that a cluster's control plane keeps true.
pub(crate) trait Controller: Send + 'static {
    /// As in logs and events: `replicaset-controller`.
    const NAME: &'static str;
    /// What is looked at by itself, mostly one object's name.
    type Key: Ord + Clone + Display + Debug + Send + 'static;
    /// What there is to do.
    type Work: Send + 'static;

    /// Its views.
    fn sources(&self) -> Vec<&dyn Source>;

    /// Takes in what has changed, and names what is to be looked at because of it.
    fn observe(&mut self, queue: &mut Queue<Self::Key>);

    /// What there is to do with a key, by what the views show.
    fn plan(&mut self, key: &Self::Key) -> Plan<Self::Work>;

    /// Does it.
    fn apply(&self, work: Self::Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static;
}

/// What there is to do.
#[derive(Debug)]
pub(crate) struct Plan<W> {
    pub(crate) work: Option<W>,
    /// When to look again though nothing has changed.
    pub(crate) again: Option<Duration>,
}

impl<W> Plan<W> {
    pub(crate) fn nothing() -> Self {
        Self { work: None, again: None }
    }
}

/// Runs a controller until dropped.
pub(crate) async fn drive<C: Controller>(controller: C, store: Store) {
    let synced: Vec<_> = controller.sources().iter().map(|source| source.synced()).collect();
    for synced in synced {
        synced.await;
    }
    let wakes = controller.sources().iter().map(|source| source.wakes()).collect();
    let driver = Driver {
        controller,
        store,
        wakes,
        queue: Queue::default(),
        tasks: JoinSet::new(),
        unseen: BTreeMap::new(),
        blocked: BTreeSet::new(),
    };
    driver.run().await;
}

struct Driver<C: Controller> {
    controller: C,
    store: Store,
    wakes: Vec<watch::Receiver<()>>,
    queue: Queue<C::Key>,
    tasks: JoinSet<(C::Key, Written, Result<()>)>,
    /// What was written and does not show yet.
    unseen: BTreeMap<C::Key, (Instant, Written)>,
    /// Keys that are to be looked at when it does.
    blocked: BTreeSet<C::Key>,
}

impl<C: Controller> Driver<C> {
    async fn run(mut self) {
        loop {
            self.controller.observe(&mut self.queue);
            self.unblock();
            if self.start() {
                tokio::task::yield_now().await;
                while let Some(done) = self.tasks.try_join_next() {
                    self.finish(done);
                }
                continue;
            }
            let due = self.queue.next_due();
            tokio::select! {
                () = any_changed(&mut self.wakes) => {}
                Some(done) = self.tasks.join_next() => self.finish(done),
                () = sleep_until(due.map_or_else(Instant::now, Instant::from_std)), if due.is_some() => {}
            }
        }
    }

    fn unblock(&mut self) {
        let sources = self.controller.sources();
        let seen = |written: &Written| written.is_seen(&sources);
        let shown: Vec<_> = self
            .unseen
            .iter()
            .filter(|(_, (_, written))| seen(written))
            .map(|(key, _)| key.clone())
            .collect();
        for key in shown {
            self.unseen.remove(&key);
            if self.blocked.remove(&key) {
                self.queue.add(key);
            }
        }
    }

    /// Plans keys and starts what is to be done; says whether there are more to be planned now.
    fn start(&mut self) -> bool {
        for _ in 0..TURN {
            if self.tasks.len() >= WORKERS {
                return false;
            }
            let now = Instant::now().into_std();
            let Some(key) = self.queue.pop(now) else { return false };
            if self.must_wait(&key) {
                continue;
            }
            let plan = self.controller.plan(&key);
            if let Some(again) = plan.again {
                self.queue.add_at(key.clone(), now + again);
            }
            let Some(work) = plan.work else {
                self.queue.done(&key);
                continue;
            };
            let writer = Writer::new(&self.store);
            let apply = self.controller.apply(work, writer.clone());
            self.tasks.spawn(async move {
                let result = apply.await;
                (key, writer.take(), result)
            });
        }
        true
    }

    /// Whether what was written of a key does not show yet; it comes back when it does.
    fn must_wait(&mut self, key: &C::Key) -> bool {
        let Some((since, _)) = self.unseen.get(key) else { return false };
        let until = *since + PATIENCE;
        if Instant::now() >= until {
            tracing::warn!(controller = C::NAME, %key, "what was written does not show");
            self.unseen.remove(key);
            self.blocked.remove(key);
            return false;
        }
        self.queue.done(key);
        self.queue.add_at(key.clone(), until.into_std());
        self.blocked.insert(key.clone());
        true
    }

    fn finish(&mut self, done: Result<(C::Key, Written, Result<()>), tokio::task::JoinError>) {
        let (key, mut written, result) = match done {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody cancels them one by one.
                Err(_) => return,
            },
        };
        if !written.is_empty() {
            written.since(&self.controller.sources());
            self.unseen.insert(key.clone(), (Instant::now(), written));
        }
        match result {
            Ok(()) => self.queue.done(&key),
            Err(error) => {
                let delay = self.queue.failed(&key, Instant::now().into_std());
                let (controller, told) = (C::NAME, chain(&error));
                if error.is_conflict() {
                    tracing::debug!(controller, %key, error = told, "someone else was faster");
                } else {
                    tracing::warn!(controller, %key, error = told, ?delay, "will be tried again");
                }
            }
        }
    }
}

/// Waits until one of them has changed.
async fn any_changed(wakes: &mut [watch::Receiver<()>]) {
    let mut changes: Vec<Pin<Box<_>>> = wakes.iter_mut().map(|wake| Box::pin(wake.changed())).collect();
    std::future::poll_fn(|context| {
        // The senders live as long as the views.
        let ready = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
