//! The nodes' namespaces, the switches and the cables between them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use net::batch::{Batcher, Change};
use net::links::{Link, VethEnd};
use net::{Links, Mac, NetNs, process};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::mpsc::UnboundedSender;
use topology::{Cable, Topology};

use crate::error::{Error, Result};
use crate::protocol::KINDS;
use crate::world;

/// Half of what the kernel learns by itself: other labs want their part.
const MOST_LEARNT: usize = 512;
/// A link that has no carrier by then will not get one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node: its namespaces, held open by pid 1 so that they outlive whatever runs in them.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) net: Arc<NetNs>,
    pub(crate) uts: Arc<OwnedFd>,
}

impl Machine {
    /// What a child that shall live here enters.
    pub(crate) fn namespaces(&self) -> Result<Vec<Arc<OwnedFd>>> {
        let net = self.net.as_fd().try_clone_to_owned();
        let net = net.map_err(|e| net::Error::sys("duplicate a namespace's descriptor", e))?;
        Ok(vec![Arc::new(net), self.uts.clone()])
    }
}

/// What one builder makes.
#[derive(Debug)]
struct Job {
    name: String,
    address: Ipv4Network,
    cable: Cable,
    switch: u32,
}

/// Builds switches and nodes, and sends each node as soon as it can be used; the etcd nodes first,
/// since etcd takes longest.
///
/// Blocks; makes its own threads and runtimes.
pub(crate) fn build(topology: &Topology, ready: &UnboundedSender<Result<Machine>>) -> Result<()> {
    // The switches need no IPv6 of their own; missing where IPv6 is off as a whole.
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let switches = runtime()?.block_on(make_switches(topology))?;
    let jobs = Mutex::new(jobs(topology, &switches));
    let mtu = topology.underlay.mtu;
    let stations = Mutex::new(Vec::new());
    on_threads(|| {
        let builder = Builder::new(mtu);
        loop {
            let job = locked(&jobs).pop_front();
            let Some(job) = job else { return };
            let made = match &builder {
                Ok(builder) => builder.make(&job),
                Err(e) => Err(Error::Refused(runtime::chain(e))),
            };
            let made = made.map(|(machine, station)| {
                locked(&stations).push(station);
                machine
            });
            // The receiver is gone once something failed: there is nothing left to do.
            if ready.send(made).is_err() {
                return;
            }
        }
    });
    let stations = stations.into_inner().unwrap_or_else(PoisonError::into_inner);
    if stations.len() * stations.len() > MOST_LEARNT { introduce(&stations) } else { Ok(()) }
}

/// Runs `work` on a few threads at once, twice as many as there are processors: each waits for the kernel
/// at times.
fn on_threads(work: impl Fn() + Sync) {
    let count = thread::available_parallelism().map_or(2, usize::from) * 2;
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(&work);
        }
    });
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What other nodes have to know of a node, and where they can be told what it has to know.
#[derive(Debug)]
struct Station {
    net: Arc<NetNs>,
    index: u32,
    address: Ipv4Addr,
    mac: [u8; 6],
}

/// Tells every node the Ethernet address of every other.
///
/// The kernel learns at most 1024 neighbours in all namespaces together (`net.ipv4.neigh.default.gc_thresh3`,
/// which is the machine's and not ours to change). Many nodes that talk to each other need more; entries that
/// are permanent do not count.
fn introduce(stations: &[Station]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    on_threads(|| {
        while let Some(station) = stations.get(next.fetch_add(1, Ordering::Relaxed)) {
            let others = stations.iter().filter(|other| other.address != station.address);
            let changes: Vec<Change> = others
                .map(|other| Change::SetNeighbour {
                    index: station.index,
                    address: other.address,
                    mac: Mac(other.mac),
                })
                .collect();
            let told = station.net.enter().and_then(|()| Batcher::open()?.run(&changes));
            match told {
                Ok(refused) if refused.is_empty() => {}
                Ok(refused) => {
                    *locked(&failed) = Some(net::Error::Other(format!("enter neighbours: {refused:?}")))
                }
                Err(e) => *locked(&failed) = Some(e),
            }
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn jobs(topology: &Topology, switches: &BTreeMap<String, u32>) -> VecDeque<Job> {
    let prefix = topology.underlay.network.prefix();
    let cables: BTreeMap<String, Cable> =
        topology.cables().into_iter().map(|c| (c.node.clone(), c)).collect();
    let job = |(name, address): (&str, Ipv4Addr)| {
        let cable = cables.get(name)?.clone();
        let switch = *switches.get(&cable.switch)?;
        let address = Ipv4Network::new(address, prefix).ok()?;
        Some(Job { name: name.into(), address, cable, switch })
    };
    let etcd = topology.clusters.iter().flat_map(|c| c.etcd.iter().map(|m| (m.name.as_str(), m.address)));
    let workers =
        topology.clusters.iter().flat_map(|c| c.workers.iter().map(|w| (w.name.as_str(), w.address)));
    etcd.chain(workers).filter_map(job).collect()
}

/// Bridges and the cables between them; gives the bridges' indices.
async fn make_switches(topology: &Topology) -> Result<BTreeMap<String, u32>> {
    let links = Links::open()?;
    links.set_up("lo", true).await?;
    let mut indices = BTreeMap::new();
    for switch in topology.switches() {
        links.add_bridge(switch, topology.underlay.mtu).await?;
        indices.insert(switch.to_owned(), links.get(switch).await?.index);
    }
    for cable in topology.cables().iter().filter(|cable| cable.uplink) {
        let (down, up) = aliases(cable);
        let port = VethEnd { name: &cable.switch_port, alias: &up };
        let peer = VethEnd { name: &cable.node_port, alias: &down };
        let upper = indices.get(&cable.switch).copied();
        links.add_veth(port, upper, peer, None, topology.underlay.mtu).await?;
        links.set_controller(&cable.node_port, indices.get(&cable.node).copied()).await?;
        links.set_up_with_alias(&cable.node_port, &down).await?;
    }
    for cable in topology.cables().iter().filter(|cable| cable.uplink) {
        links.wait_for_carrier(&cable.switch_port, PATIENCE).await?;
        links.wait_for_carrier(&cable.node_port, PATIENCE).await?;
    }
    Ok(indices)
}

/// What `ip link` shows of each end: where its cable leads.
fn aliases(cable: &Cable) -> (String, String) {
    (format!("to {} {}", cable.switch, cable.switch_port), format!("to {} {}", cable.node, cable.node_port))
}

/// One thread's means: a runtime, and a socket in the lab's own namespace.
struct Builder {
    runtime: tokio::runtime::Runtime,
    lab: Links,
    mtu: u32,
}

impl Builder {
    fn new(mtu: u32) -> Result<Self> {
        let runtime = runtime()?;
        let lab = {
            let _guard = runtime.enter();
            Links::open()?
        };
        Ok(Self { runtime, lab, mtu })
    }

    /// Makes a node. The calling thread moves into it, and with the next call into the next one; the
    /// thread is this module's own.
    fn make(&self, job: &Job) -> Result<(Machine, Station)> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
            .map_err(|e| net::Error::sys(format!("make the namespaces of {}", job.name), e))?;
        nix::unistd::sethostname(&job.name)
            .map_err(|e| net::Error::sys(format!("name the host {}", job.name), e))?;
        let net = NetNs::current()?;
        let uts = process::own_namespace("uts")?;
        net.bind(Path::new(world::NETNS).join(&job.name))?;
        forward()?;
        let own = self.runtime.block_on(self.plug_in(job, &net))?;
        let (net, uts) = (Arc::new(net), Arc::new(uts));
        let mac = own.mac.as_slice().try_into();
        let mac = mac.map_err(|_| Error::Refused(format!("{} has no Ethernet address", own.name)))?;
        let station = Station { net: net.clone(), index: own.index, address: job.address.ip(), mac };
        Ok((Machine { name: job.name.clone(), net, uts }, station))
    }

    async fn plug_in(&self, job: &Job, net: &NetNs) -> Result<Link> {
        let (down, up) = aliases(&job.cable);
        let name = &job.cable.node_port;
        let port = VethEnd { name: &job.cable.switch_port, alias: &up };
        let peer = VethEnd { name, alias: &down };
        self.lab.add_veth(port, Some(job.switch), peer, Some(net), self.mtu).await?;
        let own = Links::open()?;
        own.set_up("lo", true).await?;
        let link = own.get(name).await?;
        own.add_address(link.index, job.address).await?;
        own.set_up_with_alias(name, &down).await?;
        // No gateway: whoever is not here is asked for by ARP. It is there so that packets to services
        // have a way, as on real nodes; they are rewritten before they leave.
        let everywhere =
            Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).map_err(|e| Error::Refused(e.to_string()))?;
        own.add_route(everywhere, None, link.index).await?;
        // A packet before the switch forwards would be lost, and TCP waits a second before the next.
        self.lab.wait_for_carrier(&job.cable.switch_port, PATIENCE).await?;
        Ok(link)
    }
}

/// A node routes for its pods. Reverse path filters come from the machine's own setting, and would drop
/// what comes back by another device.
fn forward() -> Result<()> {
    for (name, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")] {
        let path = Path::new("/proc/sys/net/ipv4").join(name);
        // Writing ip_forward spins for as long as others wait for the kernel's one lock for links
        // (`devinet_sysctl_forward`), and with a hundred nodes they do.
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
            continue;
        }
        fs::write(&path, value).map_err(|e| Error::file("write", path, e))?;
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| net::Error::sys("start a runtime", e).into())
}

/// The lab's own namespaces, as commands enter them.
pub(crate) fn own_namespaces() -> Result<BTreeMap<&'static str, OwnedFd>> {
    KINDS
        .into_iter()
        .map(|kind| {
            let path = Path::new("/proc/self/ns").join(kind);
            let file = File::open(&path).map_err(|e| Error::file("open", path, e))?;
            Ok((kind, OwnedFd::from(file)))
        })
        .collect()
}
