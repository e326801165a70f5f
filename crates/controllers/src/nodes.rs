//! Nodes: one of which nothing is heard any more is not ready, its pods' endpoints leave, and after a while
//! its pods are replaced.
//!
//! [`health`] says which conditions and taints a node has, [`evict`] which pods have to go, this module listens
//! and writes.
//!
//! Times are measured here, not compared with the nodes' clocks; while etcd is away, when nobody can be heard,
//! they stand still.

mod evict;
mod health;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::coordination::v1::Lease;
use api::types::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint};
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use runtime::Queue;
use store::events::{NORMAL, Recorder, WARNING, reference};
use store::{ObjectName, registry};
use tokio::time::Instant;

use crate::claim::ignore_missing;
use crate::clock::{Clock, whole};
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::meta::Meta;
use crate::pods;
use crate::view::{Source, View, sides};
use crate::writer::Writer;

use evict::goes_in;
use health::{Eviction, begins_eviction, heartbeat, is_ready, readiness, wanted_conditions, wanted_taints};

/// Nodes are looked at at least so often (`--node-monitor-period`).
const PERIOD: Duration = Duration::from_secs(5);
/// One node after the other begins to lose its pods (`--node-eviction-rate`).
const BETWEEN_EVICTIONS: Duration = Duration::from_secs(10);
/// After so long pods of a node that is not there are deleted (`pkg/controller/podgc`, `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Where nodes' leases are.
pub(crate) const LEASES: &str = "kube-node-lease";

/// The controller.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: View<Node>,
    leases: View<Lease>,
    pods: View<Pod>,
    recorder: Recorder,
    clock: Clock,
    grace: Duration,
    heard: BTreeMap<String, Heard>,
    /// Since when pods name a node that is not there.
    missing: BTreeMap<String, Instant>,
    last_eviction: Option<Instant>,
}

/// When a node was last heard of.
#[derive(Debug)]
struct Heard {
    at: Instant,
    heartbeat: Option<Time>,
}

/// What there is to do for a node.
#[derive(Debug)]
pub(crate) enum Work {
    Node(Box<NodeWork>),
    /// Pods of a node that is not there.
    Lost(Vec<Arc<Pod>>),
}

/// What there is to do for one that is there.
#[derive(Debug)]
pub(crate) struct NodeWork {
    node: Arc<Node>,
    conditions: Vec<NodeCondition>,
    taints: Vec<Taint>,
    not_ready: Vec<Arc<Pod>>,
    evict: Vec<Arc<Pod>>,
}

fn by_node(pod: &Pod) -> Vec<String> {
    Some(pods::node_name(pod)).filter(|node| !node.is_empty()).map(Into::into).into_iter().collect()
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

impl Nodes {
    pub(crate) fn new(cluster: &Cluster, grace: Duration) -> Self {
        Self {
            nodes: View::new(&cluster.nodes, |_| vec![]),
            leases: View::new(&cluster.node_leases, |_| vec![]),
            pods: View::new(&cluster.pods, by_node),
            recorder: cluster.recorder("node-controller"),
            clock: cluster.clock.clone(),
            grace,
            heard: BTreeMap::new(),
            missing: BTreeMap::new(),
            last_eviction: None,
        }
    }

    fn hear(&mut self, node: &str) {
        if let Some(heard) = self.heard.get_mut(node) {
            heard.at = Instant::now();
        }
    }

    fn node_changed(&mut self, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        let tell = |node: &Node, reason: &str, what: &str| {
            let message = format!("Node {0} event: {what} Node {0}", node.name());
            let controller = if reason == "RegisteredNode" { "in" } else { "from" };
            self.recorder.event(
                &reference(node),
                NORMAL,
                reason,
                &format!("{message} {controller} Controller"),
            );
        };
        match (old, new) {
            (_, Some(node)) => match self.heard.get_mut(node.name()) {
                None => {
                    tell(node, "RegisteredNode", "Registered");
                    let heard = Heard { at: Instant::now(), heartbeat: heartbeat(node).cloned() };
                    self.heard.insert(node.name().into(), heard);
                }
                Some(heard) if heartbeat(node) != heard.heartbeat.as_ref() => {
                    *heard = Heard { at: Instant::now(), heartbeat: heartbeat(node).cloned() };
                }
                Some(_) => {}
            },
            (Some(node), None) => {
                tell(node, "RemovingNode", "Removing");
                self.heard.remove(node.name());
            }
            (None, None) => {}
        }
    }

    /// How long nothing has been heard of a node.
    fn silence(&self, node: &str) -> Duration {
        self.heard.get(node).map(|heard| heard.at.elapsed()).unwrap_or_default()
    }

    fn is_silent(&self, node: &Node) -> bool {
        self.silence(node.name()) > self.grace
    }

    /// Whether no node is ready at all.
    fn all_are_down(&self) -> bool {
        self.nodes.all().all(|node| !is_ready(node) || self.is_silent(node))
    }

    fn eviction(&self) -> Eviction {
        if self.all_are_down() {
            Eviction::Off
        } else if self.last_eviction.is_some_and(|at| at.elapsed() < BETWEEN_EVICTIONS) {
            Eviction::Waits
        } else {
            Eviction::Follows
        }
    }

    fn plan_node(&mut self, node: &Arc<Node>) -> Plan<Work> {
        let (now, silent) = (self.clock.now(), self.is_silent(node));
        let conditions = wanted_conditions(node, silent, &whole(now));
        let wanted = wanted_taints(node, &conditions, self.eviction(), &whole(now));
        if begins_eviction(node, &wanted) {
            self.last_eviction = Some(Instant::now());
        }
        let on_node = || self.pods.by(node.name()).filter(|pod| !pod.is_deleting());
        // A kubelet that speaks knows better how its pods are.
        let unknown = readiness(&conditions) == "Unknown";
        let not_ready: Vec<_> = on_node().filter(|pod| unknown && pods::is_ready(pod)).cloned().collect();
        // By the taints that it has, not by those that it is about to get.
        let going = |pod: &Arc<Pod>| goes_in(pod, taints(node), now);
        let evict: Vec<_> = on_node().filter(|pod| going(pod) == Some(Duration::ZERO)).cloned().collect();
        let next_eviction = on_node().filter_map(going).filter(|wait| !wait.is_zero()).min();
        let until_silent = self.grace.saturating_sub(self.silence(node.name())) + Duration::from_millis(1);
        let again =
            [Some(PERIOD), next_eviction, (!silent).then_some(until_silent)].into_iter().flatten().min();
        let before = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let same = before == conditions && taints(node) == wanted;
        let work = NodeWork { node: node.clone(), conditions, taints: wanted, not_ready, evict };
        let nothing = same && work.not_ready.is_empty() && work.evict.is_empty();
        Plan { work: (!nothing).then(|| Work::Node(Box::new(work))), again }
    }

    /// Pods of a node that is not there. It may be about to be registered.
    fn plan_missing(&mut self, node: &str) -> Plan<Work> {
        let lost: Vec<_> = self.pods.by(node).cloned().collect();
        if lost.is_empty() {
            self.missing.remove(node);
            return Plan::nothing();
        }
        let since = *self.missing.entry(node.to_owned()).or_insert_with(Instant::now);
        match QUARANTINE.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
            Some(left) => Plan { work: None, again: Some(left) },
            None => Plan { work: Some(Work::Lost(lost)), again: Some(PERIOD) },
        }
    }
}

impl Controller for Nodes {
    const NAME: &'static str = "node-lifecycle-controller";
    type Key = String;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.nodes, &self.leases, &self.pods]
    }

    fn observe(&mut self, queue: &mut Queue<String>) {
        for change in self.nodes.drain() {
            let (old, new) = sides(&change);
            self.node_changed(old, new);
            new.or(old).into_iter().for_each(|node| queue.add(node.name().into()));
            // Whether all are down concerns all.
            if old.map(|old| is_ready(old)) != new.map(|new| is_ready(new)) {
                self.nodes.all().for_each(|node| queue.add(node.name().into()));
            }
        }
        for change in self.leases.drain() {
            if let (_, Some(lease)) = sides(&change) {
                self.hear(lease.name());
            }
        }
        if !self.leases.is_connected() {
            self.heard.values_mut().for_each(|heard| heard.at = Instant::now());
        }
        for change in self.pods.drain() {
            let (old, new) = sides(&change);
            let nodes = [old, new].into_iter().flatten().map(|pod| pods::node_name(pod));
            nodes.filter(|node| !node.is_empty()).for_each(|node| queue.add(node.into()));
        }
    }

    fn plan(&mut self, key: &String) -> Plan<Work> {
        match self.nodes.get(&ObjectName::new("", key)).cloned() {
            Some(node) => {
                self.missing.remove(key);
                self.plan_node(&node)
            }
            None => self.plan_missing(key),
        }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let applier = Applier { writer, recorder: self.recorder.clone(), now: whole(self.clock.now()) };
        async move {
            match work {
                Work::Node(work) => applier.node(*work).await,
                Work::Lost(pods) => applier.lost(pods).await,
            }
        }
    }
}

/// Everything that writing takes.
struct Applier {
    writer: Writer,
    recorder: Recorder,
    now: Time,
}

impl Applier {
    async fn node(&self, work: NodeWork) -> Result<()> {
        let mut node = work.node.as_ref().clone();
        let was_ready = is_ready(&node);
        node.status.get_or_insert_default().conditions = Some(work.conditions);
        node.spec.get_or_insert_default().taints = Some(work.taints).filter(|taints| !taints.is_empty());
        if node != *work.node {
            // Not over a kubelet that has just spoken.
            self.writer.update(&mut node).await?;
        }
        if was_ready && !is_ready(&node) {
            let message = format!("Node {} status is now: NodeNotReady", node.name());
            self.recorder.event(&reference(&node), NORMAL, "NodeNotReady", &message);
        }
        for pod in work.not_ready {
            let set = |pod: &mut Pod| {
                let condition = PodCondition { type_: "Ready".into(), status: "False".into(), ..ready(pod) };
                set_condition(pod, condition, &self.now);
            };
            ignore_missing(self.writer.modify(pod.as_ref(), set).await)?;
            self.recorder.event(&reference(pod.as_ref()), WARNING, "NodeNotReady", "Node is not ready");
        }
        for pod in work.evict {
            let message = format!("Marking for deletion Pod {}", pod.key());
            self.recorder.event(&reference(pod.as_ref()), NORMAL, "TaintManagerEviction", &message);
            let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
            self.disrupt(&pod, why, |_| {}).await?;
            self.writer.delete(pod.as_ref()).await?;
        }
        Ok(())
    }

    /// Nobody will end these pods, so they go at once.
    async fn lost(&self, pods: Vec<Arc<Pod>>) -> Result<()> {
        for pod in pods {
            let node: Option<Node> = self.writer.store().get("", pods::node_name(&pod)).await?;
            if node.is_some() {
                continue;
            }
            let why = ("DeletionByPodGC", "PodGC: node no longer exists");
            let fail = |pod: &mut Pod| {
                if !pods::is_terminal(pod) {
                    pod.status.get_or_insert_default().phase = Some("Failed".into());
                }
            };
            self.disrupt(&pod, why, fail).await?;
            registry::delete_now(self.writer.store(), pod.as_ref()).await?;
        }
        Ok(())
    }

    async fn disrupt(
        &self,
        pod: &Pod,
        (reason, message): (&str, &str),
        more: impl Fn(&mut Pod),
    ) -> Result<()> {
        let set = |pod: &mut Pod| {
            let condition = PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                ..PodCondition::default()
            };
            set_condition(pod, condition, &self.now);
            more(pod);
        };
        ignore_missing(self.writer.modify(pod, set).await)
    }
}

fn ready(pod: &Pod) -> PodCondition {
    pods::condition(pod, "Ready").cloned().unwrap_or_default()
}

/// (kubernetes `pkg/api/v1/pod/util.go`, `UpdatePodCondition`)
fn set_condition(pod: &mut Pod, mut condition: PodCondition, now: &Time) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|one| one.type_ == condition.type_) {
        Some(old) => {
            let same = old.status == condition.status;
            condition.last_transition_time =
                if same { old.last_transition_time.clone() } else { Some(now.clone()) };
            *old = condition;
        }
        None => {
            condition.last_transition_time = Some(now.clone());
            conditions.push(condition);
        }
    }
}

#[cfg(test)]
mod tests;
