//! `kubectl patch`: a few fields of an object, written as a patch.
//!
//! Source: kubectl `pkg/cmd/patch/patch.go`; what the API server does with it: apiserver
//! `pkg/endpoints/handlers/patch.go`.

use std::str::FromStr;

use api::KindInfo;
use json_patch::Patch as Operations;
use serde_json::Value;
use store::Store;
use store::registry::{self, Patched};

use crate::apply::{DryRun, is_custom};
use crate::document;
use crate::error::{Error, Result};
use crate::merge::{Strategy, patch, three_way};
use crate::object::{name, namespace, reference};

/// How a patch is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Type {
    /// Lists of containers, ports and the like item by item.
    #[default]
    Strategic,
    /// All lists as a whole (RFC 7386).
    Merge,
    /// A list of operations (RFC 6902).
    Json,
}

impl FromStr for Type {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "strategic" => Ok(Self::Strategic),
            "merge" => Ok(Self::Merge),
            "json" => Ok(Self::Json),
            _ => Err(Error::Usage(format!("--type must be one of [json merge strategic], not {text:?}"))),
        }
    }
}

/// A patch that has been read.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// [`Type::Strategic`].
    Strategic(Value),
    /// [`Type::Merge`].
    Merge(Value),
    /// [`Type::Json`].
    Json(Operations),
}

impl Patch {
    /// Reads a patch, YAML or JSON; `place` is where it stands, as in messages.
    ///
    /// # Errors
    /// It cannot be read, or is none of its type.
    pub fn parse(how: Type, place: &str, text: &str) -> Result<Self> {
        let value = document::value(place, text).map_err(|error| Error::Usage(error.to_string()))?;
        match how {
            Type::Json => match serde_json::from_value(value) {
                Ok(operations) => Ok(Self::Json(operations)),
                Err(error) => Err(Error::Usage(format!(
                    "{place}: a json patch is a list, as [{{\"op\": \"replace\", \"path\": \"/spec/replicas\", \
                     \"value\": 2}}]: {error}"
                ))),
            },
            _ if !value.is_object() => {
                Err(Error::Usage(format!("{place}: a patch is an object, as {{\"spec\": …}}")))
            }
            Type::Strategic => Ok(Self::Strategic(value)),
            Type::Merge => Ok(Self::Merge(value)),
        }
    }

    /// The object as the patch makes it.
    fn applied(&self, info: &KindInfo, old: &Value) -> registry::Result<Value> {
        let bad = |why: String| registry::Error::BadRequest(why);
        match self {
            Self::Strategic(_) if is_custom(info) => Err(bad(format!(
                "strategic merge patch is not supported for {}, try --type merge",
                info.resource()
            ))),
            Self::Strategic(patch) => {
                patch::strategic(info.kind, patch, old).map_err(|error| bad(error.to_string()))
            }
            Self::Merge(patch) => Ok(three_way(Strategy::Json, info.kind, None, patch, old)),
            Self::Json(operations) => {
                let mut new = old.clone();
                json_patch::patch(&mut new, operations).map_err(|error| bad(error.to_string()))?;
                Ok(new)
            }
        }
    }
}

/// Patches an object; gives it before and after.
///
/// # Errors
/// The patch does not fit, or the object would not be valid.
pub async fn patch(
    store: &Store,
    info: &'static KindInfo,
    object: &Value,
    patch: &Patch,
    dry_run: DryRun,
) -> Result<Patched> {
    match dry_run {
        DryRun::None => {
            let change = |old: &Value| same_object(info, patch.applied(info, old)?, old);
            Ok(registry::patch_raw(store, info, namespace(object), name(object), change).await?)
        }
        DryRun::Server => {
            let new = same_object(info, patch.applied(info, object)?, object)?;
            Ok(Patched { old: object.clone(), new: registry::try_update_raw(info, &new, object)? })
        }
        DryRun::Client => Ok(Patched { old: object.clone(), new: patch.applied(info, object)? }),
    }
}

/// A patch makes no other object of it.
fn same_object(info: &KindInfo, new: Value, old: &Value) -> registry::Result<Value> {
    for field in ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"] {
        if new.pointer(field) != old.pointer(field) {
            let why = format!(
                "{}: a patch cannot change {}",
                reference(info, name(old)),
                &field[1..].replace('/', ".")
            );
            return Err(registry::Error::BadRequest(why));
        }
    }
    Ok(new)
}

/// As `deployment.apps/web patched`.
#[must_use]
pub fn text(info: &KindInfo, patched: &Patched, dry_run: DryRun) -> String {
    let word = if patched.old == patched.new { "patched (no change)" } else { "patched" };
    format!("{} {word}{}", reference(info, name(&patched.new)), dry_run.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds::{CONFIG_MAPS, DEPLOYMENTS, SITES};
    use serde_json::json;

    async fn web(store: &Store) -> Value {
        let labels = json!({"app": "web"});
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "image": "b:1"}]}}},
        });
        registry::create_raw(store, &DEPLOYMENTS, &web).await.unwrap()
    }

    async fn said(store: &Store, object: &Value, how: Type, text_of: &str, dry_run: DryRun) -> String {
        let done = async {
            let read = Patch::parse(how, "-p", text_of)?;
            patch(store, &DEPLOYMENTS, object, &read, dry_run).await
        };
        match done.await {
            Ok(patched) => text(&DEPLOYMENTS, &patched, dry_run),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn each_type_does_its_own() {
        let store = Store::memory();
        let object = web(&store).await;
        let image =
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "nginx:2"}]}}}}"#;
        let test = r#"[{"op": "test", "path": "/spec/replicas", "value": 9}, {"op": "replace", "path": "/spec/replicas", "value": 4}]"#;
        let lines = [
            (Type::Strategic, image, DryRun::Server),
            (Type::Strategic, image, DryRun::None),
            (Type::Strategic, image, DryRun::None),
            (Type::Strategic, "spec:\n  replicas: 2\n", DryRun::None),
            (Type::Merge, r#"{"spec": {"replicas": 3}}"#, DryRun::Client),
            (Type::Merge, r#"{"spec": {"replicas": 3}}"#, DryRun::None),
            (Type::Json, test, DryRun::None),
            (
                Type::Json,
                r#"[{"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "b:2"}]"#,
                DryRun::None,
            ),
            (Type::Json, r#"[{"op": "remove", "path": "/spec/nothing"}]"#, DryRun::None),
            (Type::Json, r#"{"spec": {}}"#, DryRun::None),
            (Type::Strategic, "[1]", DryRun::None),
            (Type::Strategic, "{a: [b}", DryRun::None),
            (Type::Strategic, r#"{"spec": {"replicas": "many"}}"#, DryRun::None),
            (Type::Strategic, r#"{"spec": {"replicas": -1}}"#, DryRun::None),
            (Type::Merge, r#"{"metadata": {"name": "other"}}"#, DryRun::None),
            (
                Type::Strategic,
                r#"{"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}"#,
                DryRun::None,
            ),
        ];
        let mut log = Vec::new();
        for (how, patch, dry_run) in lines {
            log.push(format!(
                "{how:?} {}\n  {}",
                patch.trim(),
                said(&store, &object, how, patch, dry_run).await
            ));
        }
        insta::assert_snapshot!(log.join("\n"));
        let now = store.get_raw(&DEPLOYMENTS, "default", "web").await.unwrap().unwrap();
        assert_eq!(now["spec"]["replicas"], 3);
        let images = |at: usize| now["spec"]["template"]["spec"]["containers"][at]["image"].clone();
        assert_eq!((images(0), images(1)), (json!("nginx:2"), json!("b:2")));
    }

    #[tokio::test]
    async fn custom_kinds_take_no_strategic_patch() {
        let patch = Patch::parse(Type::Strategic, "-p", "{}").unwrap();
        let error = patch.applied(&SITES, &json!({})).unwrap_err();
        let said = "strategic merge patch is not supported for sites.skupper.io, try --type merge";
        assert_eq!(error.to_string(), said);
        assert_eq!(patch.applied(&CONFIG_MAPS, &json!({"data": {}})).unwrap(), json!({"data": {}}));
        let types =
            ["Merge", "json", "what"].map(|text| text.parse::<Type>().map_err(|error| error.to_string()));
        let wrong = "--type must be one of [json merge strategic], not \"what\"".to_owned();
        assert_eq!(types, [Ok(Type::Merge), Ok(Type::Json), Err(wrong)]);
    }
}
