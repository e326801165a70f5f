//! The namespaces that every cluster has.
//!
//! Source: kubernetes `pkg/controlplane/controller/systemnamespaces`: made at the start and looked after
//! every minute.

use std::time::Duration;

use api::admit;
use api::types::api::core::v1::Namespace;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::{Backoff, Health, chain};
use serde_json::json;
use store::{Error, Store};
use tokio::sync::watch;

use crate::stamp::stamp;

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "namespaces";
/// Where objects are that name none.
pub(crate) const DEFAULT: &str = "default";
/// Those of a new cluster.
pub(crate) const INITIAL: [&str; 4] = [DEFAULT, "kube-node-lease", "kube-public", "kube-system"];

const PERIOD: Duration = Duration::from_secs(60);

/// Makes those that are missing, until dropped; `made` turns true when all have been there.
pub(crate) async fn run(store: Store, health: Health, made: watch::Sender<bool>) {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    loop {
        match ensure(&store).await {
            Ok(()) => {
                health.set(COMPONENT, true, "");
                made.send_if_modified(|made| !std::mem::replace(made, true));
                backoff.reset();
                tokio::time::sleep(PERIOD).await;
            }
            Err(error) => {
                health.set(COMPONENT, false, &chain(&error));
                tokio::time::sleep(backoff.after(Duration::ZERO)).await;
            }
        }
    }
}

async fn ensure(store: &Store) -> Result<(), Error> {
    let there: Vec<Namespace> = store.list(None).await?;
    let is_there = |name: &str| there.iter().any(|n| n.metadata.name.as_deref() == Some(name));
    for name in INITIAL.into_iter().filter(|name| !is_there(name)) {
        let mut namespace = namespace(name);
        match store.create(&mut namespace).await {
            // By another, in the meantime.
            Ok(()) | Err(Error::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn namespace(name: &str) -> Namespace {
    let document = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    // The names are good ones, as a test says.
    admit::create(&document, &stamp()).unwrap_or_else(|_| Namespace {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..Namespace::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::ComponentKind;

    #[tokio::test(start_paused = true)]
    async fn they_are_made_as_kubernetes_makes_them_and_again_when_one_is_deleted() {
        let store = Store::memory();
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let (sender, mut made) = watch::channel(false);
        let task = tokio::spawn(run(store.clone(), health, sender));
        made.wait_for(|made| *made).await.unwrap();
        let names = |all: Vec<Namespace>| all.into_iter().filter_map(|n| n.metadata.name).collect::<Vec<_>>();
        assert_eq!(names(store.list(None).await.unwrap()), INITIAL);
        let default: Namespace = store.get("", DEFAULT).await.unwrap().unwrap();
        assert_eq!(default.status.as_ref().unwrap().phase.as_deref(), Some("Active"));
        assert_eq!(default.spec.as_ref().unwrap().finalizers.as_deref(), Some(&["kubernetes".into()][..]));
        assert_eq!(default.metadata.labels.as_ref().unwrap()["kubernetes.io/metadata.name"], DEFAULT);
        assert_eq!(default.metadata.uid.as_ref().unwrap().len(), 36);

        store.delete(&default).await.unwrap();
        while store.get::<Namespace>("", DEFAULT).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        task.abort();
    }

    #[tokio::test]
    async fn what_is_there_is_left_alone() {
        let store = Store::memory();
        ensure(&store).await.unwrap();
        let before = store.list_as_of::<Namespace>(None).await.unwrap();
        ensure(&store).await.unwrap();
        assert_eq!(store.list_as_of::<Namespace>(None).await.unwrap(), before);
    }
}
