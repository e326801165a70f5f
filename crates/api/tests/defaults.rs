//! What is filled in: one snapshot of minimal documents, and that a document applied twice changes
//! nothing.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use api::admit::{self, Stamp};
use api::kinds;
use serde_json::Value;

const DOCUMENTS: &str = r#"
- apiVersion: v1
  kind: Pod
  metadata: {generateName: web-, namespace: default, resourceVersion: "9", uid: mine}
  spec:
    volumes: [{name: a}, {name: b, secret: {secretName: s}}, {name: c, hostPath: {path: /a}}]
    initContainers: [{name: init, image: "a@sha256:0"}]
    containers:
    - name: web
      image: nginx
      ports: [{containerPort: 80}]
      env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
      resources: {limits: {cpu: 1}}
      livenessProbe: {httpGet: {port: 80}}
      lifecycle: {postStart: {httpGet: {port: 80}}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default}
  spec: {type: NodePort, sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 80}]}
- apiVersion: v1
  kind: Service
  metadata: {name: headless, namespace: default}
  spec: {clusterIP: None, ports: [{port: 80, targetPort: http}]}
- apiVersion: v1
  kind: Namespace
  metadata: {name: east}
- {apiVersion: v1, kind: Secret, metadata: {name: key, namespace: default}, stringData: {user: admin}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: default}, data: {a: b}}
- apiVersion: v1
  kind: Endpoints
  metadata: {name: web, namespace: default}
  subsets: [{addresses: [{ip: 11.10.0.2}], ports: [{port: 80}]}]
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web, namespace: default}
  addressType: IPv4
  endpoints: [{addresses: [11.10.0.2]}]
  ports: [{port: 80}]
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: default}
  spec: &spec
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec: {containers: [{name: web, image: "nginx:1"}]}
- {apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, namespace: default}, spec: *spec}
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web, namespace: default}, spec: *spec}
- {apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web, namespace: default}, spec: *spec}
- {apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: C0w1, namespace: kube-node-lease}}
- {apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: east, namespace: east}, spec: {linkAccess: none}}
"#;

fn documents() -> Vec<Value> {
    serde_yaml::from_str(DOCUMENTS).unwrap()
}

fn created(document: &Value) -> Value {
    let now = "2026-11-01T12:00:00Z".parse().unwrap();
    let now = api::types::apimachinery::pkg::apis::meta::v1::Time(now);
    let stamp = Stamp { uid: "0190a7b8-1234-7abc-8def-0123456789ab".into(), now };
    admit::create_any(kinds::of(document).unwrap(), document, &stamp).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_is_filled_in() {
    let all: Vec<_> = documents().iter().map(created).collect();
    insta::assert_snapshot!(serde_yaml::to_string(&all).unwrap());
}

#[test]
fn a_document_applied_again_changes_nothing() {
    for mut document in documents() {
        let info = kinds::of(&document).unwrap();
        let mut old = created(&document);
        old["metadata"]["resourceVersion"] = "7".into();
        // Written by hand, so without what the server has given; the name is the one it got.
        document["metadata"]["name"] = old["metadata"]["name"].clone();
        for field in ["uid", "resourceVersion"] {
            document["metadata"].as_object_mut().unwrap().remove(field);
        }
        let new = admit::update_any(info, &document, &old).unwrap_or_else(|e| panic!("{}: {e}", info.kind));
        pretty(&new, &old, info.kind);
        let whole = admit::update_any(info, &old, &old).unwrap_or_else(|e| panic!("{}: {e}", info.kind));
        pretty(&whole, &old, info.kind);
    }
}

fn pretty(new: &Value, old: &Value, kind: &str) {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(text(new), text(old), "{kind}");
}

/// A true condition.
fn one(name: &str) -> Value {
    serde_json::json!({
        "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "", "reason": "Ready", "status": "True",
        "type": name,
    })
}

#[test]
fn changes_of_the_spec_are_counted_and_the_status_is_kept() {
    for kind in ["Deployment", "Site"] {
        let document = documents().into_iter().find(|one| one["kind"] == kind).unwrap();
        let info = kinds::of(&document).unwrap();
        let mut old = created(&document);
        assert_eq!(old["metadata"]["generation"], 1);
        old["status"] = serde_json::json!({"conditions": [one("Old")]});
        old["metadata"]["resourceVersion"] = "7".into();
        let mut changed = document.clone();
        changed["spec"][if kind == "Site" { "ha" } else { "paused" }] = true.into();
        changed["status"] = serde_json::json!({"conditions": [one("Ready")]});
        let new = admit::update_any(info, &changed, &old).unwrap();
        assert_eq!((&new["metadata"]["generation"], &new["status"]), (&2.into(), &old["status"]));
        let status = admit::update_status_any(info, &changed, &old).unwrap();
        assert_eq!((&status["spec"], &status["status"]), (&old["spec"], &changed["status"]));
        assert_eq!(status["metadata"]["generation"], 1);
    }
}
