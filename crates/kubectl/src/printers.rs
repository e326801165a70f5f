//! Tables of objects, with the columns of kubectl.
//!
//! Source: kubernetes `pkg/printers/internalversion/printers.go` (1.32); for kinds that are not listed
//! there, name and age, as for custom resources without columns of their own.

mod apps;
mod core;
mod events;
mod networking;
mod pods;
mod skupper;
#[cfg(test)]
mod tests;

use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::{KindInfo, kinds};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::age;
use crate::object::{labels, name, namespace, reference, text};
use crate::table::Table;

pub(crate) use self::core::node_roles;
pub(crate) use self::events::{first_time as first_seen, last_seen, last_time as last_seen_time};
pub(crate) use self::networking::{at_port, endpoints_text};

/// What a table has beside its kind's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// More columns.
    pub wide: bool,
    /// The namespace in front.
    pub namespace: bool,
    /// The kind before the name: several kinds are shown.
    pub kind: bool,
    /// All labels at the end.
    pub show_labels: bool,
    /// These labels, each in a column.
    pub label_columns: Vec<String>,
}

/// A kind's columns.
struct Printer {
    /// Names of the columns.
    columns: &'static [&'static str],
    /// Those that only wide tables have.
    wide: &'static [&'static str],
    /// The cells of an object, for all columns; none if it is no such object.
    cells: fn(&Value, &Context<'_>) -> Option<Vec<String>>,
}

/// What cells depend on beside the object.
pub(crate) struct Context<'a> {
    pub(crate) now: &'a Time,
    pub(crate) wide: bool,
}

impl Context<'_> {
    /// How long ago that was.
    fn age(&self, then: Option<&Time>) -> String {
        age::since(then, self.now)
    }

    fn age_of(&self, object: &Value) -> String {
        self.age(time(object, "/metadata/creationTimestamp").as_ref())
    }
}

/// A table of objects of one kind.
#[must_use]
pub fn table(info: &KindInfo, objects: &[Value], options: &Options, now: &Time) -> Table {
    let printer = printer_of(info);
    let mut table = Table::default();
    if options.namespace && info.namespaced {
        table.header.push("NAMESPACE".into());
    }
    let shown: Vec<bool> =
        printer.columns.iter().map(|column| options.wide || !printer.wide.contains(column)).collect();
    let of_shown = |cells: Vec<String>| -> Vec<String> {
        cells.into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell).collect()
    };
    table.header.extend(of_shown(printer.columns.iter().map(ToString::to_string).collect()));
    let label_column = |key: &String| key.rsplit('/').next().unwrap_or(key).to_uppercase();
    table.header.extend(options.label_columns.iter().map(label_column));
    if options.show_labels {
        table.header.push("LABELS".into());
    }
    let context = Context { now, wide: options.wide };
    for object in objects {
        let mut row = Vec::new();
        if options.namespace && info.namespaced {
            row.push(namespace(object).into());
        }
        let cells =
            (printer.cells)(object, &context).unwrap_or_else(|| unreadable(object, printer, &context));
        let mut cells = of_shown(cells);
        if options.kind {
            prefix(info, object, &mut cells);
        }
        row.extend(cells);
        let of_object = labels(object, "/metadata/labels");
        row.extend(options.label_columns.iter().map(|key| match of_object.get(key) {
            Some(value) if !value.is_empty() => value.clone(),
            _ => String::new(),
        }));
        if options.show_labels {
            row.push(label_text(&of_object));
        }
        table.rows.push(row);
    }
    table
}

/// Writes the kind before the name.
fn prefix(info: &KindInfo, object: &Value, cells: &mut [String]) {
    let name = name(object);
    if let Some(cell) = cells.iter_mut().find(|cell| *cell == name) {
        *cell = reference(info, name);
    }
}

/// Something is stored that is no object of the kind; its name is known all the same.
fn unreadable(object: &Value, printer: &Printer, context: &Context<'_>) -> Vec<String> {
    let cell = |column: &&str| match *column {
        "NAME" => name(object).to_owned(),
        "AGE" => context.age_of(object),
        _ => "<unknown>".into(),
    };
    printer.columns.iter().map(cell).collect()
}

const GENERIC: Printer = Printer {
    columns: &["NAME", "AGE"],
    wide: &[],
    cells: |object, context| Some(vec![name(object).into(), context.age_of(object)]),
};

fn printer_of(info: &KindInfo) -> &'static Printer {
    static PRINTERS: &[(&KindInfo, &Printer)] = &[
        (&kinds::PODS, &pods::PODS),
        (&kinds::NODES, &core::NODES),
        (&kinds::NAMESPACES, &core::NAMESPACES),
        (&kinds::CONFIG_MAPS, &core::CONFIG_MAPS),
        (&kinds::SECRETS, &core::SECRETS),
        (&kinds::SERVICE_ACCOUNTS, &core::SERVICE_ACCOUNTS),
        (&kinds::LEASES, &core::LEASES),
        (&kinds::PRIORITY_CLASSES, &core::PRIORITY_CLASSES),
        (&kinds::EVENTS, &events::EVENTS),
        (&kinds::SERVICES, &networking::SERVICES),
        (&kinds::ENDPOINTS, &networking::ENDPOINTS),
        (&kinds::ENDPOINT_SLICES, &networking::ENDPOINT_SLICES),
        (&kinds::INGRESSES, &networking::INGRESSES),
        (&kinds::INGRESS_CLASSES, &networking::INGRESS_CLASSES),
        (&kinds::NETWORK_POLICIES, &networking::NETWORK_POLICIES),
        (&kinds::VIRTUAL_IPS, &networking::VIRTUAL_IPS),
        (&kinds::DEPLOYMENTS, &apps::DEPLOYMENTS),
        (&kinds::REPLICA_SETS, &apps::REPLICA_SETS),
        (&kinds::DAEMON_SETS, &apps::DAEMON_SETS),
        (&kinds::STATEFUL_SETS, &apps::STATEFUL_SETS),
        (&kinds::JOBS, &apps::JOBS),
        (&kinds::CRON_JOBS, &apps::CRON_JOBS),
        (&kinds::SITES, &skupper::SITES),
        (&kinds::LINKS, &skupper::LINKS),
        (&kinds::ACCESS_GRANTS, &skupper::ACCESS_GRANTS),
        (&kinds::ACCESS_TOKENS, &skupper::ACCESS_TOKENS),
        (&kinds::LISTENERS, &skupper::LISTENERS),
        (&kinds::CONNECTORS, &skupper::CONNECTORS),
    ];
    static OTHERS: Printer = GENERIC;
    PRINTERS.iter().find(|(kind, _)| **kind == *info).map_or(&OTHERS, |(_, printer)| printer)
}

/// The object with its type.
fn typed<K: DeserializeOwned>(object: &Value) -> Option<K> {
    K::deserialize(object).ok()
}

fn time(object: &Value, pointer: &str) -> Option<Time> {
    text(object, pointer).parse().ok().map(Time)
}

/// As `a=b,c=d`; `<none>` where there are none.
pub(crate) fn label_text(labels: &api::selector::Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    none_if_empty(pairs.join(","))
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() { "<none>".into() } else { text }
}

/// A text that may be missing.
fn or_none(text: Option<&String>) -> String {
    none_if_empty(text.cloned().unwrap_or_default())
}
