//! Clusters for tests, from documents.

use std::sync::Arc;

use api::admit::{self, Stamp};
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::types::jiff::Timestamp;
use api::{Kind, kinds};
use serde_json::{Value, json};
use store::{ObjectName, Objects};

use crate::plan::Cluster;

/// A cluster with the objects of some YAML documents, each a second older than the next.
pub(crate) fn cluster(documents: &str) -> Cluster {
    let mut cluster = Cluster::default();
    for (i, text) in documents.split("\n---\n").filter(|text| !text.trim().is_empty()).enumerate() {
        let document: Value = serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        add(&mut cluster, document, i);
    }
    cluster
}

/// Adds an object as the API server would, made in that second.
pub(crate) fn add(cluster: &mut Cluster, mut document: Value, second: usize) {
    let info = kinds::of(&document).unwrap();
    if info.namespaced && document["metadata"]["namespace"].is_null() {
        document["metadata"]["namespace"] = "default".into();
    }
    let now = Time(Timestamp::from_second(1_700_000_000 + i64::try_from(second).unwrap()).unwrap());
    let stamp = Stamp { uid: format!("uid-{second}"), now };
    let object = admit::create_any(info, &document, &stamp).unwrap_or_else(|e| panic!("{e}"));
    let name = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let name = ObjectName::new(&name("namespace"), &name("name"));
    match info.kind {
        "Ingress" => put(&mut cluster.ingresses, name, object),
        "IngressClass" => put(&mut cluster.classes, name, object),
        "NodeIngress" => put(&mut cluster.node_ingresses, name, object),
        "Service" => put(&mut cluster.services, name, object),
        "EndpointSlice" => put(&mut cluster.slices, name, object),
        "Secret" => put(&mut cluster.secrets, name, object),
        "GatewayClass" => put(&mut cluster.gateway_classes, name, object),
        "Gateway" => put(&mut cluster.gateways, name, object),
        "HTTPRoute" => put(&mut cluster.http_routes, name, object),
        "ReferenceGrant" => put(&mut cluster.grants, name, object),
        "Namespace" => put(&mut cluster.namespaces, name, object),
        kind => panic!("no place for a {kind}"),
    }
}

fn put<K: Kind + serde::de::DeserializeOwned + Clone>(
    objects: &mut Arc<Objects<K>>,
    name: ObjectName,
    object: Value,
) {
    Arc::make_mut(objects).insert(name, Arc::new(serde_json::from_value(object).unwrap()));
}

/// A service with a port and ready endpoints, which are pods `<name>-0`, `<name>-1`, ….
pub(crate) fn service(cluster: &mut Cluster, name: &str, port: u16, addresses: &[&str]) {
    let endpoints: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(i, address)| {
            json!({"addresses": [address], "conditions": {"ready": true},
                   "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("{name}-{i}")}})
        })
        .collect();
    let meta = |name: &str| json!({"name": name, "namespace": "default"});
    add(
        cluster,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(name),
               "spec": {"clusterIP": "100.64.0.9", "clusterIPs": ["100.64.0.9"],
                        "ports": [{"port": port, "name": "http", "targetPort": 8000}]}}),
        0,
    );
    let mut slice_meta = meta(&format!("{name}-abcde"));
    slice_meta["labels"] = json!({"kubernetes.io/service-name": name});
    add(
        cluster,
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice_meta,
               "addressType": "IPv4", "endpoints": endpoints,
               "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}]}),
        0,
    );
}
