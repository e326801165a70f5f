//! From a document to an object that may be stored, as the API server goes: decode strictly, fill in what
//! is not the writer's to choose, set defaults, validate.
//!
//! [`create`], [`update`] and [`update_status`] know the type; [`create_any`], [`update_any`] and
//! [`update_status_any`] find it by the table of kinds, for the command line and the API server. Custom
//! resources, which have no type here, get the rules for metadata only.
//!
//! Sources: apiserver `pkg/registry/rest/{create,update,meta}.go`; kubernetes
//! `pkg/registry/**/strategy.go` (`PrepareForCreate`, `PrepareForUpdate`).

mod custom;
mod kinds;
mod pod;
mod service;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decode::{self, Undecodable};
use crate::field::{Errors, Invalid};
use crate::keys::Kind;
use crate::kinds::KindInfo;
use crate::validate::meta;

/// What is not the writer's to choose.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// A new UUID.
    pub uid: String,
    /// When the object is made.
    pub now: Time,
}

/// A document that is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// It is no object of the kind.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// It is one, but not a valid one.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Rejection {
    /// As in `Error from server (BadRequest)`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => "BadRequest",
            Self::Invalid(_) => "Invalid",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Undecodable(_) => 400,
            Self::Invalid(_) => 422,
        }
    }
}

/// What the API server does with objects of a kind. The default is the rules for metadata.
pub trait Rules: Kind + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone {
    /// Whether its objects count the changes of their spec (`metadata.generation`).
    const COUNTED: bool = false;

    /// Fills in what a document leaves out.
    fn set_defaults(&mut self) {}

    /// Prepares a new object: what admission plugins set, and no status but the first one.
    fn prepare_create(&mut self) {}

    /// Keeps of the object as it was what a document leaves out, as addresses.
    fn prepare_update(&mut self, _old: &Self) {}

    /// Takes the status of another.
    fn take_status(&mut self, _other: &Self) {}

    /// Whether what is to be done is the same.
    fn same_spec(&self, _other: &Self) -> bool {
        true
    }

    /// What is wrong with a new object.
    fn validate(&self, errors: &mut Errors) {
        meta::object_meta(self.metadata(), Self::INFO, errors);
    }

    /// What is wrong with a changed one.
    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        self.validate(errors);
        meta::object_meta_update(self.metadata(), old.metadata(), errors);
    }
}

/// A new object from a document.
///
/// # Errors
/// Everything that is wrong with the document.
pub fn create<K: Rules>(document: &Value, stamp: &Stamp) -> Result<K, Rejection> {
    let mut object: K = decode::strict(document)?;
    stamp_new(object.metadata_mut(), stamp, K::COUNTED);
    object.set_defaults();
    object.prepare_create();
    let mut errors = Errors::default();
    object.validate(&mut errors);
    Invalid::unless_empty(K::INFO, name_of(object.metadata()), errors)?;
    Ok(object)
}

/// A changed object from a document and the object as it is. The status stays. A document without a
/// `resourceVersion` gets that of `old`: it changes whatever is there.
///
/// # Errors
/// Everything that is wrong with the document.
pub fn update<K: Rules>(document: &Value, old: &K) -> Result<K, Rejection> {
    let mut object: K = decode::strict(document)?;
    carry_over(object.metadata_mut(), old.metadata());
    object.prepare_update(old);
    object.set_defaults();
    object.take_status(old);
    if K::COUNTED && !object.same_spec(old) {
        count(object.metadata_mut());
    }
    let mut errors = Errors::default();
    object.validate_update(old, &mut errors);
    Invalid::unless_empty(K::INFO, name_of(old.metadata()), errors)?;
    Ok(object)
}

/// The object as it is with the status of a document.
///
/// # Errors
/// What is wrong with the document's form; a status is not judged.
pub fn update_status<K: Rules>(document: &Value, old: &K) -> Result<K, Rejection> {
    let other: K = decode::strict(document)?;
    let mut object = old.clone();
    object.take_status(&other);
    if let Some(version) = &other.metadata().resource_version {
        object.metadata_mut().resource_version = Some(version.clone());
    }
    Ok(object)
}

/// As [`create`], for a kind of the table.
///
/// # Errors
/// Everything that is wrong with the document.
pub fn create_any(info: &KindInfo, document: &Value, stamp: &Stamp) -> Result<Value, Rejection> {
    match kinds::functions(info) {
        Some(functions) => (functions.create)(document, stamp),
        None => custom::create(info, document, stamp),
    }
}

/// As [`update`], for a kind of the table.
///
/// # Errors
/// Everything that is wrong with the document.
pub fn update_any(info: &KindInfo, document: &Value, old: &Value) -> Result<Value, Rejection> {
    match kinds::functions(info) {
        Some(functions) => (functions.update)(document, old),
        None => custom::update(info, document, old),
    }
}

/// As [`update_status`], for a kind of the table.
///
/// # Errors
/// What is wrong with the document's form.
pub fn update_status_any(info: &KindInfo, document: &Value, old: &Value) -> Result<Value, Rejection> {
    match kinds::functions(info) {
        Some(functions) => (functions.update_status)(document, old),
        None => Ok(custom::update_status(document, old)),
    }
}

fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Metadata of a new object (`FillObjectMetaSystemFields`).
fn stamp_new(meta: &mut ObjectMeta, stamp: &Stamp, counted: bool) {
    if name_of(meta).is_empty()
        && let Some(prefix) = meta.generate_name.as_deref().filter(|prefix| !prefix.is_empty())
    {
        meta.name = Some(generated(prefix, &stamp.uid));
    }
    meta.uid = Some(stamp.uid.clone());
    meta.creation_timestamp = Some(stamp.now.clone());
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    meta.generation = counted.then_some(1);
    meta.resource_version = None;
    meta.self_link = None;
    meta.managed_fields = None;
}

/// Metadata that a writer may leave out, and that which is not his.
fn carry_over(new: &mut ObjectMeta, old: &ObjectMeta) {
    fn keep<T: Clone>(new: &mut Option<T>, old: &Option<T>) {
        if new.is_none() {
            new.clone_from(old);
        }
    }
    keep(&mut new.uid, &old.uid);
    keep(&mut new.creation_timestamp, &old.creation_timestamp);
    keep(&mut new.deletion_timestamp, &old.deletion_timestamp);
    keep(&mut new.deletion_grace_period_seconds, &old.deletion_grace_period_seconds);
    if new.resource_version.as_deref().is_none_or(str::is_empty) {
        new.resource_version.clone_from(&old.resource_version);
    }
    keep(&mut new.generate_name, &old.generate_name);
    new.generation = old.generation;
    new.self_link = None;
    new.managed_fields = None;
}

fn count(meta: &mut ObjectMeta) {
    meta.generation = Some(meta.generation.unwrap_or_default() + 1);
}

/// A name for an object that has only the beginning of one (apiserver `pkg/storage/names/generate.go`).
/// Chance comes from the UUID.
fn generated(prefix: &str, uid: &str) -> String {
    /// No vowels, so that no words come out.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const MOST: usize = 63 - 5;
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).collect();
    let mut number = u128::from_str_radix(&digits, 16).unwrap_or_default();
    let mut name: String = prefix.chars().take(MOST).collect();
    for _ in 0..5 {
        // The remainder is below the number of letters, so it fits.
        let at = usize::try_from(number % LETTERS.len() as u128).unwrap_or_default();
        name.push(char::from(LETTERS[at]));
        number /= LETTERS.len() as u128;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_from_chance() {
        let name = generated("web-", "0190a7b8-1234-7abc-8def-0123456789ab");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_ne!(name, generated("web-", "0190a7b8-1234-7abc-8def-0123456789ac"));
        assert_eq!(generated(&"a".repeat(80), "").len(), 63);
        assert_eq!(crate::names::dns_label(&name), [""; 0]);
    }
}
