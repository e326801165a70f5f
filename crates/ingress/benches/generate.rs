//! What it costs to make nginx's configuration from objects: `cargo bench -p ingress --bench generate`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;

use api::types::api::core::v1::Service;
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::Ingress;
use criterion::{Criterion, criterion_group, criterion_main};
use ingress::plan::plan;
use ingress::render::{Setup, render};
use ingress::{Cluster, Except, Settings};
use serde_json::{Value, json};
use store::{Object, ObjectName, Objects};

const INGRESSES: usize = 1000;
const PATHS: usize = 10;

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn ingress(n: usize) -> Value {
    let path = |i: usize| {
        json!({"path": format!("/path{i}"), "pathType": "Prefix",
               "backend": {"service": {"name": format!("web-{n}"), "port": {"number": 80}}}})
    };
    let paths: Vec<_> = (0..PATHS).map(path).collect();
    json!({"metadata": meta(&format!("site-{n}")),
           "spec": {"rules": [{"host": format!("site-{n}.example.com"), "http": {"paths": paths}}]}})
}

fn service(n: usize) -> Value {
    json!({"metadata": meta(&format!("web-{n}")),
           "spec": {"clusterIP": "100.64.0.9", "ports": [{"name": "http", "port": 80}]}})
}

fn slice(n: usize) -> Value {
    let endpoint = |k: usize| {
        json!({"addresses": [format!("11.{}.{}.{k}", n / 250, n % 250)], "conditions": {"ready": true},
               "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("web-{n}-{k}")}})
    };
    let mut meta = meta(&format!("web-{n}-x"));
    meta["labels"] = json!({"kubernetes.io/service-name": format!("web-{n}")});
    json!({"metadata": meta, "addressType": "IPv4", "ports": [{"name": "http", "port": 8000}],
           "endpoints": (1..=3).map(endpoint).collect::<Vec<_>>()})
}

fn all<K: Object + serde::de::DeserializeOwned>(make: impl Fn(usize) -> Value) -> Arc<Objects<K>> {
    let objects = (0..INGRESSES).map(|n| {
        let mut document = make(n);
        document["apiVersion"] = K::API_VERSION.into();
        document["kind"] = K::KIND.into();
        let object: K = serde_json::from_value(document).unwrap();
        (ObjectName::of(object.metadata()), Arc::new(object))
    });
    Arc::new(objects.collect())
}

fn generate(criterion: &mut Criterion) {
    let cluster = Cluster {
        ingresses: all::<Ingress>(ingress),
        services: all::<Service>(service),
        slices: all::<EndpointSlice>(slice),
        ..Cluster::default()
    };
    let (settings, except, setup) = (Settings::new("C0w1"), Except::default(), Setup::default());
    let planned = plan(&cluster, &settings, &except);
    assert_eq!(
        planned.routes.iter().filter(|route| route.host.starts_with("site-")).count(),
        INGRESSES * PATHS
    );
    assert!(planned.problems.is_empty());
    let mut group = criterion.benchmark_group("1,000 ingresses of 10 paths");
    group.sample_size(20);
    group.bench_function("plan", |bencher| bencher.iter(|| plan(black_box(&cluster), &settings, &except)));
    group.bench_function("render", |bencher| bencher.iter(|| render(black_box(&planned.model), &setup)));
    group.bench_function("both", |bencher| {
        bencher.iter(|| render(&plan(black_box(&cluster), &settings, &except).model, &setup));
    });
    group.finish();
}

criterion_group!(benches, generate);
criterion_main!(benches);
