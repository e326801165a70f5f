//! kubectl's JSONPath: `{.items[*].metadata.name}`, `{range .items[*]}{.metadata.name}{"\n"}{end}`.
//!
//! It is older than the JSONPath of RFC 9535 and differs: there are templates around paths, a dot in a name is
//! written `\.`, and what is not there is nothing instead of an error. Source: client-go
//! `util/jsonpath/{parser,jsonpath}.go`, <https://kubernetes.io/docs/reference/kubectl/jsonpath/>.

mod parse;

use std::cmp::Ordering;

use serde_json::Value;

use crate::error::Error;

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// `$`: the whole document.
    Root,
    /// `@`, or nothing: where one is.
    Here,
}

/// Where values are in a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    start: Start,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// `.name`
    Field(String),
    /// `['name']`: a field, or else a path, as it is for kubectl.
    Quoted(String, Vec<Step>),
    /// `[1]`, `[-1]`
    Index(i64),
    /// `[begin:end:step]`
    Slice(Option<i64>, Option<i64>, i64),
    /// `[*]`, `.*`
    All,
    /// `..`: whatever is below, and the value itself.
    Below,
    /// `[0,1]`, `['a','b']`
    Union(Vec<Step>),
    /// `[?(@.a=="b")]`
    Filter(Box<Filter>),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    /// None asks whether the left one is there.
    test: Option<(Comparison, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Text with paths in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
    /// `{range …}` with what stands before its `{end}`.
    Range(Path, Vec<Part>),
}

impl Path {
    /// Reads `.metadata.name`, `metadata.name` or `{.metadata.name}`.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::relaxed(text).map_err(Error::Path)
    }

    /// What is there, in the order of the document.
    #[must_use]
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.find_from(root, root)
    }

    fn find_from<'a>(&self, root: &'a Value, here: &'a Value) -> Vec<&'a Value> {
        let start = match self.start {
            Start::Root => root,
            Start::Here => here,
        };
        follow(&self.steps, root, vec![start])
    }
}

fn follow<'a>(steps: &[Step], root: &'a Value, start: Vec<&'a Value>) -> Vec<&'a Value> {
    steps.iter().fold(start, |found, step| match step {
        // All of the first, then all of the second.
        Step::Union(steps) => {
            steps.iter().flat_map(|step| follow(std::slice::from_ref(step), root, found.clone())).collect()
        }
        step => found.into_iter().flat_map(|value| step.find(root, value)).collect(),
    })
}

impl Step {
    fn find<'a>(&self, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Quoted(name, path) => match value.get(name) {
                Some(value) => vec![value],
                None => follow(path, root, vec![value]),
            },
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                position(*index, items.len()).and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::Slice(begin, end, step) => slice(value, *begin, *end, *step),
            Self::All => children(value),
            Self::Below => below(value),
            Self::Union(steps) => steps.iter().flat_map(|step| step.find(root, value)).collect(),
            Self::Filter(filter) => {
                children(value).into_iter().filter(|item| filter.holds(root, item)).collect()
            }
        }
    }
}

/// Negative indices count from the end.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn slice(value: &Value, begin: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let at = |index: Option<i64>, otherwise: usize| match index {
        None => otherwise,
        Some(index) => position(index, items.len()).unwrap_or_default().min(items.len()),
    };
    let (begin, end) = (at(begin, 0), at(end, items.len()));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    items.get(begin..end.max(begin)).into_iter().flatten().step_by(step).collect()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn below(value: &Value) -> Vec<&Value> {
    let mut found = vec![value];
    for child in children(value) {
        found.extend(below(child));
    }
    found
}

impl Filter {
    fn holds(&self, root: &Value, item: &Value) -> bool {
        let left = self.left.value(root, item);
        let Some((comparison, right)) = &self.test else { return left.is_some() };
        let right = right.value(root, item);
        let (Some(left), Some(right)) = (left, right) else { return false };
        let order = compare(left, right);
        match comparison {
            Comparison::Equal => left == right || order == Some(Ordering::Equal),
            Comparison::NotEqual => left != right && order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, root: &'a Value, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Path(path) => path.find_from(root, item).into_iter().next(),
        }
    }
}

/// Numbers by their size, text by its bytes; others not at all.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::template(text).map(Self).map_err(Error::Path)
    }

    /// The text, with what is in the document.
    #[must_use]
    pub fn render(&self, document: &Value) -> String {
        let mut text = String::new();
        render(&self.0, document, document, &mut text);
        text
    }
}

fn render(parts: &[Part], root: &Value, here: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(own) => text.push_str(own),
            Part::Path(path) => {
                let found: Vec<_> = path.find_from(root, here).into_iter().map(plain).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for item in path.find_from(root, here) {
                    render(inner, root, item, text);
                }
            }
        }
    }
}

/// Text as it is, everything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
