//! `kubectl describe`: an object in words, with what belongs to it, and what has happened to it.
//!
//! Source: kubectl `pkg/describe/describe.go` (1.32). What is read beside the object is `Related`; the
//! text is made of both by functions of each kind.

mod containers;
mod data;
mod generic;
mod network;
mod node;
mod pod;
mod tabs;
#[cfg(test)]
mod tests;
mod volumes;
mod workloads;

use std::fmt::{Display, Write as _};

use api::kinds::{
    CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, EVENTS, INGRESSES, LEASES, NAMESPACES, NODES, PODS,
    REPLICA_SETS, SECRETS, SERVICES, VIRTUAL_IPS,
};
use api::selector::{Labels, Selector};
use api::types::api::apps::v1::ReplicaSet;
use api::types::api::coordination::v1::Lease;
use api::types::api::core::v1::{Endpoints, Event, Pod};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use api::{KindInfo, time};
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::Store;

use crate::age;
use crate::apply::LAST_APPLIED;
use crate::error::Result;
use crate::object::{name, namespace, text};
use crate::printers::{first_seen, last_seen, last_seen_time};

/// A longer annotation stands below its key (kubectl `maxAnnotationLen`).
const ANNOTATION: usize = 140;

/// What is told of beside the object itself.
#[derive(Debug, Default)]
pub(crate) struct Related {
    pub(crate) events: Vec<Event>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) replica_sets: Vec<ReplicaSet>,
    pub(crate) slices: Vec<EndpointSlice>,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) lease: Option<Lease>,
}

/// An object in words.
///
/// # Errors
/// When etcd is away.
pub async fn describe(store: &Store, info: &'static KindInfo, object: &Value) -> Result<String> {
    let related = related(store, info, object).await?;
    Ok(text_of(info, object, &related, &time::now()))
}

async fn related(store: &Store, info: &'static KindInfo, object: &Value) -> Result<Related> {
    let (namespace, name) = (namespace(object), name(object));
    let inside = Some(namespace).filter(|namespace| !namespace.is_empty());
    let mut related = Related::default();
    let mut events = store.list_raw(&EVENTS, inside).await?.items;
    events.retain(|event| is_about(event, info, object));
    events.sort_by_cached_key(last_seen);
    related.events = all(events);
    if *info == NODES {
        let mut pods: Vec<Pod> = all(store.list_raw(&PODS, None).await?.items);
        pods.retain(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name));
        related.pods = pods;
        let lease = store.get_raw(&LEASES, "kube-node-lease", name).await?;
        related.lease = lease.and_then(|lease| typed(&lease));
    } else if *info == SERVICES {
        let slices = store.list_raw(&ENDPOINT_SLICES, inside).await?.items;
        let of_it = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == *name;
        related.pods = all(store.list_raw(&PODS, inside).await?.items);
        related.slices = all(slices.iter().filter(of_it).cloned().collect());
        if related.slices.is_empty() {
            related.endpoints =
                store.get_raw(&ENDPOINTS, namespace, name).await?.and_then(|value| typed(&value));
        }
    } else if *info == VIRTUAL_IPS {
        related.pods = all(store.list_raw(&PODS, inside).await?.items);
    } else if *info == DEPLOYMENTS || *info == REPLICA_SETS {
        let uid = text(object, "/metadata/uid");
        let (sets, pods) =
            (store.list_raw(&REPLICA_SETS, inside).await?.items, store.list_raw(&PODS, inside).await?.items);
        related.replica_sets = all(sets.into_iter().filter(|set| belongs_to(set, uid)).collect());
        related.pods = all(pods.into_iter().filter(|pod| belongs_to(pod, uid)).collect());
    }
    Ok(related)
}

/// Those that can be read.
fn all<K: DeserializeOwned>(objects: Vec<Value>) -> Vec<K> {
    objects.iter().filter_map(typed).collect()
}

fn typed<K: DeserializeOwned>(object: &Value) -> Option<K> {
    K::deserialize(object).ok()
}

fn is_about(event: &Value, info: &KindInfo, object: &Value) -> bool {
    let about = |field: &str| event["involvedObject"][field].as_str().unwrap_or_default();
    let uid = text(object, "/metadata/uid");
    about("kind") == info.kind
        && about("name") == name(object)
        && about("namespace") == namespace(object)
        // A node's events have its name for a uid; an older object of the name had another.
        && (about("uid").is_empty() || about("uid") == uid || about("uid") == name(object))
}

fn belongs_to(object: &Value, uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["uid"] == *uid && owner["controller"] == true)
}

/// The text of an object with what is known beside it.
pub(crate) fn text_of(info: &KindInfo, object: &Value, related: &Related, now: &Time) -> String {
    let mut out = Description::new(now);
    let done = match *info {
        ref info if *info == PODS => pod::describe(&mut out, object),
        ref info if *info == NODES => node::describe(&mut out, object, related),
        ref info if *info == SERVICES => network::service(&mut out, object, related),
        ref info if *info == VIRTUAL_IPS => network::virtual_ip(&mut out, object, related),
        ref info if *info == ENDPOINT_SLICES => network::slice(&mut out, object),
        ref info if *info == ENDPOINTS => network::endpoints(&mut out, object),
        ref info if *info == INGRESSES => network::ingress(&mut out, object),
        ref info if *info == DEPLOYMENTS => workloads::deployment(&mut out, object, related),
        ref info if *info == REPLICA_SETS => workloads::replica_set(&mut out, object, related),
        ref info if *info == CONFIG_MAPS => data::config_map(&mut out, object),
        ref info if *info == SECRETS => data::secret(&mut out, object),
        ref info if *info == NAMESPACES => data::namespace(&mut out, object),
        _ => None,
    };
    if done.is_none() {
        out = Description::new(now);
        generic::describe(&mut out, object);
    }
    out.events(&related.events);
    tabs::align(&out.text)
}

/// A text in the making: lines, whose columns end at tabs.
pub(crate) struct Description<'a> {
    text: String,
    pub(crate) now: &'a Time,
}

impl<'a> Description<'a> {
    fn new(now: &'a Time) -> Self {
        Self { text: String::new(), now }
    }

    /// A line, so far to the right.
    pub(crate) fn line(&mut self, level: usize, text: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "{:indent$}{text}", "", indent = level * 2);
    }

    /// `Key:` and a value.
    pub(crate) fn field(&mut self, level: usize, key: &str, value: impl Display) {
        self.line(level, format_args!("{key}:\t{value}"));
    }

    /// `Key:` and a value, if there is one.
    pub(crate) fn maybe(&mut self, level: usize, key: &str, value: Option<impl Display>) {
        let value = value.map(|value| value.to_string()).filter(|value| !value.is_empty());
        if let Some(value) = value {
            self.field(level, key, value);
        }
    }

    /// `Key:` and values below each other; `<none>` for none.
    pub(crate) fn lines<T: Display>(&mut self, level: usize, key: &str, values: impl IntoIterator<Item = T>) {
        let mut values = values.into_iter();
        match values.next() {
            Some(first) => self.field(level, key, first),
            None => self.field(level, key, "<none>"),
        }
        for value in values {
            self.line(level, format_args!("\t{value}"));
        }
    }

    pub(crate) fn labels(&mut self, level: usize, key: &str, labels: Option<&Labels>) {
        self.lines(level, key, labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")));
    }

    pub(crate) fn annotations(&mut self, level: usize, annotations: Option<&Labels>) {
        let shown = annotations.into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
        let text = |(key, value): (&String, &String)| {
            let value = value.trim_end_matches('\n');
            if key.len() + value.len() < ANNOTATION && !value.contains('\n') {
                return vec![format!("{key}: {value}")];
            }
            let lines = value.lines().map(|line| {
                let begin: String = line.chars().take(ANNOTATION - 2).collect();
                if begin.len() < line.len() { format!("  {begin}...") } else { format!("  {line}") }
            });
            std::iter::once(format!("{key}:")).chain(lines).collect()
        };
        self.lines(level, "Annotations", shown.flat_map(text));
    }

    /// Name, namespace, labels and annotations.
    pub(crate) fn head(&mut self, meta: &ObjectMeta) {
        self.names(meta);
        self.labels(0, "Labels", meta.labels.as_ref());
        self.annotations(0, meta.annotations.as_ref());
    }

    pub(crate) fn names(&mut self, meta: &ObjectMeta) {
        self.field(0, "Name", meta.name.as_deref().unwrap_or_default());
        self.maybe(0, "Namespace", meta.namespace.as_deref());
    }

    pub(crate) fn created(&mut self, meta: &ObjectMeta) {
        self.field(0, "CreationTimestamp", moment(meta.creation_timestamp.as_ref()));
    }

    /// `Controlled By:`, if it is.
    pub(crate) fn controller(&mut self, meta: &ObjectMeta) {
        let mut owners = meta.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true));
        self.maybe(0, "Controlled By", owner.map(|owner| format!("{}/{}", owner.kind, owner.name)));
    }

    /// How long ago.
    pub(crate) fn age(&self, then: Option<&Time>) -> String {
        age::since(then, self.now)
    }

    fn events(&mut self, events: &[Event]) {
        if events.is_empty() {
            self.field(0, "Events", "<none>");
            return;
        }
        self.line(0, "Events:");
        self.line(1, "Type\tReason\tAge\tFrom\tMessage");
        self.line(1, "----\t------\t----\t----\t-------");
        for event in events {
            let series = event.series.as_ref().and_then(|series| series.count);
            let count = series.or(event.count).unwrap_or(1);
            let (first, last) = (first_seen(event), last_seen_time(event));
            let age = if count > 1 {
                format!("{} (x{count} over {})", self.age(last.as_ref()), self.age(first.as_ref()))
            } else {
                self.age(first.as_ref())
            };
            let kind = event.type_.as_deref().unwrap_or_default();
            let reason = event.reason.as_deref().unwrap_or_default();
            let message = event.message.as_deref().unwrap_or_default().trim();
            let component = event.source.as_ref().and_then(|source| source.component.as_deref());
            let component = component.filter(|component| !component.is_empty());
            let from = component.or(event.reporting_component.as_deref()).unwrap_or_default();
            self.line(1, format_args!("{kind}\t{reason}\t{age}\t{from}\t{message}"));
        }
    }
}

/// As `Mon, 02 Nov 2026 10:00:00 +0000` (RFC 1123).
pub(crate) fn moment(time: Option<&Time>) -> String {
    time.map(|time| time.0.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()).unwrap_or_default()
}

/// As `True`, `False`.
pub(crate) fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A text, or `<none>`.
pub(crate) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// Labels that a selector wants.
pub(crate) fn selector_text(
    selector: &api::types::apimachinery::pkg::apis::meta::v1::LabelSelector,
) -> String {
    match Selector::try_from(selector) {
        Ok(selector) if selector.is_empty() => "<none>".into(),
        Ok(selector) => selector.to_string(),
        Err(error) => error.to_string(),
    }
}
