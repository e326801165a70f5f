//! A lab touches nothing of the host but its state folder.
//!
//! The "host" is a network and a mount namespace of the test's own, with a link, an address, routes, a rule
//! and a table in it, and overlays over the folders that could be written to: whatever a lab left there would
//! show, and tests that run at the same time do not.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use testkit::topo::{Bench, Outcome, User};

/// Folders that programs write to.
const FOLDERS: [&str; 7] = ["/etc", "/run", "/var", "/home", "/root", "/opt", "/usr"];

struct Host {
    bench: Bench,
    keeper: Child,
}

impl Host {
    fn new() -> Self {
        let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
        let upper = bench.folder().join("upper");
        std::fs::create_dir(&upper).unwrap();
        let mut script = format!("set -e\nmount -t tmpfs tmpfs {}\n", upper.display());
        for folder in FOLDERS {
            let upper = format!("{}{folder}", upper.display());
            script += &format!(
                "mkdir -p {upper} {upper}.work\nmount -t overlay overlay -o lowerdir={folder},upperdir={upper},workdir={upper}.work {folder}\n"
            );
        }
        // Addresses that are final at once: a test must not see the kernel look for duplicates.
        script += "[ ! -d /proc/sys/net/ipv6 ] || echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
ip link add host0 type veth peer name host1
ip addr add 192.0.2.1/24 dev host0
ip link set host0 up
ip link set host1 up
ip route add 198.51.100.0/24 via 192.0.2.7 table 77
ip rule add from 192.0.2.9 table 77
nft add table inet mine
nft add chain inet mine c '{ type filter hook input priority 0; }'
nft add rule inet mine c tcp dport 22 counter accept
echo made
exec cat
";
        let mut keeper = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut made = String::new();
        let stdout = keeper.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut made).unwrap();
        assert_eq!(made, "made\n");
        Self { bench, keeper }
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.keeper.id().to_string(), "--"]);
        command
    }

    fn topo(&self, args: &[&str]) -> Outcome {
        let mut command = self.enter();
        command.arg(self.bench.folder().join("topo")).args(args);
        command.env("KNETSIM_STATE_DIR", self.bench.state()).env_remove("KNETSIM_LAB").stdin(Stdio::null());
        Outcome::of(command.output().unwrap(), format!("{args:?}"))
    }

    /// Everything that a lab could have touched, by what shows it.
    fn look(&self) -> BTreeMap<&'static str, String> {
        let upper = self.bench.folder().join("upper").display().to_string();
        let files = format!("cd {upper} && find . -mindepth 2 ! -path './*.work*' | sort");
        let looks = [
            ("links", "ip -d link"),
            ("addresses", "ip addr"),
            ("routes", "ip route show table all; ip -6 route show table all"),
            ("rules", "ip rule; ip -6 rule"),
            ("neighbours", "ip neigh show nud permanent"),
            ("nftables", "nft list ruleset"),
            ("namespaces", "ip netns list"),
            (
                "sysctl",
                "sysctl -a 2>/dev/null | grep ^net | grep -v -e netdev_rss_key -e nf_conntrack_count -e ip_local_reserved",
            ),
            ("mounts", "cat /proc/self/mountinfo"),
            ("files", &files),
            ("unix sockets", "ls /tmp/.X* 2>/dev/null; true"),
        ];
        looks
            .map(|(what, script)| {
                let output = self.enter().args(["sh", "-c", script]).output().unwrap();
                assert!(output.status.success(), "{what}: {output:?}");
                (what, String::from_utf8_lossy(&output.stdout).into_owned())
            })
            .into_iter()
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.topo(&["down", "--all"]);
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn assert_same(when: &str, before: &BTreeMap<&str, String>, now: &BTreeMap<&str, String>) {
    for (what, then) in before {
        assert!(*then == now[what], "{what} differ {when}:\n--- before\n{then}\n--- {when}\n{}", now[what]);
    }
}

#[test]
fn the_host_is_the_same_before_during_and_after_a_lab() {
    let host = Host::new();
    let before = host.look();
    assert!(before["links"].contains("host0"), "{before:?}");
    assert!(before["nftables"].contains("dport 22"), "{before:?}");
    host.topo(&["up", "-q"]).ok();
    assert_same("during", &before, &host.look());
    host.topo(&["link", "set", "C0w1", "C0s0", "--rate", "10mbit", "--loss", "1%", "--delay", "5ms"]).ok();
    host.topo(&[
        "exec",
        "C0w1",
        "--",
        "sh",
        "-c",
        "echo 1 >/proc/sys/net/ipv4/conf/all/log_martians; echo x >>/etc/hosts",
    ])
    .ok();
    host.topo(&["exec", "C0w1", "--", "nft", "add", "table", "ip", "theirs"]).ok();
    host.topo(&["pingall"]);
    assert_same("in use", &before, &host.look());
    host.topo(&["down"]).ok();
    assert_same("after", &before, &host.look());
    // And when it ends badly.
    host.topo(&["up", "-q"]).ok();
    let status: serde_json::Value = serde_json::from_str(&host.topo(&["status", "-o", "json"]).ok()).unwrap();
    Command::new("kill").args(["-KILL", &status["pid"].to_string()]).status().unwrap();
    host.topo(&["down"]).ok();
    assert_same("after a kill", &before, &host.look());
}

#[test]
fn the_comparison_sees_what_it_should_see() {
    let host = Host::new();
    let before = host.look();
    let touch = "ip link set host1 down; nft add table ip left; echo x >/etc/left; sysctl -qw net.ipv4.ip_forward=1; mount --bind /usr /mnt; ip rule add from 192.0.2.8 table 78";
    assert!(host.enter().args(["sh", "-c", touch]).status().unwrap().success());
    let after = host.look();
    for what in ["links", "nftables", "files", "sysctl", "mounts", "rules"] {
        assert_ne!(before[what], after[what], "{what}");
    }
}
