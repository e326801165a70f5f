//! Puts a pod's root together, see [`crate::root`].
//!
//! What the pod writes to the machine's `/home/ann` goes to `root/%home%ann/upper`, in the sandbox's folder,
//! if that is a part of its own, or to `root/%/upper` if the whole root is one overlay.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use net::mount;

use super::setup::{make_file, make_folder};
use crate::root::layout::OWN;
use crate::root::{Layout, Part};

/// What the sandbox's folder has of its root, and the places in the pod where volumes will be.
pub(crate) const MOUNT_POINTS: &str = "mount-points.json";

/// Makes the root for the sandbox whose folder this is, a mount; `etc` are the names of the files that
/// must be in `/etc`.
pub(super) fn build(layout: &Layout, folder: &Path, etc: &[PathBuf]) -> net::Result<PathBuf> {
    let root = Root { layout, folder: folder.join("root") };
    let view = root.folder.join("view");
    make_folder(&view)?;
    root.prepare(etc, &mount_points(folder)?)?;
    if layout.whole {
        root.overlay(Path::new("/"), &view)?;
    } else {
        mount::bind(&view, &view)?;
        for own in OWN {
            make_folder(&within(&view, Path::new(own)))?;
        }
    }
    for part in &layout.parts {
        root.put(part, &view)?;
    }
    Ok(view)
}

fn mount_points(folder: &Path) -> net::Result<Vec<PathBuf>> {
    let path = folder.join(MOUNT_POINTS);
    let failed = |e| net::Error::file("read", &path, e);
    let text = fs::read(&path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|e| failed(e.into()))
}

struct Root<'a> {
    layout: &'a Layout,
    /// In the sandbox's folder.
    folder: PathBuf,
}

impl Root<'_> {
    /// What must be there before the overlays are made: later, the kernel would have to take over folders
    /// whose owners it may not know.
    fn prepare(&self, etc: &[PathBuf], mount_points: &[PathBuf]) -> net::Result<()> {
        let folder = Path::new("/etc");
        if let Some(upper) = self.upper_of(folder) {
            let places = self.folder_in(&upper, folder)?;
            for file in etc {
                // Not the machine's, which may be a link to anywhere.
                make_file(&places.join(file))?;
            }
        }
        if self.layout.user {
            for point in mount_points {
                if let (Some(upper), Some(parent)) = (self.upper_of(point), point.parent()) {
                    self.folder_in(&upper, parent)?;
                }
            }
        }
        Ok(())
    }

    /// What is written at a path, by the part that it belongs to: the part's place, and where that goes.
    fn upper_of(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let part = self.layout.copy_of(path).or(self.layout.whole.then_some(Path::new("/")))?;
        Some((part.to_owned(), self.layers(part).join("upper")))
    }

    /// Makes a folder of the machine in the upper layer, so that it can be written to; gives its place.
    fn folder_in(&self, (part, upper): &(PathBuf, PathBuf), path: &Path) -> net::Result<PathBuf> {
        self.make_upper(part, upper)?;
        let (mut lower, mut place) = (part.clone(), upper.clone());
        for name in path.strip_prefix(part).unwrap_or(Path::new("")) {
            lower.push(name);
            place.push(name);
            let there = lower.symlink_metadata().ok();
            if place.is_dir() {
                continue;
            }
            if there.as_ref().is_some_and(|meta| !meta.is_dir()) {
                // A link, which leads to wherever that is.
                break;
            }
            self.make_upper(&lower, &place)?;
        }
        Ok(place)
    }

    fn put(&self, part: &Part, view: &Path) -> net::Result<()> {
        match part {
            Part::Copy(path) => {
                let target = within(view, path);
                make_folder(&target)?;
                self.overlay(path, &target)
            }
            Part::Shown(path) => {
                let target = within(view, path);
                if path.is_dir() {
                    make_folder(&target)?;
                } else if !target.exists() {
                    make_file(&target)?;
                }
                mount::bind_tree(path, &target)?;
                mount::read_only(&target, true)
            }
            Part::Folder(path) => make_folder(&within(view, path)),
            Part::Link(path, target) => {
                let path = within(view, path);
                symlink(target, &path).map_err(|e| net::Error::file("make link", path, e))
            }
            Part::Hidden(path) => {
                let target = within(view, path);
                if !target.is_dir() {
                    return Ok(());
                }
                mount::bind(&self.layout.staging.join("empty"), &target)?;
                mount::read_only(&target, false)
            }
        }
    }

    fn overlay(&self, path: &Path, target: &Path) -> net::Result<()> {
        let folder = self.layers(path);
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        self.make_upper(path, &upper)?;
        make_folder(&work)?;
        mount::overlay(path, &upper, &work, target, self.layout.user)
    }

    /// Where the layers of a part are.
    fn layers(&self, part: &Path) -> PathBuf {
        self.folder.join(part.to_string_lossy().replace('%', "%%").replace('/', "%"))
    }

    /// A folder with the mode and the owner of the machine's.
    fn make_upper(&self, lower: &Path, upper: &Path) -> net::Result<()> {
        if upper.is_dir() {
            return Ok(());
        }
        make_folder(upper)?;
        let Ok(meta) = fs::metadata(lower) else { return Ok(()) };
        if !self.layout.user {
            chown(upper, Some(meta.uid()), Some(meta.gid()))
                .map_err(|e| net::Error::file("set owner of", upper, e))?;
        }
        fs::set_permissions(upper, Permissions::from_mode(meta.mode() & 0o7777))
            .map_err(|e| net::Error::file("set mode of", upper, e))
    }
}

/// A path of the pod, seen from outside.
fn within(view: &Path, path: &Path) -> PathBuf {
    view.join(path.strip_prefix("/").unwrap_or(path))
}
