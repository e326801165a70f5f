//! What the lab's processes see of the file system: the machine's own, with a few places of their own.
//!
//! Everything stands in the lab's mount namespace; the machine's mounts and files stay as they are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use net::mount;
use nix::mount::MsFlags;
use topology::{Cluster, Topology};

use crate::error::{Error, Result};
use crate::state::StateDir;

/// The lab's own folder: what nobody outside needs.
pub(crate) const LAB: &str = "/run/lab";
/// Where network namespaces have names, as `ip-netns(8)` wants.
pub(crate) const NETNS: &str = "/run/netns";

/// The domain of every cluster, as the agents tell it their pods.
const ZONE: &str = "cluster.local";

/// What is run for images, beside the table that every lab has.
pub(crate) const IMAGES: &str = "/run/lab/images.yaml";

/// Makes the world, where the machine's resolvers are asked at `resolver`, if at all; gives back what could not be had, a line each, none of it vital.
pub(crate) fn make(state: &StateDir, topology: &Topology, resolver: Option<Ipv4Addr>) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    // Opened before /run is covered: the state folder is often below it.
    let folder = File::open(state.path()).map_err(|e| Error::file("open", state.path(), e))?;
    let hosts = hosts(topology);
    // What the machine unmounts must not live on in here.
    mount::make_slave()?;
    nix::unistd::chdir("/").map_err(|e| Error::file("go to", "/", e))?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::fs("proc", Path::new("/proc"), plain, "")?;
    mount::detach(Path::new("/sys"));
    if let Err(e) = mount::fs("sysfs", Path::new("/sys"), plain, "") {
        notes.push(format!("/sys shows the machine's devices, not the lab's: {}", runtime::chain(&e)));
    }
    mount::fs("tmpfs", Path::new("/run"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    for name in [LAB, NETNS, "/run/lock"] {
        make_folder(Path::new(name), 0o755)?;
    }
    // A mount of its own, so that a copy of the world can be had without the namespaces in it.
    mount::fs("tmpfs", Path::new(NETNS), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    write_images(topology)?;
    if let Err(e) = cover_etc(&hosts, topology, resolver) {
        notes.push(format!("names do not resolve: {}", runtime::chain(&e)));
    }
    if ["/run", "/etc"].iter().any(|covered| state.path().starts_with(covered)) {
        make_folder(state.path(), 0o700)?;
        mount::bind(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())), state.path())?;
    }
    // etcd asks for 64 MB at once, twice; a ramfs gives what is written, a tmpfs would give it all.
    let etcd = Path::new(LAB).join("etcd");
    make_folder(&etcd, 0o700)?;
    if let Err(e) = mount::fs("ramfs", &etcd, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=700") {
        notes.push(format!("etcd takes 128 MB of memory: {}", runtime::chain(&e)));
    }
    if single_id()
        && let Err(e) = net::ids::pretend_to_change()
    {
        notes.push(format!("programs that change user fail here: {}", runtime::chain(&e)));
    }
    Ok(notes)
}

/// The topology's own images, for the agents.
fn write_images(topology: &Topology) -> Result<()> {
    let table = BTreeMap::from([("images", &topology.images)]);
    let text = serde_yaml::to_string(&table).map_err(|e| Error::Refused(format!("write the images: {e}")))?;
    write(Path::new(IMAGES), &text)
}

/// An overlay on `/etc`: names of nodes in `hosts`, `/etc/netns` to write to, and whatever a user
/// changes there stays in the lab.
fn cover_etc(hosts: &str, topology: &Topology, resolver: Option<Ipv4Addr>) -> Result<()> {
    let (upper, work) = (Path::new(LAB).join("etc"), Path::new(LAB).join("etc.work"));
    make_folder(&upper.join("netns"), 0o755)?;
    make_folder(&work, 0o755)?;
    write(&upper.join("hosts"), hosts)?;
    // The machine's resolvers are out of reach from here, but for one place; without it look-ups fail at once.
    let text = match resolver {
        Some(address) => {
            format!("# names of the world outside; those of nodes are in /etc/hosts\nnameserver {address}\n")
        }
        None => "# no name server here: names of nodes are in /etc/hosts\n".into(),
    };
    write(&upper.join("resolv.conf"), &text)?;
    for cluster in &topology.clusters {
        let Some(text) = nodes_resolv_conf(cluster) else { continue };
        for worker in &cluster.workers {
            let folder = upper.join("netns").join(&worker.name);
            make_folder(&folder, 0o755)?;
            write(&folder.join("resolv.conf"), &text)?;
        }
    }
    let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    let covered = mount::fs("overlay", Path::new("/etc"), MsFlags::empty(), &options);
    if covered.is_err() {
        // No overlay here: the one file that matters most can still be replaced.
        mount::bind(&upper.join("hosts"), Path::new("/etc/hosts"))?;
    }
    Ok(())
}

/// The machine's own hosts, and every node.
fn hosts(topology: &Topology) -> String {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_else(|_| "127.0.0.1 localhost\n".into());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("\n# nodes of this lab\n");
    for (name, address) in topology.nodes() {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// What programs on the workers read, where `ip-netns(8)` looks for it: they ask the cluster's DNS, too, and
/// may use the short names of the namespace `default`. The kubelet does not read it: what pods of `dnsPolicy:
/// Default` have, the DNS servers among them, would lead back to the DNS.
fn nodes_resolv_conf(cluster: &Cluster) -> Option<String> {
    let address = topology::dns_address(cluster.service_network).filter(|_| cluster.dns)?;
    Some(format!("search default.svc.{ZONE} svc.{ZONE} {ZONE}\nnameserver {address}\noptions ndots:5\n"))
}

/// Whether the user namespace knows only one id (`user_namespaces(7)`: `inside outside length`).
pub(crate) fn single_id() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let lengths: Vec<u64> =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    lengths.iter().sum::<u64>() == 1
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| Error::file("make folder", path, e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::file("write", path, e))
}
