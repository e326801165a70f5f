//! What must be true whatever fails in the middle.

use std::time::Duration;

use api::types::api::apps::v1::ReplicaSet;
use api::types::api::core::v1::Pod;
use tokio::time::sleep;

use crate::lab::{Lab, is_deleting, nginx};
use crate::server::{Etcd, alone};

fn image(document: &mut serde_json::Value, image: &str) {
    document["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
}

/// Pods that are and stay there.
async fn pods(lab: &Lab) -> Vec<Pod> {
    lab.list::<Pod>().await.into_iter().filter(|pod| !is_deleting(pod)).collect()
}

#[test]
fn a_control_plane_that_is_killed_again_and_again_goes_on_where_it_was() {
    alone(async {
        let etcd = Etcd::single().await;
        let mut lab = Lab::start(etcd.store().await, 3).await;
        lab.create(nginx(30)).await;
        lab.rolled_out("nginx-deployment").await;
        lab.edit("nginx-deployment", |document| image(document, "nginx:1.16.1")).await;
        let mut most = 0;
        for delay in [3, 30, 60, 10, 90, 20] {
            sleep(Duration::from_millis(delay)).await;
            lab.stop();
            most = most.max(pods(&lab).await.len());
            lab.go();
        }
        lab.rolled_out("nginx-deployment").await;
        assert!(most <= 38, "{most} pods, of 30 and a quarter more");
        assert_eq!(pods(&lab).await.len(), 30);
        let sizes: Vec<_> =
            lab.list::<ReplicaSet>().await.iter().map(|set| set.spec.as_ref().unwrap().replicas).collect();
        assert!(sizes.len() == 2 && sizes.contains(&Some(0)) && sizes.contains(&Some(30)), "{sizes:?}");
    });
}

#[test]
fn an_etcd_that_is_killed_in_the_middle_loses_nothing() {
    alone(async {
        let mut etcd = Etcd::single().await;
        let lab = Lab::start(etcd.store().await, 3).await;
        lab.create(nginx(5)).await;
        lab.rolled_out("nginx-deployment").await;
        for (delay, replicas) in [(5, 60), (50, 20), (150, 80)] {
            lab.scale("nginx-deployment", replicas).await;
            sleep(Duration::from_millis(delay)).await;
            etcd.kill();
            etcd.restart();
            etcd.ready().await;
            lab.rolled_out("nginx-deployment").await;
            assert_eq!(pods(&lab).await.len(), replicas);
        }
    });
}
