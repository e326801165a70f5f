//! A Service for every listener, so that pods find it by its name: without a selector, and with a slice whose
//! one endpoint is the router. What it takes is planned; the store does it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::names;
use api::types::api::core::v1::{Service, ServicePort, ServiceSpec};
use api::types::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use api::types::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use api::types::apimachinery::pkg::util::intstr::IntOrString;
use store::{ObjectName, Store, registry};

use crate::error::Result;
use crate::inputs::{Inputs, Place};
use crate::plan::{MANAGED, PORTS_ANNOTATION, Plan, WantedService, slice_name};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Make a Service.
    Create(Box<Service>),
    /// Give it these ports.
    SetPorts(ObjectName, Vec<ServicePort>),
    /// Make its slice.
    CreateSlice(Box<EndpointSlice>),
    /// Replace what is in its slice.
    SetSlice(Box<EndpointSlice>),
    /// Take a Service away.
    Delete(ObjectName),
    /// Take a slice away.
    DeleteSlice(ObjectName),
}

/// What it takes.
#[must_use]
pub fn plan(place: &Place, inputs: &Inputs, plan: &Plan) -> Vec<Op> {
    let wanted: BTreeMap<ObjectName, &WantedService> = plan
        .sites
        .values()
        .flat_map(|site| &site.services)
        .map(|service| (ObjectName::new(&service.namespace, &service.name), service))
        .collect();
    let mut ops = Vec::new();
    for (name, service) in &wanted {
        let (new, slice) = (self::service(inputs, service), slice(inputs, service, place));
        match inputs.services.get(name) {
            None => ops.push(Op::Create(Box::new(new))),
            Some(old) if ports_of(old) != ports_of(&new) => {
                ops.push(Op::SetPorts(
                    name.clone(),
                    new.spec.and_then(|spec| spec.ports).unwrap_or_default(),
                ));
            }
            Some(_) => {}
        }
        match inputs.slices.get(&ObjectName::of(&slice.metadata)) {
            None => ops.push(Op::CreateSlice(Box::new(slice))),
            Some(old) if !same(old, &slice) => ops.push(Op::SetSlice(Box::new(slice))),
            Some(_) => {}
        }
    }
    let ours = |meta: &ObjectMeta| meta.labels.as_ref().is_some_and(|labels| labels.contains_key(MANAGED));
    for (name, slice) in inputs.slices.iter().filter(|(_, slice)| ours(&slice.metadata)) {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
        let service = ObjectName::new(&name.namespace, service.map(String::as_str).unwrap_or_default());
        if !wanted.contains_key(&service) {
            ops.push(Op::DeleteSlice(name.clone()));
        }
    }
    for (name, _) in inputs.services.iter().filter(|(_, service)| ours(&service.metadata)) {
        if !wanted.contains_key(name) {
            ops.push(Op::Delete(name.clone()));
        }
    }
    ops
}

/// Does it.
///
/// # Errors
/// What the store would not take. That something is gone already is no error.
pub async fn apply(store: &Store, op: &Op) -> Result<()> {
    match op {
        Op::Create(service) => drop(registry::create(store, service.as_ref()).await?),
        Op::SetPorts(name, ports) => {
            let set =
                |service: &mut Service| service.spec.get_or_insert_default().ports = Some(ports.clone());
            registry::modify::<Service>(store, &name.namespace, &name.name, set).await?;
        }
        Op::CreateSlice(slice) => drop(registry::create(store, slice.as_ref()).await?),
        Op::SetSlice(new) => {
            let name = ObjectName::of(&new.metadata);
            let set = |slice: &mut EndpointSlice| {
                slice.metadata.annotations.clone_from(&new.metadata.annotations);
                slice.metadata.owner_references.clone_from(&new.metadata.owner_references);
                slice.endpoints.clone_from(&new.endpoints);
                slice.ports.clone_from(&new.ports);
            };
            registry::modify::<EndpointSlice>(store, &name.namespace, &name.name, set).await?;
        }
        Op::Delete(name) => {
            gone(registry::delete::<Service>(store, &name.namespace, &name.name, &now()).await)?
        }
        Op::DeleteSlice(name) => {
            gone(registry::delete::<EndpointSlice>(store, &name.namespace, &name.name, &now()).await)?;
        }
    }
    Ok(())
}

fn now() -> api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions {
    Default::default()
}

fn gone<T>(result: registry::Result<T>) -> Result<()> {
    match result {
        Err(registry::Error::Store(store::Error::NotFound { .. })) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

fn metadata(inputs: &Inputs, service: &WantedService, name: &str) -> ObjectMeta {
    let owners = service.ports.keys().filter_map(|listener| {
        let object = inputs.listeners.get(&ObjectName::new(&service.namespace, listener))?;
        Some(OwnerReference {
            api_version: "skupper.io/v2alpha1".into(),
            kind: "Listener".into(),
            name: listener.clone(),
            uid: object.metadata.uid.clone()?,
            ..OwnerReference::default()
        })
    });
    ObjectMeta {
        namespace: Some(service.namespace.clone()),
        name: Some(name.into()),
        labels: Some([(MANAGED.to_owned(), "true".to_owned())].into()),
        owner_references: Some(owners.collect()),
        ..ObjectMeta::default()
    }
}

fn service(inputs: &Inputs, wanted: &WantedService) -> Service {
    let port = |(listener, port): (&String, &crate::plan::WantedPort)| ServicePort {
        name: Some(port_name(listener, port.port)),
        port: port.port.into(),
        target_port: Some(IntOrString::Int(port.target.into())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        ports: Some(wanted.ports.iter().map(port).collect()),
        type_: Some("ClusterIP".into()),
        ..ServiceSpec::default()
    };
    Service { metadata: metadata(inputs, wanted, &wanted.name), spec: Some(spec), status: None }
}

/// The listener's name, as upstream, where a port can be called so.
fn port_name(listener: &str, port: u16) -> String {
    if names::dns_label(listener).is_empty() { listener.into() } else { format!("port-{port}") }
}

fn slice(inputs: &Inputs, wanted: &WantedService, place: &Place) -> EndpointSlice {
    let mut metadata = metadata(inputs, wanted, &slice_name(&wanted.name));
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("kubernetes.io/service-name".into(), wanted.name.clone());
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), "skupper.knetsim.dev".into());
    let ports: BTreeMap<&String, u16> = wanted.ports.iter().map(|(name, port)| (name, port.target)).collect();
    let ports = serde_json::to_string(&ports).unwrap_or_default();
    metadata.annotations = Some([(PORTS_ANNOTATION.to_owned(), ports)].into());
    EndpointSlice {
        metadata,
        address_type: "IPv4".into(),
        endpoints: vec![endpoint(place.address, &place.node)],
        ports: Some(
            wanted.ports.iter().map(|(name, port)| endpoint_port(name, port.port, port.target)).collect(),
        ),
    }
}

fn endpoint(address: Ipv4Addr, node: &str) -> Endpoint {
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            serving: Some(true),
            terminating: Some(false),
        }),
        node_name: Some(node.into()),
        ..Endpoint::default()
    }
}

fn endpoint_port(listener: &str, port: u16, target: u16) -> EndpointPort {
    EndpointPort {
        name: Some(port_name(listener, port)),
        port: Some(target.into()),
        protocol: Some("TCP".into()),
        ..EndpointPort::default()
    }
}

/// What of its ports matters: the server fills in the rest.
fn ports_of(service: &Service) -> Vec<(Option<String>, i32, Option<IntOrString>)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.map(|port| (port.name.clone(), port.port, port.target_port.clone())).collect()
}

fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints == new.endpoints
        && old.ports == new.ports
        && old.metadata.annotations == new.metadata.annotations
        && old.metadata.owner_references == new.metadata.owner_references
}
