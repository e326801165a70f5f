//! Between typed entities and generic ones.
//!
//! Generic entities have been checked, so that reading them cannot fail: a number that does not fit its field
//! would be a limit that `check` lacks, and takes the field's nearest.

use std::time::Duration;

use serde_json::{Map, Value};

use super::check::{alone, port_number};
use super::entity::{Entity, Problem};
use super::model::{
    Address, Connector, Distribution, Listener, Mode, More, Pattern, Role, Router, SslProfile, TcpConnector,
    TcpListener,
};
use super::schema::{self, EntityType};

/// Takes attributes out of an entity; what stays is `more`.
struct Reader(Entity);

impl Reader {
    fn text(&mut self, name: &str) -> Option<String> {
        match self.0.attributes.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn needed(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    fn number<N: TryFrom<i64>>(&mut self, name: &str) -> Option<N> {
        self.0.attributes.remove(name)?.as_i64().and_then(|number| N::try_from(number).ok())
    }

    /// Like a number, where 0 means that nothing is said.
    fn number_but_0<N: TryFrom<i64> + Default + PartialEq>(&mut self, name: &str) -> Option<N> {
        self.number(name).filter(|number| *number != N::default())
    }

    fn is(&mut self, name: &str) -> bool {
        matches!(self.0.attributes.remove(name), Some(Value::Bool(true)))
    }

    fn seconds(&mut self, name: &str) -> Duration {
        Duration::from_secs(self.number(name).unwrap_or_default())
    }

    fn word<T: Default>(&mut self, name: &str, from: impl Fn(&str) -> Option<T>) -> T {
        self.text(name).and_then(|word| from(&word)).unwrap_or_default()
    }

    fn port(&mut self) -> u16 {
        self.text("port").and_then(|port| port_number(&port)).unwrap_or_default()
    }

    fn words(&mut self, name: &str) -> Vec<String> {
        self.needed(name).split_whitespace().map(str::to_owned).collect()
    }

    /// What is left and not a default.
    fn more(mut self) -> More {
        let said: Vec<_> = self.0.said().map(|(name, _)| name).filter(|name| *name != "name").collect();
        said.into_iter().filter_map(|name| self.0.attributes.remove_entry(name)).collect()
    }
}

/// Collects attributes for an entity.
#[derive(Default)]
struct Writer(Map<String, Value>);

impl Writer {
    fn from(more: &More) -> Self {
        Self(more.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn seconds(self, name: &str, duration: Duration) -> Self {
        self.with(name, duration.as_secs())
    }

    fn words(self, name: &str, words: &[String]) -> Self {
        self.maybe(name, (!words.is_empty()).then(|| words.join(" ")))
    }

    fn entity(self, kind: &'static EntityType, ordinal: usize) -> Result<Entity, Problem> {
        let mut entity = Entity::new(kind, &self.0, ordinal)?;
        // A made-up name says nothing: without it, the identity is that of an entity without name.
        let mut unnamed = self.0;
        if let Some(name) = unnamed.remove("name")
            && let Ok(other) = Entity::new(kind, &unnamed, ordinal)
            && name == *other.identity()
        {
            entity = other;
        }
        alone(&entity)?;
        Ok(entity)
    }
}

fn path(path: Option<&std::path::PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

/// An entity with a type of its own.
pub trait Typed: Sized {
    /// Its type.
    const KIND: &'static EntityType;

    /// Its name.
    fn name(&self) -> &str;

    /// From a checked generic entity.
    fn from_entity(entity: Entity) -> Self;

    /// To a generic entity, the `ordinal`th of its type.
    ///
    /// # Errors
    /// Where it holds what a router would refuse.
    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem>;
}

impl Typed for Router {
    const KIND: &'static EntityType = &schema::ROUTER;

    fn name(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        Self {
            id: read.text("id"),
            mode: read.word("mode", Mode::from_word),
            hello_interval: read.seconds("helloIntervalSeconds"),
            hello_max_age: read.seconds("helloMaxAgeSeconds"),
            ra_interval: read.seconds("raIntervalSeconds"),
            ra_interval_flux: read.seconds("raIntervalFluxSeconds"),
            remote_ls_max_age: read.seconds("remoteLsMaxAgeSeconds"),
            unreachable_holdoff: read.seconds("unreachableHoldoffSeconds"),
            worker_threads: read.number("workerThreads").unwrap_or(1),
            data_connection_count: read.needed("dataConnectionCount").trim().parse().ok(),
            default_distribution: read.word("defaultDistribution", Distribution::from_word),
            metadata: read.text("metadata"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        Writer::from(&self.more)
            .maybe("id", self.id.clone())
            .with("mode", self.mode.word())
            .seconds("helloIntervalSeconds", self.hello_interval)
            .seconds("helloMaxAgeSeconds", self.hello_max_age)
            .seconds("raIntervalSeconds", self.ra_interval)
            .seconds("raIntervalFluxSeconds", self.ra_interval_flux)
            .seconds("remoteLsMaxAgeSeconds", self.remote_ls_max_age)
            .seconds("unreachableHoldoffSeconds", self.unreachable_holdoff)
            .with("workerThreads", self.worker_threads)
            .maybe("dataConnectionCount", self.data_connection_count.map(|count| count.to_string()))
            .with("defaultDistribution", self.default_distribution.word())
            .maybe("metadata", self.metadata.clone())
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for SslProfile {
    const KIND: &'static EntityType = &schema::SSL_PROFILE;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        Self {
            name: read.needed("name"),
            ca_cert_file: read.text("caCertFile").map(Into::into),
            cert_file: read.text("certFile").map(Into::into),
            private_key_file: read.text("privateKeyFile").map(Into::into),
            ordinal: read.number("ordinal").unwrap_or_default(),
            oldest_valid_ordinal: read.number("oldestValidOrdinal").unwrap_or_default(),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        let some = |number: u64| (number != 0).then_some(number);
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .maybe("caCertFile", path(self.ca_cert_file.as_ref()))
            .maybe("certFile", path(self.cert_file.as_ref()))
            .maybe("privateKeyFile", path(self.private_key_file.as_ref()))
            .maybe("ordinal", some(self.ordinal))
            .maybe("oldestValidOrdinal", some(self.oldest_valid_ordinal))
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for Listener {
    const KIND: &'static EntityType = &schema::LISTENER;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        // A web page's folder makes it speak HTTP; "disabled" is upstream's word for none.
        let has_pages = read.0.text("httpRootDir").is_some();
        Self {
            name: read.needed("name"),
            host: read.needed("host"),
            port: read.port(),
            role: read.word("role", Role::from_word),
            cost: read.number("cost").unwrap_or(1),
            ssl_profile: read.text("sslProfile"),
            sasl_mechanisms: read.words("saslMechanisms"),
            authenticate_peer: read.is("authenticatePeer"),
            require_ssl: read.is("requireSsl"),
            max_frame_size: read.number_but_0("maxFrameSize").unwrap_or(DEFAULT_FRAME),
            max_session_frames: read.number_but_0("maxSessionFrames"),
            idle_timeout: read.seconds("idleTimeoutSeconds"),
            link_capacity: read.number_but_0("linkCapacity"),
            http: read.is("http") || has_pages,
            healthz: read.is("healthz"),
            metrics: read.is("metrics"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .with("host", self.host.clone())
            .with("port", self.port)
            .with("role", self.role.word())
            .with("cost", self.cost)
            .maybe("sslProfile", self.ssl_profile.clone())
            .words("saslMechanisms", &self.sasl_mechanisms)
            .with("authenticatePeer", self.authenticate_peer)
            .with("requireSsl", self.require_ssl)
            .with("maxFrameSize", self.max_frame_size)
            .maybe("maxSessionFrames", self.max_session_frames)
            .seconds("idleTimeoutSeconds", self.idle_timeout)
            .maybe("linkCapacity", self.link_capacity)
            .with("http", self.http)
            .with("healthz", self.healthz)
            .with("metrics", self.metrics)
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for Connector {
    const KIND: &'static EntityType = &schema::CONNECTOR;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        Self {
            name: read.needed("name"),
            host: read.needed("host"),
            port: read.port(),
            role: read.word("role", Role::from_word),
            cost: read.number("cost").unwrap_or(1),
            ssl_profile: read.text("sslProfile"),
            sasl_mechanisms: read.words("saslMechanisms"),
            verify_hostname: read.is("verifyHostname"),
            max_frame_size: read.number_but_0("maxFrameSize").unwrap_or(DEFAULT_FRAME),
            max_session_frames: read.number_but_0("maxSessionFrames"),
            idle_timeout: read.seconds("idleTimeoutSeconds"),
            link_capacity: read.number_but_0("linkCapacity"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .with("host", self.host.clone())
            .with("port", self.port)
            .with("role", self.role.word())
            .with("cost", self.cost)
            .maybe("sslProfile", self.ssl_profile.clone())
            .words("saslMechanisms", &self.sasl_mechanisms)
            .with("verifyHostname", self.verify_hostname)
            .with("maxFrameSize", self.max_frame_size)
            .maybe("maxSessionFrames", self.max_session_frames)
            .seconds("idleTimeoutSeconds", self.idle_timeout)
            .maybe("linkCapacity", self.link_capacity)
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for TcpListener {
    const KIND: &'static EntityType = &schema::TCP_LISTENER;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        Self {
            name: read.needed("name"),
            address: read.needed("address"),
            host: read.needed("host"),
            port: read.port(),
            ssl_profile: read.text("sslProfile"),
            authenticate_peer: read.is("authenticatePeer"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .maybe("address", (!self.address.is_empty()).then(|| self.address.clone()))
            .with("host", self.host.clone())
            .with("port", self.port)
            .maybe("sslProfile", self.ssl_profile.clone())
            .with("authenticatePeer", self.authenticate_peer)
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for TcpConnector {
    const KIND: &'static EntityType = &schema::TCP_CONNECTOR;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        Self {
            name: read.needed("name"),
            address: read.needed("address"),
            host: read.needed("host"),
            port: read.port(),
            ssl_profile: read.text("sslProfile"),
            verify_hostname: read.is("verifyHostname"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .with("address", self.address.clone())
            .with("host", self.host.clone())
            .with("port", self.port)
            .maybe("sslProfile", self.ssl_profile.clone())
            .with("verifyHostname", self.verify_hostname)
            .entity(Self::KIND, ordinal)
    }
}

impl Typed for Address {
    const KIND: &'static EntityType = &schema::ADDRESS;

    fn name(&self) -> &str {
        &self.name
    }

    fn from_entity(entity: Entity) -> Self {
        let mut read = Reader(entity);
        let pattern = match read.text("pattern") {
            Some(pattern) => Pattern::Pattern(pattern),
            None => Pattern::Prefix(read.needed("prefix")),
        };
        Self {
            name: read.needed("name"),
            pattern,
            distribution: read.word("distribution", Distribution::from_word),
            priority: read.number("priority"),
            more: read.more(),
        }
    }

    fn to_entity(&self, ordinal: usize) -> Result<Entity, Problem> {
        let (attribute, pattern) = match &self.pattern {
            Pattern::Prefix(prefix) => ("prefix", prefix),
            Pattern::Pattern(pattern) => ("pattern", pattern),
        };
        Writer::from(&self.more)
            .with("name", self.name.clone())
            .with(attribute, pattern.clone())
            .with("distribution", self.distribution.word())
            .maybe("priority", self.priority)
            .entity(Self::KIND, ordinal)
    }
}

/// What the schema gives where nothing is said.
const DEFAULT_FRAME: u32 = 16384;
