//! Configurations from files, in the order and with the names that the Go library uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{ConfigError, Draft, NetworkList, Plugin, object, plugin};
use crate::error::{Error, Result};

/// The extension of lists.
const LIST: &str = "conflist";
/// The extensions of single plugins.
const SINGLE: [&str; 2] = ["conf", "json"];

/// A file of a folder of configurations.
#[derive(Debug)]
pub struct Loaded {
    /// Its path.
    pub file: PathBuf,
    /// The network that it configures, or what is wrong with it.
    pub list: Result<NetworkList, ConfigError>,
}

/// The network of that name from a folder of configurations. Lists (`.conflist`) are looked at
/// first, then single plugins (`.conf`, `.json`), each by file name; the first of that name wins.
///
/// # Errors
/// [`Error::NoNetwork`]; or what is wrong with a file that comes before: it may be the one that is
/// meant.
pub fn load(folder: &Path, name: &str) -> Result<NetworkList> {
    let mut found = Vec::new();
    for extensions in [&[LIST][..], &SINGLE] {
        for file in files(folder, extensions)? {
            let list = load_file(&file)?;
            if list.name() == name {
                return Ok(list);
            }
            if !found.iter().any(|name| name == list.name()) {
                found.push(list.name().to_owned());
            }
        }
    }
    Err(Error::NoNetwork { name: name.into(), folder: folder.into(), found })
}

/// Every configuration of a folder by file name, good or bad: a kubelet takes the first good one.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn load_all(folder: &Path) -> Result<Vec<Loaded>, ConfigError> {
    let files = files(folder, &[LIST, SINGLE[0], SINGLE[1]])?;
    Ok(files.into_iter().map(|file| Loaded { list: load_file(&file), file }).collect())
}

/// One file. Unless `loadOnlyInlinedPlugins` forbids it, the plugins in `*.conf` of the sibling folder
/// with the network's name are appended, by file name (new in 1.1.0).
///
/// # Errors
/// Everything that is wrong with the file, or the first file of the folder that is wrong.
pub fn load_file(file: &Path) -> Result<NetworkList, ConfigError> {
    let text = read(file)?;
    let mut draft = Draft::parse(&text).map_err(|e| e.in_file(file))?;
    if draft.folder {
        let folder = file.with_file_name(draft.list.name());
        let plugins: Result<Vec<Plugin>, _> =
            files(&folder, &SINGLE[..1])?.iter().map(|file| load_plugin(file)).collect();
        draft.append(plugins?);
    }
    draft.finish().map_err(|e| e.in_file(file))
}

fn load_plugin(file: &Path) -> Result<Plugin, ConfigError> {
    let mut problems = Vec::new();
    let raw = object(&read(file)?).map_err(|e| e.in_file(file))?;
    match plugin("", raw, &mut problems) {
        Some(plugin) if problems.is_empty() => Ok(plugin),
        _ => Err(ConfigError::new(problems).in_file(file)),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(file).map_err(|e| ConfigError::one(format!("cannot be read: {e}")).in_file(file))
}

/// Files with one of the extensions, by name; none when there is no such folder.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ConfigError> {
    let fault = |e: io::Error| ConfigError::one(format!("cannot be read: {e}")).in_file(folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        let wanted = path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted));
        if wanted && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
