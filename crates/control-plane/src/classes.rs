//! Classes of Ingresses and Gateways that every cluster has: ours, and those that the examples of Kubernetes'
//! documentation and of Gateway API's guides name, so that they apply as they stand.
//!
//! They are made once in a lab's life, behind everything that somebody waits for; who deletes one keeps it
//! deleted. No IngressClass is the default one: as long as none is, Ingresses without a class are served.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::gateway::GatewayClass;
use api::types::api::networking::v1::IngressClass;
use api::{Kind, KindInfo, time};
use runtime::{Backoff, chain};
use serde_json::{Value, json};
use store::registry::{self, Error as RegistryError};
use store::{Error, Store};
use tokio::sync::watch;

/// Of Ingresses, each with its controller's name.
const OF_INGRESSES: [(&str, &str); 2] =
    [("nginx", "k8s.io/ingress-nginx"), ("nginx-example", "k8s.io/ingress-nginx")];
/// Of Gateways.
const OF_GATEWAYS: [(&str, &str); 4] = [
    ("knetsim", "knetsim.dev/gateway-controller"),
    // The guides' placeholders.
    ("example", "knetsim.dev/gateway-controller"),
    ("example-gateway-class", "knetsim.dev/gateway-controller"),
    // kubernetes.io/docs/concepts/services-networking/gateway
    ("example-class", "example.com/gateway-controller"),
];

/// Makes them once the manifests are `applied`, unless the `marker` says that it was done before.
pub(crate) async fn run(store: Store, marker: PathBuf, mut applied: watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = applied.wait_for(|applied| *applied).await;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    while !marker.exists() {
        match make(&store, &marker).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(error = chain(&error), "classes are not made"),
        }
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
    }
    std::future::pending().await
}

async fn make(store: &Store, marker: &Path) -> Result<(), RegistryError> {
    for (name, controller) in OF_INGRESSES {
        make_one(store, IngressClass::INFO, name, &json!({"controller": controller})).await?;
    }
    for (name, controller) in OF_GATEWAYS {
        if !make_one(store, GatewayClass::INFO, name, &json!({"controllerName": controller})).await? {
            continue;
        }
        // The controllers are there whether or not one has begun: they begin with the first gateway.
        let accept = |class: &mut GatewayClass| class.status = Some(accepted());
        match store.modify::<GatewayClass>("", name, accept).await {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Err(error) = std::fs::write(marker, "") {
        tracing::warn!(error = chain(&error), path = %marker.display(), "not written");
    }
    Ok(())
}

/// Whether it was made now.
async fn make_one(
    store: &Store,
    info: &'static KindInfo,
    name: &str,
    spec: &Value,
) -> Result<bool, RegistryError> {
    let document = json!({
        "apiVersion": format!("{}/{}", info.group, info.version), "kind": info.kind,
        "metadata": {"name": name}, "spec": spec,
    });
    match registry::create_raw(store, info, &document).await {
        Ok(_) => Ok(true),
        Err(RegistryError::Store(Error::Exists { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

fn accepted() -> Value {
    json!({"conditions": [{
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
        "observedGeneration": 1, "lastTransitionTime": time::now(),
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_made_once_and_accepted() {
        let store = Store::memory();
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("classes.made");
        let own = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "example"}, "spec": {"controllerName": "other.io/gateway-controller"},
        });
        registry::create_raw(&store, GatewayClass::INFO, &own).await.unwrap();
        make(&store, &marker).await.unwrap();
        let classes: Vec<IngressClass> = store.list(None).await.unwrap();
        let names: Vec<_> = classes.iter().filter_map(|class| class.metadata.name.as_deref()).collect();
        assert_eq!(names, ["nginx", "nginx-example"]);
        let class = async |name: &str| store.get::<GatewayClass>("", name).await.unwrap().unwrap();
        let ours = class("knetsim").await;
        assert_eq!(ours.spec.controller_name, "knetsim.dev/gateway-controller");
        assert_eq!(ours.status.unwrap()["conditions"][0]["status"], "True");
        let theirs = class("example").await;
        assert_eq!(
            (theirs.spec.controller_name.as_str(), theirs.status),
            ("other.io/gateway-controller", None)
        );
        assert!(marker.exists());
    }
}
