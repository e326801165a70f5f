//! From one version to the next, and back, while clients ask.

use crate::lab::{Lab, name, text};
use crate::load::Load;

const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

fn web(version: &str) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 4
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - name: web
        image: busybox
        command: [topo, echo, --port, '80', {version}]
        ports: [{{name: http, containerPort: 80}}]
        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http}}]
"
    )
}

#[test]
fn no_request_fails_while_a_deployment_is_rolled_out_and_back() {
    let lab = Lab::start(LAB);
    lab.apply(&web("one"));
    lab.rolled_out("web");
    let address = text(&lab.json("svc web")["spec"]["clusterIP"]);
    let service = format!("{address}:80");
    lab.until(
        "it answers",
        || lab.topo(&format!("exec C0w1 curl -s http://{address}")).stdout,
        |said| said == "one\n",
    );
    let load = Load::start(lab.agent(0), &service, 4);
    let first: Vec<_> = lab.ready_pods("app=web").iter().map(name).collect();
    lab.apply(&web("two"));
    lab.rolled_out("web");
    lab.ok("rollout undo deployment/web");
    lab.rolled_out("web");
    lab.ok("rollout restart deployment/web");
    lab.rolled_out("web");
    let gone = |pods: &Vec<String>| pods.len() == 4 && !pods.iter().any(|pod| first.contains(pod));
    lab.until("others", || lab.list("pods -l app=web").iter().map(name).collect(), gone);
    let seen = load.answered();
    lab.until("the last ones answer", || load.answered(), |now| *now > seen + 100);
    let tally = load.stop();
    assert_eq!(tally.failures, [""; 0], "{:?}", tally.answers);
    assert!(tally.answers.keys().eq(["one", "two"]), "{:?}", tally.answers);
    let history = lab.ok("rollout history deployment/web");
    let revisions: Vec<_> =
        history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(revisions, ["2", "3", "4"], "{history}");
}
