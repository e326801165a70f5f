//! What the documentation shows.

use std::collections::BTreeSet;

use api::types::api::apps::v1::ReplicaSet;
use api::types::api::core::v1::{Pod, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde_json::json;
use store::registry;

use crate::lab::{Lab, nginx};
use crate::server::{Etcd, alone};

/// The pods that are ready, by the slices.
fn endpoints(slices: &[EndpointSlice]) -> BTreeSet<String> {
    let all = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = all.filter(|one| one.conditions.as_ref().unwrap().ready == Some(true));
    ready.map(|one| one.target_ref.as_ref().unwrap().name.clone().unwrap()).collect()
}

fn names(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
}

#[test]
fn a_deployment_and_its_service_come_up_and_stay_up() {
    alone(async {
        let etcd = Etcd::single().await;
        let lab = Lab::start(etcd.store().await, 3).await;
        lab.create(nginx(3)).await;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-service"},
            "spec": {
                "selector": {"app": "nginx"},
                "ports": [{"protocol": "TCP", "port": 80, "targetPort": 9376}],
            },
        });
        lab.create(service).await;
        lab.rolled_out("nginx-deployment").await;
        let three = |slices: &Vec<EndpointSlice>| endpoints(slices).len() == 3;
        lab.until("three endpoints are ready", || lab.list(), three).await;
        let has_address = |services: &Vec<Service>| {
            services[0]
                .spec
                .as_ref()
                .unwrap()
                .cluster_ip
                .as_deref()
                .is_some_and(|ip| ip.starts_with("100.64."))
        };
        lab.until("it has an address", || lab.list(), has_address).await;
        let pods: Vec<Pod> = lab.list().await;
        let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.spec.clone().unwrap().node_name).collect();
        assert_eq!(nodes.len(), 3, "each on a node of its own");

        let gone = pods[0].metadata.name.clone().unwrap();
        registry::delete::<Pod>(&lab.store, "default", &gone, &DeleteOptions::default()).await.unwrap();
        let another = |slices: &Vec<EndpointSlice>| three(slices) && !endpoints(slices).contains(&gone);
        let slices = lab.until("another one is ready", || lab.list(), another).await;
        assert_eq!(endpoints(&slices), names(&lab.list().await));

        let options =
            DeleteOptions { propagation_policy: Some("Foreground".into()), ..DeleteOptions::default() };
        let info = &api::kinds::DEPLOYMENTS;
        registry::delete_raw(&lab.store, info, "default", "nginx-deployment", &options).await.unwrap();
        lab.until("its sets are gone", || lab.list::<ReplicaSet>(), Vec::is_empty).await;
        lab.until("no endpoint is left", || lab.list(), |slices| endpoints(slices).is_empty()).await;
        assert_eq!(lab.list::<Pod>().await, []);
    });
}

#[test]
fn a_thousand_pods_come_up_each_once() {
    alone(async {
        let etcd = Etcd::single().await;
        let lab = Lab::start(etcd.store().await, 10).await;
        lab.create(nginx(1000)).await;
        lab.rolled_out("nginx-deployment").await;
        let pods: Vec<Pod> = lab.list().await;
        assert_eq!(pods.len(), 1000);
        for number in 0..10 {
            let name = format!("C0w{number}");
            let on = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(&name);
            assert_eq!(pods.iter().filter(on).count(), 100, "{name}");
        }
        lab.scale("nginx-deployment", 10).await;
        lab.rolled_out("nginx-deployment").await;
        assert_eq!(lab.list::<Pod>().await.len(), 10);
    });
}
