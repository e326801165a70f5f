//! What a plugin is told: environment and configuration (specification, sections 2 and 3). Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::config::{NetworkList, Plugin};
use crate::error::{Error, Result};
use crate::names::{fault_of_interface, fault_of_name};
use crate::result::AddResult;
use crate::version::Version;

/// Attachments that are still wanted, for GC: `cni.dev/valid-attachments`.
const VALID: &str = "cni.dev/valid-attachments";

/// The same under the name by which the Go library first had it. A plugin that looks for that one, and
/// found nothing, would take every attachment for stale.
const VALID_BY_MISTAKE: &str = "cni.dev/attachments";

/// What a plugin is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Command {
    /// Attach a container, or adjust an attachment.
    Add,
    /// Undo it.
    Del,
    /// Say whether it is as it should be.
    Check,
    /// Clean up after containers that are gone.
    Gc,
    /// Say whether ADD would work.
    Status,
    /// Say which versions of the specification are spoken.
    Version,
}

impl Command {
    /// As `CNI_COMMAND` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One interface of one container in a network; container and interface name it (specification,
/// section 3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attachment {
    /// The container, as its runtime calls it.
    pub container_id: String,
    /// A file of its network namespace, as `/run/netns/blue`; for DEL none when it is gone.
    pub netns: Option<PathBuf>,
    /// Name of the interface in the container.
    pub ifname: String,
    /// Arguments for every plugin, asked or not: `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Arguments for plugins whose configuration declares the capability of that name.
    pub capability_args: Map<String, Value>,
}

impl Attachment {
    /// Finds what the specification forbids; `netns` says whether a namespace must be named.
    pub(crate) fn validate(&self, netns: bool) -> Result<()> {
        let fault = |what, value: &str, why| Err(Error::Parameter { what, value: value.into(), why });
        if let Some(why) = fault_of_name(&self.container_id) {
            return fault("container id", &self.container_id, why);
        }
        if let Some(why) = fault_of_interface(&self.ifname) {
            return fault("interface name", &self.ifname, why);
        }
        match &self.netns {
            Some(path) if path.to_str().is_none() => {
                return fault("network namespace", &path.to_string_lossy(), "not UTF-8");
            }
            None if netns => return fault("network namespace", "", "missing"),
            _ => {}
        }
        for (key, value) in &self.args {
            if key.is_empty() || key.contains(['=', ';', '\0']) {
                return fault("argument", key, "a name without = and ; is due");
            }
            if value.contains([';', '\0']) {
                return fault("argument", value, "; may not be in a value");
            }
        }
        Ok(())
    }
}

/// The variables of the protocol for a call; `CNI_COMMAND` alone for VERSION, with `CNI_PATH` for GC
/// and STATUS, all six for an attachment.
pub(crate) fn environment(
    command: Command,
    attachment: Option<&Attachment>,
    path: &[PathBuf],
) -> Result<BTreeMap<&'static str, OsString>> {
    let mut variables = BTreeMap::from([("CNI_COMMAND", command.as_str().into())]);
    if command != Command::Version {
        variables.insert("CNI_PATH", path_variable(path)?);
    }
    if let Some(attachment) = attachment {
        let netns = attachment.netns.clone().unwrap_or_default();
        let args: Vec<String> = attachment.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        variables.extend([
            ("CNI_CONTAINERID", attachment.container_id.clone().into()),
            ("CNI_NETNS", netns.into()),
            ("CNI_IFNAME", attachment.ifname.clone().into()),
            ("CNI_ARGS", args.join(";").into()),
        ]);
    }
    Ok(variables)
}

fn path_variable(path: &[PathBuf]) -> Result<OsString> {
    std::env::join_paths(path).map_err(|_| Error::Parameter {
        what: "plugin path",
        value: path.iter().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>().join(" "),
        why: "no : may be in the name of a folder",
    })
}

/// The configuration of a plugin for an attachment: ADD, CHECK or DEL.
pub(crate) fn attachment_config(
    network: &NetworkList,
    plugin: &Plugin,
    previous: Option<&AddResult>,
    capability_args: &Map<String, Value>,
) -> Vec<u8> {
    let mut config = base(network, plugin);
    // "must not be set"; what the runtime makes of it is runtimeConfig.
    config.remove("capabilities");
    let arguments: Map<String, Value> = capability_args
        .iter()
        .filter(|(name, _)| plugin.capabilities().contains(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !arguments.is_empty() {
        config.insert("runtimeConfig".into(), arguments.into());
    }
    if let Some(previous) = previous {
        let previous = previous.convert(network.version());
        config.insert("prevResult".into(), previous.raw().clone().into());
    }
    bytes(config)
}

/// The configuration of a plugin for GC.
pub(crate) fn gc_config(network: &NetworkList, plugin: &Plugin, valid: &[(String, String)]) -> Vec<u8> {
    let valid: Value =
        valid.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect();
    let mut config = base(network, plugin);
    config.insert(VALID.into(), valid.clone());
    config.insert(VALID_BY_MISTAKE.into(), valid);
    bytes(config)
}

/// The configuration of a plugin for STATUS.
pub(crate) fn status_config(network: &NetworkList, plugin: &Plugin) -> Vec<u8> {
    bytes(base(network, plugin))
}

/// What VERSION gets.
pub(crate) fn version_config() -> Vec<u8> {
    bytes(Map::from_iter([("cniVersion".into(), Version::LATEST.as_str().into())]))
}

/// A plugin's own configuration, less what is the runtime's to say, with the network's name and
/// version.
fn base(network: &NetworkList, plugin: &Plugin) -> Map<String, Value> {
    let mut config = plugin.raw().clone();
    config.retain(|key, _| key != "runtimeConfig" && key != "prevResult" && !key.starts_with("cni.dev/"));
    config.insert("cniVersion".into(), network.version().as_str().into());
    config.insert("name".into(), network.name().into());
    config
}

fn bytes(config: Map<String, Value>) -> Vec<u8> {
    Value::Object(config).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
