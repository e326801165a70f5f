//! What the API server refuses, and its words for it.
//!
//! Sources: kubernetes `pkg/apis/{core,apps,discovery,networking}/validation/validation.go` (1.33), apimachinery
//! `pkg/api/validation` and `pkg/apis/meta/v1/validation`. Left out: security contexts, affinity, spread
//! constraints, resource claims, Windows, and the insides of volumes that a lab cannot have.

pub(crate) mod apps;
mod container;
pub(crate) mod core;
pub(crate) mod endpoints;
pub(crate) mod ingress;
pub(crate) mod meta;
pub(crate) mod node_ingress;
pub(crate) mod pod;
mod pod_spec;
mod probe;
mod resources;
pub(crate) mod service;
pub(crate) mod skupper;
pub(crate) mod virtual_ip;
mod volume;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::names;

/// Protocols of ports, in the order of messages.
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

const IMMUTABLE: &str = "field is immutable";

/// A field that has to be one of a few words.
fn one_of(value: Option<&str>, path: &Path, supported: &[&str], errors: &mut Errors) {
    match value.unwrap_or_default() {
        "" => errors.required(path, ""),
        value if supported.contains(&value) => {}
        value => errors.not_supported(path, value, supported),
    }
}

/// A port by its number or its name (`ValidatePortNumOrName`).
fn port(port: &IntOrString, path: &Path, errors: &mut Errors) {
    match port {
        IntOrString::Int(number) => errors.invalid_each(path, number, names::port_number(*number)),
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}

/// Every change between two objects, as lines with the fields' paths.
fn changes(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    compare("", Some(old), Some(new), &mut lines);
    lines.join("\n")
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let dot = if path.is_empty() { "" } else { "." };
            keys.into_iter().for_each(|k| compare(&format!("{path}{dot}{k}"), a.get(k), b.get(k), lines));
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            (0..a.len().max(b.len()))
                .for_each(|i| compare(&format!("{path}[{i}]"), a.get(i), b.get(i), lines));
        }
        (old, new) if old == new => {}
        (old, new) => {
            lines.extend(old.map(|old| format!("-{path}: {old}")));
            lines.extend(new.map(|new| format!("+{path}: {new}")));
        }
    }
}
