//! Changes that come together.

use std::sync::Arc;
use std::time::Duration;

use store::{ObjectName, Objects};
use tokio::time::{Instant, sleep, timeout};

use crate::plan::Cluster;
use crate::sources::Sources;

/// Changes come together: after the first, others are waited for.
const GATHER: Duration = Duration::from_millis(5);
/// If more than so many objects have changed, others are on their way: an nginx for a part of them would be gone
/// before it is of use, and those that came last would wait for it. Then changes are waited for until there is none
/// for a while, but not for ever.
const MANY: usize = 10;
const QUIET: Duration = Duration::from_millis(50);
const LONGEST_GATHER: Duration = Duration::from_millis(500);

/// Waits until the changes that have begun are there, to be planned together.
pub(crate) async fn gather(sources: &Sources, planned: &Cluster) {
    sleep(GATHER).await;
    if changes(planned, &sources.snapshot()) <= MANY {
        return;
    }
    let limit = Instant::now() + LONGEST_GATHER;
    while Instant::now() < limit && timeout(QUIET, sources.changed()).await.is_ok() {}
}

/// How many objects are others now, of the kinds that come in great numbers.
fn changes(before: &Cluster, now: &Cluster) -> usize {
    fn of<K>(before: &Objects<K>, now: &Objects<K>, same: impl Fn(&K, &K) -> bool) -> usize {
        let is_same = |name: &ObjectName, one: &Arc<K>| {
            before.get(name).is_some_and(|old| Arc::ptr_eq(old, one) || same(old, one))
        };
        let new = now.iter().filter(|(name, one)| !is_same(name, one)).count();
        new + before.keys().filter(|name| !now.contains_key(*name)).count()
    }
    // Statuses, which this controller writes itself, do not count.
    of(&before.ingresses, &now.ingresses, |a, b| {
        a.spec == b.spec && a.metadata.annotations == b.metadata.annotations
    }) + of(&before.http_routes, &now.http_routes, |a, b| {
        a.spec == b.spec && a.metadata.annotations == b.metadata.annotations
    }) + of(&before.node_ingresses, &now.node_ingresses, |a, b| a.spec == b.spec)
        + of(&before.services, &now.services, |a, b| a.spec == b.spec)
        + of(&before.slices, &now.slices, |_, _| false)
        + of(&before.secrets, &now.secrets, |_, _| false)
}

#[cfg(test)]
mod tests {
    use api::types::api::networking::v1::{Ingress, IngressSpec, IngressStatus};
    use store::Store;

    use super::*;

    fn ingress(n: usize) -> Ingress {
        let mut ingress = Ingress { spec: Some(IngressSpec::default()), ..Ingress::default() };
        (ingress.metadata.namespace, ingress.metadata.name) =
            (Some("default".into()), Some(format!("web-{n}")));
        ingress
    }

    async fn create(store: &Store, numbers: std::ops::Range<usize>) {
        for n in numbers {
            store.create(&mut ingress(n)).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_waited_for_and_one_is_not() {
        let (store, changed) = (Store::memory(), Arc::default());
        let mut sources = Sources::start(&store, "C0w1", changed);
        sources.complete().await;
        let planned = sources.snapshot();
        create(&store, 0..1).await;
        sources.changed().await;
        let began = Instant::now();
        gather(&sources, &planned).await;
        assert!(began.elapsed() < QUIET, "{:?}", began.elapsed());

        create(&store, 1..MANY + 1).await;
        let slow = async {
            for n in MANY + 1..MANY + 6 {
                sleep(QUIET / 2).await;
                create(&store, n..n + 1).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = gather(&sources, &planned) => {}
            () = slow => {}
        }
        assert_eq!(sources.snapshot().ingresses.len(), MANY + 6);

        // It has an end.
        let endless = async {
            for n in MANY + 6.. {
                sleep(QUIET / 2).await;
                create(&store, n..n + 1).await;
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = gather(&sources, &planned) => {}
            () = endless => {}
        }
        assert!(began.elapsed() < 2 * LONGEST_GATHER, "{:?}", began.elapsed());
    }

    #[test]
    fn statuses_are_no_changes() {
        let one = |n: usize, change: &dyn Fn(&mut Ingress)| {
            let mut ingress = ingress(n);
            change(&mut ingress);
            (ObjectName::of(&ingress.metadata), Arc::new(ingress))
        };
        let cluster = |objects: Vec<_>| Cluster {
            ingresses: Arc::new(objects.into_iter().collect()),
            ..Cluster::default()
        };
        let before = cluster(vec![one(0, &|_| {}), one(1, &|_| {})]);
        let told = one(0, &|ingress| ingress.status = Some(IngressStatus::default()));
        assert_eq!(changes(&before, &cluster(vec![told.clone(), one(1, &|_| {})])), 0);
        let annotated =
            one(1, &|ingress| ingress.metadata.annotations = Some([("a".into(), "b".into())].into()));
        assert_eq!(changes(&before, &cluster(vec![told, annotated])), 1);
        assert_eq!(changes(&before, &cluster(vec![one(2, &|_| {})])), 3);
    }
}
