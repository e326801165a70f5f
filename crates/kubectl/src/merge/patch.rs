//! The strategic merge patch: an object's fields as they are to be, the rest stays.
//!
//! As an apply of which nobody knows what was written last time, and with words that an apply has no need
//! of: `$patch: replace|delete|merge` in an object or an item, `$retainKeys`, `$deleteFromPrimitiveList/…` and
//! `$setElementOrder/…` beside a list. Source: apimachinery `pkg/util/strategicpatch/patch.go`
//! (`mergeMap`, `mergeSlice`).

use serde_json::{Map, Value};

use super::keys::{Items, Path};
use super::{Strategy, in_order, set};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const TAKE_AWAY: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// A patch that makes no sense, in the API server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Senseless(String);

type Result<T> = std::result::Result<T, Senseless>;

/// The object as a patch makes it.
///
/// # Errors
/// Words that begin with `$` in a place or with a value that is not theirs, and items without the field by
/// which items of their list are known.
pub fn strategic(kind: &str, patch: &Value, current: &Value) -> Result<Value> {
    value(&Path::root(Strategy::Strategic, kind), patch, current)
}

fn value(path: &Path<'_>, patch: &Value, current: &Value) -> Result<Value> {
    match (patch, current) {
        (Value::Object(new), Value::Object(there)) => object(path, new, there).map(Value::Object),
        // What is there is of another type, or nothing.
        (Value::Object(new), _) => object(path, new, &Map::new()).map(Value::Object),
        (Value::Array(new), _) => {
            let there = current.as_array().map_or(&[][..], Vec::as_slice);
            match path.items() {
                Items::Whole => Ok(patch.clone()),
                Items::Set => Ok(Value::Array(set(&[], new, there))),
                Items::Keyed(key) => list(path, key, new, there).map(Value::Array),
            }
        }
        _ => Ok(patch.clone()),
    }
}

fn object(
    path: &Path<'_>,
    patch: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    let mut merged = match directive(patch)? {
        Some("delete") => return Ok(Map::new()),
        Some("replace") => Map::new(),
        _ => current.clone(),
    };
    if let Some(retain) = patch.get(RETAIN) {
        let retain = array(RETAIN, retain)?;
        let strange =
            patch.keys().find(|name| !name.starts_with('$') && !retain.contains(&Value::from(name.as_str())));
        if let Some(name) = strange {
            return Err(Senseless(format!("{RETAIN} does not have {name}, which the patch sets")));
        }
        merged.retain(|name, _| retain.contains(&Value::from(name.as_str())));
    }
    for (name, new) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if new.is_null() {
            merged.remove(name);
            continue;
        }
        let there = merged.get(name).unwrap_or(&Value::Null);
        let result = value(&path.child(name), new, there)?;
        merged.insert(name.clone(), result);
    }
    beside_lists(path, patch, &mut merged)?;
    Ok(merged)
}

/// What stands beside a list: values that go, and the order.
fn beside_lists(path: &Path<'_>, patch: &Map<String, Value>, merged: &mut Map<String, Value>) -> Result<()> {
    for (word, wanted) in patch.iter().filter(|(word, _)| word.starts_with('$')) {
        if let Some(list) = word.strip_prefix(TAKE_AWAY) {
            let gone = array(word, wanted)?;
            if let Some(items) = merged.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if let Some(list) = word.strip_prefix(ORDER) {
            let wanted = array(word, wanted)?;
            let same = |item: &Value, place: &Value| match path.child(list).items() {
                Items::Keyed(key) => item.get(key) == place.get(key),
                _ => item == place,
            };
            if let Some(items) = merged.get_mut(list).and_then(Value::as_array_mut) {
                let rank = |item: &Value| wanted.iter().position(|place| same(item, place));
                let ours = wanted.iter().filter_map(|place| items.iter().position(|item| same(item, place)));
                let ours: Vec<_> = ours.map(|at| (Some(at), items[at].clone())).collect();
                let others = items.iter().enumerate().filter(|(_, item)| rank(item).is_none());
                *items = in_order(ours, others.map(|(at, item)| (at, item.clone())));
            }
        } else if ![PATCH, RETAIN].contains(&word.as_str()) {
            return Err(Senseless(format!("unknown patch directive {word}")));
        }
    }
    Ok(())
}

/// Items that are known by a key: those of the patch first, in its order, as kubectl's users see it.
fn list(path: &Path<'_>, key: &str, patch: &[Value], current: &[Value]) -> Result<Vec<Value>> {
    let (mut wanted, mut gone, mut replace) = (Vec::new(), Vec::new(), false);
    for item in patch {
        let Some(fields) = item.as_object() else {
            return Err(Senseless(format!("{item} is no object, as the items of this list are")));
        };
        let id = fields.get(key).filter(|id| !id.is_null());
        match (directive(fields)?, id) {
            // It stands for no item.
            (Some("replace"), None) => replace = true,
            (Some("merge"), None) => {
                return Err(Senseless("merging lists cannot yet be specified in the patch".into()));
            }
            (_, None) => {
                return Err(Senseless(format!("map: {item} does not contain declared merge key: {key}")));
            }
            (Some("delete"), Some(id)) => gone.push(id),
            (_, Some(id)) => wanted.push((id, item)),
        }
    }
    let current = if replace { &[][..] } else { current };
    // Where a key is there twice, as with one port for TCP and UDP, the first is meant.
    let find = |id: &Value| current.iter().position(|item| item.get(key) == Some(id));
    let mut ours = Vec::new();
    for (id, item) in &wanted {
        let there = find(id);
        let before = there.map_or(&Value::Null, |at| &current[at]);
        ours.push((there, value(&path.item(), item, before)?));
    }
    let is_ours = |at: usize| ours.iter().any(|(there, _)| *there == Some(at));
    let stays = |item: &Value| !item.get(key).is_some_and(|id| gone.contains(&id));
    let others: Vec<_> = current
        .iter()
        .enumerate()
        .filter(|(at, item)| !is_ours(*at) && stays(item))
        .map(|(at, item)| (at, item.clone()))
        .collect();
    Ok(in_order(ours, others.into_iter()))
}

/// What `$patch` says.
fn directive(patch: &Map<String, Value>) -> Result<Option<&str>> {
    match patch.get(PATCH) {
        None => Ok(None),
        Some(word) => match word.as_str() {
            Some("replace" | "delete" | "merge") => Ok(word.as_str()),
            _ => Err(Senseless(format!("unknown patch type: {word}"))),
        },
    }
}

fn array<'a>(word: &str, value: &'a Value) -> Result<&'a Vec<Value>> {
    value.as_array().ok_or_else(|| Senseless(format!("{word} wants a list")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(kind: &str, patch: &Value, current: &Value) -> std::result::Result<Value, String> {
        strategic(kind, patch, current).map_err(|error| error.to_string())
    }

    fn pod(containers: &Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn fields_are_set_and_nulls_take_away() {
        let current =
            json!({"metadata": {"labels": {"a": "1", "b": "1"}}, "spec": {"replicas": 1, "paused": true}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "1"}, "annotations": {"x": null, "y": "1"}},
            "spec": {"replicas": 3}});
        let expected = json!({"metadata": {"labels": {"b": "1", "c": "1"}, "annotations": {"y": "1"}},
            "spec": {"replicas": 3, "paused": true}});
        assert_eq!(patched("Deployment", &patch, &current), Ok(expected));
        assert_eq!(patched("Deployment", &json!({}), &current), Ok(current));
    }

    #[test]
    fn containers_are_merged_by_name_and_those_of_the_patch_come_first() {
        let current =
            pod(&json!([{"name": "a", "image": "1", "args": ["x", "y"]}, {"name": "b", "image": "1"}]));
        let patch = pod(&json!([{"name": "new", "image": "1"}, {"name": "a", "args": ["z"]}]));
        let expected = pod(
            &json!([{"name": "new", "image": "1"}, {"name": "a", "image": "1", "args": ["z"]}, {"name": "b", "image": "1"}]),
        );
        assert_eq!(patched("Pod", &patch, &current), Ok(expected));
        // Tolerations are one value.
        let patch = json!({"spec": {"tolerations": [{"key": "a"}]}});
        let tolerant = json!({"spec": {"tolerations": [{"key": "b"}, {"key": "c"}]}});
        assert_eq!(patched("Pod", &patch, &tolerant), Ok(patch));
    }

    #[test]
    fn a_port_of_two_protocols_keeps_the_other() {
        let dns = |tcp: Value| json!({"spec": {"ports": [tcp, {"port": 53, "protocol": "UDP"}]}});
        let patch = json!({"spec": {"ports": [{"port": 53, "nodePort": 30053}]}});
        let expected = dns(json!({"port": 53, "protocol": "TCP", "nodePort": 30053}));
        assert_eq!(patched("Service", &patch, &dns(json!({"port": 53, "protocol": "TCP"}))), Ok(expected));
    }

    #[test]
    fn directives_replace_delete_retain_and_order() {
        let containers =
            json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}]);
        let current = json!({"metadata": {"finalizers": ["x", "y"], "labels": {"a": "1"}},
            "spec": {"containers": containers, "strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}});
        let names = |patch: Value| {
            let merged = patched("Pod", &json!({"spec": patch}), &current)?;
            let items = merged["spec"]["containers"].as_array().cloned().unwrap_or_default();
            Ok::<_, String>(
                items.iter().map(|item| item["name"].to_string().replace('"', "")).collect::<String>(),
            )
        };
        assert_eq!(names(json!({"containers": [{"$patch": "delete", "name": "b"}]})), Ok("ac".into()));
        let replaced = json!({"containers": [{"$patch": "replace"}, {"name": "z"}]});
        assert_eq!(names(replaced), Ok("z".into()));
        let order = json!([{"name": "c"}, {"name": "a"}]);
        assert_eq!(names(json!({"$setElementOrder/containers": order})), Ok("bca".into()));
        let all = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"],
                "labels": {"$patch": "replace", "b": "1"}},
            "spec": {"$patch": "merge", "strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
        });
        let merged = patched("Pod", &all, &current).unwrap();
        assert_eq!(merged["metadata"], json!({"finalizers": ["z", "y"], "labels": {"b": "1"}}));
        assert_eq!(merged["spec"]["strategy"], json!({"type": "Recreate"}));
        let gone = patched("Pod", &json!({"spec": {"$patch": "delete"}}), &current).unwrap();
        assert_eq!(gone["spec"], json!({}));
    }

    #[test]
    fn nonsense_is_told() {
        let wrong = [
            json!({"spec": {"containers": [{"image": "x"}]}}),
            json!({"spec": {"containers": ["x"]}}),
            json!({"spec": {"containers": [{"$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"$patch": "merge"}]}}),
            json!({"spec": {"$patch": "what"}}),
            json!({"spec": {"$retainKeys": "type"}}),
            json!({"spec": {"$retainKeys": ["type"], "other": 1}}),
            json!({"spec": {"$else": 1}}),
        ];
        let said: Vec<_> = wrong.iter().map(|patch| patched("Pod", patch, &json!({})).unwrap_err()).collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
