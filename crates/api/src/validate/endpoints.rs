//! Endpoints and EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{IMMUTABLE, PROTOCOLS, meta, one_of};
use crate::field::{Errors, Path};
use crate::{kinds, names};

/// (`ValidateEndpoints`)
pub(crate) fn endpoints(endpoints: &Endpoints, errors: &mut Errors) {
    meta::object_meta(&endpoints.metadata, &kinds::ENDPOINTS, errors);
    for (i, subset) in endpoints.subsets.iter().flatten().enumerate() {
        let at = Path::new("subsets").index(i);
        let lists = [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)];
        if lists.iter().all(|(_, list)| list.as_ref().is_none_or(Vec::is_empty)) {
            errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for (field, list) in lists {
            for (j, address) in list.iter().flatten().enumerate() {
                self::address(address, &at.child(field).index(j), errors);
            }
        }
        let ports = subset.ports.as_deref().unwrap_or_default();
        for (j, port) in ports.iter().enumerate() {
            let at = at.child("ports").index(j);
            match port.name.as_deref().unwrap_or_default() {
                "" if ports.len() > 1 => errors.required(&at.child("name"), ""),
                "" => {}
                name => errors.invalid_each(&at.child("name"), name, names::dns_label(name)),
            }
            errors.invalid_each(&at.child("port"), port.port, names::port_number(port.port));
            one_of(port.protocol.as_deref(), &at.child("protocol"), PROTOCOLS, errors);
            if let Some(protocol) = &port.app_protocol {
                errors.invalid_each(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
            }
        }
    }
}

fn address(address: &EndpointAddress, path: &Path, errors: &mut Errors) {
    let ip = &address.ip;
    let wrong = names::ip(ip);
    let special = if wrong.is_empty() { special_ip(ip) } else { vec!["must be a valid IP address".into()] };
    errors.invalid_each(&path.child("ip"), ip, wrong);
    if let Some(name) = address.hostname.as_deref().filter(|name| !name.is_empty()) {
        errors.invalid_each(&path.child("hostname"), name, names::dns_label(name));
    }
    if let Some(name) = &address.node_name {
        errors.invalid_each(&path.child("nodeName"), name, names::node_name(name));
    }
    errors.invalid_each(&path.child("ip"), ip, special);
}

/// Addresses that are nobody's (`ValidateNonSpecialIP`).
pub(super) fn special_ip(ip: &str) -> Vec<String> {
    let Ok(address) = ip.parse::<IpAddr>() else { return vec![] };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let rules = [
        (address.is_unspecified(), format!("may not be unspecified ({ip})")),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".into()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into()),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into(),
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, why)| why).collect()
}

/// (`ValidateEndpointSlice`)
pub(crate) fn endpoint_slice(slice: &EndpointSlice, errors: &mut Errors) {
    meta::object_meta(&slice.metadata, &kinds::ENDPOINT_SLICES, errors);
    let kind = slice.address_type.as_str();
    one_of(Some(kind), &Path::new("addressType"), &["FQDN", "IPv4", "IPv6"], errors);
    let path = Path::new("endpoints");
    if slice.endpoints.len() > 1000 {
        errors.too_many(&path, slice.endpoints.len(), 1000);
    }
    for (i, endpoint) in slice.endpoints.iter().take(1000).enumerate() {
        let at = path.index(i);
        let addresses_at = at.child("addresses");
        match endpoint.addresses.len() {
            0 => errors.required(&addresses_at, "must contain at least 1 address"),
            count if count > 100 => errors.too_many(&addresses_at, count, 100),
            _ => {}
        }
        for (j, address) in endpoint.addresses.iter().enumerate() {
            slice_address(kind, address, &addresses_at.index(j), errors);
        }
        if let Some(name) = &endpoint.hostname {
            errors.invalid_each(&at.child("hostname"), name, names::dns_label(name));
        }
        if let Some(name) = &endpoint.node_name {
            errors.invalid_each(&at.child("nodeName"), name, names::node_name(name));
        }
    }
    slice_ports(slice, errors);
}

fn slice_address(kind: &str, address: &str, path: &Path, errors: &mut Errors) {
    let parsed = address.parse::<IpAddr>();
    match (kind, parsed) {
        ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {
            errors.invalid_each(path, address, special_ip(address));
        }
        ("IPv4", _) => errors.invalid(path, address, "must be a valid IPv4 address"),
        ("IPv6", _) => errors.invalid(path, address, "must be a valid IPv6 address"),
        ("FQDN", _) => {
            let name = address.strip_suffix('.').unwrap_or(address);
            errors.invalid_each(path, name, names::dns_subdomain(name));
        }
        _ => {}
    }
}

fn slice_ports(slice: &EndpointSlice, errors: &mut Errors) {
    let path = Path::new("ports");
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > 100 {
        return errors.too_many(&path, ports.len(), 100);
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&at.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        one_of(port.protocol.as_deref(), &at.child("protocol"), PROTOCOLS, errors);
        if let Some(protocol) = &port.app_protocol {
            errors.invalid_each(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// (`ValidateEndpointSliceUpdate`)
pub(crate) fn endpoint_slice_update(new: &EndpointSlice, old: &EndpointSlice, errors: &mut Errors) {
    endpoint_slice(new, errors);
    if new.address_type != old.address_type {
        errors.invalid(&Path::new("addressType"), &new.address_type, IMMUTABLE);
    }
}
