//! Where containers' logs are.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;

/// One file of a container's log. In the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// How often the container had been restarted.
    pub restart: u32,
    /// Whether it is the one that is written to.
    pub current: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// Name of a pod's folder.
#[must_use]
pub fn pod_folder(namespace: &str, name: &str, uid: &str) -> String {
    format!("{namespace}_{}_{uid}", cri::sandbox::name_in_logs(name))
}

/// Namespace and name, cut if it is one of the longest, of the pod whose folder is called so.
#[must_use]
pub fn of_folder(folder: &str) -> Option<(&str, &str)> {
    // None of the three can have an underscore.
    let mut parts = folder.split('_');
    let (namespace, name, _) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some((namespace, name))
}

/// The folder of the youngest pod of that name, if it has logs.
///
/// # Errors
/// The folder of all cannot be read; that there is none is no error.
pub fn find_pod(root: &Path, namespace: &str, name: &str) -> Result<Option<PathBuf>, Error> {
    let name = cri::sandbox::name_in_logs(name);
    let folders = names(root)?.into_iter().filter(|folder| of_folder(folder) == Some((namespace, &name)));
    let age = |folder: &PathBuf| {
        folder.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    Ok(folders.map(|folder| root.join(folder)).max_by_key(age))
}

/// Namespaces and names of the pods that have logs, each once, in order.
///
/// # Errors
/// As [`find_pod`].
pub fn pods(root: &Path) -> Result<Vec<(String, String)>, Error> {
    let mut pods: Vec<_> = names(root)?
        .iter()
        .filter_map(|folder| of_folder(folder))
        .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        .collect();
    pods.dedup();
    Ok(pods)
}

/// The containers that have logs, in alphabetical order.
///
/// # Errors
/// The pod's folder cannot be read; that there is none is no error.
pub fn containers(pod: &Path) -> Result<Vec<String>, Error> {
    Ok(names(pod)?.into_iter().filter(|name| pod.join(name).is_dir()).collect())
}

/// The files of a container's log, in the order in which they were written.
pub(super) fn of_container(folder: &Path) -> Result<Vec<LogFile>, Error> {
    let mut files: Vec<_> = names(folder)?.iter().filter_map(|name| log_file(folder, name)).collect();
    files.sort();
    Ok(files)
}

/// `0.log` or `0.log.20240101-120000`; neither what is being written for later nor what is compressed.
fn log_file(folder: &Path, name: &str) -> Option<LogFile> {
    let (restart, rest) = name.split_once(".log")?;
    let rotated = rest.strip_prefix('.').filter(|time| {
        !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    });
    let current = rest.is_empty();
    let restart = restart.parse().ok()?;
    (current || rotated.is_some()).then(|| LogFile { restart, current, path: folder.join(name) })
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read folder", folder)(error)),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}
