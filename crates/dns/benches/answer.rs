//! What an answer costs, without packets: `cargo bench -p dns --bench answer`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dns::zone::{EndpointSlice, Index, Namespace, Service};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

const SERVICES: usize = 10_000;

fn service(n: usize) -> Service {
    let ip = format!("100.64.{}.{}", n / 250, n % 250 + 1);
    // Every hundredth is headless.
    let ip = if n.is_multiple_of(100) { "None".to_owned() } else { ip };
    let object = json!({
        "metadata": {"name": format!("service-{n}"), "namespace": "default"},
        "spec": {"clusterIPs": [ip], "ports": [{"name": "http", "protocol": "TCP", "port": 80}]},
    });
    serde_json::from_value(object).unwrap()
}

fn slice(n: usize, first: u8) -> EndpointSlice {
    let endpoints: Vec<_> = (first..first + 3)
        .map(|k| json!({"addresses": [format!("11.{}.{}.{k}", n / 250, n % 250)], "conditions": {"ready": true}}))
        .collect();
    let object = json!({
        "metadata": {"name": format!("service-{n}-x"), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": format!("service-{n}")}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8000}],
        "endpoints": endpoints,
    });
    serde_json::from_value(object).unwrap()
}

fn answers(criterion: &mut Criterion) {
    let mut index = Index::new("cluster.local", &[]).unwrap();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    index.put_namespace(&namespace);
    for n in 0..SERVICES {
        index.put_service(&service(n));
        index.put_slice(&slice(n, 1));
    }
    let mut group = criterion.benchmark_group("10,000 services");
    for (what, name, kind) in [
        ("an address", "service-4321.default.svc.cluster.local.", RecordType::A),
        ("no address of the other family", "service-4321.default.svc.cluster.local.", RecordType::AAAA),
        ("no such name", "service-x.default.svc.cluster.local.", RecordType::A),
        ("a search domain in vain", "www.example.com.default.svc.cluster.local.", RecordType::A),
        ("three endpoints", "service-4300.default.svc.cluster.local.", RecordType::A),
        ("three endpoints' ports", "_http._tcp.service-4300.default.svc.cluster.local.", RecordType::SRV),
        ("an address backwards", "72.17.64.100.in-addr.arpa.", RecordType::PTR),
        ("a name of others", "www.example.com.", RecordType::A),
    ] {
        let name = Name::from_ascii(name).unwrap();
        group.bench_function(what, |bencher| bencher.iter(|| index.answer(black_box(&name), kind)));
    }
    let (one, other) = (slice(4321, 1), slice(4321, 5));
    group.bench_function("a slice that changes, and back", |bencher| {
        bencher.iter(|| index.put_slice(black_box(&other)) && index.put_slice(black_box(&one)));
    });
    group.finish();
}

criterion_group!(benches, answers);
criterion_main!(benches);
