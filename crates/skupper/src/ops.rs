//! What it takes to bring a running router to its configuration. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use api::router_config::schema::EntityType;
use api::router_config::{Config, Entity, Refused, formed};
use serde_json::{Map, Value};

/// Types that can be changed while a router runs, in the order in which they are made.
pub const LIVE: [&str; 5] = ["sslProfile", "listener", "connector", "tcpListener", "tcpConnector"];

/// What tells an entity from one that is not as it should be, beside what its configuration says.
const ALWAYS: [&str; 5] = ["host", "port", "address", "sslProfile", "cost"];

/// An entity that a router has: its attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Make an entity.
    Create {
        /// Its type, as `tcpListener`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it is to be.
        attributes: Map<String, Value>,
    },
    /// Change some of its attributes.
    Update {
        /// Its type.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Which.
        attributes: Map<String, Value>,
    },
    /// Take it away.
    Delete {
        /// Its type.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, kind, name, attributes) = match self {
            Self::Create { kind, name, attributes } => ("create", kind, name, Some(attributes)),
            Self::Update { kind, name, attributes } => ("update", kind, name, Some(attributes)),
            Self::Delete { kind, name } => ("delete", kind, name, None),
        };
        write!(f, "{verb} {kind} {name}")?;
        attributes.into_iter().flatten().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

/// Entities that can be changed while a router runs, by type and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted(BTreeMap<(usize, String), Entity>);

/// What a router has, by type and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed(BTreeMap<(usize, String), Attributes>);

impl Wanted {
    /// Of a configuration.
    ///
    /// # Errors
    /// What the router would refuse.
    pub fn of(config: &Config) -> Result<Self, Refused> {
        let entities = config.entities()?;
        let live = entities.into_iter().filter_map(|entity| {
            let rank = rank(entity.kind.short_name())?;
            Some(((rank, entity.name().to_owned()), entity))
        });
        Ok(Self(live.collect()))
    }
}

impl Observed {
    /// Whether the router has it.
    #[must_use]
    pub fn has(&self, kind: &str, name: &str) -> bool {
        rank(kind).is_some_and(|rank| self.0.contains_key(&(rank, name.to_owned())))
    }

    /// Adds what a router said of the entities of a type.
    pub fn add(&mut self, kind: &str, entities: Vec<Attributes>) {
        let Some(rank) = rank(kind) else { return };
        for entity in entities {
            let name = entity.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.0.insert((rank, name), entity);
        }
    }
}

fn rank(kind: &str) -> Option<usize> {
    LIVE.iter().position(|live| *live == kind)
}

/// What is to be done: first what goes, users before what they use, then what comes, the other way round.
/// Certificates that only have become others are told by a number, so that connections stay.
#[must_use]
pub fn plan(wanted: &Wanted, observed: &Observed) -> Vec<Op> {
    let mut gone = Vec::new();
    let mut come = Vec::new();
    let mut updates = Vec::new();
    let keys: BTreeSet<_> = wanted.0.keys().chain(observed.0.keys()).collect();
    for key in keys {
        let (kind, name) = (LIVE[key.0], key.1.clone());
        match (wanted.0.get(key), observed.0.get(key)) {
            (Some(wanted), None) => come.push(create(kind, wanted)),
            (None, Some(_)) => gone.push(Op::Delete { kind, name }),
            (Some(wanted), Some(observed)) => match differences(wanted, observed).as_slice() {
                [] => {}
                [..] if kind == "sslProfile" => {
                    let attributes = wanted
                        .said()
                        .filter(|(key, _)| *key != "name")
                        .map(|(key, value)| (key.into(), value.clone()));
                    updates.push(Op::Update { kind, name, attributes: attributes.collect() });
                }
                [..] => {
                    gone.push(Op::Delete { kind, name });
                    come.push(create(kind, wanted));
                }
            },
            (None, None) => {}
        }
    }
    gone.reverse();
    updates.into_iter().chain(gone).chain(come).collect()
}

fn create(kind: &'static str, entity: &Entity) -> Op {
    let attributes = entity.said().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    Op::Create { kind, name: entity.name().into(), attributes }
}

/// Attributes that are not as they should be.
fn differences(wanted: &Entity, observed: &Attributes) -> Vec<&'static str> {
    let said = wanted.said().map(|(key, _)| key);
    let keys: BTreeSet<&'static str> = said.chain(ALWAYS).filter(|key| *key != "name").collect();
    let differs = |key: &&'static str| {
        let Some(attribute) = wanted.kind.attribute(key) else { return false };
        let value = observed.get(*key).filter(|value| !value.is_null());
        let value = value.and_then(|value| formed(attribute, value).ok());
        text(wanted.attributes.get(*key)) != text(value.as_ref())
    };
    keys.into_iter().filter(differs).collect()
}

/// Routers show some numbers as texts and leave empty texts out.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The type that a word of [`LIVE`] or of a query stands for.
pub(crate) fn long_name(kind: &str) -> String {
    EntityType::find(kind).map_or_else(|| format!("io.skupper.router.{kind}"), EntityType::long_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::router_config::{TcpConnector, TcpListener};
    use serde_json::json;

    use crate::plan::{Access, Ports, base};

    fn config() -> Config {
        let mut config = base("C0", "{}", Ports::of(0), &Access::None, false);
        let listener =
            TcpListener { name: "svc1".into(), address: "svc1".into(), port: 1028, ..Default::default() };
        config.tcp_listeners.push(listener);
        let connector = TcpConnector {
            name: "svc1/c4".into(),
            address: "svc1".into(),
            host: "11.10.0.2".into(),
            port: 80,
            ..Default::default()
        };
        config.tcp_connectors.push(connector);
        config
    }

    /// As a router answers: everything, with what it adds.
    fn observed(config: &Config) -> Observed {
        let mut observed = Observed::default();
        for entity in config.entities().unwrap() {
            let mut attributes = entity.attributes.clone();
            attributes.insert("operStatus".into(), "up".into());
            attributes.insert("failoverUrls".into(), Value::Null);
            observed.add(entity.kind.short_name(), vec![attributes]);
        }
        observed
    }

    fn shown(config: &Config, observed: &Observed) -> Vec<String> {
        plan(&Wanted::of(config).unwrap(), observed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_done_to_a_router_that_is_as_it_should_be() {
        assert_eq!(shown(&config(), &observed(&config())), [""; 0]);
    }

    #[test]
    fn what_is_missing_comes_and_what_is_too_much_goes() {
        let (empty, full) = (base("C0", "{}", Ports::of(0), &Access::None, false), config());
        let come = shown(&full, &observed(&empty));
        assert_eq!(
            come,
            [
                r#"create tcpListener svc1 address="svc1" name="svc1" port="1028""#,
                r#"create tcpConnector svc1/c4 address="svc1" host="11.10.0.2" name="svc1/c4" port="80""#,
            ]
        );
        assert_eq!(
            shown(&empty, &observed(&full)),
            ["delete tcpConnector svc1/c4", "delete tcpListener svc1"]
        );
    }

    #[test]
    fn a_changed_entity_is_made_anew_and_a_changed_certificate_told() {
        let mut new = config();
        new.tcp_connectors[0].host = "11.10.0.3".into();
        let ops = shown(&new, &observed(&config()));
        assert_eq!(ops[0], "delete tcpConnector svc1/c4");
        assert!(ops[1].starts_with("create tcpConnector svc1/c4") && ops.len() == 2, "{ops:?}");

        let profile = |ordinal| api::router_config::SslProfile {
            name: "skupper-site-server".into(),
            ca_cert_file: Some("/x/ca.crt".into()),
            ordinal,
            ..Default::default()
        };
        let (mut old, mut new) = (config(), config());
        old.ssl_profiles.push(profile(3));
        new.ssl_profiles.push(profile(4));
        let ops = shown(&new, &observed(&old));
        assert_eq!(ops, [r#"update sslProfile skupper-site-server caCertFile="/x/ca.crt" ordinal=4"#]);
    }

    #[test]
    fn ports_may_be_numbers_and_hosts_may_be_missing() {
        let mut observed = observed(&config());
        let key = (3, "svc1".to_owned());
        observed.0.get_mut(&key).unwrap().insert("port".into(), json!(1028));
        observed.0.get_mut(&key).unwrap().insert("host".into(), Value::Null);
        assert_eq!(shown(&config(), &observed), [""; 0]);
    }
}
