//! Which of the machine's files a pod sees, and how. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mountinfo::Mount;

/// The pod has these for itself.
pub(crate) const OWN: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// Whether a pod has a path for itself.
pub(crate) fn is_own(path: &Path) -> bool {
    OWN.iter().any(|own| path.starts_with(own))
}

/// What stands for the kernel's objects, not for files.
const NO_FILES: [&str; 20] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// How a pod's root is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// It is an overlay of the machine's; else a folder with the parts in it.
    pub(crate) whole: bool,
    /// In a user namespace (`userxattr`).
    pub(crate) user: bool,
    /// What is put into it, in this order.
    pub(crate) parts: Vec<Part>,
    /// Where the pods' common `dev`, and an `empty` folder, are.
    pub(crate) staging: PathBuf,
    /// What could not be had, a line each.
    pub(crate) notes: Vec<String>,
}

/// A piece of a pod's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The machine's folder, with an overlay for what the pod writes.
    Copy(PathBuf),
    /// The machine's file or folder, with what is mounted below it, read-only.
    Shown(PathBuf),
    /// A folder.
    Folder(PathBuf),
    /// A symbolic link.
    Link(PathBuf, PathBuf),
    /// A folder in place of what is none of the pod's business.
    Hidden(PathBuf),
}

/// Where the machine has other file systems, that pods should see too; a folder before what is in it.
pub(crate) fn carried(mounts: &[Mount], hidden: &[PathBuf]) -> Vec<PathBuf> {
    let at = |point: &Path| mounts.iter().filter(|mount| mount.point == point).collect::<Vec<_>>();
    // The lab's own, for the names of nodes: a pod has its own names, over the machine's folder.
    let of_lab = |point: &Path| {
        point == Path::new("/etc") && matches!(at(point).as_slice(), [one] if one.kind == "overlay")
    };
    let wanted = mounts.iter().filter(|mount| {
        let point = &mount.point;
        let hidden = hidden.iter().any(|hidden| point.starts_with(hidden));
        let files = !NO_FILES.contains(&mount.kind.as_str());
        point != Path::new("/") && !is_own(point) && !hidden && files && !of_lab(point)
    });
    let wanted: BTreeSet<PathBuf> = wanted.map(|mount| mount.point.clone()).collect();
    wanted.into_iter().collect()
}

/// What the namespace that pods are made from need not carry along: neither needed by a pod nor on the way
/// to one of `needed`, nor in it. The latest first.
pub(crate) fn dispensable<'a>(mounts: &'a [Mount], carried: &[PathBuf], needed: &[&Path]) -> Vec<&'a Path> {
    // What is mounted there tells the kernel that these may be mounted anew in a user namespace.
    let kept = ["/proc", "/sys", "/etc"].map(Path::new);
    let needless = mounts.iter().rev().map(|mount| mount.point.as_path()).filter(|point| {
        !kept.contains(point)
            && !carried.iter().any(|path| path.starts_with(point))
            && !needed.iter().any(|path| path.starts_with(point) || point.starts_with(path))
    });
    needless.collect()
}

impl Layout {
    /// The part that a path of a pod belongs to, if it is one that the pod can write to; none also if it
    /// belongs to the root itself.
    pub(crate) fn copy_of(&self, path: &Path) -> Option<&Path> {
        let points = self.parts.iter().filter_map(|part| match part {
            Part::Copy(point) => Some(point.as_path()),
            _ => None,
        });
        points.filter(|point| path.starts_with(point)).max_by_key(|point| point.as_os_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(list: &[(&str, &str)]) -> Vec<Mount> {
        list.iter().map(|(point, kind)| Mount { point: point.into(), kind: (*kind).into() }).collect()
    }

    const MACHINE: [(&str, &str); 11] = [
        ("/", "ext4"),
        ("/proc", "proc"),
        ("/dev", "devtmpfs"),
        ("/dev/shm", "tmpfs"),
        ("/sys/fs/cgroup", "cgroup2"),
        ("/home", "btrfs"),
        ("/boot/efi", "vfat"),
        ("/srv/labs/mine", "tmpfs"),
        ("/run", "tmpfs"),
        ("/run/netns", "tmpfs"),
        ("/etc", "overlay"),
    ];

    #[test]
    fn other_file_systems_are_carried_along() {
        let hidden = [PathBuf::from("/srv/labs")];
        assert_eq!(carried(&mounts(&MACHINE), &hidden), ["/boot/efi", "/home"].map(PathBuf::from));
        let mut own = MACHINE.to_vec();
        own.insert(1, ("/etc", "overlay"));
        let all = carried(&mounts(&own), &[]);
        assert!(all.contains(&"/etc".into()), "the machine's own, and the lab's over it: {all:?}");
    }

    #[test]
    fn what_no_pod_needs_is_left_behind() {
        let mut machine = MACHINE.to_vec();
        machine.push(("/run/netns/dev/null", "devtmpfs"));
        let mounts = mounts(&machine);
        let needed = [Path::new("/run/lab/pods"), Path::new("/run/netns")];
        let left: Vec<&str> =
            dispensable(&mounts, &["/home".into()], &needed).into_iter().filter_map(Path::to_str).collect();
        assert_eq!(left, ["/srv/labs/mine", "/boot/efi", "/sys/fs/cgroup", "/dev/shm", "/dev"]);
    }

    #[test]
    fn a_path_belongs_to_the_nearest_part() {
        let copy = |path: &str| Part::Copy(path.into());
        let layout = Layout {
            whole: false,
            user: true,
            parts: vec![copy("/usr"), copy("/usr/local"), Part::Shown("/mnt".into())],
            staging: "/run/netns".into(),
            notes: Vec::new(),
        };
        assert_eq!(layout.copy_of(Path::new("/usr/local/x")), Some(Path::new("/usr/local")));
        assert_eq!(layout.copy_of(Path::new("/usr/locals")), Some(Path::new("/usr")));
        assert_eq!(layout.copy_of(Path::new("/mnt/x")), None);
    }
}
