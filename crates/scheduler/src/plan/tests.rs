//! Where pods go, in tables.

use std::sync::Arc;

use api::types::api::core::v1::{Namespace, Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, fields: Value) -> Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    merge(&mut node, &fields);
    serde_json::from_value(node).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// A pod with labels `app: <the name up to a dash>`.
fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let app = name.split('-').next().unwrap();
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "main"}]},
    });
    merge(&mut pod["spec"], &spec);
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value::<Pod>(pod).unwrap())))
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]})
}

fn cluster(nodes: Vec<Node>, pods: &[(&str, Arc<PodInfo>)]) -> Cache {
    let mut cache = Cache::default();
    nodes.into_iter().for_each(|node| cache.set_node(Arc::new(node)));
    pods.iter().for_each(|(node, pod)| cache.set_pod(pod.clone(), node));
    cache
}

fn three() -> Vec<Node> {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    vec![node("n1", zone("a")), node("n2", zone("a")), node("n3", zone("b"))]
}

fn goes(pod: &PodInfo, cache: &Cache) -> String {
    goes_with(pod, cache, "")
}

fn goes_with(pod: &PodInfo, cache: &Cache, application: &str) -> String {
    match place(pod, cache, &application.parse().unwrap(), 0) {
        Ok(node) => node.name().into(),
        Err(unplaced) => unplaced.to_string(),
    }
}

#[test]
fn reasons_are_told_in_upstreams_words() {
    let taint =
        json!({"spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}});
    let nodes = vec![node("n1", taint), node("n2", json!({})), node("n3", json!({}))];
    assert_eq!(
        goes(&pod("web", asks("5")), &cluster(nodes, &[])),
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 2 \
         Insufficient cpu."
    );
    assert_eq!(goes(&pod("web", json!({})), &cluster(vec![], &[])), "no nodes available to schedule pods");

    let ports = |port: u16| json!({"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": port}]}]});
    let full = json!({"status": {"allocatable": {"pods": "1", "cpu": "1"}}});
    let nodes = vec![
        node("n1", json!({"spec": {"unschedulable": true}})),
        node("n2", json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}})),
        node("n3", full),
        node("n4", json!({})),
        node("n5", json!({"metadata": {"labels": {"disk": "slow"}}})),
    ];
    let there = [("n3", pod("a", asks("1"))), ("n4", pod("b", ports(80)))];
    let mut spec = ports(80);
    merge(
        &mut spec,
        &json!({"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}],
        "resources": {"requests": {"cpu": "500m"}}}]}),
    );
    spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}],
    }}});
    assert_eq!(
        goes(&pod("web", spec), &cluster(nodes, &there)),
        "0/5 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) didn't have free ports for the \
         requested pod ports, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated \
         taint {gpu: yes}, 1 node(s) were unschedulable."
    );
}

fn affinity(kind: &str, terms: Value) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

fn near(app: &str, key: &str) -> Value {
    json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}])
}

#[test]
fn pods_are_near_to_those_they_want() {
    let db = [("n3", pod("db", json!({})))];
    let wants = |key: &str| pod("web", affinity("podAffinity", near("db", key)));
    assert_eq!(goes(&wants("kubernetes.io/hostname"), &cluster(three(), &db)), "n3");
    let refused = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
    assert_eq!(goes(&wants("kubernetes.io/hostname"), &cluster(three(), &[])), refused);
    assert_eq!(goes(&wants("rack"), &cluster(three(), &db)), refused, "no node has the label");
    // In a zone of its own, the emptier node.
    let db = [("n1", pod("db", json!({})))];
    assert_eq!(goes(&wants("zone"), &cluster(three(), &db)), "n2");
    // The first one of those that want to be together has nobody to be near to.
    let first = pod("web-1", affinity("podAffinity", near("web", "zone")));
    assert_eq!(goes(&first, &cluster(three(), &[])), "n1");
    let second = pod("web-2", affinity("podAffinity", near("web", "zone")));
    assert_eq!(goes(&second, &cluster(three(), &[("n3", first)])), "n3");
}

#[test]
fn pods_are_apart_from_those_they_do_not_want() {
    let alone = |name: &str| pod(name, affinity("podAntiAffinity", near("web", "kubernetes.io/hostname")));
    let there = [("n1", alone("web-1")), ("n2", alone("web-2"))];
    assert_eq!(goes(&alone("web-3"), &cluster(three(), &there)), "n3");
    let full = [("n1", alone("web-1")), ("n2", alone("web-2")), ("n3", alone("web-3"))];
    assert_eq!(
        goes(&alone("web-4"), &cluster(three(), &full)),
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    );
    // Those that are there do not want it, though it does not mind.
    assert_eq!(
        goes(&pod("web-5", json!({})), &cluster(three(), &full)),
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    // Of one zone.
    let zone = |name: &str| pod(name, affinity("podAntiAffinity", near("web", "zone")));
    assert_eq!(goes(&zone("web-2"), &cluster(three(), &[("n1", zone("web-1"))])), "n3");
}

#[test]
fn terms_reach_as_far_as_their_namespaces() {
    let other = |namespace: &str| {
        let pod = json!({"metadata": {"name": "db", "namespace": namespace, "labels": {"app": "db"}},
            "spec": {"containers": []}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value::<Pod>(pod).unwrap())))
    };
    let mut cache = cluster(three(), &[("n2", other("shop"))]);
    let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "red"}}});
    cache.set_namespace(&serde_json::from_value::<Namespace>(namespace).unwrap());
    let base =
        json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let refused = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
    let table = [
        (json!({}), refused),
        (json!({"namespaces": ["shop"]}), "n2"),
        (json!({"namespaces": ["default"]}), refused),
        (json!({"namespaceSelector": {}}), "n2"),
        (json!({"namespaceSelector": {"matchLabels": {"team": "red"}}}), "n2"),
        (json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}}), refused),
    ];
    for (reach, expected) in table {
        let mut term = base.clone();
        merge(&mut term, &reach);
        let web = pod("web", affinity("podAffinity", json!([term])));
        assert_eq!(goes(&web, &cache), expected, "{reach}");
    }
}

fn spread(key: &str, when: &str, more: Value) -> Value {
    let mut constraint = json!({
        "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    merge(&mut constraint, &more);
    json!({"topologySpreadConstraints": [constraint]})
}

#[test]
fn spread_constraints_hold() {
    let hard = |more: Value| pod("web-9", spread("zone", "DoNotSchedule", more));
    let web = |number: u8| pod(&format!("web-{number}"), json!({}));
    let one = [("n1", web(1))];
    assert_eq!(goes(&hard(json!({})), &cluster(three(), &one)), "n3");
    assert_eq!(goes(&hard(json!({"maxSkew": 2})), &cluster(three(), &one)), "n2");
    let skewed = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match pod topology spread \
                  constraints.";
    let full = [("n1", web(1)), ("n3", pod("x", asks("4")))];
    let mut spec = spread("zone", "DoNotSchedule", json!({}));
    merge(&mut spec, &asks("1"));
    assert_eq!(goes(&pod("web-9", spec), &cluster(three(), &full)), skewed);
    // Two zones are fewer than three, so the least is none.
    let three_domains = hard(json!({"minDomains": 3}));
    let even = [("n1", web(1)), ("n3", web(2))];
    assert_eq!(
        goes(&three_domains, &cluster(three(), &even)),
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints."
    );
    assert_eq!(
        goes(&pod("web", spread("rack", "DoNotSchedule", json!({}))), &cluster(three(), &[])),
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required \
         label)."
    );
}

#[test]
fn nodes_that_are_out_of_reach_do_not_count_if_so_wanted() {
    let mut nodes = three();
    nodes[2] = node(
        "n3",
        json!({"metadata": {"labels": {"zone": "b"}},
        "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}),
    );
    let there = [("n1", pod("web-1", json!({})))];
    let hard = |more: Value| pod("web-9", spread("zone", "DoNotSchedule", more));
    let skewed = "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: }, 2 node(s) didn't match pod \
                  topology spread constraints.";
    assert_eq!(goes(&hard(json!({})), &cluster(nodes.clone(), &there)), skewed);
    assert_eq!(goes(&hard(json!({"nodeTaintsPolicy": "Honor"})), &cluster(nodes, &there)), "n2");

    let mut only_a = spread("zone", "DoNotSchedule", json!({}));
    only_a["nodeSelector"] = json!({"zone": "a"});
    assert_eq!(goes(&pod("web-9", only_a.clone()), &cluster(three(), &there)), "n2");
    only_a["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = "Ignore".into();
    let refused = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) \
                   didn't match pod topology spread constraints.";
    assert_eq!(goes(&pod("web-9", only_a), &cluster(three(), &there)), refused);
}

#[test]
fn replicas_of_one_application_are_spread_without_being_asked() {
    let mut cache = cluster(three(), &[]);
    let mut seen = Vec::new();
    for number in 0..6 {
        let web = pod(&format!("web-{number}"), json!({}));
        let node = goes_with(&web, &cache, "app=web");
        cache.set_pod(web, &node);
        seen.push(node);
    }
    assert_eq!(seen, ["n1", "n2", "n3", "n1", "n2", "n3"]);
    // n1 has more free, but has all the replicas.
    let there =
        [("n1", pod("web-1", json!({}))), ("n2", pod("x", asks("1"))), ("n3", pod("y", asks("1500m")))];
    assert_eq!(goes_with(&pod("web-2", json!({})), &cluster(three(), &there), "app=web"), "n2");
    assert_eq!(goes(&pod("web-2", json!({})), &cluster(three(), &there)), "n1");
}

#[test]
fn preferences_decide_among_those_that_will_do() {
    let mut nodes = three();
    nodes[0] = node("n1", json!({"spec": {"taints": [{"key": "old", "effect": "PreferNoSchedule"}]}}));
    assert_eq!(goes(&pod("web", json!({})), &cluster(nodes, &[])), "n2");

    let zone = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}},
    ]}}});
    assert_eq!(goes(&pod("web", zone), &cluster(three(), &[])), "n3");

    let weighted = |kind: &str| {
        let term =
            json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
        json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": term},
        ]}}})
    };
    let db = [("n2", pod("db", json!({})))];
    assert_eq!(goes(&pod("web", weighted("podAffinity")), &cluster(three(), &db)), "n2");
    let db = [("n1", pod("db", json!({})))];
    assert_eq!(goes(&pod("web", weighted("podAntiAffinity")), &cluster(three(), &db)), "n2");
    // A running pod's wishes count as well.
    let wishing = [
        ("n3", pod("x", affinity("podAffinity", near("web", "kubernetes.io/hostname")))),
        ("n3", pod("db", json!({}))),
    ];
    assert_eq!(goes(&pod("web", json!({})), &cluster(three(), &wishing)), "n3");

    let soft = pod("web-9", spread("zone", "ScheduleAnyway", json!({})));
    let there = [("n1", pod("web-1", json!({}))), ("n2", pod("web-2", json!({})))];
    assert_eq!(goes(&soft, &cluster(three(), &there)), "n3");
}

#[test]
fn large_clusters_are_looked_at_in_parts() {
    assert_eq!([1, 99, 100, 1000, 5000, 10_000].map(enough), [1, 99, 100, 420, 500, 500]);
    let nodes: Vec<_> = (0..300).map(|i| node(&format!("n{i:03}"), json!({}))).collect();
    let cache = cluster(nodes, &[]);
    let nothing = Selector::default();
    let turn = |turn: usize| place(&pod("web", json!({})), &cache, &nothing, turn).unwrap().name().to_owned();
    assert_eq!([turn(0), turn(1), turn(2)], ["n000", "n144", "n000"]);
}

proptest! {
    /// However pods ask, no node gets more than it has, and nothing is refused that would fit somewhere.
    #[test]
    fn no_node_gets_more_than_it_has(asked in prop::collection::vec((0i64..3000, 0i64..6), 1..60)) {
        let mut cache = cluster(three(), &[]);
        for (number, (cpu, memory)) in asked.into_iter().enumerate() {
            let requests = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Gi")});
            let spec = json!({"containers": [{"name": "main", "resources": {"requests": requests}}]});
            let pod = pod(&format!("p-{number}"), spec);
            match place(&pod, &cache, &Selector::default(), number) {
                Ok(node) => {
                    let node = node.name().to_owned();
                    cache.set_pod(pod, &node);
                }
                Err(_) => prop_assert!(cache.nodes().all(|node| !fit::lacks(&pod, node).is_empty())),
            }
            for node in cache.nodes() {
                prop_assert!(node.load.requested.milli_cpu <= 4000);
                prop_assert!(node.load.requested.memory <= 8 << 30);
            }
        }
    }
}
