//! Services by number, for benches.

use std::net::Ipv4Addr;

use kubeproxy::Networks;
use kubeproxy::objects::{EndpointSlice, Service};
use kubeproxy::plan::{self, Worker};
use kubeproxy::state::{Plan, Source};
use nft::ruleset::Family;
use serde_json::{Value, json};
use store::ObjectName;

pub(crate) fn networks() -> Networks {
    Networks { pods: "11.0.0.0/8".parse().unwrap(), services: "100.64.0.0/14".parse().unwrap() }
}

pub(crate) fn worker() -> Worker {
    Worker { node: "w1".into(), zone: None, family: Family::Ip }
}

pub(crate) fn cluster_ip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 1)) + n)
}

pub(crate) fn pod_ip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(11, 10, 0, 2)) + n)
}

/// Service number `n` as it is stored.
pub(crate) fn service(n: u32) -> Value {
    let ip = cluster_ip(n);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("svc-{n}"), "namespace": "default", "uid": format!("0190a7b8-1234-7abc-8def-{n:012}"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": format!("svc-{n}")},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "selector": {"app": format!("svc-{n}")},
            "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        },
        "status": {"loadBalancer": {}},
    })
}

/// Its slice, with these of its endpoints.
pub(crate) fn slice(n: u32, endpoints: impl Iterator<Item = u32>) -> Value {
    let name = format!("svc-{n}");
    let endpoint = |k: u32| {
        json!({
            "addresses": [pod_ip(n * 10 + k)], "nodeName": format!("w{}", (3 * n + k) % 10 + 1),
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {
                "kind": "Pod", "namespace": "default", "name": format!("{name}-7f9c6d5b8-abcd{k}"),
                "uid": format!("0190a7b8-1234-7abc-8{k:03}-{n:012}"),
            },
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{name}-x5k2p"), "namespace": "default", "generation": 1,
            "uid": format!("0190a7b8-4321-7abc-8def-{n:012}"), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "kubernetes.io/service-name": name, "app": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints.map(endpoint).collect::<Vec<_>>(),
    })
}

/// What is known of a service.
pub(crate) struct Known {
    pub(crate) service: Service,
    pub(crate) slice: EndpointSlice,
}

pub(crate) fn known(n: u32, endpoints: impl Iterator<Item = u32>) -> Known {
    Known {
        service: serde_json::from_value(service(n)).unwrap(),
        slice: serde_json::from_value(slice(n, endpoints)).unwrap(),
    }
}

pub(crate) fn source(n: u32) -> Source {
    Source::Service(ObjectName::new("default", &format!("svc-{n}")))
}

pub(crate) fn planned(known: &Known) -> Plan {
    plan::service(&known.service, [&known.slice], &worker())
}
