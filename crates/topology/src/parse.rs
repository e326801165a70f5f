//! From text to [`Topology`], with the place of every problem.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::file::{Spanned, TopologyFile};
use crate::model::Topology;
use crate::problem::{Problem, Problems};
use crate::resolve;
use crate::suggest::closest;

/// The lab that `topo up` starts when no file is named: `conf/two-clusters.yaml`.
pub const DEFAULT_TOPOLOGY: &str = include_str!("../../../conf/two-clusters.yaml");
/// `conf/flannel-network-config.json`, for the topologies that name it and come without files.
pub const DEFAULT_FLANNEL_CONFIG: &str = include_str!("../../../conf/flannel-network-config.json");

/// Manifests that are compiled in, by their names below `conf/`.
const MANIFESTS: [(&str, &str); 6] = [
    ("manifests/pods-C0.yaml", include_str!("../../../conf/manifests/pods-C0.yaml")),
    ("manifests/pods-C1.yaml", include_str!("../../../conf/manifests/pods-C1.yaml")),
    ("manifests/ingress-C0.yaml", include_str!("../../../conf/manifests/ingress-C0.yaml")),
    ("manifests/svc1-C0.yaml", include_str!("../../../conf/manifests/svc1-C0.yaml")),
    ("manifests/svc1-C1.yaml", include_str!("../../../conf/manifests/svc1-C1.yaml")),
    ("manifests/vips.yaml", include_str!("../../../conf/manifests/vips.yaml")),
];
/// What the name of one of them begins with in a topology; no file's name does.
const BUILT_IN: &str = "builtin:";

/// The text of a manifest, by its name in a [`Topology`].
///
/// # Errors
/// When the file cannot be read.
pub fn manifest(name: &str) -> std::io::Result<String> {
    match name.strip_prefix(BUILT_IN) {
        Some(built_in) => built_in_manifest(built_in).map(str::to_owned).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotFound, "not one of the built-in manifests")
        }),
        None => std::fs::read_to_string(name),
    }
}

fn built_in_manifest(name: &str) -> Option<&'static str> {
    MANIFESTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Where a topology file's neighbours are read from.
#[derive(Debug, Clone)]
pub(crate) enum Folder {
    /// A folder on disk.
    Disk(PathBuf),
    /// The files that are compiled in.
    BuiltIn,
}

impl Folder {
    /// The text of the file that a topology file calls `name`, and what to call it in messages.
    pub(crate) fn read(&self, name: &str) -> Result<(String, String), String> {
        match self {
            Self::Disk(folder) => {
                let path = folder.join(name);
                std::fs::read_to_string(&path)
                    .map(|text| (path.display().to_string(), text))
                    .map_err(|e| format!("cannot read {}: {e}", path.display()))
            }
            Self::BuiltIn if name == "flannel-network-config.json" => {
                Ok((format!("(built-in) {name}"), DEFAULT_FLANNEL_CONFIG.into()))
            }
            Self::BuiltIn => Err(format!("{name} is not one of the built-in files")),
        }
    }

    /// The name by which a manifest, which must exist, is found from everywhere.
    pub(crate) fn locate(&self, name: &str) -> Result<String, String> {
        let built_in = match self {
            Self::BuiltIn => Some(name.strip_prefix(BUILT_IN).unwrap_or(name)),
            Self::Disk(_) => name.strip_prefix(BUILT_IN),
        };
        if let Some(name) = built_in.filter(|name| built_in_manifest(name).is_some()) {
            return Ok(format!("{BUILT_IN}{name}"));
        }
        match self {
            Self::Disk(folder) => folder
                .join(name)
                .canonicalize()
                .map(|path| path.display().to_string())
                .map_err(|e| format!("cannot read {}: {e}", folder.join(name).display())),
            Self::BuiltIn => Err(format!("{name} is not one of the built-in files")),
        }
    }
}

/// Collects problems; a place is a value's own.
#[derive(Debug)]
pub(crate) struct Report {
    file: String,
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), problems: Vec::new() }
    }

    pub(crate) fn at<T>(&mut self, place: &Spanned<T>, message: impl Into<String>) -> &mut Problem {
        let location = place.referenced;
        let place = (location.line() > 0).then(|| (location.line(), location.column()));
        self.push(Problem { file: self.file.clone(), place, message: message.into(), hint: None })
    }

    pub(crate) fn push(&mut self, problem: Problem) -> &mut Problem {
        let last = self.problems.len();
        self.problems.push(problem);
        &mut self.problems[last]
    }

    pub(crate) fn append(&mut self, other: Report) {
        self.problems.extend(other.problems);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn into_problems(mut self) -> Problems {
        self.problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        self.problems.dedup();
        Problems(self.problems)
    }
}

impl Problem {
    pub(crate) fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

/// Reads, checks and completes a topology file.
///
/// # Errors
/// Every problem found, in the order of the lines.
pub fn load(path: &Path) -> Result<Topology, Problems> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Problems(vec![Problem {
            file: name.clone(),
            place: None,
            message: format!("cannot read the topology file: {e}"),
            hint: Some(
                "without -f the built-in two-cluster lab starts; `topo topology print` shows it".into(),
            ),
        }])
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    load_from(&name, &text, &Folder::Disk(folder.into()))
}

/// The default lab: two clusters, three workers each.
///
/// # Errors
/// None in a build that passed its tests.
pub fn load_default() -> Result<Topology, Problems> {
    load_from("(built-in) two-clusters.yaml", DEFAULT_TOPOLOGY, &Folder::BuiltIn)
}

/// As [`load`], of a text that is called `name` in messages and whose files lie in `folder`.
///
/// # Errors
/// Every problem found, in the order of the lines.
pub fn load_str(name: &str, text: &str, folder: &Path) -> Result<Topology, Problems> {
    load_from(name, text, &Folder::Disk(folder.into()))
}

fn load_from(name: &str, text: &str, folder: &Folder) -> Result<Topology, Problems> {
    let file: TopologyFile = yaml(name, text).map_err(|problem| Problems(vec![problem]))?;
    resolve::resolve(name, &file, folder)
}

/// Parses YAML (or JSON); the problem of a text that does not fit names its place.
pub(crate) fn yaml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Problem> {
    serde_yaml::from_str(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        let place = error.location().map(|l| (l.line(), l.column())).filter(|(line, _)| *line > 0);
        Problem { file: name.into(), place, hint: field_hint(&tidy(&message)), message: tidy(&message) }
    })
}

/// Cuts off the place that the parser adds to its message: it stands in front already.
fn tidy(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let cut = first.rfind(" at line ").unwrap_or(first.len());
    let text = first[..cut].trim_end_matches([',', ':', ' ']);
    let text =
        text.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(text, |(_, rest)| rest);
    text.into()
}

/// ``unknown field `wrkers`, expected one of a, b`` becomes a suggestion.
fn field_hint(message: &str) -> Option<String> {
    let (_, rest) =
        message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let (wrong, rest) = rest.split_once("`, expected ")?;
    let known = rest.lines().next()?.trim_start_matches("one of ");
    let words = known.split([',', ' ', '`']).filter(|word| !word.is_empty());
    closest(wrong, words).map(|word| format!("did you mean {word}?"))
}
