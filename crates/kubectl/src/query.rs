//! Reading objects: by name, by labels, by fields, from one namespace or all.
//!
//! Source: cli-runtime `pkg/resource/{builder,selector}.go`.

use api::selector::{FieldSelector, Selector};
use api::{KindInfo, kinds};
use serde_json::Value;
use store::{List, Store};

use crate::error::{Error, Result};
use crate::object::{labels, name};
use crate::targets::{Target, Targets};

/// Where objects are looked for, and which of them are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// By their labels.
    pub labels: Selector,
    /// By their fields.
    pub fields: FieldSelector,
}

impl Scope {
    /// The objects of a namespace.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }

    fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Whether an object is meant.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        (self.labels.is_empty() || self.labels.matches(Some(&labels(object, "/metadata/labels"))))
            && self.fields.matches(object)
    }

    /// Checks that the scope fits what is looked for.
    ///
    /// # Errors
    /// Names together with a selector or with all namespaces; fields that a kind cannot be selected by.
    pub fn check(&self, targets: &Targets) -> Result<()> {
        if targets.named() && self.selects() {
            return Err(Error::usage("name cannot be provided when a selector is specified"));
        }
        let namespaced = targets.each.iter().any(|target| target.info.namespaced);
        if targets.named() && self.namespace.is_none() && namespaced {
            return Err(Error::usage("a resource cannot be retrieved by name across all namespaces"));
        }
        for target in &targets.each {
            self.fields.check(target.info)?;
        }
        Ok(())
    }
}

/// The objects of a kind that are meant, as of one revision.
#[derive(Debug)]
pub struct Found {
    /// Their kind.
    pub info: &'static KindInfo,
    /// In the order in which they were named, or of their names.
    pub objects: Vec<Value>,
    /// From here on a watch tells what changes.
    pub revision: i64,
    /// What was named and is not there, and kinds that could not be read.
    pub errors: Vec<Error>,
}

/// Reads what is meant of one kind.
pub async fn find(store: &Store, target: &Target, scope: &Scope) -> Found {
    let info = target.info;
    let mut found = Found { info, objects: Vec::new(), revision: 0, errors: Vec::new() };
    match &target.names {
        Some(names) => {
            let namespace = scope.namespace.as_deref().unwrap_or_default();
            for name in names {
                match one(store, info, namespace, name).await {
                    Ok(object) => found.objects.push(object),
                    Err(error) => found.errors.push(error),
                }
            }
        }
        None => match list(store, info, scope).await {
            Ok(list) => {
                found.revision = list.revision;
                found.objects = list.items;
            }
            Err(error) => found.errors.push(error),
        },
    }
    found
}

/// The object of that name.
///
/// # Errors
/// There is none.
pub async fn one(store: &Store, info: &'static KindInfo, namespace: &str, name: &str) -> Result<Value> {
    let found = store.get_raw(info, namespace, name).await?;
    found.ok_or_else(|| Error::not_found(info, name))
}

/// The objects of a scope.
///
/// # Errors
/// When etcd is away.
pub async fn list(store: &Store, info: &'static KindInfo, scope: &Scope) -> Result<List<Value>> {
    if let Some(wanted) = scope.fields.exact("metadata.name")
        && let (Some(namespace), false) = (&scope.namespace, wanted.is_empty())
    {
        return by_name(store, info, namespace, wanted, scope).await;
    }
    let namespace = scope.namespace.as_deref().filter(|_| info.namespaced);
    let mut list = store.list_raw(info, namespace).await?;
    list.items.retain(|object| scope.matches(object));
    if *info == kinds::EVENTS {
        list.items.sort_by_cached_key(crate::printers::last_seen);
    }
    Ok(list)
}

/// One key instead of all of a folder.
async fn by_name(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    wanted: &str,
    scope: &Scope,
) -> Result<List<Value>> {
    let found = store.get_raw(info, namespace, wanted).await?;
    let items: Vec<_> = found.into_iter().filter(|object| scope.matches(object)).collect();
    let version = items.first().and_then(|object| object.pointer("/metadata/resourceVersion")?.as_str());
    let revision = version.and_then(|version| version.parse().ok()).unwrap_or_default();
    debug_assert!(items.iter().all(|object| name(object) == wanted));
    Ok(List { items, revision })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use store::registry;

    async fn store() -> Store {
        let store = Store::memory();
        for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "default", "labels": {"l": label}},
            });
            registry::create_raw(&store, &kinds::CONFIG_MAPS, &map).await.unwrap();
        }
        store
    }

    async fn names(store: &Store, words: &str, scope: &Scope) -> String {
        let words: Vec<_> = words.split(' ').collect();
        let targets = Targets::parse(&words).unwrap();
        if let Err(error) = scope.check(&targets) {
            return error.to_string();
        }
        let found = find(store, &targets.each[0], scope).await;
        let objects = found.objects.iter().map(|object| name(object).to_owned());
        objects.chain(found.errors.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn objects_are_found_by_name_label_and_field() {
        let store = store().await;
        let scope = |labels: &str, fields: &str| Scope {
            labels: labels.parse().unwrap(),
            fields: fields.parse().unwrap(),
            ..Scope::of("default")
        };
        assert_eq!(names(&store, "cm", &scope("", "")).await, "a b c");
        assert_eq!(names(&store, "cm", &scope("l=1", "")).await, "a c");
        assert_eq!(names(&store, "cm", &scope("l=1", "metadata.name!=a")).await, "c");
        assert_eq!(names(&store, "cm", &scope("", "metadata.name=b")).await, "b");
        assert_eq!(names(&store, "cm", &scope("l=1", "metadata.name=b")).await, "");
        assert_eq!(names(&store, "cm c a", &scope("", "")).await, "c a");
        assert_eq!(names(&store, "cm c x", &scope("", "")).await, "c configmaps \"x\" not found");
        assert_eq!(names(&store, "cm", &Scope::of("east")).await, "");
        assert_eq!(names(&store, "cm", &Scope::default()).await, "a b c");
        let both = "name cannot be provided when a selector is specified";
        assert_eq!(names(&store, "cm a", &scope("l=1", "")).await, both);
        let across = "a resource cannot be retrieved by name across all namespaces";
        assert_eq!(names(&store, "cm a", &Scope::default()).await, across);
        let field = names(&store, "cm", &scope("", "spec.x=1")).await;
        assert_eq!(field, "field label not supported: spec.x");
    }
}
