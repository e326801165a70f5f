//! The pod network of a lab: made by flannel in every worker, used by real CNI plugins, with packets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const ONE_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-cluster.yaml");
const SOON: Duration = Duration::from_secs(30);
const CONFIG_KEY: &str = "/coreos.com/network/config";

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own)
}

fn up(bench: &Bench) {
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
}

fn kill(signal: &str, pid: &Value) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn exec(bench: &Bench, node: &str, command: &str) -> String {
    bench.ok(["exec", node, "--", "sh", "-c", command])
}

fn json(bench: &Bench, node: &str, command: &str) -> Value {
    serde_json::from_str(&exec(bench, node, command)).unwrap()
}

fn etcdctl(bench: &Bench, args: &str) -> String {
    exec(bench, "C0e1", &format!("ETCDCTL_API=3 etcdctl {args}"))
}

fn worker(bench: &Bench, number: usize) -> Value {
    bench.status()["clusters"][0]["workers"][number - 1].clone()
}

/// A worker's share of the pod network: the address, which is its device's, and the length.
fn share(bench: &Bench, number: usize) -> (Ipv4Addr, u8) {
    let cidr = worker(bench, number)["podCIDR"].as_str().unwrap().to_owned();
    let (base, length) = cidr.split_once('/').unwrap();
    (base.parse().unwrap(), length.parse().unwrap())
}

/// Until the worker has routes to this many others.
fn wait_for_routes(bench: &Bench, node: &str, routes: usize, by: &str) {
    wait_for("routes to the other workers", SOON, || {
        let all = exec(bench, node, "ip route");
        let found = all.lines().filter(|line| line.contains(" via ") && line.contains(by)).count();
        if found == routes { Ok(()) } else { Err(all) }
    });
}

#[test]
fn each_worker_has_a_share_and_the_way_to_the_others() {
    let bench = bench();
    up(&bench);
    for (number, other, address, others) in [(1, 2, "10.0.0.3", "10.0.0.4"), (2, 1, "10.0.0.4", "10.0.0.3")] {
        let node = format!("C0w{number}");
        wait_for_routes(&bench, &node, 1, "dev flannel.100");
        let ((own, length), (theirs, _)) = (share(&bench, number), share(&bench, other));
        assert_eq!(length, 20);
        assert!((Ipv4Addr::new(11, 10, 0, 0)..=Ipv4Addr::new(11, 99, 0, 0)).contains(&own), "{own}");

        let link = &json(&bench, &node, "ip -d -j link show flannel.100")[0];
        let vxlan = &link["linkinfo"]["info_data"];
        assert_eq!((&link["operstate"], &link["mtu"]), (&"UNKNOWN".into(), &1450.into()), "{link}");
        assert_eq!(
            (&vxlan["id"], &vxlan["local"], &vxlan["port"], &vxlan["learning"]),
            (&100.into(), &address.into(), &8472.into(), &false.into()),
            "{link}"
        );
        let addresses = exec(&bench, &node, "ip -o -4 addr show flannel.100");
        assert!(addresses.contains(&format!("inet {own}/32 ")), "{addresses}");
        let routes = exec(&bench, &node, "ip route show dev flannel.100");
        assert_eq!(routes.trim_end(), format!("{theirs}/20 via {theirs} onlink"));
        let mac = json(&bench, &format!("C0w{other}"), "ip -j link show flannel.100")[0]["address"].clone();
        let fdb = json(&bench, &node, "bridge -j fdb show dev flannel.100");
        let entry = fdb.as_array().unwrap().iter().find(|entry| entry["mac"] == mac).unwrap();
        assert_eq!((&entry["dst"], &entry["state"]), (&others.into(), &"permanent".into()), "{fdb}");
        let neighbour = &json(&bench, &node, "ip -j neigh show dev flannel.100")[0];
        assert_eq!((&neighbour["dst"], &neighbour["lladdr"]), (&theirs.to_string().into(), &mac));

        let first = Ipv4Addr::from(u32::from(own) + 1);
        assert_eq!(
            exec(&bench, &node, &format!("cat /run/lab/{node}/flannel-subnet.env")),
            format!(
                "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET={first}/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
            )
        );
        let lease = etcdctl(&bench, &format!("get --print-value-only /coreos.com/network/subnets/{own}-20"));
        let lease: Value = serde_json::from_str(&lease).unwrap();
        assert_eq!((&lease["PublicIP"], &lease["BackendType"]), (&address.into(), &"vxlan".into()));
        let flannel = &worker(&bench, number)["components"]["flannel"];
        assert!(flannel["message"].as_str().unwrap().starts_with(&format!("{own}/20")), "{flannel}");
    }
}

/// A ping that goes on until it is stopped.
struct Ping(Child);

impl Ping {
    fn start(bench: &Bench, from: &str, to: Ipv4Addr) -> Self {
        let script = format!("exec ping -n -i 0.01 {to}");
        let mut ping = bench.command(["exec", from, "--", "sh", "-c", &script]);
        Self(ping.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Nothing of what it sent was lost.
    fn stop_without_loss(mut self) {
        kill("-INT", &self.0.id().into());
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        assert!(said.contains(" 0% packet loss"), "{}", said.lines().last().unwrap_or_default());
        assert!(said.matches("time=").count() > 10, "{said}");
    }
}

#[test]
fn packets_do_not_notice_that_processes_die() {
    let bench = bench();
    up(&bench);
    for node in ["C0w1", "C0w2"] {
        wait_for_routes(&bench, node, 1, "dev flannel.100");
    }
    let (target, before) = (share(&bench, 2).0, [share(&bench, 1), share(&bench, 2)]);
    let ping = Ping::start(&bench, "C0w1", target);
    let cluster = bench.status()["clusters"][0].clone();
    for victim in
        [&cluster["workers"][0], &cluster["workers"][1], &cluster["controlPlane"], &cluster["etcd"][0]]
    {
        kill("-KILL", &victim["pid"]);
    }
    wait_for("everything restarted", SOON, || {
        let cluster = bench.status()["clusters"][0].clone();
        let back = ["/workers/0", "/workers/1", "/controlPlane", "/etcd/0"]
            .map(|part| cluster.pointer(part).unwrap().clone())
            .into_iter()
            .all(|part| part["restarts"] == 1 && part["ready"] == true);
        if back { Ok(()) } else { Err(cluster.to_string()) }
    });
    ping.stop_without_loss();
    assert_eq!([share(&bench, 1), share(&bench, 2)], before, "the shares are the same as before");
}

/// A topology file with this pod network in a file beside it.
fn topology(bench: &Bench, network: &str) -> PathBuf {
    let folder = bench.folder().join("conf");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("network.json"), network).unwrap();
    let path = folder.join("lab.yaml");
    fs::write(&path, "podNetwork: {file: network.json}\nclusters: [{name: C0, workers: 2}]\n").unwrap();
    path
}

fn up_with(bench: &Bench, network: &str) {
    bench.ok(["up".as_ref(), "-q".as_ref(), "-f".as_ref(), topology(bench, network).as_os_str()]);
}

#[test]
fn what_the_networks_file_says_shows_in_addresses_and_devices() {
    let bench = bench();
    let network = |backend: &str| {
        format!(
            r#"{{"Network": "12.0.0.0/8", "SubnetLen": 24, "SubnetMin": "12.34.56.0", "SubnetMax": "12.34.58.0",
                "Backend": {backend}}}"#
        )
    };
    up_with(&bench, &network(r#"{"Type": "vxlan", "VNI": 7, "Port": 4789}"#));
    for number in [1, 2] {
        let (base, length) = share(&bench, number);
        assert_eq!(length, 24);
        assert!((56..=58).contains(&base.octets()[2]) && base.octets()[..2] == [12, 34], "{base}");
        let node = format!("C0w{number}");
        let vxlan = &json(&bench, &node, "ip -d -j link show flannel.7")[0]["linkinfo"]["info_data"];
        assert_eq!((&vxlan["id"], &vxlan["port"]), (&7.into(), &4789.into()));
        wait_for_routes(&bench, &node, 1, "dev flannel.7");
    }
    exec(&bench, "C0w1", &format!("ping -c1 -W5 {}", share(&bench, 2).0));
    bench.ok(["down"]);

    up_with(&bench, &network(r#"{"Type": "host-gw"}"#));
    let links = exec(&bench, "C0w1", "ip -o link");
    assert!(!links.contains("flannel."), "{links}");
    wait_for_routes(&bench, "C0w1", 1, "via 10.0.0.4 dev C0w1-eth0");
    let env = exec(&bench, "C0w1", "cat /run/lab/C0w1/flannel-subnet.env");
    assert!(env.contains("FLANNEL_MTU=1500"), "{env}");
}

#[test]
fn the_network_may_be_changed_while_it_runs_and_comes_back_when_it_is_deleted() {
    let bench = bench();
    up(&bench);
    let changed = r#"{"Network":"11.0.0.0/8","SubnetLen":20,"Backend":{"Type":"vxlan","VNI":200}}"#;
    etcdctl(&bench, &format!("put {CONFIG_KEY} '{changed}'"));
    wait_for("the new device", SOON, || {
        let links = exec(&bench, "C0w1", "ip -o link");
        if links.contains("flannel.200") && !links.contains("flannel.100") { Ok(()) } else { Err(links) }
    });
    // What somebody wants in a running lab stays, whoever is started anew.
    kill("-KILL", &bench.status()["clusters"][0]["controlPlane"]["pid"]);
    wait_for("the control plane restarted", SOON, || {
        let control_plane = bench.status()["clusters"][0]["controlPlane"].clone();
        let back = control_plane["restarts"] == 1 && control_plane["ready"] == true;
        if back { Ok(()) } else { Err(control_plane.to_string()) }
    });
    assert_eq!(etcdctl(&bench, &format!("get --print-value-only {CONFIG_KEY}")).trim_end(), changed);
    etcdctl(&bench, &format!("del {CONFIG_KEY}"));
    wait_for("the old device", SOON, || {
        let links = exec(&bench, "C0w1", "ip -o link");
        if links.contains("flannel.100") && !links.contains("flannel.200") { Ok(()) } else { Err(links) }
    });
}

/// A script in the lab itself: names of namespaces that are made elsewhere are gone with their command.
fn in_lab(bench: &Bench, script: &str) -> String {
    let mut shell = bench.command(["shell", "--ns"]);
    shell.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("set -e\n{script}\n").as_bytes()).unwrap();
    Outcome::of(shell.wait_with_output().unwrap(), script.into()).ok()
}

/// A script that calls CNI plugins in a worker as a runtime would.
fn cni(bench: &Bench, node: &str, verb: &str, pod: &str) -> String {
    let topo = bench.folder().join("topo");
    let folder = format!("/run/lab/{node}/cni");
    format!(
        "export CNI_PATH={folder}/bin:${{CNI_PATH:-/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni}}
         export NETCONFPATH={folder}/net.d
         ip netns exec {node} {} cni {verb} cbr0 {pod} --cache-dir {folder}/cache",
        topo.display()
    )
}

/// A namespace that is attached to a worker; gives its address.
fn pod(bench: &Bench, node: &str, name: &str) -> Ipv4Addr {
    let result = in_lab(bench, &format!("ip netns add {name}\n{}", cni(bench, node, "add", name)));
    let result: Value = serde_json::from_str(&result).unwrap();
    let address = result["ips"][0]["address"].as_str().unwrap();
    address.split_once('/').unwrap().0.parse().unwrap()
}

/// What is between two pods on two workers.
fn two_pods(user: User) {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    up(&bench);
    let (a, b) = (pod(&bench, "C0w1", "a"), pod(&bench, "C0w2", "b"));
    for (number, address) in [(1, a), (2, b)] {
        let (base, length) = share(&bench, number);
        assert_eq!(u32::from(address) >> (32 - length), u32::from(base) >> (32 - length), "{address}");
    }
    let mut tcpdump = bench
        .command([
            "exec",
            "C0w1",
            "--",
            "tcpdump",
            "-c2",
            "-lni",
            "C0w1-eth0",
            "-T",
            "vxlan",
            "udp",
            "port",
            "8472",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("captured packets", SOON, || {
        exec(&bench, "C0w1", &format!("ip netns exec a ping -c1 -W5 {b}"));
        tcpdump.try_wait().unwrap().ok_or_else(|| "tcpdump still waits".to_owned())
    });
    let mut seen = String::new();
    tcpdump.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    assert!(seen.contains("10.0.0.3.") && seen.contains("10.0.0.4.8472"), "{seen}");
    assert!(seen.contains("vni 100") && seen.contains(&format!("{a} > {b}: ICMP echo request")), "{seen}");

    exec(&bench, "C0w2", &format!("ip netns exec b ping -c1 -W5 {a}"));
    // Outside of the pod network a pod is known by its worker's address.
    exec(&bench, "C0w1", "ip netns exec a ping -c1 -W5 10.0.0.4");
    // As a runtime detaches it, the address is free again.
    in_lab(&bench, &cni(&bench, "C0w1", "del", "a"));
    let left = exec(&bench, "C0w1", "ls /run/lab/C0w1/cni/networks/cbr0 /run/lab/C0w1/cni/flannel");
    assert!(!left.contains(&a.to_string()) && !left.contains("cnitool"), "{left}");
}

#[test]
fn pods_of_two_workers_talk_through_vxlan() {
    two_pods(User::Own);
}

#[test]
fn pods_of_two_workers_talk_through_vxlan_without_any_privilege() {
    two_pods(User::Nobody);
}

/// `topo up` with this topology, which must not come up.
fn refused(bench: &Bench, text: &str) -> Outcome {
    let path = bench.folder().join("lab.yaml");
    fs::write(&path, text).unwrap();
    let mut command = bench.command(["up".as_ref(), "-f".as_ref(), path.as_os_str()]);
    // A name counts alone, wherever else one may be found.
    command.env("KNETSIM_FLANNELD", "/nonexistent/flanneld");
    let outcome = Outcome::of(command.output().unwrap(), "up".into());
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0, "{outcome:?}");
    outcome
}

#[test]
fn what_waiting_does_not_mend_ends_the_start_with_a_hint() {
    let bench = bench();
    let outcome = refused(&bench, "clusters: [{name: C0, workers: 2, components: {flannel: real}}]\n");
    let mut lines = outcome.stderr.lines();
    let said = lines.next().unwrap();
    assert!(said.starts_with("topo: flannel in C0w") && said.contains("no flanneld in PATH"), "{outcome:?}");
    assert!(lines.next().unwrap().contains("components: {flannel: builtin}"), "{outcome:?}");

    // Three workers, and room for two.
    let outcome = refused(
        &bench,
        "podNetwork: {Network: 11.0.0.0/8, SubnetLen: 24, SubnetMin: 11.1.0.0, SubnetMax: 11.1.1.0, Backend: {Type: vxlan}}\n\
         clusters: [{name: C0, workers: 3}]\n",
    );
    assert!(outcome.stderr.contains("no subnet is free: all 2 from 11.1.0.0/24"), "{outcome:?}");
    assert!(outcome.stderr.contains("hint: give it a wider range"), "{outcome:?}");
}

/// A folder that a lab's processes do not see: they have a /run of their own.
fn hidden() -> tempfile::TempDir {
    let run = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| "/run".into(), PathBuf::from);
    tempfile::Builder::new().prefix("knetsim-test-").tempdir_in(run).unwrap()
}

fn manifest(folder: &Path, text: &str) -> PathBuf {
    fs::write(folder.join("objects.yaml"), text).unwrap();
    let topology = folder.join("lab.yaml");
    fs::write(&topology, "manifests: [objects.yaml]\ndns: false\nclusters: [{name: C0, workers: 1}]\n")
        .unwrap();
    topology
}

#[test]
fn what_the_manifests_declare_is_there_and_survives_what_somebody_made_of_it() {
    let bench = bench();
    let folder = hidden();
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: web}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: text, namespace: web}}\ndata: {{key: {value}}}\n"
        )
    };
    let file = manifest(folder.path(), &map("first"));
    let up = || bench.ok(["up".as_ref(), "-q".as_ref(), "--keep".as_ref(), "-f".as_ref(), file.as_os_str()]);
    let value = || -> Value {
        serde_json::from_str(&etcdctl(&bench, "get --print-value-only /registry/configmaps/web/text"))
            .unwrap()
    };
    up();
    assert_eq!(value()["data"]["key"], "first");
    assert!(value()["metadata"]["uid"].is_string());
    let control_plane = &bench.status()["clusters"][0]["controlPlane"];
    assert_eq!(control_plane["components"]["manifests"]["message"], "2 created, 0 there before");
    bench.ok(["down"]);

    manifest(folder.path(), &map("second"));
    up();
    assert_eq!(value()["data"]["key"], "first", "what is there is left alone");
    etcdctl(&bench, "del /registry/configmaps/web/text");
    kill("-KILL", &bench.status()["clusters"][0]["controlPlane"]["pid"]);
    wait_for("the control plane restarted", SOON, || {
        let control_plane = bench.status()["clusters"][0]["controlPlane"].clone();
        let back = control_plane["restarts"] == 1 && control_plane["ready"] == true;
        if back { Ok(()) } else { Err(control_plane.to_string()) }
    });
    assert_eq!(
        etcdctl(&bench, "get --keys-only /registry/configmaps/web/text"),
        "",
        "what was deleted stays so"
    );
    bench.ok(["down"]);
    up();
    assert_eq!(value()["data"]["key"], "second");
}

#[test]
fn a_bad_manifest_is_found_before_anything_is_started() {
    let bench = bench();
    let folder = bench.folder().join("conf");
    fs::create_dir(&folder).unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: c1}\nspec:\n  nodeName: C0w2\n  containers: [{name: c, image: netshoot}]\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: c2}\nspec:\n  containers: [{name: c, imge: netshoot}]\n";
    let file = manifest(&folder, text);
    for args in [vec!["up", "--check", "-f"], vec!["up", "-f"]] {
        let args = args.iter().map(AsRef::as_ref).chain([file.as_os_str()]);
        let outcome = bench.run(args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let said = outcome.stderr.replace(&folder.canonicalize().unwrap().display().to_string(), "conf");
        assert_eq!(
            said,
            "topo: conf/objects.yaml:1:1: document 1: pods default/c1: spec.nodeName: C0 has no worker C0w2\n  \
             hint: did you mean C0w1?\n\
             topo: conf/objects.yaml:7:1: document 2: Pod in version \"v1\" cannot be handled as a Pod: strict \
             decoding error: unknown field \"spec.containers[0].imge\"\n"
        );
    }
    assert_eq!(fs::read_dir(bench.state()).unwrap().count(), 0);
}
