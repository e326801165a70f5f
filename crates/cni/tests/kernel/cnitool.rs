//! What is attached here can be checked and detached by cnitool, and the other way round.
//!
//! cnitool is taken from `KNETSIM_CNITOOL` or from PATH; without it these tests say so and do nothing:
//! `go install github.com/containernetworking/cni/cnitool@latest`. Its cache is always `/var/lib/cni`, so
//! it runs in a mount namespace in which that is the test's folder.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use cni::tool::Settings;
use cni::{Attachment, NetworkList};
use serde_json::json;

use crate::lab::{Container, Lab, address, debian};

/// Hides the machine's `/var/lib`; `$1` is the folder for `/var/lib/cni`.
const APART: &str = r#"mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/cni && mount --bind "$1" /var/lib/cni &&
shift && exec "$@""#;

static TOLD: Once = Once::new();

/// The command, its configuration folder and a lab.
struct Tool {
    program: PathBuf,
    lab: Lab,
    variables: Vec<(&'static str, String)>,
}

fn found() -> Option<PathBuf> {
    if let Some(program) = env::var_os("KNETSIM_CNITOOL") {
        return Some(program.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("cnitool")).find(|file| file.is_file());
    if found.is_none() {
        // Past the test harness, which would keep it to itself.
        TOLD.call_once(|| {
            let _ =
                writeln!(io::stderr(), "cnitool not found, interop not tested: name it in KNETSIM_CNITOOL");
        });
    }
    found
}

impl Tool {
    fn new() -> Option<Self> {
        let program = found()?;
        let lab = Lab::new();
        for folder in ["net.d", "cache"] {
            fs::create_dir(lab.folder.path().join(folder)).unwrap();
        }
        let variables = vec![
            ("CNI_PATH", debian().display().to_string()),
            ("NETCONFPATH", lab.folder.path().join("net.d").display().to_string()),
        ];
        Some(Self { program, lab, variables })
    }

    /// The network, in a file for cnitool and as we read that file.
    fn network(&self, version: &str) -> NetworkList {
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": false});
        let folder = self.lab.folder.path().join("net.d");
        fs::write(folder.join("10-dbnet.conflist"), self.lab.bridge(version, &[portmap]).bytes()).unwrap();
        cni::config::load(&folder, "dbnet").unwrap()
    }

    fn try_run(&self, command: &str, netns: &Path) -> Output {
        let run = || {
            let mut run = Command::new("unshare");
            run.args(["--mount", "sh", "-c", APART, "sh"]).arg(self.lab.folder.path().join("cache"));
            run.arg(&self.program).args([command, "dbnet"]).arg(netns);
            run.envs(self.variables.iter().cloned()).output().map_err(|e| net::Error::sys("run cnitool", e))
        };
        self.lab.host.run(run).unwrap()
    }

    fn run(&self, command: &str, container: &Container) -> String {
        let output = self.try_run(command, &container.path);
        assert!(output.status.success(), "cnitool {command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The attachment as our own tool makes it from the same environment.
    fn attachment(&self, container: &Container) -> Attachment {
        let value = |wanted: &str| {
            let found = self.variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.into())
        };
        Settings::read(value).unwrap().attachment(container.path.to_str().unwrap()).unwrap()
    }
}

#[test]
fn what_we_attach_cnitool_checks_and_detaches() {
    let Some(tool) = Tool::new() else { return };
    for version in ["0.4.0", "1.0.0"] {
        let (network, container) = (tool.network(version), Container::new());
        tool.lab.on_host(tool.lab.cni.add(&network, &tool.attachment(&container))).unwrap();
        tool.run("check", &container);
        tool.run("del", &container);
        assert!(tool.lab.cni.attachments().unwrap().is_empty() && tool.lab.leases("dbnet").is_empty());
        assert!(!container.has_link("eth0"));
    }
}

#[test]
fn what_cnitool_attaches_we_check_and_detach() {
    let Some(mut tool) = Tool::new() else { return };
    tool.variables.extend([
        ("CNI_ARGS", "IgnoreUnknown=1;K=V".to_owned()),
        (
            "CAP_ARGS",
            r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}"#.to_owned(),
        ),
    ]);
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let (network, container) = (tool.network(version), Container::new());
        let printed = tool.run("add", &container);
        let attachment = tool.attachment(&container);
        let cached = tool.lab.cni.cached("dbnet", &attachment.container_id, "eth0").unwrap().unwrap();
        assert_eq!(cached.attachment, attachment, "{version}");
        assert_eq!(cached.network_list().unwrap(), network);
        let result = cached.result(network.version()).unwrap();
        if version == "1.0.0" {
            assert_eq!(result.pretty(), printed);
        } else {
            // Its older types have keys in an order of their own, and an empty `dns`.
            let mut printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
            printed.as_object_mut().unwrap().remove("dns");
            assert_eq!(Some(result.raw()), printed.as_object(), "{version}");
        }
        container.ping("10.88.0.1".parse().unwrap());
        assert_eq!(tool.lab.leases("dbnet"), [address(&result)].into());
        let bare = Attachment { args: Vec::new(), capability_args: serde_json::Map::new(), ..attachment };
        tool.lab.on_host(tool.lab.cni.del(&network, &bare)).unwrap();
        assert!(tool.lab.cni.attachments().unwrap().is_empty() && tool.lab.leases("dbnet").is_empty());
    }
}

#[test]
fn we_check_what_cnitool_attaches() {
    let Some(tool) = Tool::new() else { return };
    let (network, container) = (tool.network("1.0.0"), Container::new());
    tool.run("add", &container);
    tool.lab.on_host(tool.lab.cni.check(&network, &tool.attachment(&container))).unwrap();
    // Both refuse a second one.
    assert!(!tool.try_run("add", &container.path).status.success());
    assert!(tool.lab.on_host(tool.lab.cni.add(&network, &tool.attachment(&container))).is_err());
}

#[test]
fn cnitools_gc_takes_what_we_attached_and_ours_what_it_attached() {
    let Some(tool) = Tool::new() else { return };
    let (network, container) = (tool.network("1.0.0"), Container::new());
    tool.lab.on_host(tool.lab.cni.add(&network, &tool.attachment(&container))).unwrap();
    tool.run("gc", &container);
    assert!(tool.lab.cni.attachments().unwrap().is_empty() && tool.lab.leases("dbnet").is_empty());
    tool.run("add", &container);
    tool.lab.on_host(tool.lab.cni.gc(&network, &[])).unwrap();
    assert!(tool.lab.cni.attachments().unwrap().is_empty() && tool.lab.leases("dbnet").is_empty());
}

#[test]
fn files_of_both_are_the_same() {
    let Some(mut tool) = Tool::new() else { return };
    tool.variables.push(("CNI_ARGS", "IgnoreUnknown=1;K=V".to_owned()));
    let network = tool.network("1.0.0");
    let container = Container::new();
    let read = || {
        let name = format!("dbnet-{}-eth0", tool.attachment(&container).container_id);
        let file = fs::read(tool.lab.folder.path().join("cache/results").join(name)).unwrap();
        let mut value: serde_json::Value = serde_json::from_slice(&file).unwrap();
        // Chosen anew each time: hardware addresses, names of veths, the next address.
        value["result"]["interfaces"] = json!(null);
        value["result"]["ips"][0]["address"] = json!(null);
        value
    };
    tool.run("add", &container);
    let theirs = read();
    tool.run("del", &container);
    tool.lab.on_host(tool.lab.cni.add(&network, &tool.attachment(&container))).unwrap();
    assert_eq!(read(), theirs);
}
