//! The mounts that a lab needs, with errors that name the target.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{Error, Result};

/// Binds `source` onto `target`, which must exist.
///
/// # Errors
/// The kernel's, with the target's name.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| Error::file("bind mount on", target, e))
}

/// Cuts the whole tree off from its parent: no later mount travels either way.
///
/// # Errors
/// `EPERM` outside an own mount namespace's user namespace.
pub fn make_private() -> Result<()> {
    remount_root(MsFlags::MS_PRIVATE)
}

/// Lets mounts travel from the parent to here, but none back, as `ip netns exec` does.
///
/// # Errors
/// `EPERM` outside an own mount namespace's user namespace.
pub fn make_slave() -> Result<()> {
    remount_root(MsFlags::MS_SLAVE)
}

fn remount_root(kind: MsFlags) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | kind, None::<&str>)
        .map_err(|e| Error::file("change the propagation of", "/", e))
}

/// Mounts a file system of `kind` on `target` with `options` (as `size=10m,mode=755`).
///
/// # Errors
/// The kernel's, with the target's name.
pub fn fs(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .map_err(|e| Error::sys(format!("mount {kind} on {}", target.display()), e))
}

/// A copy of the caller's mount namespace without what is mounted on and below `without`: the template
/// for many others, which then need not carry that along. The caller stays where it is.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace.
pub fn lean_copy(without: &[&Path]) -> Result<OwnedFd> {
    crate::ns::on_thread("copy the mount namespace", || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|e| Error::sys("make a mount namespace", e))?;
        make_private()?;
        for target in without {
            detach(target);
        }
        crate::process::own_namespace("mnt")
    })
}

/// Detaches whatever is mounted on `target`; nothing there is fine.
pub fn detach(target: &Path) {
    // EINVAL says that nothing is mounted there; any other trouble shows at the next mount.
    let _ = umount2(target, MntFlags::MNT_DETACH);
}
