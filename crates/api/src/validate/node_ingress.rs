//! Ingresses of single nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{ingress, meta};
use crate::field::{Errors, Path};
use crate::node_ingress::NodeIngress;
use crate::{kinds, names};

pub(crate) fn node_ingress(proxy: &NodeIngress, errors: &mut Errors) {
    meta::object_meta(&proxy.metadata, &kinds::NODE_INGRESSES, errors);
    let (spec, path) = (&proxy.spec, Path::new("spec"));
    match spec.node.as_str() {
        "" => errors.required(&path.child("node"), ""),
        node => errors.invalid_each(&path.child("node"), node, names::node_name(node)),
    }
    errors.invalid_each(&path.child("port"), spec.port, names::port_number(spec.port));
    if spec.paths.is_empty() {
        errors.required(&path.child("paths"), "at least one path");
    }
    let mut seen = BTreeSet::new();
    for (i, one) in spec.paths.iter().enumerate() {
        let at = path.child("paths").index(i);
        ingress::absolute_path(&one.path, &at.child("path"), errors);
        if !seen.insert(&one.path) {
            errors.duplicate(&at.child("path"), &one.path);
        }
        match one.backend.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => {}
            _ => {
                let why = "must be an IP address and a port, (e.g. 100.64.11.1:8000 or [fd00::1]:8000)";
                errors.invalid(&at.child("backend"), &one.backend, why);
            }
        }
    }
}
