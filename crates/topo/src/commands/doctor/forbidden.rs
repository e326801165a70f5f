//! Why namespaces are refused, and who can change that.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::check::{Check, Group, Outcome, as_root};

/// Limits of namespaces, per kind (`namespaces(7)`); a lab makes one of each, and many of `net`.
const LIMITS: [&str; 6] = ["net", "mnt", "pid", "uts", "ipc", "user"];

/// A limit that a machine with memory for labs has no reason to be below.
const PLENTY: u32 = 15_000;

/// A machine's settings.
struct Settings<'a> {
    root: bool,
    /// A sysctl by its name, as `user.max_net_namespaces`.
    read: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the kernel has user namespaces at all.
    user_namespaces: bool,
}

/// A reason that is known, and what changes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) detail: String,
    pub(super) fix: String,
}

/// The check that failed because there is no namespace to try anything in.
pub(super) fn check(error: &str, errno: Option<i32>, root: bool) -> Check {
    let reason = explain(errno, root);
    Check {
        detail: format!("{error}: {}", reason.detail),
        cost: Some("a lab is made of namespaces".into()),
        fix: Some(reason.fix),
        ..Check::not(Outcome::Missing, Group::Namespaces, "namespaces", true)
    }
}

/// Whether it is the kind of error that settings lead to.
pub(super) fn is_refusal(errno: Option<i32>) -> bool {
    matches!(errno.map(Errno::from_raw), Some(Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS))
}

/// Looks through this machine's settings for the reason of an error.
pub(super) fn explain(errno: Option<i32>, root: bool) -> Reason {
    let user_namespaces = Path::new("/proc/self/ns/user").exists();
    reason(errno.map(Errno::from_raw), &Settings { root, read: &sysctl, user_namespaces })
}

/// A sysctl, if there is one of that name.
pub(super) fn sysctl(name: &str) -> Option<String> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn reason(errno: Option<Errno>, settings: &Settings<'_>) -> Reason {
    let Settings { root, read, user_namespaces } = *settings;
    let mut found: Vec<(String, String)> = Vec::new();
    let is = |name: &str, value: &str| read(name).as_deref() == Some(value);
    for kind in LIMITS {
        let name = format!("user.max_{kind}_namespaces");
        // Root makes no user namespace.
        if is(&name, "0") && (kind != "user" || !root) {
            found.push((format!("{name} is 0"), set(root, &name, &PLENTY.to_string())));
        }
    }
    if !root && is("kernel.unprivileged_userns_clone", "0") {
        let name = "kernel.unprivileged_userns_clone";
        found.push((format!("{name} is 0"), set(root, name, "1")));
    }
    if !root && is("kernel.apparmor_restrict_unprivileged_userns", "1") {
        let name = "kernel.apparmor_restrict_unprivileged_userns";
        let profile = "or give topo an AppArmor profile, see deploy/README.md";
        found.push((format!("{name} is 1"), format!("{}; {profile}", set(root, name, "0"))));
    }
    if !found.is_empty() {
        let (details, fixes): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        return Reason { detail: details.join(", "), fix: fixes.join("; ") };
    }
    if matches!(errno, Some(Errno::ENOSPC | Errno::EUSERS)) {
        return used_up(root, read);
    }
    let (detail, fix) = match (root, user_namespaces) {
        (true, _) => (
            "root without the right to make namespaces, as in a plain container",
            "start the container with --privileged, see deploy/README.md",
        ),
        (false, false) => ("this kernel has no user namespaces (CONFIG_USER_NS)", "run it as root"),
        (false, true) => (
            "refused to this user, by none of the settings known here",
            "run it as root; if this is a container, start it with --privileged",
        ),
    };
    Reason { detail: detail.into(), fix: fix.into() }
}

/// No limit is nought, and still one is reached.
fn used_up(root: bool, read: &dyn Fn(&str) -> Option<String>) -> Reason {
    let limits = LIMITS.map(|kind| format!("user.max_{kind}_namespaces"));
    let known = limits.into_iter().filter_map(|name| Some((read(&name)?.parse::<u64>().ok()?, name)));
    match known.min() {
        Some((value, name)) => Reason {
            detail: format!("a limit of namespaces is reached; the smallest is {name} = {value}"),
            fix: set(root, &name, &PLENTY.to_string()),
        },
        None => Reason {
            detail: "a limit of namespaces is reached".into(),
            fix: "end other labs or containers".into(),
        },
    }
}

fn set(root: bool, name: &str, value: &str) -> String {
    as_root(root, &format!("sysctl -w {name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(root: bool, errno: Errno, values: &[(&str, &str)]) -> (String, String) {
        let read = |name: &str| Some(values.iter().find(|(n, _)| *n == name)?.1.to_owned());
        let reason = reason(Some(errno), &Settings { root, read: &read, user_namespaces: true });
        (reason.detail, reason.fix)
    }

    #[test]
    fn each_setting_is_named_with_the_command_that_changes_it() {
        let cases = [
            ("user.max_net_namespaces", "0", "15000"),
            ("user.max_user_namespaces", "0", "15000"),
            ("kernel.unprivileged_userns_clone", "0", "1"),
        ];
        for (name, value, better) in cases {
            let (detail, fix) = why(false, Errno::EPERM, &[(name, value)]);
            assert_eq!(detail, format!("{name} is {value}"));
            assert_eq!(fix, format!("sudo sysctl -w {name}={better}"));
        }
        let (_, fix) = why(false, Errno::EACCES, &[("kernel.apparmor_restrict_unprivileged_userns", "1")]);
        assert!(fix.starts_with("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; "), "{fix}");
    }

    #[test]
    fn what_does_not_concern_root_is_not_named_to_root() {
        let values = [("user.max_user_namespaces", "0"), ("kernel.unprivileged_userns_clone", "0")];
        assert!(why(true, Errno::EPERM, &values).1.contains("--privileged"));
        let values = [("user.max_pid_namespaces", "0")];
        assert_eq!(why(true, Errno::ENOSPC, &values).1, "sysctl -w user.max_pid_namespaces=15000");
    }

    #[test]
    fn a_limit_that_is_reached_is_the_smallest() {
        let values = [("user.max_net_namespaces", "3"), ("user.max_pid_namespaces", "500")];
        let (detail, fix) = why(true, Errno::ENOSPC, &values);
        assert!(detail.ends_with("user.max_net_namespaces = 3"), "{detail}");
        assert_eq!(fix, "sysctl -w user.max_net_namespaces=15000");
        assert!(why(false, Errno::EPERM, &[]).1.starts_with("run it as root"));
    }
}
