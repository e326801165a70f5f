//! The loop: what changes goes into the cache and the queue, pods are placed one after another, and their
//! bindings are written several at a time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use api::time;
use api::types::api::apps::v1::{ReplicaSet, StatefulSet};
use api::types::api::core::v1::{Namespace, Node, Pod, PodCondition, PodSpec, Service};
use runtime::chain;
use store::events::{NORMAL, Recorder, WARNING, reference};
use store::{Change, Changes, Error, Object, ObjectName, Reflector, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::application::Applications;
use crate::cache::Cache;
use crate::plan::{Obstacle, place};
use crate::pod::PodInfo;
use crate::queue::PodQueue;

/// Pods with another `schedulerName` are not ours.
pub(crate) const NAME: &str = "default-scheduler";
/// As many bindings are written at a time.
const BINDINGS: usize = 64;
/// After as many pods others get their turn.
const TURN: usize = 64;
/// The condition that says whether a pod has a node.
const PLACED: &str = "PodScheduled";

/// What an object was, and what it is.
type Sides<K> = (Option<Arc<K>>, Option<Arc<K>>);

/// A kind's objects, as they change.
struct Source<K> {
    reflector: Reflector<K>,
    changes: Changes<K>,
}

impl<K: Object + PartialEq + Send + Sync + 'static> Source<K> {
    fn new(store: &Store) -> Self {
        let reflector = Reflector::start(store, None);
        let changes = reflector.changes();
        Self { reflector, changes }
    }

    fn next(&mut self) -> Option<Sides<K>> {
        self.changes.try_next().map(|change| match change {
            Change::Added(new) => (None, Some(new)),
            Change::Modified { old, new } => (Some(old), Some(new)),
            Change::Deleted(old) => (Some(old), None),
        })
    }
}

/// A scheduler that leads.
pub(crate) struct Scheduler {
    store: Store,
    recorder: Recorder,
    pods: Source<Pod>,
    nodes: Source<Node>,
    namespaces: Source<Namespace>,
    services: Source<Service>,
    replica_sets: Source<ReplicaSet>,
    stateful_sets: Source<StatefulSet>,
    cache: Cache,
    applications: Applications,
    queue: PodQueue,
    /// Those in the queue.
    waiting: BTreeMap<ObjectName, Arc<Pod>>,
    bindings: JoinSet<(ObjectName, Result<bool, Error>)>,
    reports: JoinSet<()>,
    placed: usize,
}

impl Scheduler {
    /// Begins to read the cluster.
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            recorder: Recorder::new(store, NAME, ""),
            pods: Source::new(store),
            nodes: Source::new(store),
            namespaces: Source::new(store),
            services: Source::new(store),
            replica_sets: Source::new(store),
            stateful_sets: Source::new(store),
            cache: Cache::default(),
            applications: Applications::default(),
            queue: PodQueue::default(),
            waiting: BTreeMap::new(),
            bindings: JoinSet::new(),
            reports: JoinSet::new(),
            placed: 0,
        }
    }

    /// Waits until everything has been read; placing pods on half a picture would be wrong.
    pub(crate) async fn synced(&self) {
        self.nodes.reflector.wait_synced().await;
        self.pods.reflector.wait_synced().await;
        self.namespaces.reflector.wait_synced().await;
        self.services.reflector.wait_synced().await;
        self.replica_sets.reflector.wait_synced().await;
        self.stateful_sets.reflector.wait_synced().await;
    }

    /// How the reading of pods goes, which stands for all.
    pub(crate) fn status(&self) -> watch::Receiver<store::Status> {
        self.pods.reflector.status()
    }

    /// Places pods until dropped.
    pub(crate) async fn run(mut self) {
        let mut wakes = vec![
            self.pods.reflector.subscribe(),
            self.nodes.reflector.subscribe(),
            self.namespaces.reflector.subscribe(),
            self.services.reflector.subscribe(),
            self.replica_sets.reflector.subscribe(),
            self.stateful_sets.reflector.subscribe(),
        ];
        loop {
            self.observe();
            if self.place_some() {
                tokio::task::yield_now().await;
                while let Some(bound) = self.bindings.try_join_next() {
                    self.finish(bound);
                }
                while self.reports.try_join_next().is_some() {}
                continue;
            }
            let due = self.queue.next_due();
            tokio::select! {
                () = any_changed(&mut wakes) => {}
                Some(bound) = self.bindings.join_next() => self.finish(bound),
                // Reports say themselves what becomes of them.
                Some(_) = self.reports.join_next() => {}
                () = sleep_until(due.map_or_else(Instant::now, Instant::from_std)), if due.is_some() => {}
            }
        }
    }

    fn observe(&mut self) {
        while let Some((old, new)) = self.nodes.next() {
            self.node_changed(old, new);
        }
        while let Some((old, new)) = self.namespaces.next() {
            match (new, old) {
                (Some(new), _) => self.cache.set_namespace(&new),
                (None, Some(old)) => {
                    self.cache.namespaces.remove(old.metadata.name.as_deref().unwrap_or_default());
                }
                (None, None) => {}
            }
            self.queue.wake(Obstacle::Pods, Instant::now().into_std());
        }
        while let Some((old, new)) = self.services.next() {
            follow(&mut self.applications.services, old, new);
        }
        while let Some((old, new)) = self.replica_sets.next() {
            follow(&mut self.applications.replica_sets, old, new);
        }
        while let Some((old, new)) = self.stateful_sets.next() {
            follow(&mut self.applications.stateful_sets, old, new);
        }
        while let Some((old, new)) = self.pods.next() {
            self.pod_changed(old.as_deref(), new);
        }
    }

    fn node_changed(&mut self, old: Option<Arc<Node>>, new: Option<Arc<Node>>) {
        let Some(new) = new else {
            let name = old.and_then(|old| old.metadata.name.clone()).unwrap_or_default();
            self.cache.remove_node(&name);
            return;
        };
        // A heartbeat helps nobody.
        let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
        let same = old.is_some_and(|old| {
            old.spec == new.spec
                && old.metadata.labels == new.metadata.labels
                && allocatable(&old) == allocatable(&new)
        });
        self.cache.set_node(new);
        if !same {
            self.queue.wake(Obstacle::Node, Instant::now().into_std());
        }
    }

    fn pod_changed(&mut self, old: Option<&Pod>, new: Option<Arc<Pod>>) {
        let now = Instant::now().into_std();
        let Some(new) = new.filter(|pod| !is_terminal(pod)) else {
            let Some(old) = old else { return };
            let name = ObjectName::of(&old.metadata);
            self.forget(&name);
            if self.cache.place_of(&name).is_some() {
                self.cache.remove_pod(&name);
                self.queue.wake(Obstacle::Space, now);
            }
            return;
        };
        let name = ObjectName::of(&new.metadata);
        let node = node_of(&new).to_owned();
        if !node.is_empty() {
            self.forget(&name);
            let is_as_before = self.cache.place_of(&name) == Some(&node)
                && old.is_some_and(|old| {
                    old.metadata.labels == new.metadata.labels
                        && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
                        && !node_of(old).is_empty()
                });
            self.cache.set_pod(Arc::new(PodInfo::new(new)), &node);
            if !is_as_before {
                self.queue.wake(Obstacle::Pods, now);
            }
            return;
        }
        // It has been placed, and what was told is from before that.
        if self.cache.place_of(&name).is_some() {
            return;
        }
        self.consider(old, new);
    }

    /// A pod without a node.
    fn consider(&mut self, old: Option<&Pod>, new: Arc<Pod>) {
        let name = ObjectName::of(&new.metadata);
        let spec = new.spec.clone().unwrap_or_default();
        let ours =
            spec.scheduler_name.as_deref().is_none_or(|scheduler| scheduler.is_empty() || scheduler == NAME);
        if !ours || new.metadata.deletion_timestamp.is_some() {
            self.forget(&name);
            return;
        }
        if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            self.forget(&name);
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            self.report(new, "SchedulingGated", message.into());
            return;
        }
        let same = old.is_some_and(|old| {
            old.metadata.uid == new.metadata.uid
                && old.metadata.labels == new.metadata.labels
                && old.spec == new.spec
        });
        let known = self.waiting.insert(name.clone(), new).is_some();
        if !(known && same) {
            self.queue.add(name, spec.priority.unwrap_or_default());
        }
    }

    fn forget(&mut self, name: &ObjectName) {
        self.waiting.remove(name);
        self.queue.remove(name);
    }

    /// Places some pods; says whether there are more.
    fn place_some(&mut self) -> bool {
        for _ in 0..TURN {
            if self.bindings.len() >= BINDINGS {
                return false;
            }
            let Some(name) = self.queue.pop(Instant::now().into_std()) else { return false };
            let Some(pod) = self.waiting.get(&name).cloned() else {
                self.queue.remove(&name);
                continue;
            };
            let info = Arc::new(PodInfo::new(pod.clone()));
            let application = self.applications.of(&pod);
            match place(&info, &self.cache, &application, self.placed) {
                Ok(node) => {
                    let node = node.name().to_owned();
                    self.placed += 1;
                    self.cache.set_pod(info, &node);
                    let (store, recorder) = (self.store.clone(), self.recorder.clone());
                    self.bindings.spawn(async move { (name, bind(pod, &node, &store, &recorder).await) });
                }
                Err(unplaced) => {
                    self.queue.put_back(&name, Some(unplaced.obstacle), Instant::now().into_std());
                    let message = unplaced.to_string();
                    self.recorder.event(&reference(pod.as_ref()), WARNING, "FailedScheduling", &message);
                    self.report(pod, "Unschedulable", message);
                }
            }
        }
        true
    }

    fn finish(&mut self, bound: Result<(ObjectName, Result<bool, Error>), tokio::task::JoinError>) {
        let (name, result) = match bound {
            Ok(bound) => bound,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return,
            },
        };
        let error = match result {
            Ok(true) => return,
            // It is being deleted, or was given another node, which will be told.
            Ok(false) => return self.cache.remove_pod(&name),
            Err(error) => error,
        };
        let Some(pod) = self.waiting.get(&name) else { return };
        let error = chain(&error);
        tracing::warn!(pod = %name, error, "not bound");
        let message = format!("binding rejected: {error}");
        self.recorder.event(&reference(pod.as_ref()), WARNING, "FailedScheduling", &message);
        self.cache.remove_pod(&name);
        self.queue.put_back(&name, None, Instant::now().into_std());
    }

    /// Writes into the pod's status why it has no node, unless it stands there.
    fn report(&mut self, pod: Arc<Pod>, reason: &str, message: String) {
        let there = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut there = there.into_iter().flatten().filter(|condition| condition.type_ == PLACED);
        if there.any(|one| one.reason.as_deref() == Some(reason) && one.message.as_ref() == Some(&message)) {
            return;
        }
        let (store, reason) = (self.store.clone(), reason.to_owned());
        self.reports.spawn(async move {
            let written = change(&pod, &store, |pod| {
                if node_of(pod).is_empty() {
                    set_placed(pod, "False", Some(&reason), Some(&message));
                }
            });
            match written.await {
                // It needs no node any more.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    let (pod, error) = (ObjectName::of(&pod.metadata), chain(&error));
                    tracing::warn!(%pod, error, "its status is not written");
                }
            }
        });
    }
}

/// Gives a pod its node (kubernetes `pkg/registry/core/pod/storage/storage.go`, `assignPod`); says whether it
/// has it now.
async fn bind(pod: Arc<Pod>, node: &str, store: &Store, recorder: &Recorder) -> Result<bool, Error> {
    let assign = |pod: &mut Pod| {
        if node_of(pod).is_empty() && pod.metadata.deletion_timestamp.is_none() {
            pod.spec.get_or_insert_with(PodSpec::default).node_name = Some(node.into());
            set_placed(pod, "True", None, None);
        }
    };
    let bound = match change(&pod, store, assign).await {
        Err(Error::NotFound { .. }) => return Ok(false),
        bound => bound?,
    };
    if node_of(&bound) != node || bound.metadata.uid != pod.metadata.uid {
        return Ok(false);
    }
    let message = format!("Successfully assigned {} to {node}", ObjectName::of(&pod.metadata));
    recorder.event(&reference(pod.as_ref()), NORMAL, "Scheduled", &message);
    Ok(true)
}

/// Changes a pod, at first as it was seen, then as it is.
async fn change(seen: &Pod, store: &Store, mut change: impl FnMut(&mut Pod)) -> Result<Pod, Error> {
    let mut pod = seen.clone();
    change(&mut pod);
    match store.update(&mut pod).await {
        Err(Error::Conflict { .. }) => {}
        result => return result.map(|()| pod),
    }
    let name = ObjectName::of(&seen.metadata);
    let same = |pod: &mut Pod| {
        if pod.metadata.uid == seen.metadata.uid {
            change(pod);
        }
    };
    store.modify(&name.namespace, &name.name, same).await
}

/// (kubernetes `pkg/api/v1/pod/util.go`, `UpdatePodCondition`)
fn set_placed(pod: &mut Pod, status: &str, reason: Option<&str>, message: Option<&str>) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let at = conditions.iter().position(|condition| condition.type_ == PLACED);
    let before = at.map(|at| conditions.remove(at));
    let since =
        before.filter(|before| before.status == status).and_then(|before| before.last_transition_time);
    let condition = PodCondition {
        type_: PLACED.into(),
        status: status.into(),
        reason: reason.map(Into::into),
        message: message.map(Into::into),
        last_transition_time: since.or_else(|| Some(time::now())),
        ..PodCondition::default()
    };
    conditions.insert(at.unwrap_or(conditions.len()), condition);
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn follow<K: Object>(map: &mut BTreeMap<ObjectName, Arc<K>>, old: Option<Arc<K>>, new: Option<Arc<K>>) {
    if let Some(new) = new {
        map.insert(ObjectName::of(new.metadata()), new);
    } else if let Some(old) = old {
        map.remove(&ObjectName::of(old.metadata()));
    }
}

/// Waits until one of them has changed.
async fn any_changed(wakes: &mut [watch::Receiver<()>]) {
    let mut changes: Vec<Pin<Box<_>>> = wakes.iter_mut().map(|wake| Box::pin(wake.changed())).collect();
    std::future::poll_fn(|context| {
        // The senders live as long as the reflectors.
        let ready = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
