//! What a pod's processes see: their own processes, devices, name and resolver.

use std::fs;
use std::path::Path;

use net::{loopback, mount};
use nix::mount::MsFlags;

/// Makes the world of the sandbox whose folder this is, in the caller's new namespaces.
pub(super) fn world(folder: &Path) -> net::Result<()> {
    mount::make_private()?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::fs("proc", Path::new("/proc"), plain, "")?;
    mount::detach(Path::new("/sys"));
    // Not to be had in every container; what reads /sys/class/net then sees the machine's devices.
    let _ = mount::fs("sysfs", Path::new("/sys"), plain, "");
    let own = folder.join("etc");
    let files = fs::read_dir(&own).map_err(|e| net::Error::file("read", &own, e))?;
    for file in files.flatten() {
        let target = Path::new("/etc").join(file.file_name());
        if target.exists() {
            mount::bind(&file.path(), &target)?;
        }
    }
    if let Ok(name) = fs::read_to_string(own.join("hostname")) {
        nix::unistd::sethostname(name.trim()).map_err(|e| net::Error::sys("set the host's name", e))?;
    }
    // What is in there is the lab's own, and pid files of two pods must not meet.
    mount::fs("tmpfs", Path::new("/run"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    let locks = Path::new("/run/lock");
    fs::create_dir(locks).map_err(|e| net::Error::file("make folder", locks, e))?;
    std::env::set_current_dir("/").map_err(|e| net::Error::file("go to", "/", e))?;
    loopback::set_up()?;
    for (file, value) in SYSCTLS {
        // Not in every kernel, nor in a host's namespace.
        let _ = fs::write(file, value);
    }
    Ok(())
}

/// As containerd sets them (containerd `internal/cri/server/podsandbox`, `enable_unprivileged_ports` and
/// `enable_unprivileged_icmp`): a container need not be root for port 80 and for ping.
const SYSCTLS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];
