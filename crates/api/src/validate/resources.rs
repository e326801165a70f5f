//! Requests and limits.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::field::{Errors, Path};
use crate::names;
use crate::quantity::Amount;

/// (`ValidateContainerResourceRequirements`)
pub(super) fn requirements(requirements: &ResourceRequirements, path: &Path, errors: &mut Errors) {
    let limits = amounts(requirements.limits.as_ref(), &path.child("limits"), errors);
    let requests_at = path.child("requests");
    let requests = amounts(requirements.requests.as_ref(), &requests_at, errors);
    for (name, (request, shown)) in requests {
        let Some((limit, limit_shown)) = limits.get(name) else { continue };
        if request > *limit {
            let why = format!("must be less than or equal to {name} limit of {limit_shown}");
            errors.invalid(&requests_at, shown, &why);
        }
    }
}

type Amounts<'a> = BTreeMap<&'a str, (Amount, &'a str)>;

/// The amounts that are in order.
fn amounts<'a>(
    resources: Option<&'a BTreeMap<String, Quantity>>,
    path: &Path,
    errors: &mut Errors,
) -> Amounts<'a> {
    let mut amounts = Amounts::new();
    for (name, quantity) in resources.into_iter().flatten() {
        let at = path.key(name);
        let wrong = names::qualified_name(name);
        let standard = ["cpu", "memory", "ephemeral-storage"];
        let known = standard.contains(&name.as_str()) || name.starts_with("hugepages-");
        if wrong.is_empty() && !name.contains('/') && !known {
            errors.invalid(&at, name, "must be a standard resource type or fully qualified");
            errors.invalid(&at, name, "must be a standard resource for containers");
        }
        errors.invalid_each(&at, name, wrong);
        match Amount::parse(quantity) {
            Err(malformed) => errors.invalid(&at, &quantity.0, &malformed.to_string()),
            Ok(amount) if amount.is_negative() => {
                errors.invalid(&at, &quantity.0, "must be greater than or equal to 0");
            }
            Ok(amount) => {
                amounts.insert(name, (amount, &quantity.0));
            }
        }
    }
    amounts
}
