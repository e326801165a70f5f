//! An entity as the router's management sees it: a type and its attributes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

use super::schema::{Attribute, EntityType, Kind};

/// One entity, every attribute in its proper form, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Its type.
    pub kind: &'static EntityType,
    /// Its attributes, without `type`.
    pub attributes: BTreeMap<String, Value>,
}

/// Why an entity cannot be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}")]
pub struct Problem {
    /// The attribute that is to blame.
    pub attribute: Option<String>,
    /// What is wrong, and how to get out.
    pub what: String,
}

impl Problem {
    pub(super) fn of(attribute: &str, what: impl Into<String>) -> Self {
        Self { attribute: Some(attribute.to_owned()), what: what.into() }
    }

    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { attribute: None, what: what.into() }
    }
}

impl Entity {
    /// Checks and completes what was given: names are known, values take their proper form, defaults are
    /// filled in, and so are `identity` and `name`. `ordinal` is the number of entities of this type that
    /// exist already; types without an identifying attribute are counted.
    ///
    /// # Errors
    /// The first thing that is unknown, missing or of the wrong form.
    pub fn new(
        kind: &'static EntityType,
        given: &Map<String, Value>,
        ordinal: usize,
    ) -> Result<Self, Problem> {
        let mut attributes = Self::bare(kind).attributes;
        for (name, value) in given {
            let attribute = kind.attribute(name).ok_or_else(|| unknown(kind, name))?;
            match name.as_str() {
                "type" => {
                    return Err(Problem::of(
                        name,
                        "\"type\" is the entity's first element, not an attribute",
                    ));
                }
                "identity" => {
                    return Err(Problem::of(name, "\"identity\" is given by the router: use \"name\""));
                }
                _ if value.is_null() => {}
                _ => {
                    attributes.insert(name.clone(), formed(attribute, value)?);
                }
            }
        }
        for attribute in kind.attributes().filter(|attribute| attribute.name != "type") {
            if attribute.required && !attributes.contains_key(attribute.name) {
                return Err(Problem::of(attribute.name, format!("\"{}\" is missing", attribute.name)));
            }
        }
        let mut entity = Self { kind, attributes };
        entity.identify(ordinal)?;
        Ok(entity)
    }

    /// What the schema says where nothing else is said; without name and identity.
    #[must_use]
    pub fn bare(kind: &'static EntityType) -> Self {
        let defaults = kind.attributes().filter_map(|attribute| {
            attribute.default.map(|default| (attribute.name.to_owned(), default.into()))
        });
        Self { kind, attributes: defaults.collect() }
    }

    /// Its name, unique among all entities.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// Its identity: type and what tells it from others of the type.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.text("identity").unwrap_or_default()
    }

    /// A text attribute.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute)?.as_str()
    }

    /// A number.
    #[must_use]
    pub fn integer(&self, attribute: &str) -> Option<i64> {
        self.attributes.get(attribute)?.as_i64()
    }

    /// Whether an attribute is there and true.
    #[must_use]
    pub fn is(&self, attribute: &str) -> bool {
        self.attributes.get(attribute).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The attributes that say more than the defaults, `name` first, then in the schema's order.
    pub fn said(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let name = (self.name() != self.identity()).then(|| self.attributes.get_key_value("name")).flatten();
        let rest = self.kind.attributes().filter_map(|attribute| {
            let value = self.attributes.get(attribute.name)?;
            let is_default = attribute.default.is_some_and(|default| Value::from(default) == *value);
            let is_identity = matches!(attribute.name, "name" | "identity" | "type");
            (!is_default && !is_identity).then_some((attribute.name, value))
        });
        name.map(|(_, value)| ("name", value)).into_iter().chain(rest)
    }

    /// Fills in `identity`, and `name` where none was given, as upstream's `management/agent.py` does in each
    /// entity's `_identifier`.
    fn identify(&mut self, ordinal: usize) -> Result<(), Problem> {
        let kind = self.kind.short_name();
        let part = |attribute: &str| self.text(attribute).unwrap_or_default().to_owned();
        let name = self.text("name").filter(|name| !name.is_empty());
        let named = |start: String| match name {
            Some(name) => format!("{start}:{name}"),
            None => start,
        };
        let identifier = match kind {
            "listener" | "connector" | "tcpListener" | "tcpConnector" => {
                named(format!("{}:{}", part("host"), part("port")))
            }
            "listenerAddress" => named(format!("{}:{}", part("listener"), part("address"))),
            "sslProfile" | "proxyProfile" => match name {
                Some(name) => name.to_owned(),
                None => return Err(Problem::of("name", "\"name\" is missing: it is what others refer to")),
            },
            "router" => part("id"),
            "log" => part("module"),
            "vhost" => part("hostname"),
            "site" => "None".to_owned(),
            _ => ordinal.to_string(),
        };
        let identity = format!("{kind}/{identifier}");
        if name.is_none() {
            self.attributes.insert("name".to_owned(), identity.clone().into());
        }
        self.attributes.insert("identity".to_owned(), identity.into());
        Ok(())
    }
}

fn unknown(kind: &EntityType, name: &str) -> Problem {
    let known: Vec<_> = kind
        .attributes()
        .filter(|known| known.create || known.update || known.required)
        .map(|known| known.name)
        .collect();
    let known: Vec<_> = known.into_iter().filter(|name| *name != "type").collect();
    Problem::of(name, format!("unknown attribute \"{name}\": there are {}", known.join(", ")))
}

/// The value in its proper form.
///
/// # Errors
/// Where it has none.
pub fn formed(attribute: &Attribute, value: &Value) -> Result<Value, Problem> {
    let name = attribute.name;
    let refused =
        |must: &str| Err(Problem::of(name, format!("\"{name}\" must be {must}, and is {}", shown(value))));
    match attribute.kind {
        Kind::Text | Kind::Path => match value {
            Value::String(_) => Ok(value.clone()),
            Value::Number(number) => Ok(number.to_string().into()),
            _ => refused("a text"),
        },
        Kind::Integer => match integer(value) {
            Some(number) => Ok(number.into()),
            None => refused("a whole number"),
        },
        Kind::Boolean => match truth(value) {
            Some(truth) => Ok(truth.into()),
            None => refused("true or false"),
        },
        Kind::OneOf(words) => {
            let word = value.as_str().filter(|word| words.contains(word));
            let by_place = || words.get(usize::try_from(integer(value)?).ok()?).copied();
            match word.or_else(by_place) {
                Some(word) => Ok(word.into()),
                None => refused(&format!("one of {}", words.join(", "))),
            }
        }
        Kind::List if value.is_array() => Ok(value.clone()),
        Kind::List => refused("a list"),
        Kind::Map if value.is_object() => Ok(value.clone()),
        Kind::Map => refused("a map"),
        Kind::Properties => match value.as_object() {
            Some(map) if map.keys().all(|key| key.is_ascii()) => Ok(value.clone()),
            _ => refused("a map whose keys are ASCII"),
        },
    }
}

/// Values of passwords do not come here: they are texts, which are never refused.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Some(true),
            "no" | "false" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}
