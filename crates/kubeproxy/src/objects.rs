//! The parts of Kubernetes objects that matter here.
//!
//! A cluster may have tens of thousands of services and endpoints, and every worker has a copy of them; whole
//! objects would take several times the memory. Fields: kubernetes `staging/src/k8s.io/api/{core,discovery}`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::types::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use api::{Kind, KindInfo, kinds};
use serde::{Deserialize, Deserializer, Serialize};

/// Names the service of a slice (`discoveryv1.LabelServiceName`).
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says that another proxy serves a service (`apis.LabelServiceProxyName`).
pub const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The zone of a node (`v1.LabelTopologyZone`).
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Keeps load balancers away from a node (`v1.LabelNodeExcludeBalancers`).
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The labels that are kept.
const LABELS: [&str; 4] = [SERVICE_NAME, PROXY_NAME, ZONE, EXCLUDE];

/// A `v1.Service`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Name, namespace, and the labels above.
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// What it is to be.
    #[serde(default)]
    pub spec: ServiceSpec,
    /// The addresses that it was given.
    #[serde(default)]
    pub status: ServiceStatus,
}

/// A service's `spec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// One, or the first of `cluster_ips`; `None` for a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Box<str>,
    /// One for each family.
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    pub cluster_ips: Box<[Box<str>]>,
    /// Addresses from outside of the cluster.
    #[serde(rename = "externalIPs", deserialize_with = "nullable")]
    pub external_ips: Box<[Box<str>]>,
    /// Its ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Box<[ServicePort]>,
    /// `ClientIP` or `None`.
    pub session_affinity: Box<str>,
    /// For how long.
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: Box<str>,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: Box<str>,
    /// Whose load balancer it is; nothing: the cluster's own.
    pub load_balancer_class: Option<Box<str>>,
    /// `PreferClose`, or nothing.
    pub traffic_distribution: Option<Box<str>>,
}

/// One of `spec.ports`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// May be empty if it is the only one.
    pub name: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// As clients know it.
    pub port: i32,
    /// On every node; 0 if there is none.
    pub node_port: i32,
}

/// `spec.sessionAffinityConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// Of affinity by the client's address.
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// After the last connection; three hours if nothing is said.
    pub timeout_seconds: Option<u32>,
}

/// A service's `status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Of one of type `LoadBalancer`.
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// Its addresses.
    #[serde(deserialize_with = "nullable")]
    pub ingress: Box<[LoadBalancerIngress]>,
}

/// One of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// The address.
    pub ip: Box<str>,
    /// `VIP` or nothing: packets come with this address; `Proxy`: they do not.
    pub ip_mode: Box<str>,
}

/// A `discovery.k8s.io/v1.EndpointSlice`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredSlice")]
pub struct EndpointSlice {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// The service, as a label names it; empty if none does. A map of labels would take more than the rest.
    #[serde(skip)]
    pub service: Box<str>,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: Box<str>,
    /// Where it can be reached.
    pub endpoints: Box<[Endpoint]>,
    /// On which ports.
    pub ports: Box<[EndpointPort]>,
}

/// The same, as it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSlice {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
    #[serde(default)]
    address_type: Box<str>,
    #[serde(default, deserialize_with = "nullable")]
    endpoints: Box<[Endpoint]>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Box<[EndpointPort]>,
}

impl From<StoredSlice> for EndpointSlice {
    fn from(stored: StoredSlice) -> Self {
        let StoredSlice { mut metadata, address_type, endpoints, ports } = stored;
        let service = metadata.labels.take().and_then(|mut labels| labels.remove(SERVICE_NAME));
        Self { metadata, service: service.unwrap_or_default().into(), address_type, endpoints, ports }
    }
}

/// One of a slice's `endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// All of the same thing; the first one is used.
    pub addresses: Box<[Box<str>]>,
    /// Whether to use it.
    pub conditions: Conditions,
    /// On which node it is.
    pub node_name: Option<Box<str>>,
    /// In which zone it is.
    pub zone: Option<Box<str>>,
    /// Who should use it.
    pub hints: Option<Hints>,
    /// Of what it is the address.
    pub target_ref: Option<TargetRef>,
}

/// An endpoint's `conditions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conditions {
    /// It is, unless it says otherwise.
    pub ready: Option<bool>,
    /// As `ready`, but also while it ends.
    pub serving: Option<bool>,
    /// It is being deleted.
    pub terminating: Option<bool>,
}

/// An endpoint's `hints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// Clients in these zones.
    #[serde(deserialize_with = "nullable")]
    pub for_zones: Box<[Named]>,
    /// Clients on these nodes.
    #[serde(deserialize_with = "nullable")]
    pub for_nodes: Box<[Named]>,
}

/// Something by its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: Box<str>,
}

/// An endpoint's `targetRef`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// As `default`.
    pub namespace: Box<str>,
    /// As `web-7f9c`.
    pub name: Box<str>,
}

/// One of a slice's `ports`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// That of the service's port.
    pub name: Option<Box<str>>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<Box<str>>,
    /// None stands for every port.
    pub port: Option<i32>,
}

/// A `v1.Node`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name, and the labels above.
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// How it is.
    #[serde(default)]
    pub status: NodeStatus,
}

/// A node's `status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `Ready`, and no other.
    #[serde(deserialize_with = "readiness")]
    pub conditions: Box<[NodeCondition]>,
    /// Where it is.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Box<[NodeAddress]>,
}

/// One of a node's `status.addresses`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// As `InternalIP`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The address, or a name.
    pub address: Box<str>,
}

/// One of a node's `status.conditions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCondition {
    /// As `Ready`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
}

impl Node {
    /// Whether it says that it is ready, and nobody else that it is not.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| &*condition.status == "True")
    }

    /// Its address among the nodes, if it tells one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let mut internal = self.status.addresses.iter().filter(|address| &*address.kind == "InternalIP");
        internal.find_map(|address| address.address.parse().ok())
    }
}

/// A `v1.Pod`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Name and namespace.
    #[serde(deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    /// Where it is.
    #[serde(default)]
    pub spec: PodSpec,
    /// The address that it was given.
    #[serde(default)]
    pub status: PodStatus,
}

/// A pod's `spec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// On which node it is.
    pub node_name: Option<Box<str>>,
}

/// A pod's `status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// The first of its addresses.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Box<str>>,
    /// One for each family.
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pub pod_ips: Box<[PodIp]>,
}

/// One of `status.podIPs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: Box<str>,
}

/// Go writes an empty list as `null`.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Box<[T]>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The condition `Ready`, and no other.
fn readiness<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[NodeCondition]>, D::Error> {
    let all: Box<[NodeCondition]> = nullable(deserializer)?;
    Ok(all.into_iter().filter(|condition| &*condition.kind == "Ready").collect())
}

/// Metadata without what nobody here asks for.
fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    let Slim { name, namespace, labels } = Slim::deserialize(deserializer)?;
    let labels = labels.map(|mut labels| {
        labels.retain(|name, _| LABELS.contains(&name.as_str()));
        labels
    });
    Ok(ObjectMeta {
        name,
        namespace,
        labels: labels.filter(|labels| !labels.is_empty()),
        ..Default::default()
    })
}

/// Makes them kinds of objects that a store has.
macro_rules! kinds {
    ($($type:ident: $info:ident $scope:ident $group:literal $version:literal $api:literal $plural:literal;)*) => {$(
        impl Resource for $type {
            const API_VERSION: &'static str = $api;
            const GROUP: &'static str = $group;
            const KIND: &'static str = stringify!($type);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl Kind for $type {
            const INFO: &'static KindInfo = &kinds::$info;
        }

        impl Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kinds! {
    Service: SERVICES NamespaceResourceScope "" "v1" "v1" "services";
    EndpointSlice: ENDPOINT_SLICES NamespaceResourceScope "discovery.k8s.io" "v1" "discovery.k8s.io/v1" "endpointslices";
    Node: NODES ClusterResourceScope "" "v1" "v1" "nodes";
    Pod: PODS NamespaceResourceScope "" "v1" "v1" "pods";
}
