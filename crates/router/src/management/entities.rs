//! CREATE, READ, UPDATE, DELETE.

use api::router_config::schema::EntityType;
use api::router_config::{Entity, Problem, check, formed};
use serde_amqp::Value;

use super::{
    Agent, Attributes, Change, Configured, Found, Kind, Live, Refusal, Request, Status, not_implemented,
    rows, value,
};

impl Agent {
    pub(super) fn create(
        &mut self,
        request: &Request,
        live: &dyn Live,
        changes: &mut Vec<Change>,
    ) -> Result<(Status, Value), Refusal> {
        let mut given = request.body.clone();
        for (name, property) in [("type", &request.kind), ("name", &request.name)] {
            let in_body = given.remove(name);
            if let (Some(property), Some(in_body)) = (property, &in_body)
                && in_body != property.as_str()
            {
                return Err(Refusal::bad(format!("Conflicting values for '{name}'")));
            }
        }
        let kind = request.kind.as_deref().ok_or_else(|| Refusal::bad("No 'type' attribute"))?;
        let kind = match Kind::find(kind)? {
            Kind::One(kind) => kind,
            _ => return Err(not_implemented("CREATE", None)),
        };
        // What nobody here would obey must not look as if it were there.
        if !kind.operations().contains(&"CREATE") || Configured::from_entity(Entity::bare(kind)).is_none() {
            return Err(not_implemented("CREATE", Some(kind)));
        }
        for name in given.keys() {
            let attribute = kind.attribute(name).ok_or_else(|| unknown(kind, name))?;
            if !attribute.create {
                return Err(Refusal::bad(format!("Cannot set attribute '{name}' in CREATE")));
            }
        }
        if let Some(name) = &request.name {
            given.insert("name".to_owned(), name.as_str().into());
        }
        let count = self.counts.get(kind.short_name()).copied().unwrap_or_default();
        let entity = Entity::new(kind, &given, count).map_err(|problem| Refusal::bad(problem.to_string()))?;
        check::clash(&entity, self.entities.iter()).map_err(|problem| Refusal::bad(problem.to_string()))?;
        self.check(&entity)?;
        *self.counts.entry(kind.short_name()).or_default() += 1;
        let told = self.told(&entity, live);
        self.entities.push(entity.clone());
        changes.extend(Configured::from_entity(entity).map(Change::Add));
        Ok((Status::Created, value::map(told)))
    }

    pub(super) fn update(
        &mut self,
        at: usize,
        request: &Request,
        live: &dyn Live,
        changes: &mut Vec<Change>,
    ) -> Result<(Status, Value), Refusal> {
        let Some(old) = self.entities.get(at) else { return Err(not_implemented("UPDATE", None)) };
        let kind = old.kind;
        let updates = Configured::from_entity(Entity::bare(kind)).is_some();
        if !kind.operations().contains(&"UPDATE") || !updates {
            return Err(not_implemented("UPDATE", Some(kind)));
        }
        let mut new = old.clone();
        for (name, value) in &request.body {
            let attribute = kind.attribute(name).ok_or_else(|| unknown(kind, name))?;
            let value = formed(attribute, value).map_err(|problem| Refusal::bad(problem.to_string()))?;
            let same =
                old.attributes.get(name) == Some(&value) || name == "type" && value == kind.long_name();
            if !attribute.update && !same {
                return Err(Refusal::bad(format!("Cannot update attribute '{name}' in UPDATE")));
            }
            if name != "type" {
                new.attributes.insert(name.clone(), value);
            }
        }
        self.check(&new)?;
        let changed = new != *old;
        if let Some(entity) = self.entities.get_mut(at) {
            *entity = new.clone();
        }
        if changed {
            changes.extend(Configured::from_entity(new).map(Change::Update));
        }
        Ok((Status::Ok, self.told_at(at, live)))
    }

    pub(super) fn delete(
        &mut self,
        at: usize,
        changes: &mut Vec<Change>,
    ) -> Result<(Status, Value), Refusal> {
        let kind = self.entities.get(at).map(|entity| entity.kind);
        let goes = |kind: &'static EntityType| {
            kind.operations().contains(&"DELETE") && Configured::from_entity(Entity::bare(kind)).is_some()
        };
        if !kind.is_some_and(goes) {
            return Err(not_implemented("DELETE", kind));
        }
        let entity = self.entities.remove(at);
        let name = entity.name().to_owned();
        changes.push(Change::Remove { kind: entity.kind.short_name(), name });
        Ok((Status::NoContent, value::map(Attributes::new())))
    }

    /// Limits and references, for which upstream's C code is asked, which answers 500; but for what its Python
    /// sees.
    fn check(&self, entity: &Entity) -> Result<(), Refusal> {
        let others = self.entities.iter().filter(|other| other.identity() != entity.identity());
        let refused = |problem: Problem| {
            let status = match problem.attribute.as_deref() {
                Some("role" | "openProperties" | "prefix" | "pattern") => Status::BadRequest,
                _ => Status::Internal,
            };
            Refusal::new(status, problem.to_string())
        };
        check::alone(entity).and_then(|()| check::refers(entity, others)).map_err(refused)
    }

    /// The entity that a request is about; None: management itself.
    pub(super) fn find(&self, request: &Request, live: &dyn Live) -> Result<Option<Found>, Refusal> {
        let kind = request.kind.as_deref().map(Kind::find).transpose()?;
        let (by, wanted) = match (&request.name, &request.identity) {
            (Some(name), _) => ("name", name),
            (None, Some(identity)) => ("identity", identity),
            (None, None) => match kind {
                None | Some(Kind::Management | Kind::Operational | Kind::Every) => return Ok(None),
                Some(kind) => {
                    let why = format!("{}: No name or identity provided", kind.long_name());
                    return Err(Refusal::bad(why));
                }
            },
        };
        if wanted == "self" {
            return Ok(None);
        }
        let found = self
            .lookup(by, wanted, live)
            .ok_or_else(|| Refusal::new(Status::NotFound, format!("No entity with {by}={wanted}")))?;
        let (found_kind, identity) = match &found {
            Found::Own(at) => {
                let entity = self.entities.get(*at);
                (entity.map(|entity| entity.kind), entity.map(|entity| entity.identity().to_owned()))
            }
            Found::Live(kind, attributes) => {
                let identity = attributes.get("identity").and_then(value::as_text);
                (Some(*kind), identity.map(str::to_owned))
            }
        };
        if request.identity.is_some() && request.identity != identity {
            return Err(Refusal::bad(format!("Conflicting {by}={wanted}")));
        }
        match (kind, found_kind) {
            (Some(kind), Some(found)) if !kind.covers(found) => Err(Refusal::bad(format!(
                "Entity type '{}' does not extend requested type '{}'",
                found.long_name(),
                kind.long_name()
            ))),
            _ => Ok(Some(found)),
        }
    }

    fn lookup(&self, by: &str, wanted: &str, live: &dyn Live) -> Option<Found> {
        if let Some(at) = self.entities.iter().position(|entity| entity.text(by) == Some(wanted)) {
            return Some(Found::Own(at));
        }
        let kinds = EntityType::all().filter(|kind| !kind.is_configuration());
        let mut all = kinds.flat_map(|kind| rows(kind, live).map(move |row| (kind, row)));
        all.find(|(_, row)| row.get(by).and_then(value::as_text) == Some(wanted))
            .map(|(kind, row)| Found::Live(kind, row))
    }
}

fn unknown(kind: &EntityType, name: &str) -> Refusal {
    Refusal::bad(format!("Unknown attribute '{name}' for '{}'", kind.long_name()))
}
