//! How to get a part of the kernel that is missing.

use std::fs;
use std::path::Path;

use super::check::as_root;

/// What to do for want of `module`, on a kernel of this release.
pub(super) fn fix(module: &str, release: &str, root: bool) -> String {
    let folder = Path::new("/lib/modules").join(release);
    // A line a module: `kernel/net/sched/sch_netem.ko.zst: …` (depmod(8)).
    let list = fs::read_to_string(folder.join("modules.dep")).ok();
    advise(module, list.as_deref(), release, root)
}

fn advise(module: &str, list: Option<&str>, release: &str, root: bool) -> String {
    let command = as_root(root, &format!("modprobe {module}"));
    match list {
        Some(list) if has(list, module) => command,
        // The kernel may be another machine's, as in a container.
        None => format!("`{command}` on the machine itself, or a kernel that is built with {module}"),
        Some(_) => format!(
            "a kernel with {module}: package linux-modules-extra-{release} (Ubuntu), kernel-modules-extra \
             (Fedora), then `{command}`"
        ),
    }
}

fn has(list: &str, module: &str) -> bool {
    // Of the two signs that mean the same in a module's name, files have either.
    let plain = |text: &str| text.replace('-', "_");
    let wanted = plain(module);
    list.lines().any(|line| {
        let file = line.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(name, _)| plain(name) == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "kernel/net/sched/sch_tbf.ko.zst:\nkernel/net/netfilter/nft-fib-inet.ko: kernel/a.ko\n";

    #[test]
    fn modprobe_is_told_where_it_helps() {
        assert_eq!(advise("sch_tbf", Some(LIST), "6.1", false), "sudo modprobe sch_tbf");
        assert_eq!(advise("nft_fib_inet", Some(LIST), "6.1", true), "modprobe nft_fib_inet");
        assert!(advise("sch_netem", Some(LIST), "6.1", true).contains("linux-modules-extra-6.1"));
        assert!(advise("sch_netem", None, "6.1", true).contains("on the machine itself"));
    }
}
