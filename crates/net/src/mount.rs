//! The mounts that a lab needs, with errors that name the target.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

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

/// Detaches whatever is mounted on `target`; nothing there is fine.
pub fn detach(target: &Path) {
    // EINVAL says that nothing is mounted there; any other trouble shows at the next mount.
    let _ = umount2(target, MntFlags::MNT_DETACH);
}
