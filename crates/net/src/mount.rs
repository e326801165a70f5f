//! The mounts that a lab needs, with errors that name the target.
// mount_setattr(2) has no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};

/// Binds `source` onto `target`, which must exist.
///
/// # Errors
/// The kernel's, with the target's name.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| Error::file("bind mount on", target, e))
}

/// Binds `source`, with all that is mounted below it, onto `target`, which must exist.
///
/// # Errors
/// The kernel's, with the target's name.
pub fn bind_tree(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|e| Error::file("bind mount on", target, e))
}

/// Lets nobody write to what is mounted on `target`, nor, if `recursive`, to what is mounted below it. The
/// same file system mounted elsewhere stays as it is.
///
/// # Errors
/// The kernel's, with the target's name: `EINVAL` where nothing is mounted, `ENOSYS` before Linux 5.12.
pub fn read_only(target: &Path, recursive: bool) -> Result<()> {
    let failed = |e: io::Error| Error::file("make read-only", target, e);
    let path = CString::new(target.as_os_str().as_bytes()).map_err(|e| failed(e.into()))?;
    let attr =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends with zero, the structure is of the size that is told, and both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(failed(io::Error::last_os_error())) } else { Ok(()) }
}

/// An overlay on `target`: what is in `lower`, and every change in `upper`. `work` is an empty folder of
/// the same file system as `upper`. `user` is for user namespaces, which may not use the attributes that
/// mark what was removed (`userxattr`).
///
/// # Errors
/// The kernel's, with the target's name.
pub fn overlay(lower: &Path, upper: &Path, work: &Path, target: &Path, user: bool) -> Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (name, path) in [("", lower), (",upperdir=", upper), (",workdir=", work)] {
        options.extend(name.as_bytes());
        for byte in path.as_os_str().as_bytes() {
            if matches!(byte, b',' | b':' | b'\\') {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    if user {
        options.extend(b",userxattr");
    }
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_slice())).map_err(|e| {
        Error::sys(format!("mount an overlay of {} on {}", lower.display(), target.display()), e)
    })
}

/// Makes `new`, which must be a mount, the root of the caller's mount namespace; the former one is then
/// at `old`, a folder in the new one.
///
/// # Errors
/// The kernel's, see `pivot_root(2)`.
pub fn pivot(new: &Path, old: &Path) -> Result<()> {
    nix::unistd::pivot_root(new, old).map_err(|e| Error::file("change the root to", new, e))?;
    nix::unistd::chdir("/").map_err(|e| Error::file("go to", "/", e))
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

/// Makes a copy of the caller's mount namespace, changes it by `f`, and gives it back, with what `f` says.
/// The caller stays where it is.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, or what `f` says.
pub fn copy<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<(OwnedFd, T)> {
    in_copy(|| {
        make_private()?;
        let value = f()?;
        Ok((crate::process::own_namespace("mnt")?, value))
    })
}

/// Runs `f` on a thread of its own in a copy of the caller's mount namespace. Processes that `f` starts
/// are in there, and so it lives as long as they do.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, or what `f` says.
pub fn in_copy<T: Send, E: From<Error> + Send>(f: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    crate::ns::on_thread("copy the mount namespace", || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|e| Error::sys("make a mount namespace", e))?;
        f()
    })
}

/// Runs `f` on a thread of its own in another mount namespace.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` over it, or what `f` says.
pub fn within<T: Send, E: From<Error> + Send>(
    namespace: BorrowedFd<'_>,
    f: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    crate::ns::on_thread("enter a mount namespace", || {
        // Threads that share their root cannot part (setns(2)).
        unshare(CloneFlags::CLONE_FS).map_err(|e| Error::sys("have a root of its own", e))?;
        setns(namespace, CloneFlags::CLONE_NEWNS).map_err(|e| Error::sys("enter mount namespace", e))?;
        f()
    })
}

/// Detaches whatever is mounted on `target`; nothing there is fine.
pub fn detach(target: &Path) {
    // EINVAL says that nothing is mounted there; any other trouble shows at the next mount.
    let _ = umount2(target, MntFlags::MNT_DETACH);
}
