//! Writes all files of a volume at one moment.
//!
//! ```text
//! volume/settings.conf -> ..data/settings.conf      what containers open
//! volume/keys          -> ..data/keys
//! volume/..data        -> ..2024_01_02_15_04_05.0   renamed over when there is a new version
//! volume/..2024_01_02_15_04_05.0/settings.conf      the files
//!                                keys/a
//! ```
//!
//! Source: kubernetes `pkg/volume/util/atomic_writer.go`. Beyond it, what a kubelet that was killed has
//! left half-written is cleared away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::Why;
use super::{Payload, Projection};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
/// The longest file name, and the longest path, in bytes (`NAME_MAX`, `PATH_MAX`).
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 4096;

/// A volume cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", path.display())]
pub struct WriteError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Brings the folder of a volume, which is made if it is not there, to hold these files; says whether
/// anything had to be written. `now` names the version. Only one may write to a volume at a time.
///
/// # Errors
/// A file operation fails. Containers then read what they read before.
pub fn write(folder: &Path, payload: &Payload, now: Timestamp) -> Result<bool, WriteError> {
    make_folder(folder).map_err(failed("make folder", folder))?;
    let old = match fs::read_link(folder.join(DATA)) {
        Ok(target) => Some(target),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read link", &folder.join(DATA))(error)),
    };
    if let Some(old) = &old
        && read_tree(&folder.join(old))? == *payload
        && visible(folder)? == tops(payload)
    {
        return Ok(false);
    }
    let version = new_version(folder, now)?;
    let new = folder.join(&version);
    let switched = write_tree(&new, payload)
        .and_then(|()| link_visible(folder, payload))
        .and_then(|()| switch(folder, &version));
    if let Err(error) = switched {
        let _ = fs::remove_dir_all(&new);
        return Err(error);
    }
    clear(folder, payload, &version)?;
    Ok(true)
}

/// A path as the kubelet writes it: without `.`, doubled and last slashes.
pub(super) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Whether a file of a volume may have this path (`validatePath`).
pub(super) fn check_path(path: &str) -> Result<(), Why> {
    let wrong = |why: &str| Err(Why::Path(why.into()));
    if path.is_empty() {
        return wrong("must not be empty: \"\"");
    }
    if path.starts_with('/') {
        return wrong(&format!("must be relative path: {path}"));
    }
    if path.len() > MOST_PATH {
        return wrong(&format!("must be less than or equal to {MOST_PATH} characters"));
    }
    if path.split('/').any(|part| part == "..") {
        return wrong(&format!("must not contain '..': {path}"));
    }
    if path.split('/').any(|part| part.len() > MOST_NAME) {
        return wrong(&format!("filenames must be less than or equal to {MOST_NAME} characters"));
    }
    if path.starts_with("..") {
        return wrong(&format!("must not start with '..': {path}"));
    }
    Ok(())
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { what, path, source }
}

/// With everybody's right to look into it, whatever the umask.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// The files below a folder, as they would be projected; one that is gone is as good as empty.
fn read_tree(folder: &Path) -> Result<Payload, WriteError> {
    let mut found = Payload::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for (name, path) in names(&folder)? {
            let meta = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
            let name = format!("{prefix}{name}");
            if meta.is_dir() {
                folders.push((path, name + "/"));
                continue;
            }
            let data = fs::read(&path).map_err(failed("read", &path))?;
            found.insert(name, Projection { data, mode: meta.permissions().mode() & 0o777 });
        }
    }
    Ok(found)
}

fn names(folder: &Path) -> Result<BTreeMap<String, PathBuf>, WriteError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed("read folder", folder)(error)),
    };
    let named = entries.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect::<io::Result<_>>().map_err(failed("read folder", folder))
}

/// What containers see.
fn visible(folder: &Path) -> Result<BTreeSet<String>, WriteError> {
    Ok(names(folder)?.into_keys().filter(|name| !name.starts_with("..")).collect())
}

/// The first parts of all paths.
fn tops(payload: &Payload) -> BTreeSet<String> {
    payload.keys().map(|path| path.split('/').next().unwrap_or(path).to_owned()).collect()
}

/// Makes the folder of a new version; gives its name.
fn new_version(folder: &Path, now: Timestamp) -> Result<String, WriteError> {
    let time = now.to_zoned(TimeZone::UTC).strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for number in 0_u32.. {
        let name = format!("{time}.{number}");
        let path = folder.join(&name);
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {
                fs::set_permissions(&path, Permissions::from_mode(0o755))
                    .map_err(failed("set mode of", &path))?;
                return Ok(name);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make folder", &path)(error)),
        }
    }
    Err(failed("make folder", folder)(ErrorKind::AlreadyExists.into()))
}

fn write_tree(folder: &Path, payload: &Payload) -> Result<(), WriteError> {
    for (name, projection) in payload {
        let path = folder.join(name);
        let parents = Path::new(name).ancestors().skip(1).filter(|part| !part.as_os_str().is_empty());
        for parent in parents.collect::<Vec<_>>().into_iter().rev() {
            let parent = folder.join(parent);
            make_folder(&parent).map_err(failed("make folder", &parent))?;
        }
        let mut file = File::create_new(&path).map_err(failed("make", &path))?;
        file.write_all(&projection.data).map_err(failed("write", &path))?;
        file.set_permissions(Permissions::from_mode(projection.mode))
            .map_err(failed("set mode of", &path))?;
    }
    Ok(())
}

/// Links that lead nowhere until the version is switched, or to what was there before.
fn link_visible(folder: &Path, payload: &Payload) -> Result<(), WriteError> {
    for name in tops(payload) {
        let path = folder.join(&name);
        match symlink(Path::new(DATA).join(&name), &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(failed("make link", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn switch(folder: &Path, version: &str) -> Result<(), WriteError> {
    let (new, data) = (folder.join(NEW_DATA), folder.join(DATA));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &new)(error)),
        _ => {}
    }
    symlink(version, &new).map_err(failed("make link", &new))?;
    fs::rename(&new, &data).map_err(failed("rename to", &data))
}

/// Removes what is no longer of the volume.
fn clear(folder: &Path, payload: &Payload, version: &str) -> Result<(), WriteError> {
    let tops = tops(payload);
    for (name, path) in names(folder)? {
        let gone = if name.starts_with("..") {
            if name == DATA || name == version {
                continue;
            }
            fs::remove_dir_all(&path)
        } else if tops.contains(&name) {
            continue;
        } else {
            fs::remove_file(&path)
        };
        gone.map_err(failed("remove", &path))?;
    }
    Ok(())
}
