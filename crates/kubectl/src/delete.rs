//! `kubectl delete`: what is deleted, how, and when it is done.
//!
//! Source: kubectl `pkg/cmd/delete/delete.go`, `pkg/cmd/wait`.

use std::time::Duration;

use api::KindInfo;
use api::types::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions};
use serde_json::Value;
use store::registry::{self, Propagation};
use store::{Event, Store};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};
use crate::object::{name, namespace, singular, text};

/// How objects are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Seconds that a pod has to end; none for what the pod says.
    pub grace: Option<i64>,
    /// Without waiting for anyone: no grace.
    pub force: bool,
    /// What becomes of what belongs to them.
    pub cascade: Propagation,
}

impl How {
    /// What the API server is told.
    ///
    /// # Errors
    /// Words that contradict each other.
    pub fn options(self) -> Result<DeleteOptions> {
        let grace = match self.grace {
            Some(grace) if self.force && grace > 0 => {
                return Err(Error::usage(
                    "--force and --grace-period greater than 0 cannot be specified together",
                ));
            }
            _ if self.force => Some(0),
            // As the shortest that still waits for the kubelet's word.
            Some(0) => Some(1),
            Some(grace) if grace < 0 => None,
            grace => grace,
        };
        Ok(DeleteOptions {
            grace_period_seconds: grace,
            propagation_policy: Some(self.cascade.word().into()),
            ..DeleteOptions::default()
        })
    }

    /// As `pod "c1" deleted`.
    #[must_use]
    pub fn text(self, info: &KindInfo, object: &Value) -> String {
        let how = if self.force { "force deleted" } else { "deleted" };
        format!("{} \"{}\" {how}", singular(info), name(object))
    }
}

/// What force means for a pod.
pub const FORCE_WARNING: &str = "immediate deletion does not wait for confirmation that the running resource has \
                                 been terminated; it may continue to run on the cluster";

/// Deletes an object.
///
/// # Errors
/// That there is none, or that it may not be deleted.
pub async fn delete(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    name: &str,
    how: How,
) -> Result<Value> {
    let deleted = registry::delete_raw(store, info, namespace, name, &how.options()?).await?;
    Ok(deleted.object().clone())
}

/// Deletes exactly the object that was read before, by its uid.
///
/// # Errors
/// That it is gone, or another, or that it may not be deleted.
pub async fn delete_found(store: &Store, info: &'static KindInfo, object: &Value, how: How) -> Result<Value> {
    let mut options = how.options()?;
    let uid = Some(text(object, "/metadata/uid").to_owned()).filter(|uid| !uid.is_empty());
    options.preconditions = Some(Preconditions { uid, resource_version: None });
    let deleted = registry::delete_raw(store, info, namespace(object), name(object), &options).await?;
    Ok(deleted.object().clone())
}

/// Waits until an object is gone; another one of its name does not count.
///
/// # Errors
/// [`Error::Timeout`], or when etcd is away.
pub async fn wait_gone(
    store: &Store,
    info: &'static KindInfo,
    object: &Value,
    limit: Option<Duration>,
) -> Result<()> {
    // A year is for ever.
    let deadline = Instant::now() + limit.unwrap_or(Duration::from_secs(365 * 86_400));
    let (namespace, name) = (namespace(object), name(object));
    let is_it = |other: &Value| text(other, "/metadata/uid") == text(object, "/metadata/uid");
    let late = || Error::Timeout { what: format!("the condition on {}/{name}", info.plural) };
    loop {
        let Some(there) = store.get_raw(info, namespace, name).await?.filter(is_it) else { return Ok(()) };
        let after = text(&there, "/metadata/resourceVersion").parse().unwrap_or_default();
        let mut watch = store.watch_raw(info, Some(namespace).filter(|_| info.namespaced), after).await?;
        loop {
            match timeout_at(deadline, watch.next()).await.map_err(|_| late())? {
                Ok(Event::Deleted { object, .. }) if is_it(&object) => return Ok(()),
                Ok(_) => {}
                // The watch has ended: look again.
                Err(store::Error::Compacted { .. } | store::Error::Ahead { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds::PODS;
    use serde_json::json;

    const PLAIN: How = How { grace: None, force: false, cascade: Propagation::Background };

    #[test]
    fn flags_become_options() {
        let grace = |how: How| how.options().map(|options| options.grace_period_seconds);
        assert_eq!(grace(PLAIN).unwrap(), None);
        assert_eq!(grace(How { grace: Some(-1), ..PLAIN }).unwrap(), None);
        assert_eq!(grace(How { grace: Some(0), ..PLAIN }).unwrap(), Some(1));
        assert_eq!(grace(How { grace: Some(7), ..PLAIN }).unwrap(), Some(7));
        assert_eq!(grace(How { force: true, ..PLAIN }).unwrap(), Some(0));
        assert_eq!(grace(How { force: true, grace: Some(0), ..PLAIN }).unwrap(), Some(0));
        assert!(grace(How { force: true, grace: Some(1), ..PLAIN }).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_pod_is_waited_for() {
        let store = Store::memory();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c1", "namespace": "default"},
            "spec": {"nodeName": "C0w1", "containers": [{"name": "c", "image": "nginx"}]},
        });
        registry::create_raw(&store, &PODS, &pod).await.unwrap();
        let marked = delete(&store, &PODS, "default", "c1", PLAIN).await.unwrap();
        assert_eq!(PLAIN.text(&PODS, &marked), "pod \"c1\" deleted");
        let late = wait_gone(&store, &PODS, &marked, Some(Duration::from_secs(1))).await.unwrap_err();
        assert_eq!(late.to_string(), "timed out waiting for the condition on pods/c1");
        assert!(late.is_negative());
        let kubelet = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let pod: api::types::api::core::v1::Pod = store.get("default", "c1").await.unwrap().unwrap();
            registry::delete_now(&store, &pod).await.unwrap();
        };
        let waiting = wait_gone(&store, &PODS, &marked, None);
        let (waited, ()) = tokio::join!(waiting, kubelet);
        waited.unwrap();
        wait_gone(&store, &PODS, &marked, None).await.unwrap();
    }
}
