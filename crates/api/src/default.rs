//! What the API server fills in where a document says nothing.
//!
//! Sources: kubernetes `pkg/apis/{core,apps}/v1/defaults.go` and `zz_generated.defaults.go`.

pub(crate) mod apps;
pub(crate) mod core;
pub(crate) mod pod;
pub(crate) mod service;

/// Sets what is not set. Go's zero value counts as not set for text, as it does in Go.
pub(crate) fn text(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.into());
    }
}

/// Sets a number that is not set or 0.
pub(crate) fn number(field: &mut Option<i32>, value: i32) {
    if matches!(field, None | Some(0)) {
        *field = Some(value);
    }
}
