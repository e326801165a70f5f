//! What goes wrong, and how it is right again.

use std::fs;

use testkit::wait_for;

use crate::lab::{CONFIG, Cluster, LIMIT, Pod, Worker, output};
use crate::monitor::PEER;

/// Two workers of ours, a pod on each, and pings between them.
fn two() -> (Cluster, [Worker; 2], [Pod; 2]) {
    let cluster = Cluster::new(CONFIG);
    let mut workers = [1, 2].map(|n| cluster.worker(n));
    workers.iter_mut().for_each(Worker::start);
    let pods = [workers[0].pod(), workers[1].pod()];
    workers.iter().for_each(|worker| worker.wait_for_peers(1));
    pods[0].wait_for_ping(pods[1].address);
    (cluster, workers, pods)
}

#[test]
fn etcd_is_killed_and_comes_back_and_no_ping_is_lost() {
    let (mut cluster, workers, pods) = two();
    let pings = pods[0].ping(pods[1].address);
    cluster.etcd.kill();
    for worker in &workers {
        worker.wait_until(false, "1 peer; etcd at http://10.1.0.1:2379");
    }
    cluster.etcd.start();
    for worker in &workers {
        worker.wait_until(true, "1 peer");
    }
    // They follow again.
    let mut third = cluster.worker(3);
    third.start();
    workers.iter().for_each(|worker| worker.wait_for_peers(2));
    let (sent, lost) = pings.stop();
    assert!(sent > 10 && lost == 0, "{lost} of {sent} lost");
}

#[test]
fn an_etcd_that_is_replaced_behind_a_cut_cable_is_missed_and_found() {
    let (mut cluster, workers, _pods) = two();
    // No word of the end of the connection reaches the workers: they must ask.
    cluster.set_etcd_link(false);
    cluster.etcd.kill();
    cluster.etcd.start();
    workers.iter().for_each(|worker| worker.wait_until(false, "1 peer; etcd at http://10.1.0.1:2379"));
    cluster.set_etcd_link(true);
    workers.iter().for_each(|worker| worker.wait_until(true, "1 peer"));
    cluster.etcd.put("subnets/11.98.0.0-20", PEER);
    workers.iter().for_each(|worker| worker.wait_for_peers(2));
}

#[test]
fn etcd_comes_back_with_nothing_in_it_and_the_leases_are_the_same() {
    let (mut cluster, workers, pods) = two();
    let before = cluster.etcd.leases();
    cluster.etcd.kill();
    workers.iter().for_each(|worker| worker.wait_until(false, "etcd at"));
    cluster.etcd.start_empty();
    workers
        .iter()
        .for_each(|worker| worker.wait_until(false, "no network config under /coreos.com/network/config"));
    cluster.etcd.put("config", CONFIG);
    workers.iter().for_each(|worker| worker.wait_until(true, "1 peer"));
    assert_eq!(cluster.etcd.leases(), before);
    pods[0].wait_for_ping(pods[1].address);
}

#[test]
fn a_deleted_lease_is_taken_again_and_peers_reach_it_again() {
    let (cluster, workers, pods) = two();
    let (name, value) = cluster.etcd.lease_of(workers[0].address).unwrap();
    cluster.etcd.delete(&format!("subnets/{name}"));
    wait_for("the lease", LIMIT, || match cluster.etcd.lease_of(workers[0].address) {
        Some(lease) if lease == (name.clone(), value.clone()) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    pods[1].wait_for_ping(pods[0].address);
    workers[1].wait_for_peers(1);
}

#[test]
fn a_deleted_device_comes_back_as_peers_know_it() {
    let (cluster, workers, pods) = two();
    let (mac, lease) = (workers[0].mac(), cluster.etcd.lease_of(workers[0].address));
    let others = workers[1].forwarding();
    output(&workers[0].ns, "ip", &["link", "delete", "flannel.100"]);
    workers[0].wait_for_peers_of_a_new_device();
    assert_eq!(workers[0].mac(), mac);
    pods[0].wait_for_ping(pods[1].address);
    pods[1].wait_for_ping(pods[0].address);
    assert_eq!((cluster.etcd.lease_of(workers[0].address), workers[1].forwarding()), (lease, others));
}

impl Worker {
    /// As `wait_for_peers(1)`, while the device may be missing.
    fn wait_for_peers_of_a_new_device(&self) {
        wait_for("the device", LIMIT, || match output(&self.ns, "ip", &["-br", "link"]) {
            links if links.contains("flannel.100") => Ok(()),
            links => Err(links),
        });
        self.wait_for_peers(1);
    }
}

#[test]
fn entries_that_somebody_deletes_come_back() {
    let (_cluster, workers, pods) = two();
    let before = (workers[0].neighbours(), workers[0].forwarding(), workers[0].routes());
    let subnet = workers[1].subnet().to_string();
    output(&workers[0].ns, "ip", &["route", "delete", &subnet]);
    output(
        &workers[0].ns,
        "bridge",
        &["fdb", "delete", &workers[1].mac(), "dev", "flannel.100", "dst", "10.0.0.4"],
    );
    output(
        &workers[0].ns,
        "ip",
        &["route", "add", "11.90.0.0/20", "via", "11.90.0.0", "dev", "flannel.100", "onlink"],
    );
    wait_for("what was there before", LIMIT, || {
        let now = (workers[0].neighbours(), workers[0].forwarding(), workers[0].routes());
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    pods[0].wait_for_ping(pods[1].address);
}

#[test]
fn a_peer_that_changes_is_followed_and_one_whose_lease_is_gone_is_forgotten() {
    let (cluster, mut workers, _pods) = two();
    workers[1].stop();
    let (name, value) = cluster.etcd.lease_of(workers[1].address).unwrap();
    let key = format!("subnets/{name}");
    let mac = workers[1].mac();
    // Another host with the same device, then another device.
    cluster.etcd.put(&key, &value.replace("10.0.0.4", "10.0.0.77"));
    wait_for("the other host", LIMIT, || match &workers[0].forwarding()[..] {
        [one] if *one == format!("{mac} dst 10.0.0.77 self permanent") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.etcd.put(&key, &value.replace(&mac, "02:00:00:00:00:01"));
    wait_for("the other device", LIMIT, || {
        let seen = (workers[0].neighbours(), workers[0].forwarding());
        let there = |entries: &[String]| entries.len() == 1 && entries[0].contains("02:00:00:00:00:01");
        if there(&seen.0) && there(&seen.1) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    cluster.etcd.delete(&key);
    workers[0].wait_for_peers(0);
    workers[0].wait_until(true, "0 peers");
}

#[test]
fn another_configuration_is_followed_by_all() {
    let (cluster, workers, _pods) = two();
    let before: Vec<_> = workers.iter().map(Worker::subnet).collect();
    cluster.etcd.put(
        "config",
        &CONFIG.replace("20", "24").replace("11.10.0.0", "11.50.0.0").replace("\"VNI\": 100", "\"VNI\": 7"),
    );
    for (worker, before) in workers.iter().zip(before) {
        worker.wait_until(true, "/24, vxlan, 1 peer");
        let subnet = worker.subnet();
        assert!(subnet != before && subnet.to_string().starts_with("11.50."), "{subnet}");
        let links = output(&worker.ns, "ip", &["-br", "link"]);
        assert!(links.contains("flannel.7") && !links.contains("flannel.100"), "{links}");
        let env = fs::read_to_string(worker.subnet_file()).unwrap();
        let first = std::net::Ipv4Addr::from(u32::from(subnet.ip()) + 1);
        assert!(env.contains(&format!("FLANNEL_SUBNET={first}/24\n")), "{env}");
    }
    assert_eq!(cluster.etcd.leases().len(), 2, "the old ones are given back");

    cluster.etcd.put("config", &CONFIG.replace("vxlan", "host-gw"));
    for (worker, other) in workers.iter().zip(workers.iter().rev()) {
        worker.wait_until(true, "/20, host-gw, 1 peer");
        assert_eq!(worker.routes(), [format!("{} via {} dev eth0", other.subnet(), other.address)]);
        assert!(!output(&worker.ns, "ip", &["-br", "link"]).contains("flannel"));
    }
    cluster.etcd.put("config", "{\"Network\": 1}");
    workers.iter().for_each(|worker| worker.wait_until(false, "Network is 1, not an IPv4 network"));
    cluster.etcd.put("config", CONFIG);
    workers.iter().for_each(|worker| worker.wait_until(true, "vxlan, 1 peer"));
}

#[test]
fn when_all_subnets_are_leased_the_next_worker_says_so_and_waits() {
    let cluster = Cluster::new(
        r#"{"Network": "11.0.0.0/28", "SubnetLen": 30, "Backend": {"Type": "vxlan", "VNI": 100}}"#,
    );
    let mut workers: Vec<Worker> = (1..=4).map(|n| cluster.worker(n)).collect();
    workers[..3].iter_mut().for_each(Worker::start);
    workers[..3].iter().for_each(|worker| worker.wait_for_peers(2));
    workers[3].start();
    workers[3].wait_until(false, "no subnet is free: all 3 from 11.0.0.4/30 to 11.0.0.12/30 are leased");
    // One is given back: its worker is gone, and so is its lease.
    workers[0].stop();
    let (name, _) = cluster.etcd.lease_of(workers[0].address).unwrap();
    cluster.etcd.delete(&format!("subnets/{name}"));
    workers[3].wait_until(true, &name.replace('-', "/"));
    workers[3].wait_for_peers(2);
}

#[test]
fn the_next_daemon_takes_over_without_a_packet_lost() {
    let (cluster, mut workers, pods) = two();
    let before = (workers[0].subnet(), workers[0].mac(), cluster.etcd.leases());
    let pings = pods[0].ping(pods[1].address);
    for _ in 0..3 {
        workers[0].stop();
        workers[0].start();
        workers[0].wait_until(true, "1 peer");
    }
    let (sent, lost) = pings.stop();
    assert!(sent > 0 && lost == 0, "{lost} of {sent} lost");
    assert_eq!((workers[0].subnet(), workers[0].mac(), cluster.etcd.leases()), before);
}
