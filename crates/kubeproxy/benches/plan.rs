//! What planning and rendering cost, without the kernel: `cargo bench -p kubeproxy --bench plan`.
#![allow(missing_docs, clippy::unwrap_used, dead_code)]

#[path = "services/objects.rs"]
mod objects;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kubeproxy::apply::messages;
use kubeproxy::ops::Op;
use kubeproxy::state::State;
use nft::Transaction;
use nft::ruleset::{Family, Table};

use objects::{known, networks, planned, source};

const MANY: u32 = 10_000;
const ENDPOINTS: u32 = 3;

fn full() -> (State, Vec<Op>) {
    let mut state = State::new(networks());
    let plans: Vec<_> = (0..MANY).map(|n| (source(n), Some(planned(&known(n, 0..ENDPOINTS))))).collect();
    let (ops, _) = state.change(plans);
    (state, ops)
}

fn all(criterion: &mut Criterion) {
    let one = known(7, 0..ENDPOINTS);
    criterion.bench_function("plan one service", |bench| bench.iter(|| planned(black_box(&one))));

    let table = Table::new(Family::Ip, "kube-proxy");
    let many: Vec<_> = (0..MANY).map(|n| known(n, 0..ENDPOINTS)).collect();
    let mut group = criterion.benchmark_group("10000 services x 3 endpoints");
    group.sample_size(10);
    group.bench_function("plan", |bench| bench.iter(|| many.iter().map(planned).collect::<Vec<_>>()));
    let plans =
        || -> Vec<_> { (0..MANY).zip(&many).map(|(n, one)| (source(n), Some(planned(one)))).collect() };
    group.bench_function("state and difference", |bench| {
        bench.iter_batched(plans, |plans| State::new(networks()).change(plans), BatchSize::LargeInput);
    });
    let (_, ops) = full();
    group.bench_function("render", |bench| {
        bench.iter(|| {
            let mut transaction = Transaction::new();
            messages(&table, "", &ops).iter().for_each(|change| transaction.push(change));
            transaction.seal()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("one endpoint changes");
    let changed = [planned(&known(7, 1..4)), planned(&known(7, 0..3))];
    for count in [100, 30_000] {
        let mut state = State::new(networks());
        state.change((0..count).map(|n| (source(n), Some(planned(&known(n, 0..ENDPOINTS))))));
        let mut turn = 0;
        group.bench_function(format!("among {count} services: plan, difference, render"), |bench| {
            bench.iter(|| {
                turn = (turn + 1) % 2;
                let (ops, _) = state.change([(source(7), Some(changed[turn].clone()))]);
                let mut transaction = Transaction::new();
                messages(&table, "", &ops).iter().for_each(|change| transaction.push(change));
                transaction.seal()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
