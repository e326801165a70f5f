//! What is run in an image's stead.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// As the first word of an entrypoint: this very program.
pub const TOPO: &str = "topo";

/// The path of programs that debian's images have.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run in an image's stead, in the words of an image's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// One line on what it is, and where it differs from the real image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Program and first arguments. [`TOPO`] as the first word is this very program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the whole command where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Environment variables; the container's own win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where it is run; the container's own wins; none means `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Programs of the real image that the machine does not have at that place, and what is run for
    /// each: `/agnhost` as `topo image agnhost`. They are looked for by a command's first word.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Vec<String>>,
    /// The signal that asks it to end, as `SIGQUIT`; none means SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// That there is no such image: a tag that the documentation uses to show how a rollout fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Programs of the machine without which the image is of no use, with the Debian package that
    /// has each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<String, String>,
}

/// Programs that an image needs and the machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("needs {} of this machine, which has no such program: apt install {}", .programs.join(", "), .packages.join(" "))]
pub struct Missing {
    /// The programs.
    pub programs: Vec<String>,
    /// The Debian packages that have them.
    pub packages: Vec<String>,
}

impl Image {
    /// The whole command of a container: its `command` replaces the entrypoint and drops the image's
    /// arguments, its `args` replace those arguments
    /// (<https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>).
    /// Empty lists are as good as none, as in Kubernetes.
    ///
    /// The result is empty when the image has no command and the container names none either.
    #[must_use]
    pub fn command(&self, command: Option<&[String]>, args: Option<&[String]>) -> Vec<String> {
        let some = |list: Option<&[String]>| list.filter(|list| !list.is_empty()).map(<[String]>::to_vec);
        let (command, args) = (some(command), some(args));
        let arguments = args.unwrap_or_else(|| if command.is_some() { Vec::new() } else { self.cmd.clone() });
        let mut whole = command.unwrap_or_else(|| self.entrypoint.clone());
        whole.extend(arguments);
        self.program(whole)
    }

    /// A command with the place of its program seen to: what [`Image::command`] does at last, and what is
    /// to be done with the commands of probes, hooks and `exec`.
    #[must_use]
    pub fn program(&self, mut command: Vec<String>) -> Vec<String> {
        if let Some(there) = command.first().and_then(|first| self.programs.get(first)) {
            command.splice(..1, there.iter().cloned());
        }
        command
    }

    /// The signal that asks it to end.
    #[must_use]
    pub fn stop_signal(&self) -> Signal {
        self.stop_signal.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Signal::SIGTERM)
    }

    /// Whether the machine has what the image needs; `path` is a list of folders as in `PATH`.
    ///
    /// # Errors
    /// The programs that are missing, with the packages to install.
    pub fn check(&self, path: &OsStr) -> Result<(), Missing> {
        let missing = || self.needs.iter().filter(|(program, _)| !is_program(program, path));
        let programs: Vec<String> = missing().map(|(program, _)| program.clone()).collect();
        if programs.is_empty() {
            return Ok(());
        }
        let mut packages: Vec<String> = missing().map(|(_, package)| package.clone()).collect();
        packages.dedup();
        Err(Missing { programs, packages })
    }
}

/// Puts `program`, the way to this very program, in the place of [`TOPO`] as the first word.
#[must_use]
pub fn with_program(mut command: Vec<String>, program: &str) -> Vec<String> {
    if let Some(first) = command.first_mut().filter(|first| *first == TOPO) {
        program.clone_into(first);
    }
    command
}

/// Whether `name` is a program in one of the folders, or by its own path.
pub(crate) fn is_program(name: &str, path: &OsStr) -> bool {
    find_program(name, path).is_some()
}

/// The program that `name` would start.
pub(crate) fn find_program(name: &str, path: &OsStr) -> Option<std::path::PathBuf> {
    let executable = |file: &Path| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(Path::new(name).to_owned()).filter(|file| executable(file));
    }
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| executable(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image() -> Image {
        Image { entrypoint: words("ep1 ep2"), cmd: words("c1 c2"), ..Image::default() }
    }

    /// The table of the Kubernetes documentation, once its own.
    #[test]
    fn a_containers_command_and_arguments_replace_the_images() {
        let image = image();
        let (command, args) = (words("x y"), words("1 2"));
        assert_eq!(image.command(None, None), words("ep1 ep2 c1 c2"));
        assert_eq!(image.command(Some(&command), None), words("x y"));
        assert_eq!(image.command(None, Some(&args)), words("ep1 ep2 1 2"));
        assert_eq!(image.command(Some(&command), Some(&args)), words("x y 1 2"));
    }

    #[test]
    fn empty_lists_are_as_good_as_none() {
        assert_eq!(image().command(Some(&[]), Some(&[])), words("ep1 ep2 c1 c2"));
        assert_eq!(Image::default().command(None, None), Vec::<String>::new());
    }

    #[test]
    fn programs_of_the_real_image_are_found_by_the_first_word() {
        let programs = [("/agnhost".to_owned(), words("topo image agnhost"))].into();
        let image = Image { programs, ..image() };
        let command = words("/agnhost netexec /agnhost");
        assert_eq!(image.command(Some(&command), None), words("topo image agnhost netexec /agnhost"));
        assert_eq!(image.program(words("/agnhost")), words("topo image agnhost"));
        assert_eq!(image.program(words("sh -c /agnhost")), words("sh -c /agnhost"));
        assert_eq!(image.program(Vec::new()), Vec::<String>::new());
    }

    #[test]
    fn the_signal_that_asks_it_to_end() {
        assert_eq!(image().stop_signal(), Signal::SIGTERM);
        let image = Image { stop_signal: Some("SIGQUIT".into()), ..image() };
        assert_eq!(image.stop_signal(), Signal::SIGQUIT);
    }

    #[test]
    fn only_the_first_word_is_this_program() {
        assert_eq!(with_program(words("topo image topo"), "/proc/1/exe"), words("/proc/1/exe image topo"));
        assert_eq!(with_program(words("sh topo"), "/x"), words("sh topo"));
        assert_eq!(with_program(words("/usr/bin/topo"), "/x"), words("/usr/bin/topo"));
        assert_eq!(with_program(Vec::new(), "/x"), Vec::<String>::new());
    }

    #[test]
    fn missing_programs_are_named_with_their_packages() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("here");
        std::fs::write(&file, "").unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let needs = |names: &[(&str, &str)]| Image {
            needs: names.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
            ..Image::default()
        };
        let path = folder.path().as_os_str();
        assert_eq!(needs(&[("here", "p")]).check(path), Ok(()));
        assert_eq!(needs(&[(file.to_str().unwrap(), "p")]).check(OsStr::new("")), Ok(()));
        let error = needs(&[("here", "p"), ("nowhere", "q"), ("plain", "q")]).check(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs nowhere, plain of this machine, which has no such program: apt install q"
        );
    }
}
