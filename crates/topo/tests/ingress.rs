//! The chapter on ingress in whole labs: the examples of Kubernetes' documentation and of Gateway API's guides,
//! and what becomes of requests when things change and break.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, User};
use testkit::wait_for;

const SOON: Duration = Duration::from_secs(60);
const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

fn lab(user: User) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    bench.up(LAB, &[]);
    bench
}

/// A pod that answers with its name, and a service of that name with these ports.
fn service(name: &str, ports: &[u16]) -> String {
    let ports: Vec<_> =
        ports.iter().map(|port| format!("{{name: p{port}, port: {port}, targetPort: 8080}}")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: \
         {{containers: [{{name: main, image: netshoot, command: [topo, echo, --port, '8080', {name}]}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{}]}}\n---\n",
        ports.join(", ")
    )
}

/// An object by its group, kind and name, and what stands under `spec`.
fn object(group: &str, kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.trim_end().replace('\n', "\n  ");
    format!("apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:{spec}\n---\n")
}

fn ingress(name: &str, spec: &str) -> String {
    object("networking.k8s.io", "Ingress", name, spec)
}

fn route(name: &str, spec: &str) -> String {
    object("gateway.networking.k8s.io", "HTTPRoute", name, spec)
}

fn gateway(name: &str, class: &str, listener: &str) -> String {
    let spec = format!("\ngatewayClassName: {class}\nlisteners: [{{protocol: HTTP, port: 80, {listener}}}]");
    object("gateway.networking.k8s.io", "Gateway", name, &spec)
}

/// Asks the first worker from outside the cluster; gives the status and the body.
fn ask(bench: &Bench, url: &str, more: &[&str]) -> (u16, String) {
    let host = url.split('/').nth(2).unwrap();
    let resolve = ["80", "443"].map(|port| format!("{host}:{port}:10.0.0.3"));
    let mut args = vec!["exec", "C0e1", "--", "curl", "-sS", "-w", "\n%{http_code}"];
    for one in &resolve {
        args.extend(["--resolve", one]);
    }
    args.extend(more);
    args.push(url);
    let outcome = bench.run(args);
    match outcome.stdout.rsplit_once('\n') {
        Some((body, status)) if outcome.code == Some(0) => (status.parse().unwrap(), body.trim().into()),
        _ => (0, outcome.stderr),
    }
}

fn body(bench: &Bench, url: &str) -> String {
    ask(bench, url, &[]).1
}

/// Waits until the first worker answers so.
fn until(bench: &Bench, url: &str, wanted: &str) {
    until_with(bench, url, &[], wanted);
}

/// As [`until`], with more arguments for curl. Whoever asks a service for the first time has to wait: that the route
/// is there does not mean that its endpoints are.
fn until_with(bench: &Bench, url: &str, more: &[&str], wanted: &str) {
    wait_for(url, SOON, || {
        let (status, body) = ask(bench, url, more);
        if status == 200 && body.contains(wanted) { Ok(()) } else { Err(format!("{status} {body}")) }
    });
}

fn get(bench: &Bench, what: &[&str]) -> Value {
    let outcome = bench.run([&["get"], what, &["-o", "json"]].concat());
    serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingress/tests/tls").join(name)
}

/// kubernetes.io/docs/concepts/services-networking/ingress: its examples, in their order.
fn ingresses_of_the_documentation(bench: &Bench) {
    let services =
        [("service1", &[80, 4200][..]), ("service2", &[80, 8080]), ("service3", &[80]), ("test", &[80])];
    bench.apply(&services.map(|(name, ports)| service(name, ports)).concat());
    let backend =
        |name: &str, port: u16| format!("backend: {{service: {{name: {name}, port: {{number: {port}}}}}}}");
    let prefix = |path: &str, name: &str, port: u16| {
        format!("{{path: {path}, pathType: Prefix, {}}}", backend(name, port))
    };
    let http = |host: &str, paths: &[String]| {
        let host = if host.is_empty() { String::new() } else { format!("host: {host}, ") };
        format!("\n- {{{host}http: {{paths: [{}]}}}}", paths.join(", "))
    };

    // A minimal one, of the class that the page supposes.
    let minimal =
        format!("\ningressClassName: nginx-example\nrules:{}", http("", &[prefix("/testpath", "test", 80)]));
    bench.apply(&ingress("minimal-ingress", &minimal));
    until(bench, "http://10.0.0.3/testpath", "test");
    assert_eq!(ask(bench, "http://10.0.0.3/", &[]).0, 404);
    bench.ok(["delete", "ingress", "minimal-ingress"]);

    // Backed by a single service; all that no rule takes.
    bench.apply(&ingress("test-ingress", "\ndefaultBackend: {service: {name: test, port: {number: 80}}}"));
    until(bench, "http://any.example.com/any", "test");

    let fanout = [prefix("/foo", "service1", 4200), prefix("/bar", "service2", 8080)];
    let fanout = format!("\nrules:{}", http("foo.bar.com", &fanout));
    bench.apply(&ingress("simple-fanout-example", &fanout));
    until(bench, "http://foo.bar.com/foo", "service1");
    until(bench, "http://foo.bar.com/bar", "service2");
    assert_eq!(body(bench, "http://foo.bar.com/other"), "test", "the default backend");
    wait_for("its address", SOON, || {
        let shown = get(bench, &["ingress", "simple-fanout-example"])["status"].to_string();
        if shown.contains("10.0.0.3") && shown.contains("10.0.0.4") { Ok(()) } else { Err(shown) }
    });
    // Every worker serves it.
    let other = ["exec", "C0e1", "--", "curl", "-sS", "-H", "Host: foo.bar.com", "http://10.0.0.4/foo"];
    wait_for("the other worker", SOON, || {
        let answer = bench.run(other).stdout;
        if answer == "service1\n" { Ok(()) } else { Err(answer) }
    });
    bench.ok(["delete", "ingress", "simple-fanout-example", "test-ingress"]);

    let everything = |host: &str, name: &str| http(host, &[prefix("/", name, 80)]);
    let names = [("first.bar.com", "service1"), ("second.bar.com", "service2"), ("", "service3")];
    let rules = names.map(|(host, name)| everything(host, name)).concat();
    bench.apply(&ingress("name-virtual-host-ingress-no-third-host", &format!("\nrules:{rules}")));
    until(bench, "http://first.bar.com/", "service1");
    assert_eq!(body(bench, "http://second.bar.com/x"), "service2");
    until(bench, "http://third.bar.com/", "service3");
    bench.ok(["delete", "ingress", "name-virtual-host-ingress-no-third-host"]);

    let indented = |name: &str| fs::read_to_string(certificate(name)).unwrap().replace('\n', "\n    ");
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: testsecret-tls}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n---\n",
        indented("cert.pem"),
        indented("key.pem")
    );
    let spec = format!(
        "\ntls: [{{hosts: [https-example.foo.com], secretName: testsecret-tls}}]\nrules:{}",
        everything("https-example.foo.com", "service1")
    );
    bench.apply(&[secret, ingress("tls-example-ingress", &spec)].concat());
    let trusted = bench.folder().join("cert.pem");
    fs::copy(certificate("cert.pem"), &trusted).unwrap();
    let trusted = ["--cacert", trusted.to_str().unwrap()];
    wait_for("https", SOON, || {
        let answer = ask(bench, "https://https-example.foo.com/", &trusted);
        if answer == (200, "service1".into()) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!(ask(bench, "http://https-example.foo.com/", &[]).0, 308);
    bench.ok(["delete", "ingress", "tls-example-ingress"]);
}

/// kubernetes.io/docs/tasks/access-application-cluster/ingress-minikube.
fn the_task_of_the_documentation(bench: &Bench) {
    for (name, image) in [("web", "hello-app:1.0"), ("web2", "hello-app:2.0")] {
        let labels = format!("{{app: {name}}}");
        bench.apply(&format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {labels}}}\n  \
                 template: {{metadata: {{labels: {labels}}}, spec: {{containers: [{{name: hello-app, image: gcr.io/google-samples/{image}}}]}}}}\n---\n\
                 apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: NodePort, selector: {labels}, ports: [{{port: 8080}}]}}\n"
            ),
        );
    }
    let path = |path: &str, name: &str| {
        format!(
            "{{path: {path}, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 8080}}}}}}}}"
        )
    };
    let spec = |paths: &[String]| {
        format!(
            "\ningressClassName: nginx\nrules: [{{host: hello-world.example, http: {{paths: [{}]}}}}]",
            paths.join(", ")
        )
    };
    bench.apply(&ingress("example-ingress", &spec(&[path("/", "web")])));
    until(bench, "http://hello-world.example/", "Version: 1.0.0");
    bench.apply(&ingress("example-ingress", &spec(&[path("/", "web"), path("/v2", "web2")])));
    until(bench, "http://hello-world.example/v2", "Version: 2.0.0");
    assert!(body(bench, "http://hello-world.example/").contains("Version: 1.0.0"));

    let shown = bench.ok(["ingress", "show", "C0w1"]);
    let row = shown.lines().find(|line| line.contains("/v2")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "C0w1",
            "80",
            "hello-world.example",
            "Prefix",
            "/v2",
            "default/web2:8080",
            "1/1",
            "ok",
            "Ingress",
            "default/example-ingress"
        ]
    );
    let counted = "knetsim_ingress_requests_total{route=\"Ingress default/example-ingress\",status=\"200\"}";
    // nginx holds lines of its log back for a moment.
    wait_for("a figure", SOON, || {
        let metrics =
            bench.run(["exec", "C0e1", "--", "curl", "-sS", "http://10.0.0.3:10254/metrics"]).stdout;
        if metrics.lines().any(|line| line.starts_with(counted)) { Ok(()) } else { Err(metrics) }
    });
    wait_for("a line of the log", SOON, || {
        let log = bench.run(["logs", "C0w1", "ingress"]).stdout;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_web2 = lines.filter(|line| line["uri"] == "/v2" && line["status"] == 200);
        let is_pod = |line: &Value| line["pod"].as_str().is_some_and(|pod| pod.starts_with("default/web2-"));
        if of_web2.next_back().is_some_and(|line| is_pod(&line)) { Ok(()) } else { Err(log) }
    });
    bench.ok(["delete", "ingress", "example-ingress"]);
}

/// Of the guide, with the gateway `prod-web`.
fn traffic_splitting(bench: &Bench) {
    // The routes of the guide on traffic splitting name no gateway.
    let split = |rules: &str| route("foo-route", &format!("\nhostnames: [foo.example.com]\nrules:{rules}"));
    let canary = "
- backendRefs: [{name: foo-v1, port: 8080}]
- matches: [{headers: [{name: traffic, value: test}]}]
  backendRefs: [{name: foo-v2, port: 8080}]";
    let weights = |one: u32, two: u32| {
        format!(
            "\n- backendRefs: [{{name: foo-v1, port: 8080, weight: {one}}}, {{name: foo-v2, port: 8080, weight: {two}}}]"
        )
    };
    bench.apply(&split(canary));
    until(bench, "http://foo.example.com/", "foo-v1");
    until_with(bench, "http://foo.example.com/", &["-H", "traffic: test"], "foo-v2");
    bench.apply(&split(&weights(90, 10)));
    // So many at a time that there is one of each among them.
    until(bench, "http://foo.example.com/[1-50]", "foo-v2");
    until(bench, "http://foo.example.com/[1-50]", "foo-v1");
    bench.apply(&split(&weights(0, 1)));
    wait_for("all to the second", SOON, || {
        let answers: Vec<_> = (0..10).map(|_| body(bench, "http://foo.example.com/")).collect();
        if answers.iter().all(|answer| answer == "foo-v2") { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    bench.ok(["delete", "httproute", "foo-route"]);
}

/// gateway-api.sigs.k8s.io/guides: simple-gateway, http-routing, traffic-splitting.
fn gateways_of_the_guides(bench: &Bench) {
    let names = ["foo-svc", "bar-svc", "bar-svc-canary", "foo-v1", "foo-v2"];
    bench.apply(&[names.map(|name| service(name, &[8080])).concat(), service("example-svc", &[80])].concat());
    let prod_web =
        gateway("prod-web", "example", "name: prod-web-gw, allowedRoutes: {namespaces: {from: Same}}");
    bench.apply(&prod_web);
    bench.apply(&route(
        "foo",
        "\nparentRefs: [{name: prod-web}]\nrules: [{backendRefs: [{name: foo-svc, port: 8080}]}]",
    ));
    until(bench, "http://anything.example.com/any", "foo-svc");
    wait_for("the gateway's address", SOON, || {
        let gateway = get(bench, &["gateway", "prod-web"]);
        let address = gateway["status"]["addresses"][0]["value"].as_str().unwrap_or_default();
        if address.starts_with("10.0.0.") { Ok(()) } else { Err(gateway.to_string()) }
    });
    bench.ok(["delete", "httproute", "foo"]);

    traffic_splitting(bench);
    bench.ok(["delete", "gateway", "prod-web"]);

    http_routing(bench);
}

/// Of the guide.
fn http_routing(bench: &Bench) {
    let login = "
parentRefs: [{name: example-gateway}]
hostnames: [foo.example.com]
rules:
- matches: [{path: {type: PathPrefix, value: /login}}]
  backendRefs: [{name: foo-svc, port: 8080}]";
    let env = "
parentRefs: [{name: example-gateway}]
hostnames: [bar.example.com]
rules:
- matches: [{headers: [{type: Exact, name: env, value: canary}]}]
  backendRefs: [{name: bar-svc-canary, port: 8080}]
- backendRefs: [{name: bar-svc, port: 8080}]";
    let example = "
parentRefs: [{name: example-gateway}]
hostnames: [example.com]
rules: [{backendRefs: [{name: example-svc, port: 80}]}]";
    let objects = [
        gateway("example-gateway", "example-gateway-class", "name: http"),
        route("example-route", example),
        route("foo-route", login),
        route("bar-route", env),
    ];
    bench.apply(&objects.concat());
    until(bench, "http://bar.example.com/", "bar-svc");
    until(bench, "http://foo.example.com/login", "foo-svc");
    until(bench, "http://example.com/", "example-svc");
    assert_eq!(ask(bench, "http://foo.example.com/", &[]).0, 404);
    until_with(bench, "http://bar.example.com/x", &["-H", "env: canary"], "bar-svc-canary");
    assert_eq!(ask(bench, "http://bar.example.com/x", &["-H", "env: other"]), (200, "bar-svc".into()));
    wait_for("the route's conditions", SOON, || {
        let route = get(bench, &["httproute", "bar-route"]);
        let conditions = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let hold = conditions.len() == 2 && conditions.iter().all(|one| one["status"] == "True");
        if hold { Ok(()) } else { Err(route.to_string()) }
    });
}

fn everything_documented(user: User) {
    let bench = lab(user);
    ingresses_of_the_documentation(&bench);
    the_task_of_the_documentation(&bench);
    gateways_of_the_guides(&bench);
}

#[test]
fn examples_of_the_documentation_as_whoever_runs_the_tests() {
    everything_documented(User::Own);
}

#[test]
fn examples_of_the_documentation_without_any_privilege() {
    everything_documented(User::Nobody);
}

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: netshoot
        command: [topo, echo, --port, '8080']
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
        lifecycle: {preStop: {exec: {command: [sleep, '3']}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
";

/// As fast as it can, until it is told to end: the status of every answer.
const LOAD: &str = "while ! [ -e /run/enough ]; do \
    curl -s -o /dev/null -w '%{http_code} %{errormsg}\\n' -H 'Host: web.example' 'http://10.0.0.3/[1-50]'; done";

#[test]
fn no_request_fails_while_pods_roll_and_nginx_is_back_when_it_was_killed() {
    let bench = lab(User::Own);
    bench.apply(WEB);
    bench.ok(["rollout", "status", "deployment/web", "--timeout", "60s"]);
    until(&bench, "http://web.example/", "");
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let args = ["exec", "C0e1", "--", "sh", "-c", LOAD];
            bench.command(args).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for i in 0..2 {
        bench.ok(["rollout", "restart", "deployment/web"]);
        // Configurations change meanwhile for other reasons, too.
        for j in 0..5 {
            let other = format!(
                "\nrules: [{{host: h{i}{j}.example, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]"
            );
            bench.apply(&ingress("other", &other));
            until(&bench, &format!("http://h{i}{j}.example/"), "");
        }
        bench.ok(["rollout", "status", "deployment/web", "--timeout", "60s"]);
    }
    bench.ok(["exec", "C0e1", "--", "touch", "/run/enough"]);
    for client in clients {
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.lines().count() >= 50, "{said}");
        let failed: Vec<_> = said.lines().filter(|line| line.trim() != "200").collect();
        assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), said.lines().count());
    }

    // The one in service: others may still be on their way out.
    let kill = "kill -KILL $(cat $(dirname $(readlink -f /run/lab/C0w1/ingress/nginx.conf))/nginx.pid)";
    bench.ok(["exec", "C0w1", "--", "sh", "-c", kill]);
    wait_for("a message", SOON, || {
        let status = bench.run(["status"]).stdout;
        let said = "C0w1: nginx was killed by SIGKILL; it was started again";
        if status.contains(said) { Ok(()) } else { Err(status) }
    });
    until(&bench, "http://web.example/", "");
    // The agent, too: nginx goes on, and its successor takes over.
    let pid = |bench: &Bench| {
        let workers = &bench.status()["clusters"][0]["workers"];
        workers.as_array().unwrap().iter().find(|one| one["name"] == "C0w1").unwrap()["pid"].as_i64()
    };
    let agent = pid(&bench).unwrap();
    assert!(Command::new("kill").args(["-KILL", &agent.to_string()]).status().unwrap().success());
    let (status, _) = ask(&bench, "http://web.example/", &[]);
    assert_eq!(status, 200);
    wait_for("another agent", SOON, || {
        let now = pid(&bench);
        let is_new = now.is_some_and(|now| now != agent);
        if is_new && bench.run(["status"]).code == Some(0) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    bench.apply(&ingress("other", "\ndefaultBackend: {service: {name: web, port: {number: 80}}}"));
    until(&bench, "http://new.example/", "");
}

#[test]
fn a_lab_without_nginx_says_so_and_is_one() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let file = bench.folder().join("lab.yaml");
    let manifest = bench.folder().join("by-hand.yaml");
    let by_hand = object(
        "knetsim.dev",
        "NodeIngress",
        "g",
        "\nnode: C0w1\nport: 8001\npaths: [{path: /, backend: '10.0.0.4:1'}]",
    );
    fs::write(&manifest, by_hand).unwrap();
    fs::write(&file, format!("{LAB}manifests: [by-hand.yaml]\n")).unwrap();
    let up = bench.command(["up", "-f", file.to_str().unwrap()]);
    // Where it is found there is none.
    let hide = "for f in $(echo $PATH:/usr/local/sbin:/usr/sbin:/sbin | tr : ' '); do \
        [ ! -e $f/nginx ] || mount --bind /dev/null $f/nginx || exit 1; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(up.get_program()).args(up.get_args());
    for (name, value) in up.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    wait_for("a warning", SOON, || {
        let status = bench.run(["status"]).stdout;
        let warning = "warning: C0w1: nginx is not on this machine (apt install nginx-light)";
        if status.contains(warning) { Ok(()) } else { Err(status) }
    });
    let made = bench.run(["ingress", "create", "C0w2", "h", "--port", "8002", "--path", "/=10.0.0.4:1"]);
    assert_eq!(made.code, Some(1), "{made:?}");
    assert!(made.stderr.contains("h is not served: nginx is not on this machine"), "{made:?}");
    let shown = bench.ok(["ingress", "show"]);
    assert!(shown.contains("not served"), "{shown}");
}
