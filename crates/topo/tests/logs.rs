//! `topo logs` of pods, whose files are written here as a container's would be.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use runtime::crilog::{Stream, format_line};
use testkit::topo::{Bench, User};

/// A lab of one worker that runs, and the folder of all pods' logs of its cluster.
fn lab() -> (Bench, PathBuf) {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let file = bench.folder().join("lab.yaml");
    fs::write(&file, "dns: false\nclusters: [{name: C0, workers: 1}]\n").unwrap();
    bench.ok(["up", "-q", "-f", file.to_str().unwrap()]);
    let root = bench.state().join("knetsim/logs/pods/C0");
    fs::create_dir_all(&root).unwrap();
    (bench, root)
}

/// Appends a line that is so many minutes old.
fn write(folder: &Path, file: &str, minutes: i64, text: &str) {
    fs::create_dir_all(folder).unwrap();
    let time = Timestamp::now() - SignedDuration::from_mins(minutes);
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(file)).unwrap();
    file.write_all(&format_line(time, Stream::Stdout, false, text.as_bytes())).unwrap();
}

#[test]
fn logs_of_a_pod_are_shown_as_kubectl_shows_them() {
    let (bench, root) = lab();
    let said = |args: &[&str]| {
        let outcome = bench.run(["logs"].iter().chain(args));
        (outcome.code, outcome.stdout, outcome.stderr)
    };
    let fails = |args: &[&str], message: &str| {
        assert_eq!(said(args), (Some(2), String::new(), format!("topo: logs: {message}\n")), "{args:?}");
    };
    // There may be those of the cluster's own pods, or none yet.
    let (code, printed, complained) = said(&["C0/c1"]);
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    assert!(complained.starts_with("topo: logs: there are no logs of C0/c1\nhint: "), "{complained}");

    let c1 = root.join("default_c1_u1");
    for (minutes, text) in [(10, "old"), (3, "young"), (0, "new")] {
        write(&c1.join("b"), "0.log", minutes, text);
    }
    let fine = |text: &str| (Some(0), text.to_owned(), String::new());
    assert_eq!(said(&["C0/c1"]), fine("old\nyoung\nnew\n"));
    assert_eq!(said(&["C0/default/c1", "--tail", "2"]), fine("young\nnew\n"));
    assert_eq!(said(&["C0/c1", "--tail=-1", "--since", "5m"]), fine("young\nnew\n"));
    assert_eq!(said(&["C0/c1", "--limit-bytes", "5"]), fine("old\ny"));
    let (_, stamped, _) = said(&["C0/c1", "--timestamps", "--tail=1"]);
    let (time, text) = stamped.split_once(' ').unwrap();
    assert!(time.len() == 30 && time.parse::<Timestamp>().is_ok() && text == "new\n", "{stamped}");

    write(&c1.join("a"), "0.log", 0, "first life");
    write(&c1.join("a"), "1.log", 0, "second life");
    let defaulted = "Defaulted container \"a\" out of: a, b\n".to_owned();
    assert_eq!(said(&["C0/c1"]), (Some(0), "second life\n".into(), defaulted));
    assert_eq!(said(&["C0/c1", "-c", "a", "-p"]), fine("first life\n"));
    assert_eq!(said(&["C0/c1", "b", "--tail=1"]), fine("new\n"));
    fails(
        &["C0/c1", "-c", "b", "-p"],
        "previous terminated container \"b\" in pod \"c1\" not found\nhint: it has not been restarted; without \
         -p there is the log of the one that runs",
    );
    fails(&["C0/c1", "-c", "bb"], "container bb is not valid for pod c1\nhint: did you mean b?");
    fails(&["C0/c2"], "there are no logs of C0/c2\nhint: did you mean C0/c1?");
    let (_, _, complained) = said(&["C0/shop/web"]);
    assert!(
        complained.starts_with("topo: logs: there are no logs of C0/shop/web\nhint: there are C0/c1"),
        "{complained}"
    );
    fails(&["C0/a/b/c"], "C0/a/b/c is no pod\nhint: a pod is C0/c1 or C0/NAMESPACE/POD");
    fails(
        &["C0w1", "--tail=1"],
        "--tail is for pods, and C0w1 is none\nhint: a pod is named with its cluster, as C0/c1",
    );
    assert!(said(&["C0/c1", "--since=-5m"]).2.contains("must not be negative"));
    fs::create_dir_all(root.join("shop_web_u1")).unwrap();
    fails(&["C0/shop/web"], "no container of pod web has been started\nhint: the pod's events say why");
}

#[test]
fn a_pod_is_followed_over_a_restart_until_it_is_gone() {
    let (bench, root) = lab();
    let container = root.join("default_c1_u1/a");
    write(&container, "0.log", 0, "one");
    let mut follow = bench.command(["logs", "-f", "C0/c1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "one");
    write(&container, "0.log", 0, "two");
    assert_eq!(lines.next().unwrap(), "two");
    write(&container, "1.log", 0, "three");
    assert_eq!(lines.next().unwrap(), "three");
    fs::remove_dir_all(container.parent().unwrap()).unwrap();
    assert_eq!(lines.next(), None);
    assert!(follow.wait().unwrap().success());
}
