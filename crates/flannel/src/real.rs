//! The real flannel, where there is one: the daemon `flanneld` and the CNI plugin `flannel`.
//!
//! Names tell them apart, and only names do: `go install` calls the daemon `flannel`, too, so that a file
//! of that name is never taken for the daemon, and for the plugin only if it answers like one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::daemon::Options;

/// The environment variable that names the daemon's file, where it is not in `PATH`.
pub const VARIABLE: &str = "KNETSIM_FLANNELD";
const DAEMON: &str = "flanneld";
const PLUGIN: &str = "flannel";
/// Without this file the daemon ends at once (flannel `main.go`), unless its configuration has
/// `EnableNFTables`.
const BR_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// A real daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flanneld {
    /// The program.
    pub path: PathBuf,
    /// As it states it, `v0.28.9`.
    pub version: String,
}

/// A real CNI plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlannelPlugin {
    /// The program.
    pub path: PathBuf,
    /// The newest version of the CNI specification that it speaks.
    pub cni_version: String,
}

impl Flanneld {
    /// The daemon that [`VARIABLE`] names, else the first `flanneld` of `PATH`, if it runs here.
    #[must_use]
    pub fn find() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let path = find_daemon(named.as_deref(), &std::env::var_os("PATH").unwrap_or_default())?;
        let version = version(&path).ok()?;
        Some(Self { path, version })
    }

    /// What it is started with to do for a worker what [`crate::run`] does. It wants to be started again
    /// when it ends: it does so when its lease is deleted, and when another worker was faster.
    #[must_use]
    pub fn arguments(options: &Options) -> Vec<OsString> {
        let mut subnet_file = OsString::from("-subnet-file=");
        subnet_file.push(&options.subnet_file);
        vec![
            format!("-etcd-endpoints={}", options.etcd.join(",")).into(),
            format!("-etcd-prefix={}", options.prefix).into(),
            format!("-iface={}", options.address).into(),
            subnet_file,
            format!("-ip-masq={}", options.ip_masq).into(),
            // No port for health checks: it tells systemd, and us, that it is ready (`sd_notify`).
            "-healthz-port=0".into(),
        ]
    }

    /// What it needs here to run with a network's configuration (JSON) and does not find, each with a word on
    /// how to get it; empty when it can run.
    #[must_use]
    pub fn missing(config: &str) -> Vec<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = ["iptables", "ip6tables"].into_iter().filter(|name| in_path(name, &path).is_none());
        let mut missing: Vec<String> = programs
            .map(|name| {
                format!("{name}, which flanneld runs even if it masquerades nothing (apt install iptables)")
            })
            .collect();
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        let nftables = config["EnableNFTables"].as_bool().unwrap_or(false);
        if !nftables && !Path::new(BR_NETFILTER).exists() {
            missing.push(format!(
                "{BR_NETFILTER} (modprobe br_netfilter, or \"EnableNFTables\": true in the network config)"
            ));
        }
        missing
    }
}

impl FlannelPlugin {
    /// The first real plugin `flannel` of these folders. A file that is this very program is none.
    #[must_use]
    pub fn find(folders: &[PathBuf]) -> Option<Self> {
        let ourselves = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
        folders.iter().map(|folder| folder.join(PLUGIN)).find_map(|path| {
            if !is_program(&path) || path.canonicalize().ok() == ourselves {
                return None;
            }
            let cni_version = cni_version(&path)?;
            Some(Self { path, cni_version })
        })
    }
}

fn find_daemon(named: Option<&OsStr>, path: &OsStr) -> Option<PathBuf> {
    match named.map(PathBuf::from) {
        Some(file) => {
            Some(file).filter(|file| file.file_name() == Some(OsStr::new(DAEMON)) && is_program(file))
        }
        None => in_path(DAEMON, path),
    }
}

fn in_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The daemon prints its version on the standard error.
fn version(path: &Path) -> io::Result<String> {
    let output = Command::new(path).arg("-version").stdin(Stdio::null()).output()?;
    let text = if output.stderr.is_empty() { output.stdout } else { output.stderr };
    let version = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    if output.status.success() && !version.is_empty() {
        Ok(version)
    } else {
        Err(io::Error::other(format!("{} tells no version", path.display())))
    }
}

/// Asks for versions as a runtime does. `-version` is for the daemon, should it bear the plugin's name: it
/// prints its version then, and does not begin its work.
fn cni_version(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versions {
        supported_versions: Vec<String>,
    }
    let output = Command::new(path)
        .arg("-version")
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let versions: Versions = serde_json::from_slice(&output.stdout).ok()?;
    versions.supported_versions.last().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
        let path = folder.join(name);
        // By another process: a file that this one has open for writing while another test's child is
        // being started cannot be executed.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let status = Command::new("sh").args(["-c", write, "sh", script]).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    const DAEMON_SCRIPT: &str = r#"[ "$1" = -version ] && { echo v9.9.9 >&2; exit 0; }; touch "$0.started""#;
    const PLUGIN_SCRIPT: &str = r#"[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'"#;

    #[test]
    fn the_daemon_is_a_flanneld_that_tells_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = program(folder.path(), "flanneld", DAEMON_SCRIPT);
        let path = folder.path().as_os_str();
        assert_eq!(find_daemon(None, path), Some(daemon.clone()));
        assert_eq!(version(&daemon).unwrap(), "v9.9.9");
        assert_eq!(find_daemon(Some(daemon.as_os_str()), OsStr::new("")), Some(daemon));

        let other = program(folder.path(), "flannel", DAEMON_SCRIPT);
        assert_eq!(
            find_daemon(Some(other.as_os_str()), path),
            None,
            "the variable counts, the name does, too"
        );
        let empty = tempfile::tempdir().unwrap();
        fs::write(empty.path().join("flanneld"), "").unwrap();
        assert_eq!(find_daemon(None, empty.path().as_os_str()), None, "not a program");
    }

    #[test]
    fn the_plugin_is_told_from_a_daemon_of_its_name_and_that_is_not_started() {
        let [daemon, plugin] = [DAEMON_SCRIPT, PLUGIN_SCRIPT].map(|script| {
            let folder = tempfile::tempdir().unwrap();
            program(folder.path(), "flannel", script);
            folder
        });
        let folders = [daemon.path().to_owned(), "/nowhere".into(), plugin.path().to_owned()];
        let found = FlannelPlugin::find(&folders).unwrap();
        assert_eq!(found.path, plugin.path().join("flannel"));
        assert_eq!(found.cni_version, "1.1.0");
        assert!(!daemon.path().join("flannel.started").exists());
        assert_eq!(FlannelPlugin::find(&folders[..2]), None);
    }

    #[test]
    fn this_program_under_the_plugins_name_is_not_the_real_one() {
        let folder = tempfile::tempdir().unwrap();
        let me = std::env::current_exe().unwrap();
        std::os::unix::fs::symlink(me, folder.path().join("flannel")).unwrap();
        assert_eq!(FlannelPlugin::find(&[folder.path().to_owned()]), None);
    }

    #[test]
    fn the_daemon_is_told_the_same_as_ours() {
        let options = Options {
            node: "C0w1".into(),
            etcd: vec!["http://10.1.0.1:2379".into(), "http://10.1.0.2:2379".into()],
            prefix: "/coreos.com/network".into(),
            address: [10, 0, 0, 3].into(),
            subnet_file: "/run/C0w1/subnet.env".into(),
            ip_masq: false,
        };
        let arguments: Vec<_> =
            Flanneld::arguments(&options).into_iter().map(|a| a.into_string().unwrap()).collect();
        insta::assert_snapshot!(arguments.join(" "), @"-etcd-endpoints=http://10.1.0.1:2379,http://10.1.0.2:2379 -etcd-prefix=/coreos.com/network -iface=10.0.0.3 -subnet-file=/run/C0w1/subnet.env -ip-masq=false -healthz-port=0");
    }
}
