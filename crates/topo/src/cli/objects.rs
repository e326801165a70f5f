//! Kubernetes' objects: kubectl's verbs with kubectl's flags.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, ValueEnum, ValueHint};
use kubectl::columns::Columns;
use kubectl::jsonpath::{Path, Template};

/// Where objects are.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Cluster, as C0; without, the first of the lab
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

impl PlaceArgs {
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }
}

/// Files with objects.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// File or folder with objects as YAML or JSON; `-` for standard input; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "FILE", value_delimiter = ',', value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// Folders within folders too
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,
}

/// Which of a kind's objects.
#[derive(Debug, Args)]
pub(crate) struct SelectorArgs {
    /// Only those with these labels, as app=web,tier!=back
    #[arg(short = 'l', long = "selector", value_name = "LABELS")]
    pub(crate) labels: Option<String>,
    /// Only those with these fields, as status.phase=Running
    #[arg(long = "field-selector", value_name = "FIELDS")]
    pub(crate) fields: Option<String>,
    /// Of all namespaces
    #[arg(short = 'A', long = "all-namespaces", conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Do it
    None,
    /// Only say what would be done
    Client,
    /// Check everything that would be checked, but write nothing
    Server,
}

/// How objects are printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath(Template),
    Columns(Columns),
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("wide", "") => Ok(Self::Wide),
            ("json", "") => Ok(Self::Json),
            ("yaml", "") => Ok(Self::Yaml),
            ("name", "") => Ok(Self::Name),
            ("jsonpath", template) => {
                Template::parse(template).map(Self::JsonPath).map_err(|error| error.to_string())
            }
            ("custom-columns", columns) => {
                Columns::parse(columns).map(Self::Columns).map_err(|error| error.to_string())
            }
            ("jsonpath-file", file) => format!("jsonpath={}", read(file)?.trim_end_matches('\n')).parse(),
            ("custom-columns-file", file) => format!("custom-columns={}", columns_of(&read(file)?)).parse(),
            ("go-template" | "go-template-file" | "template" | "templatefile", _) => {
                Err("there are no go-templates here: jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}' and \
                     custom-columns=NAME:.metadata.name say the same"
                    .into())
            }
            _ => Err("allowed are wide, json, yaml, name, jsonpath=…, jsonpath-file=…, custom-columns=…, \
                      custom-columns-file=…"
                .into()),
        }
    }
}

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

/// A file has the columns' names in its first line, and below them where their cells are.
fn columns_of(text: &str) -> String {
    let mut lines = text.lines().map(str::split_whitespace);
    let (names, paths) = (lines.next(), lines.next());
    let both = names.into_iter().flatten().zip(paths.into_iter().flatten());
    both.map(|(name, path)| format!("{name}:{path}")).collect::<Vec<_>>().join(",")
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Do not do it
    #[arg(long, value_enum, default_value_t = DryRun::None, default_missing_value = "client", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    pub(crate) dry_run: DryRun,
    /// Print the objects as json, yaml or name
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// namespace NAME…, deployment NAME, service clusterip|nodeport|loadbalancer|externalname NAME; everything
    /// else is created from files
    #[arg(value_name = "KIND NAME", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) new: NewArgs,
    #[command(flatten)]
    pub(crate) apply: ApplyArgs,
    /// Remember what was written, so that it can be applied later
    #[arg(long)]
    pub(crate) save_config: bool,
}

/// What a new deployment or service is like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for deployments and services")]
pub(crate) struct NewArgs {
    /// The deployment's image; several, a container each
    #[arg(long = "image", value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// How many pods
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub(crate) replicas: u32,
    /// The port that the container answers on
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The service's ports
    #[arg(long, value_name = "PORT[:TARGET]", value_delimiter = ',')]
    pub(crate) tcp: Vec<String>,
    /// The service's address, or None
    #[arg(long = "clusterip", value_name = "ADDRESS")]
    pub(crate) cluster_ip: Option<String>,
    /// The first port's port on nodes
    #[arg(long, value_name = "PORT")]
    pub(crate) node_port: Option<u16>,
    /// Of what the service is another name
    #[arg(long, value_name = "NAME")]
    pub(crate) external_name: Option<String>,
    /// What the container runs, instead of what its image does
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// KIND[,KIND…] [NAME…], or KIND/NAME…, or all
    #[arg(value_name = "KIND [NAME]", value_parser = Kinds, hide_possible_values = true, required_unless_present = "files", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) selectors: SelectorArgs,
    /// wide, json, yaml, name, jsonpath='{.metadata.name}', custom-columns=NAME:.metadata.name
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Form>,
    /// Go on printing what changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Print what changes from now on
    #[arg(long)]
    pub(crate) watch_only: bool,
    /// All labels in the last column
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// The kind before the name
    #[arg(long)]
    pub(crate) show_kind: bool,
    /// Labels, each in a column
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "LABEL")]
    pub(crate) label_columns: Vec<String>,
    /// Rows in the order of a field, as .metadata.creationTimestamp
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) sort_by: Option<Path>,
    /// Without the columns' names
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// That a named object is not there is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

/// What becomes of what belongs to a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cascade {
    /// It goes afterwards
    Background,
    /// It goes before
    Foreground,
    /// It stays
    Orphan,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// KIND[,KIND…] NAME…, or KIND/NAME…
    #[arg(value_name = "KIND [NAME]", value_parser = Kinds, hide_possible_values = true, required_unless_present = "files", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) selectors: SelectorArgs,
    /// All objects of the kinds in the namespace
    #[arg(long, conflicts_with_all = ["files", "labels"])]
    pub(crate) all: bool,
    /// Seconds that a pod has to end; without, what the pod says
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) grace_period: Option<i64>,
    /// Do not wait for the node's word that a pod has ended
    #[arg(long)]
    pub(crate) force: bool,
    /// One second to end
    #[arg(long, conflicts_with_all = ["grace_period", "force"])]
    pub(crate) now: bool,
    /// What becomes of what belongs to it, as pods to a deployment
    #[arg(long, value_enum, default_value_t = Cascade::Background, value_name = "HOW")]
    pub(crate) cascade: Cascade,
    /// Return when it is gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) wait: bool,
    /// How long to wait, as 30s; without, as long as it takes
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// That it is not there is no error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
    /// Print names only
    #[arg(short, long, value_name = "FORM", value_parser = ["name"])]
    pub(crate) output: Option<String>,
    /// Do not do it
    #[arg(long, value_enum, default_value_t = DryRun::None, default_missing_value = "client", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    pub(crate) dry_run: DryRun,
}

/// Any word; completed with the names of kinds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinds;

impl TypedValueParser for Kinds {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let kinds = api::kinds::KINDS.iter().map(|info| PossibleValue::new(info.plural));
        Some(Box::new(kinds.chain([PossibleValue::new("all")])))
    }
}

fn path(text: &str) -> Result<Path, String> {
    Path::parse(text).map_err(|error| error.to_string())
}

/// As `90s`, `2m`, `1h30m`, `500ms`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is no time, as 30s, 2m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(std::time::Duration::from_secs(seconds.into()));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    std::time::Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_from_files_too_and_go_templates_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let columns = file("columns", "NAME            IP\n.metadata.name  .status.podIP\n");
        let asked = format!("custom-columns-file={columns}").parse::<Form>();
        assert_eq!(asked, "custom-columns=NAME:.metadata.name,IP:.status.podIP".parse());
        let path = file("path", "{.metadata.name}\n");
        assert_eq!(format!("jsonpath-file={path}").parse::<Form>(), "jsonpath={.metadata.name}".parse());
        for text in ["go-template={{.kind}}", "go-template-file=x"] {
            assert!(
                text.parse::<Form>().unwrap_err().starts_with("there are no go-templates here: jsonpath=")
            );
        }
        assert!("jsonpath-file=/nonexistent".parse::<Form>().is_err());
        assert!("custom-columns-file=/dev/null".parse::<Form>().is_err());
    }

    #[test]
    fn times_are_written_as_for_kubectl() {
        let table =
            [("30s", 30_000), ("2m", 120_000), ("1h30m", 5_400_000), ("500ms", 500), ("7", 7_000), ("0", 0)];
        for (text, milliseconds) in table {
            assert_eq!(duration(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        for text in ["", "s", "5x", "-5s", "5s x", "1.2.3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
