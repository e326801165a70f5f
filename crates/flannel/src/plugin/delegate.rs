//! The plugin that does the work: found, called, understood (containernetworking/cni `pkg/invoke`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::VERSIONS;
use super::fault::{Fault, pretty};

/// What a plugin left behind.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// How it failed, as `exit status 1`; none when it succeeded.
    pub(super) failure: Option<String>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Calls plugins.
pub(super) trait Delegate {
    /// Runs a plugin with this process' environment, but for `CNI_COMMAND`.
    fn run(&self, program: &Path, command: &str, input: &[u8]) -> io::Result<Outcome>;
}

/// Calls plugins as processes.
#[derive(Debug)]
pub(super) struct Exec;

impl Delegate for Exec {
    fn run(&self, program: &Path, command: &str, input: &[u8]) -> io::Result<Outcome> {
        let mut child = Command::new(program)
            .env("CNI_COMMAND", command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // Beside the reading, as it may answer before it has read all. Who does not read it at all
            // closes it, and that is no failure.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        })?;
        let failure = (!output.status.success()).then(|| match output.status.code() {
            Some(code) => format!("exit status {code}"),
            None => output.status.to_string(),
        });
        Ok(Outcome { failure, stdout: output.stdout, stderr: output.stderr })
    }
}

/// Calls a plugin by its name; gives what it said.
pub(super) fn call(
    delegate: &impl Delegate,
    plugin: &str,
    path: &[PathBuf],
    command: &str,
    input: &[u8],
) -> Result<Vec<u8>, Fault> {
    let program = find(plugin, path)?;
    let run = delegate.run(&program, command, input);
    let outcome = run.map_err(|e| Fault::internal(format!("run {}: {e}", program.display())))?;
    if let Some(failure) = &outcome.failure {
        return Err(fault_of(&outcome, failure));
    }
    // It is only for information, and who reads it may be gone.
    let _ = io::stderr().write_all(&outcome.stderr);
    Ok(outcome.stdout)
}

fn find(plugin: &str, path: &[PathBuf]) -> Result<PathBuf, Fault> {
    if plugin.is_empty() || plugin.contains('/') {
        return Err(Fault::internal(format!("{plugin:?} is no name of a plugin")));
    }
    let mut found = path.iter().map(|folder| folder.join(plugin));
    found.find(|file| file.is_file()).ok_or_else(|| {
        let folders: Vec<_> = path.iter().map(|folder| folder.display().to_string()).collect();
        Fault::internal(format!("no plugin {plugin} in CNI_PATH {}", folders.join(":")))
    })
}

/// What a plugin that failed says of it: its own error, if it told one.
fn fault_of(outcome: &Outcome, failure: &str) -> Fault {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let msg = match (text(&outcome.stdout), text(&outcome.stderr)) {
        (stdout, stderr) if stdout.is_empty() && stderr.is_empty() => {
            format!("the delegate failed without a word: {failure}")
        }
        (stdout, stderr) if stdout.is_empty() => format!("the delegate failed: {stderr:?}"),
        (stdout, _) => match serde_json::from_str(&stdout) {
            Ok(fault) => return fault,
            Err(e) => format!("the delegate failed, and what it says is no CNI error: {stdout:?}: {e}"),
        },
    };
    Fault { msg, ..Fault::default() }
}

/// As much of what a plugin printed as belongs into a message.
fn shown(stdout: &[u8]) -> String {
    String::from_utf8_lossy(stdout).trim().chars().take(200).collect()
}

/// A plugin's result, passed on: with a version, that of its configuration unless it has one, and laid
/// out for reading.
pub(super) fn result(stdout: &[u8], conf: &Value) -> Result<String, Fault> {
    let wrong = |why: String| Fault::internal(format!("result of the delegate: {why}"));
    let mut result =
        match serde_json::from_slice(stdout).map_err(|e| wrong(format!("{:?}: {e}", shown(stdout))))? {
            Value::Object(result) => result,
            Value::Null => serde_json::Map::new(),
            other => return Err(wrong(format!("{other} is not an object"))),
        };
    let stated = result.get("cniVersion").and_then(Value::as_str).filter(|version| !version.is_empty());
    let version = stated.or(conf["cniVersion"].as_str()).unwrap_or("0.1.0").to_owned();
    if !VERSIONS.contains(&version.as_str()) {
        return Err(wrong(format!("unknown version {version:?}")));
    }
    // Lists that are empty are left out, and since 1.0.0 empty DNS settings, too.
    result.retain(|name, value| match name.as_str() {
        "interfaces" | "ips" | "routes" => !value.is_null() && *value != json!([]),
        "dns" => !version.starts_with("1.") || (!value.is_null() && *value != json!({})),
        _ => true,
    });
    result.insert("cniVersion".into(), version.into());
    pretty(&Value::Object(result)).map_err(|e| wrong(e.to_string()))
}
