//! Programs that a lab runs, and where they are found.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Folders that users other than root often lack on their PATH, and that hold what a lab needs.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The caller's PATH, with the system's folders at its end.
#[must_use]
pub fn path() -> OsString {
    let given = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut folders: Vec<PathBuf> = env::split_paths(&given).collect();
    for folder in SYSTEM.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    env::join_paths(folders).unwrap_or(given)
}

/// The file that runs as `name`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|folder| folder.join(name)).find(|file| runs(file))
}

fn runs(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Makes sure of everything that a lab cannot do without, before anything is started.
pub(crate) fn check() -> Result<()> {
    match find("etcd") {
        Some(_) => Ok(()),
        None => Err(Error::NoProgram { program: "etcd", package: "etcd-server" }),
    }
}
