//! How long it takes to place pods: 1,000 of one application on 100 nodes of three zones, one after another.

#![allow(missing_docs, clippy::unwrap_used)]

use api::Selector;
use api::types::api::core::v1::{Node, Pod};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use scheduler::Picture;
use serde_json::{Value, json};

const NODES: usize = 100;
const PODS: usize = 1000;

fn node(number: usize) -> Node {
    let name = format!("n{number:03}");
    let labels =
        json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{}", number % 3)});
    let allocatable = json!({"cpu": "16", "memory": "64Gi", "pods": "110"});
    let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
    serde_json::from_value(node).unwrap()
}

fn pod(number: usize, spec: &Value) -> Pod {
    let mut spec = spec.clone();
    let requests = json!({"cpu": "100m", "memory": "64Mi"});
    spec["containers"] = json!([{"name": "main", "resources": {"requests": requests}}]);
    let name = format!("web-{number}");
    let metadata = json!({"name": name, "namespace": "default", "labels": {"app": "web"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn place(criterion: &mut Criterion) {
    let meant = json!({"matchLabels": {"app": "web"}});
    let zone = "topology.kubernetes.io/zone";
    let spread = json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": zone, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": meant},
    ]});
    let term = json!({"labelSelector": meant, "topologyKey": "kubernetes.io/hostname"});
    let apart = json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": term},
    ]}}});
    let cases = [
        ("alone", json!({}), ""),
        ("one application", json!({}), "app=web"),
        ("spread over zones", spread, "app=web"),
        ("rather apart", apart, "app=web"),
    ];
    let mut group = criterion.benchmark_group("1,000 pods on 100 nodes");
    group.sample_size(10);
    for (name, spec, application) in cases {
        let application: Selector = application.parse().unwrap();
        let pods: Vec<_> = (0..PODS).map(|number| pod(number, &spec)).collect();
        let empty = || {
            let mut picture = Picture::default();
            (0..NODES).for_each(|number| picture.set_node(node(number)));
            (picture, pods.clone())
        };
        let fill = |(mut picture, pods): (Picture, Vec<Pod>)| {
            for pod in pods {
                picture.place(pod, &application).unwrap();
            }
            picture
        };
        group.bench_function(name, |bencher| bencher.iter_batched(empty, fill, BatchSize::LargeInput));
    }
    group.finish();
}

criterion_group!(benches, place);
criterion_main!(benches);
