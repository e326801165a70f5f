//! `metadata.uid`: who an object is, whatever its name.

/// A new UUID, as the API server gives to each object.
#[must_use]
pub fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
