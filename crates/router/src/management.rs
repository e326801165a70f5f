//! AMQP management: what a router is asked and told while it runs, at the address `$management`.
//!
//! Upstream's `python/skupper_router_internal/management/agent.py`, its operations and status codes, over the
//! configuration's own schema and checks. A request goes in with what the running router knows ([`Live`]);
//! an answer comes out, and what the router has to do ([`Change`]).
//!
//! As upstream, form, names and clashes are the asker's fault (400), and limits and references give 500.
//! Other than upstream: `offset` and `count` of a QUERY count for every type, and an entity that this router
//! would not obey (vhost, autoLink, …) cannot be created (501).

mod entities;
mod query;
mod value;

use std::collections::BTreeMap;

use api::router_config::schema::{EntityType, PREFIX};
use api::router_config::{
    Address, Config, Connector, Entity, Listener, SslProfile, TcpConnector, TcpListener, Typed,
};
use serde_amqp::Value;

use crate::message::Message;
use value::{from_json, text};

/// What the running router knows beyond its configuration.
pub trait Live {
    /// Attributes of a configured entity that the router itself tells: `operStatus`, `connectionsOpened`, ….
    fn attributes(&self, kind: &str, name: &str) -> Vec<(&'static str, Value)>;

    /// Entities that nobody configures: `connection`, `router.link`, `router.node`, `router.address`,
    /// `routerMetrics`, ….
    fn rows(&self, kind: &str) -> Vec<BTreeMap<String, Value>>;
}

/// What the router has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// There is a new entity.
    Add(Configured),
    /// An entity is now like this; its name is what it was.
    Update(Configured),
    /// An entity is gone.
    Remove {
        /// Its type's short name.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

/// An entity that can come and go while the router runs.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the type that it holds")]
pub enum Configured {
    SslProfile(SslProfile),
    Listener(Listener),
    Connector(Connector),
    TcpListener(TcpListener),
    TcpConnector(TcpConnector),
    Address(Address),
}

impl Configured {
    fn from_entity(entity: Entity) -> Option<Self> {
        Some(match entity.kind.short_name() {
            "sslProfile" => Self::SslProfile(SslProfile::from_entity(entity)),
            "listener" => Self::Listener(Listener::from_entity(entity)),
            "connector" => Self::Connector(Connector::from_entity(entity)),
            "tcpListener" => Self::TcpListener(TcpListener::from_entity(entity)),
            "tcpConnector" => Self::TcpConnector(TcpConnector::from_entity(entity)),
            "address" => Self::Address(Address::from_entity(entity)),
            _ => return None,
        })
    }
}

/// An answer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Created,
    NoContent,
    BadRequest,
    NotFound,
    Internal,
    NotImplemented,
}

impl Status {
    fn code(self) -> i32 {
        match self {
            Self::Ok => 200,
            Self::Created => 201,
            Self::NoContent => 204,
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Internal => 500,
            Self::NotImplemented => 501,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Created => "Created",
            Self::NoContent => "No Content",
            Self::BadRequest => "Bad Request",
            Self::NotFound => "Not Found",
            Self::Internal => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
        }
    }
}

/// Why a request is not fulfilled.
#[derive(Debug)]
struct Refusal {
    status: Status,
    why: String,
}

impl Refusal {
    fn new(status: Status, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(Status::BadRequest, why)
    }
}

/// What a request asks for, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One(&'static EntityType),
    Configuration,
    Operational,
    Every,
    Management,
}

impl Kind {
    /// By short or long name, as `tcpListener` or `io.skupper.router.tcpListener`.
    fn find(name: &str) -> Result<Self, Refusal> {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        let own = EntityType::find(short).filter(|kind| kind.long_name().get(PREFIX.len()..) == Some(short));
        Ok(match (own, short) {
            (Some(kind), _) => Self::One(kind),
            (None, "configurationEntity") => Self::Configuration,
            (None, "operationalEntity") => Self::Operational,
            (None, "entity") => Self::Every,
            (None, "management" | "org.amqp.management") => Self::Management,
            (None, _) => return Err(Refusal::bad(format!("No such entity type '{name}'"))),
        })
    }

    fn covers(self, kind: &EntityType) -> bool {
        match self {
            Self::One(own) => own == kind,
            Self::Configuration => kind.is_configuration(),
            Self::Operational => !kind.is_configuration(),
            Self::Every => true,
            Self::Management => false,
        }
    }

    fn long_name(self) -> String {
        match self {
            Self::One(kind) => kind.long_name(),
            Self::Configuration => format!("{PREFIX}configurationEntity"),
            Self::Operational => format!("{PREFIX}operationalEntity"),
            Self::Every => format!("{PREFIX}entity"),
            Self::Management => format!("{PREFIX}management"),
        }
    }
}

/// Attributes by name, as they are told.
type Attributes = BTreeMap<String, Value>;

/// The configured entities of a running router.
#[derive(Debug)]
pub struct Agent {
    router: String,
    entities: Vec<Entity>,
    /// How many entities of each type there ever were, for the identities of those that are numbered.
    counts: BTreeMap<&'static str, usize>,
}

impl Agent {
    /// For a router that runs by this configuration under this id.
    ///
    /// # Errors
    /// What could not have been configured.
    pub fn new(config: &Config, router: &str) -> Result<Self, api::router_config::Refused> {
        let mut config = config.clone();
        config.router.id = Some(router.to_owned());
        let entities = config.entities()?;
        let mut counts = BTreeMap::new();
        for entity in &entities {
            *counts.entry(entity.kind.short_name()).or_default() += 1;
        }
        Ok(Self { router: router.to_owned(), entities, counts })
    }

    /// Fulfils a request or says why not. Who does not say where the answer goes gets none, and nothing is
    /// done.
    pub fn request(&mut self, request: &Message, live: &dyn Live) -> (Option<Message>, Vec<Change>) {
        let Some(reply_to) = &request.reply_to else { return (None, Vec::new()) };
        let mut changes = Vec::new();
        let (status, why, body) = match self.fulfil(request, live, &mut changes) {
            Ok((status, body)) => (status, status.text().to_owned(), body),
            Err(refusal) => (refusal.status, refusal.why, Value::Map([].into_iter().collect())),
        };
        let properties = BTreeMap::from([
            ("statusCode".to_owned(), Value::Int(status.code())),
            ("statusDescription".to_owned(), text(&why)),
        ]);
        let answer = Message {
            to: Some(reply_to.clone()),
            reply_to: None,
            correlation_id: request.correlation_id.clone(),
            properties,
            body: Some(body),
        };
        (Some(answer), changes)
    }

    fn fulfil(
        &mut self,
        request: &Message,
        live: &dyn Live,
        changes: &mut Vec<Change>,
    ) -> Result<(Status, Value), Refusal> {
        let request = Request::new(request)?;
        if request.operation == "CREATE" {
            return self.create(&request, live, changes);
        }
        let Some(found) = self.find(&request, live)? else {
            let body = self.of_itself(&request, live)?;
            return Ok((Status::Ok, body));
        };
        match (request.operation.as_str(), found) {
            ("READ", Found::Own(at)) => Ok((Status::Ok, self.told_at(at, live))),
            ("READ", Found::Live(_, attributes)) => Ok((Status::Ok, value::map(attributes))),
            ("UPDATE", Found::Own(at)) => self.update(at, &request, live, changes),
            ("DELETE", Found::Own(at)) => self.delete(at, changes),
            (operation, Found::Own(at)) => {
                let kind = self.entities.get(at).map(|entity| entity.kind);
                Err(not_implemented(operation, kind))
            }
            (operation, Found::Live(kind, _)) => Err(not_implemented(operation, Some(kind))),
        }
    }

    /// Everything that there is of a type, with what is told of it.
    fn all(&self, kind: Kind, live: &dyn Live) -> Vec<Attributes> {
        let own = self.entities.iter().filter(|entity| kind.covers(entity.kind));
        let own = own.map(|entity| self.told(entity, live));
        let others = EntityType::all().filter(|other| !other.is_configuration() && kind.covers(other));
        let others = others.flat_map(|other| rows(other, live));
        own.chain(others).collect()
    }

    /// An entity's attributes, with what the router tells of it.
    fn told(&self, entity: &Entity, live: &dyn Live) -> Attributes {
        let mut told: Attributes = BTreeMap::from([("type".to_owned(), text(&entity.kind.long_name()))]);
        let mut tell = |name: &str, value: Value| {
            told.insert(name.to_owned(), value);
        };
        let kind = entity.kind.short_name();
        match kind {
            "tcpListener" => {
                tell("operStatus", text("down"));
                tell("connectionMsg", text(""));
            }
            "connector" => {
                let place = |name| entity.text(name).unwrap_or_default();
                tell("connectionStatus", text("CONNECTING"));
                tell("connectionMsg", text(""));
                tell("failoverUrls", text(&format!("amqp://{}:{}", place("host"), place("port"))));
            }
            _ => {}
        }
        if kind.starts_with("tcp") {
            for count in ["connectionsOpened", "connectionsClosed", "bytesIn", "bytesOut"] {
                tell(count, Value::Int(0));
            }
        }
        for (name, value) in &entity.attributes {
            let hidden = entity.kind.attribute(name).is_some_and(|attribute| attribute.hidden);
            tell(name, if hidden { text("*******") } else { from_json(value) });
        }
        for (name, value) in live.attributes(kind, entity.name()) {
            tell(name, value);
        }
        told
    }

    fn told_at(&self, at: usize, live: &dyn Live) -> Value {
        value::map(self.entities.get(at).map(|entity| self.told(entity, live)).unwrap_or_default())
    }
}

/// The live entities of a type, each with its type.
fn rows(kind: &'static EntityType, live: &dyn Live) -> impl Iterator<Item = Attributes> {
    live.rows(kind.short_name()).into_iter().map(|mut row| {
        row.insert("type".to_owned(), text(&kind.long_name()));
        row
    })
}

/// An entity that a request is about.
enum Found {
    Own(usize),
    Live(&'static EntityType, Attributes),
}

/// A request's parts.
struct Request {
    operation: String,
    kind: Option<String>,
    name: Option<String>,
    identity: Option<String>,
    entity_type: Option<String>,
    offset: usize,
    count: Option<usize>,
    body: serde_json::Map<String, serde_json::Value>,
}

impl Request {
    fn new(message: &Message) -> Result<Self, Refusal> {
        let property = |name: &str| message.properties.get(name).and_then(value::as_text).map(str::to_owned);
        let number = |name: &str| message.properties.get(name).and_then(value::as_size);
        let operation = property("operation").ok_or_else(|| Refusal::bad("No 'operation' property"))?;
        Ok(Self {
            operation: operation.to_uppercase(),
            kind: property("type"),
            name: property("name"),
            identity: property("identity"),
            entity_type: property("entityType"),
            offset: number("offset").unwrap_or(0),
            count: number("count"),
            body: value::body(message.body.as_ref())
                .ok_or_else(|| Refusal::bad("the body must be a map from names to values"))?,
        })
    }
}

fn not_implemented(operation: &str, kind: Option<&EntityType>) -> Refusal {
    let (name, operations) = match kind {
        Some(kind) => (kind.long_name(), kind.operations().iter().copied().chain(["READ"]).collect()),
        None => (Kind::Management.long_name(), query::OPERATIONS.to_vec()),
    };
    let why = format!("Operation '{operation}' not implemented for '{name}' {operations:?}");
    Refusal::new(Status::NotImplemented, why.replace('"', "'"))
}

#[cfg(test)]
mod tests;
