//! The CNI plugin `flannel`: turns what the daemon wrote into a configuration for another plugin, mostly
//! `bridge`, and has that do the work.
//!
//! Sources: flannel-io/cni-plugin `flannel.go` and `flannel_linux.go` (what is asked and what is handed
//! on), containernetworking/cni `pkg/skel` (environment, versions, errors) and `pkg/invoke` (how the other
//! plugin is called), each as of cni-plugin v1.9.1-flannel1. Unlike there, what is needed to undo an
//! attachment is kept until that has succeeded.

mod conf;
mod delegate;
mod env;
mod fault;

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fields::Fields;
use conf::NetConf;
use delegate::{Delegate, Exec};
use env::SubnetEnv;
use fault::{Fault, code};

/// The versions of the specification that it speaks.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const NEWEST: &str = "1.1.0";

/// Does what the environment and the standard input ask for, and answers on the standard output, as the
/// CNI specification has it. To be called by a program that was started under the name `flannel`.
#[must_use]
pub fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let input = || {
        let mut input = Vec::new();
        std::io::stdin().lock().read_to_end(&mut input).map(|_| input)
    };
    let (code, output) = match run(variable, input, &Exec) {
        Ok(Answer::Output(output)) => (ExitCode::SUCCESS, output),
        Ok(Answer::About(about)) => {
            // Who cannot be told cannot be told that either.
            let _ = std::io::stderr().write_all(about.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(fault) => (ExitCode::FAILURE, fault.to_json()),
    };
    match std::io::stdout().write_all(output.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is said, and where.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// On the standard output.
    Output(String),
    /// On the standard error: somebody has only called it by hand.
    About(String),
}

/// What a runtime asks for.
#[derive(Debug)]
struct Request {
    command: String,
    container: String,
    /// Path of the container's namespace; may be empty.
    netns: String,
    /// Where plugins are.
    path: Vec<PathBuf>,
    /// Whether the plugin's own namespace may be the container's.
    own_namespace: bool,
    input: Vec<u8>,
}

fn run(
    variable: impl Fn(&str) -> String,
    input: impl FnOnce() -> std::io::Result<Vec<u8>>,
    delegate: &impl Delegate,
) -> Result<Answer, Fault> {
    if variable("CNI_COMMAND").is_empty() {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(Answer::About(format!(
            "CNI plugin flannel of knetsim {version}\nCNI protocol versions supported: {}\n",
            VERSIONS.join(", ")
        )));
    }
    let request = Request::read(variable, input)?;
    let output = match request.command.as_str() {
        "VERSION" => {
            // In this order, as every plugin has it.
            let versions = Value::from(&VERSIONS[..]);
            format!("{{\"cniVersion\":\"{NEWEST}\",\"supportedVersions\":{versions}}}\n")
        }
        "ADD" => {
            request.check_version()?;
            add(&request, delegate)?
        }
        "DEL" => {
            request.check_version()?;
            del(&request, delegate)?;
            String::new()
        }
        // The real one has nothing to say here either, but that it knows the version.
        "CHECK" => request.allows("CHECK", "0.4.0")?,
        "STATUS" => request.allows("STATUS", "1.1.0")?,
        "GC" => request.allows("GC", "1.1.0")?,
        other => return Err(Fault::new(code::ENVIRONMENT, format!("{other:?} is no CNI_COMMAND"))),
    };
    Ok(Answer::Output(output))
}

fn add(request: &Request, delegate: &impl Delegate) -> Result<String, Fault> {
    let conf = NetConf::parse(&request.input)?;
    let env = SubnetEnv::read(&conf.subnet_file)?;
    request.check_namespace()?;
    let delegated = conf.delegate(&env)?;
    let text = conf::to_json(&delegated);
    conf.save(&request.container, &text)?;
    let plugin = delegated["type"].as_str().unwrap_or_default();
    let result = delegate::call(delegate, plugin, &request.path, "ADD", text.as_bytes())?;
    delegate::result(&result, &delegated)
}

fn del(request: &Request, delegate: &impl Delegate) -> Result<(), Fault> {
    let conf = NetConf::parse(&request.input)?;
    request.check_namespace()?;
    // Nothing was added, or it is undone already: both are success.
    let Some(text) = conf.saved(&request.container)? else { return Ok(()) };
    // Neither can anybody undo what nobody can read.
    let Ok(delegated) = serde_json::from_slice::<Value>(&text) else { return Ok(()) };
    let plugin = delegated["type"].as_str().unwrap_or_default();
    delegate::call(delegate, plugin, &request.path, "DEL", &text)?;
    conf.forget(&request.container);
    Ok(())
}

impl Request {
    /// Reads and checks the environment, then the input (`getCmdArgsFromEnv` of `pkg/skel/skel.go`).
    fn read(
        variable: impl Fn(&str) -> String,
        input: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Fault> {
        let command = variable("CNI_COMMAND");
        let [container, netns, ifname, path] =
            ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"].map(variable_of(&variable));
        let required: &[(&str, &str)] = match command.as_str() {
            "ADD" | "CHECK" => &[
                ("CNI_CONTAINERID", &container),
                ("CNI_NETNS", &netns),
                ("CNI_IFNAME", &ifname),
                ("CNI_PATH", &path),
            ],
            "DEL" => &[("CNI_CONTAINERID", &container), ("CNI_IFNAME", &ifname), ("CNI_PATH", &path)],
            "GC" | "STATUS" => &[("CNI_PATH", &path)],
            _ => &[],
        };
        let mut missing = Vec::new();
        for (name, value) in required {
            match (*name, *value) {
                (name, "") => missing.push(name),
                ("CNI_CONTAINERID", value) => fault::check_container(value)?,
                ("CNI_IFNAME", value) => fault::check_ifname(value)?,
                _ => {}
            }
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Fault::new(code::ENVIRONMENT, format!("missing in the environment: {missing}")));
        }
        let input = if command == "VERSION" { Vec::new() } else { checked(input)? };
        let own = variable("CNI_NETNS_OVERRIDE");
        Ok(Self {
            path: std::env::split_paths(&path).collect(),
            own_namespace: own == "1" || own.eq_ignore_ascii_case("true"),
            command,
            container,
            netns,
            input,
        })
    }

    /// The version of the network's configuration.
    fn version(&self) -> Result<String, Fault> {
        let decoding = |e: String| Fault::new(code::DECODING, format!("version of the network config: {e}"));
        let fields: Fields = serde_json::from_slice(&self.input).map_err(|e| decoding(e.to_string()))?;
        let version = fields.text("cniVersion").map_err(|e| decoding(e.to_string()))?;
        Ok(version.filter(|version| !version.is_empty()).unwrap_or_else(|| "0.1.0".into()))
    }

    fn check_version(&self) -> Result<(), Fault> {
        let version = self.version()?;
        if VERSIONS.contains(&version.as_str()) {
            return Ok(());
        }
        let details = format!("the network config has {version:?}, the plugin speaks {VERSIONS:?}");
        Err(Fault { details, ..Fault::new(code::VERSION, "the CNI version is not supported") })
    }

    /// Success, if the version has such a command at all.
    fn allows(&self, command: &str, since: &str) -> Result<String, Fault> {
        let version = parse_version(&self.version()?)?;
        let refused =
            |who: &str| Fault::new(code::VERSION, format!("the CNI version of the {who} knows no {command}"));
        if version < parse_version(since)? {
            return Err(refused("config"));
        }
        if version > parse_version(NEWEST)? {
            return Err(refused("plugin"));
        }
        self.check_version().map(|()| String::new())
    }

    /// Whoever asks for the plugin's own namespace would have its interfaces there, both ends of them.
    fn check_namespace(&self) -> Result<(), Fault> {
        let identity = |path: &str| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let theirs = identity(&self.netns);
        if !self.own_namespace && theirs.is_some() && theirs == identity("/proc/thread-self/ns/net") {
            return Err(Fault::new(code::NAMESPACE, "CNI_NETNS is the plugin's own network namespace"));
        }
        Ok(())
    }
}

fn variable_of<'a>(variable: &'a impl Fn(&str) -> String) -> impl Fn(&str) -> String + 'a {
    move |name| variable(name)
}

/// The input, with a network's name in it.
fn checked(input: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let input = input().map_err(|e| Fault::new(code::IO, format!("read from stdin: {e}")))?;
    let decoding = |e: String| Fault::new(code::DECODING, format!("network config: {e}"));
    let value: Value = serde_json::from_slice(&input).map_err(|e| decoding(e.to_string()))?;
    // `null` is an empty configuration.
    let object = if value.is_null() { json!({}) } else { value };
    let fields = Fields::deserialize(object).map_err(|e| decoding(e.to_string()))?;
    let name = fields.text("name").map_err(|e| decoding(e.to_string()))?.unwrap_or_default();
    fault::check_network(&name)?;
    Ok(input)
}

/// `major.minor.micro`; what is missing is nought.
fn parse_version(text: &str) -> Result<[u32; 3], Fault> {
    let invalid = || Fault::new(code::DECODING, format!("{text:?} is no CNI version"));
    let parts: Vec<u32> =
        text.split('.').map(|part| part.parse().map_err(|_| invalid())).collect::<Result<_, _>>()?;
    match parts[..] {
        [major] => Ok([major, 0, 0]),
        [major, minor] => Ok([major, minor, 0]),
        [major, minor, micro] => Ok([major, minor, micro]),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests;
