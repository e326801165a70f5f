//! Which images there are.

use std::collections::BTreeMap;
use std::fmt;

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_yaml::Spanned;

use crate::image::Image;
use crate::reference::{InvalidReference, Reference};

/// `conf/images.yaml`, which is compiled in.
///
/// It covers what the chapters of <https://kubernetes.io/docs> on workloads, services and ingresses
/// run. These images of theirs are not in it, and why:
///
/// - `mysql`, `postgres`, `mongo`, `cassandra`, `kubernetes-zookeeper`, `rabbitmq`, `wordpress`,
///   `gb-frontend` (guestbook): whole applications with data of their own, which a machine rarely has
///   and which would write to its files;
/// - `fluentd`, `fluentd-elasticsearch`, `elasticsearch`: they read a node's logs, which are elsewhere;
/// - `nginxhttps`: TLS with certificates from the image;
/// - `vish/stress`: limits of processor and memory are not kept here;
/// - `kube-apiserver`, `kube-scheduler`, `etcd`, `coredns`: the control plane is not made of pods here;
/// - everything for Windows.
pub const BUILTIN: &str = include_str!("../../../conf/images.yaml");
/// What it is called in messages.
const BUILTIN_NAME: &str = "(built-in) images.yaml";

/// What is run in which image's stead.
///
/// A table is one or more layers: [`Table::with`] puts one on top of another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The last one is looked into first.
    layers: Vec<BTreeMap<String, Image>>,
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// The file, as the user named it; empty for a table that is part of something else.
    pub file: String,
    /// Line and column, from 1, where known.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if let Some((line, column)) = self.place {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// Why no image was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No image can be called so; Kubernetes' reason is `InvalidImageName`.
    #[error(transparent)]
    Invalid(#[from] InvalidReference),
    /// The table says that there is none; Kubernetes' reason is `ErrImagePull`.
    #[error(
        "image {0:?} does not exist: it is an example of a rollout that fails, in the documentation and here"
    )]
    Absent(String),
    /// The table has no such image; Kubernetes' reason is `ErrImagePull`.
    #[error("image {image:?} is not in the table of images, and none are pulled here; known are {}\nmap it in the topology file: `images: {{{short}: {{entrypoint: [PROGRAM, ARGUMENT]}}}}`", .known.join(", "))]
    Image {
        /// The image as the container names it.
        image: String,
        /// Its shortest name.
        short: String,
        /// The names in the table, without tags and registries.
        known: Vec<String>,
    },
}

impl Unknown {
    /// The reason of a container that waits because of it, as a kubelet gives it
    /// (`pkg/kubelet/images/types.go`).
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "InvalidImageName",
            Self::Absent(_) | Self::Image { .. } => "ErrImagePull",
        }
    }
}

impl Table {
    /// The table that is compiled in, `conf/images.yaml`.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn builtin() -> Result<Self, TableError> {
        Self::parse(BUILTIN, BUILTIN_NAME)
    }

    /// Reads a table: YAML (or JSON) with `images` as its only key, and below it an [`Image`] for
    /// each name. `file` is what the text is called in messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(text: &str, file: &str) -> Result<Self, TableError> {
        let error = |place: (u64, u64), message| TableError {
            file: file.into(),
            place: Some(place).filter(|(line, _)| *line > 0),
            message,
        };
        let parsed: File = serde_yaml::from_str(text).map_err(|e| {
            let place = e.location().map_or((0, 0), |l| (l.line(), l.column()));
            error(place, tidy(&e.without_snippet().to_string()))
        })?;
        let mut images = BTreeMap::new();
        for (name, image) in parsed.images.0 {
            let place = (name.referenced.line(), name.referenced.column());
            check(&name.value, &image).map_err(|message| error(place, message))?;
            if images.contains_key(&name.value) {
                return Err(error(place, format!("image {:?} is there twice", name.value)));
            }
            images.insert(name.value, image);
        }
        Ok(Self { layers: vec![images] })
    }

    /// A table of these images.
    ///
    /// # Errors
    /// A name that cannot be one, or an image without a command.
    pub fn new(images: BTreeMap<String, Image>) -> Result<Self, TableError> {
        for (name, image) in &images {
            check(name, image).map_err(|message| TableError { file: String::new(), place: None, message })?;
        }
        Ok(Self { layers: vec![images] })
    }

    /// This table with `other` on top of it: whatever `other` has an answer for, is as `other` says,
    /// even if this one has a more particular name.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.layers.extend(other.layers);
        self
    }

    /// The image that `reference` (`docker.io/library/nginx:1.25`) names. In the table it may be called
    /// by the last part of the path alone, by more of it, and with a tag: the longest path wins, then
    /// the one with the tag. A digest does not matter.
    ///
    /// # Errors
    /// When there is none, or no image can be called so.
    pub fn resolve(&self, reference: &str) -> Result<&Image, Unknown> {
        let parsed = Reference::parse(reference)?;
        let candidates: Vec<String> = parsed.candidates().collect();
        let found =
            self.layers.iter().rev().find_map(|layer| candidates.iter().find_map(|name| layer.get(name)));
        match found {
            Some(image) if image.absent => Err(Unknown::Absent(reference.into())),
            Some(image) => Ok(image),
            None => Err(Unknown::Image {
                image: reference.into(),
                short: parsed.short().into(),
                known: self.short_names(),
            }),
        }
    }

    /// All entries, by name, the ones on top only.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<&str, &Image> {
        self.layers.iter().flatten().map(|(name, image)| (name.as_str(), image)).collect()
    }

    fn short_names(&self) -> Vec<String> {
        let names = self.layers.iter().flat_map(BTreeMap::keys);
        let mut short: Vec<String> = names
            .filter_map(|name| Reference::parse(name).ok().map(|name| name.short().to_owned()))
            .collect();
        short.sort();
        short.dedup();
        short
    }
}

/// What is wrong with an entry.
fn check(name: &str, image: &Image) -> Result<(), String> {
    let reference = Reference::parse(name).map_err(|e| e.to_string())?;
    if reference.has_digest() {
        return Err(format!(
            "image {name:?}: a name in the table has no digest, which would never be looked at"
        ));
    }
    let nothing = image.entrypoint.is_empty() && image.cmd.is_empty();
    if image.absent {
        let fault = || format!("image {name:?}: absent, and there is something to run");
        return if nothing { Ok(()) } else { Err(fault()) };
    }
    if nothing {
        return Err(format!("image {name:?}: neither entrypoint nor cmd: there is nothing to run"));
    }
    if image.entrypoint.first().or(image.cmd.first()).is_some_and(String::is_empty) {
        return Err(format!("image {name:?}: the program's name is empty"));
    }
    if let Some(variable) = image.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(format!("image {name:?}: env: {variable:?} cannot be a variable's name"));
    }
    if let Some(folder) = image.working_dir.as_ref().filter(|folder| !folder.starts_with('/')) {
        return Err(format!("image {name:?}: workingDir: {folder:?} is no absolute path"));
    }
    if let Some((program, _)) = image.programs.iter().find(|(_, there)| there.is_empty()) {
        return Err(format!("image {name:?}: programs: {program:?}: there is nothing to run"));
    }
    if let Some(signal) = image.stop_signal.as_ref().filter(|name| name.parse::<Signal>().is_err()) {
        return Err(format!("image {name:?}: stopSignal: {signal:?} is no signal's name, as SIGTERM"));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    images: Entries,
}

/// Entries with the places of their names, also of one that comes twice.
#[derive(Debug)]
struct Entries(Vec<(Spanned<String>, Image)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("images by name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Cuts off the place that the parser adds to its message: it stands in front already.
fn tidy(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let text = first[..first.rfind(" at line ").unwrap_or(first.len())].trim_end_matches([',', ':', ' ']);
    text.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(text, |(_, rest)| rest).into()
}

#[cfg(test)]
mod tests;
