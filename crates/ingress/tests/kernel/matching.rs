//! Which path of which host takes a request: the specification's tables, and nginx against the model.

use std::collections::BTreeSet;

use api::types::api::networking::v1::Ingress;
use ingress::model::{Action, Choice};
use ingress::plan::{Except, plan};
use ingress::{Cluster, Settings};
use serde_json::json;
use store::ObjectName;

use super::site::{Site, at_site, get};

/// The table of <https://kubernetes.io/docs/concepts/services-networking/ingress/#examples>: paths of one
/// Ingress, as `type path`, what is asked for, and the number of the path that takes it.
const EXAMPLES: &[(&[&str], &[&str], Option<usize>)] = &[
    (&["Prefix /"], &["/", "/a", "/a/b/c"], Some(0)),
    (&["Exact /foo"], &["/foo"], Some(0)),
    (&["Exact /foo"], &["/bar"], None),
    (&["Exact /foo"], &["/foo/"], None),
    (&["Exact /foo/"], &["/foo"], None),
    (&["Prefix /foo"], &["/foo", "/foo/"], Some(0)),
    (&["Prefix /foo/"], &["/foo", "/foo/"], Some(0)),
    (&["Prefix /aaa/bb"], &["/aaa/bbb"], None),
    (&["Prefix /aaa/bbb"], &["/aaa/bbb"], Some(0)),
    (&["Prefix /aaa/bbb/"], &["/aaa/bbb"], Some(0)),
    (&["Prefix /aaa/bbb"], &["/aaa/bbb/"], Some(0)),
    (&["Prefix /aaa/bbb"], &["/aaa/bbb/ccc"], Some(0)),
    (&["Prefix /aaa/bbb"], &["/aaa/bbbxyz"], None),
    (&["Prefix /", "Prefix /aaa"], &["/aaa/ccc"], Some(1)),
    (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], &["/aaa/bbb"], Some(2)),
    (&["Prefix /", "Prefix /aaa", "Prefix /aaa/bbb"], &["/ccc"], Some(0)),
    (&["Prefix /aaa"], &["/ccc"], None),
    (&["Prefix /foo", "Exact /foo"], &["/foo"], Some(1)),
    // And what the text says: case counts, and the implementation's own type is taken for a prefix.
    (&["Prefix /Foo", "Exact /Bar"], &["/foo", "/bar", "/FOO"], None),
    (&["ImplementationSpecific /foo"], &["/foo", "/foo/x"], Some(0)),
    (&["ImplementationSpecific /foo"], &["/food"], None),
];

/// Paths with their backends: `service-0`, `service-1`, ….
fn ingress(name: &str, host: &str, paths: impl Iterator<Item = (String, String)>) -> serde_json::Value {
    let paths: Vec<_> = paths
        .map(|(path, service)| {
            let (kind, path) = path.split_once(' ').unwrap();
            json!({"pathType": kind, "path": path,
                   "backend": {"service": {"name": service, "port": {"name": "http"}}}})
        })
        .collect();
    let mut rule = json!({"http": {"paths": paths}});
    if !host.is_empty() {
        rule["host"] = host.into();
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
           "metadata": {"name": name, "namespace": "default"}, "spec": {"rules": [rule]}})
}

async fn services(site: &mut Site, count: u8) {
    for i in 0..count {
        site.pod(&format!("service-{i}"), [11, 10, 0, 2 + i]).await;
        site.service(&format!("service-{i}"), 80, &[&format!("service-{i}")]).await;
    }
}

#[test]
fn the_examples_of_the_specification() {
    at_site(async |site| {
        services(site, 3).await;
        for (i, (paths, ..)) in EXAMPLES.iter().enumerate() {
            let backends = (0..).map(|i| format!("service-{i}"));
            let paths = paths.iter().map(ToString::to_string).zip(backends);
            site.put(ingress(&format!("example-{i}"), &format!("{i}.example.com"), paths)).await;
        }
        site.start();
        site.until_from("0.example.com", "/", &["service-0"]).await;
        for (i, (paths, asked, expected)) in EXAMPLES.iter().enumerate() {
            for path in *asked {
                let answer = get(&format!("{i}.example.com"), path).await.unwrap();
                let expected = expected.map(|i| format!("service-{i}"));
                let found = Some(answer.pod().to_owned()).filter(|_| answer.status == 200);
                assert_eq!(found, expected, "{path} of {paths:?}");
            }
        }
    });
}

/// Every path of up to three short elements, with and without a slash at its end.
fn paths() -> Vec<String> {
    let elements = ["a", "ab", "b"];
    let mut paths = vec![String::new()];
    for depth in 1..=3 {
        let longer = |path: &String| elements.map(|element| format!("{path}/{element}"));
        let parents: Vec<_> = paths.iter().filter(|path| path.matches('/').count() == depth - 1).collect();
        let children: Vec<_> = parents.into_iter().flat_map(longer).collect();
        paths.extend(children);
    }
    paths.iter().flat_map(|path| [path.clone(), format!("{path}/")]).filter(|path| !path.is_empty()).collect()
}

#[test]
fn nginx_decides_as_the_model_says() {
    const SERVICES: u8 = 7;
    let hosts = ["", "x.test", "*.x.test", "y.x.test"];
    let asked = ["x.test", "y.x.test", "z.x.test", "z.y.x.test", "X.TEST", "other"];
    at_site(async |site| {
        services(site, SERVICES).await;
        let mut cluster = Cluster::default();
        // Not all of them, and by no rule.
        let mut chance = 1u32;
        for (i, host) in hosts.iter().enumerate() {
            let kinds = ["Exact", "Prefix"];
            let all = paths().into_iter().flat_map(|path| kinds.map(|kind| format!("{kind} {path}")));
            let some: BTreeSet<String> = all
                .filter(|_| {
                    chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    chance >> 30 == 0
                })
                .collect();
            let backends = (0..SERVICES).cycle().map(|i| format!("service-{i}"));
            let document = ingress(&format!("ingress-{i}"), host, some.into_iter().zip(backends));
            site.put(document.clone()).await;
            let object: Ingress = serde_json::from_value(document).unwrap();
            let name = ObjectName::of(&object.metadata);
            std::sync::Arc::make_mut(&mut cluster.ingresses).insert(name, object.into());
        }
        cluster.services = snapshot(site).await;
        cluster.slices = snapshot(site).await;
        let plan = plan(&cluster, &Settings::new("C0w1"), &Except::default());
        site.start();
        site.until("nginx serves", || async { get("other", "/").await }).await;
        let mut taken = 0;
        for host in asked {
            for path in paths().iter().map(String::as_str).chain(["/", "/ac", "/a/a/a/a", "/a//b"]) {
                let answer = get(host, path).await.unwrap();
                // nginx takes several slashes for one.
                let found = plan.model.find(80, host, &path.replace("//", "/"));
                let expected = found.map(|(_, _, location)| match &location.cases[0].action {
                    Action::Proxy { to: Choice::Upstream(name), .. } => name.clone(),
                    other => panic!("{other:?}"),
                });
                let said = (answer.status == 200).then(|| format!("default.{}.80", answer.pod()));
                assert_eq!(said, expected, "{host}{path}: {answer:?}");
                taken += usize::from(expected.is_some());
            }
        }
        assert!(taken > 100, "the test asks for what is there: {taken}");
    });
}

async fn snapshot<K: store::Object + Clone>(site: &Site) -> std::sync::Arc<store::Objects<K>> {
    let all = site.store.list::<K>(None).await.unwrap();
    let all = all.into_iter().map(|object| (ObjectName::of(object.metadata()), object.into()));
    std::sync::Arc::new(all.collect())
}
