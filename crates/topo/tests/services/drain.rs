//! A worker is emptied while a service is asked.

use serde_json::Value;

use crate::lab::{Lab, name, text};
use crate::load::Load;

const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

/// A deployment that is spread over the workers, an agent on each of them, and a pod that nobody makes anew.
const OBJECTS: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {app: web}}
      containers:
      - name: web
        image: busybox
        command: [topo, echo, --port, '80', web]
        ports: [{name: http, containerPort: 80}]
        readinessProbe: {httpGet: {port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec: {containers: [{name: main, image: netshoot}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {nodeName: C0w1, containers: [{name: main, image: netshoot}]}
";

fn nodes(pods: &[Value]) -> Vec<String> {
    let mut nodes: Vec<_> = pods.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect();
    nodes.sort();
    nodes
}

#[test]
fn no_request_fails_while_a_worker_is_drained() {
    let lab = Lab::start(LAB);
    lab.apply(OBJECTS);
    lab.rolled_out("web");
    lab.until(
        "a pod on each worker",
        || nodes(&lab.ready_pods("app=web")),
        |nodes| nodes.iter().eq(["C0w1", "C0w2"]),
    );
    lab.until("an agent on each worker", || lab.ready_pods("app=probe").len(), |count| *count == 2);
    let address = text(&lab.json("svc web")["spec"]["clusterIP"]);
    lab.until(
        "it answers",
        || lab.topo(&format!("exec C0w2 curl -s http://{address}")).stdout,
        |said| said == "web\n",
    );
    let pods = lab.list("pods");
    let on_first = |app: &str| {
        let mut found = pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == app);
        found.find(|pod| pod["spec"]["nodeName"] == "C0w1").map(name).unwrap()
    };
    let (web, probe) = (on_first("web"), on_first("probe"));

    // What would be lost is not lost unasked; the node takes no more pods all the same.
    let refused = lab.topo("drain C0w1");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), "node/C0w1 cordoned\n"));
    for why in [
        "topo: drain: unable to drain node \"C0w1\" due to error: [".into(),
        format!("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/{probe}"),
        "cannot delete Pods that declare no controller (use --force to override): default/bare".into(),
        "], continuing command...\nThere are pending nodes to be drained:\n C0w1\n".into(),
    ] {
        assert!(refused.stderr.contains(&why), "{refused:?}");
    }
    assert_eq!(lab.ready_pods("app=web").len(), 2);

    let load = Load::start(lab.agent(1), &format!("{address}:80"), 4);
    let drained = lab.topo("drain C0w1 --ignore-daemonsets --force --timeout 90s");
    let said = drained.stdout.clone();
    assert_eq!(drained.code, Some(0), "{drained:?}");
    let warnings = [
        "ignoring DaemonSet-managed Pods: default/",
        "deleting Pods that declare no controller: default/bare",
    ];
    assert!(warnings.iter().all(|warning| drained.stderr.contains(warning)), "{drained:?}");
    assert!(said.starts_with("node/C0w1 already cordoned\nevicting pod default/bare\n"), "{said}");
    assert!(
        said.ends_with("node/C0w1 drained\n") && said.contains(&format!("pod/{web} evicted\n")),
        "{said}"
    );
    lab.until(
        "both on the other worker",
        || nodes(&lab.ready_pods("app=web")),
        |nodes| nodes.iter().eq(["C0w2", "C0w2"]),
    );
    let seen = load.answered();
    lab.until("they answer", || load.answered(), |now| *now > seen + 100);
    let tally = load.stop();
    assert_eq!(tally.failures, [""; 0], "{:?}", tally.answers);
    let left: Vec<_> = lab.list("pods --field-selector spec.nodeName=C0w1").iter().map(name).collect();
    assert_eq!(left, [probe]);

    assert_eq!(lab.ok("uncordon C0w1"), "node/C0w1 uncordoned\n");
    assert_eq!(lab.ok("scale deployment/web --replicas 3"), "deployment.apps/web scaled\n");
    lab.until(
        "a pod comes again",
        || nodes(&lab.ready_pods("app=web")),
        |nodes| nodes.contains(&"C0w1".into()),
    );
}
