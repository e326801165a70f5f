//! The elements of maps that a frontend takes.

use std::net::IpAddr;

use nft::ruleset::{COMMENT, Element, Map, Value, Verdict, key};

use crate::chains;
use crate::frontend::{Backend, Balance, Frontend, Place};
use crate::layout::{self, CLUSTER_IPS, HAIRPINS, Kind, MASQUERADE, MOST, Meaning, Role};

/// An element and the map that it is in.
pub(crate) type Placed = (&'static Map, Element);

/// A comment that nft can print and read again. What is too long for it is cut.
pub(crate) fn comment(text: &str) -> Box<str> {
    let clean = |c: char| if c == '"' || c.is_control() { '?' } else { c };
    let mut out: String = text.chars().map(clean).collect();
    if out.len() > COMMENT {
        let end = (0..=COMMENT - '…'.len_utf8()).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    out.into()
}

/// The key of a frontend.
pub(crate) fn frontend_key(place: &Place) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    match *place {
        Place::Address(address, protocol, port) => {
            key::address(&mut out, address);
            key::protocol(&mut out, protocol.number());
            key::port(&mut out, port);
        }
        Place::NodePort(protocol, port) => {
            key::protocol(&mut out, protocol.number());
            key::port(&mut out, port);
        }
        Place::Virtual(address) => key::address(&mut out, address),
    }
    out
}

fn with_number(frontend: &[u8], number: u32) -> Box<[u8]> {
    let mut out = Vec::with_capacity(frontend.len() + 4);
    out.extend(frontend);
    key::number(&mut out, number);
    out.into()
}

fn number(number: u32) -> Value {
    let mut out = Vec::with_capacity(4);
    key::number(&mut out, number);
    Value::Data(out.into())
}

/// The value of an endpoint.
fn endpoint(place: &Place, backend: &Backend) -> Value {
    let mut out = Vec::with_capacity(8);
    key::address(&mut out, backend.address);
    if !matches!(place, Place::Virtual(_)) {
        key::port(&mut out, backend.port);
    }
    Value::Data(out.into())
}

/// What an endpoint is called in comments: `default/web:http -> default/web-7f9c/11.10.0.5`.
pub(crate) fn endpoint_comment(owner: &str, backend: &Backend) -> Box<str> {
    let Backend { address, name, .. } = backend;
    match &**name {
        "" => comment(&format!("{owner} -> {address}")),
        name => comment(&format!("{owner} -> {name}/{address}")),
    }
}

/// All elements of a frontend.
pub(crate) fn of_frontend(frontend: &Frontend, balance: &Balance) -> Vec<Placed> {
    let kind = Kind::of(frontend);
    let mark = layout::mark(balance);
    let at = frontend_key(&frontend.place);
    let mut out = Vec::with_capacity(balance.target.backends().len() + 1);
    let mut put = |role, key: Box<[u8]>, value, comment| {
        // Every kind has the maps that its frontends need.
        if let Some(map) = kind.map(role) {
            out.push((map, Element { key, value, comment }));
        }
    };
    put(Role::Frontends, at.as_slice().into(), number(mark), comment(&balance.owner));
    let backends = &balance.target.backends()[..balance.target.backends().len().min(MOST)];
    if balance.affinity.is_none() {
        for (index, backend) in backends.iter().enumerate() {
            let comment = endpoint_comment(&balance.owner, backend);
            put(Role::Endpoints, with_number(&at, index as u32), endpoint(&frontend.place, backend), comment);
        }
        return out;
    }
    for ((index, backend), chosen) in backends.iter().enumerate().zip(layout::numbers(backends)) {
        let comment = endpoint_comment(&balance.owner, backend);
        put(Role::Choices, with_number(&at, index as u32), number(chosen), comment.clone());
        // Both, whoever is masqueraded now: with the next change it may be others.
        for chosen in [chosen, chosen | MASQUERADE] {
            let key = with_number(&at, chosen);
            put(Role::Chosen, key, endpoint(&frontend.place, backend), comment.clone());
        }
    }
    out
}

/// What several frontends, or several services, have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shared {
    /// A chain for so many endpoints, by its mark.
    Balancer(Kind, u32),
    /// An address of a service.
    ClusterIp(IpAddr),
    /// An endpoint on this worker.
    Hairpin(IpAddr),
}

/// The element of something shared.
pub(crate) fn of_shared(shared: Shared, name: &str) -> Option<Placed> {
    let address = |address, times: usize| {
        let mut out = Vec::with_capacity(32);
        (0..times).for_each(|_| key::address(&mut out, address));
        Box::from(out)
    };
    let name = comment(name);
    Some(match shared {
        Shared::ClusterIp(ip) => {
            (&CLUSTER_IPS, Element { key: address(ip, 1), value: Value::Nothing, comment: name })
        }
        Shared::Hairpin(ip) => {
            (&HAIRPINS, Element { key: address(ip, 2), value: Value::Nothing, comment: name })
        }
        Shared::Balancer(kind, mark) => {
            let verdict = match layout::meaning(mark) {
                Meaning::Drop => Verdict::Drop,
                Meaning::Reject => Verdict::Goto(chains::REFUSE.into()),
                Meaning::Balance { .. } => Verdict::Goto(chains::balancer_name(kind, mark).into()),
            };
            let map = kind.map(Role::Balancers)?;
            (map, Element { key: with_number(&[], mark), value: Value::Verdict(verdict), comment: name })
        }
    })
}
