//! Services as workers and their neighbours see them: kube-proxy's rules in words, load balancers, agents that are killed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use net::NetNs;
use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const LIMIT: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(10);

const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

/// A pod on each worker that answers with its name, one that is never ready, and services.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec: {nodeName: C0w1, containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: web}}
spec: {nodeName: C0w2, containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: never, labels: {app: never}}
spec:
  nodeName: C0w2
  containers:
  - {name: web, image: nginx, readinessProbe: {httpGet: {port: 81}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  loadBalancerIP: 10.200.0.7
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: alt, port: 8080, targetPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: LoadBalancer, loadBalancerClass: example.com/other, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: same}
spec: {type: LoadBalancer, loadBalancerIP: 10.200.0.7, selector: {app: web}, ports: [{port: 81, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: strict}
spec: {selector: {app: never}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: early}
spec: {publishNotReadyAddresses: true, selector: {app: never}, ports: [{port: 80}]}
"#;

fn lab() -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    bench.up(LAB, &[]);
    bench.apply(OBJECTS);
    bench.ok(["wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout", "90s"]);
    bench
}

fn topo(bench: &Bench, line: &str) -> Outcome {
    bench.run(line.split_whitespace())
}

fn until(bench: &Bench, line: &str, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
    wait_for(line, LIMIT, || {
        let outcome = topo(bench, line);
        if wanted(&outcome) { Ok(outcome) } else { Err(format!("{outcome:?}")) }
    })
}

fn service(bench: &Bench, name: &str) -> Value {
    serde_json::from_str(&topo(bench, &format!("get svc {name} -o json")).ok()).unwrap()
}

fn cluster_ip(bench: &Bench, name: &str) -> Ipv4Addr {
    service(bench, name)["spec"]["clusterIP"].as_str().unwrap().parse().unwrap()
}

fn curl(from: &str, at: impl ToString) -> String {
    format!("exec {from} -- curl -s -S -m 5 http://{}", at.to_string())
}

#[test]
fn services_answer_wherever_they_are_asked_and_their_rules_are_told_in_words() {
    let bench = lab();
    // An address of the pool; who has it answers to everyone, also to those who are in no cluster.
    let answers = |outcome: &Outcome| outcome.stdout.contains("This is pod");
    for place in ["C0e1", "C0w1", "C0w2"] {
        until(&bench, &curl(place, "10.200.0.7"), answers);
    }
    until(&bench, &curl("C0e1", "10.200.0.7:8080"), answers);
    let held =
        |node: &str| topo(&bench, &format!("exec {node} -- ip -4 address")).ok().contains("10.200.0.7/32");
    assert!(held("C0w1") != held("C0w2"), "one of them has it");
    let described = until(&bench, "describe svc web", |told| told.stdout.contains("nodeAssigned")).stdout;
    assert!(described.contains("announcing from node \"C0w"), "{described}");
    // One of another class waits for somebody else, and an address is not given twice.
    let ingress = |name: &str| service(&bench, name)["status"]["loadBalancer"]["ingress"].clone();
    assert_eq!(ingress("web")[0]["ip"], "10.200.0.7");
    until(&bench, "describe svc same", |told| told.stdout.contains("10.200.0.7 is taken"));
    assert!(ingress("other").is_null() && ingress("same").is_null());

    // Both pods, by a port's name, from a worker; a client that stays away from one that is not ready, and one that does
    // not.
    let web = cluster_ip(&bench, "web");
    let mut seen = BTreeSet::new();
    wait_for("both pods", LIMIT, || {
        let text = topo(&bench, &curl("C0w1", web)).ok();
        seen.extend(["pod a ", "pod b "].into_iter().filter(|name| text.contains(name)));
        if seen.len() == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    until(&bench, &curl("C0w1", cluster_ip(&bench, "early")), answers);
    let refused = topo(&bench, &curl("C0w1", cluster_ip(&bench, "strict")));
    assert!(refused.stderr.contains("refused") || refused.stderr.contains("connect to"), "{refused:?}");

    // In words, and in numbers.
    let shown = until(&bench, "proxy show web:http", |told| told.code == Some(0)).stdout;
    for text in [
        "default/web:http\n",
        &format!("  {web}:80/tcp: "),
        "  10.200.0.7:80/tcp: ",
        "default/a",
        "default/b",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let numbers: Value =
        serde_json::from_str(&topo(&bench, "proxy show default/web:http -o json --node C0w1").ok()).unwrap();
    let frontends = numbers["services"]["default/web:http"].as_array().unwrap();
    let one = frontends.iter().find(|one| one["at"] == format!("{web}:80/tcp")).unwrap();
    assert!(one["connections"].as_u64().unwrap() >= 2, "{one:#}");
    for (line, why) in [
        ("proxy show headless", "service headless is headless"),
        ("proxy show nothing", "there is no service nothing"),
    ] {
        let outcome = topo(&bench, line);
        assert!(outcome.code == Some(1) && outcome.stderr.contains(why), "{outcome:?}");
    }
    let outcome = topo(&bench, "proxy show web --node C0e1");
    assert!(outcome.code == Some(2) && outcome.stderr.contains("there is no worker C0e1"), "{outcome:?}");
    assert!(topo(&bench, "proxy show --node C0w2").ok().contains("strict\n"));

    // With the service the address goes.
    topo(&bench, "delete svc web").ok();
    until(&bench, "exec C0w1 -- ip -4 address", |told| !told.stdout.contains("10.200.0.7"));
    until(&bench, "exec C0w2 -- ip -4 address", |told| !told.stdout.contains("10.200.0.7"));
}

/// A request on a connection that may have served some; gives the answer's text.
fn ask(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(("content-length", value)) = line.to_ascii_lowercase().trim_end().split_once(": ") {
            length = value.parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(String::from_utf8(body).unwrap())
}

fn connect(to: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

fn kill(pid: &Value) {
    let pid = pid.as_i64().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
}

#[test]
fn agents_and_etcd_are_killed_under_load_and_no_connection_notices() {
    let bench = lab();
    let web = SocketAddr::from((cluster_ip(&bench, "web"), 80));
    until(&bench, &curl("C0w1", web), |outcome| outcome.stdout.contains("This is pod"));
    let status = bench.status();
    let agent = &status["clusters"][0]["workers"][0]["pid"];
    let ns = NetNs::open(format!("/proc/{agent}/ns/net")).unwrap();
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let talk = || {
                let mut failures = Vec::new();
                let mut kept: Vec<_> = (0..10).map(|_| connect(web).unwrap()).collect();
                while !stop.load(Ordering::Relaxed) {
                    for connection in &mut kept {
                        failures.extend(ask(connection).err().map(|error| format!("established: {error}")));
                    }
                    for _ in 0..20 {
                        let one = connect(web).and_then(|mut connection| ask(&mut connection));
                        failures.extend(one.err().map(|error| format!("new: {error}")));
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok::<_, net::Error>(failures)
            };
            ns.run(talk).unwrap()
        });
        let more = |count: usize| {
            let wanted = made.load(Ordering::Relaxed) + count;
            wait_for("connections", LIMIT, || {
                let now = made.load(Ordering::Relaxed);
                if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted}")) }
            });
        };
        more(100);
        kill(&status["clusters"][0]["etcd"][0]["pid"]);
        for worker in 0..2 {
            kill(&bench.status()["clusters"][0]["workers"][worker]["pid"]);
        }
        more(300);
        bench.wait_ready();
        more(100);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(failures.is_empty(), "{failures:?}");
    // And what is written now is heard of.
    topo(&bench, "delete pod a --wait=false").ok();
    until(&bench, "proxy show web:http", |told| !told.stdout.contains("default/a"));
}
