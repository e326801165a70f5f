//! Network configurations (specification, section 1): lists of plugins, and single plugins as they
//! were before 1.0.0.
//!
//! A list is whole and valid once it exists; everything that is wrong with a text is told at once.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::version::Version;

mod load;
mod read;

pub use load::{Loaded, load, load_all, load_file};
use read::{Draft, object, plugin};

/// A network: its name, its version and its plugins, in the order of ADD.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkList {
    name: String,
    version: Version,
    versions: BTreeSet<Version>,
    disable_check: bool,
    disable_gc: bool,
    plugins: Vec<Plugin>,
    bytes: Vec<u8>,
}

/// One plugin's part of a network's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    kind: String,
    capabilities: BTreeSet<String>,
    raw: Map<String, Value>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file, where it is one.
    pub file: Option<PathBuf>,
    /// What is wrong, never empty.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, from 1, where they are known: where the text is no JSON.
    pub place: Option<(usize, usize)>,
    /// The key and what is wrong with it.
    pub message: String,
}

impl NetworkList {
    /// Reads a configuration, a list or a single plugin. Plugins of a folder are not looked for: that
    /// takes a file, see [`load_file`].
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        Draft::parse(text).and_then(Draft::finish)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that plugins are spoken to in: the highest that the configuration names and this
    /// crate speaks (section 1, "Version considerations").
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// All versions that the configuration names and this crate speaks.
    #[must_use]
    pub const fn versions(&self) -> &BTreeSet<Version> {
        &self.versions
    }

    /// Whether CHECK must not be called.
    #[must_use]
    pub const fn disable_check(&self) -> bool {
        self.disable_check
    }

    /// Whether GC must not be called.
    #[must_use]
    pub const fn disable_gc(&self) -> bool {
        self.disable_gc
    }

    /// The plugins, in the order of ADD; at least one.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The configuration as text: what the cache keeps of it. [`NetworkList::parse`] reads it back.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What some plugin of the list declares to be capable of.
    #[must_use]
    pub fn capabilities(&self) -> BTreeSet<&str> {
        self.plugins.iter().flat_map(|plugin| &plugin.capabilities).map(String::as_str).collect()
    }

    /// The same network, spoken to in this version and no other; its text says so, too.
    pub(crate) fn with_version(&self, version: Version) -> Self {
        let mut list = Self { version, versions: BTreeSet::from([version]), ..self.clone() };
        list.edit_text(|raw| {
            raw.insert("cniVersion".into(), version.as_str().into());
            raw.remove("cniVersions");
        });
        list
    }

    fn edit_text(&mut self, edit: impl FnOnce(&mut Map<String, Value>)) {
        if let Ok(mut raw) = object(&self.bytes) {
            edit(&mut raw);
            self.bytes = Value::Object(raw).to_string().into_bytes();
        }
    }
}

impl Plugin {
    /// Its type: the name of its file.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The capabilities that it declares.
    #[must_use]
    pub const fn capabilities(&self) -> &BTreeSet<String> {
        &self.capabilities
    }

    /// Its configuration, with every field.
    #[must_use]
    pub const fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { file: None, problems }
    }

    pub(crate) fn one(message: impl Into<String>) -> Self {
        Self::new(vec![Problem { place: None, message: message.into() }])
    }

    pub(crate) fn in_file(self, file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("network configuration")?,
        }
        for (i, problem) in self.problems.iter().enumerate() {
            match problem.place {
                Some((line, column)) if i == 0 => write!(f, ":{line}:{column}")?,
                _ => {}
            }
            f.write_str(if i == 0 { ": " } else { "; " })?;
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
