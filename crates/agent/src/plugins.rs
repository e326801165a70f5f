//! What the CNI plugins of a worker find: the configuration, the folders, the plugin `flannel`.
//!
//! Workers share a file system, so every file is in the worker's own folder:
//!
//! ```text
//! flannel-subnet.env             the daemon's lease
//! cni/bin/flannel                the plugin, ours or the real one
//! cni/net.d/10-flannel.conflist  what kube-flannel.yml ships, with these paths in it
//! cni/flannel, cni/networks      what flannel and host-local remember
//! cni/cache                      what the runtime remembers
//! ```

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flannel::real::FlannelPlugin;
use runtime::{ComponentKind, Health, chain};
use serde_json::Value;

use crate::choice::{Decision, Part, decide};
use crate::{Options, network};

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "flannel-plugin";
/// pid 1 of a lab is this program, whatever has become of its file.
const OURSELVES: &str = "/proc/1/exe";
const CONFLIST: &str = "10-flannel.conflist";
/// What pods cannot do without; `portmap` they can.
const NEEDED: [&str; 2] = ["bridge", "host-local"];
/// While something is missing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

const PLUGIN: Part = Part { program: "flannel", absent: "no plugin flannel", key: "flannelPlugin" };

/// Where a worker's runtime finds what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniFiles {
    /// Folders of plugins: the worker's own, then those of `KNETSIM_CNI_PATH`, of `CNI_PATH` and the usual
    /// ones.
    pub plugin_path: Vec<PathBuf>,
    /// The folder of configurations.
    pub net_dir: PathBuf,
    /// Where attachments are remembered.
    pub cache_dir: PathBuf,
}

impl CniFiles {
    /// Those of the worker whose folder is `folder`; `variable` reads the environment.
    #[must_use]
    pub fn of(folder: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let cni = folder.join("cni");
        let mut plugin_path = vec![cni.join("bin")];
        for folder in others(variable) {
            if !plugin_path.contains(&folder) {
                plugin_path.push(folder);
            }
        }
        Self { plugin_path, net_dir: cni.join("net.d"), cache_dir: cni.join("cache") }
    }

    fn shared(&self) -> &[PathBuf] {
        &self.plugin_path[1..]
    }

    fn has(&self, plugin: &str) -> bool {
        self.plugin_path.iter().any(|folder| folder.join(plugin).is_file())
    }
}

fn others(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for name in ["KNETSIM_CNI_PATH", "CNI_PATH"] {
        let value = variable(name).unwrap_or_default();
        folders.extend(std::env::split_paths(&value).filter(|folder| folder.is_absolute()));
    }
    folders.extend(cni::tool::PLUGINS.map(PathBuf::from));
    folders
}

/// The plugin, decided and announced, its files not yet written.
#[derive(Debug)]
pub(crate) struct Plugin {
    decision: Decision<FlannelPlugin>,
    folder: PathBuf,
    files: CniFiles,
}

impl Plugin {
    /// Decides which it is and announces it.
    pub(crate) fn announce(options: &Options, files: &CniFiles, health: &Health) -> Self {
        let find = || FlannelPlugin::find(files.shared());
        let decision = decide(options.flannel_plugin, PLUGIN, find, |_| Vec::new());
        let announce =
            |kind, version: &str, why: &str| health.announce_because(COMPONENT, kind, version, why);
        match &decision {
            Decision::Real(real) => {
                let version = format!("CNI {}", real.cni_version);
                announce(ComponentKind::Real, &version, &format!("found {}", real.path.display()));
            }
            Decision::Builtin { why } => announce(ComponentKind::Builtin, env!("CARGO_PKG_VERSION"), why),
            Decision::Impossible { message, hint } => {
                announce(ComponentKind::Real, "", "");
                health.stuck(COMPONENT, &format!("{message} in {}", listed(files.shared())), hint);
            }
        }
        Self { decision, folder: options.folder.clone(), files: files.clone() }
    }

    /// Writes the files and looks for the other plugins until all is there; then waits until dropped. As
    /// with kube-flannel, who changes the configuration by hand has his way until the next start.
    pub(crate) async fn run(self, health: Health) {
        let program = match &self.decision {
            Decision::Real(real) => real.path.clone(),
            Decision::Builtin { .. } => PathBuf::from(OURSELVES),
            Decision::Impossible { .. } => return std::future::pending().await,
        };
        loop {
            match self.write(&program) {
                Ok(()) => match self.missing() {
                    None => break,
                    Some(message) => health.stuck(
                        COMPONENT,
                        &message,
                        "install Debian's package containernetworking-plugins, or name their folder in \
                         KNETSIM_CNI_PATH",
                    ),
                },
                Err(error) => health.set(COMPONENT, false, &chain(&error)),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        health.set(COMPONENT, true, "");
        std::future::pending().await
    }

    fn write(&self, program: &Path) -> Result<(), FileError> {
        link(program, &self.files.plugin_path[0].join("flannel"))?;
        let conflist = conflist(&self.folder, self.files.has("portmap"));
        replace(&self.files.net_dir.join(CONFLIST), &conflist)
    }

    fn missing(&self) -> Option<String> {
        let missing: Vec<_> = NEEDED.into_iter().filter(|plugin| !self.files.has(plugin)).collect();
        let plugins = if missing.len() == 1 { "plugin" } else { "plugins" };
        let folders = listed(self.files.shared());
        (!missing.is_empty()).then(|| format!("no CNI {plugins} {} in {folders}", missing.join(", ")))
    }
}

fn listed(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The list of kube-flannel.yml (flannel `Documentation/kube-flannel.yml`), version and name included. As text,
/// because people read it.
fn conflist(folder: &Path, portmap: bool) -> String {
    let cni = folder.join("cni");
    // A JSON string with what a path may have in it.
    let path = |path: PathBuf| Value::from(path.to_string_lossy()).to_string();
    let portmap = if portmap {
        r#",
    {
      "type": "portmap",
      "capabilities": {"portMappings": true}
    }"#
    } else {
        ""
    };
    format!(
        r#"{{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {{
      "type": "flannel",
      "subnetFile": {subnet_file},
      "dataDir": {data_dir},
      "ipam": {{"type": "host-local", "dataDir": {networks}}},
      "delegate": {{"hairpinMode": true, "isDefaultGateway": true}}
    }}{portmap}
  ]
}}
"#,
        subnet_file = path(network::subnet_file(folder)),
        data_dir = path(cni.join("flannel")),
        networks = path(cni.join("networks")),
    )
}

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
struct FileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes a file, at once or not at all, with its folders.
fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    place(path, |new| fs::write(new, text))
}

/// Makes a symbolic link, in the place of whatever is there.
fn link(target: &Path, path: &Path) -> Result<(), FileError> {
    if fs::read_link(path).is_ok_and(|there| there == target) {
        return Ok(());
    }
    place(path, |new| symlink(target, new))
}

fn place(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FileError> {
    // A name that no runtime takes for a configuration.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = fs::create_dir_all(folder)
        .and_then(|()| match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => make(&new),
        })
        .and_then(|()| fs::rename(&new, path));
    made.map_err(|source| FileError { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_looked_for_in_the_workers_own_folder_first() {
        let variable = |name: &str| match name {
            "KNETSIM_CNI_PATH" => Some("/mine:relative:/usr/lib/cni".into()),
            "CNI_PATH" => Some("/theirs".into()),
            _ => None,
        };
        let files = CniFiles::of(Path::new("/run/lab/C0w1"), variable);
        let path: Vec<_> = files.plugin_path.iter().map(|folder| folder.to_str().unwrap()).collect();
        let wanted =
            ["/run/lab/C0w1/cni/bin", "/mine", "/usr/lib/cni", "/theirs", "/opt/cni/bin", "/usr/libexec/cni"];
        assert_eq!(path, wanted);
        assert_eq!(files.cache_dir, Path::new("/run/lab/C0w1/cni/cache"));
    }

    #[test]
    fn the_configuration_is_kube_flannels_and_one_that_a_runtime_takes() {
        let conflist = conflist(Path::new("/run/lab/C0w1"), true);
        insta::assert_snapshot!(conflist);
        let folder = tempfile::tempdir().unwrap();
        replace(&folder.path().join(CONFLIST), &conflist).unwrap();
        assert!(cni::config::load(folder.path(), "cbr0").is_ok());
    }

    #[test]
    fn files_are_replaced_whole_and_left_alone_when_they_are_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni/net.d/10-flannel.conflist");
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
        replace(&path, "a").unwrap();
        let first = inode();
        replace(&path, "a").unwrap();
        assert_eq!(inode(), first);
        replace(&path, "b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

        let plugin = folder.path().join("cni/bin/flannel");
        fs::create_dir_all(plugin.parent().unwrap()).unwrap();
        fs::write(&plugin, "somebody's").unwrap();
        for target in ["/proc/1/exe", "/opt/cni/bin/flannel"] {
            link(Path::new(target), &plugin).unwrap();
            assert_eq!(fs::read_link(&plugin).unwrap(), Path::new(target));
        }
        let error = replace(&path.join("below-a-file"), "x").unwrap_err();
        assert!(error.to_string().ends_with("10-flannel.conflist/below-a-file"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_named_and_found_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("plugins");
        fs::create_dir(&bin).unwrap();
        let files = CniFiles {
            plugin_path: vec![folder.path().join("cni/bin"), bin.clone()],
            ..CniFiles::of(folder.path(), |_| None)
        };
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let plugin = Plugin {
            decision: Decision::Builtin { why: String::new() },
            folder: folder.path().into(),
            files: files.clone(),
        };
        let task = tokio::spawn(plugin.run(health));
        let stuck = board.wait_for(|report| report.components[COMPONENT].hint.is_some()).await.unwrap();
        let message = stuck.components[COMPONENT].message.clone();
        drop(stuck);
        assert_eq!(message, format!("no CNI plugins bridge, host-local in {}", bin.display()));
        for plugin in NEEDED {
            fs::write(bin.join(plugin), "").unwrap();
        }
        board.wait_for(runtime::WorkerReport::ready).await.unwrap();
        let text = fs::read_to_string(files.net_dir.join(CONFLIST)).unwrap();
        assert!(!text.contains("portmap"), "not there, so not asked for: {text}");
        task.abort();
    }
}
