//! Slices in tables, and what holds whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn service(ports: Value) -> Service {
    let spec = json!({"clusterIP": "100.64.0.1", "selector": {"app": "web"}, "ports": ports});
    let metadata = json!({"name": "web", "namespace": "default", "uid": "svc", "labels": {"team": "red"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn http() -> Service {
    service(json!([{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]))
}

fn pod(number: usize, fields: Value) -> Arc<Pod> {
    let name = format!("web-{number:05}");
    let ip = std::net::Ipv4Addr::from(0x0b0a_0000 + u32::try_from(number).unwrap()).to_string();
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{number}")},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    merge(&mut pod, &fields);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

fn not_ready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
}

fn node() -> Node {
    let labels = json!({"topology.kubernetes.io/zone": "z1"});
    serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap()
}

fn planned(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> SlicePlan {
    let node = node();
    let observed = Observed { service, pods: pods.iter().collect(), slices: slices.iter().collect() };
    plan(&observed, |name| (name == "n1").then_some(&node))
}

/// What is there after the plan.
fn after(
    mut slices: Vec<Arc<EndpointSlice>>,
    plan: &SlicePlan,
    names: &mut usize,
) -> Vec<Arc<EndpointSlice>> {
    slices.retain(|slice| !plan.delete.contains(slice));
    for update in &plan.update {
        let at = slices.iter().position(|slice| slice.name() == update.name()).unwrap();
        slices[at] = Arc::new(update.clone());
    }
    for create in &plan.create {
        let mut slice = create.clone();
        *names += 1;
        slice.metadata.name = Some(format!("web-{names}"));
        slices.push(Arc::new(slice));
    }
    slices
}

fn settled(service: &Service, pods: &[Arc<Pod>]) -> Vec<Arc<EndpointSlice>> {
    let slices = after(vec![], &planned(service, pods, &[]), &mut 0);
    assert!(planned(service, pods, &slices).is_empty(), "nothing is left to be done");
    slices
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    (0..count).map(|number| pod(number, json!({}))).collect()
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.len()).collect()
}

#[test]
fn a_pod_shows_as_upstream_shows_it() {
    let ready = |publish: bool| {
        let mut service = http();
        service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(publish);
        service
    };
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let mut deleting_not_ready = deleting.clone();
    merge(&mut deleting_not_ready, &not_ready());
    // Ready, serving, terminating.
    let table = [
        (json!({}), false, Some([true, true, false])),
        (not_ready(), false, Some([false, false, false])),
        (not_ready(), true, Some([true, false, false])),
        (deleting.clone(), false, Some([false, true, true])),
        (deleting, true, Some([true, true, true])),
        (deleting_not_ready, false, Some([false, false, true])),
        (json!({"status": {"phase": "Succeeded"}}), true, None),
        (json!({"status": {"phase": "Failed"}}), false, None),
        (json!({"status": {"podIP": "", "podIPs": null}}), true, None),
        (json!({"status": {"podIPs": null}}), false, Some([true, true, false])),
        (json!({"spec": {"nodeName": "gone"}}), false, None),
        (json!({"spec": {"nodeName": "gone"}}), true, Some([true, true, false])),
    ];
    for (fields, publish, expected) in table {
        let slices = settled(&ready(publish), &[pod(1, fields.clone())]);
        let said = slices[0].endpoints.first().map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap();
            [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap)
        });
        assert_eq!(said, expected, "{fields} {publish}");
    }
}

#[test]
fn a_slice_is_as_upstream_makes_it() {
    let mut service = http();
    service.spec.as_mut().unwrap().traffic_distribution = Some("PreferClose".into());
    let named = pod(7, json!({"spec": {"hostname": "seven", "subdomain": "web"}}));
    let slices = settled(&service, &[named]);
    let expected = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1", "generateName": "web-", "namespace": "default",
            "labels": {
                "team": "red", "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": "web", "uid": "svc",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": ["11.10.0.7"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "hostname": "seven", "nodeName": "n1", "zone": "z1", "hints": {"forZones": [{"name": "z1"}]},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-00007", "uid": "uid-7"},
        }],
    });
    assert_eq!(serde_json::to_value(slices[0].as_ref()).unwrap(), expected);
}

#[test]
fn one_changed_pod_rewrites_one_slice() {
    let service = http();
    let mut pods = pods(350);
    let mut slices = settled(&service, &pods);
    assert_eq!(sizes(&slices), [100, 100, 100, 50]);
    let mut names = 10;

    pods[120] = pod(120, not_ready());
    let plan = planned(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    slices = after(slices, &plan, &mut names);

    // One more goes where there is room, in the slice that is fullest and has it.
    pods.push(pod(350, json!({})));
    let plan = planned(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    slices = after(slices, &plan, &mut names);
    assert_eq!(sizes(&slices), [100, 100, 100, 51]);

    // One goes, another comes: the same slice.
    pods.remove(5);
    pods.push(pod(351, json!({})));
    let plan = planned(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    slices = after(slices, &plan, &mut names);
    assert_eq!(sizes(&slices), [100, 100, 100, 51]);

    // More than there is room for.
    pods.extend((400..460).map(|number| pod(number, json!({}))));
    let plan = planned(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (1, 0, 0));
    slices = after(slices, &plan, &mut names);
    assert_eq!(sizes(&slices), [100, 100, 100, 51, 60]);

    // A pod of the same name, as of a StatefulSet, is another one.
    pods[0] = pod(0, json!({"metadata": {"uid": "another"}, "status": {"podIPs": [{"ip": "11.99.0.1"}]}}));
    let plan = planned(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    assert_eq!(plan.update[0].endpoints[0].addresses, ["11.99.0.1"]);
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let service = http();
    let empty = settled(&service, &[]);
    assert_eq!(sizes(&empty), [0]);
    assert_eq!(empty[0].ports, Some(vec![]));
    // The first pod changes it, the last one that goes changes it back.
    let first = planned(&service, &pods(1), &empty);
    assert_eq!((first.create.len(), first.update.len(), first.delete.len()), (0, 1, 0));
    let slices = after(empty.clone(), &first, &mut 5);
    let none = planned(&service, &[], &slices);
    assert_eq!((none.create.len(), none.update.len(), none.delete.len()), (0, 1, 0));
    assert_eq!(after(slices, &none, &mut 5), empty);
}

#[test]
fn pods_that_serve_under_other_ports_have_slices_of_their_own() {
    let service = service(json!([
        {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"},
        {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
    ]));
    let port = |name: &str, number: u16| json!({"spec": {"containers": [{"name": "main", "ports": [{"name": name, "containerPort": number}]}]}});
    let pods = [
        pod(0, port("web", 8080)),
        pod(1, port("web", 9090)),
        pod(2, port("web", 8080)),
        pod(3, port("other", 1)),
    ];
    let said: Vec<_> = settled(&service, &pods)
        .iter()
        .map(|slice| {
            let ports = slice
                .ports
                .iter()
                .flatten()
                .map(|p| format!("{}:{}", p.name.clone().unwrap(), p.port.unwrap()));
            (ports.collect::<Vec<_>>().join(","), slice.endpoints.len())
        })
        .collect();
    let expected = [("dns:5353", 1), ("http:8080,dns:5353", 2), ("http:9090,dns:5353", 1)]
        .map(|(ports, n)| (ports.to_owned(), n));
    assert_eq!(said, expected);
}

#[test]
fn labels_follow_the_service_and_others_slices_go() {
    let mut service = http();
    let slices = settled(&service, &pods(150));
    service.metadata.labels = Some([("team".to_owned(), "blue".to_owned())].into());
    service.spec.as_mut().unwrap().cluster_ip = Some("None".into());
    let plan = planned(&service, &pods(150), &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 2, 0));
    let labels = plan.update[0].metadata.labels.clone().unwrap();
    assert_eq!((labels["team"].as_str(), labels["service.kubernetes.io/headless"].as_str()), ("blue", ""));

    // The service was deleted and made anew.
    service.metadata.uid = Some("another".into());
    let plan = planned(&service, &pods(150), &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (2, 0, 2));
}

#[test]
fn families_have_slices_of_their_own() {
    let mut service = http();
    service.spec.as_mut().unwrap().ip_families = Some(vec!["IPv4".into(), "IPv6".into()]);
    let both = pod(1, json!({"status": {"podIPs": [{"ip": "11.10.0.1"}, {"ip": "fd00::1"}]}}));
    let slices = settled(&service, &[both]);
    let said: Vec<_> = slices
        .iter()
        .map(|slice| (slice.address_type.as_str(), slice.endpoints[0].addresses[0].as_str()))
        .collect();
    assert_eq!(said, [("IPv4", "11.10.0.1"), ("IPv6", "fd00::1")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, changes and goes: each pod is in one slice, as it is now; none that is gone; no slice has
    /// too many; and when all is done there is nothing to do.
    #[test]
    fn slices_have_each_pod_once(steps in prop::collection::vec((0usize..260, 0usize..4, 1usize..130), 1..12)) {
        let service = http();
        let (mut there, mut slices, mut names): (BTreeMap<usize, Arc<Pod>>, Vec<_>, _) = Default::default();
        for (from, what, many) in steps {
            for number in from..from + many {
                match what {
                    0 => drop(there.insert(number, pod(number, json!({})))),
                    1 => drop(there.remove(&number)),
                    2 => drop(there.get_mut(&number).map(|one| *one = pod(number, not_ready()))),
                    _ => drop(there.get_mut(&number).map(|one| {
                        *one = pod(number, json!({"metadata": {"uid": format!("new-{number}")}}));
                    })),
                }
            }
            let pods: Vec<_> = there.values().cloned().collect();
            let plan = planned(&service, &pods, &slices);
            slices = after(slices, &plan, &mut names);
            let mut seen = BTreeSet::new();
            for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
                let target = endpoint.target_ref.clone().unwrap();
                let pod = there.values().find(|pod| Some(pod.name()) == target.name.as_deref());
                prop_assert!(pod.is_some_and(|pod| target.uid.as_deref() == Some(pod.uid())));
                let ready = pod.map(|pod| crate::pods::is_ready(pod));
                prop_assert_eq!(endpoint.conditions.as_ref().unwrap().ready, ready);
                prop_assert!(seen.insert(target.name));
            }
            prop_assert_eq!(seen.len(), there.len());
            prop_assert!(slices.iter().all(|slice| slice.endpoints.len() <= MOST));
            prop_assert!(planned(&service, &pods, &slices).is_empty());
        }
    }
}
