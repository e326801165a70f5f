//! Ours among ourselves.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use net::Error;
use serde_json::json;
use testkit::wait_for;

use crate::lab::{CONFIG, Cluster, LIMIT, Pod, Worker, json as json_of, output};
use crate::monitor::writes;

const BYTES: usize = 4 << 20;

/// Both ways.
fn talk(a: &Pod, b: &Pod) {
    a.wait_for_ping(b.address);
    b.wait_for_ping(a.address);
    a.transfer(b, BYTES);
    b.transfer(a, BYTES);
}

fn received(worker: &Worker, link: &str) -> u64 {
    json_of(&worker.ns, "ip", &["-s", "-j", "link", "show", link])[0]["stats64"]["rx"]["bytes"]
        .as_u64()
        .unwrap()
}

/// Two workers of ours under a configuration, and a pod on each.
fn two(config: &str) -> (Cluster, [Worker; 2], [Pod; 2]) {
    let cluster = Cluster::new(config);
    let mut workers = [1, 2].map(|n| cluster.worker(n));
    workers.iter_mut().for_each(Worker::start);
    let pods = [workers[0].pod(), workers[1].pod()];
    (cluster, workers, pods)
}

#[test]
fn pods_of_two_workers_talk_through_vxlan() {
    let (_cluster, workers, pods) = two(CONFIG);
    workers.iter().for_each(|worker| worker.wait_for_peers(1));
    talk(&pods[0], &pods[1]);
    for worker in &workers {
        assert!(received(worker, "flannel.100") > BYTES as u64, "not through the overlay");
    }
    workers[0].wait_until(true, &format!("{}, vxlan, 1 peer", workers[0].subnet()));
    // The worker itself reaches pods elsewhere with an address that they can answer.
    let worker = Pod { ns: workers[0].ns.try_clone().unwrap(), address: workers[0].address };
    worker.wait_for_ping(pods[1].address);
}

#[test]
fn host_gw_and_direct_routing_do_without_the_overlay() {
    for config in [
        CONFIG.replace("vxlan", "host-gw"),
        CONFIG.replace("\"Port\": 8472", "\"Port\": 8472, \"DirectRouting\": true"),
    ] {
        let (_cluster, workers, pods) = two(&config);
        let vxlan = !config.contains("host-gw");
        talk(&pods[0], &pods[1]);
        let [a, b] = &workers;
        assert_eq!(a.routes(), [format!("{} via {} dev eth0", b.subnet(), b.address)]);
        let mtu = if vxlan { 1450 } else { 1500 };
        assert!(fs::read_to_string(a.subnet_file()).unwrap().contains(&format!("FLANNEL_MTU={mtu}\n")));
        if vxlan {
            assert_eq!(received(a, "flannel.100"), 0);
            assert_eq!(a.forwarding().len(), 0);
        } else {
            assert!(!output(&a.ns, "ip", &["link"]).contains("flannel"));
        }
    }
}

#[test]
fn who_start_at_once_lease_different_subnets() {
    // As many subnets as workers, so that they get in each other's way.
    let config = r#"{"Network": "11.0.0.0/24", "SubnetLen": 27, "SubnetMin": "11.0.0.32", "SubnetMax": "11.0.0.192",
                     "Backend": {"Type": "vxlan", "VNI": 100}}"#;
    let cluster = Cluster::new(config);
    let mut workers: Vec<Worker> = (1..=6).map(|n| cluster.worker(n)).collect();
    workers.iter_mut().for_each(Worker::start);
    let mut subnets: Vec<_> = workers.iter().map(Worker::subnet).collect();
    subnets.sort();
    subnets.dedup();
    assert_eq!(subnets.len(), 6);
    assert_eq!(cluster.etcd.leases().len(), 6);
    workers.iter().for_each(|worker| worker.wait_for_peers(5));
}

#[test]
fn a_lease_is_granted_for_a_day() {
    let cluster = Cluster::new(CONFIG);
    let mut worker = cluster.worker(1);
    worker.start();
    let subnet = worker.subnet();
    let leases = cluster.etcd.leases();
    let value = format!(
        r#"{{"PublicIP":"10.0.0.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":100,"VtepMAC":"{}"}}}}"#,
        worker.mac()
    );
    assert_eq!(leases, [(format!("{}-20", subnet.ip()), value, 86_400)]);
}

#[test]
fn what_leaves_the_pod_network_takes_on_the_workers_address_if_it_is_told_so() {
    let cluster = Cluster::new(CONFIG);
    let mut worker = cluster.worker(1);
    let outside = cluster.worker(2);
    let mut options = worker.options();
    options.ip_masq = true;
    worker.start_with(options);
    let pod = worker.pod();
    // Who is told is asked: a datagram to the outside, from a pod and from the worker.
    let listener =
        outside.ns.run(|| UdpSocket::bind("10.0.0.4:7").map_err(|e| Error::sys("bind", e))).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let source = |ns: &net::NetNs| -> Ipv4Addr {
        let socket = ns.run(|| UdpSocket::bind("0.0.0.0:0").map_err(|e| Error::sys("bind", e))).unwrap();
        wait_for("a datagram", LIMIT, || {
            socket.send_to(b"?", "10.0.0.4:7").map_err(|e| e.to_string())?;
            match listener.recv_from(&mut [0; 8]).map_err(|e| e.to_string())?.1.ip() {
                std::net::IpAddr::V4(address) => Ok(address),
                other => Err(other.to_string()),
            }
        })
    };
    assert_eq!(source(&pod.ns), worker.address);
    let subnet = worker.subnet().to_string();
    let rules = output(&worker.ns, "nft", &["list", "table", "ip", "flannel-ipv4"]);
    insta::assert_snapshot!(rules.replace(&subnet, "<subnet>"), @r#"
    table ip flannel-ipv4 {
    	chain postrtg {
    		type nat hook postrouting priority srcnat; policy accept;
    		meta mark & 0x00004000 == 0x00004000 return comment "flanneld masq"
    		ip saddr <subnet> ip daddr 11.0.0.0/8 return comment "flanneld masq"
    		ip saddr 11.0.0.0/8 ip daddr <subnet> return comment "flanneld masq"
    		ip saddr != 11.0.0.0/8 ip daddr <subnet> return comment "flanneld masq"
    		ip saddr 11.0.0.0/8 ip daddr != 224.0.0.0/4 masquerade comment "flanneld masq"
    		ip saddr != 11.0.0.0/8 ip daddr 11.0.0.0/8 masquerade comment "flanneld masq"
    	}
    }
    "#);
    // The next daemon, which is not told so, takes the rules away.
    worker.start();
    worker.subnet();
    let left = output(&worker.ns, "nft", &["list", "tables"]);
    assert!(!left.contains("flannel"), "{left}");
}

#[test]
fn the_kernel_is_written_to_in_flannels_order() {
    insta::assert_snapshot!(writes(Worker::start).join("\n"), @"
    : <BROADCAST,MULTICAST> mtu 1450 qdisc noop state DOWN group default
        inet <base>/32 scope global flannel.100
    : <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN group default
    11.98.0.0 dev flannel.100 lladdr 02:00:00:00:00:77 PERMANENT
    10.0.0.77 dev flannel.100 lladdr 02:00:00:00:00:77 PERMANENT
    11.98.0.0/20 via 11.98.0.0 dev flannel.100 onlink
    11.98.0.0 dev flannel.100 FAILED
    Deleted 11.98.0.0 dev flannel.100 FAILED
    Deleted 10.0.0.77 dev flannel.100 lladdr 02:00:00:00:00:77 PERMANENT
    Deleted 11.98.0.0/20 via 11.98.0.0 dev flannel.100 onlink
    ");
}

#[test]
fn the_device_and_the_file_are_as_flannel_leaves_them() {
    let cluster = Cluster::new(CONFIG);
    let mut worker = cluster.worker(1);
    worker.start();
    let subnet = worker.subnet();
    let link = &json_of(&worker.ns, "ip", &["-d", "-j", "link", "show", "flannel.100"])[0];
    assert_eq!((&link["mtu"], link.get("txqlen")), (&json!(1450), None));
    let data = &link["linkinfo"]["info_data"];
    let shown =
        ["id", "local", "link", "port", "learning", "ttl", "ageing", "udp_csum"].map(|name| &data[name]);
    let expected = json!([100, "10.0.0.3", "eth0", 8472, false, 0, 300, true]);
    assert_eq!(json!(shown), expected);
    let accept_ra = output(&worker.ns, "cat", &["/proc/sys/net/ipv6/conf/flannel.100/accept_ra"]);
    assert_eq!(accept_ra, "0\n");
    let address = output(&worker.ns, "ip", &["-4", "-o", "address", "show", "flannel.100"]);
    assert!(address.contains(&format!("inet {}/32 scope global", subnet.ip())), "{address}");
    let first = Ipv4Addr::from(u32::from(subnet.ip()) + 1);
    assert_eq!(
        fs::read_to_string(worker.subnet_file()).unwrap(),
        format!(
            "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET={first}/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
        )
    );
}
