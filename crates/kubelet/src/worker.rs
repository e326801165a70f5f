//! One pod's worker: makes its sandbox, starts its containers again and again, tells its status, ends it.
//!
//! ```text
//! object, runs, probes ──► step: sandbox → network → plan::next → start ──► status ──► wait for a change
//!                            │
//!                            └─ deleted, or another pod has the name: end
//! ```
//!
//! Source: kubernetes `pkg/kubelet/pod_workers.go`, `pkg/kubelet/kuberuntime/kuberuntime_manager.go`
//! (`SyncPod`).

mod containers;
mod end;
mod past;
mod probes;
mod sandbox;
mod tell;
mod volumes;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{Container, Pod, PodSpec, Service};
use api::types::jiff::Timestamp;
use cri::{ContainerState, Process, Sandbox, State};
use ipnetwork::Ipv4Network;
use runtime::Backoff;
use store::events::{NORMAL, WARNING};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::environment::Sources;
use crate::plan::{self, Notes, Runs};
use crate::pods::Shared;
use crate::status::{self, View};

use containers::Posted;
use end::Ending;
use probes::Probers;
use volumes::Volumes;
use writer::Writer;

/// What a worker is told: the pod as it is, none if it is gone.
pub(crate) type Pods = watch::Receiver<Option<Arc<Pod>>>;

/// A sandbox that could not be made is tried again after so long, …
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// … and at least that often.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// The grace of a pod whose object was taken away by force.
const FORCED: i64 = 2;

/// The worker of a pod's name.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pods: Pods,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, pods: Pods) -> Self {
        Self { shared, pods }
    }

    /// Runs until nothing is left of any pod of the name.
    pub(crate) async fn run(mut self, adopted: Option<Sandbox>) {
        let mut adopted = adopted.map(Arc::new);
        loop {
            let pod = self.pods.borrow_and_update().clone();
            let stays = |sandbox: &Arc<Sandbox>| {
                pod.as_ref().is_some_and(|pod| pod.metadata.uid.as_deref() == Some(&sandbox.spec().uid))
            };
            if let Some(old) = adopted.take_if(|sandbox| !stays(sandbox)) {
                Life::orphan(self.shared.clone(), old).end(&mut self.pods).await;
                continue;
            }
            let Some(pod) = pod else { return };
            Life::new(self.shared.clone(), pod, adopted.take()).live(&mut self.pods).await;
        }
    }
}

/// One pod, from its first sight to its end.
struct Life {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    sandbox: Option<Arc<Sandbox>>,
    state: Option<watch::Receiver<State>>,
    /// The pod's addresses, when its network stands.
    ips: Option<Vec<String>>,
    /// Whether a network may have to be given back.
    attached: bool,
    /// How many sandboxes there were.
    sandboxes: u32,
    /// Runs in this sandbox, and those that are not to be repeated.
    runs: Runs,
    /// Runs in sandboxes that are no more.
    past: Runs,
    notes: BTreeMap<String, Notes>,
    /// Why there is no sandbox, and when to try again: microseconds since 1970.
    trouble: Option<(String, i64)>,
    retry: Backoff,
    volumes: Volumes,
    volume_retry: Backoff,
    finished: Option<bool>,
    /// Somebody else has said that the pod is over, and its status is the last.
    settled: bool,
    /// Why what the sandbox held cannot be given back.
    stuck: Option<String>,
    /// The pod was ended by the kubelet, with reason and message.
    ended: Option<(String, String)>,
    probers: Probers,
    /// The node's network, whose coming is waited for: what was seen of it wakes no more.
    lease: watch::Receiver<Option<Ipv4Network>>,
    /// When a container is to be tried again that could not be probed: microseconds since 1970.
    probe_again: Option<i64>,
    /// Runs that are being ended, by container.
    endings: BTreeMap<String, Ending>,
    /// The hooks of containers that have just been started, and whose run that is.
    posts: JoinSet<Posted>,
    posting: BTreeMap<String, u32>,
    /// Whose back-off has been told, with the run after which it is.
    backed_off: BTreeMap<String, u32>,
    /// What containers were started with.
    processes: BTreeMap<String, Process>,
    /// What was last read of the store, for when it is away.
    sources: Option<Sources>,
    services: Option<Vec<Arc<Service>>>,
    writer: Writer,
}

impl Life {
    fn new(shared: Arc<Shared>, pod: Arc<Pod>, sandbox: Option<Arc<Sandbox>>) -> Self {
        let mut life = Self {
            writer: Writer::new(shared.store.clone()),
            lease: shared.options.lease.clone(),
            shared,
            state: sandbox.as_ref().map(|sandbox| sandbox.state()),
            ips: None,
            attached: sandbox.is_some(),
            sandboxes: sandbox.as_ref().map_or(0, |sandbox| sandbox.spec().attempt + 1),
            sandbox,
            runs: Runs::new(),
            past: Runs::new(),
            notes: BTreeMap::new(),
            trouble: None,
            retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            volumes: Volumes::default(),
            volume_retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            finished: phase(&pod).filter(|phase| is_over(phase)).map(|phase| phase == "Succeeded"),
            settled: phase(&pod).is_some_and(|phase| is_over(&phase)),
            stuck: None,
            ended: None,
            probers: Probers::new(),
            probe_again: None,
            endings: BTreeMap::new(),
            posts: JoinSet::new(),
            posting: BTreeMap::new(),
            backed_off: BTreeMap::new(),
            processes: BTreeMap::new(),
            sources: None,
            services: None,
            pod,
        };
        life.recall();
        life
    }

    /// What is left of a pod that is no more.
    fn orphan(shared: Arc<Shared>, sandbox: Arc<Sandbox>) -> Self {
        let spec = sandbox.spec();
        let mut pod = Pod::default();
        pod.metadata.namespace = Some(spec.namespace.clone());
        pod.metadata.name = Some(spec.pod.clone());
        pod.metadata.uid = Some(spec.uid.clone());
        Self::new(shared, Arc::new(pod), Some(sandbox))
    }

    fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    fn alive(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.borrow().alive)
    }

    /// Goes on until the object is gone, or another pod has its name.
    async fn live(mut self, pods: &mut Pods) {
        loop {
            let latest = pods.borrow_and_update().clone();
            match latest {
                Some(latest) if latest.metadata.uid == self.pod.metadata.uid => self.pod = latest,
                _ => return self.end(pods).await,
            }
            if self.pod.metadata.deletion_timestamp.is_some() {
                return self.end(pods).await;
            }
            if !self.is_over()
                && let Some(phase) = phase(&self.pod).filter(|phase| is_over(phase))
            {
                // Others have ended it, as whoever cleans up after nodes.
                self.stop(self.grace(), &mut pods.clone()).await;
                self.finished = Some(phase == "Succeeded");
                self.settled = true;
            }
            let wake = self.step(pods).await;
            self.publish();
            self.wait(pods, wake).await;
        }
    }

    /// Does what is due; gives when to look again.
    async fn step(&mut self, pods: &Pods) -> Option<i64> {
        self.look();
        self.lease.mark_unchanged();
        if self.is_over() {
            self.let_go().await;
            self.stuck = None;
            return None;
        }
        if let Some(deadline) = self.deadline()
            && deadline <= now()
        {
            self.overdue(pods).await;
            return Some(now());
        }
        let spec = self.spec();
        if self.sandbox.is_some() && !self.alive() {
            self.bury();
            if plan::ends_with_sandbox(&spec, &self.past).is_none() {
                self.tell(NORMAL, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
            }
            self.let_go().await;
            self.stuck = None;
        }
        if self.sandbox.is_none()
            && let Some(well) = plan::ends_with_sandbox(&spec, &self.past)
        {
            self.finished = Some(well);
            return Some(now());
        }
        let wake = self.stand_and_run(&spec, pods).await;
        wake.into_iter().chain(self.deadline()).min()
    }

    /// As [`Self::step`], of a pod that goes on.
    async fn stand_and_run(&mut self, spec: &PodSpec, pods: &Pods) -> Option<i64> {
        if let Some(wake) = self.plan_volumes().await {
            return Some(wake);
        }
        if let Some(wake) = self.stand(pods).await {
            return Some(wake);
        }
        self.ips.as_ref()?;
        if let Some(wake) = self.write_volumes() {
            return Some(wake);
        }
        self.probe().await;
        let next = plan::next(spec, &self.runs, &self.notes, now());
        let mut started = false;
        for (container, attempt) in &next.start {
            // One that has a hook to run keeps the others waiting (`startContainer`).
            if self.posting.is_empty() {
                self.start(container, *attempt).await;
                started = true;
            }
        }
        self.look();
        self.probe().await;
        self.tell_back_off(&next.backed_off);
        // One that was started may have ended already, or be blocked: looked at once more; so is a sandbox
        // that has ended meanwhile.
        if started || !self.alive() {
            return Some(now());
        }
        if let Some(well) = next.finished {
            self.finish(well, pods).await;
            return Some(now());
        }
        next.wake.into_iter().chain(self.volumes.due()).chain(self.probe_again).min()
    }

    fn is_over(&self) -> bool {
        self.finished.is_some() || self.ended.is_some()
    }

    /// When the pod's time is up: microseconds since 1970.
    fn deadline(&self) -> Option<i64> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let began = self.pod.status.as_ref()?.start_time.as_ref()?;
        Some(after_seconds(began.0.as_microsecond(), seconds))
    }

    async fn overdue(&mut self, pods: &Pods) {
        let message = "Pod was active on the node longer than the specified deadline";
        self.tell(WARNING, "DeadlineExceeded", message);
        self.stop(self.grace(), &mut pods.clone()).await;
        self.ended = Some(("DeadlineExceeded".into(), message.into()));
    }

    /// Has the status written.
    fn publish(&mut self) {
        if self.pod.spec.is_none() {
            // An orphan.
            return;
        }
        let status = match (&self.pod.status, &self.sandbox) {
            (Some(status), None) if self.settled => status::without_sandbox(status.clone(), now()),
            _ if self.settled => return,
            _ => self.view().status(),
        };
        self.writer.set(&self.pod, status);
    }

    fn view(&self) -> View<'_> {
        View {
            pod: &self.pod,
            node_ip: self.address(),
            sandbox: self.ips.as_ref().and(self.sandbox.as_ref()).map(|sandbox| sandbox.spec().id.as_str()),
            pod_ips: self.ips.as_deref().unwrap_or_default(),
            runs: &self.runs,
            past: &self.past,
            stuck: self.stuck.as_deref(),
            notes: &self.notes,
            trouble: self.trouble(),
            finished: self.finished,
            ended: self.ended.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str())),
            now: now(),
        }
    }

    /// Why its containers cannot even be tried.
    fn trouble(&self) -> Option<&str> {
        let of_sandbox = self.trouble.as_ref().map(|(trouble, _)| trouble.as_str());
        of_sandbox.or(self.volumes.trouble.as_deref())
    }

    fn address(&self) -> &str {
        &self.shared.address
    }

    /// Waits for news of the object or the sandbox, or for a time: microseconds since 1970.
    async fn wait(&mut self, pods: &mut Pods, wake: Option<i64>) {
        let over = self.is_over();
        let until = async {
            match wake {
                Some(at) => tokio::time::sleep(until(at)).await,
                None => std::future::pending().await,
            }
        };
        let probes = probes::news(&mut self.probers);
        let news = async {
            match &mut self.state {
                // One that is over is let go by us; one whose sandbox has ended has no more news.
                Some(state) if !over => {
                    if state.changed().await.is_err() {
                        std::future::pending().await
                    }
                }
                _ => std::future::pending().await,
            }
        };
        let waits = self.sandbox.is_none() && !over;
        let network = async {
            // It is never said that there will be none.
            if !waits || self.lease.changed().await.is_err() {
                std::future::pending().await
            }
        };
        let posted = async {
            match self.posts.join_next().await {
                Some(posted) => posted.ok(),
                None => std::future::pending().await,
            }
        };
        let posted = tokio::select! {
            // Ends with the kubelet.
            _ = pods.changed() => None,
            posted = posted => posted,
            () = news => None,
            () = probes => None,
            () = network => None,
            () = until => None,
        };
        if let Some(posted) = posted {
            self.after_post(posted).await;
        }
    }

    /// How long its containers have to end by themselves, in seconds.
    fn grace(&self) -> i64 {
        let spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        match self.pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30) {
            // Valid for those who made such pods when that was not looked at (kubernetes
            // `pkg/apis/core/v1/defaults.go`).
            negative if negative < 0 => 1,
            grace => grace,
        }
    }

    fn running(&self) -> Vec<&ContainerState> {
        let runs = self.runs.values().filter_map(|runs| runs.last());
        runs.filter(|run| run.running()).collect()
    }
}

/// Whether the pod is not what is wanted any more.
fn is_to_end(pods: &Pods, pod: &Pod) -> bool {
    pods.borrow().as_ref().is_none_or(|latest| {
        latest.metadata.uid != pod.metadata.uid || latest.metadata.deletion_timestamp.is_some()
    })
}

/// All containers of a pod, in the order of their start.
fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn phase(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.phase.clone()
}

fn is_over(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// So many seconds after a time in microseconds; whoever says 2^63 means for ever.
fn after_seconds(time: i64, seconds: i64) -> i64 {
    time.saturating_add(seconds.saturating_mul(1_000_000))
}

/// How long it is until a time in microseconds since 1970.
fn until(time: i64) -> Duration {
    Duration::from_micros(u64::try_from(time.saturating_sub(now())).unwrap_or(0))
}

/// Microseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_no_overflow() {
        assert_eq!(after_seconds(5, 2), 2_000_005);
        assert_eq!(after_seconds(now(), i64::MAX), i64::MAX);
        assert!(until(i64::MAX) > Duration::from_secs(1_000_000_000));
        assert_eq!(until(i64::MIN), Duration::ZERO);
    }
}
