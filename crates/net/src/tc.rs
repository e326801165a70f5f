//! Impaired links: queueing disciplines that limit, delay or lose what a link sends.
//!
//! A discipline works on what *leaves* its link: to impair a cable both ways, shape both of its
//! ends. Two disciplines do the work, both by raw attributes, as rtnetlink has no types for them:
//! `tbf`, a token bucket, limits the rate; `netem` delays and loses. Not every kernel has both:
//! [`Links::has_qdisc`] asks.
//!
//! Layout on a link: `tbf` alone is root `2:`; `netem` is root `1:`, with `tbf` below it, as `10:`
//! on class `1:1`, where a rate is wanted too. The two roots differ in their handle, because the
//! kernel refuses another kind under a handle in use, but replaces one handle by another at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla,
};

use crate::error::{Error, Result};
use crate::links::{Link, Links, VethEnd};

#[cfg(test)]
mod tests;
mod wire;

/// Attribute of a `tcmsg` that holds what only the discipline understands (`linux/rtnetlink.h`).
const TCA_OPTIONS: u16 = 2;

const NETEM: &str = "netem";
const TBF: &str = "tbf";

const NETEM_HANDLE: TcHandle = TcHandle { major: 1, minor: 0 };
const NETEM_CLASS: TcHandle = TcHandle { major: 1, minor: 1 };
const TBF_HANDLE: TcHandle = TcHandle { major: 2, minor: 0 };
const TBF_CHILD_HANDLE: TcHandle = TcHandle { major: 0x10, minor: 0 };

/// How a link is impaired in what it sends. The default is: not at all.
///
/// A delay or a loss of nought is the same as none. What the kernel keeps is slightly rounded: the
/// rate to 8 bit/s, the loss to 2^-32.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shape {
    /// Limit of the throughput, in bit/s, Ethernet header included; at least 8.
    pub rate: Option<u64>,
    /// Time that each packet waits. It comes before the limit of the rate.
    pub delay: Option<Duration>,
    /// Share of the packets that are lost, in percent, 0 to 100.
    pub loss: Option<f64>,
}

impl Shape {
    /// Without what does nothing.
    fn normal(self) -> Self {
        Self {
            rate: self.rate,
            delay: self.delay.filter(|delay| !delay.is_zero()),
            loss: self.loss.filter(|&loss| loss != 0.0),
        }
    }

    fn check(&self, link: &str) -> Result<()> {
        if let Some(rate @ 0..8) = self.rate {
            return Err(Error::Other(format!(
                "rate of {rate} bit/s for link {link}: less than a byte a second"
            )));
        }
        match self.loss {
            Some(loss) if !(0.0..=100.0).contains(&loss) => {
                Err(Error::Other(format!("loss of {loss} % for link {link}: not within 0 to 100")))
            }
            _ => Ok(()),
        }
    }
}

/// A discipline as the kernel lists it.
#[derive(Debug, Clone, PartialEq)]
struct Qdisc {
    kind: String,
    /// Nought for the kernel's own default, which cannot be deleted.
    handle: TcHandle,
    parent: TcHandle,
    options: Vec<u8>,
}

/// One request to the kernel.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Back to the kernel's default.
    DeleteRoot,
    /// Adds a discipline, or changes it in place.
    Put { parent: TcHandle, handle: TcHandle, what: Discipline },
}

/// A discipline that is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Discipline {
    Netem { delay: Option<Duration>, loss: Option<f64> },
    Tbf { rate: u64 },
}

impl Discipline {
    fn kind(self) -> &'static str {
        match self {
            Self::Netem { .. } => NETEM,
            Self::Tbf { .. } => TBF,
        }
    }

    fn options(self, mtu: u32, clock: &wire::Clock) -> Vec<u8> {
        match self {
            Self::Netem { delay, loss } => wire::netem(delay, loss, clock),
            Self::Tbf { rate } => wire::tbf(rate, mtu, clock),
        }
    }
}

impl Links {
    /// Replaces the root discipline of a link, so that the link is impaired as `shape` says;
    /// an empty shape takes `tbf` and `netem` off, whoever put them there, and lets others be.
    ///
    /// A change of figures is made in place, without loss of what is queued. Use [`Links::shape`] to
    /// see what came of it.
    ///
    /// # Errors
    /// [`Error::NoLink`]; [`Error::Unsupported`] where the kernel lacks the discipline that it takes;
    /// [`Error::Other`] for figures out of range. The link then keeps the shape that it had from here,
    /// but for a rate that fails after its delay or loss was set; a discipline of someone else that
    /// stood in the way, under a handle that is needed, may be gone.
    pub async fn set_shape(&self, link: &str, shape: &Shape) -> Result<()> {
        shape.check(link)?;
        let shape = shape.normal();
        let found = self.get(link).await?;
        let clock = wire::Clock::read()?;
        for step in plan(&self.qdiscs(&found).await?, &shape) {
            match step {
                Step::DeleteRoot => self.delete_root(&found).await?,
                Step::Put { parent, handle, what } => {
                    let options = what.options(found.mtu, &clock);
                    self.put(put_message(found.index, parent, handle, what.kind(), options))
                        .await
                        .map_err(|e| refused(what.kind(), link, e))?;
                }
            }
        }
        Ok(())
    }

    /// How a link is impaired now, by the kernel's own account: the `tbf` and `netem` found on it.
    ///
    /// # Errors
    /// [`Error::NoLink`]; [`Error::Other`] when the kernel's answer is cut short.
    pub async fn shape(&self, link: &str) -> Result<Shape> {
        let found = self.get(link).await?;
        let clock = wire::Clock::read()?;
        let mut shape = Shape::default();
        for qdisc in self.qdiscs(&found).await? {
            let cut =
                || Error::Other(format!("discipline {} of link {link}: the answer is cut short", qdisc.kind));
            match qdisc.kind.as_str() {
                NETEM => {
                    let (delay, loss) = wire::read_netem(&qdisc.options, &clock).ok_or_else(cut)?;
                    shape.delay = delay;
                    shape.loss = loss;
                }
                TBF => shape.rate = Some(wire::read_tbf(&qdisc.options).ok_or_else(cut)?),
                _ => {}
            }
        }
        Ok(shape)
    }

    /// Whether the kernel has a discipline, as `netem`: tried on a veth pair that is made for it in
    /// this namespace and deleted afterwards (about 20 ms).
    ///
    /// # Errors
    /// When the pair cannot be made or deleted, or the kernel refuses for another reason.
    pub async fn has_qdisc(&self, kind: &str) -> Result<bool> {
        // Two probes may run at once in one namespace, from one process or from two.
        static PROBES: AtomicU32 = AtomicU32::new(0);
        let tag = std::process::id().wrapping_mul(1000).wrapping_add(PROBES.fetch_add(1, Ordering::Relaxed));
        let (near, far) = (format!("qda{tag:x}"), format!("qdb{tag:x}"));
        let end = |name| VethEnd { name, alias: "probe of knetsim" };
        self.add_veth(end(&near), None, end(&far), None, 1500).await?;
        let answer = self.probe_qdisc(kind, &near).await;
        self.delete(&near).await?;
        answer
    }

    async fn probe_qdisc(&self, kind: &str, link: &str) -> Result<bool> {
        let found = self.get(link).await?;
        let clock = wire::Clock::read()?;
        let options = match kind {
            NETEM => wire::netem(Some(Duration::from_millis(1)), None, &clock),
            TBF => wire::tbf(1_000_000, found.mtu, &clock),
            _ => Vec::new(),
        };
        let bare = options.is_empty();
        match self.put(put_message(found.index, TcHandle::ROOT, NETEM_HANDLE, kind, options)).await {
            Ok(()) => Ok(true),
            Err(e) => match refused(kind, link, e) {
                Error::Unsupported(_) => Ok(false),
                // Known, but it does not start without options that only it knows.
                e if bare && e.errno() == Some(libc::EINVAL) => Ok(true),
                e => Err(e),
            },
        }
    }

    async fn qdiscs(&self, link: &Link) -> Result<Vec<Qdisc>> {
        let name = &link.name;
        let handle = self.handle();
        let messages: Vec<TcMessage> = handle
            .qdisc()
            .get()
            .index(link.index.cast_signed())
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink(format!("list disciplines of link {name}"), e))?;
        // The index in the request is only a hint: the dump may tell of every link.
        Ok(messages.into_iter().filter(|m| m.header.index == link.index.cast_signed()).map(decode).collect())
    }

    async fn put(&self, message: TcMessage) -> Result<(), rtnetlink::Error> {
        self.request(put_request(message)).await
    }

    async fn delete_root(&self, link: &Link) -> Result<()> {
        let mut message = TcMessage::with_index(link.index.cast_signed());
        message.header.parent = TcHandle::ROOT;
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        match self.request(request).await {
            // Someone else was quicker.
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENOENT => Ok(()),
            answer => {
                answer.map_err(|e| Error::netlink(format!("delete discipline of link {}", link.name), e))
            }
        }
    }

    /// Sends a request and waits for its acknowledgement.
    async fn request(&self, request: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), rtnetlink::Error> {
        let mut answers = self.handle().request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(error));
            }
        }
        Ok(())
    }
}

/// What leads from the disciplines of a link to a (normal) shape.
fn plan(have: &[Qdisc], shape: &Shape) -> Vec<Step> {
    let Shape { rate, delay, loss } = *shape;
    let netem = (delay.is_some() || loss.is_some()).then_some(Discipline::Netem { delay, loss });
    let tbf = rate.map(|rate| Discipline::Tbf { rate });
    let wanted: Vec<(TcHandle, TcHandle, Discipline)> = match (netem, tbf) {
        (None, None) => Vec::new(),
        (None, Some(tbf)) => vec![(TcHandle::ROOT, TBF_HANDLE, tbf)],
        (Some(netem), None) => vec![(TcHandle::ROOT, NETEM_HANDLE, netem)],
        (Some(netem), Some(tbf)) => {
            vec![(TcHandle::ROOT, NETEM_HANDLE, netem), (NETEM_CLASS, TBF_CHILD_HANDLE, tbf)]
        }
    };
    // A handle of nought is the kernel's default: there, but neither in the way nor to be deleted.
    let mut set = have.iter().filter(|q| q.handle != TcHandle::UNSPEC);
    let delete = match wanted.first() {
        None => set.any(|q| q.parent == TcHandle::ROOT && (q.kind == TBF || q.kind == NETEM)),
        Some((_, root, _)) => set.any(|q| {
            let fits = wanted.iter().any(|w| (w.0, w.1, w.2.kind()) == (q.parent, q.handle, q.kind.as_str()));
            let handle_taken = wanted.iter().any(|w| w.1 == q.handle);
            // Below a root that stays: a limit of the rate that is no longer wanted.
            let left_over = q.parent.major == root.major;
            !fits && (handle_taken || left_over)
        }),
    };
    let put = wanted.into_iter().map(|(parent, handle, what)| Step::Put { parent, handle, what });
    delete.then_some(Step::DeleteRoot).into_iter().chain(put).collect()
}

/// `tc qdisc replace`, as a message; no options if they are empty.
fn put_message(index: u32, parent: TcHandle, handle: TcHandle, kind: &str, options: Vec<u8>) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes.push(TcAttribute::Kind(kind.into()));
    if !options.is_empty() {
        message.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
    }
    message
}

fn put_request(message: TcMessage) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    request
}

fn decode(message: TcMessage) -> Qdisc {
    let TcMessage { header, attributes, .. } = message;
    let mut qdisc =
        Qdisc { kind: String::new(), handle: header.handle, parent: header.parent, options: Vec::new() };
    for attribute in attributes {
        match attribute {
            TcAttribute::Kind(kind) => qdisc.kind = kind,
            TcAttribute::Options(options) => {
                // rtnetlink keeps the options of a kind that it does not know whole, as one attribute.
                for option in options {
                    if let TcOption::Other(raw) = option {
                        let mut bytes = vec![0; raw.value_len()];
                        raw.emit_value(&mut bytes);
                        qdisc.options = bytes;
                    }
                }
            }
            _ => {}
        }
    }
    qdisc
}

fn refused(kind: &str, link: &str, error: rtnetlink::Error) -> Error {
    match error {
        // qdisc_create() of net/sched/sch_api.c: no such kind, even after loading the module.
        rtnetlink::Error::NetlinkError(e) if e.raw_code() == -libc::ENOENT => {
            Error::Unsupported(format!("this kernel has no {kind} (module sch_{kind})"))
        }
        error => Error::netlink(format!("set discipline {kind} of link {link}"), error),
    }
}
