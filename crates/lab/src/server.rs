//! pid 1's control socket.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cri::sandbox::Listed;
use net::passing;
use runtime::{ComponentKind, ComponentStatus, chain};
use tokio::runtime::Handle;
use topology::closest;

use crate::client::{Answer, short};
use crate::error::{Error, Result};
use crate::framing;
use crate::init::Lab;
use crate::protocol::{Entry, KINDS, Request};
use crate::status::{
    ClusterStatus, ControlPlaneStatus, EtcdStatus, LabStatus, PodSummary, ProcessStatus, WorkerStatus,
};
use crate::supervisor::State;
use crate::{specs, world};

/// The folder of all pods' sandboxes, in the lab's own.
const PODS: &str = "pods";

/// A client that does not speak is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the socket and serves it on threads of its own; a thread a connection, as they are short.
pub(crate) fn open(lab: &Arc<Lab>, path: &Path) -> Result<()> {
    let failed = |e| Error::file("make socket", path, e);
    let (_folder, short) = short(path).map_err(failed)?;
    let listener = UnixListener::bind(short).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let runtime = Handle::current();
    let lab = lab.clone();
    let accept = move || {
        for stream in listener.incoming() {
            // Out of descriptors: others may give some back.
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let (lab, runtime) = (lab.clone(), runtime.clone());
            // Without a thread the client sees its connection end, and asks again.
            let _ = thread::Builder::new()
                .name("client".into())
                .stack_size(512 << 10)
                .spawn(move || serve(&lab, &runtime, &stream));
        }
    };
    thread::Builder::new()
        .name("control".into())
        .stack_size(128 << 10)
        .spawn(accept)
        .map_err(|e| net::Error::sys("serve the control socket", e))?;
    Ok(())
}

/// Whatever fails here is the client's loss alone: it sees its connection end.
fn serve(lab: &Lab, runtime: &Handle, stream: &UnixStream) {
    let timeouts =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    if timeouts.is_err() {
        return;
    }
    let Ok(request) = framing::receive::<Request>(stream) else { return };
    let _ = match request {
        Request::Status => status(lab, stream),
        Request::Enter { node } => enter(lab, stream, &node),
        Request::Links => answer(stream, runtime.block_on(lab.wires.all(lab))),
        Request::LinkSet { between: (a, b), change, clear } => {
            answer(stream, runtime.block_on(lab.wires.set(lab, &a, &b, change, clear)))
        }
    };
}

fn answer<T: serde::Serialize>(stream: &UnixStream, result: Result<T>) -> std::io::Result<()> {
    let answer = match result {
        Ok(value) => Answer::Ok(value),
        Err(e) => Answer::Error { message: chain(&e), hint: e.hint() },
    };
    framing::send(stream, &answer)
}

fn status(lab: &Lab, stream: &UnixStream) -> std::io::Result<()> {
    let mut status = lab.status();
    answer(stream, Ok(&status))?;
    for pid in status.pids_mut() {
        // A process may be gone by now: its number must still come, as the client counts them.
        passing::send_pid(stream, *pid).or_else(|_| passing::send_pid(stream, 1))?;
    }
    Ok(())
}

fn enter(lab: &Lab, stream: &UnixStream, node: &str) -> std::io::Result<()> {
    if node.contains('/') {
        return enter_pod(lab, stream, node);
    }
    let machine = lab.machine(node);
    let inside_lab = node.is_empty() || lab.topology.switches().any(|switch| switch == node);
    if machine.is_none() && !inside_lab {
        let names = lab.names();
        let message = format!("there is no node {node}");
        let hint =
            closest(node, names.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
        let hint = hint.unwrap_or_else(|| format!("there are {}", names.join(", ")));
        return answer::<Entry>(stream, Err(Error::Hinted { message, hint }));
    }
    let mut fds: BTreeMap<&str, BorrowedFd<'_>> =
        lab.own.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect();
    if let Some(machine) = &machine {
        fds.insert("net", machine.net.as_fd());
        fds.insert("uts", machine.uts.as_fd());
    }
    let (kinds, fds): (Vec<&str>, Vec<BorrowedFd<'_>>) =
        KINDS.iter().filter_map(|kind| Some((*kind, *fds.get(kind)?))).unzip();
    let namespaces = kinds.into_iter().map(str::to_owned).collect();
    answer(stream, Ok(Entry { namespaces, single_id: world::single_id(), env: None }))?;
    passing::send_fds(stream, &fds)
}

/// The namespaces of a pod, which its shim gives, in the lab's user namespace.
fn enter_pod(lab: &Lab, stream: &UnixStream, name: &str) -> std::io::Result<()> {
    let entry = pod_folder(lab, name).and_then(|folder| {
        cri::sandbox::enter(&folder).map_err(|error| {
            let hint = match name.split_once('/') {
                Some((cluster, _)) => format!("`topo get pods -A --cluster {cluster}` tells which there are"),
                None => String::new(),
            };
            let missing = !folder.exists();
            let message = if missing { format!("there is no pod {name}") } else { chain(&error) };
            Error::Hinted { message, hint }
        })
    });
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => return answer::<Entry>(stream, Err(error)),
    };
    let mut fds: BTreeMap<&str, BorrowedFd<'_>> =
        lab.own.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect();
    for (kind, fd) in cri::protocol::NAMESPACES.iter().zip(&entry.namespaces) {
        fds.insert(kind, fd.as_fd());
    }
    let (kinds, fds): (Vec<&str>, Vec<BorrowedFd<'_>>) =
        KINDS.iter().filter_map(|kind| Some((*kind, *fds.get(kind)?))).unzip();
    let namespaces = kinds.into_iter().map(str::to_owned).collect();
    answer(stream, Ok(Entry { namespaces, single_id: world::single_id(), env: Some(entry.env) }))?;
    passing::send_fds(stream, &fds)
}

/// The folder of a pod's sandbox; `name` is `C0/c1` or `C0/kube-system/dns`.
fn pod_folder(lab: &Lab, name: &str) -> Result<PathBuf> {
    let parts: Vec<&str> = name.split('/').collect();
    let (cluster, namespace, pod) = match parts.as_slice() {
        [cluster, pod] => (*cluster, "default", *pod),
        [cluster, namespace, pod] => (*cluster, *namespace, *pod),
        _ => ("", "", ""),
    };
    if [cluster, namespace, pod].iter().any(|part| part.is_empty() || part.starts_with('.')) {
        let message = format!("{name} is no name of a pod");
        return Err(Error::Hinted {
            message,
            hint: "a pod is CLUSTER/POD or CLUSTER/NAMESPACE/POD, as C0/c1".into(),
        });
    }
    let clusters = || lab.topology.clusters.iter().map(|cluster| cluster.name.as_str());
    if !clusters().any(|name| name == cluster) {
        let message = format!("there is no cluster {cluster}");
        return Err(Error::Hinted {
            message,
            hint: format!("there are {}", clusters().collect::<Vec<_>>().join(", ")),
        });
    }
    Ok(Path::new(world::LAB).join(PODS).join(cri::sandbox::name_of(cluster, namespace, pod)))
}

/// Puts together what the supervisor and the agents know.
pub(crate) fn assemble(lab: &Lab, started_in: Option<f64>) -> LabStatus {
    let mut states: BTreeMap<(String, String), State> = BTreeMap::new();
    for process in lab.supervisor.processes() {
        states.insert((process.spec.node.clone(), process.spec.component.clone()), process.state());
    }
    let mut take = |node: &str, component: &str| states.remove(&(node.to_owned(), component.to_owned()));
    let mut pods = pods();
    let mut clusters = Vec::new();
    for cluster in &lab.topology.clusters {
        let etcd: Vec<EtcdStatus> = cluster
            .etcd
            .iter()
            .map(|member| {
                let state = take(&member.name, specs::ETCD).unwrap_or_default();
                EtcdStatus {
                    node: member.name.clone(),
                    address: member.address.to_string(),
                    ready: state.ready,
                    pid: state.pid,
                    restarts: state.restarts,
                    message: state.message,
                }
            })
            .collect();
        let workers: Vec<WorkerStatus> = cluster
            .workers
            .iter()
            .map(|worker| {
                let state = take(&worker.name, specs::AGENT).unwrap_or_default();
                let pods = pods.remove(&worker.name).unwrap_or_default();
                WorkerStatus { pods, ..worker_status(&worker.name, worker.address.to_string(), state) }
            })
            .collect();
        let mut planes = cluster.etcd.iter().map(|member| {
            let state = take(&member.name, specs::CONTROL_PLANE).unwrap_or_default();
            control_plane_status(&member.name, member.address.to_string(), state)
        });
        let control_plane =
            planes.next().unwrap_or_else(|| control_plane_status("", String::new(), State::default()));
        let standby: Vec<_> = planes.collect();
        let ready = etcd.iter().all(|e| e.ready)
            && control_plane.ready
            && standby.iter().all(|plane| plane.ready)
            && workers.iter().all(|w| w.ready);
        let name = cluster.name.clone();
        clusters.push(ClusterStatus { name, ready, etcd, control_plane, standby, workers });
    }
    let helpers = states
        .into_iter()
        .map(|((node, component), state)| ProcessStatus {
            name: format!("{component} {node}"),
            pid: state.pid,
            ready: state.ready,
            restarts: state.restarts,
            message: state.message,
        })
        .collect();
    LabStatus {
        lab: lab.name.to_string(),
        ready: started_in.is_some() && clusters.iter().all(|c| c.ready),
        started_in,
        pid: 1,
        clusters,
        helpers,
    }
}

fn control_plane_status(node: &str, address: String, state: State) -> ControlPlaneStatus {
    ControlPlaneStatus {
        node: node.into(),
        address,
        pid: state.pid,
        ready: state.ready,
        restarts: state.restarts,
        message: message(&state),
        components: state.report.unwrap_or_default().components,
    }
}

/// Why a process is not ready: what the supervisor says of it, or else its first component that is not.
fn message(state: &State) -> String {
    if !state.message.is_empty() {
        return state.message.clone();
    }
    let components = state.report.iter().flat_map(|report| &report.components);
    let failing = components.filter(|(_, status)| !status.ready);
    failing.map(|(name, status)| format!("{name}: {}", status.message)).next().unwrap_or_default()
}

/// The pods that have a sandbox, by worker.
fn pods() -> BTreeMap<String, Vec<PodSummary>> {
    let mut pods: BTreeMap<String, Vec<PodSummary>> = BTreeMap::new();
    for Listed { spec, addresses } in cri::sandbox::list(&Path::new(world::LAB).join(PODS)) {
        let pod =
            PodSummary { namespace: spec.namespace, name: spec.pod, pod_ip: addresses.into_iter().next() };
        pods.entry(spec.node).or_default().push(pod);
    }
    pods
}

fn worker_status(name: &str, address: String, state: State) -> WorkerStatus {
    let message = message(&state);
    let report = state.report.unwrap_or_default();
    let agent = ComponentStatus {
        ready: state.pid.is_some(),
        message: state.message,
        ..ComponentStatus::starting(ComponentKind::Builtin, env!("CARGO_PKG_VERSION"))
    };
    let mut components = report.components;
    components.insert(specs::AGENT.into(), agent);
    WorkerStatus {
        name: name.into(),
        pid: state.pid,
        addresses: vec![address],
        ready: state.ready,
        restarts: state.restarts,
        message,
        pod_cidr: report.pod_cidr,
        components,
        pods: Vec::new(),
    }
}
