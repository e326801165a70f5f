//! Small changes of what is there: `scale`, `label`, `annotate`.
//!
//! Source: kubectl `pkg/cmd/scale/scale.go`, `pkg/cmd/label/label.go`, `pkg/cmd/annotate/annotate.go`,
//! `pkg/cmd/util/helpers.go` (`GetResourcesAndPairs`).

use std::collections::BTreeMap;

use api::KindInfo;
use api::kinds::{DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS};
use api::names;
use serde_json::Value;
use store::Store;
use store::registry;

use crate::error::{Error, Result};
use crate::object::{labels, name, namespace, reference};

/// Sets how many pods a controller has to keep; only if it is `current`, where that is given. Gives the
/// line to print.
///
/// # Errors
/// A kind that keeps no number of pods, or another number than `current`.
pub async fn scale(
    store: &Store,
    info: &'static KindInfo,
    object: &Value,
    replicas: u32,
    current: Option<u32>,
) -> Result<String> {
    if ![DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS].contains(info) {
        return Err(Error::Usage(format!(
            "{} cannot be scaled, as deployments, replicasets and statefulsets can",
            info.resource()
        )));
    }
    let mut found = None;
    let patched = registry::patch_raw(store, info, namespace(object), name(object), |old| {
        let there = old.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        found = Some(there);
        let mut new = old.clone();
        if current.is_none_or(|current| u64::from(current) == there) {
            new["spec"]["replicas"] = replicas.into();
        }
        Ok(new)
    })
    .await?;
    match (current, found) {
        (Some(current), Some(found)) if u64::from(current) != found => {
            Err(Error::Usage(format!("expected replicas to be {current}, was {found}")))
        }
        _ => Ok(format!("{} scaled", reference(info, name(&patched.new)))),
    }
}

/// What is changed: labels or annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Labels.
    Labels,
    /// Annotations.
    Annotations,
}

impl What {
    fn noun(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Annotations => "annotation",
        }
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::Labels => "/metadata/labels",
            Self::Annotations => "/metadata/annotations",
        }
    }

    fn field(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }
}

/// `KEY=VALUE` and `KEY-`: what is set and what is taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Keys with their new values; none to take one away.
    pub changes: BTreeMap<String, Option<String>>,
}

impl Pairs {
    /// Splits words into those that say which objects are meant and those that say what changes.
    ///
    /// # Errors
    /// Words in another order, keys or values that are not well-formed, or no change at all.
    pub fn split(words: &[String], what: What) -> Result<(Vec<String>, Self)> {
        let is_change = |word: &String| word.contains('=') || word.ends_with('-');
        let begin = words.iter().position(is_change).unwrap_or(words.len());
        let (objects, changes) = words.split_at(begin);
        let noun = what.noun();
        if let Some(word) = changes.iter().find(|word| !is_change(word)) {
            return Err(Error::Usage(format!(
                "all resources must be specified before {noun} changes: {word}"
            )));
        }
        if changes.is_empty() {
            return Err(Error::Usage(format!(
                "at least one {noun} update is required, as key=value or key-"
            )));
        }
        let mut pairs = Self::default();
        for change in changes {
            let (key, value) = match change.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (change.trim_end_matches('-'), None),
            };
            let mut wrong = names::qualified_name(key);
            if let (What::Labels, Some(value)) = (what, &value) {
                wrong.extend(names::label_value(value));
            }
            if !wrong.is_empty() {
                return Err(Error::Usage(format!("invalid {noun}: {change}: {}", wrong.join("; "))));
            }
            if pairs.changes.insert(key.into(), value.clone()).is_some_and(|before| before != value) {
                return Err(Error::Usage(format!("{key} is given twice")));
            }
        }
        Ok((objects.to_vec(), pairs))
    }
}

/// Changes an object's labels or annotations; gives the lines to print.
///
/// # Errors
/// A key that has another value, unless `overwrite`.
pub async fn mark(
    store: &Store,
    info: &'static KindInfo,
    object: &Value,
    what: What,
    pairs: &Pairs,
    overwrite: bool,
) -> Result<Vec<String>> {
    let before = labels(object, what.pointer());
    for (key, value) in &pairs.changes {
        if let (false, Some(value), Some(there)) = (overwrite, value, before.get(key))
            && there != value
        {
            return Err(Error::Usage(format!(
                "{}: '{key}' already has a value ({there}), and --overwrite is false",
                reference(info, name(object))
            )));
        }
    }
    let patched = registry::patch_raw(store, info, namespace(object), name(object), |old| {
        let mut new = old.clone();
        set(&mut new, what, pairs);
        Ok(new)
    })
    .await?;
    let missing = pairs.changes.iter().filter(|(key, value)| value.is_none() && !before.contains_key(*key));
    let mut lines: Vec<_> =
        missing.map(|(key, _)| format!("{} {} not found.", what.noun(), api::field::quoted(key))).collect();
    let added = pairs.changes.values().any(Option::is_some);
    let word = match what {
        What::Annotations => "annotated",
        What::Labels if patched.old == patched.new => "not labeled",
        What::Labels if added => "labeled",
        What::Labels => "unlabeled",
    };
    lines.push(format!("{} {word}", reference(info, name(object))));
    Ok(lines)
}

fn set(object: &mut Value, what: What, pairs: &Pairs) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let field = metadata.entry(what.field()).or_insert(Value::Null);
    if field.is_null() {
        *field = Value::Object(Default::default());
    }
    let Some(fields) = field.as_object_mut() else { return };
    for (key, value) in &pairs.changes {
        match value {
            Some(value) => fields.insert(key.clone(), value.clone().into()),
            None => fields.remove(key),
        };
    }
    if fields.is_empty() {
        metadata.remove(what.field());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds::{CONFIG_MAPS, DAEMON_SETS};
    use serde_json::json;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    async fn config(store: &Store) -> Value {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "default", "labels": {"app": "web"}},
        });
        registry::create_raw(store, &CONFIG_MAPS, &map).await.unwrap()
    }

    #[test]
    fn objects_come_before_changes() {
        let split = |text: &str| Pairs::split(&words(text), What::Labels).map_err(|error| error.to_string());
        let (objects, pairs) = split("pod c1 c2 app=web tier-").unwrap();
        assert_eq!(objects, ["pod", "c1", "c2"]);
        let expected = [("app", Some("web")), ("tier", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(pairs.changes, BTreeMap::from(expected));
        let wrong = ["pod c1", "pod a=b c1", "pod c1 a=b a=c", "pod c1 a_=b", "pod c1 a=b!", "pod c1 =b"];
        let said: Vec<_> = wrong.iter().map(|text| split(text).unwrap_err()).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[tokio::test]
    async fn labels_are_set_and_taken_away() {
        let store = Store::memory();
        config(&store).await;
        let mut log = Vec::new();
        for (changes, overwrite) in
            [("app=web", false), ("app=db", false), ("app=db", true), ("tier=1", false), ("tier- x-", false)]
        {
            let object = store.get_raw(&CONFIG_MAPS, "default", "a").await.unwrap().unwrap();
            let (_, pairs) = Pairs::split(&words(&format!("cm a {changes}")), What::Labels).unwrap();
            match mark(&store, &CONFIG_MAPS, &object, What::Labels, &pairs, overwrite).await {
                Ok(lines) => log.extend(lines),
                Err(error) => log.push(error.to_string()),
            }
        }
        insta::assert_snapshot!(log.join("\n"));
        let object = store.get_raw(&CONFIG_MAPS, "default", "a").await.unwrap().unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"app": "db"}));
        let (_, pairs) = Pairs::split(&words("cm a note=x=y z"), What::Annotations).unwrap_or_default();
        assert_eq!(pairs, Pairs::default());
        let (_, pairs) = Pairs::split(&words("cm a note=x=y"), What::Annotations).unwrap();
        let lines = mark(&store, &CONFIG_MAPS, &object, What::Annotations, &pairs, false).await.unwrap();
        assert_eq!(lines, ["configmap/a annotated"]);
        let object = store.get_raw(&CONFIG_MAPS, "default", "a").await.unwrap().unwrap();
        assert_eq!(object["metadata"]["annotations"], json!({"note": "x=y"}));
    }

    #[tokio::test]
    async fn a_deployment_is_scaled_if_it_is_as_expected() {
        let store = Store::memory();
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]}}},
        });
        let object = registry::create_raw(&store, &DEPLOYMENTS, &deployment).await.unwrap();
        let said = scale(&store, &DEPLOYMENTS, &object, 3, Some(1)).await.unwrap();
        assert_eq!(said, "deployment.apps/web scaled");
        let error = scale(&store, &DEPLOYMENTS, &object, 5, Some(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "expected replicas to be 1, was 3");
        let now = store.get_raw(&DEPLOYMENTS, "default", "web").await.unwrap().unwrap();
        assert_eq!(now["spec"]["replicas"], 3);
        assert_eq!(now["metadata"]["generation"], 2);
        let error = scale(&store, &DAEMON_SETS, &object, 1, None).await.unwrap_err();
        let said = "daemonsets.apps cannot be scaled, as deployments, replicasets and statefulsets can";
        assert_eq!(error.to_string(), said);
    }
}
