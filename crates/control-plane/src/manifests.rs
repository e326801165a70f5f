//! Writes what the topology file's manifests declare, once in a lab's life.
//!
//! An object that is there is left alone: with `--keep` it is what somebody made of it.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use runtime::{Backoff, Health, chain};
use store::registry::{self, Error as RegistryError};
use store::{Error, ObjectName, Store};
use tokio::sync::watch;

use crate::manifest::{Document, Manifest, documents};

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "manifests";

/// What a cluster's manifests declare.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) documents: Vec<Document>,
    /// What is wrong with the others. Whoever started the lab has been told before.
    pub(crate) problems: Vec<String>,
}

impl Declared {
    /// Reads the files.
    pub(crate) fn read(files: &[PathBuf]) -> Self {
        let mut declared = Self::default();
        for file in files {
            let name = file.display().to_string();
            match fs::read_to_string(file) {
                Ok(text) => {
                    for document in documents(&Manifest { file: name, text }) {
                        match document {
                            Ok(document) => declared.documents.push(document),
                            Err(problem) => declared.problems.push(problem.to_string()),
                        }
                    }
                }
                Err(error) => declared.problems.push(format!("cannot read {name}: {error}")),
            }
        }
        declared
    }

    /// Adds what every cluster has.
    pub(crate) fn add(&mut self, manifest: Option<Manifest>) {
        for document in manifest.iter().flat_map(documents) {
            match document {
                Ok(document) => self.documents.push(document),
                Err(problem) => self.problems.push(problem.to_string()),
            }
        }
    }

    /// The pods among them, by their names.
    pub(crate) fn pods(&self) -> Vec<ObjectName> {
        let pods = self.documents.iter().filter(|document| document.info == &api::kinds::PODS);
        pods.map(|pod| ObjectName::new(pod.namespace(), pod.name())).collect()
    }

    /// The names of the ingresses by hand.
    pub(crate) fn ingresses(&self) -> Vec<String> {
        let all = self.documents.iter().filter(|document| document.info == &api::kinds::NODE_INGRESSES);
        all.map(|one| one.name().to_owned()).collect()
    }
}

/// What became of the documents.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    created: usize,
    there: usize,
    refused: Vec<String>,
}

/// Writes them once the namespaces are `made`; `done` turns true then. A `marker` that is there says that a
/// former process of this lab has done it: what is missing now somebody has deleted.
pub(crate) async fn run(
    store: Store,
    declared: Declared,
    marker: PathBuf,
    mut made: watch::Receiver<bool>,
    health: Health,
    done: watch::Sender<bool>,
) {
    // The sender lives as long as the process.
    let _ = made.wait_for(|made| *made).await;
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    let written = loop {
        match write(&store, &declared, &marker).await {
            Ok(written) => break written,
            Err(error) => health.set(COMPONENT, false, &chain(&error)),
        }
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
    };
    let (message, warnings) = match written {
        None => (String::new(), Vec::new()),
        Some(written) => {
            let warnings = [declared.problems.clone(), written.refused.clone()].concat();
            (format!("{} created, {} there before", written.created, written.there), warnings)
        }
    };
    if !message.is_empty() {
        tracing::info!(message, ?warnings, "manifests");
    }
    health.warn(COMPONENT, &message, &warnings);
    done.send_replace(true);
    std::future::pending().await
}

/// Nothing where it was done before.
async fn write(store: &Store, declared: &Declared, marker: &Path) -> Result<Option<Written>, WriteError> {
    if marker.exists() {
        return Ok(None);
    }
    let mut written = Written::default();
    for document in &declared.documents {
        create(store, document, &mut written).await?;
    }
    let failed = |source| WriteError::Marker { path: marker.into(), source };
    if let Some(folder) = marker.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(marker, "").map_err(failed)?;
    Ok(Some(written))
}

async fn create(store: &Store, document: &Document, written: &mut Written) -> Result<(), Error> {
    match registry::create_raw(store, document.info, &document.object).await {
        Ok(_) => written.created += 1,
        Err(RegistryError::Store(Error::Exists { .. })) => written.there += 1,
        Err(RegistryError::Store(error)) if !matches!(error, Error::Name { .. } | Error::NotFound { .. }) => {
            return Err(error);
        }
        Err(error) => written.refused.push(format!("{}: {}", document.title(), chain(&error))),
    }
    Ok(())
}

/// Why not all is written yet.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("write {}", path.display())]
    Marker {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
