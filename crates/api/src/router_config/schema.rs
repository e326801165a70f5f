//! The types of entity that a router's configuration and management know, with their attributes.
//!
//! One table serves both: the file is checked against it before a router starts, and the running router's
//! management answers from it.

mod configuration;
mod operational;

use serde_json::Value;

/// The prefix of an entity type's long name.
pub const PREFIX: &str = "io.skupper.router.";

/// A type of entity.
#[derive(Clone, Copy)]
pub struct EntityType {
    /// The name without [`PREFIX`]: `tcpListener`, `router.config.address`.
    name: &'static str,
    configuration: bool,
    singleton: bool,
    attributes: &'static [Attribute],
    operations: &'static [&'static str],
}

/// One attribute of an entity.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name in the file and in management messages.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it holds where nothing is said.
    pub default: Option<Scalar>,
    /// Without it there is no entity.
    pub required: bool,
    /// No two entities may have the same.
    pub unique: bool,
    /// Not to be shown: a password.
    pub hidden: bool,
    /// May be given when the entity is made.
    pub create: bool,
    /// May be changed afterwards.
    pub update: bool,
}

/// What an attribute may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text; a number stands for its digits.
    Text,
    /// A file's path.
    Path,
    /// A whole number, also as a text of digits.
    Integer,
    /// true or false, also as yes, no, on, off.
    Boolean,
    /// One of these words, also as its place in the list, from 0.
    OneOf(&'static [&'static str]),
    /// A list.
    List,
    /// A map.
    Map,
    /// A map whose keys are ASCII.
    Properties,
}

/// A default value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A text.
    Text(&'static str),
    /// A number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text.into(),
            Scalar::Integer(number) => number.into(),
            Scalar::Boolean(truth) => truth.into(),
        }
    }
}

/// `router`.
pub const ROUTER: EntityType = configuration("router", configuration::ROUTER).singleton();

/// `sslProfile`.
pub const SSL_PROFILE: EntityType =
    configuration("sslProfile", configuration::SSL_PROFILE).operations_are(&["CREATE", "UPDATE", "DELETE"]);

/// `listener`.
pub const LISTENER: EntityType =
    configuration("listener", configuration::LISTENER).operations_are(&["CREATE", "DELETE"]);

/// `connector`.
pub const CONNECTOR: EntityType =
    configuration("connector", configuration::CONNECTOR).operations_are(&["CREATE", "DELETE"]);

/// `tcpListener`.
pub const TCP_LISTENER: EntityType =
    configuration("tcpListener", configuration::TCP_LISTENER).operations_are(&["CREATE", "UPDATE", "DELETE"]);

/// `tcpConnector`.
pub const TCP_CONNECTOR: EntityType =
    configuration("tcpConnector", configuration::TCP_CONNECTOR).operations_are(&["CREATE", "DELETE"]);

/// `address`.
pub const ADDRESS: EntityType =
    configuration("router.config.address", configuration::ADDRESS).operations_are(&["CREATE", "DELETE"]);

/// What every entity has.
const EVERY: &[Attribute] =
    &[text("name").unique().create(), text("identity").unique(), text("type").required().create()];

impl EntityType {
    /// The type of that name, short (`tcpListener`, `address`) or long (`io.skupper.router.tcpListener`).
    #[must_use]
    pub fn find(name: &str) -> Option<&'static EntityType> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        Self::all().find(|kind| kind.name == name || kind.short_name() == name)
    }

    /// Every type, configuration first.
    pub fn all() -> impl Iterator<Item = &'static EntityType> {
        configuration::TYPES.iter().chain(operational::TYPES)
    }

    /// The types that a configuration file may hold.
    pub fn configurable() -> impl Iterator<Item = &'static EntityType> {
        configuration::TYPES.iter()
    }

    /// The name in a configuration file and in identities: `tcpListener`, `address`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.strip_prefix("router.config.").unwrap_or(self.name)
    }

    /// The name in management messages: `io.skupper.router.tcpListener`.
    #[must_use]
    pub fn long_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Whether a configuration file may hold it.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.configuration
    }

    /// Whether there is but one of it.
    #[must_use]
    pub fn is_singleton(&self) -> bool {
        self.singleton
    }

    /// What can be asked of it beside READ: CREATE, UPDATE, DELETE.
    #[must_use]
    pub fn operations(&self) -> &'static [&'static str] {
        self.operations
    }

    /// Its own attributes in the schema's order, then those that every entity has.
    pub fn attributes(&self) -> impl Iterator<Item = &'static Attribute> {
        self.attributes.iter().chain(EVERY)
    }

    /// The attribute of that name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes().find(|attribute| attribute.name == name)
    }

    const fn singleton(mut self) -> Self {
        self.singleton = true;
        self
    }

    const fn operations_are(mut self, operations: &'static [&'static str]) -> Self {
        self.operations = operations;
        self
    }
}

impl PartialEq for EntityType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for EntityType {}

impl std::fmt::Debug for EntityType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            default: None,
            required: false,
            unique: false,
            hidden: false,
            create: false,
            update: false,
        }
    }

    const fn or(mut self, text: &'static str) -> Self {
        self.default = Some(Scalar::Text(text));
        self
    }

    const fn or_integer(mut self, number: i64) -> Self {
        self.default = Some(Scalar::Integer(number));
        self
    }

    const fn or_boolean(mut self, truth: bool) -> Self {
        self.default = Some(Scalar::Boolean(truth));
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn create(mut self) -> Self {
        self.create = true;
        self
    }

    const fn update(mut self) -> Self {
        self.update = true;
        self
    }
}

const fn configuration(name: &'static str, attributes: &'static [Attribute]) -> EntityType {
    EntityType { name, configuration: true, singleton: false, attributes, operations: &[] }
}

const fn operational(name: &'static str, attributes: &'static [Attribute]) -> EntityType {
    EntityType { name, configuration: false, singleton: false, attributes, operations: &[] }
}

const fn text(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Text)
}

const fn path(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Path)
}

const fn integer(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Integer)
}

const fn boolean(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Boolean)
}

const fn one_of(name: &'static str, words: &'static [&'static str]) -> Attribute {
    Attribute::new(name, Kind::OneOf(words))
}

const fn list(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::List)
}

const fn map(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Map)
}

const fn properties(name: &'static str) -> Attribute {
    Attribute::new(name, Kind::Properties)
}
