//! `kubectl wait`: until something is so.
//!
//! Source: kubectl `pkg/cmd/wait/{wait,condition,delete,json}.go`.

use std::str::FromStr;
use std::time::Duration;

use api::KindInfo;
use serde_json::Value;
use store::{Event, Store};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};
use crate::jsonpath::{Path, plain};
use crate::object::{name as name_of, reference, text};

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum For {
    /// `condition=Ready`, `condition=Ready=False`
    Condition {
        /// Its type, in any case of letters.
        kind: String,
        /// Its status, in any case of letters.
        status: String,
    },
    /// `delete`
    Delete,
    /// `create`
    Create,
    /// `jsonpath={.status.phase}=Running`
    JsonPath {
        /// Where.
        path: Path,
        /// Which value; none for any.
        value: Option<String>,
    },
}

impl FromStr for For {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Self::Delete);
        }
        if lower == "create" {
            return Ok(Self::Create);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "true"));
            if !kind.is_empty() {
                return Ok(Self::Condition { kind: kind.into(), status: status.into() });
            }
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let (path, value) = match rest.rfind('}') {
                Some(end) => rest.split_at(end + 1),
                None => rest.split_once('=').map_or((rest, ""), |(path, _)| rest.split_at(path.len())),
            };
            // Quotes that no shell has taken away.
            let value = match value.trim_start_matches(['\'', '"']).strip_prefix('=') {
                Some("") => {
                    return Err(Error::usage("jsonpath wait has to have a value after equal sign"));
                }
                Some(value) => Some(value.trim_matches(['"', '\'']).to_owned()),
                None if value.is_empty() => None,
                None => return Err(Error::Usage(format!("unrecognized condition: {text:?}"))),
            };
            return Ok(Self::JsonPath { path: Path::parse(path.trim_matches(['"', '\'']))?, value });
        }
        Err(Error::Usage(format!(
            "unrecognized condition: {text:?}: as condition=Ready, delete, create or jsonpath='{{.status.phase}}'=Running"
        )))
    }
}

impl For {
    /// Whether it is so; an object that is not there is none.
    #[must_use]
    pub fn is_met(&self, object: Option<&Value>) -> bool {
        let Some(object) = object else { return *self == Self::Delete };
        match self {
            Self::Delete => false,
            Self::Create => true,
            Self::Condition { kind, status } => {
                let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
                // What was said of an older spec does not count.
                let is = |condition: &Value| {
                    let observed = condition.get("observedGeneration").and_then(Value::as_i64);
                    let stale = observed.is_some_and(|at| Some(at) < generation(object));
                    text(condition, "/type").eq_ignore_ascii_case(kind)
                        && text(condition, "/status").eq_ignore_ascii_case(status)
                        && !stale
                };
                conditions.into_iter().flatten().any(is)
            }
            Self::JsonPath { path, value } => {
                let found = path.find(object);
                match value {
                    None => !found.is_empty(),
                    Some(value) => found.len() == 1 && plain(found[0]) == *value,
                }
            }
        }
    }
}

fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}

/// Waits for it; gives the line to print. No time at all is one look.
///
/// # Errors
/// [`Error::Timeout`]; there is no such object and it is not waited for to be made; it is deleted meanwhile.
pub async fn wait(
    store: &Store,
    info: &'static KindInfo,
    (namespace, name): (&str, &str),
    wanted: &For,
    limit: Duration,
) -> Result<String> {
    let deadline = Instant::now() + limit;
    let late = || Error::Timeout { what: format!("the condition on {}/{name}", info.plural) };
    let met = || match wanted {
        For::Delete => format!("{} deleted", reference(info, name)),
        _ => format!("{} condition met", reference(info, name)),
    };
    let inside = Some(namespace).filter(|_| info.namespaced);
    let mut uid: Option<String> = None;
    loop {
        let (found, revision) = look(store, info, namespace, name).await?;
        // Another one of the name: the one that was meant is gone.
        let is_it = |object: &Value| uid.as_deref().is_none_or(|uid| text(object, "/metadata/uid") == uid);
        let found = found.filter(|object| *wanted != For::Delete || is_it(object));
        if wanted.is_met(found.as_ref()) {
            return Ok(met());
        }
        match &found {
            Some(object) => uid = Some(text(object, "/metadata/uid").into()),
            None if *wanted != For::Create => return Err(Error::not_found(info, name)),
            None => {}
        }
        if limit.is_zero() {
            return Err(late());
        }
        let mut watch = store.watch_raw(info, inside, revision).await?;
        loop {
            match timeout_at(deadline, watch.next()).await.map_err(|_| late())? {
                // The state decides; an event only tells when to look.
                Ok(Event::Added(object) | Event::Modified(object) | Event::Deleted { object, .. })
                    if name_of(&object) == name =>
                {
                    break;
                }
                Ok(_) => {}
                Err(store::Error::Compacted { .. } | store::Error::Ahead { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The object, if it is there, and the revision from which on a watch tells what changes.
async fn look(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    name: &str,
) -> Result<(Option<Value>, i64)> {
    if let Some(object) = store.get_raw(info, namespace, name).await? {
        let revision = text(&object, "/metadata/resourceVersion").parse().unwrap_or_default();
        return Ok((Some(object), revision));
    }
    let inside = Some(namespace).filter(|_| info.namespaced);
    let list = store.list_raw(info, inside).await?;
    Ok((list.items.into_iter().find(|object| name_of(object) == name), list.revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds::PODS;
    use serde_json::json;
    use store::registry;

    fn pod(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "C0w1", "containers": [{"name": "c", "image": "nginx"}]},
        })
    }

    fn wanted(text: &str) -> For {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_waited_for_is_written_as_for_kubectl() {
        let object = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "Old", "status": "True", "observedGeneration": 1},
                {"type": "Bad", "status": "False"}]},
        });
        let table = [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=False", false),
            ("condition=Bad=false", true),
            ("condition=Old", false),
            ("condition=None", false),
            ("create", true),
            ("delete", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Running", true),
            ("jsonpath=.status.phase=Running", true),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.phase}=Pending", false),
            ("jsonpath={.status.podIP}", false),
            ("jsonpath={.status.conditions[?(@.type==\"Bad\")].status}=False", true),
        ];
        for (text, expected) in table {
            assert_eq!(wanted(text).is_met(Some(&object)), expected, "{text}");
            assert_eq!(wanted(text).is_met(None), text == "delete", "{text}");
        }
        let wrong = ["", "Ready", "condition=", "jsonpath={.a", "jsonpath={.a}=", "jsonpath={.a}x"];
        let said: Vec<_> = wrong.iter().map(|text| text.parse::<For>().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    async fn waited(store: &Store, name: &str, text: &str, seconds: u64) -> String {
        let limit = Duration::from_secs(seconds);
        match wait(store, &PODS, ("default", name), &wanted(text), limit).await {
            Ok(line) => line,
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_until_it_is_so_or_time_is_up() {
        let store = Store::memory();
        let ready = "condition=Ready";
        assert_eq!(waited(&store, "c1", ready, 5).await, "pods \"c1\" not found");
        assert_eq!(waited(&store, "c1", "delete", 5).await, "pod/c1 deleted");
        let late = "timed out waiting for the condition on pods/c1";
        assert_eq!(waited(&store, "c1", "create", 5).await, late);
        let story = async {
            let after = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
            after(10).await;
            registry::create_raw(&store, &PODS, &pod("c1")).await.unwrap();
            after(10).await;
            let change = |pod: &mut api::types::api::core::v1::Pod| {
                let status = pod.status.get_or_insert_default();
                status.conditions =
                    serde_json::from_value(json!([{"type": "Ready", "status": "True"}])).unwrap();
            };
            store.modify("default", "c1", change).await.unwrap();
            after(10).await;
            let pod = store.get::<api::types::api::core::v1::Pod>("default", "c1").await.unwrap().unwrap();
            registry::delete_now(&store, &pod).await.unwrap();
            registry::create_raw(&store, &PODS, &self::pod("c1")).await.unwrap();
        };
        let waiting = async {
            let mut log = vec![waited(&store, "c1", "create", 60).await];
            log.push(waited(&store, "c1", ready, 5).await);
            log.push(waited(&store, "c1", ready, 60).await);
            log.push(waited(&store, "c1", "condition=Ready=False", 0).await);
            log.push(waited(&store, "c1", "delete", 60).await);
            log
        };
        let (log, ()) = tokio::join!(waiting, story);
        assert_eq!(log, ["pod/c1 condition met", late, "pod/c1 condition met", late, "pod/c1 deleted"]);
    }
}
