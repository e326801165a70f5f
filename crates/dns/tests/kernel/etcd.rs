//! On a real etcd, which may be away.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::kinds;
use serde_json::json;
use store::Store;
use tempfile::TempDir;

use crate::lab::{Server, alone, fill, lookup, options, service, soon, until};

const URL: &str = "http://127.0.0.1:2379";

/// A cluster of one, in the namespace of the calling thread.
struct Etcd {
    /// On a file system in memory: an etcd on a disk is as slow as the disk.
    data: TempDir,
    child: Child,
}

impl Etcd {
    async fn start() -> (Self, Store) {
        let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let child = spawn(&data);
        let store = Store::etcd(&[URL.into()]).await.unwrap();
        let ready = async {
            while store.get_raw(&kinds::PODS, "default", "none").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("etcd is ready", ready).await;
        (Self { data, child }, store)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(&self.data);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(data: &TempDir) -> Child {
    // It must not outlive the test, whatever becomes of that.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "etcd", "--data-dir"])
        .arg(data.path())
        .args(["--listen-client-urls", URL, "--advertise-client-urls", URL])
        .args(["--heartbeat-interval", "10", "--election-timeout", "50"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv and etcd (packages util-linux and etcd-server)")
}

#[test]
fn while_etcd_is_away_it_answers_as_it_last_was() {
    alone(async {
        let (mut etcd, store) = Etcd::start().await;
        fill(&store).await;
        let server = Server::ready(&store, options()).await;
        until("web.shop.svc.cluster.local", "100.64.1.1").await;
        server.until(|ready, message| ready && message.is_empty()).await;
        etcd.kill();
        let message = server.until(|ready, message| ready && !message.is_empty()).await;
        assert!(message.starts_with("answers as it last knew: "), "{message}");
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        assert_eq!(lookup("nothing.shop.svc.cluster.local").await, "NXDomain");
        etcd.restart();
        server.until(|ready, message| ready && message.is_empty()).await;
        let mut web: api::types::api::core::v1::Service = store.get("shop", "web").await.unwrap().unwrap();
        web.spec.as_mut().unwrap().cluster_ips = Some(vec!["100.64.1.99".into()]);
        store.update(&mut web).await.unwrap();
        until("web.shop.svc.cluster.local", "100.64.1.99").await;
    });
}

#[test]
fn what_changes_while_it_cannot_hear_is_known_afterwards() {
    alone(async {
        let (mut etcd, store) = Etcd::start().await;
        fill(&store).await;
        let server = Server::ready(&store, options()).await;
        etcd.kill();
        server.until(|_, message| !message.is_empty()).await;
        // Another etcd, of which nothing of the old one is known.
        etcd.data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        etcd.restart();
        server.until(|ready, message| ready && message.is_empty()).await;
        until("web.shop.svc.cluster.local", "NXDomain").await;
        until("db.shop.svc.cluster.local", "NXDomain").await;
        until("shop.svc.cluster.local", "NXDomain").await;
    });
}

#[test]
fn what_is_no_object_is_passed_over() {
    alone(async {
        let (_etcd, store) = Etcd::start().await;
        fill(&store).await;
        let mut broken = json!({"metadata": {"name": "broken", "namespace": "shop"}, "spec": "nonsense"});
        store.create_raw(&kinds::SERVICES, &mut broken).await.unwrap();
        let _server = Server::ready(&store, options()).await;
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        // It goes on hearing of changes, and of further nonsense.
        let mut broken = json!({"metadata": {"name": "broken", "namespace": "shop"}, "ports": 7});
        store.create_raw(&kinds::ENDPOINT_SLICES, &mut broken).await.unwrap();
        let mut new = service("{metadata: {name: new, namespace: shop}, spec: {clusterIPs: [100.64.7.7]}}");
        store.create(&mut new).await.unwrap();
        until("new.shop.svc.cluster.local", "100.64.7.7").await;
        store.delete(&new).await.unwrap();
        until("new.shop.svc.cluster.local", "NXDomain").await;
    });
}
