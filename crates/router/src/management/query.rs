//! Questions to management itself: QUERY, GET-TYPES and their like.

use std::collections::BTreeSet;

use api::router_config::schema::{EntityType, Kind as Form, PREFIX};
use serde_amqp::Value;
use serde_json::{Value as Json, json};

use super::value::{from_json, list, map, text, texts};
use super::{Agent, Attributes, Kind, Live, Refusal, Request, Status, not_implemented, rows};

/// What can be asked of management itself.
pub(super) const OPERATIONS: &[&str] = &[
    "GET-SCHEMA",
    "GET-JSON-SCHEMA",
    "QUERY",
    "GET-TYPES",
    "GET-ANNOTATIONS",
    "GET-OPERATIONS",
    "GET-ATTRIBUTES",
    "GET-MGMT-NODES",
    "READ",
];

impl Agent {
    pub(super) fn of_itself(&self, request: &Request, live: &dyn Live) -> Result<Value, Refusal> {
        let kind = request.entity_type.as_deref().map(Kind::find).transpose()?;
        let each = |tell: &dyn Fn(&'static EntityType) -> Value| {
            let all = EntityType::all().filter(|one| kind.is_none_or(|kind| kind.covers(one)));
            map(all.map(|one| (one.long_name(), tell(one))).collect())
        };
        Ok(match request.operation.as_str() {
            "READ" => map(self_attributes()),
            "QUERY" => self.query(kind, request, live)?,
            "GET-TYPES" => each(&|one| {
                let base = if one.is_configuration() { "configurationEntity" } else { "operationalEntity" };
                list([text(&format!("{PREFIX}{base}")), text(&format!("{PREFIX}entity"))])
            }),
            "GET-OPERATIONS" => each(&|one| texts(one.operations().iter().copied().chain(["READ"]))),
            "GET-ATTRIBUTES" => each(&|one| texts(one.attributes().map(|attribute| attribute.name))),
            "GET-ANNOTATIONS" => map(Attributes::new()),
            "GET-MGMT-NODES" => {
                let mut ids: BTreeSet<String> = BTreeSet::from([self.router.clone()]);
                let nodes = EntityType::find("router.node").into_iter().flat_map(|kind| rows(kind, live));
                ids.extend(nodes.filter_map(|mut row| match row.remove("id") {
                    Some(Value::String(id)) => Some(id),
                    _ => None,
                }));
                list(ids.iter().map(|id| text(&format!("amqp:/_topo/0/{id}/$management"))))
            }
            "GET-SCHEMA" => from_json(&schema()),
            "GET-JSON-SCHEMA" => text(&schema().to_string()),
            operation => return Err(not_implemented(operation, None)),
        })
    }

    fn query(&self, kind: Option<Kind>, request: &Request, live: &dyn Live) -> Result<Value, Refusal> {
        let known: Vec<&str> = match kind {
            Some(Kind::One(kind)) => kind.attributes().map(|attribute| attribute.name).collect(),
            _ => {
                let all = EntityType::all().flat_map(|one| one.attributes().map(|attribute| attribute.name));
                all.collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let names: Vec<String> = match request.body.get("attributeNames") {
            None | Some(Json::Null) => Vec::new(),
            Some(names) => serde_json::from_value(names.clone())
                .map_err(|_| Refusal::bad("'attributeNames' must be a list of names"))?,
        };
        let unknown: Vec<&String> = names.iter().filter(|name| !known.contains(&name.as_str())).collect();
        if !unknown.is_empty() {
            let of = kind.map_or(String::new(), |kind| format!(" for type {}", kind.long_name()));
            let why = format!("Unknown attributes {unknown:?}{of}.").replace('"', "'");
            return Err(Refusal::new(Status::NotFound, why));
        }
        let names = if names.is_empty() { known.into_iter().map(str::to_owned).collect() } else { names };
        let mut all = self.all(kind.unwrap_or(Kind::Every), live);
        if kind.is_none_or(|kind| matches!(kind, Kind::Every | Kind::Operational | Kind::Management)) {
            all.insert(0, self_attributes());
        }
        let rows = all.into_iter().filter_map(|mut attributes| {
            let row: Vec<_> = names.iter().map(|name| attributes.remove(name).unwrap_or_default()).collect();
            row.iter().any(|value| *value != Value::Null).then_some(Value::List(row))
        });
        let rows = rows.skip(request.offset).take(request.count.unwrap_or(usize::MAX));
        Ok(map(Attributes::from([
            ("results".to_owned(), list(rows)),
            ("attributeNames".to_owned(), texts(names.iter().map(String::as_str))),
        ])))
    }
}

fn self_attributes() -> Attributes {
    Attributes::from([
        ("name".to_owned(), text("self")),
        ("identity".to_owned(), text("self")),
        ("type".to_owned(), text(&Kind::Management.long_name())),
    ])
}

/// The schema in the form of upstream's `Schema.dump`, without descriptions.
fn schema() -> Json {
    let types: serde_json::Map<String, Json> = EntityType::all()
        .map(|one| {
            let attributes: serde_json::Map<String, Json> = one
                .attributes()
                .filter(|attribute| attribute.name != "type")
                .map(|attribute| {
                    let mut said = json!({ "type": form(attribute.kind) });
                    if let (Some(said), Some(default)) = (said.as_object_mut(), attribute.default) {
                        said.insert("default".to_owned(), default.into());
                    }
                    for (name, is) in [("required", attribute.required), ("unique", attribute.unique)] {
                        if let Some(said) = said.as_object_mut().filter(|_| is) {
                            said.insert(name.to_owned(), true.into());
                        }
                    }
                    (attribute.name.to_owned(), said)
                })
                .collect();
            let operations: Vec<_> = one.operations().iter().copied().chain(["READ"]).collect();
            let said = json!({
                "attributes": attributes,
                "operations": operations,
                "fullyQualifiedType": one.long_name(),
                "singleton": one.is_singleton(),
            });
            (one.short_name().to_owned(), said)
        })
        .collect();
    json!({ "prefix": PREFIX.trim_end_matches('.'), "entityTypes": types })
}

fn form(form: Form) -> Json {
    match form {
        Form::Text => "string".into(),
        Form::Path => "path".into(),
        Form::Integer => "integer".into(),
        Form::Boolean => "boolean".into(),
        Form::OneOf(words) => words.into(),
        Form::List => "list".into(),
        Form::Map => "map".into(),
        Form::Properties => "properties".into(),
    }
}
