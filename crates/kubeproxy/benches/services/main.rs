//! What services cost in the kernel and from etcd to the kernel: `scripts/bench services`, or
//! `cargo bench -p kubeproxy --bench services -- [PART]…` as root.
//!
//! Everything runs in namespaces of its own. Each row says what is compared with what, in one run on one machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, dead_code)]

mod etcd;
mod load;
mod objects;
mod traffic;
mod upstream;

use std::time::Duration;

/// Measures and prints; shortly, if only that it runs is wanted.
type Part = fn(bool);

/// Parts by name, in their order.
const PARTS: &[(&str, Part)] = &[
    ("load", load::full),
    ("update", load::update),
    ("packets", traffic::first_packet),
    ("throughput", traffic::throughput),
    ("etcd", etcd::latency),
    ("churn", etcd::churn),
    ("memory", etcd::memory),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == etcd::AGENT) {
        return etcd::agent(&arguments[1]);
    }
    // `cargo test --benches` only wants to see that it runs.
    let short = arguments.iter().any(|argument| argument == "--test");
    println!("{:<92} {:>12} {:>12} {:>8}", "SCENARIO", "ours", "other", "ratio");
    for (name, part) in PARTS {
        let asked = arguments.iter().all(|argument| argument.starts_with("--"));
        if asked || arguments.iter().any(|argument| argument == name) {
            part(short);
        }
    }
}

/// A row of the table; the ratio says how much of the other's it is.
pub(crate) fn row(what: &str, ours: impl ToString, other: Option<String>, ratio: Option<f64>) {
    let ratio = ratio.map_or("-".into(), |ratio| {
        if ratio < 0.01 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2}") }
    });
    println!("{what:<92} {:>12} {:>12} {ratio:>8}", ours.to_string(), other.unwrap_or_else(|| "-".into()));
}

/// A row of two durations.
pub(crate) fn compare(what: &str, ours: Duration, other: Duration) {
    row(what, shown(ours), Some(shown(other)), Some(ours.as_secs_f64() / other.as_secs_f64()));
}

pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}

/// The middle one, and the one below which 99 of 100 are.
pub(crate) fn median_and_p99(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
