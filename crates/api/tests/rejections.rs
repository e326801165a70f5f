//! What is refused, in which words: one snapshot for each file of `cases`.
//!
//! A file has a valid object and cases. A case says what to change in it, by JSON pointers (`~` removes,
//! `/-` appends), and whether the result is a new object or replaces the valid one.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use api::admit::{self, Stamp};
use api::{Rejection, kinds};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct File {
    valid: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    #[serde(default)]
    update: bool,
    set: BTreeMap<String, Value>,
}

fn stamp() -> Stamp {
    Stamp { uid: "0190a7b8-1234-7abc-8def-0123456789ab".into(), now: api::time::now() }
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let mut at = object;
    for name in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[name.parse::<usize>().expect("an index")],
            other => {
                if other.is_null() {
                    *other = Value::Object(Map::new());
                }
                &mut other[name]
            }
        };
    }
    match (at, &value) {
        (Value::Object(fields), Value::String(tilde)) if tilde == "~" => drop(fields.remove(field)),
        (Value::Array(items), _) if field == "-" => items.push(value),
        (Value::Array(items), _) => items[field.parse::<usize>().expect("an index")] = value,
        (at, _) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            at[field] = value;
        }
    }
}

/// Long repetitive parts of messages, which have tests of their own, are cut.
fn shortened(message: &str) -> String {
    let short = |line: &str| match line.split_once(" (e.g. ") {
        Some((words, _)) => format!("{words} (e.g. …)"),
        None => line.to_owned(),
    };
    message.lines().map(short).collect::<Vec<_>>().join("\n  ")
}

fn said(file: &File, case: &Case) -> String {
    let info = kinds::of(&file.valid).expect("a kind");
    let mut old = admit::create_any(info, &file.valid, &stamp()).expect("a valid object");
    old["metadata"]["resourceVersion"] = "7".into();
    let mut document = if case.update { old.clone() } else { file.valid.clone() };
    for (pointer, value) in &case.set {
        set(&mut document, pointer, value.clone());
    }
    let result = if case.update {
        admit::update_any(info, &document, &old)
    } else {
        admit::create_any(info, &document, &stamp())
    };
    match result {
        Ok(_) => "accepted".into(),
        Err(rejection @ Rejection::Undecodable(_)) => {
            format!("Error from server ({}): {rejection}", rejection.reason())
        }
        Err(Rejection::Invalid(invalid)) => invalid.to_string(),
    }
}

fn read(name: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{name}.yaml"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn check(name: &str) {
    let file = read(name);
    let all: Vec<_> = file
        .cases
        .iter()
        .map(|case| format!("{}:\n  {}", case.case, shortened(&said(&file, case))))
        .collect();
    insta::assert_snapshot!(name, all.join("\n"));
}

macro_rules! files {
    ($($name:ident)*) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

files! {
    metadata pods containers services deployments replicasets stateful_sets secrets config_maps endpoints
    endpoint_slices custom_resources http_routes ingresses ingress_classes node_ingresses virtual_ips
    sites connectors listeners links access_tokens access_grants
}

/// Every place in a document.
fn places(value: &Value, at: &str, places: &mut Vec<String>) {
    places.push(at.into());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| {
            self::places(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), places);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| self::places(v, &format!("{at}/{i}"), places));
        }
        _ => {}
    }
}

/// Whatever stands wherever: it is accepted or refused.
#[test]
fn no_document_makes_it_panic() {
    let values =
        ["null", "true", "-1", "99999999999", "\"\"", "\"x\"", "[]", "[null]", "[{}]", "{}", r#"{"a":null}"#];
    for name in FILES {
        let valid = read(name).valid;
        let info = kinds::of(&valid).unwrap();
        let mut old = admit::create_any(info, &valid, &stamp()).unwrap();
        old["metadata"]["resourceVersion"] = "7".into();
        let mut all = Vec::new();
        places(&old, "", &mut all);
        for place in &all {
            for value in values {
                let mut document = old.clone();
                *document.pointer_mut(place).unwrap() = serde_json::from_str(value).unwrap();
                let _ = admit::create_any(info, &document, &stamp());
                let _ = admit::update_any(info, &document, &old);
                let _ = admit::update_any(info, &old, &document);
                let _ = admit::update_status_any(info, &document, &old);
                let _ = admit::update_status_any(info, &old, &document);
            }
        }
    }
}
