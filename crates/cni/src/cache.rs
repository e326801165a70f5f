//! What was attached, and with which result: the files that the Go library keeps, so that cnitool
//! and other runtimes find what was attached here, and the other way round.
//!
//! `<folder>/results/<network>-<container>-<interface>`, folder 0700, file 0600.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::config::{ConfigError, NetworkList};
use crate::error::{Error, Result};
use crate::request::Attachment;
use crate::result::AddResult;
use crate::version::Version;

/// What a file says that it is.
const KIND: &str = "cniCacheV1";

/// An attachment as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Cached {
    /// The network's name.
    pub network: String,
    /// The attachment, with the arguments of its ADD.
    pub attachment: Attachment,
    /// The network's configuration at that time, as text.
    pub config: Vec<u8>,
    result: Map<String, Value>,
    path: PathBuf,
}

/// The form of a file. Texts that are empty are left out, as the Go library leaves them out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    kind: String,
    container_id: String,
    #[serde(default, deserialize_with = "nullable")]
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<(String, String)>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Map::is_empty")]
    capability_args: Map<String, Value>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Map::is_empty")]
    result: Map<String, Value>,
}

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cached {
    /// The network as it was configured when the attachment was made: what to delete it with, should
    /// the configuration have changed since.
    ///
    /// # Errors
    /// When the cached text is no configuration.
    pub fn network_list(&self) -> Result<NetworkList, ConfigError> {
        NetworkList::parse(&self.config).map_err(|e| e.in_file(&self.path))
    }

    /// The result of the ADD, in a version of choice.
    ///
    /// # Errors
    /// When the file holds something else.
    pub fn result(&self, version: Version) -> Result<AddResult> {
        let fault = |why| Error::CacheEntry { path: self.path.clone(), why };
        let result = AddResult::from_map(self.result.clone(), version).map_err(fault)?;
        Ok(result.convert(version))
    }

    fn is_for(&self, network: &str, container: &str, ifname: &str) -> bool {
        self.network == network
            && self.attachment.container_id == container
            && self.attachment.ifname == ifname
    }
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    fn path(&self, network: &str, container: &str, ifname: &str) -> PathBuf {
        self.results().join(format!("{network}-{container}-{ifname}"))
    }

    /// Notes an attachment; what is there of an earlier one of the same name is replaced.
    pub(crate) fn put(
        &self,
        network: &NetworkList,
        attachment: &Attachment,
        result: &AddResult,
    ) -> Result<()> {
        let path = self.path(network.name(), &attachment.container_id, &attachment.ifname);
        let netns = attachment.netns.as_deref().map(Path::to_string_lossy).unwrap_or_default();
        let entry = Entry {
            kind: KIND.into(),
            container_id: attachment.container_id.clone(),
            config: STANDARD.encode(network.bytes()),
            if_name: attachment.ifname.clone(),
            network_name: network.name().into(),
            netns: netns.into_owned(),
            cni_args: attachment.args.clone(),
            capability_args: attachment.capability_args.clone(),
            result: result.raw().clone(),
        };
        let text = serde_json::to_vec(&entry).map_err(|e| Error::cache("write", &path, e))?;
        let folder = self.results();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| Error::cache("make folder", folder, e))?;
        // Beside the folder of results: others read whatever lies in there. Files of `tempfile` are 0600.
        let mut file = tempfile::Builder::new()
            .prefix(".result-")
            .tempfile_in(&self.folder)
            .map_err(|e| Error::cache("make a file in", &self.folder, e))?;
        file.write_all(&text).map_err(|e| Error::cache("write", file.path(), e))?;
        file.persist(&path).map_err(|e| Error::cache("write", path, e.error))?;
        Ok(())
    }

    /// The attachment of these names, if there is one.
    pub(crate) fn get(&self, network: &str, container: &str, ifname: &str) -> Result<Option<Cached>> {
        let found = read(&self.path(network, container, ifname))?;
        // Names may hold the `-` that joins them, so that another attachment can have the same file.
        Ok(found.filter(|cached| cached.is_for(network, container, ifname)))
    }

    /// Forgets an attachment. Nothing happens when there is none, or when the file is another one's.
    pub(crate) fn remove(&self, network: &str, container: &str, ifname: &str) -> Result<()> {
        let path = self.path(network, container, ifname);
        if let Ok(Some(cached)) = read(&path)
            && !cached.is_for(network, container, ifname)
        {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::cache("delete", path, e)),
            _ => Ok(()),
        }
    }

    /// Refuses a name whose file another attachment has.
    pub(crate) fn refuse_clash(&self, network: &str, container: &str, ifname: &str) -> Result<()> {
        let path = self.path(network, container, ifname);
        match read(&path) {
            Ok(Some(other)) if !other.is_for(network, container, ifname) => {
                let (network, container) = (&other.network, &other.attachment.container_id);
                let why = format!("taken by container {container} in network {network}");
                Err(Error::CacheEntry { path, why })
            }
            _ => Ok(()),
        }
    }

    /// All attachments, by file name. Files that are something else are passed over: other runtimes keep
    /// theirs here, too.
    pub(crate) fn list(&self) -> Result<Vec<Cached>> {
        let folder = self.results();
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|e| Error::cache("read folder", &folder, e))?,
        };
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.map_err(|e| Error::cache("read folder", &folder, e))?.path());
        }
        files.sort();
        Ok(files.iter().filter_map(|file| read(file).ok().flatten()).collect())
    }
}

/// Reads a file; nothing when it is not there.
fn read(path: &Path) -> Result<Option<Cached>> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| Error::cache("read", path, e))?,
    };
    let fault = |why: String| Error::CacheEntry { path: path.into(), why };
    let entry: Entry = serde_json::from_slice(&text).map_err(|e| fault(e.to_string()))?;
    if entry.kind != KIND {
        return Err(fault(format!("its kind is {:?}, not {KIND}", entry.kind)));
    }
    let config = STANDARD.decode(&entry.config).map_err(|e| fault(format!("config: {e}")))?;
    let attachment = Attachment {
        container_id: entry.container_id,
        netns: (!entry.netns.is_empty()).then(|| entry.netns.into()),
        ifname: entry.if_name,
        args: entry.cni_args,
        capability_args: entry.capability_args,
    };
    let network = entry.network_name;
    Ok(Some(Cached { network, attachment, config, result: entry.result, path: path.into() }))
}

/// Go programs write `null` for what is empty.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
