//! What a container may be told of its resources: the downward API's `resourceFieldRef`.
//!
//! Source: kubernetes `pkg/api/v1/resource/helpers.go` (`ExtractContainerResourceValue`,
//! `MergeContainerResourceLimits`).

use std::collections::BTreeMap;

use api::quantity::Amount;
use api::types::api::core::v1::{Container, Pod, ResourceFieldSelector};
use api::types::apimachinery::pkg::api::resource::Quantity;

use super::ConfigError;

/// Resources of which a container without a limit may have all that the node has.
const NODE_LIMITED: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// A request or limit in multiples of the divisor, rounded up; of the container that is named, or else
/// of `own`.
pub(crate) fn container_resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    own: Option<&Container>,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, ConfigError> {
    let name = selector.container_name.as_deref().unwrap_or_default();
    let container = if name.is_empty() { own } else { find(pod, name) };
    let container = container.ok_or_else(|| ConfigError::NoContainer(name.into()))?;
    let (kind, resource) = selector.resource.split_once('.').unwrap_or_default();
    let known = NODE_LIMITED.contains(&resource) || resource.starts_with("hugepages-");
    if !known || !["limits", "requests"].contains(&kind) {
        return Err(ConfigError::Resource(selector.resource.clone()));
    }
    let requirements = container.resources.as_ref();
    let own = requirements.and_then(|all| match kind {
        "limits" => all.limits.as_ref(),
        _ => all.requests.as_ref(),
    });
    let amount = |quantity: Option<&Quantity>| match quantity {
        None => Ok(Amount::default()),
        Some(quantity) => Amount::parse(quantity).map_err(|_| ConfigError::Amount {
            resource: selector.resource.clone(),
            container: container.name.clone(),
            amount: quantity.0.clone(),
        }),
    };
    let mut value = amount(own.and_then(|own| own.get(resource)))?;
    if value == Amount::default() && kind == "limits" && NODE_LIMITED.contains(&resource) {
        value = amount(allocatable.get(resource))?;
    }
    let divisor = amount(selector.divisor.as_ref())?;
    let (value, divisor) = match resource {
        "cpu" => (value.millis(), if divisor == Amount::default() { 1000 } else { divisor.millis() }),
        _ => (value.units(), if divisor == Amount::default() { 1 } else { divisor.units() }),
    };
    // A divisor is at least 1 here: amounts are rounded up.
    let (value, divisor) = (i128::from(value), i128::from(divisor.max(1)));
    Ok(((value + divisor - 1) / divisor).to_string())
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.into_iter().find(|container| container.name == name)
}
