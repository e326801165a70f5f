//! Virtual IPs.

use std::collections::BTreeSet;

use super::endpoints::special_ip;
use super::meta;
use crate::field::{Errors, Path};
use crate::virtual_ip::VirtualIP;
use crate::{kinds, names};

pub(crate) fn virtual_ip(vip: &VirtualIP, errors: &mut Errors) {
    meta::object_meta(&vip.metadata, &kinds::VIRTUAL_IPS, errors);
    let (spec, path) = (&vip.spec, Path::new("spec"));
    match spec.address.as_str() {
        "" => errors.required(&path.child("address"), ""),
        address => ip(address, &path.child("address"), errors),
    }
    if spec.pods.is_empty() && spec.addresses.is_empty() {
        errors.required(&path.child("pods"), "at least one of `pods` or `addresses`");
    }
    let mut seen = BTreeSet::new();
    for (i, pod) in spec.pods.iter().enumerate() {
        let at = path.child("pods").index(i);
        errors.invalid_each(&at, pod, names::dns_subdomain(pod));
        if !seen.insert(pod) {
            errors.duplicate(&at, pod);
        }
    }
    let mut seen = BTreeSet::new();
    for (i, address) in spec.addresses.iter().enumerate() {
        let at = path.child("addresses").index(i);
        ip(address, &at, errors);
        if !seen.insert(address) {
            errors.duplicate(&at, address);
        }
        if *address == spec.address {
            errors.invalid(&at, address, "may not be the virtual address itself");
        }
    }
}

fn ip(address: &str, path: &Path, errors: &mut Errors) {
    let wrong = names::ip(address);
    if wrong.is_empty() {
        errors.invalid_each(path, address, special_ip(address));
    }
    errors.invalid_each(path, address, wrong);
}
