//! Where a lab's files are, and how to tell whether it lives.
//!
//! A lab is alive while its pid 1 holds a lock on byte 1 of `lock` in its folder; whoever starts or ends
//! one holds byte 0 meanwhile. These are POSIX locks (`fcntl(2)`): the kernel drops them when the holder
//! dies, however it dies, children do not inherit them, and `F_GETLK` gives the holder's pid as the asker
//! sees it. So nothing stale can ever be believed: no pid in a file, no reboot, no reused pid.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::Uid;

use crate::error::{Error, Result};

/// The lab that commands mean when none is named.
pub const DEFAULT_LAB: &str = "knetsim";
/// Names the lab.
pub const LAB_VARIABLE: &str = "KNETSIM_LAB";
/// Names the folder that holds the state folders.
pub const STATE_VARIABLE: &str = "KNETSIM_STATE_DIR";

/// A name fit for a folder, a host name and a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LabName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for LabName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let fits = (1..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if fits { Ok(Self(name.into())) } else { Err(Error::BadName(name.into())) }
    }
}

/// Whether a lab lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its pid 1 has this pid, as the caller sees it.
    Running(i32),
    /// A process with this pid is starting or ending it.
    Changing(i32),
    /// Only its folder is there: it was killed, or the machine was.
    Dead,
}

/// The state folder of one lab; the folder need not exist.
#[derive(Debug, Clone)]
pub struct StateDir {
    name: LabName,
    path: PathBuf,
}

/// Which byte of the lock file.
#[derive(Debug, Clone, Copy)]
enum Byte {
    Change = 0,
    Life = 1,
}

/// The right to start or end a lab.
///
/// While it is held, its process must open the lock file no second time: closing any descriptor of a file
/// drops all of a process's locks on it (`fcntl(2)`). Ask [`Self::running`], not [`StateDir::life`].
#[derive(Debug)]
pub struct ChangeLock {
    file: File,
}

impl ChangeLock {
    /// The pid of the lab's pid 1, as the caller sees it.
    #[must_use]
    pub fn running(&self) -> Option<i32> {
        holder(&self.file, Byte::Life)
    }
}

impl AsFd for ChangeLock {
    /// The lock file, for pid 1 to take its own lock on; to be lent, not duplicated.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The folder that holds all labs' folders of this user.
///
/// `KNETSIM_STATE_DIR` if set, else `/run/knetsim` for root, else `$XDG_RUNTIME_DIR/knetsim`, else
/// `/tmp/knetsim-<uid>`.
#[must_use]
pub fn base() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(STATE_VARIABLE) {
        let path = std::path::absolute(&path).unwrap_or(path);
        // By its real name: what is below /run or /etc is shown in the lab by other means.
        let (parent, name) = (path.parent().and_then(|p| p.canonicalize().ok()), path.file_name());
        return match (path.canonicalize(), parent, name) {
            (Ok(real), _, _) => real,
            (_, Some(parent), Some(name)) => parent.join(name),
            _ => path,
        };
    }
    let uid = Uid::current();
    if uid.is_root() {
        return "/run/knetsim".into();
    }
    match set("XDG_RUNTIME_DIR") {
        Some(path) if path.is_dir() => path.join("knetsim"),
        _ => format!("/tmp/knetsim-{uid}").into(),
    }
}

impl StateDir {
    /// The folder of lab `name`.
    #[must_use]
    pub fn of(name: &LabName) -> Self {
        Self { path: base().join(name.as_str()), name: name.clone() }
    }

    /// The folder at `path`, as pid 1 is told it.
    #[must_use]
    pub fn at(name: LabName, path: PathBuf) -> Self {
        Self { name, path }
    }

    /// Every lab that has a folder, in alphabetical order.
    ///
    /// # Errors
    /// When the folder of the folders cannot be read; that it is missing is no error.
    pub fn all() -> Result<Vec<Self>> {
        let base = base();
        let entries = match fs::read_dir(&base) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::file("read", base, e)),
        };
        let mut labs: Vec<Self> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
            .map(|name| Self::of(&name))
            .collect();
        labs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(labs)
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved topology.
    #[must_use]
    pub fn topology(&self) -> PathBuf {
        self.path.join("topology.yaml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// What is to be in a cluster from its begin, in files whose names give their order.
    #[must_use]
    pub fn manifests(&self, cluster: &str) -> PathBuf {
        self.path.join("manifests").join(cluster)
    }

    /// Logs, a folder a node; those of pid 1 are in `lab`.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Makes sure that nobody else made the folder: what it says would lead anywhere.
    ///
    /// # Errors
    /// When it belongs to someone else, or is no folder; that it is missing is no error.
    pub fn check_owner(&self) -> Result<()> {
        let base = self.path.parent().unwrap_or(Path::new("/"));
        [base, &self.path].into_iter().filter(|folder| folder.symlink_metadata().is_ok()).try_for_each(own)
    }

    /// Whether the lab lives.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let file = File::open(self.path.join("lock")).ok();
        let Some(file) = file else { return self.path.is_dir().then_some(Life::Dead) };
        if let Some(pid) = holder(&file, Byte::Life) {
            return Some(Life::Running(pid));
        }
        Some(holder(&file, Byte::Change).map_or(Life::Dead, Life::Changing))
    }

    /// Makes the folder if need be and takes the right to start or end its lab.
    ///
    /// # Errors
    /// [`Error::Busy`] when someone else is at it; a folder that cannot be made, or is not ours.
    pub fn lock(&self) -> Result<ChangeLock> {
        let base = self.path.parent().unwrap_or(Path::new("/"));
        for folder in [base, &self.path] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|e| Error::file("make folder", folder, e))?;
            own(folder)?;
        }
        let path = self.path.join("lock");
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|e| Error::file("open", &path, e))?;
            if !acquire(&file, Byte::Change).map_err(|e| Error::file("lock", &path, e))? {
                let pid = holder(&file, Byte::Change).unwrap_or(0);
                return Err(Error::Busy {
                    name: self.name.to_string(),
                    what: "just being started or ended",
                    pid,
                });
            }
            // Whoever ended the lab meanwhile has removed the file: the lock must be on the one that is there.
            let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
            match (file.metadata(), fs::metadata(&path)) {
                (Ok(ours), Ok(there)) if same(&ours, &there) => return Ok(ChangeLock { file }),
                _ => {}
            }
        }
    }

    /// Removes everything in the folder but what `--keep` keeps, and the folder if nothing is left.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest is removed all the same.
    pub fn clear(&self, _lock: &ChangeLock) -> Result<()> {
        let outcome = self.remove_all_but(&[KEPT, "lock"]);
        if !self.path.join(KEPT).exists() && outcome.is_ok() {
            // The lock goes last: until then nobody else starts this lab.
            let _ = fs::remove_file(self.path.join("lock"));
            let _ = fs::remove_dir(&self.path);
        }
        outcome
    }

    /// Removes everything in the folder but what `--keep` keeps, and goes on holding the lock.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub(crate) fn wipe(&self, _lock: &ChangeLock) -> Result<()> {
        self.remove_all_but(&[KEPT, "lock"])
    }

    /// The same from inside, when pid 1 ends by itself; what cannot be removed stays.
    pub(crate) fn empty(&self) {
        let _ = self.remove_all_but(&[KEPT, "lock"]);
        if !self.path.join(KEPT).exists() {
            let _ = fs::remove_file(self.path.join("lock"));
        }
    }

    fn remove_all_but(&self, stay: &[&str]) -> Result<()> {
        let mut first = Ok(());
        let entries = fs::read_dir(&self.path).map_err(|e| Error::file("read", &self.path, e))?;
        for entry in entries.flatten() {
            if stay.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let path = entry.path();
            let folder = entry.file_type().is_ok_and(|t| t.is_dir());
            let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(e) = removed {
                first = first.and(Err(Error::file("remove", path, e)));
            }
        }
        first
    }
}

/// What `topo up --keep` keeps in the state folder.
pub const KEPT: &str = "etcd";

/// Takes pid 1's own lock: from now on the lab lives.
///
/// # Errors
/// When another process holds it.
pub(crate) fn lock_life(file: &File) -> io::Result<()> {
    if acquire(file, Byte::Life)? {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "the lab lives already"))
    }
}

/// A folder that belongs to someone else could be made to hold anything.
fn own(folder: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(folder).map_err(|e| Error::file("look at", folder, e))?;
    if meta.is_dir() && meta.uid() == Uid::current().as_raw() {
        return Ok(());
    }
    Err(Error::Hinted {
        message: format!("{} is not a folder of this user", folder.display()),
        hint: format!("{STATE_VARIABLE} names another place for state folders"),
    })
}

fn region(byte: Byte) -> nix::libc::flock {
    nix::libc::flock {
        l_type: nix::libc::F_WRLCK as _,
        l_whence: nix::libc::SEEK_SET as _,
        l_start: byte as _,
        l_len: 1,
        l_pid: 0,
    }
}

fn acquire(file: &File, byte: Byte) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&region(byte))) {
        Ok(_) => Ok(true),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn holder(file: &File, byte: Byte) -> Option<i32> {
    let mut region = region(byte);
    // A read lock suffices to ask, and a file opened for reading allows no other question.
    fcntl(file, FcntlArg::F_GETLK(&mut region)).ok()?;
    (region.l_type != nix::libc::F_UNLCK as nix::libc::c_short).then_some(region.l_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_folders() {
        for good in ["knetsim", "a", "Lab-7", "0x", "ada.l_1"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a/b", "..", "a b", "é", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_folder_is_a_dead_lab_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at("x".parse().unwrap(), folder.path().join("x"));
        assert_eq!(state.life(), None);
        let lock = state.lock().unwrap();
        // One's own lock is not seen by oneself (fcntl(2)); that others see it is tested with processes.
        assert_eq!(lock.running(), None);
        drop(lock);
        assert_eq!(state.life(), Some(Life::Dead));
        let lock = state.lock().unwrap();
        fs::write(state.topology(), "x").unwrap();
        state.clear(&lock).unwrap();
        assert_eq!(state.life(), None);
    }

    #[test]
    fn what_is_kept_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at("x".parse().unwrap(), folder.path().join("x"));
        let lock = state.lock().unwrap();
        fs::create_dir_all(state.path().join(KEPT).join("C0e1")).unwrap();
        fs::create_dir_all(state.logs()).unwrap();
        state.clear(&lock).unwrap();
        assert!(state.path().join(KEPT).join("C0e1").is_dir());
        assert!(!state.logs().exists());
    }

    #[test]
    fn a_strangers_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("x")).unwrap();
        let state = StateDir::at("x".parse().unwrap(), folder.path().join("x"));
        assert!(state.lock().unwrap_err().to_string().ends_with("is not a folder of this user"));
    }
}
