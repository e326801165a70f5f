//! The mount namespace that those of the pods are copies of.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use net::mount;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::layout::{carried, dispensable, is_own};
use super::{Layout, Part, mountinfo};

/// What every container may open (runc `libcontainer/specconv`, `AllowedDevices`), and what makes tunnels,
/// which are of the network namespace of whoever opens it.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A copy of the caller's mount namespace, which has what pods are made from at `staging`, a folder that
/// pods do not need; and how they are made. Sandboxes are below `folder`.
pub(crate) fn make(folder: &Path, staging: &Path, hidden: &[PathBuf]) -> net::Result<(OwnedFd, Layout)> {
    mount::copy(|| {
        mount::detach(staging);
        mount::fs("tmpfs", staging, MsFlags::MS_NOSUID, "mode=755")?;
        devices(&staging.join("dev"))?;
        make_folder(&staging.join("empty"))?;
        let mounts = mountinfo::read()?;
        let carried = carried(&mounts, hidden);
        for point in dispensable(&mounts, &carried, &[folder, staging]) {
            // In a user namespace the machine's mounts cannot be taken apart; they only cost.
            mount::detach(point);
        }
        let probe = Probe::new(folder)?;
        let mut layout = probe.layout(staging, carried)?;
        let hidden = hidden.iter().filter(|path| path.is_dir() && !is_own(path));
        layout.parts.extend(hidden.cloned().map(Part::Hidden));
        Ok(layout)
    })
}

/// Finds out what can be overlaid.
struct Probe {
    /// Where sandboxes will have what they write; removed in the end.
    folder: tempdir::Folder,
    user: bool,
}

impl Probe {
    fn new(folder: &Path) -> net::Result<Self> {
        Ok(Self { folder: tempdir::Folder::new(folder)?, user: in_user_namespace() })
    }

    /// Says why not.
    fn overlay(&self, path: &Path) -> net::Result<()> {
        // Never the same twice: what is unmounted may be in use for a moment longer.
        let folder = self.folder.path().join(path.as_os_str().to_string_lossy().replace('/', "_"));
        let [upper, work, view] = ["upper", "work", "view"].map(|name| folder.join(name));
        for path in [&upper, &work, &view] {
            make_folder(path)?;
        }
        mount::overlay(path, &upper, &work, &view, self.user)?;
        mount::detach(&view);
        Ok(())
    }

    fn layout(&self, staging: &Path, carried: Vec<PathBuf>) -> net::Result<Layout> {
        let mut layout = Layout {
            whole: true,
            user: self.user,
            parts: Vec::new(),
            staging: staging.into(),
            notes: Vec::new(),
        };
        if self.overlay(Path::new("/")).is_err() {
            layout.whole = false;
            self.pieces(&mut layout)?;
        }
        for path in carried {
            let seen = |part: &Part| matches!(part, Part::Shown(shown) if path.starts_with(shown));
            let there = |part: &Part| matches!(part, Part::Copy(copy) if *copy == path);
            if path.exists() && !layout.parts.iter().any(|part| seen(part) || there(part)) {
                self.add(path, &mut layout);
            }
        }
        Ok(layout)
    }

    /// What is in the machine's root, one by one.
    fn pieces(&self, layout: &mut Layout) -> net::Result<()> {
        let root = Path::new("/");
        let entries = fs::read_dir(root).map_err(|e| net::Error::file("read", root, e))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if let Ok(target) = fs::read_link(&path) {
                layout.parts.push(Part::Link(path, target));
            } else if meta.is_dir() && !is_own(&path) {
                // What cannot be read is as good as empty, and that needs no overlay.
                if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
                    self.add(path, layout);
                } else {
                    layout.parts.push(Part::Folder(path));
                }
            }
        }
        Ok(())
    }

    fn add(&self, path: PathBuf, layout: &mut Layout) {
        let refused = if path.is_dir() { self.overlay(&path).err() } else { None };
        if let Some(error) = &refused {
            layout.notes.push(format!("{} is read-only: {}", path.display(), runtime::chain(error)));
        }
        let part = if path.is_dir() && refused.is_none() { Part::Copy(path) } else { Part::Shown(path) };
        layout.parts.push(part);
    }
}

/// Whether ids mean something else here than on the machine.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// The devices of pods; nobody's terminals but their own.
fn devices(folder: &Path) -> net::Result<()> {
    for name in ["net", "pts", "shm"] {
        make_folder(&folder.join(name))?;
    }
    for name in DEVICES {
        device(&Path::new("/dev").join(name), &folder.join(name))?;
    }
    for (name, target) in LINKS {
        let path = folder.join(name);
        symlink(target, &path).map_err(|e| net::Error::file("make link", &path, e))?;
    }
    mount::fs(
        "devpts",
        &folder.join("pts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        "newinstance,ptmxmode=0666",
    )
}

fn device(source: &Path, target: &Path) -> net::Result<()> {
    let Ok(meta) = fs::metadata(source) else { return Ok(()) };
    if !meta.file_type().is_char_device() {
        return Ok(());
    }
    let made = mknod(target, SFlag::S_IFCHR, Mode::empty(), meta.rdev());
    if made.is_err() {
        // In a user namespace no device can be made; one that is there can be shown.
        fs::File::create(target).map_err(|e| net::Error::file("make", target, e))?;
        return mount::bind(source, target);
    }
    let mode = Permissions::from_mode(meta.mode() & 0o7777);
    fs::set_permissions(target, mode).map_err(|e| net::Error::file("set mode of", target, e))
}

fn make_folder(path: &Path) -> net::Result<()> {
    fs::create_dir_all(path).map_err(|e| net::Error::file("make folder", path, e))
}

/// A folder for a while.
mod tempdir {
    use std::fs;
    use std::path::{Path, PathBuf};

    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn new(parent: &Path) -> net::Result<Self> {
            // Several agents have the parent in common.
            let path = parent.join(format!(".probe-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).map_err(|e| net::Error::file("make folder", &path, e))?;
            Ok(Self(path))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
