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

/// The chapters of the documentation about Deployments, with its words:
/// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>
#[test]
fn a_rollout_is_looked_at_held_taken_back_and_begun_again() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, workers: 1}]\n");
    let created = lab.ok("create deployment nginx --image=nginx:1.14.2 --replicas=3 --port=80");
    assert_eq!(created, "deployment.apps/nginx created\n");
    lab.rolled_out("nginx");
    assert_eq!(lab.ok("expose deployment/nginx --port=8000 --target-port=80"), "service/nginx exposed\n");
    lab.until("three endpoints", || lab.endpoints("nginx"), |ready| ready.len() == 3);
    let address = text(&lab.json("svc nginx")["spec"]["clusterIP"]);
    let page = format!("exec C0w1 -- curl -s http://{address}:8000");
    lab.until("it answers", || lab.topo(&page).stdout, |said| said.contains("Welcome to nginx!"));

    let updated = "deployment.apps/nginx image updated\n";
    assert_eq!(lab.ok("set image deployment/nginx nginx=nginx:1.16.1"), updated);
    let status = lab.ok("rollout status deployment/nginx --timeout 90s");
    assert!(status.ends_with("deployment \"nginx\" successfully rolled out\n"), "{status}");
    assert_eq!(lab.ok("set image deployment/nginx nginx=nginx:1.16.1"), "", "nothing changes");

    // There is no such image: the old ones go on serving.
    assert_eq!(lab.ok("set image deployment/nginx nginx=nginx:1.161"), updated);
    let failing = |pods: &Vec<Vec<String>>| {
        pods.iter().any(|row| ["ErrImagePull", "ImagePullBackOff"].contains(&row[2].as_str()))
    };
    lab.until("one cannot start", || lab.table("pods --no-headers"), failing);
    let stuck = lab.topo("rollout status deployment/nginx --timeout 1s");
    assert_eq!(stuck.code, Some(1), "{stuck:?}");
    assert!(stuck.stdout.contains("1 out of 3 new replicas have been updated"), "{stuck:?}");
    assert_eq!(lab.endpoints("nginx").len(), 3);
    let undone = lab.ok("rollout undo deployment/nginx");
    assert_eq!(undone, "deployment.apps/nginx rolled back\n");
    lab.rolled_out("nginx");
    let image = || text(&lab.json("deploy nginx")["spec"]["template"]["spec"]["containers"][0]["image"]);
    assert_eq!(image(), "nginx:1.16.1");
    lab.ok("rollout undo deployment/nginx --to-revision=1");
    lab.rolled_out("nginx");
    assert_eq!(image(), "nginx:1.14.2");

    assert_eq!(lab.ok("rollout pause deployment/nginx"), "deployment.apps/nginx paused\n");
    let before: Vec<_> = lab.ready_pods("app=nginx").iter().map(name).collect();
    lab.ok("set image deployment/nginx nginx=nginx:1.25");
    // It is looked at all the same, and scaled.
    lab.ok("scale deployment/nginx --replicas=4");
    lab.until("another one of the old", || lab.ready_pods("app=nginx"), |pods| pods.len() == 4);
    let images = || -> Vec<String> {
        let pods = lab.ready_pods("app=nginx");
        pods.iter().map(|pod| text(&pod["spec"]["containers"][0]["image"])).collect()
    };
    assert_eq!(images(), ["nginx:1.14.2"; 4]);
    let now: Vec<_> = lab.ready_pods("app=nginx").iter().map(name).collect();
    assert!(before.iter().all(|pod| now.contains(pod)), "{before:?} {now:?}");
    assert_eq!(lab.ok("rollout resume deployment/nginx"), "deployment.apps/nginx resumed\n");
    lab.rolled_out("nginx");
    lab.until("all are new", images, |images| *images == ["nginx:1.25"; 4]);
}
