//! Backends of rules.

use api::gateway::{BackendRef, HTTPRouteRule};

use super::listener::granted;
use super::status::Found;
use super::{ROUTE, fails};
use crate::model::{Choice, Owner};
use crate::plan::Cluster;
use crate::plan::backend::{Backends, Manner, PortRef};
use crate::plan::draft::Draft;

/// Where the requests of a rule go. A reference that leads nowhere gets its share, and answers with 500.
pub(super) fn choose(
    cluster: &Cluster,
    backends: &Backends<'_>,
    rule: &HTTPRouteRule,
    owner: &Owner,
    resolved: &mut Found,
    draft: &mut Draft<'_>,
) -> Choice {
    let mut shares = Vec::new();
    for reference in &rule.backend_refs {
        let weight = u32::try_from(reference.weight.unwrap_or(1)).unwrap_or_default();
        let choice =
            one(cluster, backends, &reference.backend, owner, draft).unwrap_or_else(|(reason, message)| {
                if resolved.holds {
                    *resolved = fails("ResolvedRefs", reason, message.clone());
                }
                Choice::Nobody(500, message)
            });
        shares.push((weight, choice));
    }
    match shares.as_slice() {
        [(weight, only)] if *weight > 0 => only.clone(),
        shares if shares.iter().all(|(weight, _)| *weight == 0) => {
            Choice::Nobody(500, format!("{owner}: no backend"))
        }
        _ => Choice::Split(shares),
    }
}

/// Where requests for a backend go.
pub(super) fn one(
    cluster: &Cluster,
    backends: &Backends<'_>,
    reference: &BackendRef,
    owner: &Owner,
    draft: &mut Draft<'_>,
) -> Result<Choice, (&'static str, String)> {
    let is_service = reference.group.as_deref().is_none_or(str::is_empty)
        && reference.kind.as_deref().is_none_or(|kind| kind == "Service");
    let name = &reference.name;
    if !is_service {
        return Err(("InvalidKind", format!("backend {name} is no service")));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(&owner.namespace);
    if !granted(cluster, (ROUTE, &owner.namespace), "Service", namespace, name) {
        let message =
            format!("service {namespace}/{name} is of another namespace, and no ReferenceGrant allows it");
        return Err(("RefNotPermitted", message));
    }
    let Some(port) = reference.port else {
        return Err(("UnsupportedValue", format!("service {namespace}/{name}: no port is named")));
    };
    let manner = Manner::default();
    let chosen = backends.choose(namespace, name, PortRef::Number(port), &manner, draft);
    chosen.map_err(|fault| ("BackendNotFound", fault.message))
}
