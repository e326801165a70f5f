//! Look-ups, step by step, beside the C library's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dns::trace::{End, Settings, Trace, trace};

use crate::forward::{Resolver, answers, fails, is_silent, says_no, truncates, with};
use crate::lab::{alone, cluster, get, options, soon};

const POD: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                   nameserver 127.0.0.1\noptions ndots:5\n";

/// The names that were tried and the whole, without the times.
fn told(trace: &Trace) -> String {
    let mut trace = trace.clone();
    for query in trace.tries.iter_mut().flat_map(|one| &mut one.queries) {
        query.took = Duration::from_micros(100);
    }
    format!("{trace}\n")
}

async fn look_up(conf: &str, name: &str) -> Trace {
    trace(&Settings::parse(conf), name).await.unwrap()
}

#[test]
fn what_one_name_costs() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut all = String::new();
        for name in [
            "web",
            "web.shop",
            "kubernetes.default",
            "kubernetes.default.svc.cluster.local",
            "kubernetes.default.svc.cluster.local.",
            "both",
            "www.example.com",
            "ext",
            "ext-twice",
            "pending",
            "192.0.2.1",
        ] {
            all += &format!("$ {name}\n{}\n", told(&look_up(POD, name).await));
        }
        insta::assert_snapshot!(all);
    });
}

#[test]
fn options_and_orders() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut all = String::new();
        for (conf, name) in [
            ("nameserver 127.0.0.1\nsearch shop.svc.cluster.local\noptions ndots:1 no-aaaa", "web.shop"),
            ("nameserver 127.0.0.1\nsearch shop.svc.cluster.local\noptions use-vc", "web"),
            ("nameserver 127.0.0.1\nsearch . shop.svc.cluster.local\noptions no-aaaa", "web"),
            ("nameserver 127.0.0.1\nsearch a\noptions no-tld-query no-aaaa", "web"),
            ("nameserver 127.0.0.1\noptions no-tld-query no-aaaa edns0", "web"),
        ] {
            all += &format!("{conf}\n$ {name}\n{}\n", told(&look_up(conf, name).await));
        }
        insta::assert_snapshot!(all);
    });
}

/// What the server has been asked and has answered, by zone, type and code.
async fn seen() -> BTreeMap<String, u64> {
    let (_, metrics) = get("/metrics").await;
    let counts = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    let wanted = |name: &str| name.contains("_requests_total{") || name.contains("_responses_total{");
    let counts = counts.filter(|(name, _)| wanted(name));
    counts.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
}

/// How much more that is than before.
async fn since(before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut now = seen().await;
    for (name, count) in before {
        *now.get_mut(name).unwrap() -= count;
    }
    now.retain(|_, count| *count > 0);
    now
}

/// What the C library finds with a `resolv.conf` of its own; in the namespace of the calling thread.
async fn getent(conf: &Path, name: &str) -> Vec<String> {
    let script = r#"mount --bind "$1" /etc/resolv.conf && exec getent ahosts "$2""#;
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(conf).arg(name).kill_on_drop(true);
    let output = soon("getent", command.output()).await.unwrap();
    // 2: there is no such name.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let streams = text.lines().filter(|line| line.contains("STREAM"));
    let mut found: Vec<_> = streams.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_c_library_asks_the_same_and_finds_the_same() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let search = "nameserver 127.0.0.1\nsearch shop.svc.cluster.local\noptions";
        for conf in [
            POD.to_owned(),
            format!("{search} ndots:1"),
            format!("{search} ndots:2 no-tld-query"),
            format!("{search} use-vc"),
            "nameserver 127.0.0.1\nsearch . shop.svc.cluster.local\n".into(),
        ] {
            std::fs::write(&path, &conf).unwrap();
            for name in [
                "web",
                "web.shop",
                "both",
                "db",
                "ext-db",
                "ext",
                "pending",
                "nothing",
                "www.example.com",
                "kubernetes.default.svc.cluster.local",
                "web.shop.svc.cluster.local.",
            ] {
                let before = seen().await;
                let trace = look_up(&conf, name).await;
                let told = since(&before).await;
                let before = seen().await;
                let found = getent(&path, name).await;
                assert_eq!(since(&before).await, told, "{name} with {conf}");
                let mut ours = match &trace.end {
                    End::Found(addresses) => addresses.iter().map(ToString::to_string).collect(),
                    _ => vec![],
                };
                ours.sort();
                assert_eq!(found, ours, "{name} with {conf}");
                let asked: u64 =
                    told.iter().filter(|(name, _)| name.contains("_requests_")).map(|(_, n)| n).sum();
                assert_eq!(asked, trace.queries() as u64, "{name} with {conf}");
            }
        }
    });
}

#[test]
fn servers_that_fail_are_silent_or_not_there() {
    alone(async {
        let bad = Resolver::start(2, fails, is_silent).await;
        let good = Resolver::start(3, answers, is_silent).await;
        let silent = Resolver::start(4, is_silent, is_silent).await;
        let long = Resolver::start(6, truncates, answers).await;
        let conf = |servers: &[&str], more: &str| {
            let servers: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
            format!("{servers}{more}\n")
        };
        let fast = "options timeout:1 attempts:1 no-aaaa";
        let mut all = String::new();
        for (what, conf) in [
            ("the next one answers", conf(&["127.0.0.2", "127.0.0.3"], fast)),
            ("it fails twice", conf(&["127.0.0.2"], "search a b\noptions no-aaaa")),
            ("silence ends the search", conf(&["127.0.0.4"], &format!("search a b\n{fast}"))),
            ("nobody is there", conf(&["127.0.0.5"], &format!("search a b\n{fast}"))),
            ("by TCP", conf(&["127.0.0.6"], fast)),
        ] {
            all += &format!("{what}:\n{}\n", told(&look_up(&conf, "name").await));
        }
        insta::assert_snapshot!(all);
        assert!(bad.asked() > 0 && good.asked() > 0 && silent.asked() > 0 && long.asked() > 0);
    });
}

#[test]
fn names_of_others_cost_all_search_domains() {
    alone(async {
        let resolver = Resolver::start(2, says_no, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let trace = look_up(POD, "www.example.com").await;
        assert_eq!((trace.tries.len(), trace.queries(), trace.end), (4, 8, End::NoName));
        // Only the last of the names left the cluster.
        assert_eq!(resolver.asked(), 2);
    });
}

#[test]
fn what_is_no_name() {
    alone(async {
        let settings = Settings::parse(POD);
        let error = |name: &str| {
            let (settings, name) = (settings.clone(), name.to_owned());
            async move { trace(&settings, &name).await.unwrap_err().to_string() }
        };
        assert_eq!(error("a..b").await, r#""a..b" is no name: a part of it is empty"#);
        assert_eq!(error("").await, r#""" is no name: a part of it is empty"#);
        assert!(error(&"a".repeat(64)).await.contains("is no name"));
        // Too long only with a search domain: that one is passed over.
        let (_store, _server) = cluster(options()).await;
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(60), "b".repeat(50));
        let told = look_up(POD, &long).await;
        assert!(told.to_string().contains("not asked: the name is too long"), "{told}");
        assert_eq!(told.end, End::NoName);
    });
}
