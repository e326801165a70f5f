//! The Node and Lease objects of a worker.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus/setters.go`
//! (conditions and their words), KEP-589 (leases: 40 s, renewed every 10).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use api::types::api::coordination::v1::{Lease, LeaseSpec};
use api::types::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use api::types::apimachinery::pkg::api::resource::Quantity;
use api::types::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};

use ipnetwork::Ipv4Network;

use crate::machine::MachineInfo;

/// Where the nodes' leases are.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// A lease lasts so long if nobody says otherwise (`nodeLeaseDurationSeconds`).
const LEASE: Duration = Duration::from_secs(40);
/// As kubelet's `--max-pods`.
const MAX_PODS: u32 = 110;

/// (kubernetes `pkg/kubelet/nodestatus/setters.go`, containerd's words)
const NO_NETWORK: &str = "container runtime network not ready: NetworkReady=false \
                          reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not \
                          initialized";

/// What a worker knows of itself.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// As `C0w1`.
    pub name: String,
    /// In the underlay.
    pub address: Ipv4Addr,
    /// Version of this program.
    pub version: String,
    /// The machine below.
    pub machine: MachineInfo,
    /// How long its lease lasts, whole seconds; it is renewed four times as often (KEP-589).
    pub lease: Duration,
}

/// How long leases last where a node that has been silent for `grace` counts as dead.
#[must_use]
pub fn lease_within(grace: Duration) -> Duration {
    Duration::from_secs(grace.as_secs().max(1)).min(LEASE)
}

/// The Node object as it should be; `subnet` is its share of the pod network, without which it is not
/// ready. What others write into one that exists (`observed`), as labels,
/// taints and the pod CIDR, stays.
#[must_use]
pub fn node(info: &NodeInfo, subnet: Option<Ipv4Network>, observed: Option<&Node>, now: &Time) -> Node {
    let mut node = observed.cloned().unwrap_or_else(|| Node {
        metadata: ObjectMeta {
            name: Some(info.name.clone()),
            creation_timestamp: Some(now.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec::default()),
        status: None,
    });
    node.metadata.labels.get_or_insert_default().extend(labels(info));
    if let Some(subnet) = subnet {
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = Some(subnet.to_string());
        spec.pod_cidrs = Some(vec![subnet.to_string()]);
    }
    let before = node.status.take().unwrap_or_default();
    let resources = resources(&info.machine);
    node.status = Some(NodeStatus {
        addresses: Some(addresses(info)),
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        conditions: Some(conditions(subnet.is_some(), before.conditions.as_deref().unwrap_or_default(), now)),
        node_info: Some(system(info)),
        ..before
    });
    node
}

/// The Lease that says when the node was last alive.
#[must_use]
pub fn lease(info: &NodeInfo, node: &Node, observed: Option<&Lease>, now: &MicroTime) -> Lease {
    let name = node.metadata.name.clone().unwrap_or_default();
    let mut lease = observed.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(LEASE_NAMESPACE.into()),
            creation_timestamp: node.metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    lease.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }]);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(name),
        lease_duration_seconds: i32::try_from(info.lease.as_secs()).ok(),
        renew_time: Some(now.clone()),
        ..lease.spec.unwrap_or_default()
    });
    lease
}

fn labels(info: &NodeInfo) -> BTreeMap<String, String> {
    [
        ("kubernetes.io/arch", info.machine.architecture.as_str()),
        ("kubernetes.io/hostname", &info.name),
        ("kubernetes.io/os", "linux"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn addresses(info: &NodeInfo) -> Vec<NodeAddress> {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
    vec![address("InternalIP", info.address.to_string()), address("Hostname", info.name.clone())]
}

fn resources(machine: &MachineInfo) -> BTreeMap<String, Quantity> {
    [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", machine.memory_kib)),
        ("pods", MAX_PODS.to_string()),
    ]
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .into()
}

fn conditions(network: bool, before: &[NodeCondition], now: &Time) -> Vec<NodeCondition> {
    let ready = if network {
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    } else {
        ("Ready", "False", "KubeletNotReady", NO_NETWORK)
    };
    let wanted = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ];
    wanted
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let same = before.iter().find(|c| c.type_ == kind && c.status == status);
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: Some(now.clone()),
                last_transition_time: same
                    .and_then(|c| c.last_transition_time.clone())
                    .or_else(|| Some(now.clone())),
            }
        })
        .collect()
}

fn system(info: &NodeInfo) -> NodeSystemInfo {
    let version = format!("v{}+knetsim", info.version);
    NodeSystemInfo {
        architecture: info.machine.architecture.clone(),
        boot_id: info.machine.boot_id.clone(),
        container_runtime_version: format!("knetsim://{}", info.version),
        kernel_version: info.machine.kernel.clone(),
        kube_proxy_version: version.clone(),
        kubelet_version: version,
        // Workers share a machine and are told apart by their names.
        machine_id: info.name.clone(),
        operating_system: "linux".into(),
        os_image: info.machine.os_image.clone(),
        system_uuid: info.name.clone(),
        ..NodeSystemInfo::default()
    }
}

/// Whether writing `desired` over `observed` would say anything but a later heartbeat.
#[must_use]
pub fn differs(desired: &Node, observed: &Node) -> bool {
    let still = |node: &Node| {
        let mut node = node.clone();
        let conditions = node.status.as_mut().and_then(|status| status.conditions.as_mut());
        for condition in conditions.into_iter().flatten() {
            condition.last_heartbeat_time = None;
        }
        node
    };
    still(desired) != still(observed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::types::jiff::Timestamp;

    pub(crate) const SUBNET: Option<Ipv4Network> =
        Some(Ipv4Network::new_checked(Ipv4Addr::new(11, 10, 0, 0), 20).unwrap());

    pub(crate) fn info() -> NodeInfo {
        NodeInfo {
            name: "C0w1".into(),
            address: Ipv4Addr::new(10, 0, 0, 3),
            version: "0.1.0".into(),
            machine: MachineInfo {
                kernel: "6.1.0".into(),
                os_image: "Debian GNU/Linux 12 (bookworm)".into(),
                architecture: "amd64".into(),
                cpus: 2,
                memory_kib: 4_194_304,
                boot_id: "b007".into(),
            },
            lease: LEASE,
        }
    }

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_objects_are_as_a_kubelet_writes_them() {
        let node = node(&info(), SUBNET, None, &at(1_700_000_000));
        insta::assert_snapshot!(serde_json::to_string_pretty(&node).unwrap());
        let now = MicroTime(Timestamp::from_microsecond(1_700_000_000_123_456).unwrap());
        insta::assert_snapshot!(serde_json::to_string_pretty(&lease(&info(), &node, None, &now)).unwrap());
    }

    #[test]
    fn what_others_wrote_stays_and_a_heartbeat_is_no_difference() {
        let mut observed = node(&info(), SUBNET, None, &at(1));
        observed.metadata.labels.as_mut().unwrap().insert("disk".into(), "ssd".into());
        let later = node(&info(), SUBNET, Some(&observed), &at(100));
        assert!(!differs(&later, &observed));
        assert_eq!(later.metadata.creation_timestamp, Some(at(1)));
        assert_eq!(later.spec.as_ref().unwrap().pod_cidr.as_deref(), Some("11.10.0.0/20"));

        let moved = NodeInfo { address: Ipv4Addr::new(10, 0, 0, 9), ..info() };
        assert!(differs(&node(&moved, SUBNET, Some(&observed), &at(100)), &observed));
    }

    #[test]
    fn a_condition_that_turns_has_a_new_transition_time() {
        let mut observed = node(&info(), SUBNET, None, &at(1));
        let conditions = observed.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.iter_mut().find(|c| c.type_ == "Ready").unwrap().status = "Unknown".into();
        let later = node(&info(), SUBNET, Some(&observed), &at(100));
        let conditions = later.status.unwrap().conditions.unwrap();
        let transition =
            |kind: &str| conditions.iter().find(|c| c.type_ == kind).unwrap().last_transition_time.clone();
        assert_eq!(transition("Ready"), Some(at(100)));
        assert_eq!(transition("DiskPressure"), Some(at(1)));
    }
}
