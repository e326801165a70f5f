//! The kinds in use: their names, and where their objects are in etcd.
//!
//! Sources: `kubectl api-resources`; keys: kubernetes `pkg/registry/**/storage*.go` and
//! `pkg/kubeapiserver/default_storage_factory_builder.go` (`SpecialDefaultResourcePrefixes`); custom
//! resources: apiextensions-apiserver `pkg/apiserver/customresource_handler.go`; Gateway API 1.x and
//! skupper v2 `config/crd`.

use k8s_openapi::api;
use serde_json::Value;

use crate::keys::Kind;

/// What there is to know of a kind without its type.
#[derive(Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version in which its objects are stored.
    pub version: &'static str,
    /// As in a document: `Pod`.
    pub kind: &'static str,
    /// As in a URL: `pods`.
    pub plural: &'static str,
    /// What users type: `po`.
    pub short: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The folder of its keys below `/registry`.
    pub folder: &'static str,
}

impl KindInfo {
    /// As in a document: `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name for one: `pod`.
    #[must_use]
    pub fn singular(&self) -> String {
        self.kind.to_lowercase()
    }

    /// As in messages: `pods`, `deployments.apps`.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The key of an object; `namespace` is passed over for a kind without namespaces.
    #[must_use]
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("/registry/{}/{namespace}/{name}", self.folder)
        } else {
            format!("/registry/{}/{name}", self.folder)
        }
    }

    /// What the keys of a namespace's objects begin with, or those of all.
    #[must_use]
    pub fn prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => self.key(namespace, ""),
            _ => format!("/registry/{}/", self.folder),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.plural == name || self.short.contains(&name) || self.singular() == name
    }

    /// `rest` is what stands behind the first dot: a group or its beginning, perhaps after a version.
    fn is_of(&self, rest: &str) -> bool {
        let group = match rest.split_once('.') {
            Some((version, group)) if version == self.version => group,
            _ if rest == self.version => return true,
            _ => rest,
        };
        !group.is_empty() && self.group.starts_with(group) || group.is_empty() && self.group.is_empty()
    }
}

/// There is no kind of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A name that was typed.
    #[error("the server doesn't have a resource type {}", crate::field::quoted(.0))]
    Resource(String),
    /// The kind of a document.
    #[error(
        "no matches for kind {} in version {}",
        crate::field::quoted(kind),
        crate::field::quoted(version)
    )]
    Kind {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        version: String,
    },
    /// A document that does not say of which kind it is.
    #[error("{0} not set")]
    NotSet(&'static str),
}

/// The kind that a user means by `po`, `pod`, `Pods`, `deploy`, `deployments.apps`,
/// `deployments.v1.apps`.
///
/// Where several kinds have the name, the first of the table, which begins with the core group; as
/// kubectl does.
///
/// # Errors
/// There is none, in kubectl's words.
pub fn by_name(name: &str) -> Result<&'static KindInfo, Unknown> {
    let lower = name.to_lowercase();
    let found = match lower.split_once('.') {
        None => KINDS.iter().find(|info| info.is_called(&lower)),
        Some((name, rest)) => KINDS.iter().find(|info| info.is_called(name) && info.is_of(rest)),
    };
    found.copied().ok_or_else(|| Unknown::Resource(name.into()))
}

/// The kind that a document names.
///
/// # Errors
/// There is none, in kubectl's words.
pub fn by_kind(api_version: &str, kind: &str) -> Result<&'static KindInfo, Unknown> {
    let found = KINDS.iter().find(|info| info.kind == kind && info.api_version() == api_version);
    found.copied().ok_or_else(|| Unknown::Kind { kind: kind.into(), version: api_version.into() })
}

/// The kind of a document.
///
/// # Errors
/// There is none, or the document does not say.
pub fn of(document: &Value) -> Result<&'static KindInfo, Unknown> {
    let text = |field| document.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let version = text("apiVersion").ok_or(Unknown::NotSet("apiVersion"))?;
    by_kind(version, text("kind").ok_or(Unknown::NotSet("kind"))?)
}

macro_rules! kinds {
    ($(
        $id:ident: $group:literal $version:literal $kind:literal $plural:literal [$($short:literal)*]
        $namespaced:literal $folder:literal $(=> $type:ty)?;
    )*) => {
        $(
            #[doc = concat!("`", $kind, "`")]
            pub const $id: KindInfo = KindInfo {
                group: $group,
                version: $version,
                kind: $kind,
                plural: $plural,
                short: &[$($short),*],
                namespaced: $namespaced,
                folder: $folder,
            };
            $(impl Kind for $type {
                const INFO: &'static KindInfo = &$id;
            })?
        )*
        /// All of them.
        pub const KINDS: &[&KindInfo] = &[$(&$id),*];
    };
}

kinds! {
    // Nodes were called minions once, and their keys still are.
    NODES: "" "v1" "Node" "nodes" ["no"] false "minions" => api::core::v1::Node;
    NAMESPACES: "" "v1" "Namespace" "namespaces" ["ns"] false "namespaces" => api::core::v1::Namespace;
    PODS: "" "v1" "Pod" "pods" ["po"] true "pods" => api::core::v1::Pod;
    SERVICES: "" "v1" "Service" "services" ["svc"] true "services/specs" => api::core::v1::Service;
    ENDPOINTS: "" "v1" "Endpoints" "endpoints" ["ep"] true "services/endpoints" => api::core::v1::Endpoints;
    CONFIG_MAPS: "" "v1" "ConfigMap" "configmaps" ["cm"] true "configmaps" => api::core::v1::ConfigMap;
    SECRETS: "" "v1" "Secret" "secrets" [] true "secrets" => api::core::v1::Secret;
    SERVICE_ACCOUNTS: "" "v1" "ServiceAccount" "serviceaccounts" ["sa"] true "serviceaccounts"
        => api::core::v1::ServiceAccount;
    EVENTS: "" "v1" "Event" "events" ["ev"] true "events" => api::core::v1::Event;
    DEPLOYMENTS: "apps" "v1" "Deployment" "deployments" ["deploy"] true "deployments"
        => api::apps::v1::Deployment;
    REPLICA_SETS: "apps" "v1" "ReplicaSet" "replicasets" ["rs"] true "replicasets"
        => api::apps::v1::ReplicaSet;
    CONTROLLER_REVISIONS: "apps" "v1" "ControllerRevision" "controllerrevisions" [] true "controllerrevisions"
        => api::apps::v1::ControllerRevision;
    DAEMON_SETS: "apps" "v1" "DaemonSet" "daemonsets" ["ds"] true "daemonsets" => api::apps::v1::DaemonSet;
    STATEFUL_SETS: "apps" "v1" "StatefulSet" "statefulsets" ["sts"] true "statefulsets"
        => api::apps::v1::StatefulSet;
    JOBS: "batch" "v1" "Job" "jobs" [] true "jobs" => api::batch::v1::Job;
    CRON_JOBS: "batch" "v1" "CronJob" "cronjobs" ["cj"] true "cronjobs" => api::batch::v1::CronJob;
    LEASES: "coordination.k8s.io" "v1" "Lease" "leases" [] true "leases" => api::coordination::v1::Lease;
    ENDPOINT_SLICES: "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices" [] true "endpointslices"
        => api::discovery::v1::EndpointSlice;
    INGRESSES: "networking.k8s.io" "v1" "Ingress" "ingresses" ["ing"] true "ingress"
        => api::networking::v1::Ingress;
    INGRESS_CLASSES: "networking.k8s.io" "v1" "IngressClass" "ingressclasses" [] false "ingressclasses"
        => api::networking::v1::IngressClass;
    NETWORK_POLICIES: "networking.k8s.io" "v1" "NetworkPolicy" "networkpolicies" ["netpol"] true
        "networkpolicies" => api::networking::v1::NetworkPolicy;
    IP_ADDRESSES: "networking.k8s.io" "v1" "IPAddress" "ipaddresses" ["ip"] false "ipaddresses"
        => api::networking::v1::IPAddress;
    SERVICE_CIDRS: "networking.k8s.io" "v1" "ServiceCIDR" "servicecidrs" [] false "servicecidrs"
        => api::networking::v1::ServiceCIDR;
    PRIORITY_CLASSES: "scheduling.k8s.io" "v1" "PriorityClass" "priorityclasses" ["pc"] false
        "priorityclasses" => api::scheduling::v1::PriorityClass;

    NODE_INGRESSES: "knetsim.dev" "v1" "NodeIngress" "nodeingresses" ["ning"] false
        "knetsim.dev/nodeingresses" => crate::node_ingress::NodeIngress;
    VIRTUAL_IPS: "knetsim.dev" "v1" "VirtualIP" "virtualips" ["vip"] true "knetsim.dev/virtualips"
        => crate::virtual_ip::VirtualIP;

    GATEWAY_CLASSES: "gateway.networking.k8s.io" "v1" "GatewayClass" "gatewayclasses" ["gc"] false
        "gateway.networking.k8s.io/gatewayclasses" => crate::gateway::GatewayClass;
    GATEWAYS: "gateway.networking.k8s.io" "v1" "Gateway" "gateways" ["gtw"] true
        "gateway.networking.k8s.io/gateways" => crate::gateway::Gateway;
    HTTP_ROUTES: "gateway.networking.k8s.io" "v1" "HTTPRoute" "httproutes" [] true
        "gateway.networking.k8s.io/httproutes" => crate::gateway::HTTPRoute;
    GRPC_ROUTES: "gateway.networking.k8s.io" "v1" "GRPCRoute" "grpcroutes" [] true
        "gateway.networking.k8s.io/grpcroutes";
    TCP_ROUTES: "gateway.networking.k8s.io" "v1alpha2" "TCPRoute" "tcproutes" [] true
        "gateway.networking.k8s.io/tcproutes";
    REFERENCE_GRANTS: "gateway.networking.k8s.io" "v1beta1" "ReferenceGrant" "referencegrants" ["refgrant"]
        true "gateway.networking.k8s.io/referencegrants" => crate::gateway::ReferenceGrant;

    SITES: "skupper.io" "v2alpha1" "Site" "sites" ["st"] true "skupper.io/sites" => crate::skupper::Site;
    LINKS: "skupper.io" "v2alpha1" "Link" "links" ["ln"] true "skupper.io/links" => crate::skupper::Link;
    ACCESS_GRANTS: "skupper.io" "v2alpha1" "AccessGrant" "accessgrants" ["grant" "gr"] true
        "skupper.io/accessgrants" => crate::skupper::AccessGrant;
    ACCESS_TOKENS: "skupper.io" "v2alpha1" "AccessToken" "accesstokens" ["token" "to"] true
        "skupper.io/accesstokens" => crate::skupper::AccessToken;
    LISTENERS: "skupper.io" "v2alpha1" "Listener" "listeners" ["lnr"] true "skupper.io/listeners" => crate::skupper::Listener;
    MULTI_KEY_LISTENERS: "skupper.io" "v2alpha1" "MultiKeyListener" "multikeylisteners" [] true
        "skupper.io/multikeylisteners";
    CONNECTORS: "skupper.io" "v2alpha1" "Connector" "connectors" ["cnr"] true "skupper.io/connectors" => crate::skupper::Connector;
    ATTACHED_CONNECTORS: "skupper.io" "v2alpha1" "AttachedConnector" "attachedconnectors" ["acnr"] true
        "skupper.io/attachedconnectors";
    ATTACHED_CONNECTOR_BINDINGS: "skupper.io" "v2alpha1" "AttachedConnectorBinding"
        "attachedconnectorbindings" ["acnrb"] true "skupper.io/attachedconnectorbindings";
    ROUTER_ACCESSES: "skupper.io" "v2alpha1" "RouterAccess" "routeraccesses" [] true
        "skupper.io/routeraccesses";
    SECURED_ACCESSES: "skupper.io" "v2alpha1" "SecuredAccess" "securedaccesses" [] true
        "skupper.io/securedaccesses";
    CERTIFICATES: "skupper.io" "v2alpha1" "Certificate" "certificates" [] true "skupper.io/certificates";
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::Resource;

    fn agrees<K: Kind>() {
        let info = K::INFO;
        assert_eq!(
            (info.group, info.version, info.kind, info.plural, info.api_version().as_str()),
            (K::GROUP, K::VERSION, K::KIND, K::URL_PATH_SEGMENT, K::API_VERSION)
        );
    }

    #[test]
    fn the_table_agrees_with_the_types() {
        use api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core, networking::v1 as networking};
        agrees::<core::Node>();
        agrees::<core::Namespace>();
        agrees::<core::Pod>();
        agrees::<core::Service>();
        agrees::<core::Endpoints>();
        agrees::<core::ConfigMap>();
        agrees::<core::Secret>();
        agrees::<core::ServiceAccount>();
        agrees::<core::Event>();
        agrees::<apps::Deployment>();
        agrees::<apps::ReplicaSet>();
        agrees::<apps::ControllerRevision>();
        agrees::<apps::DaemonSet>();
        agrees::<apps::StatefulSet>();
        agrees::<batch::Job>();
        agrees::<batch::CronJob>();
        agrees::<api::coordination::v1::Lease>();
        agrees::<api::discovery::v1::EndpointSlice>();
        agrees::<networking::Ingress>();
        agrees::<networking::IngressClass>();
        agrees::<networking::IPAddress>();
        agrees::<networking::NetworkPolicy>();
        agrees::<crate::node_ingress::NodeIngress>();
        agrees::<crate::gateway::GatewayClass>();
        agrees::<crate::gateway::Gateway>();
        agrees::<crate::gateway::HTTPRoute>();
        agrees::<crate::gateway::ReferenceGrant>();
        agrees::<networking::ServiceCIDR>();
        agrees::<api::scheduling::v1::PriorityClass>();
        agrees::<crate::virtual_ip::VirtualIP>();
        agrees::<crate::skupper::Site>();
        agrees::<crate::skupper::Link>();
        agrees::<crate::skupper::AccessGrant>();
        agrees::<crate::skupper::AccessToken>();
        agrees::<crate::skupper::Listener>();
        agrees::<crate::skupper::Connector>();
    }

    #[test]
    fn kinds_are_found_by_every_name_that_kubectl_knows() {
        let table = [
            ("po", "Pod"),
            ("pod", "Pod"),
            ("Pods", "Pod"),
            ("pods.v1", "Pod"),
            ("pods.v1.", "Pod"),
            ("deploy", "Deployment"),
            ("deployments.apps", "Deployment"),
            ("Deployment.v1.apps", "Deployment"),
            ("svc", "Service"),
            ("ep", "Endpoints"),
            ("endpoints", "Endpoints"),
            ("endpointslices.discovery.k8s.io", "EndpointSlice"),
            ("ing", "Ingress"),
            ("httproute.gateway", "HTTPRoute"),
            ("sites.skupper.io", "Site"),
            ("routeraccess", "RouterAccess"),
        ];
        for (name, kind) in table {
            assert_eq!(by_name(name).unwrap().kind, kind, "{name}");
        }
        for name in ["", "foo", "pods.apps", "deployments.v2.apps", ".", "pods.x"] {
            assert_eq!(
                by_name(name).unwrap_err().to_string(),
                format!("the server doesn't have a resource type \"{name}\"")
            );
        }
    }

    #[test]
    fn no_two_kinds_share_a_name() {
        let mut seen = std::collections::BTreeMap::new();
        for info in KINDS {
            let names = [info.plural.to_owned(), info.singular()];
            let names: std::collections::BTreeSet<_> =
                names.into_iter().chain(info.short.iter().map(ToString::to_string)).collect();
            for name in names {
                assert_eq!(seen.insert(name.clone(), info.kind), None, "{name}");
            }
        }
        let folders: std::collections::BTreeSet<_> = KINDS.iter().map(|info| info.folder).collect();
        assert_eq!(folders.len(), KINDS.len());
    }

    #[test]
    fn documents_name_their_kind() {
        let of = |text: &str| of(&serde_json::from_str(text).unwrap()).map(|info| info.plural);
        assert_eq!(of(r#"{"apiVersion": "apps/v1", "kind": "Deployment"}"#), Ok("deployments"));
        let table = [
            (r#"{"apiVersion": "v1", "kind": "Foo"}"#, r#"no matches for kind "Foo" in version "v1""#),
            (
                r#"{"apiVersion": "apps/v2", "kind": "Deployment"}"#,
                r#"no matches for kind "Deployment" in version "apps/v2""#,
            ),
            (r#"{"apiVersion": "v1"}"#, "kind not set"),
            (r#"{"kind": "Pod"}"#, "apiVersion not set"),
        ];
        for (document, message) in table {
            assert_eq!(of(document).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn keys_are_where_the_api_server_keeps_them() {
        assert_eq!(SERVICES.key("default", "web"), "/registry/services/specs/default/web");
        assert_eq!(SERVICES.prefix(Some("default")), "/registry/services/specs/default/");
        assert_eq!(SERVICES.prefix(None), "/registry/services/specs/");
        assert_eq!(NODES.key("", "C0w1"), "/registry/minions/C0w1");
        assert_eq!(NODES.prefix(Some("default")), "/registry/minions/");
        assert_eq!(SITES.key("east", "a"), "/registry/skupper.io/sites/east/a");
        assert_eq!(DEPLOYMENTS.resource(), "deployments.apps");
        assert_eq!(PODS.resource(), "pods");
        assert_eq!(<api::core::v1::Pod as Resource>::API_VERSION, PODS.api_version());
    }
}
