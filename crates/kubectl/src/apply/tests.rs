//! What has become of documents, on the twin in memory.

use super::*;
use crate::document::parse;

fn document(text: &str) -> Document {
    let mut document = parse("x.yaml", text).remove(0).unwrap();
    settle(&mut document, "default", false).unwrap();
    document
}

async fn said(store: &Store, text: &str) -> String {
    match apply(store, &document(text), DryRun::None).await {
        Ok(applied) => applied.text(DryRun::None),
        Err(error) => error.to_string(),
    }
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: c1, labels: {app: a}}\n\
                   spec: {containers: [{name: c, image: nginx}]}\n";

#[tokio::test]
async fn created_unchanged_configured() {
    let store = Store::memory();
    assert_eq!(said(&store, POD).await, "pod/c1 created");
    let first = store.get_raw(&api::kinds::PODS, "default", "c1").await.unwrap().unwrap();
    assert_eq!(said(&store, POD).await, "pod/c1 unchanged");
    assert_eq!(store.get_raw(&api::kinds::PODS, "default", "c1").await.unwrap().unwrap(), first);
    assert_eq!(said(&store, &POD.replace("app: a", "app: b")).await, "pod/c1 configured");
    assert_eq!(said(&store, &POD.replace("image: nginx", "image: other")).await, "pod/c1 configured");
    let pod = store.get_raw(&api::kinds::PODS, "default", "c1").await.unwrap().unwrap();
    assert_eq!(pod["metadata"]["labels"]["app"], "a");
    assert_eq!(pod["spec"]["containers"][0]["image"], "other");
    assert_eq!(pod["metadata"]["uid"], first["metadata"]["uid"]);
    let refused = said(&store, &POD.replace("spec: {", "spec: {hostNetwork: true, ")).await;
    assert!(refused.starts_with("The Pod \"c1\" is invalid: "), "{refused}");
    insta::assert_snapshot!(last_applied(&first).unwrap());
}

#[tokio::test]
async fn every_kind_of_the_documentation_can_be_applied_twice() {
    let store = Store::memory();
    for text in [
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {a: b}, ports: [{port: 80}]}}",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}",
        "{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {k: v}}",
        "{apiVersion: v1, kind: Namespace, metadata: {name: east}}",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {a: b}}, \
         template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: nginx, ports: \
         [{containerPort: 80}]}]}}}}",
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {defaultBackend: \
         {service: {name: web, port: {number: 80}}}}}",
        "{apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: east}, spec: {linkAccess: default}}",
    ] {
        let first = said(&store, text).await;
        assert!(first.ends_with(" created"), "{first}");
        let second = said(&store, text).await;
        assert!(second.ends_with(" unchanged"), "{text}: {second}");
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let store = Store::memory();
    for dry_run in [DryRun::Client, DryRun::Server] {
        let applied = apply(&store, &document(POD), dry_run).await.unwrap();
        assert_eq!(applied.text(dry_run), format!("pod/c1 created{}", dry_run.suffix()));
    }
    assert_eq!(store.list_raw(&api::kinds::PODS, None).await.unwrap().items, [""; 0]);
    said(&store, POD).await;
    let before = store.list_raw(&api::kinds::PODS, None).await.unwrap();
    for dry_run in [DryRun::Client, DryRun::Server] {
        let changed = document(&POD.replace("app: a", "app: b"));
        let applied = apply(&store, &changed, dry_run).await.unwrap();
        assert_eq!(applied.verdict, Verdict::Configured);
        assert_eq!(applied.object["metadata"]["labels"]["app"], "b");
    }
    assert_eq!(store.list_raw(&api::kinds::PODS, None).await.unwrap(), before);
}

#[tokio::test]
async fn what_was_made_otherwise_is_taken_over_with_a_word() {
    let store = Store::memory();
    create(&store, &document(POD), false, DryRun::None).await.unwrap();
    let applied = apply(&store, &document(POD), DryRun::None).await.unwrap();
    assert_eq!(applied.verdict, Verdict::Configured);
    insta::assert_snapshot!(applied.warning.unwrap());
    assert_eq!(apply(&store, &document(POD), DryRun::None).await.unwrap().warning, None);
    let error = create(&store, &document(POD), true, DryRun::None).await.unwrap_err();
    assert_eq!(error.to_string(), "pods \"c1\" already exists");
}

#[tokio::test]
async fn names_and_namespaces() {
    let store = Store::memory();
    let generated = POD.replace("name: c1", "generateName: c-");
    assert_eq!(said(&store, &generated).await, "from c-: cannot use generate name with apply");
    assert_eq!(said(&store, "{apiVersion: v1, kind: Pod}").await, "resource name may not be empty");
    let created = create(&store, &document(&generated), false, DryRun::None).await.unwrap();
    assert!(name(&created.object).starts_with("c-"));
    let elsewhere = POD.replace("name: c1", "name: c1, namespace: east");
    assert_eq!(said(&store, &elsewhere).await, "namespaces \"east\" not found");
    let mut document = document(&elsewhere);
    let error = settle(&mut document, "west", true).unwrap_err();
    insta::assert_snapshot!(error);
    settle(&mut document, "west", false).unwrap();
    assert_eq!(document.object["metadata"]["namespace"], "east");
}
