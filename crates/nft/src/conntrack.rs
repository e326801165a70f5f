//! Connections that the kernel tracks.
//!
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::encode::{Encoder, NESTED};
use crate::error::{Error, Result};
use crate::message::Attributes;
use crate::ruleset::Family;
use crate::socket::{Socket, request};

const GET: i32 = libc::NFNL_SUBSYS_CTNETLINK << 8 | 1;
const DELETE: i32 = libc::NFNL_SUBSYS_CTNETLINK << 8 | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCE_V4: u16 = 1;
const DESTINATION_V4: u16 = 2;
const SOURCE_V6: u16 = 3;
const DESTINATION_V6: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const FILTER_ORIGINAL: u16 = 1;
/// `CTA_FILTER_F_CTA_PROTO_NUM` (net/netfilter/nf_conntrack_netlink.c).
const FILTER_PROTOCOL: u32 = 1 << 3;

/// A connection, or what the kernel takes for one: datagrams that go to and fro, a ping.
#[derive(Clone, PartialEq, Eq)]
pub struct Flow {
    /// Its number, as 17 for UDP.
    pub protocol: u8,
    /// Who sent the first packet. A port of nought where the protocol has none.
    pub source: SocketAddr,
    /// To whom it was sent.
    pub destination: SocketAddr,
    /// From where answers come: another one than `destination` if that was translated.
    pub answers_from: SocketAddr,
    family: Family,
    /// What names it to the kernel.
    name: Vec<u8>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, destination, answers_from, .. } = self;
        write!(f, "protocol {protocol}: {source} -> {destination}, answers from {answers_from}")
    }
}

/// The connections of a family and a protocol in the socket's namespace.
///
/// # Errors
/// The kernel's.
pub fn flows(socket: &mut Socket, family: Family, protocol: u8) -> Result<Vec<Flow>> {
    let mut filter = Encoder::default();
    filter.nest(ORIGINAL, |tuple| {
        tuple.nest(TUPLE_PROTOCOL, |inner| {
            inner.u8(PROTOCOL_NUMBER, protocol);
        });
    });
    filter.nest(FILTER, |inner| {
        inner.bytes(FILTER_ORIGINAL, &FILTER_PROTOCOL.to_ne_bytes());
    });
    let request = request(GET, libc::NLM_F_DUMP, i32::from(family.number()), filter.as_slice());
    let answers = socket.ask_for_all("read tracked connections", &request)?;
    // Before Linux 5.8 the kernel does not heed the filter.
    Ok(answers
        .iter()
        .filter_map(|answer| flow(family, answer))
        .filter(|flow| flow.protocol == protocol)
        .collect())
}

fn flow(family: Family, answer: &[u8]) -> Option<Flow> {
    let all = Attributes(answer);
    let (original, reply) = (all.nest(ORIGINAL), all.nest(REPLY));
    let mut name = Encoder::default();
    for kind in [ORIGINAL | NESTED, ID, ZONE] {
        if let Some(value) = all.get(kind & !NESTED) {
            name.bytes(kind, value);
        }
    }
    Some(Flow {
        protocol: *original.nest(TUPLE_PROTOCOL).get(PROTOCOL_NUMBER)?.first()?,
        source: end(original, true)?,
        destination: end(original, false)?,
        answers_from: end(reply, true)?,
        family,
        name: name.finish(),
    })
}

fn end(tuple: Attributes<'_>, source: bool) -> Option<SocketAddr> {
    let addresses = tuple.nest(TUPLE_ADDRESSES);
    let (v4, v6, port) = if source {
        (SOURCE_V4, SOURCE_V6, SOURCE_PORT)
    } else {
        (DESTINATION_V4, DESTINATION_V6, DESTINATION_PORT)
    };
    let address = match (addresses.get(v4), addresses.get(v6)) {
        (Some(bytes), _) => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        (_, Some(bytes)) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    let port = tuple.nest(TUPLE_PROTOCOL).get(port);
    let port = port.and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    Some(SocketAddr::new(address, port))
}

/// Has the kernel forget a connection: its next packet begins a new one. Says whether it was still there.
///
/// # Errors
/// The kernel's.
pub fn forget(socket: &mut Socket, flow: &Flow) -> Result<bool> {
    let request = request(DELETE, libc::NLM_F_ACK, i32::from(flow.family.number()), &flow.name);
    match socket.ask("forget a tracked connection", &request) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
        Err(Error::Socket { source, .. }) => {
            Err(Error::Refused { what: format!("forget {flow:?}"), position: None, source })
        }
        Err(error) => Err(error),
    }
}
