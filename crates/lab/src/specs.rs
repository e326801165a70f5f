//! What runs on each node: programs, arguments, environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use topology::{Cluster, EtcdMember, PodNetwork, Topology, Worker};

use crate::error::{Error, Result};
use crate::state::{LabName, StateDir};
use crate::supervisor::Spec;
use crate::underlay::Machine;
use crate::{programs, world};

/// The store of a cluster.
pub(crate) const ETCD: &str = "etcd";
/// What keeps a cluster's objects in order, beside each etcd member.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
/// What runs a worker.
pub(crate) const AGENT: &str = "agent";

/// Variables of whoever starts a lab that its processes get to see.
const INHERITED: [&str; 8] = [
    "HOME",
    "LANG",
    "TZ",
    "RUST_LOG",
    "KNETSIM_FLANNELD",
    "KNETSIM_SKROUTERD",
    "KNETSIM_CNI_PATH",
    "CNI_PATH",
];

/// What runs on a machine, in the order of its start. With `keep`, etcd's data is in that folder.
pub(crate) fn specs(
    topology: &Topology,
    state: &StateDir,
    keep: Option<&Path>,
    machine: &Machine,
) -> Result<Vec<Spec>> {
    for cluster in &topology.clusters {
        if let Some(at) = cluster.etcd.iter().position(|member| member.name == machine.name) {
            let etcd = etcd(cluster, &cluster.etcd[at], keep, machine)?;
            return Ok(vec![etcd, control_plane(cluster, at, state, machine)?]);
        }
        if let Some(worker) = cluster.workers.iter().find(|worker| worker.name == machine.name) {
            return Ok(vec![agent(cluster, worker, &state.logs(), machine)?]);
        }
    }
    Err(Error::Refused(format!("nothing is to run on {}", machine.name)))
}

fn etcd(cluster: &Cluster, member: &EtcdMember, keep: Option<&Path>, machine: &Machine) -> Result<Spec> {
    let data = keep.map_or_else(|| Path::new(world::LAB).join(ETCD), Path::to_path_buf).join(&member.name);
    let program = programs::find(ETCD).ok_or(Error::NoProgram { program: ETCD, package: "etcd-server" })?;
    Ok(Spec {
        node: member.name.clone(),
        component: ETCD.into(),
        program,
        arg0: ETCD.into(),
        args: etcd_arguments(cluster, member, &data),
        namespaces: machine.namespaces()?,
    })
}

/// etcd's own flags (etcd `etcdmain/help.go`, 3.4).
fn etcd_arguments(cluster: &Cluster, member: &EtcdMember, data: &Path) -> Vec<OsString> {
    let address = member.address;
    let peers: Vec<String> =
        cluster.etcd.iter().map(|m| format!("{}=http://{}:2380", m.name, m.address)).collect();
    // The members are microseconds apart, and a lab should not wait a second for its first leader. Three
    // of them take turns on few cores: theirs is the slower beat.
    let (beat, election) = if cluster.etcd.len() == 1 { ("10", "50") } else { ("50", "500") };
    let mut args = flags([
        ("--name", member.name.clone()),
        ("--listen-client-urls", format!("http://{address}:2379,http://127.0.0.1:2379")),
        ("--advertise-client-urls", format!("http://{address}:2379")),
        ("--listen-peer-urls", format!("http://{address}:2380")),
        ("--initial-advertise-peer-urls", format!("http://{address}:2380")),
        ("--initial-cluster", peers.join(",")),
        ("--initial-cluster-token", format!("knetsim-{}", cluster.name)),
        ("--heartbeat-interval", beat.into()),
        ("--election-timeout", election.into()),
        ("--auto-compaction-mode", "periodic".into()),
        ("--auto-compaction-retention", "10m".into()),
    ]);
    args.extend(["--data-dir".into(), data.into()]);
    args
}

/// The control plane beside one of the etcd members; that of the first one brings the cluster about.
fn control_plane(cluster: &Cluster, at: usize, state: &StateDir, machine: &Machine) -> Result<Spec> {
    let mut args = vec![CONTROL_PLANE.into()];
    args.extend(flags([
        ("--cluster", cluster.name.clone()),
        ("--etcd", cluster.etcd_endpoints().join(",")),
        ("--network", network(&cluster.pod_network)?),
        ("--service-network", cluster.service_network.to_string()),
        ("--folder", folder(&cluster.name)),
        ("--identity", machine.name.clone()),
        ("--node-monitor-grace-period", millis(cluster)),
    ]));
    let pool = cluster.load_balancer_pool.map(|pool| ("--load-balancer-pool", pool.to_string()));
    args.extend(flags(pool));
    if at > 0 {
        args.push("--standby".into());
        return ours(&machine.name, CONTROL_PLANE, args, machine);
    }
    if cluster.dns {
        args.push("--dns".into());
    }
    for manifest in manifests(&state.manifests(&cluster.name))? {
        args.extend(["--manifest".into(), manifest.into()]);
    }
    ours(&machine.name, CONTROL_PLANE, args, machine)
}

fn agent(cluster: &Cluster, worker: &Worker, logs: &Path, machine: &Machine) -> Result<Spec> {
    let mut args = vec![AGENT.into()];
    args.extend(flags([
        ("--cluster", cluster.name.clone()),
        ("--node", worker.name.clone()),
        ("--address", worker.address.to_string()),
        ("--etcd", cluster.etcd_endpoints().join(",")),
        ("--folder", folder(&worker.name)),
        ("--network", network(&cluster.pod_network)?),
        ("--service-network", cluster.service_network.to_string()),
        ("--flannel", worker.components.flannel.as_str().into()),
        ("--flannel-plugin", worker.components.flannel_plugin.as_str().into()),
        ("--node-monitor-grace-period", millis(cluster)),
        ("--images", world::IMAGES.into()),
        ("--access-log", logs.join(&worker.name).join("ingress.log").display().to_string()),
        ("--logs", logs.join("pods").join(&cluster.name).display().to_string()),
    ]));
    if cluster.dns {
        args.push("--dns".into());
    }
    // The cluster's way out to others is its first worker.
    if cluster.workers.first().is_some_and(|first| first.name == worker.name) {
        args.extend(flags([("--router", worker.components.router.as_str().into())]));
    }
    ours(&worker.name, AGENT, args, machine)
}

/// Milliseconds after which a silent node is not ready.
fn millis(cluster: &Cluster) -> String {
    cluster.node_monitor_grace_period.duration().as_millis().to_string()
}

/// A process of this very program.
fn ours(node: &str, component: &str, args: Vec<OsString>, machine: &Machine) -> Result<Spec> {
    Ok(Spec {
        node: node.into(),
        component: component.into(),
        program: PathBuf::from("/proc/self/exe"),
        arg0: "topo".into(),
        args,
        namespaces: machine.namespaces()?,
    })
}

fn flags<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<OsString> {
    pairs.into_iter().flat_map(|(flag, value)| [OsString::from(flag), value.into()]).collect()
}

/// The files of a folder in the order of their names; none if there is no folder.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let read: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match read {
        Ok(mut paths) => {
            paths.sort();
            Ok(paths)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::file("read", folder, e)),
    }
}

/// The folder of a node or a cluster, for what must outlive its process and not the lab.
fn folder(name: &str) -> String {
    Path::new(world::LAB).join(name).display().to_string()
}

/// As it stands in etcd.
fn network(network: &PodNetwork) -> Result<String> {
    serde_json::to_string(network)
        .map_err(|e| Error::Refused(format!("write the pod network's configuration: {e}")))
}

/// What the lab's processes find in their environment.
pub(crate) fn environment(name: &LabName, notify: &Path) -> Vec<(OsString, OsString)> {
    let mut vars: Vec<(OsString, OsString)> =
        INHERITED.into_iter().filter_map(|name| Some((name.into(), env::var_os(name)?))).collect();
    vars.push(("PATH".into(), programs::path()));
    vars.push((crate::state::LAB_VARIABLE.into(), name.as_str().into()));
    vars.push((runtime::notify::SOCKET.into(), notify.into()));
    // etcd 3.4 refuses other processors unless told so (etcd `etcdmain/etcd.go`, checkSupportArch).
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { env::consts::ARCH };
    vars.push(("ETCD_UNSUPPORTED_ARCH".into(), arch.into()));
    // As variables, because etcd 3.3 ends at flags that it does not know.
    vars.push(("ETCD_LOGGER".into(), "zap".into()));
    vars.push(("ETCD_LOG_LEVEL".into(), "warn".into()));
    vars
}
