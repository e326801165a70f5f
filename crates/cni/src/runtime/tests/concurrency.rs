//! Who waits for whom.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::timeout;

use super::*;

/// Whether every beginning is followed by its own end.
fn one_by_one(log: &[String]) -> bool {
    log.chunks(2).all(|pair| match pair {
        [begin, end] => begin.strip_prefix("begin ") == end.strip_prefix("end "),
        _ => false,
    })
}

#[tokio::test]
async fn operations_of_a_container_come_one_after_the_other_in_all_networks() {
    let lab = Lab::new();
    let first = network("1.1.0", &["a", "b"]);
    let second = changed("1.1.0", &["a", "c"], |list| list["name"] = "other".into());
    let net1 = Attachment { ifname: "net1".into(), ..attachment("c1") };
    let eth0 = attachment("c1");
    let (a, b, c) =
        tokio::join!(lab.cni.add(&first, &eth0), lab.cni.add(&second, &net1), lab.cni.del(&first, &eth0));
    a.unwrap();
    b.unwrap();
    c.unwrap();
    assert!(one_by_one(&lab.cni.exec().log()), "{:?}", lab.cni.exec().log());
    // And in the order in which they were asked for.
    assert_eq!(lab.order(), ["ADD a", "ADD b", "ADD a", "ADD c", "DEL b", "DEL a"]);
}

#[tokio::test]
async fn containers_are_served_in_parallel() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a"]);
    // Each waits for the other inside the plugin: one after the other they would wait forever.
    let barrier = Arc::new(Barrier::new(2));
    for _ in 0..2 {
        lab.next("a", "ADD", Answer::Meet(barrier.clone()));
    }
    let (one, two) = (attachment("c1"), attachment("c2"));
    let both = async { tokio::join!(lab.cni.add(&network, &one), lab.cni.add(&network, &two)) };
    let (one, two) = timeout(Duration::from_secs(10), both).await.unwrap();
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn gc_is_alone_in_its_network() {
    let lab = Lab::new();
    let network = network("1.1.0", &["a", "b"]);
    lab.cni.add(&network, &attachment("old")).await.unwrap();
    let (one, two, old) = (attachment("c1"), attachment("c2"), attachment("old"));
    let (add, gc, del, late) = tokio::join!(
        lab.cni.add(&network, &one),
        lab.cni.gc(&network, &[]),
        lab.cni.del(&network, &old),
        lab.cni.add(&network, &two),
    );
    add.unwrap();
    gc.unwrap();
    del.unwrap();
    late.unwrap();
    let order = lab.order();
    let gc: Vec<usize> = (0..order.len()).filter(|i| order[*i].starts_with("GC")).collect();
    assert_eq!(gc, [6, 7], "{order:?}");
    // What came before has ended by then, and what came after has not begun: the DELs are GC's own.
    assert_eq!(order[..6], ["ADD a", "ADD b", "ADD a", "ADD b", "DEL b", "DEL a"]);
    assert_eq!(order[8..].len(), 4, "{order:?}");
}

#[tokio::test]
async fn gc_of_one_network_does_not_wait_for_another() {
    let lab = Lab::new();
    let first = network("1.1.0", &["a"]);
    let other = changed("1.1.0", &["b"], |list| list["name"] = "other".into());
    let barrier = Arc::new(Barrier::new(2));
    lab.next("a", "ADD", Answer::Meet(barrier.clone()));
    lab.next("b", "GC", Answer::Meet(barrier));
    let container = attachment("c1");
    let both = async { tokio::join!(lab.cni.add(&first, &container), lab.cni.gc(&other, &[])) };
    let (added, collected) = timeout(Duration::from_secs(10), both).await.unwrap();
    added.unwrap();
    collected.unwrap();
}

#[tokio::test]
async fn gc_waits_for_a_container_that_another_network_works_on() {
    let lab = Lab::new();
    let first = network("1.1.0", &["a"]);
    let other = changed("1.1.0", &["b"], |list| list["name"] = "other".into());
    lab.cni.add(&other, &Attachment { ifname: "net1".into(), ..attachment("c1") }).await.unwrap();
    let container = attachment("c1");
    let (added, collected) = tokio::join!(lab.cni.add(&first, &container), lab.cni.gc(&other, &[]));
    added.unwrap();
    collected.unwrap();
    assert!(one_by_one(&lab.cni.exec().log()), "{:?}", lab.cni.exec().log());
    assert_eq!(lab.order(), ["ADD b", "ADD a", "DEL b", "GC b"]);
}
