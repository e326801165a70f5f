//! What has been answered, counted in Prometheus' text format.
//!
//! Names and labels are those of `CoreDNS` (`plugin/metrics`), with our own prefix, so that its dashboards
//! need no more than that changed.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::wire::Transport;
use crate::zone::Realm;

/// Where a question belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Ours.
    Ours(Realm),
    /// Others'.
    Others,
    /// None that could be told.
    Unknown,
}

/// Upper bounds of the buckets, in microseconds: an answer from the index takes a few, from others some
/// thousands.
const BUCKETS: [u64; 12] = [10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000, 5_000_000];
const CODES: [&str; 8] =
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "other"];
const KINDS: [&str; 8] = ["A", "AAAA", "CNAME", "PTR", "SRV", "TXT", "SOA", "other"];
const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
const ZONES: usize = 5;

/// Counters; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    zones: [ZoneMetrics; ZONES],
    /// Packets that were no queries.
    noise: AtomicU64,
    /// Questions that were passed on, and how that ended.
    pub(crate) forwarded: AtomicU64,
    pub(crate) forward_failures: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
}

#[derive(Debug, Default)]
struct ZoneMetrics {
    requests: [[AtomicU64; KINDS.len()]; PROTOCOLS.len()],
    responses: [AtomicU64; CODES.len()],
    /// Not cumulative; the last is for all that took longer.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What is not counted but is so now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) services: usize,
    pub(crate) slices: usize,
    pub(crate) cache_entries: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) synced: bool,
}

impl Metrics {
    pub(crate) fn noise(&self) {
        add(&self.noise, 1);
    }

    /// An answer that was given.
    pub(crate) fn answered(
        &self,
        zone: Zone,
        transport: Transport,
        kind: Option<RecordType>,
        code: ResponseCode,
        took: Duration,
    ) {
        let zone = &self.zones[zone.index()];
        add(&zone.requests[usize::from(transport == Transport::Tcp)][kind_index(kind)], 1);
        add(&zone.responses[code_index(code)], 1);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&zone.nanoseconds, nanoseconds);
        let bucket = BUCKETS.iter().position(|bound| nanoseconds <= bound * 1000).unwrap_or(BUCKETS.len());
        add(&zone.buckets[bucket], 1);
    }

    /// All of it as text; `origin` is the cluster's zone.
    pub(crate) fn render(&self, origin: &str, gauges: Gauges) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text, origin, gauges);
        text
    }

    fn write(&self, text: &mut String, origin: &str, gauges: Gauges) -> std::fmt::Result {
        let names = [origin, "in-addr.arpa.", "ip6.arpa.", ".", ""];
        let zones = || names.into_iter().zip(&self.zones);
        head(text, "requests_total", "counter", "Questions, by zone, protocol and type.")?;
        for (name, zone) in zones() {
            for (protocol, kinds) in PROTOCOLS.iter().zip(&zone.requests) {
                for (kind, count) in KINDS.iter().zip(kinds).filter(|(_, count)| get(count) > 0) {
                    let labels = format!(r#"zone="{name}",proto="{protocol}",type="{kind}""#);
                    writeln!(text, "knetsim_dns_requests_total{{{labels}}} {}", get(count))?;
                }
            }
        }
        head(text, "responses_total", "counter", "Answers, by zone and code.")?;
        for (name, zone) in zones() {
            for (code, count) in CODES.iter().zip(&zone.responses).filter(|(_, count)| get(count) > 0) {
                let labels = format!(r#"zone="{name}",rcode="{code}""#);
                writeln!(text, "knetsim_dns_responses_total{{{labels}}} {}", get(count))?;
            }
        }
        head(text, "request_duration_seconds", "histogram", "How long answers took, by zone.")?;
        for (name, zone) in zones() {
            zone.write_durations(text, name)?;
        }
        for (name, help, count) in [
            ("noise_total", "Packets that were no queries.", &self.noise),
            ("forward_requests_total", "Questions that were passed on to others.", &self.forwarded),
            ("forward_failures_total", "Of these, those that nobody answered.", &self.forward_failures),
            ("cache_hits_total", "Questions for others that were known.", &self.cache_hits),
            ("cache_misses_total", "Questions for others that were not.", &self.cache_misses),
        ] {
            head(text, name, "counter", help)?;
            writeln!(text, "knetsim_dns_{name} {}", get(count))?;
        }
        for (name, help, value) in [
            ("services", "Services in the zone.", gauges.services),
            ("endpoint_slices", "Slices of endpoints in the zone.", gauges.slices),
            ("cache_entries", "Answers of others that are kept.", gauges.cache_entries),
            ("cache_bytes", "The bytes that these take.", gauges.cache_bytes),
            ("synced", "Whether the zone has been read.", gauges.synced.into()),
        ] {
            head(text, name, "gauge", help)?;
            writeln!(text, "knetsim_dns_{name} {value}")?;
        }
        Ok(())
    }
}

impl ZoneMetrics {
    fn write_durations(&self, text: &mut String, zone: &str) -> std::fmt::Result {
        let total: u64 = self.buckets.iter().map(get).sum();
        if total == 0 {
            return Ok(());
        }
        let name = "knetsim_dns_request_duration_seconds";
        let mut so_far = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.buckets) {
            so_far += get(count);
            let bound = Duration::from_micros(*bound).as_secs_f64();
            writeln!(text, r#"{name}_bucket{{zone="{zone}",le="{bound}"}} {so_far}"#)?;
        }
        writeln!(text, r#"{name}_bucket{{zone="{zone}",le="+Inf"}} {total}"#)?;
        let seconds = Duration::from_nanos(get(&self.nanoseconds)).as_secs_f64();
        writeln!(text, r#"{name}_sum{{zone="{zone}"}} {seconds}"#)?;
        writeln!(text, r#"{name}_count{{zone="{zone}"}} {total}"#)
    }
}

impl Zone {
    fn index(self) -> usize {
        match self {
            Self::Ours(Realm::Cluster) => 0,
            Self::Ours(Realm::ReverseV4) => 1,
            Self::Ours(Realm::ReverseV6) => 2,
            Self::Others => 3,
            Self::Unknown => 4,
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP knetsim_dns_{name} {help}\n# TYPE knetsim_dns_{name} {kind}")
}

fn code_index(code: ResponseCode) -> usize {
    match code {
        ResponseCode::NoError => 0,
        ResponseCode::FormErr => 1,
        ResponseCode::ServFail => 2,
        ResponseCode::NXDomain => 3,
        ResponseCode::NotImp => 4,
        ResponseCode::Refused => 5,
        ResponseCode::BADVERS => 6,
        _ => 7,
    }
}

/// The usual word for a code.
pub(crate) fn code_name(code: ResponseCode) -> &'static str {
    CODES[code_index(code)]
}

fn kind_index(kind: Option<RecordType>) -> usize {
    match kind {
        Some(RecordType::A) => 0,
        Some(RecordType::AAAA) => 1,
        Some(RecordType::CNAME) => 2,
        Some(RecordType::PTR) => 3,
        Some(RecordType::SRV) => 4,
        Some(RecordType::TXT) => 5,
        Some(RecordType::SOA) => 6,
        _ => 7,
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_prometheus_reads_it() {
        let metrics = Metrics::default();
        let ours = Zone::Ours(Realm::Cluster);
        let us = Duration::from_micros;
        let (a, txt) = (Some(RecordType::A), Some(RecordType::TXT));
        metrics.answered(ours, Transport::Udp, a, ResponseCode::NoError, us(3));
        metrics.answered(ours, Transport::Udp, a, ResponseCode::NXDomain, us(10));
        metrics.answered(ours, Transport::Tcp, txt, ResponseCode::NoError, us(60_000_000));
        metrics.answered(Zone::Others, Transport::Udp, a, ResponseCode::ServFail, us(4_000_000));
        metrics.answered(Zone::Unknown, Transport::Udp, None, ResponseCode::FormErr, us(1));
        metrics.noise();
        let gauges = Gauges { services: 2, slices: 3, cache_entries: 0, cache_bytes: 0, synced: true };
        insta::assert_snapshot!(metrics.render("cluster.local.", gauges));
    }
}
