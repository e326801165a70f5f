//! Events as they are written, on the twin in memory.

use api::types::api::core::v1::Pod;
use api::types::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn pod(name: &str) -> ObjectReference {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some("shop".into()),
        uid: Some(format!("uid-{name}")),
        ..ObjectMeta::default()
    };
    reference(&Pod { metadata, ..Pod::default() })
}

async fn told(store: &Store) -> Vec<String> {
    let events = store.list::<Event>(None).await.unwrap();
    let line = |event: &Event| {
        let (kind, reason) = (event.type_.as_deref().unwrap(), event.reason.as_deref().unwrap());
        let object = event.involved_object.name.as_deref().unwrap();
        format!("{kind} {reason} {object} x{}: {}", event.count.unwrap(), event.message.as_deref().unwrap())
    };
    let mut lines: Vec<_> = events.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn the_same_again_is_counted() {
    let store = Store::memory();
    let recorder = Recorder::new(&store, "kubelet", "C0w1");
    for _ in 0..3 {
        recorder.event(&pod("web"), WARNING, "BackOff", "it fails");
    }
    recorder.event(&pod("web"), NORMAL, "Started", "it runs");
    recorder.event(&pod("api"), WARNING, "BackOff", "it fails");
    recorder.flush().await;
    let lines = [
        "Normal Started web x1: it runs",
        "Warning BackOff api x1: it fails",
        "Warning BackOff web x3: it fails",
    ];
    assert_eq!(told(&store).await, lines);
    assert_eq!(recorder.lost(), 0);

    let events = store.list::<Event>(Some("shop")).await.unwrap();
    let event = events.iter().find(|event| event.count == Some(3)).unwrap();
    let source = event.source.clone().unwrap();
    assert_eq!((source.component.as_deref(), source.host.as_deref()), (Some("kubelet"), Some("C0w1")));
    assert_eq!(event.involved_object, pod("web"));
    assert!(event.metadata.name.as_deref().unwrap().starts_with("web."));
    assert_eq!(api::names::dns_subdomain(event.metadata.name.as_deref().unwrap()), [""; 0]);
}

#[tokio::test]
async fn a_counted_event_that_is_gone_is_told_anew() {
    let store = Store::memory();
    let recorder = Recorder::new(&store, "kubelet", "");
    recorder.event(&pod("web"), WARNING, "BackOff", "it fails");
    recorder.flush().await;
    store.delete(&store.list::<Event>(None).await.unwrap()[0]).await.unwrap();
    recorder.event(&pod("web"), WARNING, "BackOff", "it fails");
    recorder.flush().await;
    assert_eq!(told(&store).await, ["Warning BackOff web x2: it fails"]);
}

#[tokio::test]
async fn of_an_object_without_a_namespace_events_are_in_default() {
    let store = Store::memory();
    let recorder = Recorder::new(&store, "node-controller", "");
    let node = ObjectReference { name: Some("C0w1".into()), namespace: None, ..pod("x") };
    recorder.event(&node, NORMAL, "NodeNotReady", "gone");
    recorder.flush().await;
    assert_eq!(store.list::<Event>(Some("default")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_queue_loses_the_newest_and_says_so() {
    let store = Store::memory();
    let recorder = Recorder::new(&store, "kubelet", "");
    // On one thread the task does not run before this one waits.
    for i in 0..QUEUE + 5 {
        recorder.event(&pod(&format!("p{i}")), NORMAL, "Started", "it runs");
    }
    assert_eq!(recorder.lost(), 5);
    recorder.flush().await;
    assert_eq!(store.list::<Event>(None).await.unwrap().len(), QUEUE);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn event(message: &str) -> Event {
    let meta = ObjectMeta { name: Some(format!("web.{message}")), ..ObjectMeta::default() };
    Event {
        metadata: meta,
        involved_object: pod("web"),
        message: Some(message.into()),
        reason: Some("FailedScheduling".into()),
        type_: Some(WARNING.into()),
        count: Some(1),
        ..Event::default()
    }
}

fn said(write: Option<Write>) -> String {
    let one = |event: &Event| format!("{} x{}", event.message.clone().unwrap(), event.count.unwrap());
    match write {
        None => "nothing".into(),
        Some(Write::Create(event)) => format!("+ {}", one(&event)),
        Some(Write::Update(event)) => format!("= {}", one(&event)),
    }
}

#[test]
fn many_similar_events_become_one() {
    let mut correlator = Correlator::default();
    for i in 1..10 {
        assert_eq!(said(correlator.correlate(event(&i.to_string()), at(i))), format!("+ {i} x1"));
    }
    let combined = "(combined from similar events)";
    assert_eq!(said(correlator.correlate(event("10"), at(10))), format!("+ {combined}: 10 x1"));
    assert_eq!(said(correlator.correlate(event("11"), at(11))), format!("= {combined}: 11 x2"));
    assert_eq!(said(correlator.correlate(event("1"), at(12))), format!("= {combined}: 1 x3"));
    // After a long break they are told one by one again; the oldest is known.
    assert_eq!(said(correlator.correlate(event("1"), at(700))), "= 1 x2");
    assert_eq!(said(correlator.correlate(event("20"), at(701))), "+ 20 x1");
}

#[test]
fn of_one_object_not_too_much_is_told() {
    let mut correlator = Correlator::default();
    let mut tell = |second: i64| said(correlator.correlate(event("no"), at(second)));
    assert_eq!(tell(0), "+ no x1");
    for count in 2..=25 {
        assert_eq!(tell(0), format!("= no x{count}"));
    }
    assert_eq!(tell(1), "nothing");
    assert_eq!(tell(299), "nothing");
    // What was not told counts all the same.
    assert_eq!(tell(301), "= no x28");
    assert_eq!(tell(302), "nothing");
}

#[test]
fn the_caches_stay_small() {
    let mut correlator = Correlator::default();
    for i in 0..20_000 {
        let mut event = event("no");
        event.involved_object = pod(&i.to_string());
        assert_eq!(said(correlator.correlate(event, at(0))), "+ no x1");
    }
    let mut last = event("no");
    last.involved_object = pod("19999");
    assert_eq!(said(correlator.correlate(last, at(0))), "= no x2");
}

#[tokio::test]
async fn old_events_expire() {
    let store = Store::memory();
    for (name, told) in [("a", 0), ("b", 100), ("c", 200)] {
        let mut event = event(name);
        event.metadata.namespace = Some("shop".into());
        event.metadata.name = Some(name.into());
        event.last_timestamp = Some(Time(at(told)));
        event.metadata.creation_timestamp = Some(Time(at(0)));
        store.create(&mut event).await.unwrap();
    }
    assert_eq!(expire(&store, Duration::from_secs(100), at(200)).await.unwrap(), 1);
    let left: Vec<_> =
        store.list::<Event>(None).await.unwrap().into_iter().map(|e| e.metadata.name.unwrap()).collect();
    assert_eq!(left, ["b", "c"]);
    assert_eq!(expire(&store, TTL, at(200)).await.unwrap(), 0);
}
