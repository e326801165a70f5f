//! Ingresses by hand.

use serde_json::json;

use super::site::{Site, at_site, get_at};

fn grp1(port: u16, paths: &[(&str, &str)]) -> serde_json::Value {
    let paths: Vec<_> =
        paths.iter().map(|(path, backend)| json!({"path": path, "backend": backend})).collect();
    json!({"apiVersion": "knetsim.dev/v1", "kind": "NodeIngress", "metadata": {"name": "grp1"},
           "spec": {"node": "C0w1", "port": port, "paths": paths}})
}

async fn until_pod(site: &Site, port: u16, path: &str, pod: &str) {
    site.until(&format!("port {port}, {path} from {pod}"), || async {
        match get_at(port, path).await {
            Ok(answer) if answer.pod() == pod => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[test]
fn paths_lead_to_addresses() {
    at_site(async |site| {
        site.pod("ic0", [100, 64, 11, 1]).await;
        site.pod("ic2", [100, 64, 11, 2]).await;
        site.start();
        site.put(grp1(8001, &[("/svc1", "100.64.11.1:8000"), ("/svc2", "100.64.11.2:8000")])).await;
        until_pod(site, 8001, "/svc1", "ic0").await;
        until_pod(site, 8001, "/svc2/x", "ic2").await;
        assert_eq!(get_at(8001, "/").await.unwrap().status, 404);
        site.until("its status", || async {
            let object = site.get_object("nodeingress", "", "grp1").await;
            if object["status"] == json!({"ready": true}) { Ok(()) } else { Err(object.to_string()) }
        })
        .await;

        // One of another node is none of this node's.
        let mut other = grp1(8003, &[("/", "100.64.11.1:8000")]);
        other["metadata"]["name"] = "other".into();
        other["spec"]["node"] = "C0w2".into();
        site.put(other).await;
        site.put(grp1(8002, &[("/svc1", "100.64.11.2:8000")])).await;
        until_pod(site, 8002, "/svc1", "ic2").await;
        for port in [8001, 8003] {
            site.until("a port that is nobody's", || async {
                match get_at(port, "/svc1").await {
                    Err(error) if error.contains("refused") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
        site.delete("nodeingress", "", "grp1").await;
        site.until("it is gone", || async {
            match get_at(8002, "/svc1").await {
                Err(error) if error.contains("refused") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    });
}

#[test]
fn ports_that_another_has() {
    at_site(async |site| {
        site.pod("ic0", [100, 64, 11, 1]).await;
        site.put(grp1(8001, &[("/svc1", "100.64.11.1:8000")])).await;
        for (name, port) in [("second", 8001), ("third", 80)] {
            let mut other = grp1(port, &[("/other", "100.64.11.1:8000")]);
            other["metadata"]["name"] = name.into();
            site.put(other).await;
        }
        site.start();
        until_pod(site, 8001, "/svc1", "ic0").await;
        let reasons = [
            ("second", "port 8001 is that of NodeIngress grp1"),
            ("third", "port 80 is that of Ingresses; take another"),
        ];
        for (name, message) in reasons {
            site.until("its status", || async {
                let object = site.get_object("nodeingress", "", name).await;
                let said = object["status"]["message"].as_str();
                if said == Some(message) { Ok(()) } else { Err(object.to_string()) }
            })
            .await;
        }
    });
}
