//! Which objects are meant: by their labels, or by a few of their fields.
//!
//! Sources: apimachinery `pkg/labels/selector.go`, `pkg/apis/meta/v1/helpers.go`
//! (`LabelSelectorAsSelector`), `pkg/fields/selector.go`.

mod fields;
mod parse;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::field::{Errors, Path};
use crate::names;

pub use fields::{FieldSelector, NotSelectable};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `a=b`
    Equals,
    /// `a==b`
    DoubleEquals,
    /// `a!=b`; also true without the label.
    NotEquals,
    /// `a in (b,c)`
    In,
    /// `a notin (b,c)`; also true without the label.
    NotIn,
    /// `a`
    Exists,
    /// `!a`
    DoesNotExist,
    /// `a>1`
    GreaterThan,
    /// `a<1`
    LessThan,
}

/// One condition on the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, without repetitions.
    values: Vec<String>,
}

/// Conditions on the labels, all of which must hold. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// A selector that cannot be understood, in apimachinery's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);

impl Requirement {
    pub(crate) fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, Malformed> {
        values.sort();
        values.dedup();
        let mut errors = Errors::default();
        let path = Path::new("values");
        check_key(key, &Path::new("key"), &mut errors);
        let count_is_wrong = match operator {
            Operator::In | Operator::NotIn => {
                values.is_empty().then_some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals => {
                (values.len() != 1).then_some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist => {
                (!values.is_empty()).then_some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan => {
                (values.len() != 1).then_some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
        };
        if let Some(why) = count_is_wrong {
            errors.invalid(&path, &values, why);
        }
        for (i, value) in values.iter().enumerate() {
            let wants_number = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if wants_number && value.parse::<i64>().is_err() {
                errors.invalid(
                    &path.index(i),
                    value,
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                );
            }
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.invalid(&path.index(i).key(key), value, &wrong.join("; "));
            }
        }
        aggregate(errors)?;
        Ok(Self { key: key.into(), operator, values })
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let is_one = value.is_some_and(|value| self.values.contains(value));
        let number = |text: &String| text.parse::<i64>().ok();
        let numbers = value.and_then(number).zip(self.values.first().and_then(number));
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => is_one,
            Operator::NotEquals | Operator::NotIn => !is_one,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => numbers.is_some_and(|(have, bound)| have > bound),
            Operator::LessThan => numbers.is_some_and(|(have, bound)| have < bound),
        }
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl Selector {
    /// The selector of an object that has none: it selects nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// All of these labels with these values, as a Service's selector.
    #[must_use]
    pub fn from_labels(labels: &Labels) -> Self {
        let equals = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Self { requirements: labels.iter().map(equals).collect(), nothing: false }
    }

    /// Whether there are no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        let none = Labels::new();
        !self.nothing && self.requirements.iter().all(|one| one.matches(labels.unwrap_or(&none)))
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = Malformed;

    fn try_from(object: &LabelSelector) -> Result<Self, Malformed> {
        let mut requirements = Vec::new();
        for (key, value) in object.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in object.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let other = crate::field::quoted(other);
                    return Err(Malformed(format!("{other} is not a valid label selector operator")));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }
}

impl FromStr for Selector {
    type Err = Malformed;

    /// Reads `a=b,c!=d,e in (x,y),!f`, as after kubectl's `-l`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut requirements = parse::requirements(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(","))
    }
}

pub(crate) fn check_key(key: &str, path: &Path, errors: &mut Errors) {
    let wrong = names::qualified_name(key);
    if !wrong.is_empty() {
        errors.invalid(path, key, &wrong.join("; "));
    }
}

/// Several errors in one text (apimachinery `errors.Aggregate`).
fn aggregate(errors: Errors) -> Result<(), Malformed> {
    let errors: Vec<_> = errors.into_vec().iter().map(ToString::to_string).collect();
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(Malformed(one.clone())),
        all => Err(Malformed(format!("[{}]", all.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
    use proptest::prelude::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn selectors_mean_what_kubectl_users_mean() {
        let table = [
            ("", "", true),
            ("a=b", "a=b,c=d", true),
            ("a=b", "a=x", false),
            ("a==b", "a=b", true),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a", "a=", true),
            ("a", "b=a", false),
            ("!a", "b=a", true),
            ("a in (b,c)", "a=c", true),
            ("a in (b,c)", "", false),
            ("a notin (b,c)", "", true),
            ("a notin (b,c)", "a=b", false),
            ("a=", "a=", true),
            ("a in ()", "a=", true),
            ("a in (,b)", "a=", true),
            ("a>1,a<3", "a=2", true),
            ("a>1", "a=x", false),
            ("app.kubernetes.io/name=web, tier in (front)", "app.kubernetes.io/name=web,tier=front", true),
            ("in in (in)", "in=in", true),
            ("a=b,c!=d,e in (x,y),!f", "a=b,e=y", true),
        ];
        for (selector, with, expected) in table {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.matches(Some(&labels(with))), expected, "{selector:?} on {with:?}");
        }
        assert!(Selector::default().matches(None));
        assert!(!Selector::nothing().matches(None));
        assert!(!Selector::nothing().is_empty());
        assert!(Selector::from_labels(&labels("a=b")).matches(Some(&labels("a=b,c=d"))));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_in_apimachinerys_words() {
        let wrong = [
            "a=b=c",
            "a in b",
            "a in (b",
            "a,,b",
            "=a",
            "a=b c",
            "(a)",
            "a>x",
            "a in (b c)",
            "-a",
            "a=-",
            "a=b,",
        ];
        let said: Vec<_> =
            wrong.iter().map(|text| format!("{text}: {}", text.parse::<Selector>().unwrap_err())).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn selectors_of_objects() {
        let expression = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: Some(values.iter().map(ToString::to_string).collect()),
        };
        let object = LabelSelector {
            match_labels: Some(labels("app=web")),
            match_expressions: Some(vec![
                expression("tier", "In", &["b", "a"]),
                expression("old", "DoesNotExist", &[]),
                expression("zone", "NotIn", &["x"]),
                expression("app", "Exists", &[]),
            ]),
        };
        let selector = Selector::try_from(&object).unwrap();
        assert_eq!(selector.to_string(), "app=web,app,!old,tier in (a,b),zone notin (x)");
        assert!(selector.matches(Some(&labels("app=web,tier=a"))));
        assert!(Selector::try_from(&LabelSelector::default()).unwrap().is_empty());
        let with = |one| LabelSelector { match_labels: None, match_expressions: Some(vec![one]) };
        let said = |one| Selector::try_from(&with(one)).unwrap_err().to_string();
        assert_eq!(said(expression("a", "Like", &[])), r#""Like" is not a valid label selector operator"#);
        assert_eq!(
            said(expression("a", "In", &[])),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
        );
    }

    proptest! {
        #[test]
        fn a_selector_is_read_back_as_it_was_written(
            parts in prop::collection::vec(("[a-z]{1,5}", 0..7u8, prop::collection::vec("[a-z0-9]{1,4}", 1..4)), 0..5)
        ) {
            let requirements = parts.into_iter().map(|(key, operator, values)| {
                let one = vec![values[0].clone()];
                let (operator, values) = match operator {
                    0 => (Operator::Equals, one),
                    1 => (Operator::DoubleEquals, one),
                    2 => (Operator::NotEquals, one),
                    3 => (Operator::In, values),
                    4 => (Operator::NotIn, values),
                    5 => (Operator::Exists, vec![]),
                    _ => (Operator::DoesNotExist, vec![]),
                };
                // A label may be called as an operator, but a value in the text is then an operator.
                Requirement::new(&format!("k{key}"), operator, values).unwrap()
            });
            let mut requirements: Vec<_> = requirements.collect();
            requirements.sort_by(|a, b| a.key.cmp(&b.key));
            let selector = Selector { requirements, nothing: false };
            prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = text.parse::<Selector>();
            let _ = text.parse::<FieldSelector>();
        }
    }
}
