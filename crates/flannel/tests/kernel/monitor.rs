//! What a daemon writes to the kernel, in its order, as `ip monitor` tells it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use testkit::wait_for;

use crate::lab::{CONFIG, Cluster, LIMIT, Worker, spawn};

/// A worker that is there only in etcd.
pub(crate) const PEER: &str = r#"{"PublicIP":"10.0.0.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":100,"VtepMAC":"02:00:00:00:00:77"}}"#;
const PEER_KEY: &str = "subnets/11.98.0.0-20";

/// Everything that a daemon writes from its start until it has had a peer and lost it again, with words
/// for what is a worker's own.
pub(crate) fn writes(start: impl FnOnce(&mut Worker)) -> Vec<String> {
    let cluster = Cluster::new(CONFIG);
    let mut worker = cluster.worker(1);
    let monitor = Monitor::start(&worker);
    start(&mut worker);
    let subnet = worker.subnet();
    cluster.etcd.put(PEER_KEY, PEER);
    // Device, address, device up; neighbour, forwarding entry, route.
    monitor.wait_for(6);
    cluster.etcd.delete(PEER_KEY);
    // The neighbour's end is told twice.
    let said = monitor.wait_for(10);
    let mac = worker.mac();
    let words = |line: String| {
        // Numbers of interfaces are the kernel's business.
        let line = line.split_once(": flannel.100").map_or(line.as_str(), |(_, rest)| rest);
        line.replace(&subnet.ip().to_string(), "<base>").replace(&mac, "<mac>")
    };
    said.into_iter().map(words).collect()
}

struct Monitor {
    log: PathBuf,
    child: Child,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Monitor {
    fn start(worker: &Worker) -> Self {
        let log = worker.folder.path().join("monitor");
        let mut command = Command::new("ip");
        command.args(["monitor", "link", "address", "neigh", "route"]);
        command.stdout(File::create(&log).unwrap()).stderr(Stdio::null());
        let child = spawn(&worker.ns, &mut command);
        let sockets = format!("/proc/{}/net/netlink", child.id());
        wait_for("ip monitor listens", LIMIT, || {
            // Columns: socket, protocol, port, groups. Nobody else subscribes to neighbours.
            let table = fs::read_to_string(&sockets).map_err(|e| e.to_string())?;
            let groups = |line: &str| u32::from_str_radix(line.split_whitespace().nth(3)?, 16).ok();
            let listens = table.lines().filter_map(groups).any(|groups| groups & 4 != 0);
            if listens { Ok(()) } else { Err(table) }
        });
        Self { log, child }
    }

    /// What was said of the device and of what is on it, and no more of that than is flannel's: what the
    /// kernel adds by itself comes when it likes.
    fn said(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap();
        let flannels = |line: &&str| {
            // The kernel tells a neighbour that is deleted as one that failed first.
            let entry = ["PERMANENT", "FAILED", " onlink"].iter().any(|word| line.contains(word));
            let link = line.contains(": flannel.100: ");
            let address = line.contains("inet 11.");
            line.contains("flannel.100") && (entry || link || address)
        };
        text.lines().filter(flannels).map(|line| line.trim().to_owned()).collect()
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        wait_for(&format!("{count} events"), LIMIT, || match self.said() {
            said if said.len() >= count => Ok(said),
            said => Err(format!("{said:#?}")),
        })
    }
}
