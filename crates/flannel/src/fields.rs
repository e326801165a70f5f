//! JSON objects as Go reads them: the names of keys are compared without regard to case, and of two
//! alike the last counts (`encoding/json`, "Unmarshal").

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// An object's fields, by their names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Fields(BTreeMap<String, Value>);

/// What a field is not.
#[derive(Debug, thiserror::Error)]
#[error("{name} is {value}, not {kind}")]
pub(crate) struct WrongType {
    name: String,
    value: Value,
    kind: &'static str,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Folded;
        impl<'de> Visitor<'de> for Folded {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    fields.insert(name.to_lowercase(), value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Folded)
    }
}

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(&name.to_lowercase())
    }

    /// A field through `read`; `null` is as good as absent.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        kind: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, WrongType> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(WrongType { name: name.into(), value: value.clone(), kind }),
            },
        }
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, WrongType> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, WrongType> {
        self.read(name, "a whole number", Value::as_u64)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, WrongType> {
        self.read(name, "a string", |value| value.as_str().map(Into::into))
    }
}
