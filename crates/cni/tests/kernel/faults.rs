//! Plugins that are programs, and no good.

use std::time::{Duration, Instant};

use cni::{Cni, Error, NetworkList, ProcessExec, Reason};
use serde_json::json;

use crate::lab::{Container, LIMIT, Lab, list};

/// The error of an ADD by a plugin of these lines.
fn add(lines: &str, limit: Duration) -> (Lab, Error) {
    let mut lab = Lab::new();
    lab.plugin("bad", lines);
    let path = vec![lab.folder.path().join("plugins")];
    lab.cni = Cni::new(ProcessExec::new(), path, lab.folder.path().join("cache"), limit);
    let error = lab.on_host(lab.cni.add(&network("bad"), &Container::new().attachment)).unwrap_err();
    (lab, error)
}

fn network(plugin: &str) -> NetworkList {
    list(&json!({"cniVersion": "1.1.0", "name": "dbnet", "plugins": [{"type": plugin}]}))
}

/// How messages begin: with the network, the plugin and its path.
fn who(lab: &Lab) -> String {
    format!("network dbnet: plugin bad ({}/plugins/bad): ADD: ", lab.folder.path().display())
}

/// Fails at ADD only, so that the roll-back is silent.
const AT_ADD: &str = "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\n";

#[test]
fn one_that_hangs_is_killed_after_the_limit() {
    let start = Instant::now();
    let lines = format!("{AT_ADD}echo 'waiting for the moon' >&2\nsleep 1000 &\nwait\n");
    let (lab, error) = add(&lines, Duration::from_secs(1));
    assert!(start.elapsed() < LIMIT);
    let expected = "did not end within 1s and was killed; stderr: waiting for the moon";
    assert_eq!(error.to_string(), format!("{}{expected}", who(&lab)));
}

#[test]
fn one_that_prints_rubbish_is_quoted() {
    let (lab, error) = add(&format!("{AT_ADD}echo '<html>'\necho careful >&2\n"), LIMIT);
    let expected =
        "printed what is no answer (expected value at line 1 column 1); stdout: <html>; stderr: careful";
    assert_eq!(error.to_string(), format!("{}{expected}", who(&lab)));
}

#[test]
fn one_that_fails_without_json_has_status_and_stderr() {
    let (lab, error) = add(&format!("{AT_ADD}echo 'no such device' >&2\nexit 4\n"), LIMIT);
    let expected = "exit status: 4, without a CNI error; stderr: no such device";
    assert_eq!(error.to_string(), format!("{}{expected}", who(&lab)));
    let (lab, error) = add(&format!("{AT_ADD}kill -SEGV $$\n"), LIMIT);
    assert!(error.to_string().starts_with(&format!("{}signal: 11 (SIGSEGV)", who(&lab))), "{error}");
}

#[test]
fn one_that_cannot_run_says_why() {
    let (lab, error) = add("#!/no/such/shell\n", LIMIT);
    assert_eq!(error.to_string(), format!("{}cannot be started", who(&lab)));
    assert!(matches!(&error.failure().unwrap().reason, Reason::Start(e) if e.raw_os_error() == Some(2)));
}

#[test]
fn one_that_is_missing_is_named_with_the_folders() {
    let lab = Lab::new();
    let error = lab.on_host(lab.cni.add(&network("x"), &Container::new().attachment)).unwrap_err();
    let expected = format!("network dbnet: plugin x not found in {}/plugins:", lab.folder.path().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}
