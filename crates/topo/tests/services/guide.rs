//! What the Kubernetes documentation and the course show.

use std::collections::BTreeSet;

use crate::lab::{Lab, name, text};

/// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>
const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx-deployment
  labels:
    app: nginx
spec:
  replicas: 3
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: nginx:1.14.2
        ports:
        - containerPort: 80
";

/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/>
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: my-nginx
  labels:
    run: my-nginx
spec:
  ports:
  - port: 80
    protocol: TCP
  selector:
    app: nginx
";

fn header(table: &[Vec<String>]) -> String {
    table[0].join(" ")
}

/// `kubectl get`'s columns of what is there by now.
fn columns(lab: &Lab) {
    let header = |what: &str| header(&lab.table(what));
    assert_eq!(header("deploy"), "NAME READY UP-TO-DATE AVAILABLE AGE");
    assert_eq!(header("deploy -o wide"), "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR");
    assert_eq!(header("po"), "NAME READY STATUS RESTARTS AGE");
    assert_eq!(header("po -o wide"), "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    assert_eq!(header("svc"), "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE");
    assert_eq!(header("svc -o wide"), "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR");
    assert_eq!(header("endpointslices"), "NAME ADDRESSTYPE PORTS ENDPOINTS AGE");
    assert_eq!(header("endpointslices -o wide"), "NAME ADDRESSTYPE PORTS ENDPOINTS AGE");
    assert_eq!(header("rs"), "NAME DESIRED CURRENT READY AGE");
    assert_eq!(header("no"), "NAME STATUS ROLES AGE VERSION");
    assert_eq!(header("events"), "LAST SEEN TYPE REASON OBJECT MESSAGE");
    let deployment = &lab.table("deploy")[1];
    assert_eq!(deployment[..4], ["nginx-deployment", "3/3", "3", "3"]);
    let wide = &lab.table("deploy -o wide")[1];
    assert_eq!(wide[5..], ["nginx", "nginx:1.14.2", "app=nginx"]);
    let service = lab.table("svc -o wide")[1].clone();
    assert_eq!([&service[0], &service[1], &service[3]], ["my-nginx", "ClusterIP", "<none>"]);
    assert_eq!([&service[4], &service[6]], ["80/TCP", "app=nginx"]);
    let slice = &lab.table("endpointslices")[1];
    assert!(slice[0].starts_with("my-nginx-"), "{slice:?}");
    assert_eq!([&slice[1], &slice[2]], ["IPv4", "80"]);
    assert_eq!(slice[3].split(',').count(), 3, "{slice:?}");
}

/// Asks until each of the pods has written down a request.
fn every_pod_answers(lab: &Lab, address: &str) {
    let pods: Vec<_> = lab.ready_pods("app=nginx").iter().map(name).collect();
    let visited = || -> BTreeSet<String> {
        let page = lab.ok(&format!("exec C0w1 -- curl -s http://{address}"));
        assert!(page.contains("<title>Welcome to nginx!</title>"), "{page}");
        let log = |pod: &String| lab.ok(&format!("logs C0/{pod}"));
        pods.iter().filter(|pod| log(pod).contains("\"GET / HTTP/1.1\" 200")).cloned().collect()
    };
    lab.until("each pod has answered", visited, |visited| visited.len() == pods.len());
}

#[test]
fn the_documentations_deployment_and_service() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, workers: 2}]\n");
    assert_eq!(lab.apply(DEPLOYMENT), "deployment.apps/nginx-deployment created\n");
    assert_eq!(lab.apply(SERVICE), "service/my-nginx created\n");
    lab.rolled_out("nginx-deployment");
    lab.until("three endpoints", || lab.endpoints("my-nginx"), |ready| ready.len() == 3);
    let address = text(&lab.json("svc my-nginx")["spec"]["clusterIP"]);
    lab.until(
        "it answers",
        || lab.topo(&format!("exec C0w1 -- curl -s {address}")).code,
        |code| *code == Some(0),
    );
    columns(&lab);
    every_pod_answers(&lab, &address);

    let before = lab.ready_pods("app=nginx");
    let (gone, gone_ip) = (name(&before[0]), text(&before[0]["status"]["podIP"]));
    assert_eq!(lab.ok(&format!("delete pod {gone}")), format!("pod \"{gone}\" deleted\n"));
    let pods = lab.until("another pod", || lab.ready_pods("app=nginx"), |pods| pods.len() == 3);
    assert!(!pods.iter().any(|pod| name(pod) == gone));
    let mut addresses: Vec<_> = pods.iter().map(|pod| text(&pod["status"]["podIP"])).collect();
    addresses.sort();
    let endpoints = lab.until("its endpoint", || lab.endpoints("my-nginx"), |ready| *ready == addresses);
    assert!(!endpoints.contains(&gone_ip), "an address is not given out again at once");
    every_pod_answers(&lab, &address);

    // A service's address is in no interface.
    let ping = lab.topo(&format!("exec C0w1 -- ping -c1 -W1 {address}"));
    assert_ne!(ping.code, Some(0), "{ping:?}");
    let described = lab.ok("describe svc my-nginx");
    assert!(described.contains("\nPing:                     not answered: "), "{described}");
    assert!(described.contains("\nEvents:                   <none>\n"), "{described}");
    let described = lab.ok("describe deploy nginx-deployment");
    for line in [
        "\nReplicas:               3 desired | 3 updated | 3 total | 3 available | 0 unavailable\n",
        "\nRollingUpdateStrategy:  25% max unavailable, 25% max surge\n",
        "Normal  ScalingReplicaSet ",
        "from 0 to 3\n",
    ] {
        assert!(described.contains(line), "{line}: {described}");
    }
    assert_eq!(
        lab.ok("scale deploy/nginx-deployment --replicas=5"),
        "deployment.apps/nginx-deployment scaled\n"
    );
    lab.rolled_out("nginx-deployment");
    lab.until("five endpoints", || lab.endpoints("my-nginx"), |ready| ready.len() == 5);
    lab.ok("delete deploy nginx-deployment");
    lab.until("no endpoints", || lab.endpoints("my-nginx"), Vec::is_empty);
    lab.until("no pods", || lab.list("pods,rs"), Vec::is_empty);
    let refused = lab.topo(&format!("exec C0w1 -- curl -sS --max-time 20 http://{address}"));
    assert!(refused.code == Some(7), "{refused:?}");
}

#[test]
fn the_courses_virtual_ip_answers_pings_and_knows_nothing_of_its_pods() {
    let manifests = "[builtin:manifests/pods-C0.yaml, builtin:manifests/vips.yaml]";
    let lab =
        Lab::start(&format!("dns: false\nclusters: [{{name: C0, workers: 3, manifests: {manifests}}}]\n"));
    lab.until(
        "it answers",
        || lab.topo("exec C0/c1 -- ping -c1 -W1 100.64.10.1").code,
        |code| *code == Some(0),
    );
    let table = lab.table("vip");
    assert_eq!(header(&table), "NAME ADDRESS BACKENDS AGE");
    assert_eq!(table[1][..3], ["100.64.10.1", "100.64.10.1", "c2,c3"]);
    let described = lab.ok("describe vip 100.64.10.1");
    let c3 = text(&lab.json("pod c3")["status"]["podIP"]);
    assert!(described.contains("\nAddress:      100.64.10.1\n"), "{described}");
    assert!(described.contains("\nPing:         answered by the backends"), "{described}");
    let row = |text: &str, pod: &str| -> Vec<String> {
        let row = text.lines().map(str::split_whitespace).find(|words| words.clone().next() == Some(pod));
        row.into_iter().flatten().map(Into::into).collect()
    };
    assert_eq!(row(&described, "c3"), ["c3", &c3, "there"], "{described}");

    lab.ok("delete pod c3");
    // Every process is a new flow; they go to c2 and to where c3 was in turn.
    let flow = || lab.topo("exec C0/c1 -- ping -c1 -W1 100.64.10.1").code == Some(0);
    let flows: Vec<bool> = (0..6).map(|_| flow()).collect();
    let first = flows[0];
    let turns: Vec<bool> = (0..6).map(|number| (number % 2 == 0) == first).collect();
    assert_eq!(flows, turns);
    let described = lab.ok("describe vip 100.64.10.1");
    assert_eq!(row(&described, "c3")[..4], ["c3", "<none>", "not", "there:"], "{described}");
}
