//! Rollouts of deployments whose controller is played by hand.

use std::time::Duration;

use api::kinds::REPLICA_SETS;

use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template("nginx:1")},
    })
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

async fn get(store: &Store) -> Value {
    store.get_raw(&DEPLOYMENTS, "default", "web").await.unwrap().unwrap()
}

/// What the deployment's controller does with a new template.
async fn replica_set(store: &Store, deployment: &Value, revision: i64, cause: Option<&str>) {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = revision.to_string().into();
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("web-{revision}"), "namespace": "default",
            "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true,
                "uid": deployment["metadata"]["uid"]}],
        },
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    if let Some(cause) = cause {
        set["metadata"]["annotations"][CAUSE] = cause.into();
    }
    registry::create_raw(store, &REPLICA_SETS, &set).await.unwrap();
}

async fn set_image(store: &Store, image: &str) -> Value {
    let old = get(store).await;
    change(store, &old, |new| new["spec"]["template"]["spec"]["containers"][0]["image"] = image.into())
        .await
        .unwrap();
    get(store).await
}

fn said(generation: i64, status: Value) -> String {
    let mut object = deployment();
    object["metadata"]["generation"] = generation.into();
    object["status"] = status;
    now(&object).unwrap_or_else(|error| error.to_string())
}

#[test]
fn how_far_it_is_in_kubectls_words() {
    let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    let all = [
        said(2, json!({"observedGeneration": 1})),
        said(2, json!({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 3})),
        said(2, json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4})),
        said(
            2,
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
        ),
        said(
            2,
            json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
        ),
        said(2, json!({"observedGeneration": 2, "conditions": late})),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[tokio::test]
async fn back_to_a_revision() {
    let store = Store::memory();
    let first = registry::create_raw(&store, &DEPLOYMENTS, &deployment()).await.unwrap();
    assert_eq!(history(&store, &first).await.unwrap(), "No rollout history found.\n");
    replica_set(&store, &first, 1, None).await;
    let only = undo(&store, &first, 0).await.unwrap_err();
    assert_eq!(only.to_string(), "no rollout history found for deployment \"web\"");
    let second = set_image(&store, "nginx:2").await;
    replica_set(&store, &second, 2, Some("a new nginx")).await;
    let third = set_image(&store, "nginx:3").await;
    replica_set(&store, &third, 3, None).await;
    insta::assert_snapshot!(history(&store, &third).await.unwrap());
    let template = template_at(&store, &third, 2).await.unwrap();
    assert_eq!(template["spec"]["containers"][0]["image"], "nginx:2");

    let image = async || get(&store).await["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(undo(&store, &third, 0).await.unwrap(), "deployment.apps/web rolled back");
    assert_eq!(image().await, "nginx:2");
    assert_eq!(undo(&store, &get(&store).await, 1).await.unwrap(), "deployment.apps/web rolled back");
    assert_eq!(image().await, "nginx:1");
    let now = get(&store).await;
    let labels = &now["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, json!({"a": "b"}), "the controller's own label is none of it");
    let again = undo(&store, &now, 1).await.unwrap();
    let said = "deployment.apps/web skipped rollback (current template already matches revision 1)";
    assert_eq!(again, said);
    let unknown = undo(&store, &now, 9).await.unwrap_err();
    assert_eq!(unknown.to_string(), "unable to find specified revision 9 in history");
    assert!(unknown.is_negative());
}

#[tokio::test]
async fn held_resumed_and_made_anew() {
    let store = Store::memory();
    let created = registry::create_raw(&store, &DEPLOYMENTS, &deployment()).await.unwrap();
    let error = pause(&store, &created, false).await.unwrap_err();
    assert_eq!(error.to_string(), "deployments.apps \"web\" is not paused");
    assert_eq!(pause(&store, &created, true).await.unwrap(), "deployment.apps/web paused");
    let paused = get(&store).await;
    assert_eq!(paused["spec"]["paused"], true);
    assert!(restart(&store, &paused).await.is_err());
    assert!(undo(&store, &paused, 0).await.is_err());
    assert_eq!(pause(&store, &paused, false).await.unwrap(), "deployment.apps/web resumed");
    let resumed = get(&store).await;
    assert_eq!(restart(&store, &resumed).await.unwrap(), "deployment.apps/web restarted");
    let restarted = get(&store).await;
    assert!(restarted["spec"]["template"]["metadata"]["annotations"][RESTARTED].is_string());
    assert_eq!(restarted["metadata"]["generation"], 4);
}

#[tokio::test(start_paused = true)]
async fn it_is_followed_to_its_end() {
    let store = Store::memory();
    registry::create_raw(&store, &DEPLOYMENTS, &deployment()).await.unwrap();
    let set = async |updated: i32, available: i32| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let change = |one: &mut Deployment| {
            let status = one.status.get_or_insert_default();
            status.observed_generation = Some(1);
            (status.replicas, status.updated_replicas) = (Some(updated), Some(updated));
            status.available_replicas = Some(available);
        };
        store.modify("default", "web", change).await.unwrap();
    };
    let mut lines = Vec::new();
    let controller = async {
        set(1, 0).await;
        set(3, 1).await;
        set(3, 3).await;
    };
    let (followed, ()) =
        tokio::join!(follow(&store, "default", "web", |line| lines.push(line.to_owned())), controller);
    followed.unwrap();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(follow(&store, "default", "none", |_| {}).await.unwrap_err().is_not_found());
}
