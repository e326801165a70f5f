//! Ours beside the real flanneld: in one cluster, and side by side in all that they leave behind.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use flannel::real::Flanneld;
use serde_json::Value;
use testkit::wait_for;

use crate::lab::{CONFIG, Cluster, LIMIT, Pod, Worker, json, output};
use crate::monitor::writes;

/// The real one; if there is none, says so.
fn real() -> Option<Flanneld> {
    let found = Flanneld::find();
    match &found {
        // Not by the macro, whose words cargo hides when a test passes.
        None => {
            let why =
                "NOT TESTED against the real flannel: no flanneld in PATH, and KNETSIM_FLANNELD names none\n";
            std::io::stderr().write_all(why.as_bytes()).unwrap();
        }
        Some(_) => assert_eq!(Flanneld::missing(CONFIG), Vec::<String>::new(), "what flanneld needs"),
    }
    found
}

/// Worker 1 with the real one, worker 2 with ours, a pod on each.
fn one_of_each(config: &str, flanneld: &Flanneld) -> (Cluster, [Worker; 2], [Pod; 2]) {
    let cluster = Cluster::new(config);
    let mut workers = [1, 2].map(|n| cluster.worker(n));
    workers[0].start_real(flanneld);
    workers[1].start();
    let pods = [workers[0].pod(), workers[1].pod()];
    (cluster, workers, pods)
}

fn talk(pods: &[Pod; 2]) {
    for (a, b) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        a.wait_for_ping(b.address);
        a.transfer(b, 4 << 20);
    }
}

#[test]
fn both_work_side_by_side_in_one_cluster() {
    let Some(flanneld) = real() else { return };
    for config in [
        CONFIG.to_owned(),
        CONFIG.replace("vxlan", "host-gw"),
        CONFIG.replace("\"Port\": 8472", "\"Port\": 8472, \"DirectRouting\": true"),
    ] {
        let (_cluster, _workers, pods) = one_of_each(&config, &flanneld);
        talk(&pods);
    }
}

/// What a worker's daemon left, with its own and its peer's addresses replaced by words.
fn left_behind(worker: &Worker, peer: &Worker) -> Value {
    let ns = &worker.ns;
    let device = "flannel.100";
    let mut link = json(ns, "ip", &["-d", "-j", "link", "show", device])[0].clone();
    // The device's number: whatever else was there first.
    link.as_object_mut().unwrap().remove("ifindex");
    let mut addresses = json(ns, "ip", &["-j", "address", "show", device])[0]["addr_info"].clone();
    for address in addresses.as_array_mut().unwrap() {
        if address["family"] == "inet6" {
            // It follows from the Ethernet address.
            address.as_object_mut().unwrap().remove("local");
        }
    }
    let all = serde_json::json!({
        "link": link,
        "addresses": addresses,
        "fdb": json(ns, "bridge", &["-j", "fdb", "show", "dev", device]),
        "neighbours": json(ns, "ip", &["-d", "-j", "-4", "neigh", "show", "dev", device]),
        "routes": json(ns, "ip", &["-d", "-j", "-4", "route", "show", "table", "all"])
            .as_array()
            .unwrap()
            .iter()
            // Those of the pods' bridge are nobody's here.
            .filter(|route| route["dev"] == device || route.get("gateway").is_some())
            .collect::<Vec<_>>(),
        "subnet.env": fs::read_to_string(worker.subnet_file()).unwrap(),
        "mode": format!("{:o}", fs::metadata(worker.subnet_file()).unwrap().permissions().mode()),
        "accept_ra": output(ns, "cat", &["/proc/sys/net/ipv6/conf/flannel.100/accept_ra"]),
    });
    let mut text = all.to_string();
    for (name, worker) in [("own", worker), ("peer", peer)] {
        let subnet = worker.subnet();
        let first = Ipv4Addr::from(u32::from(subnet.ip()) + 1).to_string();
        text = text
            .replace(&worker.mac(), &format!("<mac of {name}>"))
            .replace(&first, &format!("<first of {name}>"))
            .replace(&subnet.ip().to_string(), &format!("<base of {name}>"))
            .replace(&worker.address.to_string(), &format!("<host of {name}>"));
    }
    serde_json::from_str(&text).unwrap()
}

/// Both as text, for a readable difference.
fn assert_same(real: &Value, ours: &Value) {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert!(real == ours, "the real one left\n{}\nand ours\n{}", text(real), text(ours));
}

#[test]
fn what_both_leave_behind_is_the_same() {
    let Some(flanneld) = real() else { return };
    for config in [
        CONFIG.to_owned(),
        // Every option that shows: no port, an MTU, group policy, learning.
        CONFIG.replace("\"Port\": 8472", "\"MTU\": 1400, \"GBP\": true, \"Learning\": true"),
    ] {
        let (_cluster, workers, pods) = one_of_each(&config, &flanneld);
        talk(&pods);
        workers.iter().for_each(|worker| worker.wait_for_peers(1));
        let [real, ours] = &workers;
        // What the kernel knows after a while only: IPv6 addresses are tentative at first.
        let settled = |worker: &Worker, peer: &Worker| {
            wait_for("addresses that are no longer tentative", LIMIT, || {
                let left = left_behind(worker, peer);
                if left["addresses"].to_string().contains("tentative") {
                    Err(left.to_string())
                } else {
                    Ok(left)
                }
            })
        };
        assert_same(&settled(real, ours), &settled(ours, real));
    }
}

#[test]
fn what_both_leave_in_etcd_is_the_same() {
    let Some(flanneld) = real() else { return };
    for config in [CONFIG.to_owned(), CONFIG.replace("vxlan", "host-gw")] {
        let (cluster, workers, _pods) = one_of_each(&config, &flanneld);
        let leases = cluster.etcd.leases();
        let of = |worker: &Worker| {
            let subnet = worker.subnet();
            let bears = format!("\"{}\"", worker.address);
            let lease = leases.iter().find(|(_, value, _)| value.contains(&bears)).expect("a lease");
            let mac = if config.contains("vxlan") { worker.mac() } else { "-".into() };
            (
                lease.0.replace(&subnet.ip().to_string(), "<base>"),
                lease.1.replace(&worker.address.to_string(), "<host>").replace(&mac, "<mac>"),
                lease.2,
            )
        };
        assert_eq!(of(&workers[0]), of(&workers[1]));
    }
}

#[test]
fn both_write_to_the_kernel_in_the_same_order() {
    let Some(flanneld) = real() else { return };
    let real = writes(|worker| worker.start_real(&flanneld));
    assert_eq!(real, writes(Worker::start), "the real one's, and ours");
}

#[test]
fn either_takes_over_from_the_other() {
    let Some(flanneld) = real() else { return };
    let cluster = Cluster::new(CONFIG);
    let mut worker = cluster.worker(1);
    let mut other = cluster.worker(2);
    other.start();
    worker.start_real(&flanneld);
    let pods = [worker.pod(), other.pod()];
    talk(&pods);
    let before = (worker.subnet(), worker.mac(), cluster.etcd.lease_of(worker.address));
    let pings = pods[0].ping(pods[1].address);
    worker.stop();
    worker.start();
    worker.wait_until(true, "1 peer");
    worker.stop();
    fs::remove_file(worker.subnet_file()).unwrap();
    worker.start_real(&flanneld);
    assert_eq!((worker.subnet(), worker.mac(), cluster.etcd.lease_of(worker.address)), before);
    let (sent, lost) = pings.stop();
    assert!(sent > 0 && lost == 0, "{lost} of {sent} lost");
}

#[test]
fn the_real_one_follows_what_ours_does() {
    let Some(flanneld) = real() else { return };
    let (cluster, mut workers, pods) = one_of_each(CONFIG, &flanneld);
    talk(&pods);
    // A device that comes back is the one that the real one knows.
    output(&workers[1].ns, "ip", &["link", "delete", "flannel.100"]);
    pods[0].wait_for_ping(pods[1].address);
    // So is a lease.
    let (name, value) = cluster.etcd.lease_of(workers[1].address).unwrap();
    cluster.etcd.delete(&format!("subnets/{name}"));
    wait_for("the lease", LIMIT, || match cluster.etcd.lease_of(workers[1].address) {
        Some(lease) if lease == (name.clone(), value.clone()) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pods[0].wait_for_ping(pods[1].address);
    // And when ours is gone for good, the real one forgets it.
    workers[1].stop();
    cluster.etcd.delete(&format!("subnets/{name}"));
    workers[0].wait_for_peers(0);
}
