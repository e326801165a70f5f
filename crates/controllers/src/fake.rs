//! A cluster in memory for tests: a store, one clock for all, a kubelet and a scheduler that do only what
//! controllers need of them.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use api::Rules;
use api::admit::{self, Stamp};
use api::types::api::core::v1::{Pod, PodCondition, PodIP, PodStatus};
use serde_json::Value;
use store::{Error, Object, Reflector, Store, new_uid};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, drive};
use crate::meta::Meta;
use crate::pods;

/// Time is tokio's, which tests pause, so this is no real hour.
const LIMIT: Duration = Duration::from_secs(3600);

/// A cluster.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) kubelet: Kubelet,
    tasks: JoinSet<()>,
}

/// What the kubelet does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kubelet {
    /// It does nothing at all.
    pub(crate) stopped: Arc<AtomicBool>,
    placed: Arc<AtomicU32>,
    addresses: Arc<AtomicU32>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(Store::memory())
    }

    pub(crate) fn on(store: Store) -> Self {
        let cluster = Cluster::new(&store, Clock::with_tokio());
        Self { store, cluster, kubelet: Kubelet::default(), tasks: JoinSet::new() }
    }

    pub(crate) fn start<C: Controller>(&mut self, controller: C) {
        self.tasks.spawn(drive(controller, self.store.clone()));
    }

    /// Pods are put on nodes `n0`, `n1`, `n2` in turn, become ready, and go when they are deleted. One with
    /// the annotation `test/never-ready` does not become ready.
    pub(crate) fn start_kubelet(&mut self) {
        let (store, kubelet) = (self.store.clone(), self.kubelet.clone());
        let (pods, clock) = (self.cluster.pods.clone(), self.cluster.clock.clone());
        self.tasks.spawn(async move { kubelet.run(store, pods, clock).await });
    }

    /// Stores an object as the API server would.
    pub(crate) async fn create<K: Rules>(&self, document: Value) -> K {
        let stamp = Stamp { uid: new_uid(), now: self.cluster.clock.time() };
        let mut object = admit::create::<K>(&document, &stamp).unwrap();
        self.store.create(&mut object).await.unwrap();
        object
    }

    /// Changes an object as a user would.
    pub(crate) async fn edit<K: Rules + PartialEq>(&self, of: &K, edit: impl Fn(&mut K)) -> K {
        loop {
            let old: K = self.store.get(of.namespace(), of.name()).await.unwrap().unwrap();
            let mut new = old.clone();
            edit(&mut new);
            let mut new = admit::update(&serde_json::to_value(&new).unwrap(), &old).unwrap();
            match self.store.update(&mut new).await {
                Err(Error::Conflict { .. }) => {}
                result => return result.map(|()| new).unwrap(),
            }
        }
    }

    pub(crate) async fn get<K: Object>(&self, of: &K) -> K {
        self.store.get(of.namespace(), of.name()).await.unwrap().unwrap()
    }

    pub(crate) async fn list<K: Object>(&self) -> Vec<K> {
        self.store.list(None).await.unwrap()
    }

    /// Waits until what `look` gives is as `wanted`.
    pub(crate) async fn until<T, F>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
        wanted: impl Fn(&T) -> bool,
    ) -> T
    where
        T: Debug,
        F: Future<Output = T>,
    {
        let began = Instant::now();
        loop {
            let now = look().await;
            if wanted(&now) {
                return now;
            }
            assert!(began.elapsed() < LIMIT, "{what}: in the end it is {now:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the objects of a kind are as wanted.
    pub(crate) async fn until_all<K>(&self, what: &str, wanted: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Object + Debug,
    {
        self.until(what, || self.list::<K>(), |all| wanted(all)).await
    }

    /// Waits until an object is as wanted.
    pub(crate) async fn until_one<K>(&self, what: &str, of: &K, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Object + Debug,
    {
        self.until(what, || self.get(of), wanted).await
    }

    /// Waits until nothing has been written for a while, and gives the revision.
    pub(crate) async fn settled(&self) -> i64 {
        let revision = || async { self.store.list_as_of::<Pod>(None).await.unwrap().revision };
        let mut last = revision().await;
        loop {
            sleep(Duration::from_secs(5)).await;
            let now = revision().await;
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

impl Kubelet {
    async fn run(self, store: Store, pods: Reflector<Pod>, clock: Clock) {
        let mut wake = pods.subscribe();
        loop {
            for pod in pods.snapshot().values() {
                if !self.stopped.load(Ordering::Relaxed) {
                    self.tend(&store, pod, &clock).await;
                }
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), wake.changed()).await;
        }
    }

    async fn tend(&self, store: &Store, pod: &Pod, clock: &Clock) {
        let result = if pod.is_deleting() {
            store.delete(pod).await
        } else if pods::node_name(pod).is_empty() {
            let node = format!("n{}", self.placed.fetch_add(1, Ordering::Relaxed) % 3);
            let mut pod = pod.clone();
            pod.spec.as_mut().unwrap().node_name = Some(node);
            store.update(&mut pod).await
        } else if pods::phase(pod) == "Pending" {
            let mut pod = pod.clone();
            pod.status = Some(self.running(&pod, clock));
            store.update(&mut pod).await
        } else {
            Ok(())
        };
        assert!(
            matches!(result, Ok(()) | Err(Error::Conflict { .. } | Error::NotFound { .. })),
            "{result:?}"
        );
    }

    fn running(&self, pod: &Pod, clock: &Clock) -> PodStatus {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let ip = std::net::Ipv4Addr::from(0x0b0a_0000 + number).to_string();
        let ready = if pod.annotation("test/never-ready").is_some() { "False" } else { "True" };
        PodStatus {
            phase: Some("Running".into()),
            pod_ip: Some(ip.clone()),
            pod_ips: Some(vec![PodIP { ip }]),
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: ready.into(),
                last_transition_time: Some(clock.time()),
                ..PodCondition::default()
            }]),
            ..pod.status.clone().unwrap_or_default()
        }
    }
}
