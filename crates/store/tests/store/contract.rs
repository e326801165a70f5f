//! What holds of every store: the same suite runs on etcd and on its twin, and both must say the same,
//! word for word and revision for revision.

use std::fmt::Write as _;

use api::kinds;
use api::types::api::core::v1::{ConfigMap, Endpoints, Service};
use serde_json::{Value, json};
use store::{Error, Event, List, Store, Watch};

use crate::objects::{config, config_in, shown, value};
use crate::server::{Etcd, alone, soon};

#[tokio::test]
async fn memory_keeps_the_contract() {
    soon("the contract", contract(Store::memory())).await;
}

#[test]
fn etcd_keeps_the_contract_and_says_what_memory_says() {
    let (etcd, memory) = alone(async {
        let server = Etcd::single().await;
        let etcd = soon("the contract", contract(server.store().await)).await;
        (etcd, contract(Store::memory()).await)
    });
    assert_eq!(etcd, memory);
}

/// Gives everything that was said.
async fn contract(store: Store) -> String {
    let mut log = String::new();
    one_object(&store, &mut log).await;
    names(&store, &mut log).await;
    lists_and_watches(&store, &mut log).await;
    every_change_once(&store, &mut log).await;
    without_types(&store, &mut log).await;
    nobody_is_overwritten(&store, &mut log).await;
    many_and_large(&store, &mut log).await;
    history_ends(&store, &mut log).await;
    log
}

fn note(log: &mut String, what: &str, said: impl std::fmt::Display) {
    writeln!(log, "{what}: {said}").unwrap();
}

fn version(object: &ConfigMap) -> i64 {
    object.metadata.resource_version.as_deref().unwrap().parse().unwrap()
}

async fn one_object(store: &Store, log: &mut String) {
    assert_eq!(store.get::<ConfigMap>("default", "a").await.unwrap(), None);
    let mut a = config("a", "1");
    store.create(&mut a).await.unwrap();
    note(log, "created", version(&a));
    let read: ConfigMap = store.get("default", "a").await.unwrap().unwrap();
    assert_eq!(read, a, "what is read is what was written, with its version");
    let exists = store.create(&mut config("a", "2")).await.unwrap_err();
    note(log, "created again", exists);

    let mut stale = a.clone();
    a.data = config("a", "2").data;
    let before = version(&a);
    store.update(&mut a).await.unwrap();
    assert!(version(&a) > before);
    note(log, "updated", version(&a));
    let conflict = store.update(&mut stale).await.unwrap_err();
    note(log, "updated from a stale copy", conflict);
    assert_eq!(version(&stale), before, "a failure leaves the version alone");
    note(log, "deleted from a stale copy", store.delete(&stale).await.unwrap_err());
    let mut unread = config("a", "3");
    note(log, "updated unread", store.update(&mut unread).await.unwrap_err());
    assert_eq!(value(&store.get("default", "a").await.unwrap().unwrap()), "2");

    let same = store.modify("default", "a", |_: &mut ConfigMap| {}).await.unwrap();
    assert_eq!(version(&same), version(&a), "no change, no write");
    let new = store.modify("default", "a", |a: &mut ConfigMap| a.data = config("", "4").data).await.unwrap();
    assert!(version(&new) > version(&a));
    note(log, "modified", shown(&new));

    store.delete(&new).await.unwrap();
    assert_eq!(store.get::<ConfigMap>("default", "a").await.unwrap(), None);
    note(log, "deleted again", store.delete(&new).await.unwrap_err());
    note(log, "updated when gone", store.update(&mut new.clone()).await.unwrap_err());
    let gone = store.modify("default", "a", |_: &mut ConfigMap| {}).await.unwrap_err();
    note(log, "modified when gone", gone);
}

async fn names(store: &Store, log: &mut String) {
    for (namespace, name) in [("default", ""), ("", "a"), ("default", "a/b"), ("..", "a"), ("default", "a%b")]
    {
        note(log, "a wrong name", store.create(&mut config_in(namespace, name, "1")).await.unwrap_err());
        assert!(store.get::<ConfigMap>(namespace, name).await.is_err());
    }
}

async fn lists_and_watches(store: &Store, log: &mut String) {
    let start = store.list_as_of::<ConfigMap>(None).await.unwrap();
    assert_eq!(start.items, []);
    let mut all: Watch<ConfigMap> = store.watch(None, start.revision).await.unwrap();
    let mut east: Watch<ConfigMap> = store.watch(Some("east"), start.revision).await.unwrap();
    let mut services: Watch<Service> = store.watch(None, start.revision).await.unwrap();

    // Keys in the order of bytes: `b` of one namespace comes before `a` of the next.
    for (namespace, name) in [("east", "b"), ("east-1", "a"), ("default", "z"), ("east", "a")] {
        store.create(&mut config_in(namespace, name, "1")).await.unwrap();
    }
    // Two kinds whose folders begin alike.
    let mut endpoints = Endpoints { metadata: config("web", "").metadata, subsets: None };
    store.create(&mut endpoints).await.unwrap();
    let mut service = Service { metadata: config("web", "").metadata, ..Service::default() };
    store.create(&mut service).await.unwrap();

    let List { items, revision } = store.list_as_of::<ConfigMap>(None).await.unwrap();
    let names: Vec<_> =
        items.iter().map(|item| item.metadata.namespace.clone().unwrap() + "/" + &shown(item)).collect();
    note(log, "listed", names.join(" "));
    note(log, "as of", revision - start.revision);
    let east_list: Vec<ConfigMap> = store.list(Some("east")).await.unwrap();
    assert_eq!(east_list.iter().map(shown).collect::<Vec<_>>(), ["a=1", "b=1"]);
    for (watch, count) in [(&mut all, 4), (&mut east, 2)] {
        for _ in 0..count {
            note(log, "told", next(watch).await);
        }
    }
    let Event::Added(told) = soon("a service", services.next()).await.unwrap() else { panic!("not added") };
    assert_eq!(told, service, "no endpoints, and the version is there");
    for object in &items {
        store.delete(object).await.unwrap();
    }
    store.delete(&service).await.unwrap();
    store.delete(&endpoints).await.unwrap();
}

async fn next(watch: &mut Watch<ConfigMap>) -> String {
    loop {
        match soon("an event", watch.next()).await {
            Ok(Event::Added(object)) => return format!("+{} {}", shown(&object), version(&object)),
            Ok(Event::Modified(object)) => return format!("~{} {}", shown(&object), version(&object)),
            Ok(Event::Deleted { object, revision }) => {
                return format!("-{} {} at {revision}", shown(&object), version(&object));
            }
            Ok(Event::Bookmark(_)) => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// A watch that is opened late tells the past, then the present; one from the middle, the rest.
async fn every_change_once(store: &Store, log: &mut String) {
    let start = store.list_as_of::<ConfigMap>(None).await.unwrap().revision;
    let mut a = config("a", "0");
    store.create(&mut a).await.unwrap();
    for i in 1..150 {
        a.data = config("a", &i.to_string()).data;
        store.update(&mut a).await.unwrap();
    }
    let middle = version(&a);
    store.delete(&a).await.unwrap();
    store.create(&mut config("a", "new")).await.unwrap();
    let mut late: Watch<ConfigMap> = store.watch(None, start).await.unwrap();
    let mut rest: Watch<ConfigMap> = store.watch(None, middle).await.unwrap();
    let b = &mut config("b", "1");
    store.create(b).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..153 {
        told.push(next(&mut late).await);
    }
    note(log, "all changes", told.join(" "));
    for told in &told[150..] {
        assert_eq!(&next(&mut rest).await, told);
    }
    // A watch that is waited for in vain, and given up each time, loses nothing.
    for _ in 0..20 {
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(1), rest.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
    store.delete(b).await.unwrap();
    note(log, "after waiting", next(&mut rest).await);
    store.delete_raw(&kinds::CONFIG_MAPS, "default", "a", None).await.unwrap();
}

async fn without_types(store: &Store, log: &mut String) {
    let info = &kinds::SITES;
    let start = store.list_raw(info, None).await.unwrap().revision;
    let mut watch = store.watch_raw(info, Some("east"), start).await.unwrap();
    let mut site = json!({"metadata": {"name": "east", "namespace": "east"}, "spec": {"linkAccess": "none"}});
    store.create_raw(info, &mut site).await.unwrap();
    note(log, "created raw", store.create_raw(info, &mut site.clone()).await.unwrap_err());
    let read = store.get_raw(info, "east", "east").await.unwrap().unwrap();
    assert_eq!(
        (read["apiVersion"].as_str(), read["kind"].as_str()),
        (Some("skupper.io/v2alpha1"), Some("Site"))
    );
    assert_eq!(read["metadata"], site["metadata"]);

    let mut stale = read.clone();
    site["spec"]["linkAccess"] = "default".into();
    store.update_raw(info, &mut site).await.unwrap();
    note(log, "updated raw from a stale copy", store.update_raw(info, &mut stale).await.unwrap_err());
    store.put_raw(info, &mut stale).await.unwrap();
    let List { items, revision } = store.list_raw(info, Some("east")).await.unwrap();
    assert_eq!(items, std::slice::from_ref(&stale));
    note(log, "put raw", revision - start);
    note(log, "deleted another version", store.delete_raw(info, "east", "east", Some(1)).await.unwrap_err());
    let deleted = store.delete_raw(info, "east", "east", None).await.unwrap();
    assert_eq!(deleted, stale);
    note(log, "deleted raw again", store.delete_raw(info, "east", "east", None).await.unwrap_err());
    store.put_raw(info, &mut stale).await.unwrap();
    store.delete_raw(info, "east", "east", None).await.unwrap();
    for _ in 0..6 {
        note(log, "told raw", raw(soon("an event", watch.next()).await.unwrap()));
    }

    // A kind without namespaces, and one that is read by its type.
    let mut node = json!({"metadata": {"name": "C0w1"}});
    store.create_raw(&kinds::NODES, &mut node).await.unwrap();
    let typed: api::types::api::core::v1::Node = store.get("", "C0w1").await.unwrap().unwrap();
    assert_eq!(typed.metadata.resource_version.as_deref(), node["metadata"]["resourceVersion"].as_str());
    store.delete(&typed).await.unwrap();
}

fn raw(event: Event<Value>) -> String {
    match event {
        Event::Added(object) => format!("+{} {}", object["spec"], object["metadata"]["resourceVersion"]),
        Event::Modified(object) => format!("~{} {}", object["spec"], object["metadata"]["resourceVersion"]),
        Event::Deleted { object, revision } => {
            format!("-{} {} at {revision}", object["spec"], object["metadata"]["resourceVersion"])
        }
        Event::Bookmark(revision) => format!("at {revision}"),
    }
}

/// Writers at the same time: each change counts.
async fn nobody_is_overwritten(store: &Store, log: &mut String) {
    store.create(&mut config("counter", "0")).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let add = |counter: &mut ConfigMap| {
                        let next = value(counter).parse::<u32>().unwrap() + 1;
                        counter.data = config("", &next.to_string()).data;
                    };
                    store.modify("default", "counter", add).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let counter: ConfigMap = store.get("default", "counter").await.unwrap().unwrap();
    note(log, "counted", value(&counter));
    store.delete(&counter).await.unwrap();
}

/// More objects than a page has, and more bytes than a message may have.
async fn many_and_large(store: &Store, log: &mut String) {
    for i in 0..450 {
        store.create(&mut config_in("many", &format!("c{i:03}"), "1")).await.unwrap();
    }
    let large = "x".repeat(200_000);
    let start = store.list_as_of::<ConfigMap>(Some("large")).await.unwrap().revision;
    let mut watch: Watch<ConfigMap> = store.watch(Some("large"), start).await.unwrap();
    for i in 0..40 {
        store.create(&mut config_in("large", &format!("c{i:03}"), &large)).await.unwrap();
    }
    let listed: Vec<ConfigMap> = store.list(None).await.unwrap();
    assert!(listed.is_sorted_by_key(|one| (one.metadata.namespace.clone(), one.metadata.name.clone())));
    note(log, "many", listed.len());
    let bytes: usize = listed.iter().map(|one| value(one).len()).sum();
    note(log, "bytes", bytes);
    in_pages(store, &listed).await;
    // Eight megabytes that are all there when they are asked for.
    let mut late: Watch<ConfigMap> = store.watch(Some("large"), start).await.unwrap();
    for i in 0..40 {
        for watch in [&mut watch, &mut late] {
            let Event::Added(object) = soon("a large one", watch.next()).await.unwrap() else { panic!() };
            assert_eq!(object.metadata.name, Some(format!("c{i:03}")));
        }
    }
    for object in listed {
        store.delete(&object).await.unwrap();
    }
}

/// Pages say what a list says, as of one revision, whatever changes between them; and what is no object
/// has its place in them.
async fn in_pages(store: &Store, listed: &[ConfigMap]) {
    let mut nonsense = json!({"metadata": {"name": "c0000", "namespace": "many"}, "data": 7});
    store.create_raw(&kinds::CONFIG_MAPS, &mut nonsense).await.unwrap();
    let before = store.list_as_of::<Service>(None).await.unwrap().revision;
    let mut pages = store.pages::<ConfigMap>(None);
    assert_eq!(pages.revision(), 0);
    let (mut seen, mut invalid) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await.unwrap() {
        assert_eq!(pages.revision(), before);
        if seen.is_empty() {
            // It would come behind those that are there.
            store.create(&mut config_in("zzz", "late", "1")).await.unwrap();
        }
        for object in page {
            match object {
                Ok(object) => seen.push(object),
                Err(error) => invalid.push(error.to_string()),
            }
        }
    }
    assert!(pages.next().await.unwrap().is_none());
    assert_eq!(seen, listed);
    assert_eq!(invalid.len(), 1);
    assert!(invalid[0].contains("/registry/configmaps/many/c0000"), "{invalid:?}");
    store.delete_raw(&kinds::CONFIG_MAPS, "zzz", "late", None).await.unwrap();
    store.delete_raw(&kinds::CONFIG_MAPS, "many", "c0000", None).await.unwrap();
}

async fn history_ends(store: &Store, log: &mut String) {
    let start = store.list_as_of::<ConfigMap>(None).await.unwrap().revision;
    let mut old: Watch<ConfigMap> = store.watch(None, start).await.unwrap();
    let mut a = config("a", "1");
    store.create(&mut a).await.unwrap();
    note(log, "before compaction", next(&mut old).await);
    for i in 2..5 {
        a.data = config("a", &i.to_string()).data;
        store.update(&mut a).await.unwrap();
    }
    let now = version(&a);
    store.compact(now).await.unwrap();
    store.compact(now).await.unwrap();
    // What is compacted is no longer told; what is stored is there.
    let mut late: Watch<ConfigMap> = store.watch(None, start).await.unwrap();
    let said = soon("an error", late.next()).await.unwrap_err();
    assert!(matches!(said, Error::Compacted { .. }), "{said}");
    note(log, "after compaction", said);
    assert_eq!(store.get::<ConfigMap>("default", "a").await.unwrap(), Some(a.clone()));
    let mut watch: Watch<ConfigMap> = store.watch(None, now).await.unwrap();
    store.delete(&a).await.unwrap();
    note(log, "told since", next(&mut watch).await);

    let future = store.watch::<ConfigMap>(None, now + 100).await.unwrap_err();
    note(log, "the future", future);
    note(log, "compacting the future", store.compact(now + 100).await.unwrap_err());
}
