//! The conventions of cnitool, the Go library's command: its environment, and the names that it gives
//! to containers. What is attached by one can be detached by the other.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha512};

use crate::error::{Error, Result};
use crate::request::Attachment;

/// Where attachments are remembered.
pub const CACHE: &str = "/var/lib/cni";
/// Where configurations are looked for when `NETCONFPATH` does not say.
pub const CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Where plugins are looked for when `CNI_PATH` does not say: where they are usually installed.
/// cnitool wants the variable.
pub const PLUGINS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// Bytes of the hash that name a container.
const HASH: usize = 10;

/// What the environment says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `CNI_PATH`: folders of plugins.
    pub plugin_path: Vec<PathBuf>,
    /// `NETCONFPATH`: the folder of configurations.
    pub configurations: PathBuf,
    /// `CNI_ARGS`, as `FOO=BAR;ABC=123`.
    pub args: Vec<(String, String)>,
    /// `CAP_ARGS`, a JSON object from capability to argument.
    pub capability_args: Map<String, Value>,
    /// `CNI_IFNAME`, or `eth0`.
    pub ifname: String,
}

impl Settings {
    /// Reads the variables, by way of `variable`.
    ///
    /// # Errors
    /// When one is not of its form.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        let text = |name| value(name).map(|value| value.to_string_lossy().into_owned());
        let plugin_path = match value("CNI_PATH") {
            Some(path) => std::env::split_paths(&path).collect(),
            None => PLUGINS.map(PathBuf::from).to_vec(),
        };
        Ok(Self {
            plugin_path,
            configurations: value("NETCONFPATH").map_or_else(|| CONFIGURATIONS.into(), PathBuf::from),
            args: text("CNI_ARGS").map_or(Ok(Vec::new()), |text| args(&text))?,
            capability_args: text("CAP_ARGS").map_or(Ok(Map::new()), |text| capability_args(&text))?,
            ifname: text("CNI_IFNAME").unwrap_or_else(|| "eth0".into()),
        })
    }

    /// The attachment of a namespace, with what else the environment says.
    ///
    /// # Errors
    /// When the path is relative, and the current folder is not there.
    pub fn attachment(&self, netns: &str) -> io::Result<Attachment> {
        let netns = netns_path(netns)?;
        Ok(Attachment {
            container_id: container_id(&netns),
            netns: Some(netns),
            ifname: self.ifname.clone(),
            args: self.args.clone(),
            capability_args: self.capability_args.clone(),
        })
    }
}

/// The file of a namespace: a path, made absolute; or a bare name, as `ip netns` knows it.
///
/// # Errors
/// When the path is relative, and the current folder is not there.
pub fn netns_path(netns: &str) -> io::Result<PathBuf> {
    if !netns.contains('/') {
        return Ok(Path::new("/run/netns").join(netns));
    }
    // `..` goes by the text, not by links: the container's name is made from the text.
    let mut path = PathBuf::new();
    for component in std::path::absolute(netns)?.components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            component => path.push(component),
        }
    }
    Ok(path)
}

/// The name of the container whose namespace has this absolute path.
#[must_use]
pub fn container_id(netns: &Path) -> String {
    let hash = Sha512::digest(netns.as_os_str().as_encoded_bytes());
    let mut id = String::from("cnitool-");
    for byte in hash.iter().take(HASH) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

fn args(text: &str) -> Result<Vec<(String, String)>> {
    let fault = |pair: &str| Error::Parameter {
        what: "CNI_ARGS",
        value: pair.into(),
        why: "not of the form KEY=VALUE",
    };
    text.split(';')
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
                Ok((key.into(), value.into()))
            }
            _ => Err(fault(pair)),
        })
        .collect()
}

fn capability_args(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|_| Error::Parameter {
        what: "CAP_ARGS",
        value: text.into(),
        why: "no JSON object from capability to argument",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::read(|wanted| {
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn without_an_environment_there_are_defaults() {
        let settings = read(&[("CNI_ARGS", ""), ("CNI_IFNAME", "")]).unwrap();
        assert_eq!(settings.configurations, Path::new("/etc/cni/net.d"));
        assert_eq!(settings.plugin_path[0], Path::new("/opt/cni/bin"));
        assert_eq!(settings.ifname, "eth0");
        assert!(settings.args.is_empty() && settings.capability_args.is_empty());
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            ("CNI_PATH", "/a:/b"),
            ("NETCONFPATH", "/c"),
            ("CNI_ARGS", "FOO=BAR;ABC=123"),
            ("CAP_ARGS", r#"{"mac":"02:00:00:00:00:01"}"#),
            ("CNI_IFNAME", "net1"),
        ])
        .unwrap();
        assert_eq!(settings.plugin_path, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(settings.configurations, Path::new("/c"));
        assert_eq!(settings.args, [("FOO".into(), "BAR".into()), ("ABC".into(), "123".into())]);
        assert_eq!(settings.capability_args["mac"], "02:00:00:00:00:01");
        let attachment = settings.attachment("blue").unwrap();
        assert_eq!(attachment.netns.as_deref(), Some(Path::new("/run/netns/blue")));
        assert_eq!(attachment.ifname, "net1");
    }

    #[test]
    fn bad_variables_are_named() {
        for args in ["FOO", "FOO=", "=BAR", "A=B=C", "A=B;"] {
            let error = read(&[("CNI_ARGS", args)]).unwrap_err().to_string();
            assert!(
                error.starts_with("CNI_ARGS \"") && error.ends_with("not of the form KEY=VALUE"),
                "{error}"
            );
        }
        let error = read(&[("CAP_ARGS", "[]")]).unwrap_err().to_string();
        assert_eq!(error, r#"CAP_ARGS "[]": no JSON object from capability to argument"#);
    }

    #[test]
    fn a_path_stays_one_and_a_name_is_below_run() {
        assert_eq!(netns_path("blue").unwrap(), Path::new("/run/netns/blue"));
        assert_eq!(netns_path("/var//run/./netns/x/../blue").unwrap(), Path::new("/var/run/netns/blue"));
        assert_eq!(netns_path("/../a").unwrap(), Path::new("/a"));
        assert_eq!(netns_path("./blue").unwrap(), std::env::current_dir().unwrap().join("blue"));
    }

    #[test]
    fn containers_are_named_as_cnitool_names_them() {
        // printf %s /var/run/netns/testing | sha512sum | cut -c -20
        let id = container_id(Path::new("/var/run/netns/testing"));
        assert_eq!(id, "cnitool-77383ca0a0715733ca6f");
    }
}
