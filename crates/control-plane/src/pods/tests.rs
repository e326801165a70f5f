//! With a kubelet that writes what it is told to.

use api::types::api::core::v1::PodStatus;
use runtime::{ComponentKind, ComponentStatus, WorkerReport};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;

struct Bed {
    store: Store,
    folder: TempDir,
}

struct Running {
    board: watch::Receiver<WorkerReport>,
    task: JoinHandle<()>,
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bed {
    async fn new() -> Self {
        let bed = Self { store: Store::memory(), folder: tempfile::tempdir().unwrap() };
        for name in ["c1", "c2"] {
            let pod = json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": "C0w1", "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": "Pending"},
            });
            let mut pod: Pod = serde_json::from_value(pod).unwrap();
            bed.store.create(&mut pod).await.unwrap();
        }
        bed
    }

    fn start(&self) -> Running {
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let board = health.watch();
        let (sender, applied) = watch::channel(true);
        let declared = ["c1", "c2"].map(|name| ObjectName::new("default", name)).to_vec();
        let marker = self.folder.path().join("ready");
        let store = self.store.clone();
        let task = tokio::spawn(async move {
            let _sender = sender;
            run(store, declared, marker, applied, health).await;
        });
        Running { board, task, began: Instant::now() }
    }

    async fn say(&self, name: &str, status: Value) {
        let status: PodStatus = serde_json::from_value(status).unwrap();
        let change = |pod: &mut Pod| pod.status = Some(status.clone());
        self.store.modify("default", name, change).await.unwrap();
    }

    async fn ready(&self, name: &str) {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        self.say(name, json!({"phase": "Running", "conditions": conditions})).await;
    }

    async fn waits_for(&self, name: &str, reason: &str) {
        let container = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                               "state": {"waiting": {"reason": reason}}});
        self.say(name, json!({"phase": "Pending", "containerStatuses": [container]})).await;
    }
}

impl Running {
    async fn until(&mut self, what: impl Fn(&ComponentStatus) -> bool) -> ComponentStatus {
        let seen = self.board.wait_for(|report| what(&report.components[COMPONENT]));
        let seen = tokio::time::timeout(Duration::from_secs(600), seen).await.expect("in time").unwrap();
        seen.components[COMPONENT].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn ready_when_all_are() {
    let bed = Bed::new().await;
    let mut running = bed.start();
    let status = running.until(|s| s.message.starts_with("0 of 2 ready")).await;
    assert_eq!(status.message, "0 of 2 ready; pod default/c1 is not ready: C0w1 has not said anything of it");
    bed.ready("c1").await;
    running.until(|s| s.message.starts_with("1 of 2 ready") && !s.ready).await;
    bed.ready("c2").await;
    let status = running.until(|s| s.ready).await;
    assert_eq!((status.message.as_str(), status.warnings.len()), ("2 of 2 ready", 0));
    assert!(running.began.elapsed() < LITTLE_PATIENCE, "waited for nothing");
}

#[tokio::test(start_paused = true)]
async fn what_will_not_mend_is_not_waited_for_and_told_with_its_reason() {
    let bed = Bed::new().await;
    let mut running = bed.start();
    bed.waits_for("c1", "ErrImagePull").await;
    bed.ready("c2").await;
    let status = running.until(|s| s.ready).await;
    assert!(running.began.elapsed() < LITTLE_PATIENCE);
    assert_eq!(status.message, "1 of 2 ready");
    assert_eq!(status.warnings, ["pod default/c1 is not ready: container c: ErrImagePull"]);
    // It is followed further on, and its mending seen.
    bed.ready("c1").await;
    running.until(|s| s.message == "2 of 2 ready" && s.warnings.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_move_is_not_waited_for_forever() {
    let bed = Bed::new().await;
    let mut running = bed.start();
    bed.ready("c2").await;
    let status = running.until(|s| s.ready).await;
    assert_eq!(status.warnings, ["pod default/c1 is not ready: C0w1 has not said anything of it"]);
    assert!(running.began.elapsed() >= PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn once_ready_it_stays_so_in_this_lab() {
    let bed = Bed::new().await;
    let mut running = bed.start();
    bed.ready("c1").await;
    bed.ready("c2").await;
    running.until(|s| s.ready).await;
    bed.waits_for("c2", "CrashLoopBackOff").await;
    let status = running.until(|s| s.message == "1 of 2 ready").await;
    assert!(status.ready && status.warnings.len() == 1, "{status:?}");
    drop(running);
    // After a restart of the process, too; and a pod that somebody deleted is nobody's trouble.
    let pod: Pod = bed.store.get("default", "c1").await.unwrap().unwrap();
    bed.store.delete(&pod).await.unwrap();
    let mut running = bed.start();
    let status = running.until(|s| s.ready).await;
    assert_eq!(status.message, "0 of 1 ready");
    assert!(running.began.elapsed() < LITTLE_PATIENCE);
}
