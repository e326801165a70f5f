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
/// What plugins and runtimes make names of files from has other things beside it there.
const LONGEST_ID: usize = 100;

/// Beside a pod's name, its namespace's and its uid are in the name of the folder of its logs.
const LONGEST_IN_LOGS: usize = 140;

/// What the folder of a sandbox is called that is not ready, or not wanted any more: with its node, as
/// workers share the folder that they are in, and its id.
const UNFINISHED: &str = ".new";
/// As [`UNFINISHED`], of a sandbox that has ended and whose network has not been given back.
const OWING: &str = ".owing";

/// The name of a pod's sandbox and of its network namespace: `C0-c1` in the namespace `default`, and
/// `C0-kube-system_dns` in others. No two pods share one, as `_` is in no name; of the longest, the end is
/// replaced by a hash.
#[must_use]
pub fn name_of(cluster: &str, namespace: &str, pod: &str) -> String {
    let name = match namespace {
        "default" => format!("{cluster}-{pod}"),
        other => format!("{cluster}-{other}_{pod}"),
    };
    shortened(name, LONGEST)
}

/// An id for a sandbox of a pod. It is in whatever a plugin keeps, so it says whose it is; it is never used
/// twice, so that taking down an old network cannot take what a new one got.
#[must_use]
pub fn id_of(namespace: &str, pod: &str, uid: &str) -> String {
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let pod = shortened(format!("{pod}_{namespace}"), LONGEST_ID);
    // Without the kernel's randomness the clock must do.
    let clock = || jiff::Timestamp::now().as_nanosecond() as u32;
    format!("{pod}_{short}_{:08x}", getrandom::u32().unwrap_or_else(|_| clock()))
}

fn shortened(name: String, longest: usize) -> String {
    if name.len() <= longest {
        return name;
    }
    format!("{}_{:016x}", &name[..longest], hash(&name))
}

fn hash(name: &str) -> u64 {
    // FNV-1a, 64 bits: names are the cluster's own, nobody works at making two alike.
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
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

/// The specs of all sandboxes.
pub(super) fn specs(folder: &Path) -> Result<Vec<SandboxSpec>> {
    let folders = entries(folder, |name| !name.starts_with('.'))?;
    Ok(folders.iter().filter_map(|folder| spec(folder)).collect())
}

/// The specs of a node's sandboxes that have ended and whose networks have not been given back.
pub(super) fn owing(folder: &Path, node: &str) -> Result<Vec<SandboxSpec>> {
    let folders = entries(folder, |name| name.starts_with(&format!("{OWING}_{node}_")))?;
    Ok(folders.iter().filter_map(|folder| spec(folder)).collect())
}

/// Removes what an agent of the node had not finished to make or to remove.
pub(super) fn sweep(folder: &Path, node: &str) -> Result<()> {
    let [unfinished, owing] = [UNFINISHED, OWING].map(|kind| format!("{kind}_{node}_"));
    for folder in entries(folder, |name| name.starts_with(&unfinished))? {
        remove(&folder)?;
    }
    for folder in entries(folder, |name| name.starts_with(&owing))? {
        if spec(&folder).is_some() { strip(&folder)? } else { remove(&folder)? }
    }
    Ok(())
}

fn entries(folder: &Path, which: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::file("read", folder, e))?;
    let wanted = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&which));
    Ok(wanted.map(|entry| entry.path()).collect())
}

/// What the sandbox of a folder was made from.
pub(super) fn spec(folder: &Path) -> Option<SandboxSpec> {
    serde_json::from_slice(&fs::read(folder.join(SPEC)).ok()?).ok()
}

/// Removes all of a sandbox's folder but what it was made from.
pub(super) fn strip(folder: &Path) -> Result<()> {
    for entry in entries(folder, |name| name != SPEC)? {
        remove(&entry)?;
    }
    Ok(())
}

/// Removes whatever is at a path, if anything is.
pub(super) fn remove(path: &Path) -> Result<()> {
    let is_folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

pub(super) fn unfinished(folder: &Path, spec: &SandboxSpec) -> PathBuf {
    folder.join(format!("{UNFINISHED}_{}_{}", spec.node, spec.id))
}

pub(super) fn owed(folder: &Path, spec: &SandboxSpec) -> PathBuf {
    folder.join(format!("{OWING}_{}_{}", spec.node, spec.id))
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
    logs.join(format!("{}_{}_{}", spec.namespace, name_in_logs(&spec.pod), spec.uid))
}

/// A pod's name as the folder of its logs has it: the longest are cut, and end with a hash.
#[must_use]
pub fn name_in_logs(pod: &str) -> String {
    if pod.len() <= LONGEST_IN_LOGS {
        return pod.into();
    }
    // None of the characters that the parts of the folder's name are told apart by.
    format!("{}-{:016x}", &pod[..LONGEST_IN_LOGS - 17], hash(pod))
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

    #[test]
    fn ids_are_short_and_never_the_same() {
        let uid = "0123-4567-89ab";
        assert!(id_of("default", "c1", uid).starts_with("c1_default_01234567_"));
        assert_ne!(id_of("default", "c1", uid), id_of("default", "c1", uid));
        let (namespace, pod) = ("n".repeat(63), "p".repeat(253));
        let cut = name_in_logs(&pod);
        assert_eq!((cut.len(), name_in_logs(&cut)), (LONGEST_IN_LOGS, cut.clone()));
        assert_ne!(cut, name_in_logs(&pod[1..]));
        assert_eq!(name_in_logs("c1"), "c1");
        // With the network's name before and the interface's behind it in the cache of CNI.
        assert!(id_of(&namespace, &pod, uid).len() < 140);
    }
}
