//! What goes wrong in a lab, and on the way to one: a clear message, and the host is as before.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use net::NetNs;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const ONE_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-cluster.yaml");
const SOON: Duration = Duration::from_secs(30);

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own)
}

fn kill(signal: &str, pid: i64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Processes that run this test's own copy of `topo`, or that it started: all bear the folder's name.
fn processes_of(bench: &Bench) -> Vec<String> {
    let folder = bench.folder().display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file| fs::read(entry.path().join(file)).unwrap_or_default();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
        let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let command = text(read("cmdline"));
        let ours = exe.starts_with(&folder) || command.contains(&folder);
        if ours && !command.is_empty() {
            found.push(format!("{} {command}", entry.file_name().display()));
        }
    }
    found
}

fn nothing_is_left(bench: &Bench) {
    wait_for("all processes gone", SOON, || {
        let left = processes_of(bench);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[test]
fn a_killed_agent_is_back() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let pid = bench.status()["clusters"][0]["workers"][0]["pid"].as_i64().unwrap();
    kill("-KILL", pid);
    wait_for("the agent restarted", SOON, || {
        let status = bench.status();
        let worker = &status["clusters"][0]["workers"][0];
        if worker["ready"] == true && worker["restarts"] == 1 { Ok(()) } else { Err(worker.to_string()) }
    });
    bench.ok(["exec", "C0w1", "--", "ping", "-c1", "-W5", "C0w2"]);
}

#[test]
fn a_killed_etcd_is_back_with_its_data() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let etcdctl = ["exec", "C0e1", "--", "env", "ETCDCTL_API=3", "etcdctl"];
    bench.ok(etcdctl.iter().chain(&["put", "a", "b"]));
    kill("-KILL", bench.status()["clusters"][0]["etcd"][0]["pid"].as_i64().unwrap());
    wait_for("etcd restarted", SOON, || {
        let status = bench.status();
        let etcd = &status["clusters"][0]["etcd"][0];
        if etcd["ready"] == true && etcd["restarts"] == 1 { Ok(()) } else { Err(etcd.to_string()) }
    });
    assert_eq!(bench.ok(etcdctl.iter().chain(&["get", "--print-value-only", "a"])), "b\n");
    bench.wait_ready();
}

#[test]
fn a_crash_loop_shows_in_the_status() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    // Somebody else takes etcd's port while it is away.
    let pid = bench.status()["clusters"][0]["etcd"][0]["pid"].as_i64().unwrap();
    let namespace = NetNs::open(format!("/proc/{pid}/ns/net")).unwrap();
    kill("-KILL", pid);
    let squatter = wait_for("the port", SOON, || {
        namespace
            .run(|| Ok::<_, net::Error>(TcpListener::bind("10.1.0.1:2379")))
            .unwrap()
            .map_err(|e| e.to_string())
    });
    let outcome = wait_for("a crash loop in the status", SOON, || {
        let outcome = bench.run(["status"]);
        let told = outcome.stdout.contains("exited with status 1")
            && outcome.stdout.contains("address already in use");
        if told && outcome.code == Some(1) { Ok(outcome) } else { Err(format!("{outcome:?}")) }
    });
    assert!(outcome.stdout.contains("next try in"), "{outcome:?}");
    // Once the port is free the lab is whole again, without a hand.
    drop(squatter);
    bench.wait_ready();
}

#[test]
fn a_killed_first_process_takes_everything_with_it() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    let pid = bench.status()["pid"].as_i64().unwrap();
    assert!(!processes_of(&bench).is_empty());
    kill("-KILL", pid);
    nothing_is_left(&bench);
    assert!(bench.ok(["list"]).contains("dead"));
    let outcome = bench.run(["exec", "C0w1", "true"]);
    assert_eq!(
        (outcome.code, outcome.stderr.lines().next()),
        (Some(2), Some("topo: no lab knetsim is running"))
    );
    // What it left behind is in nobody's way.
    let outcome = bench.run(["up", "-q"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("removed what an earlier lab of this name left behind"), "{outcome:?}");
    kill("-KILL", bench.status()["pid"].as_i64().unwrap());
    wait_for("dead", SOON, || {
        let list = bench.ok(["list"]);
        if list.contains("dead") { Ok(()) } else { Err(list) }
    });
    assert_eq!(bench.ok(["down"]), "lab knetsim: removed what it left behind when it was killed\n");
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

#[test]
fn a_terminated_first_process_tidies_up() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    kill("-TERM", bench.status()["pid"].as_i64().unwrap());
    nothing_is_left(&bench);
    assert_eq!(bench.ok(["list"]), "no labs; `topo up` starts one\n");
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

/// Starts a lab and strikes at a different moment each time; there must be a whole lab or none.
fn strike_while_starting(signal: &str) {
    let bench = bench();
    let began = Instant::now();
    bench.ok(["up", "-q"]);
    let whole = began.elapsed();
    bench.ok(["down"]);
    for step in 0..12 {
        let moment = Instant::now() + whole * step / 10;
        let mut up = bench.command(["up", "-q"]).stderr(Stdio::null()).spawn().unwrap();
        // The moment itself is what is tested, so time is what is waited for.
        while Instant::now() < moment && up.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = Command::new("kill").args([signal, &up.id().to_string()]).stderr(Stdio::null()).status();
        up.wait().unwrap();
        let outcome = wait_for("a whole lab or none", SOON, || {
            let outcome = bench.run(["status"]);
            match outcome.code {
                Some(0) | Some(2) if !outcome.stderr.contains("being started") => Ok(outcome),
                _ => Err(format!("{outcome:?}")),
            }
        });
        if outcome.code == Some(0) {
            bench.ok(["down"]);
        }
        nothing_is_left(&bench);
    }
    bench.ok(["up", "-q"]);
}

#[test]
fn a_killed_start_leaves_a_whole_lab_or_none() {
    strike_while_starting("-KILL");
}

#[test]
fn an_interrupted_start_leaves_a_whole_lab_or_none() {
    strike_while_starting("-INT");
}

#[test]
fn an_interrupted_start_says_so() {
    let bench = bench();
    // An etcd that never gets ready gives all the time in the world.
    let tools = bench.folder().join("tools");
    fake(&tools, "etcd", "exec sleep 1000");
    let mut up = bench.command(["up"]);
    let up = up.env("PATH", path_with(&tools)).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("pid 1", SOON, || {
        let processes = processes_of(&bench);
        if processes.iter().any(|p| p.contains("topo agent")) { Ok(()) } else { Err(processes.join("\n")) }
    });
    kill("-INT", up.id().into());
    let outcome = Outcome::of(up.wait_with_output().unwrap(), "up".into());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(130), "topo: interrupted\n"));
    nothing_is_left(&bench);
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

#[test]
fn a_second_lab_of_the_same_name_is_refused() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    let pid = bench.status()["pid"].as_i64().unwrap();
    let outcome = bench.run(["up"]);
    assert_eq!(outcome.code, Some(2));
    let said = format!(
        "topo: lab knetsim is already running (pid {pid})\nhint: end it with `topo down --lab knetsim`, or start another with --lab NAME\n"
    );
    assert_eq!(outcome.stderr, said);
    assert_eq!(bench.run(["pingall"]).code, Some(0), "the first one is as it was");
}

#[test]
fn labs_started_at_the_same_moment_are_one() {
    let bench = bench();
    let ups: Vec<_> =
        (0..4).map(|_| bench.command(["up", "-q"]).stderr(Stdio::null()).spawn().unwrap()).collect();
    let codes: Vec<_> = ups.into_iter().map(|mut up| up.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(bench.run(["pingall"]).code, Some(0));
}

/// A program of the test's own making, ahead of the real one.
fn fake(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn an_etcd_that_cannot_run_ends_the_start_with_its_last_words() {
    let bench = bench();
    let tools = bench.folder().join("tools");
    fake(&tools, "etcd", "echo cannot bind to 10.1.0.1 >&2; exit 3");
    let output = bench.command(["up", "-q"]).env("PATH", path_with(&tools)).output().unwrap();
    let outcome = Outcome::of(output, "up".into());
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("keeps ending: exited with status 3: cannot bind to 10.1.0.1"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("\n  | cannot bind to 10.1.0.1\n"), "{outcome:?}");
    nothing_is_left(&bench);
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

#[test]
fn a_start_that_takes_too_long_says_what_is_missing() {
    let bench = bench();
    let tools = bench.folder().join("tools");
    fake(&tools, "etcd", "echo thinking; exec sleep 1000");
    let output =
        bench.command(["up", "-q", "--timeout", "1"]).env("PATH", path_with(&tools)).output().unwrap();
    let outcome = Outcome::of(output, "up".into());
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.starts_with("topo: not ready within 1 s: etcd in C0e1, "), "{outcome:?}");
    assert!(outcome.stderr.contains("\n  | thinking\n"), "{outcome:?}");
    nothing_is_left(&bench);
}

#[test]
fn a_missing_program_is_named_before_anything_is_started() {
    let bench = bench();
    let output = bench.command(["up"]).env("PATH", "/nonexistent").output().unwrap();
    let found =
        ["/usr/local/sbin/etcd", "/usr/sbin/etcd", "/sbin/etcd"].iter().any(|p| Path::new(p).exists());
    assert!(!found, "etcd is in a system folder here, which PATH does not hide");
    let outcome = Outcome::of(output, "up".into());
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome
            .stderr
            .starts_with("topo: etcd is not on PATH\nhint: install it with `apt-get install etcd-server`"),
        "{outcome:?}"
    );
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

#[test]
fn a_full_state_folder_is_told() {
    let bench = bench();
    // A file system of one page, in a mount namespace of its own.
    let script = "mount -t tmpfs -o size=4k,nr_inodes=8 tmpfs \"$2\" && head -c 4096 /dev/zero >\"$2/full\" && exec \"$1\" up -q";
    let topo = bench.folder().join("topo");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(topo).arg(bench.state());
    command.env("KNETSIM_STATE_DIR", bench.state()).env_remove("KNETSIM_LAB");
    let outcome = Outcome::of(command.output().unwrap(), "up".into());
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("hint: the file system is full; KNETSIM_STATE_DIR names another place"),
        "{outcome:?}"
    );
    nothing_is_left(&bench);
}

#[test]
fn a_state_folder_of_someone_else_is_refused() {
    let bench = bench();
    fs::create_dir(bench.state().join("knetsim")).unwrap();
    std::os::unix::fs::chown(bench.state().join("knetsim"), Some(12345), None).unwrap();
    fs::File::create(bench.state().join("knetsim/lock")).unwrap();
    // Not even asked: whoever answers there could lead anywhere.
    for args in [vec!["up"], vec!["status"], vec!["exec", "C0w1", "true"], vec!["down"]] {
        let outcome = bench.run(args);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains("is not a folder of this user"), "{outcome:?}");
    }
}

#[test]
fn a_lab_is_not_ended_from_inside() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let topo = bench.folder().join("topo").display().to_string();
    let outcome = bench.run(["exec", "C0w1", "--", &topo, "down"]);
    let said = "topo: a lab cannot be ended from inside\nhint: leave it, and type `topo down` outside\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), said));
    assert_eq!(bench.run(["status"]).code, Some(0));
}

#[test]
fn many_that_end_a_lab_at_once_do_not_harm_each_other() {
    let bench = bench();
    for _ in 0..5 {
        bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
        let quiet = || bench.command(["down"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let codes: Vec<_> = (0..4).map(|_| quiet()).collect::<Vec<_>>();
        let codes: Vec<_> = codes.into_iter().map(|mut down| down.wait().unwrap().code()).collect();
        assert!(codes.contains(&Some(0)), "{codes:?}");
        // Who came too late is told that there is none.
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 2))), "{codes:?}");
        nothing_is_left(&bench);
    }
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}

#[test]
fn a_state_folder_that_fills_up_does_not_end_the_lab() {
    let bench = bench();
    // The lab's state is on a small file system that only this test's mount namespace has.
    let script = r#"
mount -t tmpfs -o size=400k tmpfs "$2"
"$1" up -q -f "$3" || exit 1
dd if=/dev/zero of="$2/full" bs=4k 2>/dev/null
pid=$("$1" status | awk '$2 == "C0w1" { print $7 }')
kill -KILL "$pid"
for try in $(seq 200); do
  "$1" status | awk '$2 == "C0w1" && $5 == "yes" && $6 == 1 { found = 1 } END { exit !found }' && break
  [ "$try" -lt 200 ] || exit 3
done
"$1" exec C0w1 -- ping -c1 -W5 C0w2 || exit 4
"$1" down
"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(bench.folder().join("topo")).arg(bench.state());
    command.arg(ONE_CLUSTER).env("KNETSIM_STATE_DIR", bench.state()).env_remove("KNETSIM_LAB");
    let _ = Outcome::of(command.output().unwrap(), "a lab on a full disk".into()).ok();
    nothing_is_left(&bench);
}

#[test]
fn etcd_takes_the_memory_that_it_uses() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let used = bench.ok(["exec", "C0e1", "--", "du", "-sk", "/run/lab/etcd/C0e1"]);
    let used: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
    assert!(used < 10_000, "{used} KiB");
}
