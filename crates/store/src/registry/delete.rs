//! Deletion: what it does to an object is decided by [`plan`].
//!
//! Sources: apiserver `pkg/registry/rest/delete.go` (`BeforeDelete`),
//! `pkg/registry/generic/registry/store.go` (`deletionFinalizersForGarbageCollection`, `markAsDeleting`);
//! kubernetes `pkg/registry/core/pod/strategy.go` (`CheckGracefulDelete`),
//! `pkg/registry/core/namespace/storage/storage.go`.

use api::kinds::{NAMESPACES, PODS};
use api::types::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Time};
use api::types::jiff::{SignedDuration, Timestamp};
use api::{KindInfo, time};
use serde_json::Value;

use super::{Error, Result, names, namespace, services, version};
use crate::error::Error as StoreError;
use crate::typed::{Store, Target};

/// What a deletion has done.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object is gone; this is what it was.
    Gone(Value),
    /// It is marked (`deletionTimestamp`), now or already before: a pod stays until its kubelet has ended it,
    /// anything with finalizers until they are taken away, a namespace until it is empty.
    Marked(Value),
}

impl Deleted {
    /// The object as it is, or was.
    #[must_use]
    pub fn object(&self) -> &Value {
        match self {
            Self::Gone(object) | Self::Marked(object) => object,
        }
    }

    /// Whether the object is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// What becomes of the objects that belong to a deleted one (`propagationPolicy`); the garbage collector
/// does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go when it is gone.
    Background,
    /// They go first.
    Foreground,
    /// They stay, and belong to nobody.
    Orphan,
}

impl Propagation {
    /// As in [`DeleteOptions`].
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }

    fn read(word: &str) -> Option<Self> {
        [Self::Background, Self::Foreground, Self::Orphan].into_iter().find(|one| one.word() == word)
    }
}

/// Finalizers that the garbage collector takes away (apimachinery `pkg/apis/meta/v1/types.go`).
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// It is on its way.
    Nothing,
    /// Write this.
    Mark(Value),
    /// Take it away.
    Remove,
}

pub(super) async fn run(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    check(options)?;
    namespace::must_be_mortal(info, name)?;
    let target = Target::new(info, namespace, name)?;
    loop {
        let object = store.get_raw(info, namespace, name).await?.ok_or_else(|| target.not_found())?;
        preconditions(info, &object, options)?;
        let expected = version(&object).and_then(|version| version.parse().ok());
        let done = match plan(info, &object, options, &time::now()) {
            Step::Nothing => return Ok(Deleted::Marked(object)),
            Step::Mark(mut marked) => {
                store.update_raw(info, &mut marked).await.map(|()| Deleted::Marked(marked))
            }
            Step::Remove => store.delete_raw(info, namespace, name, expected).await.map(Deleted::Gone),
        };
        match done {
            Err(StoreError::Conflict { .. }) => {}
            Ok(Deleted::Gone(object)) => {
                services::release(store, info, &object, None).await;
                return Ok(Deleted::Gone(object));
            }
            result => return Ok(result?),
        }
    }
}

/// `ValidateDeleteOptions`.
fn check(options: &DeleteOptions) -> Result<()> {
    if options.orphan_dependents.is_some() && options.propagation_policy.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        return Err(Error::BadRequest(why.into()));
    }
    match options.propagation_policy.as_deref() {
        Some(word) if Propagation::read(word).is_none() => Err(Error::BadRequest(format!(
            "propagationPolicy: Unsupported value: {}: supported values: \"Foreground\", \"Background\", \"Orphan\"",
            api::field::quoted(word)
        ))),
        _ => Ok(()),
    }
}

fn preconditions(info: &KindInfo, object: &Value, options: &DeleteOptions) -> Result<()> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let differs = |what: &str, wanted: Option<&String>, pointer: &str| {
        let there = object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let wanted = wanted.filter(|wanted| *wanted != there)?;
        let why =
            format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {there}");
        Some(Error::Precondition { resource: info.resource(), name: names(object).1.into(), why })
    };
    let error = differs("UID", wanted.uid.as_ref(), "/metadata/uid").or_else(|| {
        differs("ResourceVersion", wanted.resource_version.as_ref(), "/metadata/resourceVersion")
    });
    error.map_or(Ok(()), Err)
}

/// What a deletion does to an object.
pub(super) fn plan(info: &KindInfo, object: &Value, options: &DeleteOptions, now: &Time) -> Step {
    let mut marked = object.clone();
    let asked = options.grace_period_seconds;
    let begun = deletion_time(object);
    let pending = int(object, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
    let mut immediately = true;
    if let Some(at) = begun.filter(|_| pending > 0) {
        // It is ending, and may only be made to end sooner.
        match asked {
            Some(period) if period < pending => {
                let period = if period < 0 { 1 } else { period };
                mark(&mut marked, add(&Time(at), period - pending), period, false);
                immediately = period == 0;
            }
            _ => return Step::Nothing,
        }
    } else if begun.is_none()
        && let Some(period) = grace(info, object, asked).filter(|period| *period > 0)
    {
        mark(&mut marked, add(now, period), period, true);
        immediately = false;
    }
    let changed = collector_finalizers(&mut marked, options);
    if is_held(info, &marked) {
        if deletion_time(&marked).is_none() {
            mark(&mut marked, now.clone(), 0, true);
            if *info == NAMESPACES {
                marked["status"]["phase"] = "Terminating".into();
            }
        } else if immediately {
            set_meta(&mut marked, "deletionGracePeriodSeconds", 0.into());
        }
        return if marked == *object { Step::Nothing } else { Step::Mark(marked) };
    }
    if immediately {
        return Step::Remove;
    }
    debug_assert!(changed || marked != *object);
    Step::Mark(marked)
}

/// How many seconds an object has to end; none for kinds that do not end by themselves.
fn grace(info: &KindInfo, object: &Value, asked: Option<i64>) -> Option<i64> {
    if *info != PODS {
        return None;
    }
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let unbound = text("/spec/nodeName").is_empty();
    let ended = matches!(text("/status/phase"), "Failed" | "Succeeded");
    if unbound || ended {
        return Some(0);
    }
    let period = asked.or_else(|| int(object, "/spec/terminationGracePeriodSeconds")).unwrap_or_default();
    Some(if period < 0 { 1 } else { period })
}

/// Whether something has to be done before the object may go.
pub(super) fn is_held(info: &KindInfo, object: &Value) -> bool {
    let some = |pointer| object.pointer(pointer).and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    some("/metadata/finalizers") || *info == NAMESPACES && some("/spec/finalizers")
}

/// Sets the finalizers that tell the garbage collector what to do; says whether they are others than before.
fn collector_finalizers(object: &mut Value, options: &DeleteOptions) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    let before: Vec<String> =
        finalizers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let has = |finalizer: &str| before.iter().any(|one| one == finalizer);
    let policy = match (options.orphan_dependents, options.propagation_policy.as_deref()) {
        (Some(true), _) => Some(Propagation::Orphan),
        (Some(false), _) => Some(Propagation::Background),
        (None, word) => word.and_then(Propagation::read),
    };
    let (orphan, foreground) = match policy {
        Some(policy) => (policy == Propagation::Orphan, policy == Propagation::Foreground),
        None => (has(ORPHAN), has(FOREGROUND)),
    };
    let mut after: Vec<String> =
        before.iter().filter(|one| *one != ORPHAN && *one != FOREGROUND).cloned().collect();
    if orphan {
        after.push(ORPHAN.into());
    }
    if foreground {
        after.push(FOREGROUND.into());
    }
    if after == before || after.len() == before.len() && after.iter().all(|one| before.contains(one)) {
        return false;
    }
    set_meta(object, "finalizers", after.into());
    true
}

fn mark(object: &mut Value, at: Time, period: i64, first: bool) {
    if first && let Some(generation) = int(object, "/metadata/generation").filter(|number| *number > 0) {
        set_meta(object, "generation", (generation + 1).into());
    }
    set_meta(object, "deletionTimestamp", serde_json::to_value(at).unwrap_or_default());
    set_meta(object, "deletionGracePeriodSeconds", period.into());
}

fn set_meta(object: &mut Value, field: &str, value: Value) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert(field.into(), value);
    }
}

fn int(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn deletion_time(object: &Value) -> Option<Timestamp> {
    object.pointer("/metadata/deletionTimestamp")?.as_str()?.parse().ok()
}

fn add(time: &Time, seconds: i64) -> Time {
    Time(time.0.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time.0))
}
