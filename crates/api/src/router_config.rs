//! The configuration of a skupper router: what `skrouterd` reads at its start, a JSON list of
//! `[type, {attribute: value}]`.
//!
//! - [`schema`]: which types there are, and their attributes;
//! - [`Entity`]: one of them, checked and completed; [`check`]: what skrouterd refuses beside forms;
//! - [`Config`]: the entities that a router runs by, each with its own type, read and written.
//!
//! The same for the real router and for ours: what is accepted here, skrouterd 3.5 starts with, and what it
//! refuses is refused. Where it starts and then cannot use what was said, this refuses: a port that is none,
//! an address without pattern, a list for a text, no worker threads, a negative time.
//!
//! Reading depends on nothing but the text: whether files exist and hosts have addresses shows at the start.

pub mod check;
mod convert;
mod entity;
mod model;
mod parse;
mod pattern;
mod place;
pub mod schema;
mod write;

pub use convert::Typed;
pub use entity::{Entity, Problem, formed};
pub use model::{
    Address, Connector, Distribution, Listener, Mode, More, Pattern, Role, Router, SslProfile, TcpConnector,
    TcpListener,
};
pub use parse::{Error, Warning};
pub use pattern::distribution;
pub use place::Place;

use std::collections::BTreeMap;

/// A router's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The router itself.
    pub router: Router,
    /// Certificates.
    pub ssl_profiles: Vec<SslProfile>,
    /// Where clients and routers connect to.
    pub listeners: Vec<Listener>,
    /// Routers and brokers that it connects to.
    pub connectors: Vec<Connector>,
    /// TCP ports that lead to addresses.
    pub tcp_listeners: Vec<TcpListener>,
    /// TCP servers that serve addresses.
    pub tcp_connectors: Vec<TcpConnector>,
    /// How addresses are distributed.
    pub addresses: Vec<Address>,
    /// Entities of all other types: site, log, network, policy, …
    pub others: Vec<Entity>,
}

impl Config {
    /// Reads a configuration; `file` is its name in messages. Warnings are for the user to see: the
    /// configuration works, and something in it does not do what it seems to.
    ///
    /// Lines that begin with `#` are comments, as in skrouterd.
    ///
    /// # Errors
    /// Text that is no JSON, and whatever skrouterd would refuse, with the place.
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Warning>), Error> {
        let (entities, warnings) = parse::entities(file, text)?;
        Ok((Self::from_entities(entities), warnings))
    }

    /// From entities that have been checked, alone and among each other.
    #[must_use]
    pub fn from_entities(entities: Vec<Entity>) -> Self {
        let mut config = Self::of_router(Router::default());
        for entity in entities {
            match entity.kind.short_name() {
                "router" => config.router = Router::from_entity(entity),
                "sslProfile" => config.ssl_profiles.push(SslProfile::from_entity(entity)),
                "listener" => config.listeners.push(Listener::from_entity(entity)),
                "connector" => config.connectors.push(Connector::from_entity(entity)),
                "tcpListener" => config.tcp_listeners.push(TcpListener::from_entity(entity)),
                "tcpConnector" => config.tcp_connectors.push(TcpConnector::from_entity(entity)),
                "address" => config.addresses.push(Address::from_entity(entity)),
                _ => config.others.push(entity),
            }
        }
        config
    }

    /// A router with nothing else.
    #[must_use]
    pub fn of_router(router: Router) -> Self {
        Self {
            router,
            ssl_profiles: Vec::new(),
            listeners: Vec::new(),
            connectors: Vec::new(),
            tcp_listeners: Vec::new(),
            tcp_connectors: Vec::new(),
            addresses: Vec::new(),
            others: Vec::new(),
        }
    }

    /// As generic entities, router first, then in the order of the fields.
    ///
    /// # Errors
    /// What a router would refuse, the first of it, with the entity's type and name.
    pub fn entities(&self) -> Result<Vec<Entity>, Refused> {
        fn add<T: Typed>(all: &mut Vec<Entity>, some: &[T]) -> Result<(), Refused> {
            for (ordinal, one) in some.iter().enumerate() {
                let entity = one.to_entity(ordinal).map_err(|problem| Refused {
                    kind: T::KIND.short_name(),
                    name: one.name().to_owned(),
                    problem,
                })?;
                all.push(entity);
            }
            Ok(())
        }
        let mut all = Vec::new();
        add(&mut all, std::slice::from_ref(&self.router))?;
        add(&mut all, &self.ssl_profiles)?;
        add(&mut all, &self.listeners)?;
        add(&mut all, &self.connectors)?;
        add(&mut all, &self.tcp_listeners)?;
        add(&mut all, &self.tcp_connectors)?;
        add(&mut all, &self.addresses)?;
        all.extend(self.others.iter().cloned());
        for (index, entity) in all.iter().enumerate() {
            let (before, rest) = all.split_at(index);
            let others = before.iter().chain(rest.iter().skip(1));
            check::alone(entity).and_then(|()| check::among(entity, others)).map_err(|problem| Refused {
                kind: entity.kind.short_name(),
                name: entity.name().to_owned(),
                problem,
            })?;
        }
        Ok(all)
    }

    /// As the text of a configuration file: the same text for the same configuration, defaults left out.
    ///
    /// # Errors
    /// What a router would refuse.
    pub fn to_text(&self) -> Result<String, Refused> {
        Ok(write::text(&self.entities()?))
    }
}

impl serde::Serialize for Config {
    /// As the list that a configuration file is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entities = self.entities().map_err(serde::ser::Error::custom)?;
        serializer.collect_seq(entities.iter().map(|entity| {
            let said: BTreeMap<_, _> = entity.said().collect();
            (entity.kind.short_name(), said)
        }))
    }
}

impl<'de> serde::Deserialize<'de> for Config {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = serde_json::Value::deserialize(deserializer)?;
        let parsed = Self::parse("configuration", &list.to_string());
        parsed.map(|(config, _)| config).map_err(serde::de::Error::custom)
    }
}

/// An entity that a router would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} \"{name}\": {problem}")]
pub struct Refused {
    /// The entity's type.
    pub kind: &'static str,
    /// The entity's name.
    pub name: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What an entity is where nothing but its type is said.
macro_rules! defaults {
    ($($type:ident),+) => {
        $(impl Default for $type {
            /// The schema's defaults; what has none is empty.
            fn default() -> Self {
                Self::from_entity(Entity::bare(<Self as Typed>::KIND))
            }
        })+
    };
}
defaults!(Router, Listener, Connector, TcpListener, TcpConnector);

#[cfg(test)]
mod tests;
