//! How a lab is: `topo status -o json`.

use std::collections::BTreeMap;

use runtime::ComponentStatus;
use serde::{Deserialize, Serialize};

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabStatus {
    /// Its name.
    pub lab: String,
    /// Whether every cluster is ready.
    pub ready: bool,
    /// Seconds from `topo up` to ready; none while it starts.
    pub started_in: Option<f64>,
    /// Of pid 1, as the caller sees it.
    pub pid: i32,
    /// In the order of the topology file.
    pub clusters: Vec<ClusterStatus>,
    /// What else runs for the lab: delay lines.
    pub helpers: Vec<ProcessStatus>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// As `C0`.
    pub name: String,
    /// Whether all of its nodes are.
    pub ready: bool,
    /// The nodes that run etcd.
    pub etcd: Vec<EtcdStatus>,
    /// What keeps its objects in order.
    pub control_plane: ControlPlaneStatus,
    /// One more beside each other etcd member: whose controllers and scheduler work is a matter of leases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standby: Vec<ControlPlaneStatus>,
    /// The nodes that run pods.
    pub workers: Vec<WorkerStatus>,
}

/// An etcd member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdStatus {
    /// As `C0e1`.
    pub node: String,
    /// Its underlay address.
    pub address: String,
    /// Whether it serves.
    pub ready: bool,
    /// As the caller sees it; none while it does not run.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is not ready; may be empty.
    pub message: String,
}

/// A cluster's control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneStatus {
    /// Where it runs, as `C0e1`.
    pub node: String,
    /// That node's underlay address.
    pub address: String,
    /// As the caller sees it; none while it does not run.
    pub pid: Option<i32>,
    /// Whether all of its components are.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is not ready; may be empty.
    pub message: String,
    /// By name.
    pub components: BTreeMap<String, ComponentStatus>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// As `C0w1`.
    pub name: String,
    /// Its agent's, as the caller sees it; none while it does not run.
    pub pid: Option<i32>,
    /// In the underlay.
    pub addresses: Vec<String>,
    /// Whether the agent and all of its components are.
    pub ready: bool,
    /// How often the agent was started again.
    pub restarts: u32,
    /// Why it is not ready; may be empty.
    pub message: String,
    /// Its share of the pod network, once it has one.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// By name.
    pub components: BTreeMap<String, ComponentStatus>,
    /// The pods that have a sandbox there.
    pub pods: Vec<PodSummary>,
}

/// A pod of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSummary {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address; none until its network stands.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

/// A process that belongs to no node's list of components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// As `delay C0w1-C0s0`.
    pub name: String,
    /// As the caller sees it; none while it does not run.
    pub pid: Option<i32>,
    /// Whether it does its work.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is not ready; may be empty.
    pub message: String,
}

impl ClusterStatus {
    /// All of its control planes, the first one first.
    pub fn control_planes(&self) -> impl Iterator<Item = &ControlPlaneStatus> {
        std::iter::once(&self.control_plane).chain(&self.standby)
    }
}

impl LabStatus {
    /// What is wrong with components though they do their work, a line each, with cluster or worker.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let of = |place: &str, components: &BTreeMap<String, ComponentStatus>| -> Vec<String> {
            let warnings = components.values().flat_map(|status| &status.warnings);
            warnings.map(|warning| format!("{place}: {warning}")).collect()
        };
        let mut all = Vec::new();
        for cluster in &self.clusters {
            for plane in cluster.control_planes() {
                all.extend(of(&cluster.name, &plane.components));
            }
            all.extend(cluster.workers.iter().flat_map(|worker| of(&worker.name, &worker.components)));
        }
        all
    }

    /// Every pid in it, in a fixed order: pid 1 first.
    pub fn pids_mut(&mut self) -> impl Iterator<Item = &mut i32> {
        let clusters = self.clusters.iter_mut().flat_map(|cluster| {
            let etcd = cluster.etcd.iter_mut().filter_map(|e| e.pid.as_mut());
            let workers = cluster.workers.iter_mut().filter_map(|w| w.pid.as_mut());
            let standby = cluster.standby.iter_mut().filter_map(|plane| plane.pid.as_mut());
            etcd.chain(cluster.control_plane.pid.as_mut()).chain(standby).chain(workers)
        });
        let helpers = self.helpers.iter_mut().filter_map(|h| h.pid.as_mut());
        std::iter::once(&mut self.pid).chain(clusters).chain(helpers)
    }
}
