//! Connectors: the servers behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::Selector;
use api::router_config::{Config, TcpConnector};
use api::skupper::{CONSUMERS, Connector, PodDetails, State};
use api::types::api::core::v1::Pod;
use store::ObjectName;

use super::tls::{Profiles, profile_name};
use super::{CONNECTOR, Context, JudgedConnector, router_id};
use crate::inputs::in_namespace;

/// Tells the router of each connector of the namespace.
pub(super) fn plan(
    context: &Context<'_>,
    tls: &mut Profiles<'_>,
    config: &mut Config,
) -> BTreeMap<String, JudgedConnector> {
    let mut judged = BTreeMap::new();
    for (name, connector) in in_namespace(&context.inputs.connectors, context.namespace) {
        let addresses = addresses(context, connector);
        let pods = pods(context, connector);
        let state = match entities(context, name, connector, &addresses, &pods, tls) {
            Ok(entities) => {
                config.tcp_connectors.extend(entities);
                State::Ready
            }
            Err(state) => state,
        };
        let pods = pods.into_iter().map(|(details, _)| details).collect();
        judged.insert(name.to_owned(), JudgedConnector { state, addresses, pods });
    }
    judged
}

/// One for all sites, or one for each that may consume it.
fn addresses(context: &Context<'_>, connector: &Connector) -> Vec<String> {
    let key = &connector.spec.routing_key;
    let consumers = connector.metadata.annotations.as_ref().and_then(|all| all.get(CONSUMERS));
    let Some(consumers) = consumers else { return vec![key.clone()] };
    let names = consumers.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut addresses: Vec<_> = names.map(|name| format!("{key}@{}", router_of(context, name))).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The router of a site that is named by its cluster, as `C1`, by cluster and namespace, as `C1/west`, or by the
/// name that the Site object has.
fn router_of(context: &Context<'_>, name: &str) -> String {
    let by_site = context.network.routers.iter().find(|(_, router)| router.site.name == name);
    match (name.split_once('/'), by_site) {
        (Some((cluster, namespace)), _) => router_id(cluster, namespace),
        (None, Some((id, _))) => id.clone(),
        (None, None) => name.into(),
    }
}

/// The pods that serve, by name, and whether they are ready.
fn pods(context: &Context<'_>, connector: &Connector) -> Vec<(PodDetails, bool)> {
    let spec = &connector.spec;
    if spec.selector.is_empty() {
        return Vec::new();
    }
    // It was judged when it was stored.
    let Ok(selector) = spec.selector.parse::<Selector>() else { return Vec::new() };
    let serves = |pod: &Arc<Pod>| {
        let ready = is_ready(pod);
        let running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        let going = pod.metadata.deletion_timestamp.is_some();
        selector.matches(pod.metadata.labels.as_ref())
            && running
            && !going
            && (ready || spec.include_not_ready_pods)
    };
    let found = in_namespace(&context.inputs.pods, context.namespace).filter(|(_, pod)| serves(pod));
    let details = |(name, pod): (&str, &Arc<Pod>)| {
        let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
        Some((PodDetails { name: name.into(), ip }, is_ready(pod)))
    };
    found.filter_map(details).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn entities(
    context: &Context<'_>,
    name: &str,
    connector: &Connector,
    addresses: &[String],
    pods: &[(PodDetails, bool)],
    tls: &mut Profiles<'_>,
) -> Result<Vec<TcpConnector>, State> {
    let spec = &connector.spec;
    let ssl_profile = Some(spec.tls_credentials.clone()).filter(|name| !name.is_empty());
    if let Some(profile) = &ssl_profile {
        tls.need(profile).map_err(State::Pending)?;
    }
    let Ok(port) = u16::try_from(spec.port) else {
        return Err(State::Error(format!("port {} is none", spec.port)));
    };
    let servers: Vec<(String, String)> = if spec.selector.is_empty() {
        vec![(spec.host.clone(), host(context, &spec.host)?)]
    } else {
        pods.iter().map(|(pod, _)| (pod.name.clone(), pod.ip.clone())).collect()
    };
    if servers.is_empty() {
        // skupper `internal/kube/site/bindings.go`
        return Err(State::Pending(format!("No pods match selector {}", spec.selector)));
    }
    let mut entities = Vec::new();
    for (server, host) in &servers {
        for address in addresses {
            let site = address.split_once('@').map(|(_, site)| format!("@{site}")).unwrap_or_default();
            entities.push(TcpConnector {
                name: format!("{CONNECTOR}{name}/{server}{site}"),
                address: address.clone(),
                host: host.clone(),
                port,
                ssl_profile: ssl_profile.as_deref().map(profile_name),
                verify_hostname: spec.verify_hostname,
                ..TcpConnector::default()
            });
        }
    }
    Ok(entities)
}

/// Where a host is: an address as it is; a Service of the cluster by its address, for the worker does not ask
/// the cluster's DNS; another name as the worker resolves it.
fn host(context: &Context<'_>, host: &str) -> Result<String, State> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(host.into());
    }
    let mut labels = host.split('.');
    let (name, namespace) = (labels.next().unwrap_or_default(), labels.next());
    let in_cluster = namespace.is_none() || labels.next().is_none_or(|label| label == "svc");
    let object = ObjectName::new(namespace.unwrap_or(context.namespace), name);
    match context.inputs.services.get(&object) {
        Some(service) if in_cluster => {
            let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
            match ip.filter(|ip| ip.parse::<IpAddr>().is_ok()) {
                Some(ip) => Ok(ip),
                None => Err(State::Error(format!("service \"{object}\" has no address of its own"))),
            }
        }
        _ if namespace.is_none() => Err(State::Pending(format!("there is no service \"{object}\""))),
        _ => Ok(host.into()),
    }
}
