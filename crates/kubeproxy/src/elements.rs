//! The elements of maps that a frontend takes.

use std::net::IpAddr;

use nft::ruleset::{Bytes, COMMENT, Element, Map, Value, Verdict};

use crate::chains;
use crate::frontend::{Backend, Balance, Frontend, Place};
use crate::layout::{self, CLUSTER_IPS, HAIRPINS, Kind, MASQUERADE, MOST, Meaning, Role};

/// An element and the map that it is in.
pub(crate) type Placed = (&'static Map, Element);

/// A comment that nft can print and read again. What is too long for it is cut.
pub(crate) fn comment(text: &str) -> Box<str> {
    let bad = |c: char| c == '"' || c.is_control();
    if text.len() <= COMMENT && !text.contains(bad) {
        return text.into();
    }
    let mut out = text.replace(bad, "?");
    if out.len() > COMMENT {
        let end = (0..=COMMENT - '…'.len_utf8()).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    out.into()
}

/// The key of a frontend.
pub(crate) fn frontend_key(place: &Place) -> Bytes {
    let new = Bytes::default();
    match *place {
        Place::Address(address, protocol, port) => {
            new.address(address).protocol(protocol.number()).port(port)
        }
        Place::NodePort(protocol, port) => new.protocol(protocol.number()).port(port),
        Place::Virtual(address) => new.address(address),
    }
}

fn number(number: u32) -> Value {
    Value::Data(Bytes::default().number(number))
}

/// The value of an endpoint.
fn endpoint(place: &Place, backend: &Backend) -> Value {
    let address = Bytes::default().address(backend.address);
    Value::Data(match place {
        Place::Virtual(_) => address,
        _ => address.port(backend.port),
    })
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
    let mut put = |role, key, value, comment| {
        // Every kind has the maps that its frontends need.
        if let Some(map) = kind.map(role) {
            out.push((map, Element { key, value, comment }));
        }
    };
    put(Role::Frontends, at, number(mark), comment(&balance.owner));
    let backends = &balance.target.backends()[..balance.target.backends().len().min(MOST)];
    if balance.affinity.is_none() {
        for (index, backend) in backends.iter().enumerate() {
            let comment = endpoint_comment(&balance.owner, backend);
            put(Role::Endpoints, at.number(index as u32), endpoint(&frontend.place, backend), comment);
        }
        return out;
    }
    for ((index, backend), chosen) in backends.iter().enumerate().zip(layout::numbers(backends)) {
        let comment = endpoint_comment(&balance.owner, backend);
        put(Role::Choices, at.number(index as u32), number(chosen), comment.clone());
        // Both, whoever is masqueraded now: with the next change it may be others.
        for chosen in [chosen, chosen | MASQUERADE] {
            put(Role::Chosen, at.number(chosen), endpoint(&frontend.place, backend), comment.clone());
        }
    }
    out
}

/// How many elements a frontend has in each map: those of [`of_frontend`], without making them.
pub(crate) fn count_of_frontend(frontend: &Frontend, balance: &Balance) -> Vec<(&'static Map, usize)> {
    let backends = balance.target.backends().len().min(MOST);
    let roles: &[_] = match balance.affinity {
        None => &[(Role::Frontends, 1), (Role::Endpoints, backends)],
        Some(_) => &[(Role::Frontends, 1), (Role::Choices, backends), (Role::Chosen, 2 * backends)],
    };
    let kind = Kind::of(frontend);
    roles.iter().filter_map(|(role, count)| Some((kind.map(*role)?, *count))).collect()
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

/// The key of who reaches itself.
pub(crate) fn twice(ip: IpAddr) -> Bytes {
    Bytes::default().address(ip).address(ip)
}

impl Shared {
    /// The map that it is in.
    pub(crate) fn map(self) -> Option<&'static Map> {
        match self {
            Self::Balancer(kind, _) => kind.map(Role::Balancers),
            Self::ClusterIp(_) => Some(&CLUSTER_IPS),
            Self::Hairpin(_) => Some(&HAIRPINS),
        }
    }
}

/// The element of something shared.
pub(crate) fn of_shared(shared: Shared, name: &str) -> Option<Placed> {
    let (key, value) = match shared {
        Shared::ClusterIp(ip) => (Bytes::default().address(ip), Value::Nothing),
        Shared::Hairpin(ip) => (twice(ip), Value::Nothing),
        Shared::Balancer(kind, mark) => {
            let verdict = match layout::meaning(mark) {
                Meaning::Drop => Verdict::Drop,
                Meaning::Reject => Verdict::Goto(chains::REFUSE.into()),
                Meaning::Balance { .. } => Verdict::Goto(chains::balancer_name(kind, mark).into()),
            };
            (Bytes::default().number(mark), Value::Verdict(verdict))
        }
    };
    Some((shared.map()?, Element { key, value, comment: comment(name) }))
}
