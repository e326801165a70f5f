use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(1);

/// A folder with a plugin of these lines of shell.
fn plugin(lines: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn call(folder: &TempDir, limit: Duration) -> Call {
    let environment = BTreeMap::from([("CNI_COMMAND", "ADD".into())]);
    Call { path: folder.path().join("plugin"), environment, stdin: b"{}".to_vec(), limit }
}

fn exec(folder: &TempDir) -> ProcessExec {
    ProcessExec::new().in_folder(folder.path())
}

async fn run(folder: &TempDir, limit: Duration) -> Result<Output, ExecError> {
    exec(folder).run(&call(folder, limit)).await
}

/// Reads a number that a plugin writes, as soon as it has.
async fn number(folder: &TempDir, name: &str) -> i32 {
    let path = folder.path().join(name);
    let read = || fs::read_to_string(&path).ok()?.strip_suffix('\n')?.parse().ok();
    until(&format!("{} is written", path.display()), read).await
}

async fn until<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a process is gone, or at least dead.
async fn gone(pid: i32) {
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    until(&format!("process {pid} is gone"), || (!alive()).then_some(())).await;
}

#[tokio::test]
async fn a_plugin_gets_stdin_and_gives_stdout_stderr_and_status() {
    let folder = plugin("cat; echo words >&2; exit 3");
    let output = run(&folder, LONG).await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"{}"[..], &b"words\n"[..]));
}

#[tokio::test]
async fn the_environment_is_the_calls_and_what_is_inherited() {
    let folder = plugin("env; pwd");
    let mut call = call(&folder, LONG);
    call.environment.insert("CNI_PATH", "/a:/b".into());
    let output = exec(&folder).run(&call).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut of_cni: Vec<&str> = text.lines().filter(|line| line.starts_with("CNI_")).collect();
    of_cni.sort_unstable();
    assert_eq!(of_cni, ["CNI_COMMAND=ADD", "CNI_PATH=/a:/b"]);
    assert!(text.lines().any(|line| line.starts_with("PATH=")), "{text}");
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(text.lines().last(), folder.to_str());
}

#[tokio::test]
async fn a_plugin_need_not_read_its_input() {
    let folder = plugin("exec <&-; echo done");
    let mut call = call(&folder, LONG);
    call.stdin = vec![b' '; 1 << 20];
    let output = exec(&folder).run(&call).await.unwrap();
    assert_eq!(output.stdout, b"done\n");
}

#[tokio::test]
async fn much_output_is_read_to_its_end_and_kept_in_part() {
    let folder = plugin("head -c 6000000 /dev/zero; head -c 100000 /dev/zero >&2");
    let output = run(&folder, LONG).await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (STDOUT, STDERR));
    assert!(output.status.success());
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_all_that_it_started() {
    let folder = plugin("echo waiting >&2; sleep 1000 & echo $! >child; echo $$ >self; wait");
    let error = run(&folder, SHORT).await.unwrap_err();
    let ExecError::TimedOut { ended: false, stderr } = error else { panic!("{error:?}") };
    assert_eq!(stderr, b"waiting\n");
    gone(number(&folder, "self").await).await;
    gone(number(&folder, "child").await).await;
}

#[tokio::test]
async fn a_helper_that_holds_the_output_is_told_from_a_plugin_that_hangs() {
    let folder = plugin("sleep 1000 & echo $! >child");
    let error = run(&folder, SHORT).await.unwrap_err();
    assert!(matches!(error, ExecError::TimedOut { ended: true, .. }), "{error:?}");
    gone(number(&folder, "child").await).await;
}

#[tokio::test]
async fn a_helper_that_holds_nothing_may_stay() {
    let folder = plugin("sleep 1000 <&- >&- 2>&- & echo $! >child; echo done");
    assert_eq!(run(&folder, LONG).await.unwrap().stdout, b"done\n");
    let child = Pid::from_raw(number(&folder, "child").await);
    nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_call_that_is_dropped_kills_its_plugin() {
    let folder = plugin("sleep 1000 & echo $! >child; wait");
    let exec = exec(&folder);
    let call = call(&folder, LONG);
    let child = {
        let mut running = std::pin::pin!(exec.run(&call));
        tokio::select! {
            output = &mut running => panic!("{output:?}"),
            child = number(&folder, "child") => child,
        }
    };
    gone(child).await;
}

#[tokio::test]
async fn a_plugin_that_is_being_written_is_tried_again() {
    let folder = plugin("echo done");
    let path = folder.path().join("plugin");
    let writer = fs::OpenOptions::new().append(true).open(path).unwrap();
    let call = call(&folder, LONG);
    let exec = exec(&folder);
    let mut running = std::pin::pin!(exec.run(&call));
    tokio::select! {
        output = &mut running => panic!("{output:?}"),
        () = sleep(3 * BUSY_STEP) => drop(writer),
    }
    assert_eq!(running.await.unwrap().stdout, b"done\n");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_started_says_why() {
    let folder = plugin("");
    fs::set_permissions(folder.path().join("plugin"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = run(&folder, LONG).await.unwrap_err();
    let ExecError::Start(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn the_first_folder_with_a_file_of_that_name_wins() {
    let (first, second, third) = (tempfile::tempdir().unwrap(), plugin(""), plugin(""));
    fs::create_dir(first.path().join("plugin")).unwrap();
    let folders = [&first, &second, &third].map(|folder| folder.path().to_path_buf());
    let exec = ProcessExec::new();
    assert_eq!(exec.find("plugin", &folders), Some(second.path().join("plugin")));
    assert_eq!(exec.find("other", &folders), None);
    assert_eq!(exec.find("plugin", &[]), None);
}

#[tokio::test]
async fn a_plugin_does_not_outlive_the_thread_that_started_it() {
    // A shell's own words: it execs nothing, so that there is one process.
    let folder = plugin("echo $$ > pid; while :; do read x < /dev/zero; done");
    let (path, call, exec) = (folder.path().join("pid"), call(&folder, LONG), exec(&folder));
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut plugin = Box::pin(async move { exec.run(&call).await });
        runtime.block_on(async {
            tokio::select! {
                _ = &mut plugin => panic!("it ends"),
                () = until("it runs", || fs::read_to_string(&path).ok().filter(|pid| pid.ends_with('\n')).map(drop)) => {}
            }
        });
        // As when the program is killed: nobody is there to kill the plugin.
        std::mem::forget((plugin, runtime));
    });
    started.join().unwrap();
    gone(number(&folder, "pid").await).await;
}
