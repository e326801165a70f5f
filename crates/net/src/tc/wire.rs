//! The options of `netem` and `tbf` as bytes.
//!
//! Structures and numbers: `linux/pkt_sched.h`. How the figures are computed: `tc/q_netem.c`,
//! `tc/q_tbf.c` and `tc/tc_core.c` of iproute2 6.1, whose messages these are, byte for byte.

use std::time::Duration;

use rtnetlink::packet_core::NlasIterator;

use crate::error::{Error, Result};

const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RTAB: u16 = 2;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;

/// `struct tc_netem_qopt`.
const NETEM_QOPT: usize = 24;

/// A packet as large as segmentation offload makes them: a veth carries those whole.
const GSO_PACKET: u64 = 64 * 1024;

/// What comes before the payload that an MTU counts: an Ethernet header with one VLAN tag.
const LINK_HEADER: u64 = 18;

/// The kernel's scheduler clock, in which old fields count time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    ticks_per_us: f64,
}

impl Clock {
    /// # Errors
    /// When `/proc/net/psched` is not there or not of its form.
    pub(super) fn read() -> Result<Self> {
        const PATH: &str = "/proc/net/psched";
        let text = std::fs::read_to_string(PATH).map_err(|e| Error::file("read", PATH, e))?;
        Self::parse(&text)
            .ok_or_else(|| Error::Other(format!("{PATH}: not of the form known: {}", text.trim())))
    }

    /// Three hexadecimal figures: ns in a us, ns in a tick, ticks of the clock in a second
    /// (`psched_show` of `net/sched/sch_api.c`; read as `tc_core_init` of iproute2 does).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut figures = text.split_whitespace().map(|word| u32::from_str_radix(word, 16).ok());
        let (t2us, us2t, resolution) = (figures.next()??, figures.next()??, figures.next()??);
        if us2t == 0 {
            return None;
        }
        // A resolution of 1 ns is told to old programs as a factor of 1000, which really is 1.
        let t2us = if resolution == 1_000_000_000 { us2t } else { t2us };
        Some(Self { ticks_per_us: f64::from(t2us) / f64::from(us2t) * (f64::from(resolution) / 1e6) })
    }

    fn ticks(&self, time: Duration) -> u32 {
        // The cast stops at the largest figure.
        (time.as_nanos() as f64 * self.ticks_per_us / 1000.0) as u32
    }

    fn time(&self, ticks: u32) -> Duration {
        Duration::from_nanos((f64::from(ticks) / self.ticks_per_us * 1000.0).round() as u64)
    }

    /// Ticks that `bytes` take at `rate` bytes a second; rounded down to whole us first, as `tc` does.
    fn transmission(&self, rate: u32, bytes: u64) -> u32 {
        let us = (1e6 * (bytes as f64 / f64::from(rate))) as u32;
        (f64::from(us) * self.ticks_per_us) as u32
    }
}

/// The options of a `netem` that delays each packet and loses `loss` percent.
pub(super) fn netem(delay: Option<Duration>, loss: Option<f64>, clock: &Clock) -> Vec<u8> {
    let delay = delay.unwrap_or_default();
    let latency = clock.ticks(delay);
    let loss = (loss.unwrap_or(0.0) / 100.0 * f64::from(u32::MAX)).round() as u32;
    let mut out = Vec::with_capacity(NETEM_QOPT + 12);
    // Gap, duplicate and jitter are not used.
    for field in [latency, queue_length(delay), loss, 0, 0, 0] {
        out.extend(field.to_ne_bytes());
    }
    // A tick is 64 ns and 2^32 of them 275 s: finer or longer delays need the newer attribute,
    // which goes before the old field (Linux 4.15).
    if clock.time(latency) != delay {
        attribute(
            &mut out,
            TCA_NETEM_LATENCY64,
            &i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes(),
        );
    }
    out
}

/// Packets that may wait: those that come in the time of the delay. The 1000 of `tc` would limit
/// the rate, too: 20 ms of 1500 byte packets to 600 Mbit/s.
fn queue_length(delay: Duration) -> u32 {
    const PER_MS: u64 = 100;
    1000 + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).saturating_mul(PER_MS).min(99_000) as u32
}

/// The options of a `tbf` that lets `rate` bit/s through, on a link with that MTU.
pub(super) fn tbf(rate: u64, mtu: u32, clock: &Clock) -> Vec<u8> {
    let rate = rate / 8;
    let (burst, limit) = bucket(rate, mtu);
    let rate32 = u32::try_from(rate).unwrap_or(u32::MAX);
    let mut parms = rate_spec(rate32);
    parms.extend([0; 12]); // no peak rate
    for field in [limit, clock.transmission(rate32, u64::from(burst)), 0] {
        parms.extend(field.to_ne_bytes());
    }
    let mut out = Vec::with_capacity(1100);
    attribute(&mut out, TCA_TBF_PARMS, &parms);
    // The kernel takes the burst in bytes from here, not the rounded time above (Linux 3.14).
    attribute(&mut out, TCA_TBF_BURST, &burst.to_ne_bytes());
    if rate > u64::from(u32::MAX) {
        attribute(&mut out, TCA_TBF_RATE64, &rate.to_ne_bytes());
    }
    // Not used since Linux 3.8, but part of the message.
    let table: Vec<u8> =
        (1..=256).flat_map(|cell| clock.transmission(rate32, cell << CELL_LOG).to_ne_bytes()).collect();
    attribute(&mut out, TCA_TBF_RTAB, &table);
    out
}

/// Rate table: one cell for each 8 bytes, as `tc` chooses for its default MTU of 2047.
const CELL_LOG: u8 = 3;

/// `struct tc_ratespec`: size of a cell, Ethernet, no overhead, alignment -1, no minimum, the rate.
fn rate_spec(rate: u32) -> Vec<u8> {
    let mut out = vec![CELL_LOG, 1, 0, 0, 0xff, 0xff, 0, 0];
    out.extend(rate.to_ne_bytes());
    out
}

/// Depth of the bucket and length of the queue, in bytes, for a rate in bytes a second.
///
/// The bucket is what a packet flow may send at once after a pause. It holds two large packets, so
/// that they need not be cut, and what comes between two ticks of the kernel (4 ms at 250 Hz).
/// A slow link gets less, 50 ms of its rate, or else a short transfer would not notice the limit;
/// the kernel then cuts larger packets (`tbf_segment`), but each must still fit.
/// The queue adds 50 ms, as much as a router has, and never less than three large packets.
fn bucket(rate: u64, mtu: u32) -> (u32, u32) {
    let ms = |n: u64| u64::try_from(u128::from(rate) * u128::from(n) / 1000).unwrap_or(u64::MAX);
    let least = 2 * (u64::from(mtu) + LINK_HEADER);
    let burst = ms(4).max(ms(50).min(2 * GSO_PACKET)).max(least);
    let limit = burst.saturating_add(ms(50)).max(3 * GSO_PACKET);
    let cap = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
    (cap(burst), cap(limit))
}

/// Delay and loss (percent) of a `netem`; nothing when it is shorter than its structure.
pub(super) fn read_netem(options: &[u8], clock: &Clock) -> Option<(Option<Duration>, Option<f64>)> {
    let mut delay = clock.time(u32_at(options, 0)?);
    let loss = f64::from(u32_at(options, 8)?) / f64::from(u32::MAX) * 100.0;
    if let Some(exact) = find(options.get(NETEM_QOPT..)?, TCA_NETEM_LATENCY64) {
        let ns = i64::from_ne_bytes(exact.try_into().ok()?);
        delay = Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    }
    // Six digits are what a 32 bit fraction is good for: 5 % are 5 again, not 5.0000000058.
    let loss = (loss * 1e6).round() / 1e6;
    Some(((!delay.is_zero()).then_some(delay), (loss != 0.0).then_some(loss)))
}

/// Rate of a `tbf`, in bit/s.
pub(super) fn read_tbf(options: &[u8]) -> Option<u64> {
    let rate = match find(options, TCA_TBF_RATE64) {
        Some(rate) => u64::from_ne_bytes(rate.try_into().ok()?),
        None => u64::from(u32_at(&find(options, TCA_TBF_PARMS)?, 8)?),
    };
    Some(rate.saturating_mul(8))
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // All values here are short and a multiple of four: no padding.
    out.extend((value.len() as u16 + 4).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
}

fn find(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == kind).map(|nla| nla.value().to_vec())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::parse("000003e8 00000040 000f4240 3b9aca00").unwrap()
    }

    #[test]
    fn the_clock_is_read_as_tc_reads_it() {
        assert_eq!(clock().ticks_per_us, 15.625);
        // Without high resolution timers, and from before Linux 2.6.22.
        assert_eq!(Clock::parse("3b9aca00 3b9aca00 3b9aca00 000000fa").unwrap().ticks_per_us, 1000.0);
        assert!(Clock::parse("3e8 0 f4240 0").is_none());
        assert!(Clock::parse("3e8 40").is_none());
    }

    #[test]
    fn delays_that_ticks_cannot_tell_come_back_exact() {
        for delay in [Duration::from_nanos(1), Duration::from_nanos(20_500_001), Duration::from_secs(3600)] {
            let options = netem(Some(delay), None, &clock());
            // struct nlattr, then a signed 64 bit figure
            assert_eq!(options[NETEM_QOPT..NETEM_QOPT + 4], [12, 0, 10, 0], "{delay:?}");
            assert_eq!(read_netem(&options, &clock()), Some((Some(delay), None)));
        }
        assert_eq!(netem(Some(Duration::from_micros(64)), None, &clock()).len(), NETEM_QOPT);
    }

    #[test]
    fn buckets_are_deep_enough_for_large_packets_and_no_deeper_on_slow_links() {
        let gso = 64 * 1024;
        for (bits, mtu, want) in [
            (64_000, 1500, (3036, 3 * gso)),
            (1_000_000, 1500, (6250, 3 * gso)),
            (1_000_000, 65_535, (131_106, 3 * gso)),
            (10_000_000, 1500, (62_500, 3 * gso)),
            (100_000_000, 1500, (2 * gso, 2 * gso + 625_000)),
            (10_000_000_000, 1500, (5_000_000, 67_500_000)),
            (u64::MAX, 1500, (u32::MAX, u32::MAX)),
        ] {
            assert_eq!(bucket(bits / 8, mtu), want, "{bits} bit/s");
        }
    }

    #[test]
    fn an_answer_cut_short_is_none() {
        assert_eq!(read_netem(&netem(None, Some(1.0), &clock())[..20], &clock()), None);
        assert_eq!(read_tbf(&tbf(1_000_000, 1500, &clock())[..12]), None);
    }
}
