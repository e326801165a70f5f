//! Field selectors: `status.phase=Running,metadata.name!=a`.
//!
//! Sources: apimachinery `pkg/fields/selector.go`; which fields may be used: kubernetes
//! `pkg/registry/**/strategy.go` (`ToSelectableFields`) and `pkg/apis/**/v1/conversion.go`
//! (`AddFieldLabelConversionsFor…`).

use std::fmt::{self, Display};
use std::str::FromStr;

use serde_json::Value;

use super::Malformed;
use crate::kinds::KindInfo;

/// Conditions on fields, all of which must hold. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

/// A field by which objects of the kind cannot be selected, in the API server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field label not supported: {0}")]
pub struct NotSelectable(String);

/// Fields by which objects can be selected, beside name and namespace.
const SELECTABLE: &[(&str, &[&str])] = &[
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("nodes", &["spec.unschedulable"]),
    ("namespaces", &["status.phase"]),
    ("services", &["spec.clusterIP", "spec.type"]),
    ("secrets", &["type"]),
    ("replicasets", &["status.replicas"]),
    ("jobs", &["status.successful"]),
    (
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
];

/// Switches, which are `false` where they are not set.
const SWITCHES: &[&str] = &["spec.unschedulable", "spec.hostNetwork"];

impl FieldSelector {
    /// Whether there are no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that a field must have, if there is only one.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether objects of the kind can be selected by these fields.
    ///
    /// # Errors
    /// The first field by which they cannot.
    pub fn check(&self, info: &KindInfo) -> Result<(), NotSelectable> {
        let more = SELECTABLE.iter().find(|(plural, _)| *plural == info.plural).map_or(&[][..], |(_, f)| f);
        let known = |field: &str| {
            field == "metadata.name"
                || field == "metadata.namespace" && info.namespaced
                || more.contains(&field)
        };
        match self.0.iter().find(|term| !known(&term.field)) {
            Some(term) => Err(NotSelectable(term.field.clone())),
            None => Ok(()),
        }
    }

    /// Whether an object is meant; a field that is not there is empty.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }
}

fn value_of(object: &Value, field: &str) -> String {
    // An Event's source is an object, of which the component counts.
    let path = if field == "source" { "source.component" } else { field };
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if SWITCHES.contains(&field) => "false".into(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

impl FromStr for FieldSelector {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let terms = parts.into_iter().filter(|part| !part.is_empty()).map(|part| {
            let (field, equal, value) = split_term(part)
                .ok_or_else(|| Malformed(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            Ok(Term { field: field.into(), equal, value: unescape(value)? })
        });
        Ok(Self(terms.collect::<Result<_, Malformed>>()?))
    }
}

impl Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.0.iter().map(|term| {
            let value = term.value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            format!("{}{}{value}", term.field, if term.equal { "=" } else { "!=" })
        });
        f.write_str(&terms.collect::<Vec<_>>().join(","))
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut begin, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[begin..i]);
                begin = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[begin..]);
    terms
}

/// Splits at the first operator.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let operators = [("!=", false), ("==", true), ("=", true)];
        operators
            .into_iter()
            .find_map(|(operator, equal)| Some((&term[..at], equal, term[at..].strip_prefix(operator)?)))
    })
}

fn unescape(value: &str) -> Result<String, Malformed> {
    let mut plain = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let sequence = format!("\\{}", other.map(String::from).unwrap_or_default());
                    let why = "invalid field selector: invalid escape sequence";
                    return Err(Malformed(format!("{why}: {sequence}")));
                }
            },
            ',' | '=' => {
                let why = "invalid field selector: unescaped character in value";
                return Err(Malformed(format!("{why}: {}", u32::from(c))));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn fields_are_compared_as_text() {
        let pod = json!({
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {"nodeName": "C0w1"},
            "status": {"phase": "Running"},
        });
        let table = [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,status.phase=Running", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", false),
            ("status.podIP=", true),
            ("spec.hostNetwork=false", true),
            ("metadata.name=a,metadata.namespace=b", false),
        ];
        for (text, expected) in table {
            let selector: FieldSelector = text.parse().unwrap();
            assert_eq!(selector.check(&kinds::PODS), Ok(()));
            assert_eq!(selector.matches(&pod), expected, "{text}");
        }
        let event: FieldSelector = "source=kubelet,involvedObject.name=a".parse().unwrap();
        assert!(event.matches(&json!({"source": {"component": "kubelet"}, "involvedObject": {"name": "a"}})));
        assert_eq!(event.exact("source"), Some("kubelet"));
    }

    #[test]
    fn values_are_escaped_and_read_back() {
        let selector: FieldSelector = r"metadata.name=a\,b\=c\\".parse().unwrap();
        assert_eq!(selector.exact("metadata.name"), Some(r"a,b=c\"));
        assert_eq!(selector.to_string().parse(), Ok(selector));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_in_apimachinerys_words() {
        let table = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a!b", "invalid selector: 'a!b'; can't understand 'a!b'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=b\c", r"invalid field selector: invalid escape sequence: \c"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ];
        for (text, message) in table {
            assert_eq!(text.parse::<FieldSelector>().unwrap_err().to_string(), message);
        }
        let check = |text: &str, info| text.parse::<FieldSelector>().unwrap().check(info);
        let said = check("spec.foo=a", &kinds::PODS).unwrap_err().to_string();
        assert_eq!(said, "field label not supported: spec.foo");
        assert!(check("metadata.namespace=a", &kinds::NODES).is_err());
        assert!(check("spec.type=NodePort", &kinds::SERVICES).is_ok());
    }
}
