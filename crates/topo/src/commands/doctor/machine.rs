//! Figures of the machine, and the limits that labs meet first.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::check::{Check, Group, Outcome, as_root};
use super::forbidden::sysctl;

const MIB: u64 = 1 << 20;

/// The default lab: two etcds, six workers and their pods, with some room.
const MEMORY: u64 = 256 * MIB;
/// Logs, and etcd's data where it is kept.
const SPACE: u64 = 64 * MIB;
/// pid 1 holds a few of each node, and an agent of each pod.
const FILES: u64 = 1024;
/// Nodes and pods have one each.
const NAMESPACES: u64 = 64;

const GROUP: Group = Group::Machine;

/// The kernel's release, as `uname -r` says it.
pub(super) fn kernel() -> String {
    sysctl("kernel.osrelease").unwrap_or_else(|| "unknown".into())
}

pub(super) fn checks(root: bool) -> Vec<Check> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    vec![
        Check::ok(GROUP, "kernel", false, kernel()),
        Check::ok(GROUP, "cores", false, cores.to_string()),
        memory(),
        state_folder(),
        files(),
        namespaces(root),
    ]
}

fn memory() -> Check {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(free) = available(&text) else {
        return Check { detail: "unknown".into(), ..Check::not(Outcome::Limited, GROUP, "memory", false) };
    };
    let detail = format!("{} MiB free", free / MIB);
    enough(
        "memory",
        free >= MEMORY,
        detail,
        "the default lab may not fit",
        "end other programs, or use a smaller topology",
    )
}

/// `MemAvailable`, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Where labs keep their state: whether there is room, and whether it may be written to. It is not made
/// for that.
fn state_folder() -> Check {
    let base = lab::state::base();
    let there = nearest(&base);
    let mut check = Check::not(Outcome::Missing, GROUP, "state folder", true);
    check.fix = Some(format!("name another place: {}=/path", lab::state::STATE_VARIABLE));
    check.cost = Some("labs do not start: their sockets and logs are there".into());
    if let Err(e) = access(&there, AccessFlags::W_OK | AccessFlags::X_OK) {
        check.detail = format!("{}: write to {}: {}", base.display(), there.display(), e.desc());
        return check;
    }
    let Ok(space) = statvfs(&there).map(|fs| fs.blocks_available() * fs.fragment_size()) else {
        return Check { detail: base.display().to_string(), result: Outcome::Limited, ..check };
    };
    let detail = format!("{} MiB free in {}", space / MIB, base.display());
    if space < SPACE {
        let cost = Some("logs and kept data may not fit".into());
        return Check { detail, cost, result: Outcome::Limited, ..check };
    }
    Check::ok(GROUP, "state folder", true, detail)
}

/// The folder itself, or the one in which it would be made.
fn nearest(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|folder| folder.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

fn files() -> Check {
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Check {
            detail: "unknown".into(),
            ..Check::not(Outcome::Limited, GROUP, "open files", false)
        };
    };
    let detail = format!("{now} a process, at most {most}");
    enough(
        "open files",
        now >= FILES,
        detail,
        "labs with many nodes run out of descriptors",
        "ulimit -n 4096",
    )
}

fn namespaces(root: bool) -> Check {
    const SYSCTL: &str = "user.max_net_namespaces";
    let limit = sysctl(SYSCTL).and_then(|text| text.parse::<u64>().ok());
    let Some(limit) = limit else {
        return Check::ok(GROUP, "network namespaces", false, "no limit known");
    };
    let fix = as_root(root, &format!("sysctl -w {SYSCTL}=15000"));
    let detail = format!("{limit} a user");
    enough("network namespaces", limit >= NAMESPACES, detail, "nodes and pods need one each", &fix)
}

fn enough(name: &'static str, enough: bool, detail: String, cost: &str, fix: &str) -> Check {
    if enough {
        return Check::ok(GROUP, name, false, detail);
    }
    Check {
        detail,
        cost: Some(cost.into()),
        fix: Some(fix.into()),
        ..Check::not(Outcome::Limited, GROUP, name, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_what_the_kernel_calls_available() {
        let text = "MemTotal:  2048 kB\nMemFree:   1 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(available(text), Some(MIB));
        assert_eq!(available("MemTotal:  2048 kB\n"), None);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_for_above() {
        assert_eq!(nearest(Path::new("/proc/self/no/such")), Path::new("/proc/self"));
        assert_eq!(nearest(Path::new("/")), Path::new("/"));
    }
}
