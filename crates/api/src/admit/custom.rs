//! Custom resources: only their metadata is judged here.
//!
//! Source: apiextensions-apiserver `pkg/registry/customresource/strategy.go`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{Rejection, Stamp, carry_over, count, name_of, stamp_new};
use crate::decode::{self, Problem, Undecodable};
use crate::field::{Errors, Invalid};
use crate::gateway::{Gateway, GatewayClass, HTTPRoute, ReferenceGrant};
use crate::keys::Kind;
use crate::kinds::KindInfo;
use crate::validate::meta;

pub(super) fn create(info: &KindInfo, document: &Value, stamp: &Stamp) -> Result<Value, Rejection> {
    let mut metadata = metadata_of(info, document)?;
    readable(info, document)?;
    stamp_new(&mut metadata, stamp, true);
    let mut errors = Errors::default();
    meta::object_meta(&metadata, info, &mut errors);
    Invalid::unless_empty(info, name_of(&metadata), errors)?;
    Ok(with(document, &metadata, None))
}

pub(super) fn update(info: &KindInfo, document: &Value, old: &Value) -> Result<Value, Rejection> {
    let (mut metadata, before) = (metadata_of(info, document)?, metadata_of(info, old)?);
    readable(info, document)?;
    carry_over(&mut metadata, &before);
    if document.get("spec") != old.get("spec") {
        count(&mut metadata);
    }
    let mut errors = Errors::default();
    meta::object_meta(&metadata, info, &mut errors);
    meta::object_meta_update(&metadata, &before, &mut errors);
    Invalid::unless_empty(info, name_of(&before), errors)?;
    Ok(with(document, &metadata, old.get("status")))
}

pub(super) fn update_status(document: &Value, old: &Value) -> Value {
    let mut object = old.clone();
    if let (Some(fields), Some(status)) = (object.as_object_mut(), document.get("status")) {
        fields.insert("status".into(), status.clone());
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(metadata), Some(version)) = (metadata, document.pointer("/metadata/resourceVersion")) {
        metadata.insert("resourceVersion".into(), version.clone());
    }
    object
}

/// Of kinds whose types are known, no document is stored that is none; fields that the types do not have
/// stay as they are.
fn readable(info: &KindInfo, document: &Value) -> Result<(), Undecodable> {
    if *info == *GatewayClass::INFO {
        decode::lenient::<GatewayClass>(document).map(|_| ())
    } else if *info == *Gateway::INFO {
        decode::lenient::<Gateway>(document).map(|_| ())
    } else if *info == *HTTPRoute::INFO {
        decode::lenient::<HTTPRoute>(document).map(|_| ())
    } else if *info == *ReferenceGrant::INFO {
        decode::lenient::<ReferenceGrant>(document).map(|_| ())
    } else {
        Ok(())
    }
}

fn metadata_of(info: &KindInfo, document: &Value) -> Result<ObjectMeta, Undecodable> {
    let fail = |problem| Undecodable { kind: info.kind.into(), version: info.api_version(), problem };
    if !document.is_object() {
        return Err(fail(Problem::Type(format!("cannot unmarshal into Go value of type {}", info.kind))));
    }
    let metadata = document.get("metadata").cloned().unwrap_or_else(|| Value::Object(Default::default()));
    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| ignored.push(format!("metadata.{path}"));
    let decoded = serde_ignored::deserialize(metadata, &mut note);
    match decoded {
        Err(error) => Err(fail(Problem::Type(format!("cannot unmarshal metadata: {error}")))),
        Ok(_) if !ignored.is_empty() => Err(fail(Problem::UnknownFields(ignored))),
        Ok(metadata) => Ok(metadata),
    }
}

fn with(document: &Value, metadata: &ObjectMeta, status: Option<&Value>) -> Value {
    let mut object = document.clone();
    object["metadata"] = serde_json::to_value(metadata).unwrap_or_default();
    if let Value::Object(fields) = &mut object {
        match status {
            Some(status) => fields.insert("status".into(), status.clone()),
            None => fields.remove("status"),
        };
    }
    object
}
