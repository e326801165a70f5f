//! Nodes.

use std::collections::BTreeMap;

use api::quantity::Amount;
use api::types::api::core::v1::{Node, Pod};
use api::types::apimachinery::pkg::api::resource::Quantity;
use api::types::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde_json::Value;

use super::{Description, Related, containers, moment, or_none, typed};
use crate::printers::node_roles;

pub(super) fn describe(out: &mut Description<'_>, object: &Value, related: &Related) -> Option<()> {
    let node: Node = typed(object)?;
    let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
    out.field(0, "Name", node.metadata.name.as_deref().unwrap_or_default());
    out.field(0, "Roles", or_none(&node_roles(&node).join(",")));
    out.labels(0, "Labels", node.metadata.labels.as_ref());
    out.annotations(0, node.metadata.annotations.as_ref());
    out.created(&node.metadata);
    out.lines(
        0,
        "Taints",
        spec.taints.iter().flatten().map(|taint| {
            let value = taint.value.as_deref().filter(|value| !value.is_empty());
            let value = value.map(|value| format!("={value}")).unwrap_or_default();
            format!("{}{value}:{}", taint.key, taint.effect)
        }),
    );
    out.field(0, "Unschedulable", spec.unschedulable.unwrap_or_default());
    lease(out, related);
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    }
    for one in conditions {
        let (beat, change) =
            (moment(one.last_heartbeat_time.as_ref()), moment(one.last_transition_time.as_ref()));
        let reason = one.reason.as_deref().unwrap_or_default();
        let message = one.message.as_deref().unwrap_or_default();
        out.line(1, format_args!("{}\t{}\t{beat}\t{change}\t{reason}\t{message}", one.type_, one.status));
    }
    out.line(0, "Addresses:");
    for address in status.addresses.iter().flatten() {
        out.field(1, &address.type_, &address.address);
    }
    containers::amounts(out, 0, "Capacity", status.capacity.as_ref());
    containers::amounts(out, 0, "Allocatable", status.allocatable.as_ref());
    if let Some(info) = &status.node_info {
        out.line(0, "System Info:");
        out.field(1, "Machine ID", &info.machine_id);
        out.field(1, "System UUID", &info.system_uuid);
        out.field(1, "Boot ID", &info.boot_id);
        out.field(1, "Kernel Version", &info.kernel_version);
        out.field(1, "OS Image", &info.os_image);
        out.field(1, "Operating System", &info.operating_system);
        out.field(1, "Architecture", &info.architecture);
        out.field(1, "Container Runtime Version", &info.container_runtime_version);
        out.field(1, "Kubelet Version", &info.kubelet_version);
        out.maybe(1, "Kube-Proxy Version", Some(&info.kube_proxy_version));
    }
    out.maybe(0, "PodCIDR", spec.pod_cidr.as_ref());
    out.maybe(0, "PodCIDRs", spec.pod_cidrs.map(|all| all.join(",")));
    out.maybe(0, "ProviderID", spec.provider_id.as_ref());
    pods(out, &related.pods, status.allocatable.as_ref());
    Some(())
}

fn lease(out: &mut Description<'_>, related: &Related) {
    let Some(spec) = related.lease.as_ref().and_then(|lease| lease.spec.clone()) else { return };
    out.line(0, "Lease:");
    let time = |time: Option<MicroTime>| time.map_or("<unset>".into(), |time| moment(Some(&Time(time.0))));
    out.field(1, "HolderIdentity", spec.holder_identity.as_deref().unwrap_or("<unset>"));
    out.field(1, "AcquireTime", time(spec.acquire_time));
    out.field(1, "RenewTime", time(spec.renew_time));
}

/// What pods ask for.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

fn pods(out: &mut Description<'_>, pods: &[Pod], allocatable: Option<&BTreeMap<String, Quantity>>) {
    let ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let live: Vec<_> = pods.iter().filter(|pod| !ended(pod)).collect();
    out.line(0, format_args!("Non-terminated Pods:\t({} in total)", live.len()));
    out.line(1, "Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    out.line(1, "---------\t----\t------------\t----------\t---------------\t-------------\t---");
    let mut totals = [Amount::default(); 4];
    for pod in live {
        let own = requested(pod);
        for (total, amount) in totals.iter_mut().zip(own) {
            *total = *total + amount;
        }
        let shown = columns(own, allocatable);
        let meta = &pod.metadata;
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        let age = out.age(meta.creation_timestamp.as_ref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        out.line(1, format_args!("{namespace}\t{name}\t{}\t{age}", shown.join("\t")));
    }
    let shown = columns(totals, allocatable);
    out.line(0, "Allocated resources:");
    out.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    out.line(1, "Resource\tRequests\tLimits");
    out.line(1, "--------\t--------\t------");
    for (i, resource) in RESOURCES.into_iter().enumerate() {
        out.line(1, format_args!("{resource}\t{}\t{}", shown[2 * i], shown[2 * i + 1]));
    }
}

/// Requests and limits of cpu, then of memory.
fn requested(pod: &Pod) -> [Amount; 4] {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut sums = [Amount::default(); 4];
    for container in &spec.containers {
        let resources = container.resources.clone().unwrap_or_default();
        let of = |amounts: &Option<BTreeMap<String, Quantity>>, name: &str| {
            let quantity = amounts.as_ref().and_then(|amounts| amounts.get(name));
            quantity.and_then(|quantity| Amount::parse(quantity).ok()).unwrap_or_default()
        };
        for (i, name) in RESOURCES.into_iter().enumerate() {
            sums[2 * i] = sums[2 * i] + of(&resources.requests, name);
            sums[2 * i + 1] = sums[2 * i + 1] + of(&resources.limits, name);
        }
    }
    sums
}

/// Each with its share of what the node has.
fn columns(amounts: [Amount; 4], allocatable: Option<&BTreeMap<String, Quantity>>) -> Vec<String> {
    let whole = |name: &str| {
        let quantity = allocatable.and_then(|all| all.get(name));
        quantity.and_then(|quantity| Amount::parse(quantity).ok()).unwrap_or_default()
    };
    let show = |(i, amount): (usize, &Amount)| {
        let name = RESOURCES[i / 2];
        let text = if name == "cpu" { processors(*amount) } else { bytes(*amount) };
        format!("{text} ({}%)", percent(*amount, whole(name)))
    };
    amounts.iter().enumerate().map(show).collect()
}

fn processors(amount: Amount) -> String {
    match amount.millis() {
        millis if millis % 1000 == 0 => (millis / 1000).to_string(),
        millis => format!("{millis}m"),
    }
}

fn bytes(amount: Amount) -> String {
    let all = amount.units();
    let units = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let unit = units.into_iter().find(|(unit, _)| all > 0 && all % unit == 0);
    unit.map_or(all.to_string(), |(unit, name)| format!("{}{name}", all / unit))
}

fn percent(part: Amount, whole: Amount) -> i64 {
    part.millis().saturating_mul(100).checked_div(whole.millis()).unwrap_or_default()
}
