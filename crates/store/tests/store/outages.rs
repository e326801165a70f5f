//! A reflector on a real etcd to which everything happens: what it tells is how things differ, no more and
//! no less, and while it is cut off it says so.

use std::time::Duration;

use api::types::api::core::v1::ConfigMap;
use store::{Changes, Reflector, Status, Store};
use tokio::sync::watch;

use crate::objects::{config, shown, told_up_to, value};
use crate::server::{Cable, Etcd, alone, soon, until_ok};

/// A reflector that has told of what is there.
async fn reflector(
    store: &Store,
    last: &str,
) -> (Reflector<ConfigMap>, Changes<ConfigMap>, watch::Receiver<Status>) {
    let reflector = Reflector::start(store, None);
    let mut changes = reflector.changes();
    soon("first sync", reflector.wait_synced()).await;
    told_up_to(&mut changes, last).await;
    let mut status = reflector.status();
    connected(&mut status).await;
    (reflector, changes, status)
}

async fn connected(status: &mut watch::Receiver<Status>) {
    soon("connected", status.wait_for(|status| status.connected && status.error.is_none())).await.unwrap();
}

/// Gives what it says.
async fn cut_off(status: &mut watch::Receiver<Status>) -> String {
    let status = soon("cut off", status.wait_for(|status| !status.connected)).await.unwrap().clone();
    assert!(status.synced, "the copy is still good for something");
    status.error.unwrap()
}

async fn create(store: &Store, name: &str, value: &str) {
    store.create(&mut config(name, value)).await.unwrap();
}

async fn change(store: &Store, name: &str, value: &str) {
    let data = config(name, value).data;
    store.modify("default", name, |object: &mut ConfigMap| object.data.clone_from(&data)).await.unwrap();
}

async fn delete(store: &Store, name: &str) {
    store.delete_raw(&api::kinds::CONFIG_MAPS, "default", name, None).await.unwrap();
}

/// Everything that can happen to objects while nobody looks.
async fn much_happens(store: &Store) {
    delete(store, "a").await;
    for i in 2..5 {
        change(store, "b", &i.to_string()).await;
    }
    delete(store, "c").await;
    create(store, "c", "new").await;
    create(store, "brief", "1").await;
    delete(store, "brief").await;
    create(store, "e", "1").await;
}

/// What is told of it, before `last` is: each difference once, nothing of what came and went.
fn much_told(last: &str) -> Vec<String> {
    ["-a=1", "b=1>b=4", "-c=1", "+c=new", "+e=1", last].map(String::from).into()
}

async fn four(store: &Store) {
    for name in ["a", "b", "c", "d"] {
        create(store, name, "1").await;
    }
}

#[test]
fn a_cut_cable() {
    alone(async {
        let server = Etcd::single().await;
        let (direct, mut cable) = (server.store().await, Cable::to(&server).await);
        four(&direct).await;
        let (reflector, mut changes, mut status) = reflector(&cable.store().await, "+d=1").await;
        cable.cut().await;
        let said = cut_off(&mut status).await;
        assert!(said.starts_with("etcd at http://127.0.0.1:12379: "), "{said}");
        much_happens(&direct).await;
        assert_eq!(reflector.snapshot().len(), 4, "as it last was");
        cable.mend().await;
        connected(&mut status).await;
        create(&direct, "last", "1").await;
        assert_eq!(told_up_to(&mut changes, "+last=1").await, much_told("+last=1"));
        same(&reflector, &direct).await;
    });
}

#[test]
fn one_object_alone_and_a_cut_cable() {
    alone(async {
        let server = Etcd::single().await;
        let (direct, mut cable) = (server.store().await, Cable::to(&server).await);
        four(&direct).await;
        create(&direct, "b0", "1").await;
        let reflector = Reflector::<ConfigMap>::start_one(&cable.store().await, "default", "b");
        let mut changes = reflector.changes();
        assert_eq!(told_up_to(&mut changes, "+b=1").await, ["+b=1"]);
        cable.cut().await;
        cut_off(&mut reflector.status()).await;
        much_happens(&direct).await;
        change(&direct, "b0", "2").await;
        cable.mend().await;
        assert_eq!(told_up_to(&mut changes, "b=1>b=4").await, ["b=1>b=4"]);
        change(&direct, "b0", "3").await;
        delete(&direct, "b").await;
        assert_eq!(told_up_to(&mut changes, "-b=4").await, ["-b=4"]);
    });
}

/// The copy is what is stored.
async fn same(reflector: &Reflector<ConfigMap>, store: &Store) {
    let stored: Vec<ConfigMap> = store.list(None).await.unwrap();
    let copied: Vec<ConfigMap> = reflector.list(None).iter().map(|object| ConfigMap::clone(object)).collect();
    assert_eq!(copied, stored);
}

#[test]
fn a_compaction_while_the_cable_is_cut() {
    alone(async {
        let server = Etcd::single().await;
        let (direct, mut cable) = (server.store().await, Cable::to(&server).await);
        four(&direct).await;
        let (reflector, mut changes, mut status) = reflector(&cable.store().await, "+d=1").await;
        for round in 0..3 {
            cable.cut().await;
            cut_off(&mut status).await;
            change(&direct, "d", &format!("round {round}")).await;
            delete(&direct, "b").await;
            let now = direct.list_as_of::<ConfigMap>(None).await.unwrap().revision;
            direct.compact(now).await.unwrap();
            cable.mend().await;
            connected(&mut status).await;
            create(&direct, "b", "again").await;
            let told = told_up_to(&mut changes, "+b=again").await;
            assert_eq!(told.len(), 3, "{told:?}");
            assert_eq!(told[0], if round == 0 { "-b=1" } else { "-b=again" });
        }
        same(&reflector, &direct).await;
    });
}

#[test]
fn a_killed_etcd_that_comes_back_with_its_data() {
    alone(async {
        let mut server = Etcd::single().await;
        let (direct, mut cable) = (server.store().await, Cable::to(&server).await);
        four(&direct).await;
        // One reflector is there when etcd comes back, the other one finds out later.
        let (near, mut near_changes, mut near_status) = reflector(&direct, "+d=1").await;
        let (far, mut far_changes, mut far_status) = reflector(&cable.store().await, "+d=1").await;
        server.kill();
        for status in [&mut near_status, &mut far_status] {
            cut_off(status).await;
        }
        let said = near_status.borrow().error.clone().unwrap();
        assert!(said.starts_with("etcd at http://127.0.0.1:2379: "), "{said}");
        cable.cut().await;
        server.restart();
        connected(&mut near_status).await;
        much_happens(&direct).await;
        server.kill();
        server.restart();
        server.ready().await;
        cable.mend().await;
        connected(&mut far_status).await;
        until_ok("written", || async { direct.create(&mut config("last", "1")).await }).await;
        assert_eq!(told_up_to(&mut far_changes, "+last=1").await, much_told("+last=1"));
        // The near one has seen every step, or their sum.
        let near_told = told_up_to(&mut near_changes, "+last=1").await;
        assert_eq!(near_told.iter().filter(|told| *told == "-a=1").count(), 1, "{near_told:?}");
        assert_eq!(near_told.iter().filter(|told| told.starts_with("-d")).count(), 0, "{near_told:?}");
        same(&near, &direct).await;
        same(&far, &direct).await;
    });
}

#[test]
fn an_etcd_that_has_lost_its_data() {
    alone(async {
        let mut server = Etcd::single().await;
        let direct = server.store().await;
        four(&direct).await;
        let (reflector, mut changes, mut status) = reflector(&direct, "+d=1").await;
        server.kill();
        cut_off(&mut status).await;
        server.restart_empty();
        server.ready().await;
        connected(&mut status).await;
        // Its revisions begin anew, so these have the numbers of others.
        create(&direct, "a", "9").await;
        create(&direct, "last", "1").await;
        let told = told_up_to(&mut changes, "+last=1").await;
        assert_eq!(told, ["-a=1", "-b=1", "-c=1", "-d=1", "+a=9", "+last=1"]);
        same(&reflector, &direct).await;
    });
}

#[test]
fn an_etcd_that_hangs() {
    alone(async {
        let server = Etcd::single().await;
        let direct = server.store().await;
        four(&direct).await;
        let (reflector, mut changes, mut status) = reflector(&direct, "+d=1").await;
        server.hang();
        let reading = soon("an answer", direct.get::<ConfigMap>("default", "a")).await.unwrap_err();
        assert_eq!(reading.to_string(), "etcd at http://127.0.0.1:2379 does not answer");
        let said = cut_off(&mut status).await;
        assert_eq!(said, "etcd at http://127.0.0.1:2379 does not answer");
        server.go_on();
        connected(&mut status).await;
        until_ok("written", || async { direct.create(&mut config("last", "1")).await }).await;
        assert_eq!(told_up_to(&mut changes, "+last=1").await, ["+last=1"]);
        same(&reflector, &direct).await;
    });
}

#[test]
fn a_lasting_silence_is_no_trouble() {
    alone(async {
        let server = Etcd::single().await;
        let direct = server.store().await;
        four(&direct).await;
        let (_reflector, mut changes, mut status) = reflector(&direct, "+d=1").await;
        // Longer than it takes to ask whether etcd is there, and to give up.
        let changed = tokio::time::timeout(Duration::from_secs(12), status.changed()).await;
        assert!(changed.is_err(), "{:?}", status.borrow());
        assert_eq!(status.borrow().lists, 1);
        create(&direct, "last", "1").await;
        assert_eq!(told_up_to(&mut changes, "+last=1").await, ["+last=1"]);
    });
}

#[test]
fn a_killed_leader_of_three() {
    alone(async {
        let mut members = Etcd::three().await;
        lead_first(&mut members).await;
        let endpoints: Vec<_> = members.iter().map(Etcd::url).collect();
        let store = Store::etcd(&endpoints).await.unwrap();
        four(&store).await;
        let (reflector, mut changes, mut status) = reflector(&store, "+d=1").await;
        members[0].kill();
        // Writers go on as soon as there is another leader.
        for i in 0..20 {
            let name = format!("w{i}");
            write(&store, &name).await;
        }
        connected(&mut status).await;
        write(&store, "last").await;
        let told = told_up_to(&mut changes, "+last=1").await;
        let expected: Vec<_> = (0..20).map(|i| format!("+w{i}=1")).chain(["+last=1".into()]).collect();
        let mut sorted = told.clone();
        // A relist tells in the order of names, a watch in that of time; each of them once.
        sorted.sort();
        let mut names = expected;
        names.sort();
        assert_eq!(sorted, names);
        same(&reflector, &store).await;
    });
}

/// Writes until it is written. An attempt that failed may have been done all the same.
async fn write(store: &Store, name: &str) {
    until_ok("written", || async {
        match store.create(&mut config(name, "1")).await {
            Err(store::Error::Exists { .. }) => Ok(()),
            result => result,
        }
    })
    .await;
}

async fn lead_first(members: &mut [Etcd]) {
    let leader = until_ok("a leader", || async {
        for (i, member) in members.iter().enumerate() {
            if member.leads().await {
                return Ok(i);
            }
        }
        Err("none")
    })
    .await;
    members.swap(0, leader);
}

/// It answers, but knows nothing new, and must not pretend that nothing changes.
#[test]
fn a_member_that_is_left_alone() {
    alone(async {
        let mut members = Etcd::three().await;
        lead_first(&mut members).await;
        let store = Store::etcd(&[members[1].url()]).await.unwrap();
        four(&store).await;
        let (reflector, mut changes, mut status) = reflector(&store, "+d=1").await;
        members[0].kill();
        members[2].kill();
        let said = cut_off(&mut status).await;
        assert!(said.starts_with("etcd at http://127.0.0."), "{said}");
        assert_eq!(reflector.snapshot().len(), 4);
        members[0].restart();
        connected(&mut status).await;
        write(&store, "last").await;
        assert_eq!(told_up_to(&mut changes, "+last=1").await, ["+last=1"]);
        same(&reflector, &store).await;
    });
}

#[test]
fn a_hanging_member_of_three() {
    alone(async {
        let mut members = Etcd::three().await;
        lead_first(&mut members).await;
        // One that follows, so that the others need not elect.
        members.swap(0, 1);
        let endpoints: Vec<_> = members.iter().map(Etcd::url).collect();
        let store = Store::etcd(&endpoints).await.unwrap();
        four(&store).await;
        let (reflector, mut changes, mut status) = reflector(&store, "+d=1").await;
        members[0].hang();
        // One answer is waited for in vain; then the next member is asked.
        let a: ConfigMap = soon("an answer", store.get("default", "a")).await.unwrap().unwrap();
        assert_eq!((shown(&a).as_str(), value(&a).as_str()), ("a=1", "1"));
        // The watch notices on its own, or has been told by others.
        soon("read again", status.wait_for(|status| status.lists > 1)).await.unwrap();
        connected(&mut status).await;
        write(&store, "last").await;
        assert_eq!(told_up_to(&mut changes, "+last=1").await, ["+last=1"]);
        same(&reflector, &store).await;
        members[0].go_on();
    });
}
