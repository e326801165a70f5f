//! What is kept of a service.

use std::borrow::Cow;
use std::net::IpAddr;

use super::objects::{self, EndpointSlice, Service};
use super::question::{Protocol, to_dashed};

/// A service and what is behind it. The one may come before the other.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) service: Option<ServiceNames>,
    /// In the order of their names.
    pub(super) slices: Vec<(Box<str>, Slice)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceNames {
    pub(super) leads_to: LeadsTo,
    pub(super) ports: Box<[PortName]>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeadsTo {
    Addresses(Box<[IpAddr]>),
    Endpoints,
    /// A name elsewhere.
    Alias(Box<str>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct PortName {
    /// Lower case; empty if it has none.
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) ports: Box<[PortName]>,
    /// The ready ones.
    pub(super) endpoints: Box<[Address]>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    /// Lower case; none for one whose name is its address with dashes.
    pub(super) hostname: Option<Box<str>>,
}

impl Entry {
    pub(super) fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter().map(|(_, slice)| slice)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }
}

impl PortName {
    pub(super) fn is(&self, name: &str, protocol: Protocol) -> bool {
        *self.name == *name && self.protocol == protocol
    }

    pub(super) fn is_named(&self, protocol: Protocol) -> bool {
        !self.name.is_empty() && self.protocol == protocol
    }
}

impl Address {
    /// Its name within the service.
    pub(super) fn name(&self) -> Cow<'_, str> {
        self.hostname.as_deref().map_or_else(|| to_dashed(self.ip).into(), Cow::Borrowed)
    }

    /// Whether that is its name; `ip` is the address for which that stands, if any.
    pub(super) fn is_called(&self, label: &str, ip: Option<IpAddr>) -> bool {
        match &self.hostname {
            Some(hostname) => **hostname == *label,
            // An address has several texts, of which one is its name.
            None => ip == Some(self.ip) && to_dashed(self.ip) == label,
        }
    }
}

impl LeadsTo {
    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::Endpoints | Self::Alias(_) => &[],
        }
    }
}

impl ServiceNames {
    pub(super) fn of(service: &Service) -> Self {
        let leads_to = match service.external() {
            Some(name) => LeadsTo::Alias(name.into()),
            None if service.is_headless() => LeadsTo::Endpoints,
            None => LeadsTo::Addresses(service.addresses()),
        };
        Self { leads_to, ports: ports(service.spec.ports.as_deref()) }
    }
}

impl Slice {
    pub(super) fn of(slice: &EndpointSlice) -> Self {
        let mut endpoints = Vec::new();
        // The addresses of the third kind are names.
        let all = slice.endpoints.iter().flatten().filter(|_| slice.address_type != "FQDN");
        for endpoint in all {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            if ready == Some(false) {
                continue;
            }
            let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            let hostname = hostname.map(str::to_ascii_lowercase);
            for ip in endpoint.addresses.iter().flatten().filter_map(|ip| ip.parse().ok()) {
                endpoints.push(Address { ip, hostname: hostname.clone().map(Into::into) });
            }
        }
        Self { ports: ports(slice.ports.as_deref()), endpoints: endpoints.into() }
    }
}

fn ports(ports: Option<&[objects::Port]>) -> Box<[PortName]> {
    let known = |port: &objects::Port| {
        Some(PortName {
            name: lower(port.name.as_deref()).into(),
            protocol: Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
            number: port.port?.try_into().ok()?,
        })
    };
    ports.unwrap_or_default().iter().filter_map(known).collect()
}

pub(super) fn lower(text: Option<&str>) -> String {
    text.unwrap_or_default().to_ascii_lowercase()
}
