//! Writes a pod's status to the store, the latest only, in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{Pod, PodStatus};
use runtime::{Backoff, chain};
use store::{Error, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::status::over;

/// Writes for one pod; dropped, it writes no more.
#[derive(Debug)]
pub(super) struct Writer {
    wanted: watch::Sender<Option<(Arc<Pod>, PodStatus)>>,
    written: watch::Receiver<Option<PodStatus>>,
    task: JoinHandle<()>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writer {
    pub(super) fn new(store: Store) -> Self {
        let wanted = watch::Sender::new(None);
        let (sender, written) = watch::channel(None);
        let task = tokio::spawn(write(store, wanted.subscribe(), sender));
        Self { wanted, written, task }
    }

    /// Has the status written, soon.
    pub(super) fn set(&self, pod: &Arc<Pod>, status: PodStatus) {
        self.wanted.send_if_modified(|wanted| {
            let known = match wanted {
                Some((before, status)) if before.metadata.uid == pod.metadata.uid => Some(&*status),
                _ => pod.status.as_ref(),
            };
            if known == Some(&status) {
                return false;
            }
            *wanted = Some((pod.clone(), status));
            true
        });
    }

    /// Waits until the last status is written, or the pod is gone.
    pub(super) async fn flush(&mut self) {
        let last = self.wanted.borrow().as_ref().map(|(_, status)| status.clone());
        // Ends with the task, that is never.
        let _ = self.written.wait_for(|written| *written == last).await;
    }
}

async fn write(
    store: Store,
    mut wanted: watch::Receiver<Option<(Arc<Pod>, PodStatus)>>,
    written: watch::Sender<Option<PodStatus>>,
) {
    let mut last: Option<Pod> = None;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    while wanted.changed().await.is_ok() {
        loop {
            let Some((pod, status)) = wanted.borrow_and_update().clone() else { break };
            match once(&store, &pod, &status, &mut last).await {
                Ok(()) => {
                    backoff.reset();
                    written.send_replace(Some(status));
                    break;
                }
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "a pod's status is not written");
                    tokio::time::sleep(backoff.after(Duration::ZERO)).await;
                }
            }
        }
    }
}

/// Over the latest version known, which saves reading; if there is a later one, over that.
async fn once(store: &Store, pod: &Pod, status: &PodStatus, last: &mut Option<Pod>) -> Result<(), Error> {
    let same = |other: &Pod| other.metadata.uid == pod.metadata.uid;
    let newer = last.take().filter(|last| same(last) && version(last) > version(pod));
    let mut object = newer.unwrap_or_else(|| pod.clone());
    object.status = Some(over(object.status.as_ref(), status));
    match store.update(&mut object).await {
        Ok(()) => {
            *last = Some(object);
            return Ok(());
        }
        Err(Error::Conflict { .. }) => {}
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    }
    let meta = &pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    let change = |object: &mut Pod| {
        if same(object) {
            object.status = Some(over(object.status.as_ref(), status));
        }
    };
    match store.modify(namespace.unwrap_or_default(), name.unwrap_or_default(), change).await {
        Ok(object) => {
            *last = Some(object);
            Ok(())
        }
        Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn version(pod: &Pod) -> i64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "default", "uid": "1"}}))
            .unwrap()
    }

    fn phase(phase: &str) -> PodStatus {
        PodStatus { phase: Some(phase.into()), ..PodStatus::default() }
    }

    async fn stored(store: &Store) -> Pod {
        store.get("default", "a").await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_last_status_is_written_over_whatever_others_changed() {
        let store = Store::memory();
        let mut object = pod();
        store.create(&mut object).await.unwrap();
        let seen = Arc::new(object.clone());
        let mut writer = Writer::new(store.clone());
        writer.set(&seen, phase("Pending"));
        writer.set(&seen, phase("Running"));
        writer.flush().await;
        assert_eq!(stored(&store).await.status, Some(phase("Running")));
        store
            .modify("default", "a", |pod: &mut Pod| {
                pod.metadata.labels = Some([("x".to_owned(), "y".to_owned())].into());
            })
            .await
            .unwrap();
        writer.set(&seen, phase("Failed"));
        writer.flush().await;
        let last = stored(&store).await;
        assert_eq!(last.status, Some(phase("Failed")));
        assert!(last.metadata.labels.is_some());
        let version = last.metadata.resource_version;
        writer.set(&seen, phase("Failed"));
        writer.flush().await;
        assert_eq!(stored(&store).await.metadata.resource_version, version, "written once");
    }

    #[tokio::test]
    async fn a_condition_that_others_have_just_written_stays() {
        let store = Store::memory();
        let mut object = pod();
        store.create(&mut object).await.unwrap();
        let seen = Arc::new(object.clone());
        let gate = json!({"conditions": [{"type": "example.org/gate", "status": "True"}]});
        let gate: PodStatus = serde_json::from_value(gate).unwrap();
        store
            .modify("default", "a", |pod: &mut Pod| {
                pod.status.get_or_insert_default().conditions.clone_from(&gate.conditions);
            })
            .await
            .unwrap();
        let mut writer = Writer::new(store.clone());
        // Both times of a pod as it was before: first over a later one, then over what was written itself.
        for one in ["Running", "Failed"] {
            writer.set(&seen, phase(one));
            writer.flush().await;
            let status = stored(&store).await.status.unwrap();
            assert_eq!((status.phase.as_deref(), &status.conditions), (Some(one), &gate.conditions));
        }
    }

    #[tokio::test]
    async fn another_pod_of_the_name_is_left_alone() {
        let store = Store::memory();
        let mut object = pod();
        store.create(&mut object).await.unwrap();
        let seen = Arc::new(object.clone());
        store.delete(&object).await.unwrap();
        let mut writer = Writer::new(store.clone());
        writer.set(&seen, phase("Running"));
        writer.flush().await;
        assert!(store.get::<Pod>("default", "a").await.unwrap().is_none());
        let mut second = pod();
        second.metadata.uid = Some("2".into());
        store.create(&mut second).await.unwrap();
        writer.set(&seen, phase("Failed"));
        writer.flush().await;
        assert_eq!(stored(&store).await.status, None);
    }
}
