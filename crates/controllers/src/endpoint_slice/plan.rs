//! Which slices a service has, so that as few as possible are written: one changed pod rewrites one slice.
//!
//! Source: kubernetes `staging/src/k8s.io/endpointslice/reconciler.go` (`reconcileByAddressType`,
//! `reconcileByPortMapping`, `finalize`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::types::api::core::v1::{Node, Pod, Service, ServiceSpec};
use api::types::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoint::{Family, Source, ports, ports_are_numbers};
use crate::meta::{Meta, controller_reference};

/// As many endpoints are in a slice (`--max-endpoints-per-slice`).
pub(crate) const MOST: usize = 100;
/// Names the service of a slice.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// Names who keeps a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Ours; slices of others are left alone.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What there is to write.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SlicePlan {
    /// Without names.
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

impl SlicePlan {
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// What is there.
pub(crate) struct Observed<'a> {
    pub(crate) service: &'a Service,
    /// Those that the service selects.
    pub(crate) pods: Vec<&'a Arc<Pod>>,
    /// The service's slices that are ours.
    pub(crate) slices: Vec<&'a Arc<EndpointSlice>>,
}

/// Plans the slices of a service with a selector; `node` finds a node by its name.
pub(crate) fn plan<'a>(observed: &Observed<'a>, node: impl Fn(&str) -> Option<&'a Node>) -> SlicePlan {
    let service = observed.service;
    let spec = service.spec.clone().unwrap_or_default();
    let families = Family::of(&spec);
    let mut plan = SlicePlan::default();
    for family in &families {
        let of_family = |slice: &&&Arc<EndpointSlice>| slice.address_type == family.address_type();
        let slices: Vec<_> = observed.slices.iter().filter(of_family).copied().collect();
        let sources = observed.pods.iter().map(|pod| Source {
            service,
            pod,
            node: node(crate::pods::node_name(pod)),
            family: *family,
        });
        plan_family(service, *family, sources.filter(Source::has_endpoint).collect(), &slices, &mut plan);
    }
    let unwanted =
        |slice: &&&Arc<EndpointSlice>| families.iter().all(|one| one.address_type() != slice.address_type);
    plan.delete.extend(observed.slices.iter().filter(unwanted).map(|slice| (*slice).clone()));
    plan
}

/// Pods that serve under the same ports share slices.
type ByPorts<T> = BTreeMap<String, (Vec<EndpointPort>, T)>;

fn plan_family(
    service: &Service,
    family: Family,
    sources: Vec<Source<'_>>,
    slices: &[&Arc<EndpointSlice>],
    plan: &mut SlicePlan,
) {
    let mut groups: ByPorts<(Vec<Source<'_>>, Vec<&Arc<EndpointSlice>>)> = BTreeMap::new();
    if ports_are_numbers(service) {
        if let Some(first) = sources.first() {
            let ports = ports(service, first.pod);
            groups.insert(key(&ports), (ports, (sources, vec![])));
        }
    } else {
        for source in sources {
            let ports = ports(service, source.pod);
            groups.entry(key(&ports)).or_insert_with(|| (ports, Default::default())).1.0.push(source);
        }
    }
    let (mut create, mut delete) = (vec![], vec![]);
    for slice in slices {
        match groups.get_mut(&key(slice.ports.as_deref().unwrap_or_default())) {
            Some((_, (_, slices))) if is_owned(slice, service) => slices.push(slice),
            // That of an earlier service of the same name goes with it.
            _ => delete.push((*slice).clone()),
        }
    }
    let labels = labels(service);
    for (ports, (sources, slices)) in groups.into_values() {
        let empty = empty_slice(service, family, ports, &labels);
        plan_ports(&empty, sources, &slices, (&mut create, plan, &mut delete));
    }
    // There is always one, so that it can be seen that the service has none.
    if create.is_empty() && delete.len() == slices.len() {
        let placeholder = empty_slice(service, family, vec![], &labels);
        let is_one = |slice: &Arc<EndpointSlice>| same_but_name(slice, &placeholder);
        match delete.iter().position(is_one) {
            Some(at) => drop(delete.remove(at)),
            None => create.push(placeholder),
        }
    }
    reuse(&mut create, plan, &mut delete);
    plan.create.append(&mut create);
    plan.delete.append(&mut delete);
}

fn key(ports: &[EndpointPort]) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let one = |port: &EndpointPort| {
        let (name, protocol, app) = (text(&port.name), text(&port.protocol), text(&port.app_protocol));
        format!("{name}/{protocol}/{}/{app}", port.port.unwrap_or_default())
    };
    let mut all: Vec<_> = ports.iter().map(one).collect();
    all.sort();
    all.join(",")
}

/// The slices of pods that serve under the same ports.
fn plan_ports(
    empty: &EndpointSlice,
    sources: Vec<Source<'_>>,
    slices: &[&Arc<EndpointSlice>],
    (create, plan, delete): (&mut Vec<EndpointSlice>, &mut SlicePlan, &mut Vec<Arc<EndpointSlice>>),
) {
    let mut missing: HashMap<&str, Source<'_>> =
        sources.iter().map(|source| (source.pod.name(), *source)).collect();
    let (mut changed, mut unchanged) = (vec![], vec![]);
    for slice in slices {
        match kept(slice, &mut missing) {
            None if slice.metadata.labels == empty.metadata.labels => unchanged.push(*slice),
            None => changed.push(with(slice, slice.endpoints.clone(), empty)),
            Some(endpoints) if endpoints.is_empty() => delete.push((*slice).clone()),
            Some(endpoints) => changed.push(with(slice, endpoints, empty)),
        }
    }
    // In the order of the pods, not of the hashes.
    let missing = sources.iter().filter(|source| missing.contains_key(source.pod.name()));
    let mut new: Vec<_> = missing.map(Source::endpoint).collect();
    // First into slices that are written anyway, the fullest first.
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        fill(slice, &mut new);
    }
    // Then all of the rest into one that has room for all of it, the fullest.
    let room = |slice: &&&Arc<EndpointSlice>| slice.endpoints.len() + new.len() <= MOST;
    if !new.is_empty()
        && let Some(slice) = unchanged.iter().filter(room).max_by_key(|slice| slice.endpoints.len())
    {
        let mut slice = with(slice, slice.endpoints.clone(), empty);
        fill(&mut slice, &mut new);
        changed.push(slice);
    }
    while !new.is_empty() {
        let mut slice = empty.clone();
        fill(&mut slice, &mut new);
        create.push(slice);
    }
    plan.update.append(&mut changed);
}

/// The endpoints of a slice that stay, as they are now; none if nothing has changed. What is found is no longer
/// missing.
fn kept(slice: &EndpointSlice, missing: &mut HashMap<&str, Source<'_>>) -> Option<Vec<Endpoint>> {
    let mut keep = Vec::with_capacity(slice.endpoints.len());
    let mut same = true;
    for endpoint in &slice.endpoints {
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
        let source = pod.and_then(|pod| missing.remove(pod));
        same &= source.is_some_and(|source| source.is(endpoint));
        keep.extend(source.map(|source| (source, endpoint)));
    }
    if same {
        return None;
    }
    let now = |(source, endpoint): (Source<'_>, &Endpoint)| {
        if source.is(endpoint) { endpoint.clone() } else { source.endpoint() }
    };
    Some(keep.into_iter().map(now).collect())
}

fn fill(slice: &mut EndpointSlice, new: &mut Vec<Endpoint>) {
    let room = MOST.saturating_sub(slice.endpoints.len()).min(new.len());
    slice.endpoints.extend(new.drain(..room));
}

/// The slice with other endpoints, and with the labels that it should have.
fn with(slice: &EndpointSlice, endpoints: Vec<Endpoint>, empty: &EndpointSlice) -> EndpointSlice {
    let mut metadata = slice.metadata.clone();
    metadata.labels.clone_from(&empty.metadata.labels);
    EndpointSlice {
        metadata,
        endpoints,
        address_type: slice.address_type.clone(),
        ports: slice.ports.clone(),
    }
}

/// (`newEndpointSlice`)
fn empty_slice(
    service: &Service,
    family: Family,
    ports: Vec<EndpointPort>,
    labels: &BTreeMap<String, String>,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.name())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.address_type().into(),
        endpoints: vec![],
        ports: Some(ports),
    }
}

fn same_but_name(slice: &EndpointSlice, other: &EndpointSlice) -> bool {
    slice.endpoints == other.endpoints
        && slice.ports.as_deref().unwrap_or_default() == other.ports.as_deref().unwrap_or_default()
        && slice.metadata.labels == other.metadata.labels
        && slice.metadata.owner_references == other.metadata.owner_references
}

/// (`setEndpointSliceLabels`)
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(service.spec.as_ref()) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE.into(), service.name().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn is_headless(spec: Option<&ServiceSpec>) -> bool {
    spec.is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|owner| owner.uid == service.uid())
}

/// A slice that would be deleted becomes one that would be made: whoever follows sees one change instead of
/// two, and never none of them.
fn reuse(create: &mut Vec<EndpointSlice>, plan: &mut SlicePlan, delete: &mut Vec<Arc<EndpointSlice>>) {
    while let Some(mut slice) = create.pop() {
        let owned =
            |old: &Arc<EndpointSlice>| slice.metadata.owner_references == old.metadata.owner_references;
        let Some(at) = delete.iter().position(owned) else {
            create.push(slice);
            return;
        };
        let old = delete.remove(at);
        let labels = slice.metadata.labels.take();
        slice.metadata = ObjectMeta { labels, ..old.metadata.clone() };
        plan.update.push(slice);
    }
}

#[cfg(test)]
mod tests;
