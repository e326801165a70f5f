//! What a container sees of its pod's files, if not the same as the shim: a mount namespace of its own,
//! with its volumes.

use std::fmt::Display;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::{mount, process};
use nix::mount::MsFlags;

use super::setup::{MOUNTED_VOLUMES, make_file, make_folder};
use crate::protocol::{Files, Kind, Mount, Source};
use crate::root::mountinfo;

/// What a container sees.
#[derive(Debug, Clone)]
pub(super) struct View(Arc<OwnedFd>);

/// Between a failure of ours and one that is worded already.
struct Said(String);

impl From<net::Error> for Said {
    fn from(error: net::Error) -> Self {
        Self(runtime::chain(&error))
    }
}

impl View {
    /// Runs `f` where these files are seen, or in place, if they are what the shim sees.
    pub(super) fn make<T: Send>(
        files: &Files,
        f: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<(T, Option<Self>), String> {
        if *files == Files::default() {
            return f().map(|value| (value, None));
        }
        // Of all containers, and so before the copy.
        for mount in &files.mounts {
            limit(&mount.source).map_err(|e| failed(&mount.target, &runtime::chain(&e)))?;
        }
        let done = mount::in_copy(|| {
            put(files).map_err(Said)?;
            let view = Self(Arc::new(process::own_namespace("mnt")?));
            Ok::<_, Said>((f().map_err(Said)?, Some(view)))
        });
        done.map_err(|Said(message)| message)
    }

    /// Runs `f` where this is seen.
    pub(super) fn within<T: Send>(&self, f: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        let done = mount::within(self.0.as_fd(), || f().map_err(Said));
        done.map_err(|Said(message)| message)
    }

    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// Gives a volume that may not grow a file system of its own, once.
fn limit(source: &Source) -> net::Result<()> {
    let Source::Volume { name, limit: Some(limit), .. } = source else { return Ok(()) };
    let folder = Path::new(MOUNTED_VOLUMES).join(name);
    if mountinfo::read()?.iter().any(|mount| mount.point == folder) {
        return Ok(());
    }
    make_folder(&folder)?;
    let options = format!("mode=777,size={limit}");
    mount::fs("tmpfs", &folder, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, &options)
}

fn put(files: &Files) -> Result<(), String> {
    let mut sealed = Vec::new();
    if files.read_only_root {
        sealed = read_only_points().map_err(|e| runtime::chain(&e))?;
    }
    let mut mounted = Vec::new();
    for mount in &files.mounts {
        mounted.push(mount_one(mount).map_err(|why| failed(&mount.target, &why))?);
    }
    // Volumes stay as they are; what they cover is out of reach.
    for point in sealed.iter().filter(|point| !mounted.iter().any(|place| point.starts_with(place))) {
        mount::read_only(point, false).map_err(|e| runtime::chain(&e))?;
    }
    mount::detach(Path::new(MOUNTED_VOLUMES));
    Ok(())
}

/// As runc words it, more or less.
fn failed(target: &str, why: &impl Display) -> String {
    format!("error mounting to {target:?}: {why}")
}

/// What a container does not write to if it must not write to its root: not the kernel's own, where it
/// writes to devices and processes.
fn read_only_points() -> net::Result<Vec<PathBuf>> {
    let kernels = ["/proc", "/sys", "/dev", MOUNTED_VOLUMES].map(Path::new);
    let points = mountinfo::read()?.into_iter().map(|mount| mount.point);
    Ok(points.filter(|point| !kernels.iter().any(|kernel| point.starts_with(kernel))).collect())
}

/// Gives where it is in the end.
fn mount_one(mount: &Mount) -> Result<PathBuf, String> {
    let said = |e: net::Error| runtime::chain(&e);
    let source = find(&mount.source)?;
    let target = Path::new(&mount.target);
    if !target.exists() {
        if source.is_dir() {
            make_folder(target).map_err(said)?;
        } else {
            target.parent().map_or(Ok(()), make_folder).map_err(said)?;
            make_file(target).map_err(said)?;
        }
    } else if target.is_dir() != source.is_dir() {
        // Words of the kernel's, whose own mean little.
        return Err(
            "not a directory: Are you trying to mount a directory onto a file (or vice-versa)?".into()
        );
    }
    mount::bind_tree(&source, target).map_err(said)?;
    // Links are followed.
    let place = fs::canonicalize(target).map_err(|e| e.to_string())?;
    if mount.read_only {
        mount::read_only(&place, true).map_err(said)?;
    }
    Ok(place)
}

fn find(source: &Source) -> Result<PathBuf, String> {
    match source {
        Source::Volume { name, path, .. } => {
            let folder = Path::new(MOUNTED_VOLUMES).join(name);
            if path.is_empty() {
                return Ok(folder);
            }
            let found = folder.join(path);
            if !found.exists() {
                make_folder(&found).map_err(|e| runtime::chain(&e))?;
                // As the volume itself (kubernetes `pkg/volume/util/subpath`, `SafeMakeDir`).
                let mode = fs::metadata(&folder).map_or(0o755, |meta| meta.permissions().mode() & 0o7777);
                let _ = fs::set_permissions(&found, Permissions::from_mode(mode));
            }
            Ok(found)
        }
        Source::Host { path, create } => {
            let path = Path::new(path);
            match create {
                Some(Kind::Folder) if !path.exists() => make_folder(path),
                Some(Kind::File) if !path.exists() => make_file(path),
                _ => Ok(()),
            }
            .map_err(|e| runtime::chain(&e))?;
            if path.exists() { Ok(path.into()) } else { Err(format!("{} is not there", path.display())) }
        }
    }
}
