//! `kubectl apply` and `kubectl create`.
//!
//! Source: kubectl `pkg/cmd/apply/{apply,patcher}.go`, `pkg/util/apply.go`.

use api::KindInfo;
use serde_json::Value;
use store::Store;
use store::registry::{self, Patched};

use crate::document::Document;
use crate::error::{Error, Result};
use crate::merge::{self, Strategy};
use crate::object::{name, reference, text};

/// Where apply keeps what was written last time.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether something is changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DryRun {
    /// It is.
    #[default]
    None,
    /// Only what is there is looked at.
    Client,
    /// Everything is done but the writing.
    Server,
}

impl DryRun {
    /// Behind what has not been done.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// What has become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There was no such object.
    Created,
    /// It was another.
    Configured,
    /// It was as it should be.
    Unchanged,
}

impl Verdict {
    /// As kubectl says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// An object that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// Its kind.
    pub info: &'static KindInfo,
    /// What has become of it.
    pub verdict: Verdict,
    /// As it is now, or would be.
    pub object: Value,
    /// What the user should know.
    pub warning: Option<String>,
}

impl Applied {
    /// As `pod/c1 created`.
    #[must_use]
    pub fn text(&self, dry_run: DryRun) -> String {
        let reference = reference(self.info, name(&self.object));
        format!("{reference} {}{}", self.verdict.word(), dry_run.suffix())
    }
}

/// The namespace that a document's object is in, written into it: its own, or else `namespace`.
///
/// # Errors
/// When it has one and `insisted`, by the user, is another.
pub fn settle(document: &mut Document, namespace: &str, insisted: bool) -> Result<()> {
    if !document.info.namespaced {
        return Ok(());
    }
    let own = text(&document.object, "/metadata/namespace").to_owned();
    if insisted && !own.is_empty() && own != namespace {
        return Err(Error::Usage(format!(
            "the namespace from the provided object \"{own}\" does not match the namespace \"{namespace}\": \
             you must pass '--namespace={own}' to perform this operation"
        )));
    }
    if own.is_empty()
        && let Some(object) = document.object.as_object_mut()
    {
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Default::default()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("namespace".into(), namespace.into());
        }
    }
    Ok(())
}

/// Makes the object of a document as it is written, or changes it into that.
///
/// # Errors
/// Everything that is wrong with it.
pub async fn apply(store: &Store, document: &Document, dry_run: DryRun) -> Result<Applied> {
    let info = document.info;
    let modified = annotated(&document.object);
    let (namespace, name) = (text(&modified, "/metadata/namespace"), name(&modified));
    if name.is_empty() {
        return Err(unnamed(&modified));
    }
    // Someone else may make or delete it meanwhile: then once more.
    loop {
        let Some(current) = store.get_raw(info, namespace, name).await? else {
            let created = match dry_run {
                DryRun::None => registry::create_raw(store, info, &modified).await,
                DryRun::Server => registry::try_create_raw(store, info, &modified).await,
                DryRun::Client => Ok(modified.clone()),
            };
            match created {
                Err(registry::Error::Store(store::Error::Exists { .. })) => continue,
                created => {
                    let object = created?;
                    return Ok(Applied { info, verdict: Verdict::Created, object, warning: None });
                }
            }
        };
        let warning = leaving(info, &current).or_else(|| unknown_past(info, &current));
        match change(store, info, &modified, &current, dry_run).await {
            Err(registry::Error::Store(store::Error::NotFound { .. })) => {}
            patched => {
                let Patched { old, new } = patched?;
                let verdict = if old == new { Verdict::Unchanged } else { Verdict::Configured };
                return Ok(Applied { info, verdict, object: new, warning });
            }
        }
    }
}

async fn change(
    store: &Store,
    info: &'static KindInfo,
    modified: &Value,
    current: &Value,
    dry_run: DryRun,
) -> registry::Result<Patched> {
    match dry_run {
        DryRun::None => {
            registry::patch_read(store, info, current.clone(), |old| Ok(merged(info, modified, old))).await
        }
        DryRun::Server => {
            let new = registry::try_update_raw(info, &merged(info, modified, current), current)?;
            Ok(Patched { old: current.clone(), new })
        }
        DryRun::Client => Ok(Patched { old: current.clone(), new: merged(info, modified, current) }),
    }
}

/// The object as it is to be.
fn merged(info: &KindInfo, modified: &Value, current: &Value) -> Value {
    let strategy = if is_custom(info) { Strategy::Json } else { Strategy::Strategic };
    let original = last_applied(current).and_then(|text| serde_json::from_str(text).ok());
    merge::three_way(strategy, info.kind, original.as_ref(), modified, current)
}

/// Kinds whose types Kubernetes itself does not have.
pub(crate) fn is_custom(info: &KindInfo) -> bool {
    matches!(info.group, "gateway.networking.k8s.io" | "skupper.io")
}

fn last_applied(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()
}

/// The document with itself in an annotation (`GetModifiedConfiguration`).
fn annotated(object: &Value) -> Value {
    let mut object = object.clone();
    let annotations = |object: &mut Value| -> Option<()> {
        let metadata = object
            .as_object_mut()?
            .entry("metadata")
            .or_insert_with(|| Value::Object(Default::default()))
            .as_object_mut()?;
        let annotations = metadata.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = Value::Object(Default::default());
        }
        annotations.as_object_mut()?.remove(LAST_APPLIED);
        Some(())
    };
    // What is no object is refused when it is decoded.
    if annotations(&mut object).is_some() {
        let text = format!("{object}\n");
        object["metadata"]["annotations"][LAST_APPLIED] = text.into();
    }
    object
}

/// What is written into an object that goes is lost with it.
fn leaving(info: &KindInfo, current: &Value) -> Option<String> {
    let going = !text(current, "/metadata/deletionTimestamp").is_empty();
    going.then(|| {
        format!("{} is being deleted: apply it once more when it is gone", reference(info, name(current)))
    })
}

fn unknown_past(info: &KindInfo, current: &Value) -> Option<String> {
    let missing = last_applied(current).is_none();
    missing.then(|| {
        format!(
            "resource {} is missing the {LAST_APPLIED} annotation which is required by apply: it was not \
             created by it; the annotation will be added",
            format_args!("{}/{}", info.plural, name(current))
        )
    })
}

fn unnamed(object: &Value) -> Error {
    let generated = text(object, "/metadata/generateName");
    if generated.is_empty() {
        Error::usage("resource name may not be empty")
    } else {
        Error::Usage(format!("from {generated}: cannot use generate name with apply"))
    }
}

/// Makes the object of a document, which must not be there; with `save`, so that it can be applied later.
///
/// # Errors
/// Everything that is wrong with it, and that it is there.
pub async fn create(store: &Store, document: &Document, save: bool, dry_run: DryRun) -> Result<Applied> {
    let object = if save { annotated(&document.object) } else { document.object.clone() };
    let info = document.info;
    let object = match dry_run {
        DryRun::None => registry::create_raw(store, info, &object).await?,
        DryRun::Server => registry::try_create_raw(store, info, &object).await?,
        DryRun::Client => object,
    };
    Ok(Applied { info, verdict: Verdict::Created, object, warning: None })
}

#[cfg(test)]
mod tests;
