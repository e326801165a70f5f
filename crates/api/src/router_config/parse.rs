//! Text to entities.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use thiserror::Error;

use super::check::{alone, clash, deprecated, refers};
use super::entity::{Entity, Problem};
use super::place::{Entry, Place, entries, place};
use super::schema::{EntityType, PREFIX};

/// Why a configuration is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{place}: {what}")]
pub struct Error {
    /// Where.
    pub place: Place,
    /// What is wrong, and how to get out.
    pub what: String,
}

/// What works, and does not do what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// One element of the file on its way to an entity.
struct Element<'a> {
    file: &'a str,
    text: &'a str,
    entry: Entry,
}

impl Element<'_> {
    fn place(&self, attribute: Option<&str>) -> Place {
        // Of a name that is given twice, the last counts.
        let key = attribute.and_then(|name| self.entry.keys.iter().rfind(|(key, _)| camel_case(key) == name));
        place(self.file, self.text, key.map_or(self.entry.start, |(_, at)| *at))
    }

    fn error(&self, what: impl Into<String>) -> Error {
        Error { place: self.place(None), what: what.into() }
    }

    fn problem(&self, kind: &EntityType, given: Option<&str>, problem: &Problem) -> Error {
        let what = match given {
            Some(name) => format!("{} \"{name}\": {problem}", kind.short_name()),
            None => format!("{}: {problem}", kind.short_name()),
        };
        Error { place: self.place(problem.attribute.as_deref()), what }
    }
}

/// Every entity of the file, checked alone and among the others.
pub(super) fn entities(file: &str, text: &str) -> Result<(Vec<Entity>, Vec<Warning>), Error> {
    let text = &without_comments(text);
    let values = list(file, text)?;
    let mut warnings = Vec::new();
    let mut found: Vec<(Element<'_>, Entity)> = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (value, entry) in values.iter().zip(entries(text)) {
        let element = Element { file, text, entry };
        let (kind, given) = read(&element, value, &mut warnings)?;
        let ordinal = counts.entry(kind.short_name()).or_default();
        let name = given.get("name").and_then(Value::as_str);
        let entity = Entity::new(kind, &given, *ordinal)
            .and_then(|entity| alone(&entity).map(|()| entity))
            .map_err(|problem| element.problem(kind, name, &problem))?;
        *ordinal += 1;
        found.push((element, entity));
    }
    for (index, (element, entity)) in found.iter().enumerate() {
        // A clash is the later one's fault; what is referred to may stand anywhere.
        let earlier = found.iter().take(index).map(|(_, other)| other);
        let others = found.iter().map(|(_, other)| other);
        let name = (entity.name() != entity.identity()).then(|| entity.name());
        clash(entity, earlier)
            .and_then(|()| refers(entity, others))
            .map_err(|problem| element.problem(entity.kind, name, &problem))?;
    }
    Ok((found.into_iter().map(|(_, entity)| entity).collect(), warnings))
}

/// The outer list.
fn list(file: &str, text: &str) -> Result<Vec<Value>, Error> {
    let start = text.len() - text.trim_start().len();
    let wants = "a router's configuration is a JSON list: [ [\"router\", {\"id\": \"A\"}], … ]";
    match text.trim_start().chars().next() {
        None => Err(Error { place: place(file, text, 0), what: format!("nothing in it: {wants}") }),
        Some('[') => serde_json::from_str(text).map_err(|error| {
            let what = error.to_string();
            // The place goes before the text, as in every other message.
            let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
            let place = Place { file: file.to_owned(), line: error.line(), column: error.column().max(1) };
            Error { place, what: what.to_owned() }
        }),
        Some(_) => Err(Error { place: place(file, text, start), what: format!("no list: {wants}") }),
    }
}

/// An element's type and attributes, by their proper names.
fn read(
    element: &Element<'_>,
    value: &Value,
    warnings: &mut Vec<Warning>,
) -> Result<(&'static EntityType, Map<String, Value>), Error> {
    let (Some(Value::String(kind)), Some(Value::Object(given))) = (value.get(0), value.get(1)) else {
        return Err(element.error("an entity is [\"type\", {\"attribute\": \"value\"}]"));
    };
    let mut warn = |attribute: Option<&str>, what: String| {
        warnings.push(Warning { place: element.place(attribute), what });
    };
    let kind = entity_type(kind).map_err(|what| element.error(what))?;
    let short = kind.short_name();
    if value.get(2).is_some() {
        warn(None, format!("{short}: what follows the attributes has no effect"));
    }
    let mut attributes = Map::new();
    for (name, value) in given {
        attributes.insert(camel_case(name), value.clone());
    }
    for name in attributes.keys() {
        if element.entry.keys.iter().filter(|(key, _)| camel_case(key) == *name).count() > 1 {
            warn(Some(name), format!("{short}: \"{name}\" is given more than once: the last one counts"));
        }
        if let Some(advice) = deprecated(kind, name) {
            warn(Some(name), format!("{short}: \"{name}\" is deprecated: {advice}"));
        }
    }
    // What the router itself tells can be in the file, as in a listing that was saved, and says nothing.
    let told = |name: &String| {
        kind.attribute(name).is_some_and(|known| !(known.create || known.update || known.required))
    };
    let told: Vec<_> = attributes.keys().filter(|name| told(name) && *name != "identity").cloned().collect();
    for name in told {
        warn(Some(&name), format!("{short}: \"{name}\" is told by the router: it has no effect here"));
        attributes.remove(&name);
    }
    Ok((kind, attributes))
}

fn entity_type(given: &str) -> Result<&'static EntityType, String> {
    if let Some(short) = given.strip_prefix(PREFIX) {
        return Err(format!("in a file the type is \"{short}\", without \"{PREFIX}\""));
    }
    let name = camel_case(given);
    EntityType::configurable().find(|kind| kind.short_name() == name).ok_or_else(|| {
        let known: Vec<_> = EntityType::configurable().map(EntityType::short_name).collect();
        format!("there is no entity \"{given}\": there are {}", known.join(", "))
    })
}

/// Names may be written with separators: `hello-interval-seconds` is `helloIntervalSeconds`
/// (upstream `python/skupper_router/management/entity.py`).
fn camel_case(name: &str) -> String {
    let mut words = name.split([' ', '_', '-', '.']);
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        joined.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        joined.push_str(&letters.as_str().to_lowercase());
    }
    joined
}

/// Comment lines emptied; every line keeps its number.
fn without_comments(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.trim_start().starts_with('#') {
            true => "\n",
            false => line,
        })
        .collect()
}
