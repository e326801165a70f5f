//! Records, and names in them.

use std::net::IpAddr;

use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{Name, RData, RecordType};

use super::TTL;

/// What a name has.
pub(super) enum Found {
    Nothing,
    /// None of that type, perhaps.
    Records(Records),
    Alias(Name),
}

#[derive(Default)]
pub(super) struct Records {
    /// With their TTL.
    pub(super) answers: Vec<(u32, RData)>,
    pub(super) additionals: Vec<(Name, IpAddr)>,
}

impl From<Vec<RData>> for Records {
    fn from(data: Vec<RData>) -> Self {
        Self { answers: data.into_iter().map(|data| (TTL, data)).collect(), additionals: vec![] }
    }
}

impl Records {
    /// To a question for all types, that there is something is all that is said (RFC 8482 section 4.2).
    pub(super) fn or_minimal(self, kind: RecordType) -> Self {
        match kind {
            RecordType::ANY => vec![RData::HINFO(HINFO::new("RFC8482".into(), String::new()))].into(),
            _ => self,
        }
    }
}

/// Those of the addresses that are of the type.
pub(super) fn addresses(kind: RecordType, ips: impl IntoIterator<Item = IpAddr>) -> Records {
    let of = |ip: &IpAddr| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        _ => false,
    };
    ips.into_iter().filter(of).map(RData::from).collect::<Vec<_>>().into()
}

/// The weight of each of so many records of the same priority.
pub(super) fn weight(count: usize) -> u16 {
    u16::try_from(100 / count.max(1)).unwrap_or(u16::MAX).max(1)
}

/// A name below another; none if it would be too long.
pub(super) fn under(labels: &[&str], zone: &Name) -> Option<Name> {
    let mut name = Name::new();
    for label in labels {
        name = name.append_label(label.as_bytes()).ok()?;
    }
    name.append_domain(zone).ok()
}

/// The name of an `ExternalName`, with or without its final dot; none if it is an address or no name.
pub(super) fn alias(target: &str) -> Option<Name> {
    let mut name = Name::from_ascii(target).ok().filter(|name| !name.is_root())?;
    name.set_fqdn(true);
    target.parse::<IpAddr>().is_err().then_some(name)
}
