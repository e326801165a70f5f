//! Which nodes a pod wants, by their labels and names.
//!
//! Source: component-helpers `scheduling/corev1/nodeaffinity/nodeaffinity.go`.

use api::types::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether the pod may run there: its `nodeSelector` and one of the required terms.
pub(crate) fn allows(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &String| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|one| one.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// The sum of the weights of what the pod prefers and the node has.
pub(crate) fn preference(spec: &PodSpec, node: &Node) -> i64 {
    preferred(spec)
        .iter()
        .filter(|term| term.weight != 0 && matches(&term.preference, node))
        .map(|term| i64::from(term.weight))
        .sum()
}

/// What the pod would rather have.
pub(crate) fn preferred(spec: &PodSpec) -> &[api::types::api::core::v1::PreferredSchedulingTerm] {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    affinity
        .and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

/// An empty term matches no node.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_deref()).flatten();
    expressions.iter().all(|one| holds(one, label(&one.key)))
        && fields.iter().all(|one| holds(one, field(&one.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_one = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let compared = |by: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(|bound| bound.parse().ok());
        let number = value.and_then(|value| value.parse().ok());
        number.zip(bound).is_some_and(|(number, bound): (i64, i64)| by(&number, &bound))
    };
    match requirement.operator.as_str() {
        "In" => is_one(),
        "NotIn" => !is_one(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> Node {
        let labels = json!({"zone": "a", "cores": "8"});
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap()
    }

    fn required(terms: Value) -> PodSpec {
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        serde_json::from_value(json!({"containers": [], "affinity": {"nodeAffinity": required}})).unwrap()
    }

    #[test]
    fn one_term_and_all_of_its_expressions_must_hold() {
        let zone =
            |operator: &str, values: Value| json!({"key": "zone", "operator": operator, "values": values});
        let cores =
            |operator: &str, value: &str| json!({"key": "cores", "operator": operator, "values": [value]});
        let all = |expressions: Value| json!({"matchExpressions": expressions});
        let name = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        let table = [
            (json!([all(json!([zone("In", json!(["a", "b"]))]))]), true),
            (json!([all(json!([zone("In", json!(["b"]))]))]), false),
            (json!([all(json!([zone("NotIn", json!(["b"]))]))]), true),
            (json!([all(json!([zone("Exists", json!([]))]))]), true),
            (json!([all(json!([zone("DoesNotExist", json!([]))]))]), false),
            (json!([all(json!([cores("Gt", "7"), zone("In", json!(["a"]))]))]), true),
            (json!([all(json!([cores("Gt", "8")]))]), false),
            (json!([all(json!([cores("Lt", "9")]))]), true),
            (json!([all(json!([zone("Gt", json!(["1"]))]))]), false),
            (json!([all(json!([zone("In", json!(["b"]))])), name("n1")]), true),
            (json!([name("n2")]), false),
            (json!([{}]), false),
        ];
        for (terms, expected) in table {
            assert_eq!(allows(&required(terms.clone()), &node()), expected, "{terms}");
        }
    }

    #[test]
    fn a_node_selector_wants_all_of_its_labels() {
        let spec = |selector: Value| -> PodSpec {
            serde_json::from_value(json!({"containers": [], "nodeSelector": selector})).unwrap()
        };
        assert!(allows(&spec(json!({})), &node()));
        assert!(allows(&spec(json!({"zone": "a"})), &node()));
        assert!(!allows(&spec(json!({"zone": "a", "disk": "ssd"})), &node()));
    }

    #[test]
    fn preferences_add_up() {
        let term = |weight: i32, value: &str| {
            let expression = json!({"key": "zone", "operator": "In", "values": [value]});
            json!({"weight": weight, "preference": {"matchExpressions": [expression]}})
        };
        let terms = json!([term(5, "a"), term(7, "b"), term(1, "a")]);
        let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}});
        let spec = serde_json::from_value(json!({"containers": [], "affinity": affinity})).unwrap();
        assert_eq!(preference(&spec, &node()), 6);
    }
}
