//! Errors that name a field, in the words of the API server.
//!
//! Source: apimachinery `pkg/util/validation/field/{errors,path}.go`; how kubectl shows them:
//! kubectl `pkg/cmd/util/helpers.go` (`StandardErrorMessage`, `MultilineError`).

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::Serialize;
use serde_json::Value;

/// Where a field is, as `spec.containers[0].name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A field of the object itself.
    #[must_use]
    pub fn new(root: &str) -> Self {
        Self(root.into())
    }

    /// A field of this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An element of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field (apimachinery `ErrorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It has to be there.
    Required,
    /// It has to be unique, and is not.
    Duplicate,
    /// It is not well-formed.
    Invalid,
    /// It is none of a list of values.
    NotSupported,
    /// It refers to something that is not there.
    NotFound,
    /// It may not be there, or not change.
    Forbidden,
    /// It has too many bytes.
    TooLong,
    /// It has too many items.
    TooMany,
}

impl ErrorKind {
    /// The machine's word for it, as in `status.details.causes[].reason`.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::NotFound => "Not found",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong)
    }
}

/// One thing that is wrong with an object. Shown as `spec.x: Invalid value: "y": must be z`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What.
    pub kind: ErrorKind,
    /// Where; empty for the object as a whole.
    pub field: String,
    /// The value as it was; not shown where it is missing, too long or none of one's business.
    pub value: Value,
    /// Why; may be empty.
    pub detail: String,
}

impl FieldError {
    /// The message without the field.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = self.kind.words().to_owned();
        if self.kind.shows_value() {
            body = format!("{body}: {}", shown(&self.value));
        }
        if self.detail.is_empty() { body } else { format!("{body}: {}", self.detail) }
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Text in double quotes, as Go's `%q` writes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An object that may not be stored. Shown as kubectl shows it: a single error in the same line, several
/// in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Invalid {
    /// The kind's group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// Everything that is wrong, without repetitions.
    pub errors: Vec<FieldError>,
}

impl Invalid {
    /// Nothing, if there are no errors.
    pub(crate) fn unless_empty(info: &crate::KindInfo, name: &str, errors: Errors) -> Result<(), Self> {
        let errors = errors.distinct();
        if errors.is_empty() {
            return Ok(());
        }
        Err(Self { group: info.group.into(), kind: info.kind.into(), name: name.into(), errors })
    }

    /// The message in the API server's answer (apimachinery `errors.NewInvalid`).
    #[must_use]
    pub fn message(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        let of = format!("{}{dot}{} {} is invalid: ", self.kind, self.group, quoted(&self.name));
        let errors: Vec<_> = self.errors.iter().map(ToString::to_string).collect();
        if let [error] = errors.as_slice() {
            return of + error;
        }
        format!("{of}[{}]", errors.join(", "))
    }
}

impl Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The {} {} is invalid: ", self.kind, quoted(&self.name))?;
        if let [error] = self.errors.as_slice() {
            return write!(f, "{error}");
        }
        self.errors.iter().try_for_each(|error| write!(f, "\n* {error}"))
    }
}

impl std::error::Error for Invalid {}

/// Errors as they are found.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// What was found, in order.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were found; to see whether a part was in order.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn distinct(self) -> Vec<FieldError> {
        let mut seen = BTreeSet::new();
        self.0.into_iter().filter(|error| seen.insert(error.to_string())).collect()
    }

    fn push(&mut self, kind: ErrorKind, path: &Path, value: impl Serialize, detail: &str) {
        // Whatever is shown was read from JSON, so it can be written as such.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.push(FieldError { kind, field: path.to_string(), value, detail: detail.into() });
    }

    /// It has to be there.
    pub fn required(&mut self, path: &Path, detail: &str) {
        self.push(ErrorKind::Required, path, "", detail);
    }

    /// It is not well-formed.
    pub fn invalid(&mut self, path: &Path, value: impl Serialize, detail: &str) {
        self.push(ErrorKind::Invalid, path, value, detail);
    }

    /// It is not well-formed, for each of these reasons.
    pub fn invalid_each(&mut self, path: &Path, value: impl Serialize + Copy, details: Vec<String>) {
        for detail in details {
            self.invalid(path, value, &detail);
        }
    }

    /// It is there twice.
    pub fn duplicate(&mut self, path: &Path, value: impl Serialize) {
        self.push(ErrorKind::Duplicate, path, value, "");
    }

    /// It refers to nothing.
    pub fn not_found(&mut self, path: &Path, value: impl Serialize) {
        self.push(ErrorKind::NotFound, path, value, "");
    }

    /// It may not be there, or not change.
    pub fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(ErrorKind::Forbidden, path, "", detail);
    }

    /// It is none of `supported`, which are shown in the order given.
    pub fn not_supported(&mut self, path: &Path, value: impl Serialize, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| quoted(value)).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.push(ErrorKind::NotSupported, path, value, &detail);
    }

    /// It has more than `most` bytes.
    pub fn too_long(&mut self, path: &Path, most: usize) {
        self.push(ErrorKind::TooLong, path, "", &format!("may not be more than {most} bytes"));
    }

    /// It has `actual` items, which is more than `most`.
    pub fn too_many(&mut self, path: &Path, actual: usize, most: usize) {
        self.push(ErrorKind::TooMany, path, actual, &format!("must have at most {most} items"));
    }

    /// It is below zero (apimachinery `ValidateNonnegativeField`).
    pub fn negative(&mut self, path: &Path, value: impl Into<i64>) {
        let value = value.into();
        if value < 0 {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> Errors {
        let mut errors = Errors::default();
        let containers = Path::new("spec").child("containers");
        errors.required(&containers.index(0).child("name"), "");
        errors.duplicate(&containers.index(1).child("name"), "a");
        errors.duplicate(&containers.index(1).child("name"), "a");
        errors.invalid(&Path::new("spec").child("replicas"), -1, "must be greater than or equal to 0");
        errors.invalid(&Path::new("spec").child("selector"), json!({"app": "a"}), "field is immutable");
        errors.not_supported(&containers.index(0).child("protocol"), "x\n", &["SCTP", "TCP", "UDP"]);
        errors.forbidden(&Path::new("metadata").child("labels").key("a"), "no");
        errors
    }

    #[test]
    fn errors_are_shown_as_kubectl_and_the_api_server_show_them() {
        let info = &crate::kinds::DEPLOYMENTS;
        let all = Invalid::unless_empty(info, "web", example()).unwrap_err();
        insta::assert_snapshot!(format!("{all}\n\n{}", all.message()));
        let mut one = Errors::default();
        one.required(&Path::new("spec"), "now");
        let one = Invalid::unless_empty(&crate::kinds::PODS, "web", one).unwrap_err();
        assert_eq!(one.to_string(), r#"The Pod "web" is invalid: spec: Required value: now"#);
        assert_eq!(one.message(), r#"Pod "web" is invalid: spec: Required value: now"#);
        assert_eq!(Invalid::unless_empty(info, "web", Errors::default()), Ok(()));
    }

    #[test]
    fn text_is_quoted_as_go_does() {
        assert_eq!(quoted("a\"b\\c\n\u{1}é"), r#""a\"b\\c\n\x01é""#);
    }
}
