//! Sandboxes of the real kernel. The shim is this very program, as it is the lab's own in a lab; so the
//! tests have a `main` of their own.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cri::{
    ContainerState, Files, Mount, Options, Outcome, Phase, Process, Runtime, Sandbox, SandboxSpec, Source,
    State,
};
use net::{NetNs, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, UnixAddr, getpeername, shutdown};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "shim") {
        return cri::shim::main(Path::new(&args[2]));
    }
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    // Names of namespaces are mounts: not on the machine's own tree.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount::make_private().unwrap();
    run("a_sandbox_is_a_world_of_its_own", a_sandbox_is_a_world_of_its_own);
    run("what_a_pod_writes_reaches_nobody", what_a_pod_writes_reaches_nobody);
    run("containers_see_their_volumes", containers_see_their_volumes);
    run("what_cannot_be_mounted_says_why", what_cannot_be_mounted_says_why);
    run("containers_run_log_and_end", containers_run_log_and_end);
    run("what_cannot_run_says_why", what_cannot_run_says_why);
    run("signals_reach_a_container_and_sigkill_all_of_it", signals_reach_a_container_and_sigkill_all_of_it);
    run("commands_have_an_outcome_and_a_limit", commands_have_an_outcome_and_a_limit);
    run("another_agent_adopts_what_runs", another_agent_adopts_what_runs);
    run("a_killed_shim_takes_its_pod_along", a_killed_shim_takes_its_pod_along);
    run("a_dead_sandbox_is_owed_for_until_that_is_settled", a_dead_sandbox_is_owed_for_until_that_is_settled);
    run("what_an_agent_did_not_finish_is_in_nobodys_way", what_an_agent_did_not_finish_is_in_nobodys_way);
    run("a_lost_connection_is_no_dead_sandbox", a_lost_connection_is_no_dead_sandbox);
    run("a_shim_that_does_not_answer_is_killed", a_shim_that_does_not_answer_is_killed);
    run("what_is_too_long_to_start_says_so", what_is_too_long_to_start_says_so);
    run("an_outcome_is_for_who_asked", an_outcome_is_for_who_asked);
    run("who_enters_gets_the_main_container", who_enters_gets_the_main_container);
    run("a_pod_of_the_workers_network_leaves_its_settings", a_pod_of_the_workers_network_leaves_its_settings);
    run("nothing_is_left", nothing_is_left);
    ExitCode::SUCCESS
}

fn run<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    println!("test {name}");
    let within = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(within, test(Bench::new(folder.path()))).await }).unwrap();
    mount::detach(folder.path());
    println!("test {name} ... ok");
}

struct Bench {
    folder: PathBuf,
    runtime: Runtime,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        // As in a lab, whose sandboxes are not on the file system that the machine's files are on.
        mount::fs("tmpfs", folder, nix::mount::MsFlags::empty(), "").unwrap();
        fs::create_dir(folder.join("hidden")).unwrap();
        let runtime = Runtime::new(Options {
            folder: folder.join("pods"),
            netns: folder.join("netns"),
            etc_netns: folder.join("etc"),
            logs: folder.join("logs"),
            hidden: vec![folder.join("hidden")],
        });
        Self { folder: folder.into(), runtime: runtime.unwrap() }
    }

    async fn create(&self, name: &str) -> Sandbox {
        self.runtime.create(spec(name)).await.unwrap()
    }

    fn log(&self, sandbox: &str, file: &str) -> Vec<String> {
        let path = self.folder.join(format!("logs/default_{sandbox}_u-{sandbox}")).join(file);
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

fn spec(name: &str) -> SandboxSpec {
    SandboxSpec {
        name: name.into(),
        id: format!("{name}-0"),
        node: "w1".into(),
        namespace: "default".into(),
        pod: name.into(),
        uid: format!("u-{name}"),
        attempt: 0,
        hostname: format!("host-{name}"),
        host_network: false,
        files: BTreeMap::from([("hosts".into(), "127.0.0.1 localhost\n10.9.8.7 pod\n".into())]),
        mount_points: Vec::new(),
        main: Some("main".into()),
    }
}

fn sh(script: &str) -> Process {
    Process {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: vec![("PATH".into(), std::env::var("PATH").unwrap()), ("COLOUR".into(), "green".into())],
        ..Process::default()
    }
}

async fn last(sandbox: &Sandbox, when: impl Fn(&ContainerState) -> bool) -> ContainerState {
    let mut state = sandbox.state();
    let state = state.wait_for(|state| state.last("main").is_some_and(&when)).await.unwrap();
    state.last("main").unwrap().clone()
}

async fn exited(sandbox: &Sandbox) -> (i32, Option<i32>) {
    match last(sandbox, |state| !state.running()).await.phase {
        Phase::Exited { code, signal, .. } => (code, signal),
        Phase::Running { .. } => unreachable!(),
    }
}

async fn output(sandbox: &Sandbox, script: &str) -> String {
    match sandbox.runner("main").run(sh(script), Duration::from_secs(20)).await.unwrap() {
        Outcome::Exited { code: 0, output } => output,
        other => panic!("{script}: {other:?}"),
    }
}

async fn a_sandbox_is_a_world_of_its_own(bench: Bench) {
    let sandbox = bench.create("alone").await;
    assert_eq!(output(&sandbox, "hostname").await, "host-alone\n");
    assert!(output(&sandbox, "cat /etc/hosts").await.contains("10.9.8.7 pod"));
    assert_eq!(output(&sandbox, "ls /sys/class/net").await, "lo\n");
    assert_eq!(output(&sandbox, "ls /run").await, "lock\n");
    let processes = output(&sandbox, "ps -e -o pid=,args=").await;
    assert!(processes.lines().count() < 6 && processes.contains("1 topo shim"), "{processes}");
    // 127.0.0.1 is there.
    let socket = NetNs::open(sandbox.netns())
        .unwrap()
        .run(|| std::net::TcpListener::bind("127.0.0.1:80").map_err(|e| net::Error::sys("bind", e)));
    socket.unwrap();
    let entry = cri::sandbox::enter(&bench.folder.join("pods/alone")).unwrap();
    assert_eq!(entry.namespaces.len(), 5);
    let again = bench.runtime.create(spec("alone")).await.unwrap_err();
    assert_eq!(again.to_string(), "sandbox alone exists already");
    sandbox.remove().await.unwrap();
}

async fn what_a_pod_writes_reaches_nobody(bench: Bench) {
    let one = bench.create("one").await;
    let two = bench.create("two").await;
    let name = format!("knetsim-{}", std::process::id());
    let script = format!(
        "for f in / /etc /usr/bin /var/lib /tmp /run /dev/shm; do echo x > $f/{name} || exit 1; done; rm /etc/passwd"
    );
    output(&one, &script).await;
    let seen =
        format!("ls -d /{name} /etc/{name} /usr/bin/{name} /var/lib/{name} /dev/shm/{name} /etc/passwd");
    assert_eq!(output(&two, &format!("{seen} 2>&1 || true")).await.matches("No such file").count(), 5);
    for folder in ["/", "/etc", "/usr/bin", "/var/lib", "/tmp", "/run", "/dev/shm"] {
        assert!(!Path::new(folder).join(&name).exists(), "{folder}");
    }
    assert!(Path::new("/etc/passwd").exists());
    // Nor can it change what is the kernel's.
    for script in [
        "echo x > /dev/x",
        "rm /dev/null",
        "echo 0 > /sys/kernel/profiling",
        "echo 4 > /proc/sys/kernel/printk",
    ] {
        let outcome = one.runner("main").run(sh(script), Duration::from_secs(20)).await.unwrap();
        assert!(matches!(outcome, Outcome::Exited { code, .. } if code != 0), "{script}: {outcome:?}");
    }
    output(
        &one,
        "for f in null zero urandom full tty ptmx; do test -c /dev/$f || exit 1; done; echo x > /dev/null",
    )
    .await;
    output(&one, "echo 1 > /proc/sys/net/ipv4/ip_forward").await;
    // What is the lab's is not there at all.
    let hidden = bench.folder.join("pods");
    let outcome = output(&one, &format!("ls -A {} /proc/1/root/run 2>&1 || true", hidden.display())).await;
    assert!(outcome.contains("No such file") && outcome.ends_with("lock\n"), "{outcome}");
    let mounts = output(&one, "cut -d' ' -f2 /proc/self/mounts").await;
    assert!(!mounts.contains("former") && !mounts.contains("/pods/"), "{mounts}");
    one.remove().await.unwrap();
    two.remove().await.unwrap();
}

fn volume(name: &str, path: &str, target: &str, read_only: bool) -> Mount {
    let source = Source::Volume { name: name.into(), path: path.into(), limit: None };
    Mount { source, target: target.into(), read_only }
}

async fn with_volumes(bench: &Bench, name: &str) -> Sandbox {
    let mount_points = vec![PathBuf::from("/data")];
    let sandbox = bench.runtime.create(SandboxSpec { mount_points, ..spec(name) }).await.unwrap();
    fs::create_dir_all(sandbox.volume("shared")).unwrap();
    fs::create_dir_all(sandbox.volume("config")).unwrap();
    fs::write(sandbox.volume("config").join("colour"), "red").unwrap();
    sandbox
}

async fn containers_see_their_volumes(bench: Bench) {
    let sandbox = with_volumes(&bench, "volumes").await;
    let small = Source::Volume { name: "small".into(), path: String::new(), limit: Some(1 << 20) };
    let host = Source::Host { path: "/usr/bin".into(), create: None };
    let mounts = vec![
        volume("config", "", "/etc/deep/config", true),
        volume("config", "colour", "/etc/colour.conf", false),
        volume("shared", "", "/data", false),
        volume("shared", "part/of", "/data/again", false),
        Mount { source: small, target: "/small".into(), read_only: false },
        Mount { source: host, target: "/host".into(), read_only: true },
    ];
    let files = Files { mounts, read_only_root: true };
    let script = "echo mine > /data/file; echo deep > /data/again/x; cat /etc/deep/config/colour /etc/colour.conf; echo; \
                  for f in / /etc /tmp /run /etc/deep/config /host; do (echo x > $f/y) 2>/dev/null && echo wrote $f; done; \
                  head -c 3000000 /dev/zero > /small/x 2>/dev/null || stat -c %s /small/x; \
                  ls -A /run/.volumes; test -x /host/ls && exec sleep 100";
    sandbox.start("main", 0, sh(script), files.clone());
    let done = || bench.log("volumes", "main/0.log").len() >= 2;
    last(&sandbox, ContainerState::running).await;
    while !done() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.log("volumes", "main/0.log"), ["stdout F redred", "stdout F 1048576"]);
    // Another container has the same volume elsewhere, and not the rest.
    let files = Files { mounts: vec![volume("shared", "", "/elsewhere", false)], read_only_root: false };
    let script = "cat /elsewhere/file /elsewhere/part/of/x; ls -d /small/x 2>/dev/null; exec sleep 100";
    sandbox.start("other", 0, sh(script), files);
    let done = || bench.log("volumes", "other/0.log").len() >= 2;
    sandbox.state().wait_for(|state| state.last("other").is_some_and(ContainerState::running)).await.unwrap();
    while !done() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.log("volumes", "other/0.log"), ["stdout F mine", "stdout F deep"]);
    // A command sees what its container sees, and so does who enters.
    assert_eq!(output(&sandbox, "cat /data/file").await, "mine\n");
    let other =
        sandbox.runner("other").run(sh("cat /elsewhere/file"), Duration::from_secs(20)).await.unwrap();
    assert_eq!(other, Outcome::Exited { code: 0, output: "mine\n".into() });
    let entry = cri::sandbox::enter(&bench.folder.join("pods/volumes")).unwrap();
    let seen = mount::within(entry.namespaces[0].as_fd(), || {
        fs::read_to_string("/data/file").map_err(|e| net::Error::file("read", "/data/file", e))
    });
    assert_eq!(seen.unwrap(), "mine\n");
    // What changes, changes for the container, but not what it has of a part of it.
    fs::write(sandbox.volume("config").join("new"), "green").unwrap();
    assert_eq!(output(&sandbox, "cat /etc/deep/config/new").await, "green");
    sandbox.remove().await.unwrap();
}

async fn what_cannot_be_mounted_says_why(bench: Bench) {
    let sandbox = with_volumes(&bench, "refused").await;
    let said = |attempt: u32, mount: Mount| {
        let sandbox = &sandbox;
        async move {
            sandbox.start("main", attempt, sh("true"), Files { mounts: vec![mount], read_only_root: false });
            match last(sandbox, |state| state.attempt == attempt).await.phase {
                Phase::Exited { message: Some(message), .. } => message,
                other => panic!("{other:?}"),
            }
        }
    };
    let file = said(0, volume("config", "colour", "/usr", false)).await;
    assert!(file.starts_with("error mounting to \"/usr\": not a directory"), "{file}");
    let source = Source::Host { path: "/no/such".into(), create: None };
    let host = said(1, Mount { source, target: "/host".into(), read_only: false }).await;
    assert_eq!(host, "error mounting to \"/host\": /no/such is not there");
    // Nothing of it is left for the next.
    sandbox.start("main", 2, sh("test ! -e /run/.volumes/x"), Files::default());
    last(&sandbox, |state| state.attempt == 2 && !state.running()).await;
    assert_eq!(exited(&sandbox).await, (0, None));
    sandbox.remove().await.unwrap();
}

async fn containers_run_log_and_end(bench: Bench) {
    let sandbox = bench.create("talks").await;
    let script = "echo $COLOUR; echo oops >&2; pwd; exit 3";
    sandbox.start("main", 0, Process { cwd: "/usr".into(), ..sh(script) }, Files::default());
    assert_eq!(exited(&sandbox).await, (3, None));
    let mut lines = bench.log("talks", "main/0.log");
    lines.sort();
    assert_eq!(lines, ["stderr F oops", "stdout F /usr", "stdout F green"]);
    sandbox.start("main", 1, sh("echo again; printf unfinished"), Files::default());
    last(&sandbox, |state| state.attempt == 1 && !state.running()).await;
    assert_eq!(bench.log("talks", "main/1.log"), ["stdout F again", "stdout F unfinished"]);
    let state = sandbox.state().borrow().clone();
    assert_eq!(state.before("main").unwrap().attempt, 0);
    // Several at once share the network.
    sandbox.start("other", 0, sh("exec sleep 60"), Files::default());
    let mut states = sandbox.state();
    states.wait_for(State::busy).await.unwrap();
    sandbox.remove().await.unwrap();
}

async fn what_cannot_run_says_why(bench: Bench) {
    let sandbox = bench.create("wrong").await;
    sandbox.start("main", 0, Process { argv: vec!["no-such".into()], ..sh("") }, Files::default());
    let Phase::Exited { code, message, .. } = last(&sandbox, |_| true).await.phase else { panic!("runs") };
    assert_eq!(code, 127);
    assert_eq!(message.unwrap(), "exec: \"no-such\": executable file not found in $PATH");
    sandbox.remove().await.unwrap();
}

async fn signals_reach_a_container_and_sigkill_all_of_it(bench: Bench) {
    let sandbox = bench.create("signals").await;
    sandbox.start(
        "main",
        0,
        sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"),
        Files::default(),
    );
    let up = || bench.log("signals", "main/0.log").contains(&"stdout F up".into());
    last(&sandbox, ContainerState::running).await;
    while !up() {
        tokio::task::yield_now().await;
    }
    sandbox.signal("main", Signal::SIGTERM);
    assert_eq!(exited(&sandbox).await, (7, None));
    assert!(bench.log("signals", "main/0.log").contains(&"stdout F bye".into()));

    sandbox.start(
        "main",
        1,
        sh("setsid sleep 1234 & trap '' TERM; while :; do sleep 0.05; done"),
        Files::default(),
    );
    last(&sandbox, |state| state.attempt == 1 && state.running()).await;
    while !output(&sandbox, "ps -e -o args=").await.contains("sleep 1234") {
        tokio::task::yield_now().await;
    }
    sandbox.signal("main", Signal::SIGKILL);
    let ended = last(&sandbox, |state| state.attempt == 1 && !state.running()).await;
    assert!(matches!(ended.phase, Phase::Exited { code: 137, signal: Some(9), .. }), "{ended:?}");
    // Even who has left the session, as there is no other container.
    while output(&sandbox, "ps -e -o stat=,args=")
        .await
        .lines()
        .any(|l| l.contains("sleep 1234") && !l.starts_with('Z'))
    {
        tokio::task::yield_now().await;
    }
    sandbox.remove().await.unwrap();
}

async fn commands_have_an_outcome_and_a_limit(bench: Bench) {
    let sandbox = bench.create("probes").await;
    let runner = sandbox.runner("main");
    let run = |script: &'static str, limit| runner.run(sh(script), Duration::from_millis(limit));
    let (one, two) = tokio::join!(run("echo one; exit 1", 20_000), run("echo before; sleep 60", 300));
    assert_eq!(one.unwrap(), Outcome::Exited { code: 1, output: "one\n".into() });
    assert_eq!(two.unwrap(), Outcome::TimedOut { output: "before\n".into() });
    let Outcome::Exited { output, .. } = run("head -c 20000 /dev/zero | tr '\\0' x", 20_000).await.unwrap()
    else {
        panic!("no outcome");
    };
    assert_eq!(output.len(), 10 << 10);
    sandbox.remove().await.unwrap();
}

async fn another_agent_adopts_what_runs(bench: Bench) {
    let sandbox = bench.create("kept").await;
    sandbox.start("main", 4, sh("exec sleep 600"), Files::default());
    let before = last(&sandbox, ContainerState::running).await;
    drop(sandbox);
    let shim = shim("kept");
    let (mut alive, dead) = bench.runtime.adopt("w1").await.unwrap();
    assert!(dead.is_empty());
    let sandbox = alive.pop().unwrap();
    assert_eq!(*sandbox.spec(), spec("kept"));
    assert_eq!(last(&sandbox, |_| true).await, before);
    assert!(bench.runtime.adopt("w2").await.unwrap().0.is_empty(), "another worker's");
    sandbox.remove().await.unwrap();
    // In a lab the first process waits for it, when the agent that made it is gone.
    waitpid(shim, None).unwrap();
    let (alive, dead) = bench.runtime.adopt("w1").await.unwrap();
    assert!(alive.is_empty() && dead.is_empty());
}

async fn a_killed_shim_takes_its_pod_along(bench: Bench) {
    let sandbox = bench.create("doomed").await;
    sandbox.start("main", 0, sh("exec sleep 4321"), Files::default());
    last(&sandbox, ContainerState::running).await;
    kill(shim("doomed"), Signal::SIGKILL).unwrap();
    sandbox.state().wait_for(|state| !state.alive).await.unwrap();
    let refused = sandbox.runner("main").run(sh("true"), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(refused.to_string(), "sandbox doomed has ended");
    sandbox.remove().await.unwrap();
    assert!(!bench.folder.join("netns/doomed").exists());
    // Found by one who comes later: the remains are cleared away, and told.
    let sandbox = bench.create("doomed").await;
    let shim = shim("doomed");
    drop(sandbox);
    kill(shim, Signal::SIGKILL).unwrap();
    waitpid(shim, None).unwrap();
    let (alive, dead) = bench.runtime.adopt("w1").await.unwrap();
    assert!(alive.is_empty());
    assert_eq!(dead, [spec("doomed")]);
    assert!(!bench.folder.join("pods/doomed").exists());
}

async fn a_dead_sandbox_is_owed_for_until_that_is_settled(bench: Bench) {
    let first = SandboxSpec { id: "first".into(), ..spec("owing") };
    let second = SandboxSpec { id: "second".into(), ..spec("owing") };
    let sandbox = bench.runtime.create(first.clone()).await.unwrap();
    sandbox.end().await.unwrap();
    // Nor is the next one of the name in its way.
    let sandbox = bench.runtime.create(second.clone()).await.unwrap();
    let (alive, dead) = bench.runtime.adopt("w1").await.unwrap();
    assert_eq!(alive.len(), 1);
    assert_eq!(dead, std::slice::from_ref(&first));
    assert_eq!(bench.runtime.owing("w2").unwrap(), []);
    bench.runtime.settle(&first).unwrap();
    bench.runtime.settle(&first).unwrap();
    assert_eq!(bench.runtime.owing("w1").unwrap(), []);
    sandbox.end().await.unwrap();
    assert_eq!(bench.runtime.adopt("w1").await.unwrap().1, [second]);
}

async fn what_an_agent_did_not_finish_is_in_nobodys_way(bench: Bench) {
    let pods = bench.folder.join("pods");
    for left in [".new_w1_x", ".owing_w1_x", ".new_w2_x"] {
        fs::create_dir_all(pods.join(left).join("etc")).unwrap();
    }
    let sandbox = bench.create("unnamed").await;
    // It was killed before it gave the name.
    let names = ["netns/unnamed", "etc/unnamed"].map(|name| bench.folder.join(name));
    mount::detach(&names[0]);
    for name in &names {
        fs::remove_file(name).unwrap();
    }
    let (alive, dead) = bench.runtime.adopt("w1").await.unwrap();
    assert!(dead.is_empty());
    let of_shim = fs::metadata(format!("/proc/{}/ns/net", shim("unnamed"))).unwrap();
    assert_eq!(fs::metadata(alive[0].netns()).unwrap().ino(), of_shim.ino());
    assert!(names[1].is_symlink());
    sandbox.remove().await.unwrap();
    let left: Vec<_> = fs::read_dir(&pods).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".new_w2_x"], "another worker's");
}

/// Breaks the connections to shims.
fn hang_up() {
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(fd) = entry.file_name().to_str().unwrap().parse() else { continue };
        let peer = getpeername::<UnixAddr>(fd);
        let path = peer.ok().and_then(|peer| peer.path().map(Path::to_owned));
        if path.is_some_and(|path| path.ends_with("shim.sock")) {
            shutdown(fd, Shutdown::Both).unwrap();
        }
    }
}

async fn a_lost_connection_is_no_dead_sandbox(bench: Bench) {
    let sandbox = bench.create("lost").await;
    sandbox.start("main", 0, sh("exec sleep 600"), Files::default());
    let before = last(&sandbox, ContainerState::running).await;
    let runner = sandbox.runner("main");
    let (refused, ()) =
        tokio::join!(runner.run(sh("touch /begun; sleep 600"), Duration::from_secs(60)), async {
            let begun = || bench.folder.join("pods/lost/root");
            while !within(&begun(), "begun") {
                tokio::task::yield_now().await;
            }
            hang_up();
        });
    assert_eq!(refused.unwrap_err().to_string(), "the connection to sandbox lost was lost");
    assert!(sandbox.state().borrow().alive);
    // His commands end with the connection, containers do not.
    while output(&sandbox, "ps -e -o stat=,args=").await.matches("sleep 600").count() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(last(&sandbox, |_| true).await, before);
    hang_up();
    sandbox.remove().await.unwrap();
}

fn within(folder: &Path, name: &str) -> bool {
    let found = std::process::Command::new("find").arg(folder).args(["-name", name]).output().unwrap();
    !found.stdout.is_empty()
}

async fn a_shim_that_does_not_answer_is_killed(bench: Bench) {
    for name in ["stopped-1", "stopped-2", "answers"] {
        drop(bench.create(name).await);
    }
    let stopped = ["stopped-1", "stopped-2"].map(shim);
    for shim in stopped {
        kill(shim, Signal::SIGSTOP).unwrap();
    }
    let (alive, mut dead) = bench.runtime.adopt("w1").await.unwrap();
    dead.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(dead, [spec("stopped-1"), spec("stopped-2")]);
    for shim in stopped {
        let status = waitpid(shim, None).unwrap();
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{status:?}");
    }
    // So can one be removed that has stopped since.
    let shim = shim("answers");
    kill(shim, Signal::SIGSTOP).unwrap();
    alive[0].remove().await.unwrap();
    waitpid(shim, None).unwrap();
}

async fn what_is_too_long_to_start_says_so(bench: Bench) {
    let sandbox = bench.create("long").await;
    let long = || {
        let env = vec![("LONG".into(), "x".repeat(2 << 20))];
        Process { env, ..sh("true") }
    };
    sandbox.start("main", 3, long(), Files::default());
    let ended = last(&sandbox, |_| true).await;
    assert_eq!(ended.attempt, 3);
    let Phase::Exited { message, .. } = ended.phase else { panic!("runs") };
    assert_eq!(message.unwrap(), "exec: \"sh\": argument list too long");
    let outcome = sandbox.runner("main").run(long(), Duration::from_secs(20)).await.unwrap();
    assert!(matches!(outcome, Outcome::NotStarted { .. }), "{outcome:?}");
    // Many at once are not one that is too long.
    let longish = "x".repeat(100_000);
    for attempt in 4..40 {
        let env = vec![("LONG".into(), longish.clone()), ("PATH".into(), std::env::var("PATH").unwrap())];
        sandbox.start(&format!("c{attempt}"), 0, Process { env, ..sh("exit 0") }, Files::default());
    }
    let mut state = sandbox.state();
    state.wait_for(|state| state.last("c39").is_some_and(|run| !run.running())).await.unwrap();
    sandbox.remove().await.unwrap();
}

async fn an_outcome_is_for_who_asked(bench: Bench) {
    let one = bench.create("asked").await;
    let two = bench.runtime.adopt("w1").await.unwrap().0.pop().unwrap();
    let run = |sandbox: &Sandbox, script: &'static str| {
        let runner = sandbox.runner("main");
        async move { runner.run(sh(script), Duration::from_secs(20)).await.unwrap() }
    };
    // Of the same number, and the other's ends first.
    let (first, second) = tokio::join!(run(&one, "sleep 0.3; echo one"), run(&two, "echo two"));
    assert_eq!(first, Outcome::Exited { code: 0, output: "one\n".into() });
    assert_eq!(second, Outcome::Exited { code: 0, output: "two\n".into() });
    drop(two);
    one.remove().await.unwrap();
}

async fn who_enters_gets_the_main_container(bench: Bench) {
    let sandbox = bench.create("entered").await;
    let coloured = |colour: &str, script: &str| {
        let mut process = sh(script);
        process.env[1].1 = colour.into();
        process
    };
    let colour = || cri::sandbox::enter(&bench.folder.join("pods/entered")).unwrap().env[1].1.clone();
    let start = async |name: &'static str, process, over: bool| {
        sandbox.start(name, 0, process, Files::default());
        let mut state = sandbox.state();
        let when = |state: &State| state.last(name).is_some_and(|run| run.running() != over);
        state.wait_for(when).await.unwrap();
    };
    start("init", coloured("blue", "exit 0"), true).await;
    // More than a socket takes at once, as where a namespace has a thousand services.
    let mut main = coloured("red", "exec sleep 600");
    main.env.extend((0..10).map(|n| (format!("LONG_{n}"), "x".repeat(60_000))));
    start("main", main, false).await;
    start("other", coloured("yellow", "exec sleep 600"), false).await;
    assert_eq!(colour(), "red");
    sandbox.signal("main", Signal::SIGKILL);
    last(&sandbox, |state| !state.running()).await;
    assert_eq!(colour(), "yellow");
    // The logs of the last two runs are kept.
    for attempt in 1..4 {
        sandbox.start("main", attempt, sh("exit 0"), Files::default());
        last(&sandbox, |state| state.attempt == attempt && !state.running()).await;
    }
    let logs = fs::read_dir(bench.folder.join("logs/default_entered_u-entered/main")).unwrap();
    let mut logs: Vec<_> = logs.map(|entry| entry.unwrap().file_name()).collect();
    logs.sort();
    assert_eq!(logs, ["2.log", "3.log"]);
    sandbox.remove().await.unwrap();
}

async fn a_pod_of_the_workers_network_leaves_its_settings(bench: Bench) {
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let worker = NetNs::create().unwrap();
    let read = || worker.run(|| fs::read_to_string(file).map_err(|e| net::Error::file("read", file, e)));
    let before = read().unwrap();
    assert_ne!(before, "0\n");
    let spec = SandboxSpec { host_network: true, ..spec("settings") };
    // The shim is started by another thread: the whole program must be in there.
    let own = NetNs::current().unwrap();
    worker.enter().unwrap();
    let sandbox = bench.runtime.create(spec).await;
    own.enter().unwrap();
    sandbox.unwrap().remove().await.unwrap();
    assert_eq!(read().unwrap(), before);
}

async fn nothing_is_left(bench: Bench) {
    let names: Vec<String> = (0..8).map(|i| format!("many-{i}")).collect();
    let mut sandboxes = Vec::new();
    for name in &names {
        let sandbox = bench.create(name).await;
        sandbox.start("main", 0, sh("sleep 77 & exec sleep 77"), Files::default());
        sandboxes.push(sandbox);
    }
    for sandbox in sandboxes {
        last(&sandbox, ContainerState::running).await;
        sandbox.remove().await.unwrap();
    }
    for folder in ["pods", "netns", "etc"] {
        assert_eq!(fs::read_dir(bench.folder.join(folder)).unwrap().count(), 0, "{folder}");
    }
    assert!(children().is_empty());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("many-"), "{mounts}");
}

fn children() -> Vec<i32> {
    let own = std::process::id().to_string();
    let output =
        std::process::Command::new("ps").args(["--ppid", &own, "-o", "pid=,comm="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let others = text.lines().filter(|line| !line.ends_with(" ps"));
    others.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn shim(sandbox: &str) -> Pid {
    let pid = children().into_iter().find(|pid| args_of(*pid).contains(sandbox)).unwrap();
    Pid::from_raw(pid)
}

fn args_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}
