//! pid 1 of a lab.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::process;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{UnlinkatFlags, unlinkat};
use runtime::chain;
use tokio::signal::unix::{SignalKind, signal};
use topology::Topology;

use crate::error::{Error, Result};
use crate::protocol::Event;
use crate::resolver::{Line, Outside, Relay};
use crate::state::{LabName, StateDir};
use crate::status::LabStatus;
use crate::supervisor::{Process, Spec, State, Supervisor};
use crate::underlay::{self, Machine};
use crate::wires::Wires;
use crate::{server, specs, world};

/// The descriptor of the lock file.
pub(crate) const LOCK: i32 = 3;
/// The descriptor of the socket that `topo up` listens on.
pub(crate) const PROGRESS: i32 = 4;
/// The first descriptor of the sockets to resolvers of the machine.
const RESOLVERS: i32 = 5;
/// A process that ends this often without ever being ready will not become so by waiting.
const HOPELESS: u32 = 5;

/// What pid 1 is told on its command line.
#[derive(Debug)]
pub struct Options {
    /// The lab's name.
    pub name: LabName,
    /// The state folder.
    pub state: PathBuf,
    /// Where etcd's data is kept; without, it ends with the lab.
    pub keep: Option<PathBuf>,
    /// When `topo up` began, on the clock of [`now`].
    pub began: Duration,
    /// How long to wait for everything to be ready.
    pub timeout: Duration,
    /// The machine's resolvers; their sockets are handed in.
    pub resolvers: Vec<SocketAddr>,
}

/// The clock that all processes of a machine share (`CLOCK_BOOTTIME`).
#[must_use]
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Everything that pid 1 knows.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) name: LabName,
    pub(crate) topology: Topology,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) wires: Wires,
    pub(crate) own: BTreeMap<&'static str, OwnedFd>,
    machines: Mutex<BTreeMap<String, Machine>>,
    started_in: Mutex<Option<f64>>,
}

impl Lab {
    pub(crate) fn machine(&self, name: &str) -> Option<Machine> {
        lock(&self.machines).get(name).cloned()
    }

    /// Every name that can be entered.
    pub(crate) fn names(&self) -> Vec<String> {
        let nodes = self.topology.nodes().map(|(name, _)| name);
        nodes.chain(self.topology.switches()).map(str::to_owned).collect()
    }

    pub(crate) fn status(&self) -> LabStatus {
        server::assemble(self, *lock(&self.started_in))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a lab until it is told to end. Only for the process that [`crate::Start`] makes.
///
/// # Errors
/// When it could not be started; `topo up` has been told by then.
pub fn run(options: Options) -> Result<()> {
    let reporter = Reporter(UnixStream::from(process::inherited(PROGRESS)?));
    let outcome = live(&options, &reporter);
    if let Err(error) = &outcome {
        let log = match error {
            Error::Failed { log, .. } => log.clone(),
            _ => Vec::new(),
        };
        reporter.tell(&Event::Failed { message: chain(error), hint: error.hint(), log });
    }
    outcome
}

fn live(options: &Options, reporter: &Reporter) -> Result<()> {
    let lock_file = File::from(process::inherited(LOCK)?);
    let resolvers = inherited(&options.resolvers)?;
    allow_many_files();
    crate::state::lock_life(&lock_file).map_err(|e| Error::file("lock", options.state.join("lock"), e))?;
    let state = StateDir::at(options.name.clone(), options.state.clone());
    let topology = topology::load(&state.topology())?;
    let folder = Folder::open(&state)?;
    let began = Arc::new(AtomicBool::new(false));
    let result = (|| {
        let relay = (!resolvers.is_empty()).then(|| relay_node(&topology)).flatten();
        for note in world::make(&state, &topology, relay.map(|(_, address)| address))? {
            reporter.tell(&Event::Note { text: note });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| net::Error::sys("start a runtime", e))?;
        runtime.block_on(stay(options, &state, topology, resolvers, reporter, &began))
    })();
    folder.tidy(&state);
    result
}

/// The machine's resolvers, with the sockets that were handed in for each.
fn inherited(addresses: &[SocketAddr]) -> Result<Vec<Outside>> {
    let mut numbers = RESOLVERS..;
    let mut next = || process::inherited(numbers.next().unwrap_or(i32::MAX));
    let one = |address: &SocketAddr| {
        let sockets = [next()?, next()?, next()?, next()?, next()?];
        Ok(Outside::inherited(*address, sockets))
    };
    addresses.iter().map(one).collect()
}

/// Three descriptors a node are held open here; the usual limit of 1024 is one for `select(2)`, which
/// nothing of ours uses.
fn allow_many_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What is missing shows where it is missed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Comes up, then waits for a reason to end.
async fn stay(
    options: &Options,
    state: &StateDir,
    topology: Topology,
    resolvers: Vec<Outside>,
    reporter: &Reporter,
    ready: &Arc<AtomicBool>,
) -> Result<()> {
    let unhandled = |e| net::Error::sys("wait for signals", e);
    let mut terminate = signal(SignalKind::terminate()).map_err(unhandled)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unhandled)?;
    let abandoned = reporter.abandoned(ready.clone())?;
    tokio::select! {
        result = come_up(options, state, topology, resolvers, reporter, ready) => { result?; }
        _ = terminate.recv() => return Ok(()),
        _ = abandoned => return Err(Error::Interrupted),
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn come_up(
    options: &Options,
    state: &StateDir,
    topology: Topology,
    resolvers: Vec<Outside>,
    reporter: &Reporter,
    ready: &Arc<AtomicBool>,
) -> Result<()> {
    let socket = Path::new(world::LAB).join("notify");
    let notify = UnixDatagram::bind(&socket).map_err(|e| Error::file("make socket", &socket, e))?;
    let supervisor = Supervisor::new(specs::environment(&options.name, &socket), state.logs());
    tokio::spawn(supervisor.clone().reap());
    tokio::spawn(supervisor.clone().listen(notify));
    let lab = Arc::new(Lab {
        name: options.name.clone(),
        wires: Wires::new(&topology),
        topology,
        supervisor,
        own: underlay::own_namespaces()?,
        machines: Mutex::default(),
        started_in: Mutex::default(),
    });
    server::open(&lab, &state.socket())?;
    let launcher = Launcher { lab: lab.clone(), state: state.clone(), keep: options.keep.clone() };
    let processes = launcher.build(reporter).await?;
    relay_names(&lab, resolvers);
    match tokio::time::timeout(options.timeout, lab.wires.apply_file(&lab)).await {
        Ok(done) => done?,
        Err(_) => {
            let message =
                format!("the links of the topology file were not set within {} s", options.timeout.as_secs());
            return Err(Error::Failed { message, log: Vec::new() });
        }
    }
    wait(&lab, &processes, options.timeout, reporter).await?;
    let took = now().saturating_sub(options.began);
    *lock(&lab.started_in) = Some((took.as_secs_f64() * 1000.0).round() / 1000.0);
    ready.store(true, Ordering::SeqCst);
    reporter.tell(&Event::Ready);
    Ok(())
}

/// The node at whose address the machine's resolvers are asked: every DNS pod reaches it, as it reaches etcd.
fn relay_node(topology: &Topology) -> Option<(&str, Ipv4Addr)> {
    let cluster = topology.clusters.iter().find(|cluster| cluster.dns)?;
    cluster.etcd.first().map(|member| (member.name.as_str(), member.address))
}

/// Asks the machine's resolvers for whoever asks on that node. A lab without them is one that knows no other
/// names.
fn relay_names(lab: &Lab, resolvers: Vec<Outside>) {
    let Some((node, address)) = relay_node(&lab.topology).filter(|_| !resolvers.is_empty()) else { return };
    let Some(machine) = lab.machine(node) else { return };
    let listen = |e| net::Error::sys(format!("listen at {address}:53"), e);
    let bind = || {
        let datagrams = UdpSocket::bind((address, 53)).map_err(listen)?;
        Ok((datagrams, TcpListener::bind((address, 53)).map_err(listen)?))
    };
    let failed = |e| net::Error::sys("ask the machine's resolvers", e);
    let start = |work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name("resolver".into()).stack_size(128 << 10);
        thread.spawn(work).map(drop)
    };
    let started = machine.net.run(bind).and_then(|(datagrams, streams)| {
        let lines = Line::all(&streams, &resolvers).map_err(failed)?;
        let relay = Relay::new(datagrams, resolvers).map_err(failed)?;
        start(Box::new(move || drop(relay.run()))).map_err(failed)?;
        lines.into_iter().try_for_each(|line| start(Box::new(|| line.run()))).map_err(failed)
    });
    if let Err(error) = started {
        tracing::warn!(error = chain(&error), "names of the world outside do not resolve");
    }
}

/// Starts what belongs on each node as soon as the node is there.
struct Launcher {
    lab: Arc<Lab>,
    state: StateDir,
    keep: Option<PathBuf>,
}

impl Launcher {
    async fn build(&self, reporter: &Reporter) -> Result<Vec<Arc<Process>>> {
        let (sender, mut machines) = tokio::sync::mpsc::unbounded_channel();
        let topology = self.lab.topology.clone();
        let builders = tokio::task::spawn_blocking(move || underlay::build(&topology, &sender));
        let of = self.lab.topology.nodes().count();
        let mut processes = Vec::with_capacity(of);
        let mut early: Vec<Spec> = Vec::new();
        for done in 1..=of {
            let Some(machine) = machines.recv().await else { break };
            let machine: Machine = machine?;
            lock(&self.lab.machines).insert(machine.name.clone(), machine.clone());
            early.extend(specs::specs(&self.lab.topology, &self.state, self.keep.as_deref(), &machine)?);
            // Whoever asks for an address that is not there yet asks again a second later.
            let (now, later): (Vec<_>, _) = early.into_iter().partition(|spec| self.has_its_store(spec));
            early = later;
            processes.extend(now.into_iter().map(|spec| self.lab.supervisor.start(spec)));
            reporter.tell(&Event::Progress { what: "nodes".into(), done, of });
        }
        builders.await.map_err(|e| Error::Refused(format!("build the underlay: {e}")))??;
        Ok(processes)
    }

    /// Whether the nodes of etcd that a process will talk to can be reached; etcd itself waits for nobody.
    fn has_its_store(&self, spec: &Spec) -> bool {
        let machines = lock(&self.lab.machines);
        let cluster =
            self.lab.topology.clusters.iter().find(|c| c.nodes().any(|(name, _)| name == spec.node));
        spec.component == specs::ETCD
            || cluster.is_none_or(|c| c.etcd.iter().all(|member| machines.contains_key(&member.name)))
    }
}

/// Waits until everything is ready, or one process shows that it never will be.
async fn wait(lab: &Lab, processes: &[Arc<Process>], timeout: Duration, reporter: &Reporter) -> Result<()> {
    let mut changes = lab.supervisor.changes();
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        changes.mark_unchanged();
        let states: Vec<_> = processes.iter().map(|p| (p, p.state())).collect();
        let done = states.iter().filter(|(_, state)| state.ready).count();
        reporter.tell(&Event::Progress { what: "ready".into(), done, of: states.len() });
        if done == states.len() {
            for text in lab.status().warnings() {
                reporter.tell(&Event::Note { text });
            }
            return Ok(());
        }
        if let Some((process, state)) = states.iter().find(|(_, state)| state.failures >= HOPELESS) {
            let Spec { node, component, .. } = &process.spec;
            let message = format!("{component} in {node} keeps ending: {}", state.message);
            return Err(Error::Failed { message, log: process.log.last() });
        }
        if let Some(error) = states.iter().find_map(|(process, state)| stuck(process, state)) {
            return Err(error);
        }
        if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
            return Err(late(&states, timeout));
        }
    }
}

/// A component that waiting will not make ready.
fn stuck(process: &Process, state: &State) -> Option<Error> {
    let components = &state.report.as_ref()?.components;
    let (name, status, hint) =
        components.iter().find_map(|(name, status)| Some((name, status, status.hint.as_ref()?)))?;
    let message = format!("{name} in {}: {}", process.spec.node, status.message);
    Some(Error::Hinted { message, hint: hint.clone() })
}

fn late(states: &[(&Arc<Process>, State)], timeout: Duration) -> Error {
    let mut missing: Vec<_> = states.iter().filter(|(_, state)| !state.ready).collect();
    // The one that others wait for first.
    missing.sort_by_key(|(p, _)| (p.spec.component != "etcd", p.spec.node.clone()));
    let names: Vec<_> = missing.iter().take(5).map(|(process, state)| waited_for(process, state)).collect();
    let more = if missing.len() > names.len() { ", …" } else { "" };
    let message = format!("not ready within {} s: {}{more}", timeout.as_secs(), names.join(", "));
    let log = missing.first().map(|(p, _)| p.log.last()).unwrap_or_default();
    Error::Failed { message, log }
}

/// A process, and which of its components keeps it.
fn waited_for(process: &Process, state: &State) -> String {
    let name = format!("{} in {}", process.spec.component, process.spec.node);
    let components = state.report.iter().flat_map(|report| &report.components);
    let failing = components.filter(|(_, status)| !status.ready && !status.message.is_empty());
    match failing.map(|(name, status)| format!("{name}: {}", status.message)).next() {
        Some(why) => format!("{name} ({why})"),
        None => name,
    }
}

/// The way to `topo up`.
struct Reporter(UnixStream);

impl Reporter {
    fn tell(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_string(event) {
            line.push('\n');
            // Whether anyone still listens is for `abandoned` to find out.
            let _ = (&self.0).write_all(line.as_bytes());
        }
    }

    /// Resolves when `topo up` is gone before the lab is ready: nobody would know of it.
    fn abandoned(&self, ready: Arc<AtomicBool>) -> Result<impl Future<Output = ()> + use<>> {
        let failed = |e| net::Error::sys("watch the starting process", e);
        let mut stream = self.0.try_clone().map_err(failed)?;
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("abandoned".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                // It never writes: a read ends when it does.
                let _ = stream.read(&mut [0]);
                if !ready.load(Ordering::SeqCst) {
                    let _ = sender.send(());
                }
            })
            .map_err(failed)?;
        Ok(async {
            let _ = receiver.await;
        })
    }
}

/// The state folder's parent, opened before the world changes.
struct Folder(OwnedFd);

impl Folder {
    fn open(state: &StateDir) -> Result<Self> {
        let parent = state.path().parent().unwrap_or(Path::new("/"));
        let fd =
            nix::fcntl::open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(|e| Error::file("open", parent, e))?;
        Ok(Self(fd))
    }

    /// Leaves nothing behind but what is to be kept.
    fn tidy(&self, state: &StateDir) {
        state.empty();
        // Our own view of the folder is a mount, which cannot be removed; by its parent it can.
        let _ = unlinkat(&self.0, state.name().as_str(), UnlinkatFlags::RemoveDir);
    }
}
