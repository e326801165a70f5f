//! Making, finding and removing sandboxes: the agent's side.

mod enter;
mod files;
mod link;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use net::sandbox::Sandbox as Namespaces;
use net::{NetNs, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::protocol::{ContainerState, Files, Outcome, Process, Request};
use crate::root::{Layout, template};
use crate::shim::VOLUMES;

pub use enter::{Entry, enter};
pub use files::{Listed, list, name_of};
use link::Link;

/// A killed process is gone within this time, whatever the machine's load.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where sandboxes are.
#[derive(Debug, Clone)]
pub struct Options {
    /// A folder for each sandbox is made in here.
    pub folder: PathBuf,
    /// Where network namespaces have names, `/run/netns` (`ip-netns(8)`).
    pub netns: PathBuf,
    /// Where `ip netns exec` looks for a namespace's own files, `/etc/netns`.
    pub etc_netns: PathBuf,
    /// The containers' logs go below this folder.
    pub logs: PathBuf,
    /// Folders of the machine that pods must not see.
    pub hidden: Vec<PathBuf>,
}

/// A sandbox as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSpec {
    /// Its name, and that of its network namespace, see [`name_of`].
    pub name: String,
    /// For CNI; never used twice.
    pub id: String,
    /// The worker.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// The host's name in there.
    pub hostname: String,
    /// Whether it stays in the worker's network namespace.
    pub host_network: bool,
    /// Files that it sees in `/etc`: `hosts`, `resolv.conf`.
    pub files: BTreeMap<String, String>,
    /// Where its containers have volumes mounted, as `/data`. None can be mounted without one.
    #[serde(default)]
    pub mount_points: Vec<PathBuf>,
}

/// Makes sandboxes and finds them again.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    /// The mount namespace that those of the pods are copies of.
    mounts: OwnedFd,
    /// How a pod's root is made in such a copy.
    layout: Layout,
}

impl Runtime {
    /// A runtime with its folders, which are made.
    ///
    /// # Errors
    /// When a folder cannot be made, or the mount namespace not be copied.
    pub fn new(options: Options) -> Result<Self> {
        for folder in [&options.folder, &options.logs, &options.netns, &options.etc_netns] {
            fs::create_dir_all(folder).map_err(|e| Error::file("make folder", folder, e))?;
        }
        // A pod does not care for the others' namespaces, which are many: their place is free.
        let (mounts, layout) = template::make(&options.folder, &options.netns, &options.hidden)?;
        Ok(Self(Arc::new(Inner { options, mounts, layout })))
    }

    /// Makes a sandbox: its namespaces, with the loopback on and the network namespace under its name.
    ///
    /// # Errors
    /// [`Error::Exists`]; what the kernel or a file refused. Nothing is left behind then.
    pub async fn create(&self, spec: SandboxSpec) -> Result<Sandbox> {
        let places = self.places(&spec.name);
        match fs::create_dir(&places.folder) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(Error::Exists(spec.name)),
            Err(e) => return Err(Error::file("make folder", &places.folder, e)),
        }
        let inner = self.0.clone();
        let started = tokio::task::spawn_blocking({
            let (spec, places) = (spec.clone(), places.clone());
            move || start(&inner, &spec, &places)
        });
        let outcome = match started.await {
            Ok(Ok((pid, socket))) => self.greet(spec, pid, socket, true).await,
            Ok(Err(e)) => Err(e),
            Err(e) => Err(Error::file("start", &places.folder, std::io::Error::other(e))),
        };
        if outcome.is_err() {
            places.clear();
        }
        outcome
    }

    /// The sandboxes of a node that are there, as after a restart of its agent. Of those whose shim has
    /// ended, the remains are removed and their specs given back: their networks need a DEL.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn adopt(&self, node: &str) -> Result<(Vec<Sandbox>, Vec<SandboxSpec>)> {
        let (mut alive, mut dead) = (Vec::new(), Vec::new());
        for spec in files::specs(&self.0.options.folder)? {
            if spec.node != node {
                continue;
            }
            let places = self.places(&spec.name);
            let connected = places.connect();
            let adopted = match connected {
                Ok((socket, pid)) => self.greet(spec.clone(), pid, socket, false).await.ok(),
                Err(_) => None,
            };
            match adopted {
                Some(sandbox) => alive.push(sandbox),
                None => {
                    places.clear();
                    dead.push(spec);
                }
            }
        }
        Ok((alive, dead))
    }

    async fn greet(
        &self,
        spec: SandboxSpec,
        pid: i32,
        socket: std::os::unix::net::UnixStream,
        parent: bool,
    ) -> Result<Sandbox> {
        let places = self.places(&spec.name);
        match Link::open(&spec.name, socket).await {
            Ok(link) => Ok(Sandbox { spec, places, pid, parent, link }),
            Err(error) => {
                if parent {
                    end(pid, true).await;
                }
                Err(error)
            }
        }
    }

    fn places(&self, name: &str) -> Places {
        let options = &self.0.options;
        Places {
            folder: options.folder.join(name),
            netns: options.netns.join(name),
            etc_netns: options.etc_netns.join(name),
        }
    }
}

/// What stands in the file system for a sandbox.
#[derive(Debug, Clone)]
struct Places {
    folder: PathBuf,
    netns: PathBuf,
    etc_netns: PathBuf,
}

impl Places {
    /// Removes everything; what is not there need not go.
    fn clear(&self) {
        self.unname();
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Takes the network namespace's name away; without processes in it, it is gone then.
    fn unname(&self) {
        mount::detach(&self.netns);
        let _ = fs::remove_file(&self.netns);
        let _ = fs::remove_file(&self.etc_netns);
    }

    /// A connection to the shim, and its pid.
    fn connect(&self) -> Result<(std::os::unix::net::UnixStream, i32)> {
        let failed = |e| Error::file("reach", &self.folder, e);
        let folder = File::open(&self.folder).map_err(failed)?;
        let socket = std::os::unix::net::UnixStream::connect(files::socket_in(&folder)).map_err(failed)?;
        let peer = getsockopt(&socket, sockopt::PeerCredentials).map_err(|e| failed(e.into()))?;
        Ok((socket, peer.pid()))
    }
}

/// Starts the shim and names its network namespace.
fn start(
    inner: &Inner,
    spec: &SandboxSpec,
    places: &Places,
) -> Result<(i32, std::os::unix::net::UnixStream)> {
    files::write(&places.folder, spec, &inner.layout)?;
    let logs = files::log_folder(&inner.options.logs, spec);
    fs::create_dir_all(&logs).map_err(|e| Error::file("make folder", &logs, e))?;
    let logs = File::open(&logs).map_err(|e| Error::file("open", &logs, e))?;
    let folder = File::open(&places.folder).map_err(|e| Error::file("open", &places.folder, e))?;
    let failed = |e| Error::file("make socket in", &places.folder, e);
    let listener = UnixListener::bind(files::socket_in(&folder)).map_err(failed)?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|e| Error::file("open", "/dev/null", e))?;
    let said = places.folder.join("shim.log");
    let said = File::create(&said).map_err(|e| Error::file("make", &said, e))?;
    let namespaces = Namespaces {
        args: vec!["topo".into(), "shim".into(), places.folder.clone().into()],
        env: Vec::new(),
        user: false,
        net: !spec.host_network,
        mounts: Some(inner.mounts.as_fd()),
        stdio: [null.as_fd(), said.as_fd(), said.as_fd()],
        keep: vec![listener.as_fd(), logs.as_fd()],
    };
    let (pid, _) = namespaces.start()?;
    let named = name(pid.as_raw(), spec, places);
    let connected = named
        .and_then(|()| std::os::unix::net::UnixStream::connect(files::socket_in(&folder)).map_err(failed));
    connected.map(|socket| (pid.as_raw(), socket)).inspect_err(|_| {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    })
}

fn name(pid: i32, spec: &SandboxSpec, places: &Places) -> Result<()> {
    if spec.host_network {
        return Ok(());
    }
    NetNs::open(format!("/proc/{pid}/ns/net"))?.bind(&places.netns)?;
    std::os::unix::fs::symlink(places.folder.join("etc"), &places.etc_netns)
        .map_err(|e| Error::file("make link", &places.etc_netns, e))
}

/// Kills a shim; returns when it is gone, and with it everything in its pod.
async fn end(pid: i32, parent: bool) {
    let pid = Pid::from_raw(pid);
    let _ = kill(pid, Signal::SIGKILL);
    if parent {
        let _ = tokio::task::spawn_blocking(move || waitpid(pid, None)).await;
    }
}

/// What a sandbox's containers are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether the sandbox is there; once false it stays so.
    pub alive: bool,
    /// By container: its present or last run, after the one before.
    pub containers: BTreeMap<String, Vec<ContainerState>>,
}

impl State {
    /// A container's present or last run.
    #[must_use]
    pub fn last(&self, container: &str) -> Option<&ContainerState> {
        self.containers.get(container)?.last()
    }

    /// The run before the present or last one.
    #[must_use]
    pub fn before(&self, container: &str) -> Option<&ContainerState> {
        self.containers.get(container)?.iter().rev().nth(1)
    }

    /// Whether any container runs.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.containers.values().flatten().any(ContainerState::running)
    }
}

/// A sandbox that is there. Dropping this leaves it running.
#[derive(Debug)]
pub struct Sandbox {
    spec: SandboxSpec,
    places: Places,
    pid: i32,
    /// Whether the shim is this process's child, and so its to wait for.
    parent: bool,
    link: Link,
}

impl Sandbox {
    /// What it was made from.
    #[must_use]
    pub const fn spec(&self) -> &SandboxSpec {
        &self.spec
    }

    /// A file of its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Path {
        &self.places.netns
    }

    /// What its containers are doing, and how that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.link.state()
    }

    /// Starts a container that sees these files; what becomes of it shows in the state.
    pub fn start(&self, container: &str, attempt: u32, process: Process, files: Files) {
        self.link.send(Request::Start { container: container.into(), attempt, process, files });
    }

    /// Where what is in a volume of that name is to be, if the sandbox has any mount points. Whatever is
    /// written there shows in the containers that have it mounted.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.places.folder.join(VOLUMES).join(name)
    }

    /// Sends a signal to a container's first process; SIGKILL is for all of its processes.
    pub fn signal(&self, container: &str, signal: Signal) {
        self.link.send(Request::Signal { container: container.into(), signal: signal as i32 });
    }

    /// A way to run commands in it, for those who do not hold the sandbox; they see what the container
    /// sees.
    #[must_use]
    pub fn runner(&self, container: &str) -> Runner {
        Runner { requests: self.link.requests(), container: container.into() }
    }

    /// Writes a file that it sees in `/etc` anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rewrite(&self, file: &str, text: &str) -> Result<()> {
        // In place: the pod has this very file mounted.
        let path = self.places.folder.join("etc").join(file);
        fs::write(&path, text).map_err(|e| Error::file("write", path, e))
    }

    /// Notes the pod's addresses, for [`list`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_addresses(&self, addresses: &[String]) -> Result<()> {
        let path = self.places.folder.join(files::ADDRESSES);
        fs::write(&path, addresses.join("\n")).map_err(|e| Error::file("write", path, e))
    }

    /// Ends everything in it and lets its namespaces go. Its network's own ends, as addresses in use, are
    /// the caller's to give back.
    ///
    /// # Errors
    /// When its folder cannot be removed.
    pub async fn remove(&self) -> Result<()> {
        let mut state = self.link.state();
        if state.borrow().alive {
            end(self.pid, self.parent).await;
        } else if self.parent {
            let pid = Pid::from_raw(self.pid);
            let _ = tokio::task::spawn_blocking(move || waitpid(pid, None)).await;
        }
        self.places.unname();
        // One that is not our child is waited for by its socket.
        let _ = tokio::time::timeout(PATIENCE, state.wait_for(|state| !state.alive)).await;
        let folder = &self.places.folder;
        match fs::remove_dir_all(folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", folder, e)),
            _ => Ok(()),
        }
    }
}

/// Runs commands in a sandbox.
#[derive(Debug, Clone)]
pub struct Runner {
    requests: link::Requests,
    container: String,
}

impl Runner {
    /// Runs a command beside the containers; it is killed when the time is up.
    ///
    /// # Errors
    /// [`Error::Ended`] when the sandbox has ended meanwhile.
    pub async fn run(&self, process: Process, limit: Duration) -> Result<Outcome> {
        self.requests.run(&self.container, process, limit).await
    }
}

/// Removes the logs of a pod that is gone.
///
/// # Errors
/// When they cannot be removed.
pub fn remove_logs(logs: &Path, spec: &SandboxSpec) -> Result<()> {
    let folder = files::log_folder(logs, spec);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", folder, e)),
        _ => Ok(()),
    }
}
