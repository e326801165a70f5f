//! Loading a table, and changing one endpoint.

use std::process::Command;
use std::time::{Duration, Instant};

use kubeproxy::Result;
use kubeproxy::apply::{Kernel, Netlink};
use kubeproxy::ops::{Elements, Observed, Op};
use kubeproxy::proxy::Proxy;
use kubeproxy::state::State;
use net::NetNs;
use nft::conntrack::Flow;
use nft::ruleset::Family;
use testkit::netns;

use crate::objects::{Known, known, networks, planned, source};
use crate::{compare, median_and_p99, shown, upstream};

const ENDPOINTS: u32 = 3;

/// The kernel, and how long its transactions took.
pub(crate) struct Timed {
    kernel: Netlink,
    pub(crate) took: Vec<Duration>,
}

impl Kernel for Timed {
    fn observe(&mut self, wanted: &kubeproxy::Structure) -> Result<Option<Observed>> {
        self.kernel.observe(wanted)
    }

    fn elements(&mut self, map: &str) -> Result<Elements> {
        self.kernel.elements(map)
    }

    fn commit(&mut self, ops: &[Op]) -> Result<u32> {
        let began = Instant::now();
        let count = self.kernel.commit(ops);
        self.took.push(began.elapsed());
        count
    }

    fn generation(&mut self) -> Result<u32> {
        self.kernel.generation()
    }

    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>> {
        self.kernel.flows(protocol)
    }

    fn forget(&mut self, flow: &Flow) -> Result<()> {
        self.kernel.forget(flow)
    }
}

pub(crate) fn proxy(ns: &NetNs) -> Proxy<Timed> {
    let kernel = ns.run(|| Ok::<_, net::Error>(Netlink::open(Family::Ip, "w1"))).unwrap().unwrap();
    let kernel = Timed { kernel, took: Vec::new() };
    Proxy::new(kernel, State::new(networks()), "10.0.0.3".parse().unwrap())
}

pub(crate) fn all(services: u32) -> Vec<Known> {
    (0..services).map(|n| known(n, 0..ENDPOINTS)).collect()
}

/// From objects to a table in the kernel: the namespace, how long it all took, and how long what `nft -f` does, too: from
/// the ruleset to the kernel.
fn ours(objects: &[Known]) -> (NetNs, Duration, Duration) {
    let ns = netns();
    let mut proxy = proxy(&ns);
    let began = Instant::now();
    proxy.load((0..).zip(objects).map(|(n, known)| (source(n), planned(known)))).unwrap();
    let whole = began.elapsed();
    let rendered_and_committed = proxy.kernel().took[0];
    (ns, whole, rendered_and_committed)
}

fn nft(ns: &NetNs, arguments: &[&str]) -> Vec<u8> {
    let output =
        ns.run(|| Ok::<_, net::Error>(Command::new("nft").args(arguments).output().unwrap())).unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn load_text(text: &[u8]) -> Duration {
    let ns = netns();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let began = Instant::now();
    nft(&ns, &["-f", file.path().to_str().unwrap()]);
    began.elapsed()
}

pub(crate) fn full(short: bool) {
    let (many, few, rounds) = if short { (200, 50, 1) } else { (10_000, 3000, 3) };
    let objects = all(many);
    let (ns, ..) = ours(&objects);
    let listing = nft(&ns, &["list", "ruleset"]);
    let rounds: Vec<_> = (0..rounds)
        .map(|_| {
            // As long as the others take, something else comes between; so it has several goes.
            let goes: Vec<_> =
                (0..5).map(|_| ours(&objects)).map(|(_, whole, kernel)| (whole, kernel)).collect();
            let whole = goes.iter().map(|go| go.0).min().unwrap();
            let kernel = goes.iter().map(|go| go.1).min().unwrap();
            (whole, kernel, load_text(&listing), load_text(upstream::ruleset(few, ENDPOINTS).as_bytes()))
        })
        .collect();
    let best =
        |of: fn(&(Duration, Duration, Duration, Duration)) -> Duration| rounds.iter().map(of).min().unwrap();
    let (whole, kernel, text, upstream) = (best(|r| r.0), best(|r| r.1), best(|r| r.2), best(|r| r.3));
    let what = format!(
        "{many} services x {ENDPOINTS} endpoints, rendered and loaded; the same table as text by nft -f"
    );
    compare(&what, kernel, text);
    let factor = f64::from(many) / f64::from(few);
    let expected = upstream.mul_f64(factor * factor);
    let layout =
        format!("the real kube-proxy's layout by nft -f, {} at {few}, grown by the square", shown(upstream));
    compare(&format!("the same; {layout}"), kernel, expected);
    compare("the same with planning; the same", whole, expected);
}

/// What it takes to change one of a service's endpoints, all in all and in the kernel.
fn changes(services: u32, rounds: usize) -> ((Duration, Duration), (Duration, Duration)) {
    let ns = netns();
    let mut proxy = proxy(&ns);
    let objects = all(services);
    proxy.load((0..).zip(&objects).map(|(n, known)| (source(n), planned(known)))).unwrap();
    let turns = [known(7, 1..4), known(7, 0..3)];
    proxy.kernel().took.clear();
    let mut whole = Vec::new();
    for round in 0..rounds {
        let began = Instant::now();
        let plan = planned(&turns[round % 2]);
        let ops = proxy.change([(source(7), Some(plan))]).unwrap().ops;
        assert!((1..4).contains(&ops), "{ops}");
        whole.push(began.elapsed());
    }
    let kernel = std::mem::take(&mut proxy.kernel().took);
    (median_and_p99(whole), median_and_p99(kernel))
}

pub(crate) fn update(short: bool) {
    let (few, many, rounds) = if short { (50, 200, 10) } else { (100, 30_000, 4000) };
    let (small, large) = (changes(few, rounds), changes(many, rounds));
    let what = format!("one endpoint changes among {many} services, kernel transaction, median; among {few}");
    compare(&what, large.1.0, small.1.0);
    let what = format!("the same, p99; among {few}");
    compare(&what, large.1.1, small.1.1);
    let what = format!("the same with planning and looking at the generation, median; among {few}");
    compare(&what, large.0.0, small.0.0);
}
