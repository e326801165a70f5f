use api::types::api::core::v1::{ConfigMap, Pod};
use runtime::{ComponentKind, ComponentStatus};
use tempfile::TempDir;

use super::*;
use crate::namespaces;

const TEXT: &str = "apiVersion: v1
kind: Pod
metadata: {name: c1}
spec: {nodeName: C0w1, containers: [{name: c, image: netshoot}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: text}
data: {a: b}
";

struct Bed {
    folder: TempDir,
    store: Store,
}

impl Bed {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: Store::memory() }
    }

    /// Writes a file with this text, then what it declares; gives the component as it is then.
    async fn up(&self, text: &str) -> ComponentStatus {
        let file = self.folder.path().join("m.yaml");
        fs::write(&file, text).unwrap();
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        health.announce(namespaces::COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let (sender, made) = watch::channel(false);
        let (done, _) = watch::channel(false);
        let marker = self.folder.path().join("C0/applied");
        let task = async {
            tokio::join!(
                namespaces::run(self.store.clone(), health.clone(), sender),
                run(self.store.clone(), Declared::read(&[file]), marker, made, health.clone(), done),
            );
        };
        tokio::select! {
            () = task => unreachable!(),
            ready = board.wait_for(runtime::WorkerReport::ready) => ready.unwrap().components[COMPONENT].clone(),
        }
    }

    /// As after an end of the lab whose etcd is kept.
    fn next_lab(&self) {
        fs::remove_dir_all(self.folder.path().join("C0")).unwrap();
    }
}

#[tokio::test]
async fn what_is_declared_is_there_with_defaults() {
    let bed = Bed::new();
    let status = bed.up(TEXT).await;
    assert_eq!((status.message.as_str(), status.warnings.len()), ("2 created, 0 there before", 0));
    let pod: Pod = bed.store.get("default", "c1").await.unwrap().unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Always"));
    assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    assert!(pod.metadata.uid.is_some());
}

#[tokio::test]
async fn what_somebody_changed_or_deleted_stays_so() {
    let bed = Bed::new();
    bed.up(TEXT).await;
    let change =
        |map: &mut ConfigMap| drop(map.data.get_or_insert_default().insert("a".into(), "mine".into()));
    bed.store.modify("default", "text", change).await.unwrap();
    let pod: Pod = bed.store.get("default", "c1").await.unwrap().unwrap();
    bed.store.delete(&pod).await.unwrap();

    // A process that was started anew leaves everything as it is.
    bed.up(TEXT).await;
    assert!(bed.store.get::<Pod>("default", "c1").await.unwrap().is_none());
    // The next lab, on the same data, has its pod again.
    bed.next_lab();
    assert_eq!(bed.up(TEXT).await.message, "1 created, 1 there before");
    let map: ConfigMap = bed.store.get("default", "text").await.unwrap().unwrap();
    assert_eq!(map.data.unwrap()["a"], "mine");
}

#[tokio::test]
async fn what_cannot_be_stored_is_told_and_the_rest_is() {
    let bed = Bed::new();
    let text = format!(
        "{TEXT}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec: {{containers: []}}\n---\n- x\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: gone}}\n"
    );
    let status = bed.up(&text).await;
    assert_eq!(status.message, "2 created, 0 there before");
    let warnings = status.warnings.join("\n");
    assert!(warnings.contains("m.yaml:15:1: document 4: not an object"), "{warnings}");
    assert!(warnings.contains("spec.containers: Required value"), "{warnings}");
    assert!(warnings.contains("secrets gone/s: namespaces \"gone\" not found"), "{warnings}");
}

#[tokio::test]
async fn a_manifest_declares_a_namespace_and_what_is_in_it() {
    let bed = Bed::new();
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n---\n\
                apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: web}\n";
    let status = bed.up(text).await;
    assert_eq!((status.message.as_str(), status.warnings.len()), ("2 created, 0 there before", 0));
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let declared = Declared::read(&["/nowhere/x.yaml".into()]);
    assert_eq!(declared.problems, ["cannot read /nowhere/x.yaml: No such file or directory (os error 2)"]);
}
