//! Nodes, namespaces, and what holds data.

use api::types::api::coordination::v1::Lease;
use api::types::api::core::v1::{ConfigMap, Namespace, Node, Secret, ServiceAccount};
use api::types::api::scheduling::v1::PriorityClass;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Context, Printer, none_if_empty, typed};

fn first(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

fn last(meta: &ObjectMeta, context: &Context<'_>) -> String {
    context.age(meta.creation_timestamp.as_ref())
}

pub(super) static NODES: Printer = Printer {
    columns: &[
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "INTERNAL-IP",
        "EXTERNAL-IP",
        "OS-IMAGE",
        "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ],
    wide: &["INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"],
    cells: |object, context| {
        let node: Node = typed(object)?;
        let info = node.status.as_ref().and_then(|status| status.node_info.clone()).unwrap_or_default();
        let unknown = |text: String| if text.is_empty() { "<unknown>".to_owned() } else { text };
        Some(vec![
            first(&node.metadata),
            node_status(&node),
            none_if_empty(node_roles(&node).join(",")),
            last(&node.metadata, context),
            info.kubelet_version,
            address(&node, "InternalIP"),
            address(&node, "ExternalIP"),
            unknown(info.os_image),
            unknown(info.kernel_version),
            unknown(info.container_runtime_version),
        ])
    },
};

/// As `Ready`, `NotReady,SchedulingDisabled`.
fn node_status(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut words: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.type_ == "Ready")
        .map(|condition| if condition.status == "True" { "Ready" } else { "NotReady" })
        .collect();
    if words.is_empty() {
        words.push("Unknown");
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

/// What its labels say that it is for.
pub(crate) fn node_roles(node: &Node) -> Vec<String> {
    let labels = node.metadata.labels.iter().flatten();
    let mut roles: Vec<String> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role.to_owned()),
            None => (key == "kubernetes.io/role").then(|| value.clone()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    roles.dedup();
    roles
}

fn address(node: &Node, wanted: &str) -> String {
    let addresses = node.status.iter().filter_map(|status| status.addresses.as_ref()).flatten();
    let mut found = addresses.filter(|address| address.type_ == wanted);
    none_if_empty(found.next().map(|address| address.address.clone()).unwrap_or_default())
}

pub(super) static NAMESPACES: Printer = Printer {
    columns: &["NAME", "STATUS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let namespace: Namespace = typed(object)?;
        let phase = namespace.status.and_then(|status| status.phase).unwrap_or_default();
        Some(vec![first(&namespace.metadata), phase, last(&namespace.metadata, context)])
    },
};

pub(super) static CONFIG_MAPS: Printer = Printer {
    columns: &["NAME", "DATA", "AGE"],
    wide: &[],
    cells: |object, context| {
        let map: ConfigMap = typed(object)?;
        let entries = map.data.map_or(0, |data| data.len()) + map.binary_data.map_or(0, |data| data.len());
        Some(vec![first(&map.metadata), entries.to_string(), last(&map.metadata, context)])
    },
};

pub(super) static SECRETS: Printer = Printer {
    columns: &["NAME", "TYPE", "DATA", "AGE"],
    wide: &[],
    cells: |object, context| {
        let secret: Secret = typed(object)?;
        let entries = secret.data.map_or(0, |data| data.len()).to_string();
        let kind = secret.type_.unwrap_or_default();
        Some(vec![first(&secret.metadata), kind, entries, last(&secret.metadata, context)])
    },
};

pub(super) static SERVICE_ACCOUNTS: Printer = Printer {
    columns: &["NAME", "SECRETS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let account: ServiceAccount = typed(object)?;
        let secrets = account.secrets.map_or(0, |secrets| secrets.len()).to_string();
        Some(vec![first(&account.metadata), secrets, last(&account.metadata, context)])
    },
};

pub(super) static LEASES: Printer = Printer {
    columns: &["NAME", "HOLDER", "AGE"],
    wide: &[],
    cells: |object, context| {
        let lease: Lease = typed(object)?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        Some(vec![first(&lease.metadata), holder, last(&lease.metadata, context)])
    },
};

pub(super) static PRIORITY_CLASSES: Printer = Printer {
    columns: &["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"],
    wide: &[],
    cells: |object, context| {
        let class: PriorityClass = typed(object)?;
        Some(vec![
            first(&class.metadata),
            class.value.to_string(),
            class.global_default.unwrap_or_default().to_string(),
            last(&class.metadata, context),
            class.preemption_policy.unwrap_or_else(|| "PreemptLowerPriority".into()),
        ])
    },
};
