//! Clusters that are linked by routers: linked, exposed, consumed, cut, killed, with tokens good and bad. With
//! every router that there is: skrouterd where `KNETSIM_SKROUTERD` or `PATH` has one, and ours.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const SOON: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Router {
    Real,
    Builtin,
    /// skrouterd in C0 and C2, ours in C1.
    Mixed,
}

/// Whether that router is here; says so if not.
fn is_here(bench: &Bench, router: Router) -> bool {
    let here = match router {
        Router::Mixed => return is_here(bench, Router::Real) && is_here(bench, Router::Builtin),
        Router::Real => {
            let named =
                std::env::var_os("KNETSIM_SKROUTERD").is_some_and(|path| PathBuf::from(path).is_file());
            let path = std::env::var_os("PATH").unwrap_or_default();
            named || std::env::split_paths(&path).any(|folder| folder.join("skrouterd").is_file())
        }
        Router::Builtin => bench.run(["router", "--help"]).code == Some(0),
    };
    if !here {
        eprintln!("NOT TESTED: there is no router of kind {router:?}");
    }
    here
}

/// A lab of so many clusters, each of one worker: C0w1 is 10.0.0.3, C1w1 10.0.0.4, C2w1 10.0.0.5.
fn lab(router: Router, clusters: usize) -> Option<Bench> {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    if !is_here(&bench, router) {
        return None;
    }
    let mut text = String::from("dns: false\nclusters:\n");
    for number in 0..clusters {
        let address = 3 + number;
        let ours = router == Router::Builtin || router == Router::Mixed && number == 1;
        let word = if ours { "builtin" } else { "real" };
        text += &format!(
            "  - {{name: C{number}, components: {{router: {word}}}, \
             workers: {{count: 1, firstAddress: 10.0.0.{address}}}}}\n"
        );
    }
    let file = bench.folder().join("lab.yaml");
    fs::write(&file, text).unwrap();
    bench.ok(["up", "-q", "-f", file.to_str().unwrap()]);
    Some(bench)
}

fn path(bench: &Bench, name: &str) -> String {
    bench.folder().join(name).to_str().unwrap().to_owned()
}

fn server(bench: &Bench, cluster: &str, name: &str, text: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  nodeName: {cluster}w1\n  \
         containers: [{{name: web, image: http-echo, args: [\"-listen=:8080\", \"-text={text}\"]}}]\n"
    );
    let file = path(bench, &format!("{cluster}-{name}.yaml"));
    fs::write(&file, manifest).unwrap();
    bench.ok(["apply", "--cluster", cluster, "-f", &file]);
    bench.ok([
        "wait",
        "--cluster",
        cluster,
        &format!("pod/{name}"),
        "--for=condition=Ready",
        "--timeout",
        "60s",
    ]);
}

fn fetch(bench: &Bench, node: &str, url: &str) -> Outcome {
    bench.run(["exec", node, "--", "curl", "-s", "-S", "--max-time", "5", url])
}

fn answers(bench: &Bench, node: &str, url: &str, text: &str) {
    wait_for(&format!("{url} from {node}"), SOON, || {
        let outcome = fetch(bench, node, url);
        if outcome.stdout.trim() == text { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

fn refused(bench: &Bench, node: &str, url: &str) {
    wait_for(&format!("{url} from {node} is refused"), SOON, || {
        let outcome = fetch(bench, node, url);
        if outcome.code == Some(7) { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

/// One connection from a node, kept while the test does other things: a request goes out when it is told to.
struct Held {
    _client: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Held {
    fn open(bench: &Bench, node: &str, address: &str, port: u16) -> Self {
        // Reads a line, asks over descriptor 3, and tells what stood in the answer.
        let script = r#"
            exec 3<>"/dev/tcp/$0/$1" || exit 1
            while read -r _; do
                printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\n' >&3
                length=
                while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do
                    case ${line,,} in content-length:*) length=${line#*: } ;; esac
                done
                [ -n "$length" ] || exit 1
                IFS= read -r -N "${length%$'\r'}" body <&3
                printf '%s\n' "${body%$'\n'}"
            done"#;
        let port = port.to_string();
        let mut command = bench.command(["exec", node, "--", "bash", "-c", script, address, &port]);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, answers) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
        Self { _client: Child(client), requests, answers: BufReader::new(answers) }
    }

    /// Asks, and waits for the answer; empty when the connection has ended.
    fn ask(&mut self) -> String {
        let mut answer = String::new();
        // An end shows in the answer.
        let _ = self.requests.write_all(b"\n");
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

fn object(bench: &Bench, cluster: &str, kind: &str, name: &str) -> Value {
    let outcome = bench.run(["get", "--cluster", cluster, kind, name, "-o", "json"]);
    serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
}

fn until(bench: &Bench, cluster: &str, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{kind} {name} of {cluster}"), SOON, || {
        let object = object(bench, cluster, kind, name);
        if wanted(&object) { Ok(object) } else { Err(format!("{:#}", object["status"])) }
    })
}

/// Links the sites of these clusters to that of the first.
fn link(bench: &Bench, to: &str, from: &[&str]) {
    for cluster in from {
        let token = path(bench, &format!("token-{cluster}.yaml"));
        let name = format!("from-{}", cluster.to_lowercase());
        bench.ok(["skupper", "token", "create", &token, "--cluster", to, "--name", &name]);
        bench.ok(["skupper", "link", "create", &token, "--cluster", cluster]);
        until(bench, cluster, "link", &name, |link| link["status"]["status"] == "Ready");
    }
}

fn init(bench: &Bench, clusters: &[&str]) {
    for cluster in clusters {
        bench.ok(["skupper", "init", "--cluster", cluster, "--timeout", "60"]);
    }
}

fn router_pid(bench: &Bench, node: &str) -> i32 {
    let text = bench.ok(["exec", node, "--", "cat", &format!("/run/lab/{node}/skupper/default/router.json")]);
    serde_json::from_str::<Value>(&text).unwrap()["pid"].as_i64().unwrap().try_into().unwrap()
}

/// Link, expose, consume, unexpose; then faults.
fn three_sites(router: Router) {
    let Some(bench) = lab(router, 3) else { return };
    let bench = &bench;
    server(bench, "C0", "web", "hello from C0");
    init(bench, &["C0", "C1", "C2"]);
    link(bench, "C0", &["C1", "C2"]);
    until(bench, "C1", "site", "c1", |site| site["status"]["sitesInNetwork"] == 3);
    until(bench, "C0", "site", "c0", |site| site["status"]["sitesInNetwork"] == 3);

    // Exposed, it is everywhere, by the worker's port and by a Service.
    bench.ok([
        "skupper",
        "expose",
        "pod",
        "web",
        "--address",
        "svc1",
        "--port",
        "1028",
        "--target-port",
        "8080",
    ]);
    for (node, cluster) in [("C0w1", "C0"), ("C1w1", "C1"), ("C2w1", "C2")] {
        answers(
            bench,
            node,
            &format!("http://10.0.0.{}:1028", 3 + cluster[1..].parse::<u8>().unwrap()),
            "hello from C0",
        );
        let service = object(bench, cluster, "service", "svc1");
        let ip = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        answers(bench, node, &format!("http://{ip}:1028"), "hello from C0");
    }
    until(bench, "C0", "connector", "svc1", |one| one["status"]["hasMatchingListener"] == true);
    let listener =
        until(bench, "C2", "listener", "svc1", |one| one["status"]["hasMatchingConnector"] == true);
    assert_eq!(listener["status"]["message"], "OK");
    let graph = bench.ok(["skupper", "graph"]);
    assert!(graph.contains("C2 ─▶ C0") && graph.contains("servers  C0 web:8080"), "{graph}");
    assert!(bench.ok(["skupper", "graph", "--svg"]).starts_with("<svg "));
    wait_for("both ends of the links", SOON, || {
        let links: Value =
            serde_json::from_str(&bench.run(["skupper", "link", "status", "-o", "json"]).stdout).unwrap();
        let up = |link: &Value| link["status"] == "Ready" && link["otherEnd"] == "up";
        if links.as_array().unwrap().iter().all(up) { Ok(()) } else { Err(format!("{links:#}")) }
    });

    // Keys are for their owner.
    let key = "/run/lab/C0w1/skupper/default/certs/skupper-site-server/tls.key";
    assert_eq!(bench.ok(["exec", "C0w1", "--", "stat", "-c", "%a", key]).trim(), "600");
    survives(bench);

    // A cut link is told, and heals.
    bench.ok(["link", "set", "C2s0", "t0", "--down"]);
    refused(bench, "C2w1", "http://10.0.0.5:1028");
    until(bench, "C2", "link", "from-c2", |link| link["status"]["status"] != "Ready");
    bench.ok(["link", "set", "C2s0", "t0", "--up"]);
    answers(bench, "C2w1", "http://10.0.0.5:1028", "hello from C0");

    // Taken back, it is nowhere.
    bench.ok(["skupper", "unexpose", "pod", "web", "--address", "svc1"]);
    for (node, number) in [("C0w1", 3), ("C1w1", 4), ("C2w1", 5)] {
        refused(bench, node, &format!("http://10.0.0.{number}:1028"));
    }
    assert_eq!(bench.run(["get", "--cluster", "C1", "service", "svc1"]).code, Some(1));
    let again = bench.run(["skupper", "unexpose", "pod", "web", "--address", "svc1"]);
    assert_eq!(again.code, Some(1), "{again:?}");

    // A site that is deleted takes its router with it.
    let pid = router_pid(bench, "C2w1");
    bench.ok(["skupper", "delete", "--cluster", "C2"]);
    wait_for("the end of the router", SOON, || {
        let alive = bench.run(["exec", "C2w1", "--", "kill", "-0", &pid.to_string()]);
        if alive.code == Some(0) { Err("it runs".into()) } else { Ok(()) }
    });
}

/// Killed routers and agents, new certificates.
fn survives(bench: &Bench) {
    // A killed router is started anew and brought back.
    let old = router_pid(bench, "C1w1");
    bench.ok(["exec", "C1w1", "--", "kill", "-9", &old.to_string()]);
    wait_for("another router", SOON, || {
        let new = router_pid(bench, "C1w1");
        if new == old { Err(format!("{new}")) } else { Ok(()) }
    });
    answers(bench, "C1w1", "http://10.0.0.4:1028", "hello from C0");

    // New certificates, of both ends of the link, and connections stay: the routers are the same, one connection goes
    // on before, during and after, and new ones are answered all the time.
    let mut held = Held::open(bench, "C1w1", "10.0.0.4", 1028);
    assert_eq!(held.ask(), "hello from C0");
    let pids = [router_pid(bench, "C0w1"), router_pid(bench, "C1w1")];
    let secrets = [("C1", "from-c1"), ("C0", "skupper-site-server")];
    let certificates =
        || secrets.map(|(cluster, name)| object(bench, cluster, "secret", name)["data"]["tls.crt"].clone());
    let before = certificates();
    bench.ok(["skupper", "rotate", "--cluster", "C1"]);
    bench.ok(["skupper", "rotate", "--cluster", "C0"]);
    wait_for("new certificates", SOON, || {
        assert_eq!(held.ask(), "hello from C0");
        assert_eq!(fetch(bench, "C1w1", "http://10.0.0.4:1028").stdout.trim(), "hello from C0");
        let now = certificates();
        let new = |(now, before): (&Value, &Value)| now.is_string() && now != before;
        if now.iter().zip(&before).all(new) { Ok(()) } else { Err("the old ones".into()) }
    });
    until(bench, "C1", "link", "from-c1", |link| link["status"]["status"] == "Ready");
    answers(bench, "C1w1", "http://10.0.0.4:1028", "hello from C0");
    assert_eq!(pids, [router_pid(bench, "C0w1"), router_pid(bench, "C1w1")]);
    assert_eq!(held.ask(), "hello from C0");

    // The agent is killed: its router is not, and the next agent finds it.
    let agent = bench.ok([
        "exec",
        "C0w1",
        "--",
        "sh",
        "-c",
        "cat /proc/$(pgrep -f 'topo agent.*--node C0w1' | head -1)/status",
    ]);
    let pid = agent.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned();
    bench.ok(["exec", "C0w1", "--", "kill", "-9", &pid]);
    assert_eq!(fetch(bench, "C1w1", "http://10.0.0.4:1028").stdout.trim(), "hello from C0");
    assert_eq!(held.ask(), "hello from C0");
    bench.wait_ready();
    assert_eq!(router_pid(bench, "C0w1"), pids[0]);
}

/// Tokens that are good once, for a while, for their own site.
fn tokens(router: Router) {
    let Some(bench) = lab(router, 2) else { return };
    let bench = &bench;
    let early = bench.run(["skupper", "token", "create", &path(bench, "none.yaml")]);
    assert!(early.code == Some(2) && early.stderr.contains("topo skupper init"), "{early:?}");
    init(bench, &["C0", "C1"]);
    let twice = bench.run(["skupper", "init", "--cluster", "C1"]);
    assert!(twice.stderr.contains("has a site already: c1"), "{twice:?}");

    let token = path(bench, "token.yaml");
    bench.ok(["skupper", "token", "create", &token, "--name", "once"]);
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    bench.ok(["skupper", "link", "create", &token, "--cluster", "C1", "--cost", "7"]);
    let link = until(bench, "C1", "link", "once", |link| {
        link["status"]["status"] == "Ready" && link["status"]["remoteSiteName"] == "c0"
    });
    assert_eq!(link["spec"]["cost"], 7);

    // Again, under another name: it was good once.
    let replayed = bench.run(["skupper", "link", "create", &token, "--cluster", "C1", "--name", "again"]);
    assert_eq!(replayed.code, Some(2), "{replayed:?}");
    assert!(
        replayed.stderr.contains("No such access granted") && replayed.stderr.contains("hint:"),
        "{replayed:?}"
    );
    assert_eq!(object(bench, "C1", "link", "again"), Value::Null);
    assert_eq!(object(bench, "C0", "accessgrant", "once")["status"]["redemptions"], 1);

    // Late.
    let late = path(bench, "late.yaml");
    bench.ok(["skupper", "token", "create", &late, "--name", "late", "--expiry", "1ms"]);
    // Times are whole seconds.
    wait_for("the end of the token", SOON, || {
        let end = object(bench, "C0", "accessgrant", "late")["status"]["expirationTime"]
            .as_str()
            .unwrap()
            .to_owned();
        let now = bench.ok(["exec", "C0w1", "--", "date", "-u", "+%Y-%m-%dT%H:%M:%SZ"]);
        if now.trim() > end.as_str() { Ok(()) } else { Err(end) }
    });
    let outcome = bench.run(["skupper", "link", "create", &late, "--cluster", "C1"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("No such claim"), "{outcome:?}");

    // With the CA of another site it is not sent at all; with another code it is refused.
    let foreign = path(bench, "foreign.yaml");
    let other = path(bench, "other.yaml");
    bench.ok(["skupper", "token", "create", &foreign, "--name", "foreign"]);
    bench.ok(["skupper", "token", "create", &other, "--name", "other", "--cluster", "C1"]);
    let read = |file: &str| fs::read_to_string(file).unwrap();
    let ca = |text: &str| text[text.find("ca:").unwrap()..].to_owned();
    let mixed = read(&foreign).replace(&ca(&read(&foreign)), &ca(&read(&other)));
    fs::write(&foreign, mixed).unwrap();
    let outcome = bench.run(["skupper", "link", "create", &foreign, "--cluster", "C1", "--timeout", "5"]);
    assert!(outcome.code != Some(0) && outcome.stderr.contains("certificate"), "{outcome:?}");
    assert_eq!(object(bench, "C0", "accessgrant", "foreign")["status"]["redemptions"], Value::Null);

    // A certificate of another CA: the router refuses it, and the link says so.
    let secret = object(bench, "C1", "secret", "skupper-site-server");
    let mut bad = object(bench, "C1", "secret", "once");
    bad["metadata"] = serde_json::json!({"name": "bad", "namespace": "default"});
    for part in ["tls.crt", "tls.key"] {
        bad["data"][part] = secret["data"][part].clone();
    }
    let mut stray = object(bench, "C1", "link", "once");
    stray["metadata"] = serde_json::json!({"name": "stray", "namespace": "default"});
    stray["spec"]["tlsCredentials"] = "bad".into();
    stray.as_object_mut().unwrap().remove("status");
    let file = path(bench, "stray.json");
    for document in [bad, stray] {
        fs::write(&file, document.to_string()).unwrap();
        bench.ok(["apply", "--cluster", "C1", "-f", &file]);
    }
    let link = until(bench, "C1", "link", "stray", |link| {
        let message = link["status"]["message"].as_str().unwrap_or_default();
        link["status"]["status"] == "Pending" && message != "Not operational"
    });
    eprintln!("a foreign certificate: {}", link["status"]["message"]);

    // Who speaks plain text gets nothing from the TLS port.
    let plain = fetch(bench, "C1w1", "http://10.0.0.3:55671");
    assert_ne!(plain.code, Some(0), "{plain:?}");
    until(bench, "C1", "link", "once", |link| link["status"]["status"] == "Ready");
}

/// The same key in two clusters: the nearest serves, and when it dies the other.
fn failover(router: Router) {
    let Some(bench) = lab(router, 3) else { return };
    let bench = &bench;
    server(bench, "C0", "web", "C0");
    server(bench, "C2", "web", "C2");
    init(bench, &["C0", "C1", "C2"]);
    link(bench, "C1", &["C0", "C2"]);
    until(bench, "C1", "site", "c1", |site| site["status"]["sitesInNetwork"] == 3);
    let manifest = |kind: &str, spec: &str| {
        format!("apiVersion: skupper.io/v2alpha1\nkind: {kind}\nmetadata: {{name: web}}\nspec: {spec}\n")
    };
    let connector = path(bench, "connector.yaml");
    fs::write(&connector, manifest("Connector", "{routingKey: web, selector: app=web, port: 8080}")).unwrap();
    let listener = path(bench, "listener.yaml");
    fs::write(&listener, manifest("Listener", "{routingKey: web, host: web, port: 8080}")).unwrap();
    for cluster in ["C0", "C2"] {
        bench.ok(["apply", "--cluster", cluster, "-f", &connector]);
        bench.ok(["apply", "--cluster", cluster, "-f", &listener]);
    }
    bench.ok(["apply", "--cluster", "C1", "-f", &listener]);
    // Who has one of his own takes that.
    answers(bench, "C0w1", "http://10.0.0.3:8080", "C0");
    answers(bench, "C2w1", "http://10.0.0.5:8080", "C2");
    answers(bench, "C1w1", "http://10.0.0.4:8080", "C0");
    // The way to C2 is the cheaper one now.
    let link = object(bench, "C0", "link", "from-c0");
    let mut dear = link.clone();
    dear["spec"]["cost"] = 10.into();
    let file = path(bench, "link.json");
    fs::write(&file, dear.to_string()).unwrap();
    bench.ok(["apply", "--cluster", "C0", "-f", &file]);
    answers(bench, "C1w1", "http://10.0.0.4:8080", "C2");
    // C2 is gone.
    bench.ok(["link", "set", "C2s0", "t0", "--down"]);
    answers(bench, "C1w1", "http://10.0.0.4:8080", "C0");
}

/// Who may consume what: by the one who offers, and by the one who consumes.
fn policy(router: Router) {
    let Some(bench) = lab(router, 3) else { return };
    let bench = &bench;
    server(bench, "C0", "web", "C0");
    init(bench, &["C0", "C1", "C2"]);
    link(bench, "C0", &["C1", "C2"]);
    until(bench, "C0", "site", "c0", |site| site["status"]["sitesInNetwork"] == 3);
    bench.ok(["skupper", "expose", "pod", "web", "--port", "8080", "--to", "C1"]);
    answers(bench, "C1w1", "http://10.0.0.4:8080", "C0");
    // C2 asks for it all the same.
    let listener = path(bench, "listener.yaml");
    let text = "apiVersion: skupper.io/v2alpha1\nkind: Listener\nmetadata: {name: web}\n\
                spec: {routingKey: web, host: web, port: 8080}\n";
    fs::write(&listener, text).unwrap();
    bench.ok(["apply", "--cluster", "C2", "-f", &listener]);
    let told = until(bench, "C2", "listener", "web", |one| {
        one["status"]["message"].as_str().unwrap_or_default().contains("is for C1 only")
    });
    assert_eq!(told["status"]["hasMatchingConnector"], Value::Null);
    refused(bench, "C2w1", "http://10.0.0.5:8080");
    // C1's own policy takes it back.
    bench.ok(["annotate", "--cluster", "C1", "site", "c1", "knetsim.dev/may-consume=other"]);
    let told = until(bench, "C1", "listener", "web", |one| one["status"]["status"] == "Error");
    assert!(told["status"]["message"].as_str().unwrap().contains("may not consume"), "{told:#}");
    refused(bench, "C1w1", "http://10.0.0.4:8080");
}

/// A process that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The course's two routers on one machine, by hand.
fn solo(router: Router) {
    let Some(bench) = lab(router, 1) else { return };
    let conf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conf").canonicalize().unwrap();
    let run = |args: &[&str]| {
        let words = ["exec", "C0w1", "--"].iter().chain(args);
        Child(bench.command(words).stdout(Stdio::null()).spawn().unwrap())
    };
    let named = std::env::var("KNETSIM_SKROUTERD").unwrap_or_else(|_| "skrouterd".into());
    let topo = env!("CARGO_BIN_EXE_topo");
    let start = |file: &str| {
        let ours = router == Router::Builtin || router == Router::Mixed && file == "solo1.json";
        let file = conf.join(file);
        let file = file.to_str().unwrap();
        if ours { run(&[topo, "router", "-c", file]) } else { run(&[&named, "-c", file]) }
    };
    let _server = run(&[topo, "echo", "--port", "8090", "hello from solo"]);
    let _routers = [start("solo0.json"), start("solo1.json")];
    answers(&bench, "C0w1", "http://127.0.0.1:1028", "hello from solo");
}

macro_rules! with_every_router {
    ($($test:ident)*) => {
        mod real {
            $(#[test] fn $test() { super::$test(super::Router::Real); })*
        }
        mod mixed {
            $(#[test] fn $test() { super::$test(super::Router::Mixed); })*
        }
        mod builtin {
            $(#[test] fn $test() { super::$test(super::Router::Builtin); })*
        }
    };
}

with_every_router! { three_sites tokens failover policy solo }
