//! What a pod's processes see: their own files, processes, devices, name and resolver.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use net::{loopback, mount};
use nix::mount::MsFlags;

use super::root;
use crate::root::Layout;

/// The files of the sandbox's folder that say how its world is made.
pub(crate) const LAYOUT: &str = "root.json";
/// What is in the pod's volumes, in the sandbox's folder.
pub(crate) const VOLUMES: &str = "volumes";
/// Where the shim has that, in the pod; containers see only what is theirs.
pub(super) const MOUNTED_VOLUMES: &str = "/run/.volumes";
/// The former root, for a moment.
const FORMER: &str = "/run/.former";

/// Makes the world of the sandbox whose folder this is, in the caller's new namespaces.
pub(super) fn world(folder: &Path) -> net::Result<()> {
    mount::make_private()?;
    let layout = layout(folder)?;
    let own = own_files(folder)?;
    let host_network = crate::sandbox::is_host_network(folder);
    for note in &layout.notes {
        // To the shim's log; a full disk is no reason not to run.
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    let view = root::build(&layout, folder, &own)?;
    kernels_own(&view, &layout)?;
    let at = |path: &str| view.join(path.trim_start_matches('/'));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount::fs("tmpfs", &at("/tmp"), flags, "mode=1777")?;
    mount::fs("tmpfs", &at("/run"), flags, "mode=755")?;
    make_folder(&at("/run/lock"))?;
    make_folder(&at(FORMER))?;
    mount::pivot(&view, &at(FORMER))?;
    // From here on links lead to where they lead in the pod.
    let former = |path: &Path| Path::new(FORMER).join(path.strip_prefix("/").unwrap_or(path));
    for file in &own {
        let target = Path::new("/etc").join(file);
        // Where the machine's folder is all there is, what is not in it cannot be covered.
        if target.exists() || make_file(&target).is_ok() {
            mount::bind(&former(&folder.join("etc").join(file)), &target)?;
        }
    }
    let volumes = former(&folder.join(VOLUMES));
    if volumes.is_dir() {
        make_folder(Path::new(MOUNTED_VOLUMES))?;
        mount::bind(&volumes, Path::new(MOUNTED_VOLUMES))?;
    }
    mount::detach(Path::new(FORMER));
    fs::remove_dir(FORMER).map_err(|e| net::Error::file("remove", FORMER, e))?;
    if let Ok(name) = fs::read_to_string("/etc/hostname") {
        nix::unistd::sethostname(name.trim()).map_err(|e| net::Error::sys("set the host's name", e))?;
    }
    loopback::set_up()?;
    // In the worker's own namespace they are the worker's.
    for (file, value) in SYSCTLS.iter().filter(|_| !host_network) {
        // Not in every kernel.
        let _ = fs::write(file, value);
    }
    Ok(())
}

fn layout(folder: &Path) -> net::Result<Layout> {
    let path = folder.join(LAYOUT);
    let text = fs::read(&path).map_err(|e| net::Error::file("read", &path, e))?;
    serde_json::from_slice(&text).map_err(|e| net::Error::file("read", &path, std::io::Error::from(e)))
}

/// Names of the files that the sandbox has in `/etc` whatever the machine has there.
fn own_files(folder: &Path) -> net::Result<Vec<PathBuf>> {
    let own = folder.join("etc");
    let files = fs::read_dir(&own).map_err(|e| net::Error::file("read", &own, e))?;
    Ok(files.flatten().map(|file| file.file_name().into()).collect())
}

/// Processes, devices, what the kernel tells.
fn kernels_own(view: &Path, layout: &Layout) -> net::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let [proc, sys, dev] = ["proc", "sys", "dev"].map(|name| view.join(name));
    mount::fs("proc", &proc, plain, "")?;
    if !layout.user {
        protect(&proc)?;
    }
    if mount::fs("sysfs", &sys, plain, "").is_err() {
        // Not to be had in every container; what reads /sys/class/net then sees the machine's devices.
        mount::bind_tree(Path::new("/sys"), &sys)?;
    }
    // The machine's settings are not the pod's to change.
    mount::read_only(&sys, true)?;
    mount::bind_tree(&layout.staging.join("dev"), &dev)?;
    mount::read_only(&dev, false)?;
    mount::fs("tmpfs", &dev.join("shm"), plain, "mode=1777")
}

/// The kernel's settings are the machine's; but for those of a network namespace, which are the pod's.
fn protect(proc: &Path) -> net::Result<()> {
    let [settings, network, keys] = ["sys", "sys/net", "sysrq-trigger"].map(|name| proc.join(name));
    for path in [&settings, &network, &keys] {
        // Not in every kernel.
        if path.exists() {
            mount::bind(path, path)?;
        }
    }
    for path in [&settings, &keys].into_iter().filter(|path| path.exists()) {
        mount::read_only(path, false)?;
    }
    Ok(())
}

pub(super) fn make_folder(path: &Path) -> net::Result<()> {
    fs::create_dir_all(path).map_err(|e| net::Error::file("make folder", path, e))
}

/// An empty file, if there is nothing.
pub(super) fn make_file(path: &Path) -> net::Result<()> {
    let made = File::options().create(true).append(true).open(path);
    made.map(drop).map_err(|e| net::Error::file("make", path, e))
}

/// As containerd sets them (containerd `internal/cri/server/podsandbox`, `enable_unprivileged_ports` and
/// `enable_unprivileged_icmp`): a container need not be root for port 80 and for ping.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];
