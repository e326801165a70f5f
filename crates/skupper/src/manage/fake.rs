//! A router in memory: it refuses what a router refuses, and others are reached through it.

use std::collections::BTreeMap;

use api::router_config::schema::EntityType;
use api::router_config::{Config, Entity, check};
use serde_json::{Map, Value};

use super::Management;
use crate::error::{Error, Result};
use crate::ops::Attributes;

/// Its entities, and those of others by their ids.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) entities: Vec<Entity>,
    pub(crate) runtime: BTreeMap<String, Vec<Attributes>>,
    pub(crate) others: BTreeMap<String, Fake>,
    pub(crate) calls: Vec<String>,
    pub(crate) away: bool,
}

impl Fake {
    pub(crate) fn of(config: &Config) -> Self {
        Self { entities: config.entities().expect("a valid configuration"), ..Self::default() }
    }

    fn refuse(verb: &str, kind: &str, name: &str, status: i64, description: String) -> Error {
        Error::Refused { operation: verb.into(), entity: format!("{kind} \"{name}\""), status, description }
    }

    fn position(&self, kind: &str, name: &str) -> Option<usize> {
        self.entities.iter().position(|one| one.kind.short_name() == kind && one.name() == name)
    }
}

impl Management for Fake {
    async fn query(&mut self, router: Option<&str>, kind: &str) -> Result<Vec<Attributes>> {
        let gone = || Error::Management { at: "fake".into(), what: "does not answer".into() };
        let of = match router {
            Some(id) => self.others.get(id).ok_or_else(gone)?,
            None if self.away => return Err(gone()),
            None => self,
        };
        let entities = of.entities.iter().filter(|one| one.kind.short_name() == kind);
        let own = entities.map(|one| one.attributes.clone());
        Ok(own.chain(of.runtime.get(kind).cloned().unwrap_or_default()).collect())
    }

    async fn create(&mut self, kind: &str, name: &str, attributes: &Map<String, Value>) -> Result<()> {
        self.calls.push(format!("create {kind} {name}"));
        let found = EntityType::find(kind).expect("a type");
        let entity = Entity::new(found, attributes, self.entities.len())
            .and_then(|entity| check::alone(&entity).map(|()| entity))
            .and_then(|entity| check::among(&entity, self.entities.iter()).map(|()| entity))
            .map_err(|problem| Self::refuse("create", kind, name, 400, problem.to_string()))?;
        self.entities.push(entity);
        Ok(())
    }

    async fn update(&mut self, kind: &str, name: &str, attributes: &Map<String, Value>) -> Result<()> {
        self.calls.push(format!("update {kind} {name}"));
        let at = self.position(kind, name);
        let at = at.ok_or_else(|| Self::refuse("update", kind, name, 404, "not found".into()))?;
        self.entities[at]
            .attributes
            .extend(attributes.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(())
    }

    async fn delete(&mut self, kind: &str, name: &str) -> Result<()> {
        self.calls.push(format!("delete {kind} {name}"));
        let at = self.position(kind, name);
        let at = at.ok_or_else(|| Self::refuse("delete", kind, name, 404, "not found".into()))?;
        if kind == "sslProfile" && self.entities.iter().any(|one| one.text("sslProfile") == Some(name)) {
            return Err(Self::refuse("delete", kind, name, 400, "is used".into()));
        }
        self.entities.remove(at);
        Ok(())
    }
}
