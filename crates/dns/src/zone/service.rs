//! The records of a service and its endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, RecordType};

use super::TTL;
use super::entry::{Entry, LeadsTo, PortName};
use super::index::split;
use super::question::{Part, dashed};
use super::records::{Found, Records, addresses, alias, under, weight};

/// A question about a service.
pub(super) struct Lookup<'q> {
    pub(super) entry: &'q Entry,
    /// `<service>.<namespace>`.
    pub(super) key: &'q str,
    /// `svc.<zone>` in the case of the question.
    pub(super) zone: &'q Name,
    pub(super) kind: RecordType,
}

impl Lookup<'_> {
    pub(super) fn find(&self, part: Part<'_>) -> Found {
        let Some(service) = &self.entry.service else { return Found::Nothing };
        let records = match (&service.leads_to, part) {
            (LeadsTo::Alias(target), Part::Itself) => {
                return alias(target).map_or(Found::Nothing, Found::Alias);
            }
            (LeadsTo::Alias(_), _) => None,
            (_, Part::Endpoint(label)) => self.endpoints(Some(label), |_| true),
            (LeadsTo::Addresses(ips), Part::Itself) => Some(match self.kind {
                RecordType::SRV => self.cluster_srv(ips, service.ports.iter()),
                kind => addresses(kind, ips.iter().copied()),
            }),
            (LeadsTo::Addresses(ips), Part::Port(name, protocol)) => {
                let ports = service.ports.iter().filter(|port| port.is(name, protocol));
                self.any_srv(ports, |ports| self.cluster_srv(ips, ports.into_iter()))
            }
            (LeadsTo::Addresses(_), Part::Protocol(protocol)) => {
                let ports = service.ports.iter().filter(|port| port.is_named(protocol));
                self.any_srv(ports, |_| Records::default())
            }
            (LeadsTo::Endpoints, Part::Itself) => self.endpoints(None, |_| true),
            (LeadsTo::Endpoints, Part::Port(name, protocol)) => {
                let found = self.endpoints(None, |port| port.is(name, protocol));
                let has = |port: &PortName| port.is(name, protocol);
                found.filter(|_| self.has_port(has)).map(|found| self.only_srv(found))
            }
            (LeadsTo::Endpoints, Part::Protocol(protocol)) => {
                self.has_port(|port| port.is_named(protocol)).then(Records::default)
            }
        };
        records.map_or(Found::Nothing, |records| Found::Records(records.or_minimal(self.kind)))
    }

    /// Whether a ready endpoint has such a port.
    fn has_port(&self, wanted: impl Fn(&PortName) -> bool) -> bool {
        self.entry.slices().any(|slice| !slice.endpoints.is_empty() && slice.ports.iter().any(&wanted))
    }

    fn any_srv<'p>(
        &self,
        ports: impl Iterator<Item = &'p PortName>,
        records: impl FnOnce(Vec<&'p PortName>) -> Records,
    ) -> Option<Records> {
        let ports: Vec<_> = ports.collect();
        (!ports.is_empty()).then(|| self.only_srv(records(ports)))
    }

    /// A name of a port has SRV records and no others.
    fn only_srv(&self, records: Records) -> Records {
        if self.kind == RecordType::SRV { records } else { Records::default() }
    }

    /// The ports of a service with addresses.
    fn cluster_srv<'p>(&self, ips: &[IpAddr], ports: impl ExactSizeIterator<Item = &'p PortName>) -> Records {
        let (service, namespace) = split(self.key);
        let Some(target) = under(&[service, namespace], self.zone).filter(|_| !ips.is_empty()) else {
            return Records::default();
        };
        let weight = weight(ips.len() * ports.len());
        let srv = |port: &PortName| RData::SRV(SRV::new(0, weight, port.number, target.clone()));
        let additionals = ips.iter().map(|ip| (target.clone(), *ip)).collect();
        Records { additionals, ..ports.map(srv).collect::<Vec<_>>().into() }
    }

    /// The records of the ready endpoints, all or that of one name; none if there are none.
    fn endpoints(&self, label: Option<&str>, wanted: impl Fn(&PortName) -> bool) -> Option<Records> {
        let wanted_ip = label.and_then(dashed);
        let mut found = Vec::new();
        for slice in self.entry.slices() {
            for endpoint in &slice.endpoints {
                if label.is_none_or(|label| endpoint.is_called(label, wanted_ip)) {
                    found.push((endpoint, &slice.ports));
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        if self.kind != RecordType::SRV {
            let mut seen = BTreeSet::new();
            let ips = found.iter().map(|(endpoint, _)| endpoint.ip).filter(|ip| seen.insert(*ip));
            return Some(addresses(self.kind, ips));
        }
        let pairs: BTreeSet<_> = found
            .iter()
            .flat_map(|(endpoint, ports)| ports.iter().map(move |port| (endpoint, port)))
            .filter(|(_, port)| wanted(port))
            .map(|(endpoint, port)| (endpoint.name(), endpoint.ip, port.number))
            .collect();
        let weight = weight(pairs.len());
        let (service, namespace) = split(self.key);
        let (mut records, mut srv, mut glue) = (Records::default(), BTreeSet::new(), BTreeSet::new());
        for (name, ip, port) in &pairs {
            let Some(target) = under(&[&**name, service, namespace], self.zone) else { continue };
            if glue.insert((name, ip)) {
                records.additionals.push((target.clone(), *ip));
            }
            if srv.insert((name, port)) {
                records.answers.push((TTL, RData::SRV(SRV::new(0, weight, *port, target))));
            }
        }
        Some(records)
    }
}
