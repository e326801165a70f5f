//! A sandbox's folder.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::SandboxSpec;
use crate::error::{Error, Result};
use crate::root::Layout;
use crate::shim::{LAYOUT, MOUNT_POINTS, VOLUMES};

/// The file that says what a sandbox was made from.
const SPEC: &str = "sandbox.json";

/// The file that has the pod's addresses, a line each, once its network stands.
pub(super) const ADDRESSES: &str = "addresses";

/// A file's name has at most 255 bytes (`NAME_MAX`).
const LONGEST: usize = 200;

/// The name of a pod's sandbox and of its network namespace: `C0-c1` in the namespace `default`, and
/// `C0-kube-system_dns` in others. No two pods share one, as `_` is in no name; of the longest, the end is
/// replaced by a hash.
#[must_use]
pub fn name_of(cluster: &str, namespace: &str, pod: &str) -> String {
    let name = match namespace {
        "default" => format!("{cluster}-{pod}"),
        other => format!("{cluster}-{other}_{pod}"),
    };
    if name.len() <= LONGEST {
        return name;
    }
    // FNV-1a, 64 bits: names are the cluster's own, nobody works at making two alike.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}_{hash:016x}", &name[..LONGEST])
}

/// Fills a new sandbox's folder.
pub(super) fn write(folder: &Path, spec: &SandboxSpec, layout: &Layout) -> Result<()> {
    let etc = folder.join("etc");
    fs::create_dir(&etc).map_err(|e| Error::file("make folder", &etc, e))?;
    for (name, text) in &spec.files {
        let path = etc.join(name);
        fs::write(&path, text).map_err(|e| Error::file("write", path, e))?;
    }
    let path = etc.join("hostname");
    fs::write(&path, format!("{}\n", spec.hostname)).map_err(|e| Error::file("write", path, e))?;
    if !spec.mount_points.is_empty() {
        let path = folder.join(VOLUMES);
        fs::create_dir(&path).map_err(|e| Error::file("make folder", path, e))?;
    }
    write_json(&folder.join(LAYOUT), layout)?;
    write_json(&folder.join(MOUNT_POINTS), &spec.mount_points)?;
    write_json(&folder.join(SPEC), spec)
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(std::io::Error::from);
    text.and_then(|text| fs::write(path, text)).map_err(|e| Error::file("write", path, e))
}

/// The specs of all sandboxes. A folder without one was being made or removed when its agent ended:
/// removed.
pub(super) fn specs(folder: &Path) -> Result<Vec<SandboxSpec>> {
    let mut specs = Vec::new();
    let entries = fs::read_dir(folder).map_err(|e| Error::file("read", folder, e))?;
    for entry in entries.flatten() {
        let text = fs::read(entry.path().join(SPEC)).unwrap_or_default();
        if let Ok(spec) = serde_json::from_slice(&text) {
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// A sandbox that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it was made from.
    pub spec: SandboxSpec,
    /// The pod's addresses; none until its network stands.
    pub addresses: Vec<String>,
}

/// The sandboxes below a folder, by namespace and pod; none where there is no such folder.
#[must_use]
pub fn list(folder: &Path) -> Vec<Listed> {
    let mut all: Vec<Listed> = specs(folder)
        .unwrap_or_default()
        .into_iter()
        .map(|spec| {
            let text = fs::read_to_string(folder.join(&spec.name).join(ADDRESSES)).unwrap_or_default();
            Listed { spec, addresses: text.lines().map(str::to_owned).collect() }
        })
        .collect();
    all.sort_by(|a, b| (&a.spec.namespace, &a.spec.pod).cmp(&(&b.spec.namespace, &b.spec.pod)));
    all
}

/// The shim's socket in an open folder: by its descriptor, as a socket's address has at most 107 bytes.
pub(super) fn socket_in(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/shim.sock", folder.as_raw_fd()))
}

/// Where a pod's logs go (kubernetes `pkg/kubelet/kuberuntime/helpers.go`, `BuildPodLogsDirectory`).
pub(super) fn log_folder(logs: &Path, spec: &SandboxSpec) -> PathBuf {
    logs.join(format!("{}_{}_{}", spec.namespace, spec.pod, spec.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_tell_pods_apart() {
        assert_eq!(name_of("C0", "default", "c1"), "C0-c1");
        assert_eq!(name_of("C0", "kube-system", "dns-1"), "C0-kube-system_dns-1");
        assert_ne!(name_of("C0", "a", "b-c"), name_of("C0", "a-b", "c"));
        let long = |last: &str| name_of("C0", "default", &format!("{}{last}", "x".repeat(252)));
        assert!(long("a").len() < 255);
        assert_ne!(long("a"), long("b"));
    }
}
