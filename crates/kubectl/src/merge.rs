//! The three-way merge of `kubectl apply`: what someone wrote last time, what they write now, and what is
//! there.
//!
//! What they write now is set; what they wrote last time and no longer write is taken away; everything else
//! that is there, which others have set, stays. Lists are replaced as a whole, but for those whose items are
//! known by a key: these are merged item by item.
//!
//! kubectl makes a patch of it and the API server applies the patch; here both are one step. Source:
//! apimachinery `pkg/util/strategicpatch/patch.go` (`CreateThreeWayMergePatch`, `normalizeElementOrder`). [`mod@patch`] is the merge of `kubectl patch`.

mod keys;
pub mod patch;

use serde_json::{Map, Value};

use keys::{Items, Path};

/// How lists are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Some item by item: for kinds whose types are known.
    Strategic,
    /// All as a whole (RFC 7386): for custom resources.
    Json,
}

/// The object as it is to be; `original` is what was written last time, nothing if that is not known.
#[must_use]
pub fn three_way(
    strategy: Strategy,
    kind: &str,
    original: Option<&Value>,
    modified: &Value,
    current: &Value,
) -> Value {
    value(&Path::root(strategy, kind), original.unwrap_or(&Value::Null), modified, current)
}

fn value(path: &Path<'_>, original: &Value, modified: &Value, current: &Value) -> Value {
    match (modified, current) {
        (Value::Object(new), Value::Object(there)) => {
            Value::Object(object(path, original.as_object(), new, there))
        }
        (Value::Array(new), Value::Array(there)) => {
            let before = original.as_array().map_or(&[][..], Vec::as_slice);
            match path.items() {
                Items::Whole => modified.clone(),
                Items::Set => Value::Array(set(before, new, there)),
                Items::Keyed(key) => Value::Array(list(path, key, before, new, there)),
            }
        }
        _ => without_nulls(modified),
    }
}

fn object(
    path: &Path<'_>,
    original: Option<&Map<String, Value>>,
    modified: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Map<String, Value> {
    let mut merged = current.clone();
    for name in original.into_iter().flat_map(Map::keys) {
        if !modified.contains_key(name) {
            merged.remove(name);
        }
    }
    let mut differs = false;
    for (name, new) in modified {
        if new.is_null() {
            merged.remove(name);
            continue;
        }
        let before = original.and_then(|fields| fields.get(name)).unwrap_or(&Value::Null);
        let result = match current.get(name) {
            Some(there) => value(&path.child(name), before, new, there),
            None => without_nulls(new),
        };
        differs |= current.get(name) != Some(&result);
        merged.insert(name.clone(), result);
    }
    // Of a union, the members that are not written go with the change.
    if path.is_union() && (differs || merged.len() != current.len()) {
        merged.retain(|name, _| modified.contains_key(name));
    }
    merged
}

/// Items that are values, as finalizers.
fn set(original: &[Value], modified: &[Value], current: &[Value]) -> Vec<Value> {
    let stays = |item: &&Value| !modified.contains(item) && !original.contains(item);
    let others = current.iter().filter(stays);
    let mut merged: Vec<Value> = current.iter().filter(|item| modified.contains(item)).cloned().collect();
    merged.extend(modified.iter().filter(|item| !current.contains(item)).cloned());
    merged.extend(others.cloned());
    merged
}

/// Items that are known by a key.
fn list(path: &Path<'_>, key: &str, original: &[Value], modified: &[Value], current: &[Value]) -> Vec<Value> {
    let find = |items: &'_ [Value], id: &Value| -> Option<usize> {
        items.iter().position(|item| item.get(key) == Some(id))
    };
    // Without its key an item cannot be told from others: the list is one value.
    let all_known = |items: &[Value]| items.iter().all(|item| item.get(key).is_some_and(|id| !id.is_null()));
    // Where a key is there twice, as with one port for TCP and UDP, items cannot be told apart either.
    let unique = |items: &[Value]| {
        (0..items.len()).all(|i| items[i].get(key).is_some_and(|id| find(items, id) == Some(i)))
    };
    if ![modified, current].into_iter().all(|items| all_known(items) && unique(items)) {
        return modified.to_vec();
    }
    let mut ours = Vec::new();
    for new in modified {
        let id = &new[key];
        let before = find(original, id).map_or(&Value::Null, |at| &original[at]);
        let there = find(current, id);
        let merged = match there {
            Some(at) => value(&path.item(), before, new, &current[at]),
            None => without_nulls(new),
        };
        ours.push((there, merged));
    }
    let others = current
        .iter()
        .enumerate()
        .filter(|(_, item)| find(modified, &item[key]).is_none() && find(original, &item[key]).is_none());
    in_order(ours, others.map(|(at, item)| (at, item.clone())))
}

/// Ours in our order; those of others where they stood among them.
fn in_order(ours: Vec<(Option<usize>, Value)>, others: impl Iterator<Item = (usize, Value)>) -> Vec<Value> {
    let mut merged = Vec::new();
    let mut others = others.peekable();
    for (at, item) in ours {
        while let Some((_, other)) = others.next_if(|(other, _)| at.is_some_and(|at| *other < at)) {
            merged.push(other);
        }
        merged.push(item);
    }
    merged.extend(others.map(|(_, item)| item));
    merged
}

/// Fields that are null are not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
