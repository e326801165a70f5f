//! The plugin with a recording plugin behind it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::delegate::Outcome;
use super::*;

const RESULT: &str =
    r#"{"cniVersion":"1.0.0","ips":[{"address":"11.10.16.2/20","gateway":"11.10.16.1"}],"dns":{}}"#;

/// Writes down how it was called.
#[derive(Default)]
struct Recorder {
    calls: RefCell<Vec<(String, String, Value)>>,
    outcome: Outcome,
}

impl Delegate for Recorder {
    fn run(&self, program: &Path, command: &str, input: &[u8]) -> io::Result<Outcome> {
        let program = program.file_name().unwrap().to_string_lossy().into_owned();
        let input = serde_json::from_slice(input).unwrap();
        self.calls.borrow_mut().push((program, command.into(), input));
        Ok(self.outcome.clone())
    }
}

struct Host {
    folder: TempDir,
    plugin: Recorder,
    variables: BTreeMap<&'static str, String>,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        for plugin in ["bridge", "ptp"] {
            fs::write(at("bin").join(plugin), "").unwrap();
        }
        fs::write(
            at("subnet.env"),
            "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.10.16.1/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
        )
        .unwrap();
        let path = format!("/nowhere:{}", at("bin").display());
        let variables = BTreeMap::from([
            ("CNI_CONTAINERID", "c1".into()),
            ("CNI_NETNS", "/nowhere/netns".into()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_PATH", path),
        ]);
        let outcome = Outcome { stdout: RESULT.into(), ..Outcome::default() };
        Self { folder, plugin: Recorder { outcome, ..Recorder::default() }, variables }
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    fn conf(&self, more: &str) -> String {
        let folder = self.folder.path().display();
        format!(
            r#"{{"cniVersion":"1.0.0","name":"cbr0","type":"flannel","subnetFile":"{folder}/subnet.env",
                "dataDir":"{folder}/data"{more}}}"#
        )
    }

    fn call(&self, command: &str, input: &str) -> Result<Answer, Fault> {
        let variable = |name: &str| match name {
            "CNI_COMMAND" => command.into(),
            name => self.variables.get(name).cloned().unwrap_or_default(),
        };
        run(variable, || Ok(input.into()), &self.plugin)
    }

    /// What the delegate was given.
    fn add(&self, more: &str) -> Value {
        self.call("ADD", &self.conf(more)).expect("ADD");
        self.plugin.calls.borrow().last().unwrap().2.clone()
    }

    fn fault(&self, command: &str, input: &str) -> (u32, String) {
        let fault = self.call(command, input).expect_err(command);
        (fault.code, fault.msg)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn out(text: &str) -> Result<Answer, Fault> {
    Ok(Answer::Output(text.into()))
}

#[test]
fn add_hands_on_to_bridge_and_remembers_how_to_undo_it() {
    let host = Host::new();
    let answer = host.call("ADD", &host.conf(r#", "delegate": {"isDefaultGateway": true}"#)).unwrap();
    let calls = host.plugin.calls.borrow();
    let (program, command, delegated) = &calls[0];
    assert_eq!((program.as_str(), command.as_str()), ("bridge", "ADD"));
    insta::assert_snapshot!(conf::to_json(delegated), @r#"{"cniVersion":"1.0.0","ipMasq":true,"ipam":{"ranges":[[{"subnet":"11.10.16.0/20"}]],"routes":[{"dst":"11.0.0.0/8"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}"#);
    assert_eq!(fs::read_to_string(host.data().join("c1")).unwrap(), conf::to_json(delegated));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&host.data()), mode(&host.data().join("c1"))), (0o700, 0o600));
    let Answer::Output(answer) = answer else { panic!("{answer:?}") };
    insta::assert_snapshot!(answer, @r#"
    {
        "cniVersion": "1.0.0",
        "ips": [
            {
                "address": "11.10.16.2/20",
                "gateway": "11.10.16.1"
            }
        ]
    }
    "#);
}

#[test]
fn what_delegate_says_counts_and_the_rest_is_filled_in() {
    let host = Host::new();
    let delegated = host.add(
        r#", "delegate": {"ipMasq": false, "mtu": 1300, "isGateway": false, "bridge": "br<1>", "hairpinMode": true},
           "runtimeConfig": {"portMappings": []}"#,
    );
    assert_eq!(delegated["ipMasq"], json!(false));
    assert_eq!(delegated["mtu"], json!(1300));
    assert_eq!(delegated["isGateway"], json!(false));
    assert_eq!(delegated["hairpinMode"], json!(true));
    assert_eq!(delegated["runtimeConfig"], json!({"portMappings": []}));
    assert!(fs::read_to_string(host.data().join("c1")).unwrap().contains(r#""bridge":"br\u003c1\u003e""#));

    let ptp = host.add(r#", "delegate": {"type": "ptp"}"#);
    assert_eq!((&ptp["type"], ptp.get("isGateway")), (&json!("ptp"), None), "only a bridge is a gateway");
    assert_eq!(host.plugin.calls.borrow().last().unwrap().0, "ptp");
}

#[test]
fn ipam_is_completed_and_its_ranges_are_the_lease() {
    let host = Host::new();
    let delegated = host.add(
        r#", "ipam": {"type": "other", "dataDir": "/x", "ranges": [[{"subnet": "1.0.0.0/8"}]],
           "routes": [{"dst": "192.0.2.0/24", "gw": "11.10.16.9", "mtu": 0, "scope": 0, "colour": "red"}]}"#,
    );
    assert_eq!(
        delegated["ipam"],
        json!({
            "type": "other",
            "dataDir": "/x",
            "ranges": [[{"subnet": "11.10.16.0/20"}]],
            "routes": [{"dst": "192.0.2.0/24", "gw": "11.10.16.9", "scope": 0}, {"dst": "11.0.0.0/8"}],
        })
    );
}

#[test]
fn the_daemon_masquerades_or_the_bridge_does() {
    let host = Host::new();
    let file = host.folder.path().join("subnet.env");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("IPMASQ=false", "IPMASQ=true")).unwrap();
    assert_eq!(host.add("")["ipMasq"], json!(false));
}

#[test]
fn del_undoes_what_was_added_whatever_is_configured_by_then() {
    let host = Host::new();
    let added = host.add("");
    fs::remove_file(host.folder.path().join("subnet.env")).unwrap();
    assert_eq!(host.call("DEL", &host.conf(r#", "delegate": {"type": "ptp"}"#)), out(""));
    {
        let calls = host.plugin.calls.borrow();
        assert_eq!(calls[1], ("bridge".into(), "DEL".into(), added));
    }
    assert!(!host.data().join("c1").exists());
    // Once more, and of one that never was: success.
    assert_eq!(host.call("DEL", &host.conf("")), out(""));
    assert_eq!(host.plugin.calls.borrow().len(), 2, "nobody was called");
}

#[test]
fn del_needs_no_namespace_and_passes_over_what_cannot_be_read() {
    let host = Host::new().set("CNI_NETNS", "");
    fs::create_dir(host.data()).unwrap();
    fs::write(host.data().join("c1"), "{").unwrap();
    assert_eq!(host.call("DEL", &host.conf("")), out(""));
    assert!(host.plugin.calls.borrow().is_empty());
}

#[test]
fn a_delegates_error_is_passed_on_and_what_was_saved_stays_for_the_next_try() {
    let mut host = Host::new();
    host.add("");
    let failing = |stdout: &str, stderr: &str| Outcome {
        failure: Some("exit status 1".into()),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    host.plugin.outcome = failing(r#"{"cniVersion":"1.0.0","code":11,"msg":"busy","details":"later"}"#, "");
    for command in ["ADD", "DEL"] {
        let fault = host.call(command, &host.conf("")).unwrap_err();
        assert_eq!(fault, Fault { code: 11, msg: "busy".into(), details: "later".into() });
    }
    insta::assert_snapshot!(host.call("ADD", &host.conf("")).unwrap_err().to_json(), @r#"
    {
        "code": 11,
        "msg": "busy",
        "details": "later"
    }
    "#);
    assert!(host.data().join("c1").exists());
    host.plugin.outcome = failing("", "no such bridge\n");
    assert_eq!(host.fault("ADD", &host.conf("")), (0, r#"the delegate failed: "no such bridge""#.into()));
    host.plugin.outcome = failing("", "");
    let expected = "the delegate failed without a word: exit status 1";
    assert_eq!(host.fault("ADD", &host.conf("")), (0, expected.into()));
    host.plugin.outcome = failing("panic!", "");
    assert!(host.fault("ADD", &host.conf("")).1.contains(r#"no CNI error: "panic!""#));
}

#[test]
fn what_is_missing_in_the_environment_is_named() {
    let host = Host::new().set("CNI_NETNS", "").set("CNI_IFNAME", "");
    let missing = |names: &str| (4, format!("missing in the environment: {names}"));
    assert_eq!(host.fault("ADD", ""), missing("CNI_NETNS, CNI_IFNAME"));
    assert_eq!(host.fault("DEL", ""), missing("CNI_IFNAME"));
    let host = host.set("CNI_PATH", "").set("CNI_CONTAINERID", "");
    assert_eq!(host.fault("CHECK", ""), missing("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH"));
    assert_eq!(host.fault("STATUS", ""), missing("CNI_PATH"));
    assert_eq!(host.fault("GC", ""), missing("CNI_PATH"));
    assert_eq!(host.fault("FLY", &host.conf("")), (4, "\"FLY\" is no CNI_COMMAND".into()));
}

#[test]
fn names_that_could_be_paths_are_refused() {
    for id in ["../c1", "c/1", ".c1", "c 1", "ü"] {
        let fault = Host::new().set("CNI_CONTAINERID", id).fault("ADD", "");
        assert_eq!((fault.0, fault.1.contains("CNI_CONTAINERID")), (4, true), "{id}");
    }
    for ifname in [".", "..", "a/b", "a:b", "a b", "sixteen-letters-"] {
        assert_eq!(Host::new().set("CNI_IFNAME", ifname).fault("ADD", "").0, 4, "{ifname}");
    }
    let host = Host::new();
    assert_eq!(host.fault("ADD", r#"{"name": "a b"}"#).0, 7);
    assert_eq!(host.fault("ADD", "{}"), (7, "the network config has no name".into()));
    assert_eq!(host.fault("ADD", "null"), (7, "the network config has no name".into()));
    assert_eq!(host.fault("ADD", "{").0, 6);
    assert_eq!(host.fault("ADD", r#"{"name": 1}"#).0, 6);
}

#[test]
fn delegates_fields_that_flannel_sets_are_refused() {
    let host = Host::new();
    let why = |delegate: &str| {
        let (code, why) = host.fault("ADD", &host.conf(&format!(r#", "delegate": {delegate}"#)));
        assert_eq!(code, 999);
        why
    };
    assert_eq!(why(r#"{"name": "x"}"#), "'delegate' must not have the field 'name': flannel sets it");
    assert_eq!(why(r#"{"ipam": {}}"#), "'delegate' must not have the field 'ipam': flannel sets it");
    assert_eq!(why(r#"{"type": 1}"#), "the field 'type' of 'delegate' must be a string");
    assert_eq!(why("[]"), "network config of flannel: delegate is [], not an object");
    assert_eq!(why(r#"{"type": "../bridge"}"#), r#""../bridge" is no name of a plugin"#);
    assert!(why(r#"{"type": "vlan"}"#).starts_with("no plugin vlan in CNI_PATH /nowhere:/"));
    assert_eq!(host.plugin.calls.borrow().len(), 0);
}

#[test]
fn versions_are_checked_as_each_command_wants() {
    let host = Host::new();
    let conf = |version: &str| format!(r#"{{"cniVersion": "{version}", "name": "n"}}"#);
    assert_eq!(host.fault("ADD", &conf("0.9.9")), (1, "the CNI version is not supported".into()));
    let fault = host.call("DEL", &conf("2.0.0")).unwrap_err();
    assert!(
        fault.details.starts_with(r#"the network config has "2.0.0", the plugin speaks ["0.1.0""#),
        "{fault:?}"
    );
    for (command, version, allowed) in [
        ("CHECK", "0.3.1", Err("config")),
        ("CHECK", "0.4.0", Ok(())),
        ("CHECK", "1.1.0", Ok(())),
        ("CHECK", "1.2.0", Err("plugin")),
        ("STATUS", "1.0.0", Err("config")),
        ("STATUS", "1.1.0", Ok(())),
        ("GC", "1.0.0", Err("config")),
        ("GC", "1.1.0", Ok(())),
    ] {
        match allowed {
            Ok(()) => assert_eq!(host.call(command, &conf(version)), out(""), "{command} {version}"),
            Err(who) => {
                let expected = (1, format!("the CNI version of the {who} knows no {command}"));
                assert_eq!(host.fault(command, &conf(version)), expected, "{command} {version}");
            }
        }
    }
    assert_eq!(host.fault("CHECK", &conf("one")).0, 6);
    // Not in the list, though between two that are.
    assert_eq!(host.fault("CHECK", &conf("0.5.0")), (1, "the CNI version is not supported".into()));
}

#[test]
fn version_and_a_call_by_hand_need_nothing_else() {
    let empty = |command: &'static str| {
        let variable = move |name: &str| if name == "CNI_COMMAND" { command.into() } else { String::new() };
        run(variable, || panic!("reads its input"), &Recorder::default())
    };
    let version = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";
    assert_eq!(empty("VERSION"), out(version));
    let Ok(Answer::About(about)) = empty("") else { panic!() };
    assert!(about.starts_with("CNI plugin flannel of knetsim"));
}

#[test]
fn results_have_a_version_and_old_ones_their_dns() {
    let mut host = Host::new();
    let mut answer = |stdout: &str| {
        host.plugin.outcome = Outcome { stdout: stdout.into(), ..Outcome::default() };
        host.call("ADD", &host.conf("")).map(|answer| match answer {
            Answer::Output(text) => serde_json::from_str::<Value>(&text).unwrap(),
            Answer::About(about) => panic!("{about}"),
        })
    };
    assert_eq!(answer("{}").unwrap(), json!({"cniVersion": "1.0.0"}));
    assert_eq!(answer("null").unwrap(), json!({"cniVersion": "1.0.0"}));
    let old = r#"{"cniVersion": "0.4.0", "dns": {}}"#;
    assert_eq!(answer(old).unwrap(), json!({"cniVersion": "0.4.0", "dns": {}}));
    assert_eq!(answer(r#"{"cniVersion": "7.0.0"}"#).unwrap_err().code, 999);
    assert_eq!(answer("").unwrap_err().code, 999);
}

#[test]
fn the_plugins_own_namespace_is_nobodys_container() {
    let own = "/proc/thread-self/ns/net";
    let host = Host::new().set("CNI_NETNS", own);
    for command in ["ADD", "DEL"] {
        assert_eq!(host.fault(command, &host.conf("")).0, 8, "{command}");
    }
    assert!(host.plugin.calls.borrow().is_empty());
    let host = host.set("CNI_NETNS_OVERRIDE", "True");
    assert!(host.call("ADD", &host.conf("")).is_ok());
}
