//! Network namespaces.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};

/// A network namespace, held open by a descriptor.
///
/// The namespace lives while a process is in it, a descriptor of it is open or a mount of it
/// stands (`namespaces(7)`).
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// A new, empty namespace: it has nothing but a loopback that is down.
    ///
    /// # Errors
    /// The kernel's, `EPERM` without `CAP_SYS_ADMIN` in the user namespace.
    pub fn create() -> Result<Self> {
        on_thread("create namespace", || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::sys("create network namespace", e))?;
            Self::current()
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// Only when `/proc` is not there.
    pub fn current() -> Result<Self> {
        // Not /proc/self: that is the main thread, and namespaces are a thread's own.
        Self::open("/proc/thread-self/ns/net")
    }

    /// Opens a namespace by a file of it, as `/run/netns/C0w1` or `/proc/42/ns/net`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        File::open(path)
            .map(|file| Self(file.into()))
            .map_err(|e| Error::file("open network namespace", path, e))
    }

    /// A second descriptor of the same namespace.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn try_clone(&self) -> Result<Self> {
        self.0.try_clone().map(Self).map_err(|e| Error::sys("duplicate a namespace's descriptor", e))
    }

    /// Binds the namespace to a file, as `ip netns add` does, so that `ip netns exec` finds it.
    ///
    /// # Errors
    /// When the file exists already or cannot be made or mounted on.
    pub fn bind(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        File::create_new(path).map_err(|e| Error::file("create", path, e))?;
        let source = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        crate::mount::bind(Path::new(&source), path)
    }

    /// Moves the calling thread, and it alone, into the namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` over the namespace.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(|e| Error::sys("enter network namespace", e))
    }

    /// Runs `f` inside the namespace, on a thread of its own, and gives back what it returns.
    ///
    /// Sockets that `f` opens stay in the namespace, wherever they are used afterwards. A thread
    /// of its own, because a namespace must never follow a task across an await.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `f` says.
    pub fn run<T, E>(&self, f: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + Send,
    {
        on_thread("enter network namespace", || {
            self.enter()?;
            f()
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for NetNs {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Runs `f` on a new thread and waits for it; a panic of `f` goes on here.
pub(crate) fn on_thread<T, E>(what: &str, f: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<Error> + Send,
{
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("netns".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, f)
            .map_err(|e| Error::sys(what, e))?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(ns: &NetNs) -> u64 {
        nix::sys::stat::fstat(ns).expect("fstat").st_ino
    }

    #[test]
    fn a_new_namespace_is_another_one_and_the_caller_stays_where_it_was() {
        let before = inode(&NetNs::current().unwrap());
        let ns = NetNs::create().unwrap();
        assert_ne!(inode(&ns), before);
        let inside = ns.run(|| NetNs::current().map(|ns| inode(&ns))).unwrap();
        assert_eq!(inside, inode(&ns));
        assert_eq!(inode(&NetNs::current().unwrap()), before);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = NetNs::open("/run/netns/no-such").unwrap_err();
        assert_eq!(error.to_string(), "open network namespace /run/netns/no-such");
    }
}
