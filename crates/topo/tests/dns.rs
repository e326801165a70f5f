//! Names, asked for with packets: by dig, nslookup and the C library, in pods and on workers.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, User};
use testkit::wait_for;

const SOON: Duration = Duration::from_secs(60);
const OBJECTS: &str = include_str!("dns/objects.yaml");
const TABLE: &str = include_str!("dns/table.txt");

/// A lab that asks those resolvers for names of the world outside.
fn lab(user: User, resolvers: &str) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    bench.up("clusters: [{name: C0, workers: 2}]\n", &[("KNETSIM_RESOLVERS", resolvers)]);
    bench.apply(OBJECTS);
    for pod in ["c1", "db-0", "db-1"] {
        bench.ok(["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=60s"]);
    }
    bench
}

fn json(bench: &Bench, line: &str) -> Value {
    serde_json::from_str(&bench.ok(line.split(' ').chain(["-o", "json"]))).unwrap()
}

fn address(bench: &Bench, pod: &str) -> String {
    let mut found = String::new();
    wait_for("the pod's address", SOON, || {
        let pod = json(bench, &format!("get pod {pod}"));
        found = pod["status"]["podIP"].as_str().ok_or_else(|| pod["status"].to_string())?.to_owned();
        Ok(())
    });
    found
}

/// A shell's line in a pod or on a node: what it prints, errors included.
fn sh(bench: &Bench, place: &str, line: &str) -> String {
    bench.run(["exec", place, "--", "sh", "-c", &format!("{line} 2>&1")]).stdout
}

/// Repeats a line until it prints that.
fn until(bench: &Bench, place: &str, line: &str, wanted: &str) {
    wait_for(line, SOON, || {
        let said = sh(bench, place, line);
        if said == wanted { Ok(()) } else { Err(said) }
    });
}

/// Questions with what dig shall say, with pods' addresses in place.
fn table(bench: &Bench) -> Vec<(String, Vec<String>)> {
    let mut text = TABLE.to_owned();
    for (name, pod) in [("first", "db-0"), ("second", "db-1"), ("late", "db-2")] {
        let ip = address(bench, pod);
        let backwards: Vec<&str> = ip.rsplit('.').collect();
        text = text.replace(&format!("{{{name}}}"), &ip);
        text = text.replace(&format!("{{-{name}}}"), &ip.replace('.', "-"));
        text = text.replace(&format!("{{rev-{name}}}"), &format!("{}.in-addr.arpa", backwards.join(".")));
    }
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(expected) => rows.last_mut().unwrap().1.push(expected.to_owned()),
            None => rows.push((line.to_owned(), vec![])),
        }
    }
    for (_, expected) in &mut rows {
        expected.sort();
    }
    rows
}

/// The answers in what dig prints, as the table has them, in any order.
fn answers(said: &str) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut section = "";
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [";;", "->>HEADER<<-", "opcode:", "QUERY,", "status:", code, ..] => {
                let code = code.trim_end_matches(',');
                all.push(if code == "NOERROR" { vec![] } else { vec![code.into()] });
            }
            [";;", "flags:", flags @ ..] => {
                let end = flags.iter().position(|word| word.ends_with(';')).unwrap();
                let flags = flags[..=end].join(" ");
                let flags = flags.trim_end_matches(';');
                if flags != "qr aa rd ra" {
                    all.last_mut().unwrap().push(format!("flags {flags}"));
                }
            }
            [";;", name, "SECTION:"] => section = name,
            [name, _, "IN", "SOA", ..] if section == "AUTHORITY" => {
                all.last_mut().unwrap().push(format!("SOA {name}"));
            }
            [first, ..] if !first.starts_with(';') => {
                let mut words = words;
                if words.get(3) == Some(&"SOA") {
                    // When the zone last changed.
                    words[6] = "N";
                }
                let with = if section == "ADDITIONAL" { "with " } else { "" };
                all.last_mut().unwrap().push(format!("{with}{}", words.join(" ")));
            }
            _ => {}
        }
    }
    all.iter_mut().for_each(|lines| lines.sort());
    all
}

/// All questions in one run of dig, so that a row costs what its packets cost.
fn every_row(bench: &Bench, how: &str) {
    let rows = table(bench);
    let questions: String = rows.iter().map(|(question, _)| format!("{question}\n")).collect();
    let file = bench.folder().join("questions");
    fs::write(&file, questions).unwrap();
    let mut command = bench.command(["exec", "C0/c1", "--", "dig", "+noidnin", how, "-f", "-"]);
    let output = command.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let answers = answers(&said);
    assert_eq!(answers.len(), rows.len(), "{said}");
    let mut wrong = String::new();
    for ((question, expected), answer) in rows.iter().zip(&answers) {
        if expected != answer {
            writeln!(wrong, "{question}: {answer:#?}, not {expected:#?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{how}: {wrong}");
    assert!(rows.len() > 50, "{} rows", rows.len());
}

/// What of an answer depends on how it is asked for.
fn sizes_and_refusals(bench: &Bench) {
    let endpoints: Vec<String> = (1..=100).map(|n| format!("{{addresses: [172.17.0.{n}]}}")).collect();
    bench.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: wide}}, spec: {{clusterIP: None}}}}\n---\n\
             {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
               metadata: {{name: wide-1, labels: {{kubernetes.io/service-name: wide}}}},
               endpoints: [{}]}}\n",
        endpoints.join(", ")
    ));
    let dig = |options: &str| sh(bench, "C0/c1", &format!("dig wide.default.svc.cluster.local {options}"));
    wait_for("all endpoints", SOON, || {
        // dig asks again by TCP when an answer is cut off.
        let said = dig("+short");
        if said.lines().count() == 100 { Ok(()) } else { Err(said) }
    });
    let size = |said: &str| -> usize {
        let line = said.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: ")).unwrap();
        line.parse().unwrap()
    };
    for (options, least, most) in [
        ("+noedns", 480, 512),
        ("+bufsize=512", 460, 512),
        ("+bufsize=1000", 950, 1000),
        ("+bufsize=4096", 1180, 1232),
    ] {
        let said = dig(&format!("+ignore {options}"));
        assert!(said.contains("flags: qr aa tc rd ra;"), "{said}");
        assert!((least..=most).contains(&size(&said)), "{options}: {said}");
        assert_eq!(said.contains("udp: 1232"), options != "+noedns", "{said}");
    }
    let whole = dig("+tcp");
    assert!(whole.contains("flags: qr aa rd ra;") && whole.contains("ANSWER: 100"), "{whole}");
    let said = dig("+edns=1 +noednsneg");
    assert!(said.contains("status: BADVERS"), "{said}");
    let said = dig("+norecurse +tcp");
    assert!(said.contains("flags: qr aa ra;"), "{said}");
    let said = sh(bench, "C0/c1", "dig cluster.local AXFR");
    assert!(said.contains("; Transfer failed.") && !said.contains("IN\tA"), "{said}");
    let said = sh(bench, "C0/c1", "dig web.shop.svc.cluster.local CH TXT; dig +opcode=update cluster.local");
    assert!(said.contains("status: REFUSED") && said.contains("status: NOTIMP"), "{said}");
}

/// Short names, as people type them.
fn nslookup(bench: &Bench) {
    let server = "Server:\t\t100.64.0.10\nAddress:\t100.64.0.10#53\n\n";
    let look = |name: &str| sh(bench, "C0/c1", &format!("nslookup {name}"));
    let web = format!("{server}Name:\tweb.default.svc.cluster.local\nAddress: 100.64.77.1\n\n");
    assert_eq!(look("web"), web);
    assert_eq!(look("web.default"), web);
    assert_eq!(look("web.shop"), web.replace("default", "shop").replace("77.1", "77.2"));
    let no = look("nothing");
    assert_eq!(no, format!("{server}** server can't find nothing: NXDOMAIN\n\n"));
    let srv = look("-type=srv _http._tcp.web");
    assert!(srv.contains("service = 0 100 80 web.default.svc.cluster.local."), "{srv}");
    let ptr = look("100.64.77.1");
    assert!(ptr.contains("1.77.64.100.in-addr.arpa\tname = web.default.svc.cluster.local.\n"), "{ptr}");
    // A headless service shows its pods.
    let mut pods: Vec<String> = ["db-0", "db-1"].map(|pod| address(bench, pod)).to_vec();
    pods.sort();
    let mut found: Vec<String> =
        sh(bench, "C0/c1", "dig +search +short db").lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, pods);
}

/// By the C library, and by plain `ip netns exec`; on workers, too.
fn from_everywhere(bench: &Bench) {
    let web = "100.64.77.1     web.default.svc.cluster.local\n";
    for (place, line) in [
        ("C0/c1", "getent hosts web"),
        ("C0w1", "getent hosts web.default.svc.cluster.local"),
        ("C0w2", "getent hosts web"),
        ("t0", "ip netns exec C0w1 getent hosts web"),
        ("t0", "ip netns exec C0-c1 getent hosts web"),
    ] {
        assert_eq!(sh(bench, place, line), web, "{place} {line}");
    }
    for (place, line) in [
        ("C0/c1", "curl -sS http://web"),
        ("C0w1", "curl -sS http://web.default.svc.cluster.local"),
        ("t0", "ip netns exec C0w2 curl -sS http://web.default.svc.cluster.local"),
        ("t0", "ip netns exec C0-c1 curl -sS http://web"),
    ] {
        let said = sh(bench, place, line);
        assert!(said.contains("Welcome to nginx"), "{place} {line}: {said}");
    }
    // Names of nodes go before those of services.
    assert_eq!(sh(bench, "C0w1", "getent hosts C0w2"), "10.0.0.4        C0w2\n");
    let trace = json(bench, "dns trace C0w1 C0w2");
    assert_eq!(trace["result"], "C0w2 is 10.0.0.4: /etc/hosts says so, nobody is asked", "{trace}");
    let trace = json(bench, "dns trace C0w1 web.shop");
    assert_eq!(trace["addresses"][0], "100.64.77.2", "{trace}");
    let trace = json(bench, "dns trace C0/c1 web.shop");
    assert_eq!(trace["tries"].as_array().unwrap().len(), 2, "{trace}");
}

fn dns_pods(bench: &Bench) -> Vec<(String, String)> {
    let pods = json(bench, "get pods -n kube-system -l k8s-app=kube-dns");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"])))
        .collect()
}

/// Gives the servers a Corefile, and waits until each has read it.
fn configure(bench: &Bench, lines: &str) {
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: coredns, namespace: kube-system}}\n\
         data:\n  Corefile: |\n    .:53 {{\n{lines}    }}\n"
    );
    let count = || {
        let of = |(pod, _): &(String, String)| {
            bench.ok(["logs", &format!("C0/kube-system/{pod}")]).matches("configured").count()
        };
        dns_pods(bench).iter().map(of).collect::<Vec<_>>()
    };
    let before = count();
    bench.apply(&map);
    wait_for("the configuration read", SOON, || {
        let now = count();
        let read = now.iter().zip(&before).all(|(now, before)| now > before);
        if read { Ok(()) } else { Err(format!("{before:?}, {now:?}")) }
    });
}

fn logs(bench: &Bench) -> String {
    dns_pods(bench).iter().map(|(pod, _)| bench.ok(["logs", &format!("C0/kube-system/{pod}")])).collect()
}

/// The query log, and counters, on request.
fn log_and_metrics(bench: &Bench) {
    sh(bench, "C0/c1", "dig unlogged.default.svc.cluster.local");
    configure(bench, "        log . {\n           class denial\n        }\n");
    sh(bench, "C0/c1", "dig web.default.svc.cluster.local; dig logged.default.svc.cluster.local");
    let said = logs(bench);
    assert!(said.contains(" udp A logged.default.svc.cluster.local. NXDOMAIN "), "{said}");
    assert!(!said.contains("unlogged.") && !said.contains(" A web."), "{said}");
    // One of the servers has answered; which one is kube-proxy's choice.
    for (_, ip) in dns_pods(bench) {
        sh(bench, "C0/c1", &format!("dig @{ip} metrics.shop.svc.cluster.local"));
        sh(bench, "C0/c1", &format!("dig @{ip} www.example.com"));
        let metrics = sh(bench, "C0/c1", &format!("curl -sS http://{ip}:9153/metrics"));
        for line in [
            r#"knetsim_dns_responses_total{zone="cluster.local.",rcode="NXDOMAIN"} "#,
            r#"knetsim_dns_responses_total{zone=".",rcode="NXDOMAIN"} "#,
            r#"knetsim_dns_requests_total{zone="cluster.local.",proto="udp",type="A"} "#,
            "knetsim_dns_synced 1\n",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    }
    let by_name = sh(bench, "C0/c1", "curl -sS http://kube-dns.kube-system:9153/metrics");
    assert!(by_name.contains("knetsim_dns_services "), "{by_name}");
}

/// Names of others, asked for where the Corefile says; here at a server of another zone.
fn others(bench: &Bench) {
    bench.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: far}, spec: {dnsPolicy: Default, containers: [{name: c,
          image: coredns, args: [--etcd, 'http://10.1.0.1:2379', --zone, example.org],
          readinessProbe: {httpGet: {path: /ready, port: 8181}}}]}}\n",
    );
    bench.ok(["wait", "pod/far", "--for=condition=Ready", "--timeout=60s"]);
    configure(bench, &format!("        forward . {}\n        cache 30\n", address(bench, "far")));
    let dig = |line: &str| sh(bench, "C0/c1", &format!("dig {line}"));
    let said = dig("web.shop.svc.example.org");
    assert!(said.contains("flags: qr rd ra;"), "{said}");
    assert!(said.contains("web.shop.svc.example.org. 5\tIN\tA\t100.64.77.2"), "{said}");
    // An alias that leads there is followed.
    let said = dig("+short ext-far.default.svc.cluster.local");
    assert_eq!(said, "web.shop.svc.example.org.\n100.64.77.2\n");
    // Whoever does not want others to be asked is refused.
    assert!(dig("+norecurse www.example.com").contains("status: REFUSED"));
    // Nobody there: within the time that a resolver waits, a failure and not silence.
    bench.ok(["delete", "pod", "far", "--grace-period=1"]);
    let said = dig("+tries=1 +timeout=10 nobody.svc.example.org");
    assert!(said.contains("status: SERVFAIL"), "{said}");
    assert_eq!(dig("+short web.shop.svc.cluster.local"), "100.64.77.2\n");
    // A Corefile that makes no sense changes nothing, and says so.
    bench.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: coredns, namespace: kube-system}, data: {Corefile: '}'}}",
    );
    wait_for("the complaint", SOON, || {
        let said = logs(bench);
        let complaint =
            "the configuration stays as it was error=\"Corefile line 1: a brace is closed that is not open\"";
        if said.matches(complaint).count() == 2 { Ok(()) } else { Err(said) }
    });
    assert_eq!(dig("+short web.shop.svc.cluster.local"), "100.64.77.2\n");
}

#[test]
fn every_name_of_the_specification_from_a_pod_and_a_worker() {
    let bench = lab(User::Own, "none");
    until(
        &bench,
        "C0/c1",
        "dig +short early.default.svc.cluster.local",
        &format!("{}\n", address(&bench, "db-2")),
    );
    every_row(&bench, "+notcp");
    every_row(&bench, "+tcp");
    nslookup(&bench);
    from_everywhere(&bench);
    sizes_and_refusals(&bench);
    log_and_metrics(&bench);
    others(&bench);
}

#[test]
fn the_world_outside_and_a_user_without_privilege() {
    let (resolver, asked) = machines_resolver();
    let bench = lab(User::Nobody, &resolver.to_string());
    from_everywhere(&bench);
    world_outside(&bench, &asked);
}

/// The questions that a resolver was asked, as `www.example.com 1`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A resolver of the machine, that knows every name; names that begin with `long` have a hundred addresses, which are
/// told by TCP only.
fn machines_resolver() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
    let (address, asked) = (socket.local_addr().unwrap(), Asked::default());
    let questions = asked.clone();
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            let (name, mut answer) = machines_answer(&packet[..length]);
            questions.lock().unwrap().push(name.clone());
            if name.starts_with("long") && name.ends_with(" 1") {
                answer[2] |= 2;
                answer[7] = 0;
                answer.truncate(answer.len() - 16 * 100);
            }
            socket.send_to(&answer, peer).unwrap();
        }
    });
    let questions = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut packet = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut packet).unwrap();
            let (name, answer) = machines_answer(&packet);
            questions.lock().unwrap().push(format!("{name} by TCP"));
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length, answer.as_slice()].concat()).unwrap();
        }
    });
    (address, asked)
}

/// The question, as `www.example.com 1`, and the whole answer.
fn machines_answer(packet: &[u8]) -> (String, Vec<u8>) {
    // The header and the question without what is behind it.
    let name = packet[12..].iter().position(|byte| *byte == 0).unwrap();
    let mut answer = packet[..12 + name + 5].to_vec();
    let text = answer[13..12 + name].iter().map(|byte| if *byte < b' ' { '.' } else { char::from(*byte) });
    let (text, kind) = (text.collect::<String>(), answer[12 + name + 2]);
    let records = match (kind, text.starts_with("long")) {
        (1, true) => 100,
        (1, false) => 1,
        _ => 0,
    };
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, records, 0, 0, 0, 0]);
    for n in 0..records {
        answer.extend([
            0xc0,
            12,
            0,
            1,
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            4,
            192,
            0,
            2,
            if records == 1 { 80 } else { n },
        ]);
    }
    (format!("{text} {kind}"), answer)
}

/// The machine's resolver is asked for what is not the cluster's, and for nothing else.
fn world_outside(bench: &Bench, asked: &Asked) {
    let all = || asked.lock().unwrap().clone();
    let far = "192.0.2.80      www.example.com\n";
    // The search domains are the cluster's.
    for place in ["C0/c1", "C0w1", "C0e1"] {
        assert_eq!(sh(bench, place, "getent hosts www.example.com"), far, "{place}");
    }
    // Short names go out as they are, where none of the search domains has such an address.
    assert!(!all().iter().any(|question| question.contains("cluster.local")), "{:?}", all());
    for _ in 0..10 {
        assert_eq!(sh(bench, "C0/c1", "dig +short www.example.com"), "192.0.2.80\n");
    }
    // Each of the two servers has asked once, unless a packet was slow.
    let told = all().iter().filter(|question| *question == "www.example.com 1").count();
    assert!((1..=6).contains(&told), "{:?}", all());
    let now = all();
    for name in
        ["nothing.default.svc.cluster.local", "nothing.cluster.local", "-x 11.99.99.99", "-x 10.0.0.3"]
    {
        let said = sh(bench, "C0/c1", &format!("dig {name}"));
        assert!(said.contains("status: NXDOMAIN"), "{said}");
    }
    assert_eq!(all(), now);
    // What is too long for a packet is asked for again by TCP, all the way; more often than there are lines.
    for n in 0..6 {
        let said = sh(bench, "C0/c1", &format!("dig +short long{n}.example.com | sort -V | tail -1"));
        assert_eq!(said, "192.0.2.99\n", "{:?}", all());
    }
    assert_eq!(sh(bench, "C0e1", "dig +short long.example.com").lines().count(), 100);
    let by_tcp = all().iter().filter(|question| question.ends_with(" 1 by TCP")).count();
    assert!((7..=13).contains(&by_tcp), "{:?}", all());
    // An alias out of the cluster is followed.
    assert_eq!(
        sh(bench, "C0/c1", "dig +short ext-far.default.svc.cluster.local"),
        "web.shop.svc.example.org.\n192.0.2.80\n"
    );
}

/// Look-ups by the C library, one after the other, until told to end; prints how many, and each that failed.
fn load(bench: &Bench, place: &str) -> Child {
    let script = "rm -f /tmp/end; for i in 1 2 3 4; do (n=0; while [ ! -e /tmp/end ]; do \
                  getent ahostsv4 web >/dev/null || echo failed; n=$((n+1)); echo $n >/tmp/count.$i; done; \
                  echo done $n) & done; wait";
    let mut command = bench.command(["exec", place, "--", "sh", "-c", script]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until each of the loops has made so many more.
fn made_more(bench: &Bench, place: &str, more: u64) {
    let counts = || -> Vec<u64> {
        let said = sh(bench, place, "cat /tmp/count.1 /tmp/count.2 /tmp/count.3 /tmp/count.4");
        said.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut before = counts();
    wait_for("look-ups to go on", SOON, || {
        let now = counts();
        if before.len() < 4 {
            before = now;
            return Err("not begun".into());
        }
        let all = now.len() == 4 && now.iter().zip(&before).all(|(now, before)| *now >= before + more);
        if all { Ok(()) } else { Err(format!("{before:?}, {now:?}")) }
    });
}

fn signal(signal: &str, pid: i64) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn two_ready(bench: &Bench) {
    wait_for("two servers ready", SOON, || {
        let deployment = json(bench, "get deploy coredns -n kube-system");
        if deployment["status"]["readyReplicas"] == 2 {
            Ok(())
        } else {
            Err(deployment["status"].to_string())
        }
    });
}

#[test]
fn no_lookup_fails_for_good_whatever_ends() {
    let bench = lab(User::Own, "none");
    two_ready(&bench);
    let load = load(&bench, "C0/c1");
    made_more(&bench, "C0/c1", 20);

    // One of the two servers, at once and wholly: its shim, without a word. More than once: a moment later nobody
    // is sent there any more.
    for turn in 0..4 {
        let (victim, _) = dns_pods(&bench).remove(turn % 2);
        let shim = sh(&bench, "t0", &format!("pgrep -f 'topo shim .*/C0-kube-system_{victim}$'"));
        let said = sh(&bench, "t0", &format!("kill -KILL {} && echo killed", shim.trim()));
        assert_eq!(said, "killed\n", "{shim}");
        made_more(&bench, "C0/c1", 20);
        two_ready(&bench);
    }

    // One that is deleted, and has time to answer those who have not heard of it.
    let (victim, _) = dns_pods(&bench).remove(1);
    bench.ok(["delete", "pod", &victim, "-n", "kube-system"]);
    made_more(&bench, "C0/c1", 20);
    two_ready(&bench);

    // etcd does not answer: names are as they were.
    let etcd = bench.status()["clusters"][0]["etcd"][0]["pid"].as_i64().unwrap();
    signal("-STOP", etcd);
    made_more(&bench, "C0/c1", 50);
    assert_eq!(sh(&bench, "C0/c1", "dig +short web.shop.svc.cluster.local"), "100.64.77.2\n");
    signal("-CONT", etcd);
    bench.apply("{apiVersion: v1, kind: Service, metadata: {name: late}, spec: {clusterIP: 100.64.77.9, ports: [{port: 80}]}}",
    );
    until(&bench, "C0/c1", "dig +short late.default.svc.cluster.local", "100.64.77.9\n");

    sh(&bench, "C0/c1", "touch /tmp/end");
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("failed") && said.matches("done").count() == 4, "{said}");
}
