use super::*;

fn valid(containers: &[&str]) -> Vec<(String, String)> {
    containers.iter().map(|container| ((*container).to_owned(), "eth0".to_owned())).collect()
}

async fn with_containers(network: &NetworkList, containers: &[&str]) -> Lab {
    let lab = Lab::new();
    for container in containers {
        lab.cni.add(network, &attachment(container)).await.unwrap();
    }
    lab
}

#[tokio::test]
async fn gc_deletes_what_is_stale_then_tells_every_plugin_what_is_valid() {
    let network = network("1.1.0", &["a", "b"]);
    let lab = with_containers(&network, &["c1", "c2", "c3"]).await;
    lab.cni.gc(&network, &valid(&["c2"])).await.unwrap();
    assert_eq!(lab.order()[6..], ["DEL b", "DEL a", "DEL b", "DEL a", "GC a", "GC b"]);
    let dels: Vec<String> = lab.calls("DEL").iter().map(|call| call.variable("CNI_CONTAINERID")).collect();
    assert_eq!(dels, ["c1", "c1", "c3", "c3"]);
    assert_eq!(lab.calls("DEL")[0].config["prevResult"]["cniVersion"], "1.1.0");
    assert_eq!(lab.calls("DEL")[0].variable("CNI_NETNS"), "/run/netns/c1");
    let call = &lab.calls("GC")[0];
    assert_eq!(call.config["cni.dev/valid-attachments"], json!([{"containerID": "c2", "ifname": "eth0"}]));
    assert_eq!(call.environment.keys().collect::<Vec<_>>(), ["CNI_COMMAND", "CNI_PATH"]);
    assert!(lab.cached("c1").is_none() && lab.cached("c2").is_some());
}

#[tokio::test]
async fn gc_leaves_other_networks_and_interfaces_alone() {
    let network = network("1.1.0", &["a"]);
    let other = changed("1.1.0", &["a"], |list| list["name"] = "other".into());
    let lab = with_containers(&other, &["c1"]).await;
    let net1 = Attachment { ifname: "net1".into(), ..attachment("c1") };
    lab.cni.add(&network, &net1).await.unwrap();
    lab.cni.gc(&network, &valid(&["c1"])).await.unwrap();
    let names: Vec<_> =
        lab.cni.attachments().unwrap().into_iter().map(|c| (c.network, c.attachment.ifname)).collect();
    assert_eq!(names, [("other".into(), "eth0".into())]);
}

#[tokio::test]
async fn before_1_1_0_gc_only_deletes_what_is_stale() {
    let network = network("0.4.0", &["a"]);
    let lab = with_containers(&network, &["c1"]).await;
    lab.cni.gc(&network, &[]).await.unwrap();
    assert_eq!(lab.order(), ["ADD a", "DEL a"]);
}

#[tokio::test]
async fn gc_can_be_forbidden() {
    let network = changed("1.1.0", &["a"], |list| list["disableGC"] = true.into());
    let lab = with_containers(&network, &["c1"]).await;
    lab.cni.gc(&network, &[]).await.unwrap();
    assert_eq!(lab.order(), ["ADD a"]);
}

#[tokio::test]
async fn gc_goes_on_past_failures_and_tells_them_all() {
    let network = network("1.1.0", &["a", "b"]);
    let lab = with_containers(&network, &["c1", "c2"]).await;
    lab.next("b", "DEL", Answer::Error(5, "stuck".into()));
    lab.next("a", "GC", Answer::Exit(2, String::new(), "oops".into()));
    let error = lab.cni.gc(&network, &[]).await.unwrap_err();
    assert_eq!(lab.order()[4..], ["DEL b", "DEL b", "DEL a", "GC a", "GC b"]);
    let Error::Gc { failures, .. } = &error else { panic!("{error}") };
    assert_eq!((failures.len(), failures[0].code()), (2, Some(Code::Io)));
    let text = error.to_string();
    assert!(text.starts_with("network dbnet: garbage collection: ") && text.contains("oops"), "{text}");
    assert!(lab.cached("c1").is_some() && lab.cached("c2").is_none());
}

#[tokio::test]
async fn what_is_attached_while_gc_waits_counts_as_valid() {
    let network = network("1.1.0", &["a"]);
    let lab = with_containers(&network, &["c1"]).await;
    // GC is called while the ADD is on its way, and cannot know of it.
    let new = attachment("c2");
    let (added, collected) = tokio::join!(lab.cni.add(&network, &new), lab.cni.gc(&network, &[]));
    added.unwrap();
    collected.unwrap();
    assert!(lab.cached("c1").is_none() && lab.cached("c2").is_some());
    let told = &lab.calls("GC")[0].config["cni.dev/valid-attachments"];
    assert_eq!(told, &json!([{"containerID": "c2", "ifname": "eth0"}]));
}
