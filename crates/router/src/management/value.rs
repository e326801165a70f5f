//! Between AMQP's values and those of the configuration.

use std::collections::BTreeMap;

use serde_amqp::Value;
use serde_json::Value as Json;

pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(super) fn map(attributes: BTreeMap<String, Value>) -> Value {
    Value::Map(attributes.into_iter().map(|(name, value)| (Value::String(name), value)).collect())
}

pub(super) fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    list(texts.into_iter().map(text))
}

/// As upstream's Python writes values (`qd_py_to_composed`).
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => i32::try_from(number).map_or(Value::Long(number), Value::Int),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::Null,
        },
        Json::String(string) => text(string),
        Json::Array(values) => list(values.iter().map(from_json)),
        Json::Object(members) => {
            map(members.iter().map(|(name, value)| (name.clone(), from_json(value))).collect())
        }
    }
}

/// None for what the configuration has no form for.
pub(super) fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Ubyte(number) => (*number).into(),
        Value::Ushort(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Ulong(number) => (*number).into(),
        Value::Byte(number) => (*number).into(),
        Value::Short(number) => (*number).into(),
        Value::Int(number) => (*number).into(),
        Value::Long(number) => (*number).into(),
        Value::String(_) | Value::Symbol(_) => as_text(value)?.into(),
        Value::List(values) => Json::Array(values.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(members) => {
            let members =
                members.iter().map(|(name, value)| Some((as_text(name)?.to_owned(), to_json(value)?)));
            Json::Object(members.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// A request's body: a map, or nothing at all.
pub(super) fn body(body: Option<&Value>) -> Option<serde_json::Map<String, Json>> {
    match body.map(to_json) {
        None | Some(Some(Json::Null)) => Some(serde_json::Map::new()),
        Some(Some(Json::Object(map))) => Some(map),
        _ => None,
    }
}

pub(super) fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}

pub(super) fn as_size(value: &Value) -> Option<usize> {
    usize::try_from(to_json(value)?.as_u64()?).ok()
}
