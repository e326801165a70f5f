//! Making, finding and removing sandboxes: the agent's side.

mod enter;
mod files;
mod link;
mod process;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use net::sandbox::Sandbox as Namespaces;
use net::{NetNs, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::waitpid;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::protocol::{ContainerState, Files, Outcome, Process, Request};
use crate::root::{Layout, template};
use crate::shim::VOLUMES;

pub use enter::{Entry, enter};
pub use files::{Listed, id_of, list, name_in_logs, name_of};
use link::Link;
use process::Process as Shim;

/// A shim answers at once, but for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// One that has long been there, and has nothing to make first, within this time.
const GREETING: Duration = Duration::from_secs(10);

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
    /// For CNI; never used twice, see [`id_of`].
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
    /// The container that is meant by who enters the pod and names none.
    #[serde(default)]
    pub main: Option<String>,
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
        let inner = self.0.clone();
        let places = self.places(&spec.name);
        let started = tokio::task::spawn_blocking({
            let (spec, places) = (spec.clone(), places.clone());
            move || start(&inner, &spec, &places)
        });
        let failed = |e| Error::file("start", &places.folder, std::io::Error::other(e));
        let (shim, socket) = started.await.map_err(failed)??;
        match link::greet(&spec.name, socket, PATIENCE).await {
            Ok(greeting) => Ok(Sandbox::new(spec, places, shim, greeting)),
            Err(error) => {
                shim.end(&spec.name).await?;
                places.discard(&spec);
                Err(error)
            }
        }
    }

    /// The sandboxes of a node that are there, as after a restart of its agent; and the specs of those that
    /// have ended and whose networks have not been given back, until [`Runtime::settle`] is told that they
    /// have. A shim that is there and does not answer is killed: its pod must not run twice.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn adopt(&self, node: &str) -> Result<(Vec<Sandbox>, Vec<SandboxSpec>)> {
        let folder = &self.0.options.folder;
        files::sweep(folder, node)?;
        let mut found = JoinSet::new();
        for spec in files::specs(folder)?.into_iter().filter(|spec| spec.node == node) {
            let runtime = self.clone();
            found.spawn(async move { runtime.meet(spec).await });
        }
        let alive = found.join_all().await.into_iter().flatten().collect();
        Ok((alive, self.owing(node)?))
    }

    /// The specs of a node's sandboxes that have ended and whose networks have not been given back.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn owing(&self, node: &str) -> Result<Vec<SandboxSpec>> {
        files::owing(&self.0.options.folder, node)
    }

    /// Forgets a sandbox that has ended: its network has been given back.
    ///
    /// # Errors
    /// When what is remembered of it cannot be removed.
    pub fn settle(&self, spec: &SandboxSpec) -> Result<()> {
        files::remove(&files::owed(&self.0.options.folder, spec))
    }

    /// Takes up a sandbox that another agent has made; of one that has ended the remains are removed.
    async fn meet(&self, spec: SandboxSpec) -> Option<Sandbox> {
        let places = self.places(&spec.name);
        match places.reach(&spec).await {
            Ok((shim, greeting)) => Some(Sandbox::new(spec, places, shim, greeting)),
            Err(_) => {
                if let Some(shim) = Shim::find(&places.folder, None) {
                    // One that cannot be killed keeps its place, and so its pod from running twice.
                    shim.end(&spec.name).await.ok()?;
                }
                // What could not be removed now is when the next agent sweeps.
                let _ = places.retire(&spec);
                None
            }
        }
    }

    fn places(&self, name: &str) -> Places {
        let options = &self.0.options;
        Places {
            all: options.folder.clone(),
            folder: options.folder.join(name),
            netns: options.netns.join(name),
            etc_netns: options.etc_netns.join(name),
        }
    }
}

/// What stands in the file system for a sandbox.
#[derive(Debug, Clone)]
struct Places {
    /// The folder that those of all sandboxes are in.
    all: PathBuf,
    folder: PathBuf,
    netns: PathBuf,
    etc_netns: PathBuf,
}

impl Places {
    /// Fills the sandbox's folder: aside, so that it is there as a whole or not at all.
    fn fill(&self, spec: &SandboxSpec, layout: &Layout) -> Result<()> {
        let aside = files::unfinished(&self.all, spec);
        let failed = |e| Error::file("make folder", &self.folder, e);
        let filled = fs::create_dir(&aside)
            .map_err(failed)
            .and_then(|()| files::write(&aside, spec, layout))
            .and_then(|()| match fs::rename(&aside, &self.folder) {
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => Err(Error::Exists(spec.name.clone())),
                renamed => renamed.map_err(failed),
            });
        if filled.is_err() {
            // What is left now goes when the next agent sweeps.
            let _ = files::remove(&aside);
        }
        filled
    }

    /// Removes everything of a sandbox that was never attached to a network.
    fn discard(&self, spec: &SandboxSpec) {
        self.unname();
        let aside = files::unfinished(&self.all, spec);
        // As in `fill`; by renaming first, nothing half removed has the name.
        let _ = fs::rename(&self.folder, &aside);
        let _ = files::remove(&aside);
    }

    /// Removes everything but the note that the sandbox's network has to be given back.
    fn retire(&self, spec: &SandboxSpec) -> Result<()> {
        self.unname();
        let owed = files::owed(&self.all, spec);
        match fs::rename(&self.folder, &owed) {
            // Done before.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::file("remove", &self.folder, e)),
            Ok(()) => files::strip(&owed),
        }
    }

    /// Gives the network namespace its name.
    fn name(&self, pid: i32) -> Result<()> {
        // A former sandbox's, which nobody had the time to take away.
        self.unname();
        NetNs::open(format!("/proc/{pid}/ns/net"))?.bind(&self.netns)?;
        std::os::unix::fs::symlink(self.folder.join("etc"), &self.etc_netns)
            .map_err(|e| Error::file("make link", &self.etc_netns, e))
    }

    /// Whether the network namespace of a process has the name.
    fn is_named(&self, pid: i32) -> bool {
        let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        let named = identity(&self.netns);
        named.is_some()
            && named == identity(Path::new(&format!("/proc/{pid}/ns/net")))
            && self.etc_netns.is_symlink()
    }

    /// Takes the network namespace's name away; without processes in it, it is gone then.
    fn unname(&self) {
        mount::detach(&self.netns);
        let _ = fs::remove_file(&self.netns);
        let _ = fs::remove_file(&self.etc_netns);
    }

    /// The shim that another agent has started.
    async fn reach(&self, spec: &SandboxSpec) -> Result<(Shim, link::Greeting)> {
        let (socket, peer) = self.connect()?;
        let greeting = link::greet(&spec.name, socket, GREETING).await?;
        let ended = || Error::Ended(spec.name.clone());
        let shim = Shim::find(&self.folder, Some(peer)).ok_or_else(ended)?;
        if !spec.host_network && !self.is_named(shim.pid()) {
            // The agent ended between starting and naming it.
            self.name(shim.pid())?;
        }
        Ok((shim, greeting))
    }

    /// A connection to the shim, and the pid of whoever listens there.
    fn connect(&self) -> Result<(UnixStream, i32)> {
        let failed = |e| Error::file("reach", &self.folder, e);
        let folder = File::open(&self.folder).map_err(failed)?;
        let socket = UnixStream::connect(files::socket_in(&folder)).map_err(failed)?;
        let peer = getsockopt(&socket, sockopt::PeerCredentials).map_err(|e| failed(e.into()))?;
        Ok((socket, peer.pid()))
    }
}

/// Makes the sandbox's folder, starts the shim and names its network namespace; nothing is left if that
/// fails.
fn start(inner: &Inner, spec: &SandboxSpec, places: &Places) -> Result<(Shim, UnixStream)> {
    places.fill(spec, &inner.layout)?;
    start_shim(inner, spec, places).inspect_err(|_| places.discard(spec))
}

fn start_shim(inner: &Inner, spec: &SandboxSpec, places: &Places) -> Result<(Shim, UnixStream)> {
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
    let named = if spec.host_network { Ok(()) } else { places.name(pid.as_raw()) };
    let connected = named.and_then(|()| UnixStream::connect(files::socket_in(&folder)).map_err(failed));
    connected.and_then(|socket| Ok((Shim::child(pid.as_raw())?, socket))).inspect_err(|_| {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    })
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
    shim: Shim,
    link: Link,
}

impl Sandbox {
    fn new(spec: SandboxSpec, places: Places, shim: Shim, greeting: link::Greeting) -> Self {
        let link = Link::keep(&spec.name, greeting, shim.clone(), places.clone());
        Self { spec, places, shim, link }
    }

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
    /// the caller's to give back; until he says so by [`Runtime::settle`], [`Runtime::owing`] has it, to
    /// this agent and the next.
    ///
    /// # Errors
    /// [`Error::Unkillable`]; when its folder cannot be removed. To be tried again.
    pub async fn end(&self) -> Result<()> {
        self.shim.end(&self.spec.name).await?;
        let mut state = self.link.state();
        // Ends with the link, which is held here.
        let _ = state.wait_for(|state| !state.alive).await;
        self.places.retire(&self.spec)
    }

    /// As [`Sandbox::end`], of one that has no network that is to be given back.
    ///
    /// # Errors
    /// The same.
    pub async fn remove(&self) -> Result<()> {
        self.end().await?;
        files::remove(&files::owed(&self.places.all, &self.spec))
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

/// Whether the sandbox whose folder this is stays in its worker's network namespace.
pub(crate) fn is_host_network(folder: &Path) -> bool {
    files::spec(folder).is_some_and(|spec| spec.host_network)
}

/// Removes the logs of a pod that is gone.
///
/// # Errors
/// When they cannot be removed.
pub fn remove_logs(logs: &Path, spec: &SandboxSpec) -> Result<()> {
    let folder = files::log_folder(logs, spec);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::file("remove", folder, e)),
        _ => Ok(()),
    }
}
