//! The plugin as a process: with Debian's `bridge` behind it, and beside the real one where there is one.
//!
//! A test without the usual harness, so that this very program can be the plugin: under the name
//! `flannel` it is.
// clippy.toml allows it in tests, but does not see that this is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use flannel::real::FlannelPlugin;
use net::{Error, NetNs};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::netns;

/// Where distributions put plugins, and where a real `flannel` may be.
const FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// A folder with the real `flannel`.
const VARIABLE: &str = "KNETSIM_CNI_PATH";

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if name.file_name().is_some_and(|name| name == "flannel") {
        return flannel::plugin::main();
    }
    // What cargo's own harness would be told: to list, or to run only some.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listed = arguments.iter().any(|argument| argument == "--list");
    let takes_value =
        |argument: &str| ["--test-threads", "--skip", "--format", "--color"].contains(&argument);
    let values = std::iter::once(false).chain(arguments.iter().map(|argument| takes_value(argument)));
    let filters: Vec<&String> = values
        .zip(&arguments)
        .filter(|(is_value, argument)| !is_value && !argument.starts_with('-'))
        .map(|(_, argument)| argument)
        .collect();
    let wanted =
        |test: &str| filters.is_empty() || filters.iter().any(|filter| test.contains(filter.as_str()));
    let tests: [(&str, fn()); 3] = [
        ("a_pod_gets_an_interface_and_loses_it", a_pod_gets_an_interface_and_loses_it),
        ("both_plugins_hand_on_the_same", both_plugins_hand_on_the_same),
        ("both_plugins_answer_alike", both_plugins_answer_alike),
    ];
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        if listed {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// A worker with a lease, for one plugin.
struct Host {
    ns: NetNs,
    folder: TempDir,
    plugin: PathBuf,
}

/// The folders of plugins that exist.
fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os(VARIABLE);
    let named = named.iter().flat_map(std::env::split_paths);
    named.chain(FOLDERS.map(PathBuf::from)).filter(|folder| folder.is_dir()).collect()
}

fn real() -> Option<PathBuf> {
    let found = FlannelPlugin::find(&folders());
    if found.is_none() {
        eprintln!(
            "NOT TESTED against the real plugin: no flannel in {FOLDERS:?}, and {VARIABLE} names no folder with it"
        );
    }
    found.map(|plugin| plugin.path)
}

impl Host {
    /// With our plugin, or the one given.
    fn new(plugin: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let ours = bin.join("flannel");
        symlink(std::env::current_exe().unwrap(), &ours).unwrap();
        fs::write(
            folder.path().join("subnet.env"),
            "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.10.16.1/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        )
        .unwrap();
        // A plugin that writes down what it is told. Written by another process: a file that this one
        // has open for writing while it starts a child cannot be executed.
        let recorder =
            "#!/bin/sh\ncat > \"$RECORD\"\necho '{\"cniVersion\":\"1.0.0\",\"ips\":[],\"dns\":{}}'\n";
        let write = "printf %s \"$1\" > \"$2\"; chmod 755 \"$2\"";
        let status =
            Command::new("sh").args(["-c", write, "sh", recorder]).arg(bin.join("recorder")).status();
        assert!(status.unwrap().success());
        Self { ns: netns(), folder, plugin: plugin.map_or(ours, Path::to_owned) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn conf(&self, version: &str, more: &str) -> String {
        let folder = self.folder.path().display();
        let own = more.to_lowercase().contains("\"ipam\"");
        let ipam = format!(r#", "ipam": {{"type":"host-local","dataDir":"{folder}/ipam"}}"#);
        let ipam = if own { "" } else { &ipam };
        format!(
            r#"{{"cniVersion":"{version}","name":"cbr0","type":"flannel","subnetFile":"{folder}/subnet.env",
                "dataDir":"{folder}/data"{ipam}{more}}}"#
        )
    }

    fn call(&self, command: &str, input: &str, variables: &[(&str, &str)]) -> Output {
        let mut path: Vec<PathBuf> = vec![self.path("bin")];
        path.extend(folders());
        let mut all: BTreeMap<&str, String> = BTreeMap::from([
            ("CNI_COMMAND", command.into()),
            ("CNI_CONTAINERID", "c1".into()),
            ("CNI_NETNS", "/nowhere/netns".into()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_PATH", std::env::join_paths(path).unwrap().into_string().unwrap()),
            ("RECORD", self.path("record").display().to_string()),
            ("PATH", std::env::var("PATH").unwrap()),
        ]);
        all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut plugin = Command::new(&self.plugin);
        plugin.env_clear().envs(all).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.ns.run(|| Ok::<_, Error>(plugin.spawn())).unwrap().unwrap();
        // Who refuses to read it is not asked again.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// An answer, with what differs between hosts replaced: exit code, and the JSON of the output.
    fn answer(&self, output: &Output) -> (Option<i32>, Value) {
        let text = String::from_utf8_lossy(&output.stdout)
            .replace(&self.folder.path().display().to_string(), "<folder>");
        let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        (output.status.code(), json)
    }
}

fn interfaces(ns: &NetNs) -> Vec<Value> {
    let output = ns.run(|| Ok::<_, Error>(Command::new("ip").args(["-j", "-4", "address"]).output()));
    serde_json::from_slice(&output.unwrap().unwrap().stdout).unwrap()
}

fn a_pod_gets_an_interface_and_loses_it() {
    let plugins = std::iter::once(None).chain(real().map(Some));
    let mut seen = Vec::new();
    for plugin in plugins {
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let host = Host::new(plugin.as_deref());
            let pod = netns();
            let netns = host.path("netns");
            pod.bind(&netns).unwrap();
            let variables = [("CNI_NETNS", netns.to_str().unwrap())];
            let conf = host.conf(version, r#", "delegate": {"isDefaultGateway": true}"#);
            let added = host.call("ADD", &conf, &variables);
            assert!(added.status.success(), "{added:?}");
            let eth0 = interfaces(&pod).into_iter().find(|link| link["ifname"] == "eth0").expect("eth0");
            assert_eq!((&eth0["mtu"], &eth0["addr_info"][0]["local"]), (&json!(1450), &json!("11.10.16.2")));
            assert_eq!(fs::metadata(host.path("data/c1")).unwrap().permissions().mode() & 0o7777, 0o600);
            let saved = fs::read_to_string(host.path("data/c1")).unwrap();
            let mut result = host.answer(&added).1;
            // Ethernet addresses and names of veths are random.
            for interface in result["interfaces"].as_array_mut().unwrap() {
                interface["mac"] = json!("<mac>");
                if interface["name"].as_str().unwrap().starts_with("veth") {
                    interface["name"] = json!("<veth>");
                }
            }
            assert!(host.call("CHECK", &conf, &variables).status.success() == (version != "0.3.1"));
            for _ in 0..2 {
                let deleted = host.call("DEL", &conf, &variables);
                assert!(deleted.status.success() && deleted.stdout.is_empty(), "{deleted:?}");
                assert!(!host.path("data/c1").exists());
            }
            assert!(!interfaces(&pod).iter().any(|link| link["ifname"] == "eth0"));
            nix::mount::umount(&netns).unwrap();
            seen.push((
                version,
                result,
                saved.replace(&host.folder.path().display().to_string(), "<folder>"),
            ));
        }
    }
    if let [ours @ .., _, _, _] = &seen[..]
        && seen.len() == 6
    {
        assert_eq!(ours, &seen[3..], "ours, and the real one's");
    }
}

fn both_plugins_hand_on_the_same() {
    let Some(real) = real() else { return };
    let delegates = [
        r#""type": "recorder""#,
        r#""type": "recorder", "ipMasq": true, "mtu": 9000, "isGateway": false, "b": {"z": 1, "a": [1, null]}"#,
        r#""type": "recorder", "text": "<&> é \u2028 \" \\ \u0001", "number": 1450, "null": null"#,
    ];
    let others = [
        "",
        r#", "runtimeConfig": {"portMappings": [{"hostPort": 80}]}"#,
        r#", "IPAM": {"routes": [{"dst": "192.0.2.0/24"}, {"dst": "192.0.2.1/24", "gw": "10.0.0.1"}], "x": true}"#,
        r#", "ipam": null, "cniVersion": "", "capabilities": {"portMappings": true}, "prevResult": {}"#,
    ];
    for delegate in delegates {
        for other in others {
            let [ours, theirs] = [None, Some(real.as_path())].map(|plugin| {
                let host = Host::new(plugin);
                let conf = host.conf("1.0.0", &format!(r#", "delegate": {{{delegate}}}{other}"#));
                let output = host.call("ADD", &conf, &[]);
                assert!(output.status.success(), "{conf}: {output:?}");
                let local = |name: &str| {
                    let text = fs::read_to_string(host.path(name)).unwrap();
                    text.replace(&host.folder.path().display().to_string(), "<folder>")
                };
                (local("record"), local("data/c1"), host.answer(&output))
            });
            assert_eq!(ours, theirs, "{delegate} {other}");
        }
    }
}

/// A command, its input, and what its environment has otherwise than usual.
type Case = (&'static str, String, Vec<(&'static str, &'static str)>);

fn both_plugins_answer_alike() {
    let Some(real) = real() else { return };
    let conf = |version: &str| format!(r#"{{"cniVersion": "{version}", "name": "n"}}"#);
    let mut cases: Vec<Case> = vec![
        ("VERSION", String::new(), vec![("CNI_PATH", "")]),
        ("FLY", conf("1.0.0"), vec![]),
        ("ADD", conf("1.0.0"), vec![("CNI_NETNS", ""), ("CNI_IFNAME", "")]),
        ("ADD", conf("1.0.0"), vec![("CNI_CONTAINERID", "../c1")]),
        ("ADD", conf("1.0.0"), vec![("CNI_IFNAME", "a/b")]),
        ("ADD", conf("1.0.0"), vec![("CNI_IFNAME", "sixteen-letters-")]),
        ("ADD", conf("1.0.0"), vec![("CNI_NETNS", "/proc/self/ns/net")]),
        ("ADD", r#"{"cniVersion": "1.0.0", "name": "n", "delegate": {"name": "x"}}"#.into(), vec![]),
        ("DEL", conf("1.0.0"), vec![("CNI_NETNS", "")]),
        ("DEL", conf("1.0.0"), vec![("CNI_NETNS", "/proc/self/ns/net")]),
    ];
    for input in ["", "{", "{}", "null", r#"{"name": "a b"}"#, r#"{"name": 1}"#] {
        cases.push(("ADD", input.into(), vec![]));
    }
    for command in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
        for version in ["", "0.3.1", "0.4.0", "0.5.0", "1.0.0", "1.1.0", "1.2.0", "2.0.0", "one", "1.0.0.0"] {
            cases.push((command, conf(version), vec![]));
        }
    }
    for (command, input, variables) in cases {
        let [ours, theirs] = [None, Some(real.as_path())].map(|plugin| {
            let host = Host::new(plugin);
            let output = host.call(command, &input, &variables);
            let (exit, mut answer) = host.answer(&output);
            if let Some(error) = answer.as_object_mut().filter(|answer| answer.contains_key("code")) {
                // Words are everybody's own.
                error.retain(|name, _| name == "code");
            }
            (exit, answer)
        });
        assert_eq!(ours, theirs, "{command} {input:?} {variables:?}");
    }
}
