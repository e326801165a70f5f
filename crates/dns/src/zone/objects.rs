//! What the zone needs of Services, EndpointSlices and Namespaces.
//!
//! They are read from the same keys as the whole objects, but leave out what has no part in a name: ten
//! thousand whole ones would take more memory than the rest of the server.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::keys::Kind;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::types::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use api::{KindInfo, kinds};
use serde::{Deserialize, Deserializer, Serialize};

/// The label that tells to which service a slice belongs.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service: its names and where they lead.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name and namespace, nothing else.
    #[serde(default, deserialize_with = "names")]
    pub metadata: ObjectMeta,
    /// What it is.
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// What a Service is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` if nothing is said.
    pub r#type: Option<String>,
    /// The first of `cluster_ips`; `None` (the word) of a headless service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// Its addresses, one a family.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Option<Vec<String>>,
    /// Where an `ExternalName` leads.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Option<Vec<Port>>,
}

/// A port, of a Service or of an EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// May be missing or empty.
    pub name: Option<String>,
    /// `TCP` if nothing is said.
    pub protocol: Option<String>,
    /// None in a slice whose endpoints have all ports.
    pub port: Option<i64>,
}

/// An EndpointSlice: addresses behind a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Its name and namespace and the name of its service.
    #[serde(default, deserialize_with = "names")]
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`; names do not lead to the last.
    #[serde(default)]
    pub address_type: String,
    /// The ports of its endpoints.
    pub ports: Option<Vec<Port>>,
    /// The endpoints.
    pub endpoints: Option<Vec<Endpoint>>,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its addresses, which are the same for all that ask.
    pub addresses: Option<Vec<String>>,
    /// Whether it takes requests.
    pub conditions: Option<Conditions>,
    /// Its own name within the service, if it has one.
    pub hostname: Option<String>,
}

/// How an endpoint is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Ready if nothing is said.
    pub ready: Option<bool>,
}

/// A Namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    #[serde(default, deserialize_with = "names")]
    pub metadata: ObjectMeta,
}

impl Service {
    /// Where names of an `ExternalName` lead.
    pub(super) fn external(&self) -> Option<&str> {
        let external = self.spec.r#type.as_deref() == Some("ExternalName");
        external.then(|| self.spec.external_name.as_deref().unwrap_or_default())
    }

    /// Whether its names lead to its endpoints.
    pub(super) fn is_headless(&self) -> bool {
        let first = self.spec.cluster_ips.as_deref().unwrap_or_default().first();
        first.or(self.spec.cluster_ip.as_ref()).is_some_and(|ip| ip == "None")
    }

    /// Its addresses; none if it has not been given any yet.
    pub(super) fn addresses(&self) -> Box<[IpAddr]> {
        let all = self.spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
        let all = all.unwrap_or(self.spec.cluster_ip.as_slice());
        all.iter().filter_map(|ip| ip.parse().ok()).collect()
    }
}

impl EndpointSlice {
    /// The name of its service, in the same namespace.
    pub(super) fn service(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
    }
}

/// The part of an object's metadata that is in use.
#[derive(Deserialize)]
struct Names {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Names { name, namespace, labels } = Names::deserialize(deserializer)?;
    let labels = labels.and_then(|mut labels| labels.remove_entry(SERVICE_NAME));
    Ok(ObjectMeta { name, namespace, labels: labels.map(|label| [label].into()), ..ObjectMeta::default() })
}

macro_rules! stored {
    ($type:ty, $info:path, $whole:ty, $scope:ty) => {
        impl Resource for $type {
            const API_VERSION: &'static str = <$whole>::API_VERSION;
            const GROUP: &'static str = <$whole>::GROUP;
            const KIND: &'static str = <$whole>::KIND;
            const VERSION: &'static str = <$whole>::VERSION;
            const URL_PATH_SEGMENT: &'static str = <$whole>::URL_PATH_SEGMENT;
            type Scope = $scope;
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

        impl Kind for $type {
            const INFO: &'static KindInfo = &$info;
        }
    };
}

stored!(Service, kinds::SERVICES, api::types::api::core::v1::Service, NamespaceResourceScope);
stored!(
    EndpointSlice,
    kinds::ENDPOINT_SLICES,
    api::types::api::discovery::v1::EndpointSlice,
    NamespaceResourceScope
);
stored!(Namespace, kinds::NAMESPACES, api::types::api::core::v1::Namespace, ClusterResourceScope);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_objects_are_read_and_most_of_them_left_out() {
        let mut whole: api::types::api::discovery::v1::EndpointSlice = serde_yaml::from_str(
            r#"
metadata:
  {name: web-1, namespace: shop, uid: a-b, labels: {app: web, kubernetes.io/service-name: web},
   managedFields: [{manager: m, fieldsV1: {f:ports: {}}}]}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 8000, appProtocol: http}]
endpoints: [{addresses: [11.10.0.2], conditions: {ready: true, serving: true}, nodeName: C0w1}]
"#,
        )
        .unwrap();
        let slice: EndpointSlice = serde_json::from_value(serde_json::to_value(&whole).unwrap()).unwrap();
        assert_eq!(slice.service(), Some("web"));
        assert_eq!(slice.metadata.labels.as_ref().map(BTreeMap::len), Some(1));
        assert_eq!(slice.endpoints.as_ref().unwrap()[0].conditions.as_ref().unwrap().ready, Some(true));
        assert_eq!(slice.metadata.managed_fields, None);
        whole.ports = None;
        let slice: EndpointSlice = serde_json::from_value(serde_json::to_value(&whole).unwrap()).unwrap();
        assert_eq!(slice.ports, None);
    }

    #[test]
    fn an_object_of_which_no_more_than_the_name_is_known_is_one_too() {
        let service: Service =
            serde_json::from_str(r#"{"metadata": {"name": "web", "namespace": "shop"}}"#).unwrap();
        assert_eq!((service.external(), service.is_headless(), service.addresses().len()), (None, false, 0));
    }
}
