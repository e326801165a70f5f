//! The answer to a question.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::entry::Entry;
use super::index::{Index, split};
use super::question::{self, Place, dashed, reverse};
use super::records::{Found, Records, addresses, under};
use super::service::Lookup;
use super::{TTL, VERSION, VERSION_TTL};

/// The most aliases that are followed (`CoreDNS` `maxCnameChainLength`).
const ALIASES: usize = 10;

/// What the zone says to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is for others to answer.
    Outside,
    /// A transfer of the zone, which nobody is given.
    Refused,
    /// An answer with authority.
    Inside(Box<Inside>),
}

/// An answer with authority.
#[derive(Debug, Clone, PartialEq)]
pub struct Inside {
    /// In which part of the names.
    pub realm: Realm,
    /// `NoError` or `NXDomain`.
    pub code: ResponseCode,
    /// The records that were asked for, after the aliases that lead to them.
    pub answers: Vec<Record>,
    /// The SOA record, where there are no records: for how long that holds (RFC 2308).
    pub authorities: Vec<Record>,
    /// The addresses of names in the answer.
    pub additionals: Vec<Record>,
    /// A name elsewhere to which the last alias leads: its records belong behind it.
    pub chase: Option<Name>,
}

/// Where the server has authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realm {
    /// The cluster's zone.
    Cluster,
    /// Addresses of the cluster in `in-addr.arpa`.
    ReverseV4,
    /// Addresses of the cluster in `ip6.arpa`.
    ReverseV6,
}

impl Index {
    /// Where a name belongs that is in the zone or may be that of one of its addresses: only once the zone
    /// is filled the index can tell which of the latter it has.
    #[must_use]
    pub fn realm(&self, name: &Name) -> Option<Realm> {
        let text = question::text(name);
        if question::below(&text, &self.zone_text).is_some() {
            return Some(Realm::Cluster);
        }
        reverse(&text).map(Realm::of)
    }

    /// The answer to a question of class IN. Names in it are as the question has them, in its case.
    #[must_use]
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Answer::Refused;
        }
        let text = question::text(name);
        if question::below(&text, &self.zone_text).is_some() {
            return Answer::Inside(Box::new(self.within(name, text, kind)));
        }
        reverse(&text)
            .and_then(|ip| self.backwards(name, ip, kind))
            .map_or(Answer::Outside, |inside| Answer::Inside(Box::new(inside)))
    }

    fn within(&self, name: &Name, mut text: String, kind: RecordType) -> Inside {
        let mut inside = Inside::new(Realm::Cluster);
        let mut name = name.clone();
        let mut seen = BTreeSet::new();
        loop {
            let apex = name.trim_to(self.zone.num_labels().into());
            let rest = question::below(&text, &self.zone_text).unwrap_or_default();
            match self.find(rest, kind, &name, &apex) {
                Found::Nothing => {
                    inside.code = ResponseCode::NXDomain;
                    inside.authorities.push(self.soa(&apex));
                }
                Found::Records(records) => {
                    inside.add(&name, records);
                    if inside.answers.last().is_none_or(|last| last.record_type() == RecordType::CNAME) {
                        inside.authorities.push(self.soa(&apex));
                    }
                }
                Found::Alias(target) => {
                    inside.add(&name, vec![RData::CNAME(CNAME(target.clone()))].into());
                    if matches!(kind, RecordType::CNAME | RecordType::ANY) {
                        return inside;
                    }
                    seen.insert(std::mem::replace(&mut text, question::text(&target)));
                    if question::below(&text, &self.zone_text).is_none() {
                        inside.chase = Some(target);
                    } else if !seen.contains(&text) && seen.len() <= ALIASES {
                        name = target;
                        continue;
                    }
                }
            }
            return inside;
        }
    }

    /// What is below `apex`, the zone in the case of the question.
    fn find(&self, rest: &str, kind: RecordType, name: &Name, apex: &Name) -> Found {
        let records = match question::place(rest) {
            Place::Nothing => return Found::Nothing,
            Place::Branch => Records::default(),
            Place::Apex => self.apex(kind, apex),
            Place::Version if kind == RecordType::TXT => Records {
                answers: vec![(VERSION_TTL, RData::TXT(TXT::new(vec![VERSION.into()])))],
                additionals: vec![],
            },
            Place::Version => Records::default(),
            Place::NameServer if self.name_servers.is_empty() => return Found::Nothing,
            Place::NameServer => addresses(kind, self.name_servers.iter().copied()),
            Place::Namespace(namespace) if self.has_namespace(namespace) => Records::default(),
            Place::Pod { namespace, address } if self.has_namespace(namespace) => match dashed(address) {
                Some(ip) => addresses(kind, [ip]),
                None => return Found::Nothing,
            },
            Place::Namespace(_) | Place::Pod { .. } => return Found::Nothing,
            Place::Service { key, part } => {
                let Some(entry) = self.entry(key) else { return Found::Nothing };
                let zone = name.trim_to((self.zone.num_labels() + 1).into());
                return Lookup { entry, key, zone: &zone, kind }.find(part);
            }
        };
        Found::Records(records.or_minimal(kind))
    }

    fn apex(&self, kind: RecordType, apex: &Name) -> Records {
        match kind {
            RecordType::SOA => vec![self.soa(apex).data].into(),
            RecordType::NS if !self.name_servers.is_empty() => {
                let Some(server) = under(&["ns", "dns"], apex) else { return Records::default() };
                let additionals = self.name_servers.iter().map(|ip| (server.clone(), *ip)).collect();
                Records { additionals, ..vec![RData::NS(NS(server))].into() }
            }
            _ => Records::default(),
        }
    }

    /// The names of an address; none if the cluster does not know it.
    fn backwards(&self, name: &Name, ip: IpAddr, kind: RecordType) -> Option<Inside> {
        let services = self.services_at(ip);
        let zone = under(&["svc"], &self.zone)?;
        let mut targets = BTreeSet::new();
        for key in services {
            let (service, namespace) = split(key);
            targets.extend(under(&[service, namespace], &zone));
        }
        // Names of services come before those of endpoints, as for `CoreDNS`.
        let before: &[_] = if services.is_empty() { self.services_before(ip) } else { &[] };
        for key in before {
            let (service, namespace) = split(key);
            let endpoints = self.entry(key).into_iter().flat_map(Entry::slices).flat_map(|s| &s.endpoints);
            for endpoint in endpoints.filter(|endpoint| endpoint.ip == ip) {
                targets.extend(under(&[&*endpoint.name(), service, namespace], &zone));
            }
        }
        if targets.is_empty() {
            return None;
        }
        let mut inside = Inside::new(Realm::of(ip));
        let records = match kind {
            RecordType::PTR => targets.into_iter().map(|target| RData::PTR(PTR(target))).collect::<Vec<_>>(),
            _ => vec![],
        };
        inside.add(name, Records::from(records).or_minimal(kind));
        if inside.answers.is_empty() {
            inside.authorities.push(self.soa(&name.trim_to(2)));
        }
        Some(inside)
    }

    /// The SOA record of a zone, with the values of `CoreDNS` (`plugin/backend_lookup.go`).
    fn soa(&self, apex: &Name) -> Record {
        let below = |labels: &[&str]| under(labels, apex).unwrap_or_else(|| apex.clone());
        let (server, mailbox) = (below(&["ns", "dns"]), below(&["hostmaster"]));
        let soa = SOA::new(server, mailbox, self.serial, 7200, 1800, 86_400, TTL);
        Record::from_rdata(apex.clone(), TTL, RData::SOA(soa))
    }
}

impl Realm {
    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::ReverseV4 } else { Self::ReverseV6 }
    }
}

impl Inside {
    fn new(realm: Realm) -> Self {
        Self {
            realm,
            code: ResponseCode::NoError,
            answers: vec![],
            authorities: vec![],
            additionals: vec![],
            chase: None,
        }
    }

    fn add(&mut self, name: &Name, records: Records) {
        let record = |(ttl, data)| Record::from_rdata(name.clone(), ttl, data);
        self.answers.extend(records.answers.into_iter().map(record));
        let glue = |(name, ip): (Name, IpAddr)| Record::from_rdata(name, TTL, RData::from(ip));
        self.additionals.extend(records.additionals.into_iter().map(glue));
    }
}
