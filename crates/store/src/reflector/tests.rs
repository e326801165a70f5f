//! The reflector on the twin in memory. What happens to a real etcd is in `tests/store`.

use std::future::Future;

use api::types::api::core::v1::ConfigMap;
use tokio::time::timeout;

use super::*;
use crate::Store;

const LIMIT: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

fn config(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            ..ObjectMeta::default()
        },
        data: Some([("key".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn name(object: &ConfigMap) -> String {
    let value = object.data.as_ref().and_then(|data| data.get("key")).cloned().unwrap_or_default();
    format!("{}={value}", object.metadata.name.clone().unwrap())
}

fn shown(change: &Change<ConfigMap>) -> String {
    match change {
        Change::Added(object) => format!("+{}", name(object)),
        Change::Modified { old, new } => format!("{}>{}", name(old), name(new)),
        Change::Deleted(object) => format!("-{}", name(object)),
    }
}

async fn told(changes: &mut Changes<ConfigMap>, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(shown(&soon("a change", changes.next()).await.unwrap()));
    }
    told
}

#[tokio::test]
async fn the_copy_follows_the_store() {
    let store = Store::memory();
    let mut a = config("a", "1");
    store.create(&mut a).await.unwrap();
    let reflector = Reflector::<ConfigMap>::start(&store, None);
    soon("first sync", reflector.wait_synced()).await;
    let mut wake = reflector.subscribe();
    let mut changes = reflector.changes();
    assert_eq!(reflector.get("default", "a").as_deref(), Some(&a));

    a.data = config("a", "2").data;
    store.update(&mut a).await.unwrap();
    store.create(&mut config("b", "1")).await.unwrap();
    store.delete(&a).await.unwrap();
    assert_eq!(told(&mut changes, 4).await, ["+a=1", "a=1>a=2", "+b=1", "-a=2"]);
    soon("a wake-up", wake.changed()).await.unwrap();
    let names: Vec<_> = reflector.snapshot().keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/b"]);
    assert_eq!(reflector.list(Some("default")).len(), 1);
    assert_eq!(reflector.list(Some("other")).len(), 0);
    assert!(reflector.connected());
    assert_eq!(reflector.revision(), 5, "an empty store has revision 1, and there were four changes");
}

#[tokio::test]
async fn an_empty_store_is_synced_too_and_says_so() {
    let reflector = Reflector::<ConfigMap>::start(&Store::memory(), Some("default"));
    let mut wake = reflector.subscribe();
    soon("a wake-up", wake.changed()).await.unwrap();
    assert!(reflector.status().borrow().synced);
    assert!(reflector.snapshot().is_empty());
}

#[tokio::test]
async fn what_is_no_object_is_told_and_hides_nothing() {
    let store = Store::memory();
    store.create(&mut config("a", "1")).await.unwrap();
    store.create(&mut config("b", "1")).await.unwrap();
    store.0.put("/registry/configmaps/default/rotten", None, b"{".to_vec()).await.unwrap();
    let reflector = Reflector::<ConfigMap>::start(&store, None);
    soon("first sync", reflector.wait_synced()).await;
    assert_eq!(reflector.snapshot().len(), 2);
    let mut status = reflector.status();
    let rotten = |status: &Status, count: usize| status.invalid.len() == count;
    soon("one is rotten", status.wait_for(|status| rotten(status, 1))).await.unwrap();

    store.0.put("/registry/configmaps/default/a", None, b"[]".to_vec()).await.unwrap();
    soon("two are rotten", status.wait_for(|status| rotten(status, 2))).await.unwrap();
    assert_eq!(name(&reflector.get("default", "a").unwrap()), "a=1", "what was there before");
    store.0.delete("/registry/configmaps/default/rotten", None).await.unwrap();
    store.0.delete("/registry/configmaps/default/a", None).await.unwrap();
    soon("none is rotten", status.wait_for(|status| rotten(status, 0))).await.unwrap();
    assert_eq!(reflector.snapshot().len(), 1);
}

#[tokio::test]
async fn objects_come_and_go_as_they_are_wanted() {
    let store = Store::memory();
    let mut a = config("a", "yes");
    store.create(&mut a).await.unwrap();
    store.create(&mut config("b", "no")).await.unwrap();
    let wanted = |object: &ConfigMap| object.data.as_ref().is_some_and(|data| data["key"] == "yes");
    let reflector = Reflector::start_where(&store, None, wanted);
    soon("first sync", reflector.wait_synced()).await;
    let mut changes = reflector.changes();
    a.data = config("a", "no").data;
    store.update(&mut a).await.unwrap();
    store.modify("default", "b", |b: &mut ConfigMap| b.data = config("b", "yes").data).await.unwrap();
    store.delete(&a).await.unwrap();
    store.create(&mut config("c", "yes")).await.unwrap();
    assert_eq!(told(&mut changes, 4).await, ["+a=yes", "-a=yes", "+b=yes", "+c=yes"]);
}

#[tokio::test]
async fn the_last_clone_ends_the_task_and_its_listeners() {
    let store = Store::memory();
    let reflector = Reflector::<ConfigMap>::start(&store, None);
    soon("first sync", reflector.wait_synced()).await;
    let (clone, mut changes) = (reflector.clone(), reflector.changes());
    drop(reflector);
    store.create(&mut config("a", "1")).await.unwrap();
    assert_eq!(told(&mut changes, 1).await, ["+a=1"]);
    drop(clone);
    assert_eq!(soon("the end", changes.next()).await, None);
}

/// A relist tells the real differences and no others.
#[tokio::test]
async fn a_relist_tells_only_what_differs() {
    let mut cache = Cache::<ConfigMap>::default();
    let entry = |name: &str, value: &str, revision: i64, created: i64| crate::entry::Entry {
        key: format!("/registry/configmaps/default/{name}"),
        value: serde_json::to_vec(&config(name, value)).unwrap(),
        revision,
        created,
    };
    let found = |entries: &[crate::entry::Entry]| {
        entries
            .iter()
            .filter_map(|entry| {
                cache::read::<ConfigMap>(entry, &Filter { mention: None, wanted: |_: &ConfigMap| true })
            })
            .collect()
    };
    let before = [entry("a", "1", 2, 2), entry("b", "1", 3, 3), entry("c", "1", 4, 4), entry("d", "1", 5, 5)];
    assert!(cache.replace(found(&before)));
    let mut listener = cache.listen();
    let mut said = || {
        let mut said = Vec::new();
        while let Ok(change) = listener.try_recv() {
            said.push(shown(&change));
        }
        said
    };
    assert_eq!(said(), ["+a=1", "+b=1", "+c=1", "+d=1"]);
    assert!(!cache.replace(found(&before)));
    assert_eq!(said(), [""; 0]);

    // b changed, c is another one of the same name, d is gone, e is new.
    let after = [entry("a", "1", 2, 2), entry("b", "2", 9, 3), entry("c", "1", 8, 8), entry("e", "1", 7, 7)];
    assert!(cache.replace(found(&after)));
    assert_eq!(said(), ["-d=1", "b=1>b=2", "-c=1", "+c=1", "+e=1"]);

    // etcd has lost its data: the numbers are the same, the objects are not.
    let lost = [entry("a", "9", 2, 2)];
    assert!(cache.replace(found(&lost)));
    assert_eq!(said(), ["-b=2", "-c=1", "-e=1", "a=1>a=9"]);
}
