//! Programs: where they are, which version, and what one cannot do without them.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use lab::programs;
use nix::unistd::Uid;

use super::check::{Check, Group, Outcome, as_root};
use super::program;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(3);

/// Where distributions and Kubernetes put CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// Names another router.
const ROUTER_VARIABLE: &str = "KNETSIM_SKROUTERD";

#[derive(Debug)]
struct Tool {
    name: &'static str,
    /// What makes it say its version.
    asked: Asked,
    get: Get,
    cost: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    /// A program on the PATH, by these arguments.
    By(&'static [&'static str]),
    /// One that has no way to say it.
    Never,
    /// A CNI plugin, which says it when it is told nothing; by its own name.
    Plugin(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Get {
    /// Debian's name of the package.
    Package(&'static str),
    /// Not in Debian.
    From(&'static str),
}

const VERSION: Asked = By(&["--version"]);
const SHORT: Asked = By(&["-V"]);

const fn tool(name: &'static str, asked: Asked, get: Get, cost: &'static str) -> Tool {
    Tool { name, asked, get, cost }
}

use Asked::{By, Never, Plugin};
use Get::{From, Package};

const CNI: Get = Package("containernetworking-plugins");

/// The one without which no lab starts (`lab::programs::check`).
const ETCD: &str = "etcd";

const TOOLS: [Tool; 19] = [
    tool(ETCD, VERSION, Package("etcd-server"), "labs do not start: every cluster keeps its objects in it"),
    tool("ip", SHORT, Package("iproute2"), "nodes cannot be looked at with `ip`; labs run without"),
    tool("bridge", SHORT, Package("iproute2"), "what switches have learnt cannot be shown"),
    tool(
        "tc",
        SHORT,
        Package("iproute2"),
        "queueing disciplines cannot be shown; `topo link set` works without",
    ),
    tool(
        "nft",
        VERSION,
        Package("nftables"),
        "rules cannot be shown, and most of nftables not be tried here",
    ),
    tool("ping", SHORT, Package("iputils-ping"), "no `ping` in nodes and pods; `topo pingall` works without"),
    tool(
        "ifconfig",
        VERSION,
        Package("net-tools"),
        "the course types `ifconfig`; `ip address` shows the same",
    ),
    tool("tcpdump", VERSION, Package("tcpdump"), "packets cannot be watched with it"),
    tool("curl", VERSION, Package("curl"), "services and ingresses cannot be asked by hand"),
    tool("newuidmap", Never, Package("uidmap"), "labs of users other than root have a single user id"),
    tool("nginx", By(&["-v"]), Package("nginx-light"), "no ingresses"),
    tool("etcdctl", By(&["version"]), Package("etcd-client"), "a cluster's keys cannot be read with it"),
    tool(
        "skrouterd",
        VERSION,
        From("quay.io/skupper/skupper-router, or KNETSIM_SKROUTERD=/path/to/it"),
        "the built-in multi-cluster router is used",
    ),
    tool(
        "flanneld",
        VERSION,
        From("https://github.com/flannel-io/flannel/releases"),
        "the built-in flannel is used",
    ),
    tool("cni bridge", Plugin("bridge"), CNI, "pods cannot be plugged in by CNI"),
    tool("cni host-local", Plugin("host-local"), CNI, "pods cannot get addresses by CNI"),
    tool("cni loopback", Plugin("loopback"), CNI, "pods' loopback cannot be set up by CNI"),
    tool("cni portmap", Plugin("portmap"), CNI, "no host ports of pods"),
    tool(
        "cni flannel",
        Plugin("flannel"),
        From("https://github.com/flannel-io/cni-plugin/releases"),
        "the built-in plugin is used",
    ),
];

/// Looks for all of them, and runs all at once.
pub(super) fn checks() -> Vec<Check> {
    let root = Uid::effective().is_root();
    thread::scope(|scope| {
        let asked: Vec<_> = TOOLS.iter().map(|tool| scope.spawn(move || tool.check(root))).collect();
        let answers = asked.into_iter().map(thread::ScopedJoinHandle::join);
        answers.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

impl Tool {
    fn check(&self, root: bool) -> Check {
        let (result, detail) = match self.find() {
            Some(path) => self.ask(&path),
            None => (Outcome::Missing, "not found".into()),
        };
        let mut check = Check { detail, ..Check::not(result, Group::Tools, self.name, self.name == ETCD) };
        if result != Outcome::Ok {
            check.cost = Some(self.cost.into());
            check.fix = Some(match self.get {
                Package(package) => as_root(root, &format!("apt-get install {package}")),
                From(place) => format!("from {place}"),
            });
        }
        check
    }

    fn find(&self) -> Option<PathBuf> {
        match self.asked {
            Plugin(name) => {
                CNI_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
            }
            By(_) | Never => {
                let named = (self.name == "skrouterd").then(|| env::var_os(ROUTER_VARIABLE)).flatten();
                named.filter(|path| !path.is_empty()).map(PathBuf::from).or_else(|| programs::find(self.name))
            }
        }
    }

    fn ask(&self, path: &Path) -> (Outcome, String) {
        let shown = path.display();
        let mut command = Command::new(path);
        match self.asked {
            Never => return (Outcome::Ok, shown.to_string()),
            By(args) => command.args(args),
            // Without a command the plugin tells of itself (CNI spec, `skel` of its library).
            Plugin(_) => command.env_remove("CNI_COMMAND"),
        };
        match program::run(&mut command, b"", LIMIT) {
            Ok(ran) if ran.is_broken() => {
                (Outcome::Missing, format!("{shown} does not run: {}", ran.first_line()))
            }
            Ok(ran) => (Outcome::Ok, format!("{} ({shown})", version(&ran.text))),
            Err(e) if e.kind() == ErrorKind::TimedOut => {
                (Outcome::Limited, format!("{shown} does not say its version: {e}"))
            }
            Err(e) => (Outcome::Missing, format!("{shown} does not run: {e}")),
        }
    }
}

/// The first word that looks like a version; of a CNI plugin that was built without one, the newest
/// version of the protocol.
fn version(text: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    if let Some(found) = first.split_whitespace().find_map(figures) {
        return found.to_owned();
    }
    match lines.next().and_then(|line| line.strip_prefix("CNI protocol versions supported:")) {
        Some(protocols) => {
            let newest = protocols.rsplit(',').next().unwrap_or_default().trim();
            format!("CNI {newest}")
        }
        None => "version unknown".into(),
    }
}

/// `1.0.6` of `v1.0.6`, `nginx/1.0.6` or `iproute2-1.0.6,`.
fn figures(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let bare =
        |text| Some(text).map(|text: &str| text.strip_prefix('v').unwrap_or(text)).filter(|text| digit(text));
    bare(word).or_else(|| word.split_once(['/', '-']).and_then(|(_, rest)| bare(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let cases = [
            ("etcd Version: 3.4.23\nGit SHA: 1\n", "3.4.23"),
            ("ip utility, iproute2-6.1.0, libbpf 1.1.2\n", "6.1.0"),
            ("nftables v1.0.6 (Lester Gooch #5)\n", "1.0.6"),
            ("\nnginx version: nginx/1.22.1\n", "1.22.1"),
            ("ping from iputils 20221126\n", "20221126"),
            ("net-tools 2.10\n", "2.10"),
            ("CNI bridge plugin v1.5.1\nCNI protocol versions supported: 0.1.0, 1.0.0\n", "1.5.1"),
            (
                "CNI bridge plugin version unknown\nCNI protocol versions supported: 0.1.0, 1.0.0\n",
                "CNI 1.0.0",
            ),
            ("usage: ifconfig\n", "version unknown"),
            ("", "version unknown"),
        ];
        for (text, wanted) in cases {
            assert_eq!(version(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_program_that_does_not_run_is_missing_and_one_that_says_nothing_is_not() {
        let tool = tool("echo", By(&["nothing"]), Package("coreutils"), "no echo");
        assert_eq!(tool.ask(Path::new("/etc/passwd")).0, Outcome::Missing);
        assert_eq!(tool.ask(Path::new("/bin/echo")), (Outcome::Ok, "version unknown (/bin/echo)".into()));
    }
}
