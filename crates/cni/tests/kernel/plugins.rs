//! bridge, host-local, portmap and loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use cni::{Attachment, Code, Error, Reason, Version};
use net::{Links, NetNs};
use serde_json::{Map, json};
use testkit::{in_ns, wait_for};

use crate::lab::{Container, LIMIT, Lab, address, list};

#[test]
fn two_containers_reach_each_other_and_leave_nothing_behind() {
    let lab = Lab::new();
    let network = lab.bridge("1.0.0", &[]);
    let (a, b) = (Container::new(), Container::new());
    let (one, two) = lab.on_host(async {
        let both = tokio::join!(lab.cni.add(&network, &a.attachment), lab.cni.add(&network, &b.attachment));
        (both.0.unwrap(), both.1.unwrap())
    });
    let (one, two) = (address(&one), address(&two));
    a.ping(two);
    b.ping(one);
    a.ping(Ipv4Addr::new(10, 88, 0, 1));
    assert_eq!((lab.leases("dbnet"), lab.links("veth")), ([one, two].into(), 2));
    lab.on_host(lab.cni.check(&network, &a.attachment)).unwrap();

    lab.del(&network, &a);
    assert_eq!((lab.leases("dbnet"), lab.links("veth"), a.has_link("eth0")), ([two].into(), 1, false));
    // Once more, and without the namespace, as after a crash.
    lab.del(&network, &a);
    let gone = Attachment { netns: None, ..b.attachment.clone() };
    lab.on_host(lab.cni.del(&network, &gone)).unwrap();
    assert!(lab.leases("dbnet").is_empty() && lab.cni.attachments().unwrap().is_empty());
}

#[test]
fn every_version_of_the_plugins_works() {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let lab = Lab::new();
        let network = lab.bridge(version, &[]);
        let container = Container::new();
        let result = lab.add(&network, &container);
        assert_eq!(result.version().as_str(), version);
        container.ping(Ipv4Addr::new(10, 88, 0, 1));
        if result.version().has_check() {
            lab.on_host(lab.cni.check(&network, &container.attachment)).unwrap();
        }
        assert_eq!(result.ips()[0].address.to_string(), "10.88.0.2/24");
        lab.del(&network, &container);
        assert_eq!((lab.leases("dbnet").len(), lab.links("veth")), (0, 0), "{version}");
    }
}

#[test]
fn the_version_that_all_plugins_speak_is_found() {
    let lab = Lab::new();
    let versions = lab.on_host(lab.cni.version("bridge")).unwrap();
    assert!(versions.speaks(Version::V0_3_1) && versions.speaks(Version::V1_0_0), "{versions:?}");
    let named = json!({
        "cniVersion": "0.3.1", "cniVersions": Version::ALL.map(Version::as_str), "name": "dbnet",
        "plugins": [{"type": "bridge"}, {"type": "portmap"}],
    });
    let agreed = lab.on_host(lab.cni.negotiate(&list(&named))).unwrap();
    let newest = Version::ALL.into_iter().rfind(|version| versions.speaks(*version));
    assert_eq!(Some(agreed.version()), newest);
}

#[test]
fn check_finds_that_the_interface_is_gone() {
    let lab = Lab::new();
    let network = lab.bridge("1.0.0", &[]);
    let container = Container::new();
    lab.add(&network, &container);
    in_ns(&container.ns, async { Links::open()?.delete("eth0").await }).unwrap();
    let error = lab.on_host(lab.cni.check(&network, &container.attachment)).unwrap_err();
    assert!(matches!(error.failure().map(|f| &f.reason), Some(Reason::Answer { .. })), "{error}");
    assert!(error.to_string().contains("eth0"), "{error}");
}

#[test]
fn a_failed_add_is_rolled_back() {
    let lab = Lab::new();
    lab.plugin("refuse", "#!/bin/sh\n[ $CNI_COMMAND != ADD ] || { echo 'no room' >&2; exit 9; }\n");
    let network = lab.bridge("1.0.0", &[json!({"type": "refuse"})]);
    let container = Container::new();
    let error = lab.on_host(lab.cni.add(&network, &container.attachment)).unwrap_err();
    assert!(error.to_string().ends_with("exit status: 9, without a CNI error; stderr: no room"), "{error}");
    assert_eq!((lab.leases("dbnet").len(), lab.links("veth")), (0, 0));
    assert!(!container.has_link("eth0") && lab.cni.attachments().unwrap().is_empty());
}

#[test]
fn a_container_that_does_not_exist_is_the_plugins_own_error() {
    let lab = Lab::new();
    let network = lab.bridge("1.0.0", &[]);
    let nowhere = Attachment {
        container_id: "c1".into(),
        netns: Some("/no/such/netns".into()),
        ifname: "eth0".into(),
        ..Attachment::default()
    };
    let error = lab.on_host(lab.cni.add(&network, &nowhere)).unwrap_err();
    assert!(matches!(error.code(), Some(Code::Own(_) | Code::InvalidNetns)), "{error}");
    assert!(error.to_string().contains("/no/such/netns"), "{error}");
    assert!(lab.leases("dbnet").is_empty());
}

#[test]
fn a_version_that_the_plugin_does_not_speak_has_its_code() {
    let lab = Lab::new();
    let supported = lab.on_host(lab.cni.version("portmap")).unwrap();
    let network = lab.bridge("1.1.0", &[]);
    let added = lab.on_host(lab.cni.add(&network, &Container::new().attachment));
    if !supported.speaks(Version::V1_1_0) {
        assert_eq!(added.unwrap_err().code(), Some(Code::IncompatibleVersion));
    } else {
        added.unwrap();
    }
}

/// What a server in the container says to whom asks the host's port.
fn ask(lab: &Lab, container: &Container, to: SocketAddr) -> String {
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).map_err(|e| net::Error::sys("listen", e));
    let listener = container.ns.run(listen).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().unwrap().0.write_all(b"hello").unwrap());
        let connect = || TcpStream::connect_timeout(&to, LIMIT).map_err(|e| net::Error::sys("connect", e));
        let mut stream = lab.host.run(connect).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

#[test]
fn a_port_of_the_host_leads_into_the_container_by_capability() {
    let lab = Lab::new();
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let network = lab.bridge("1.0.0", &[portmap]);
    let mut container = Container::new();
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    container.attachment.capability_args = Map::from_iter([("portMappings".into(), mapping)]);
    lab.add(&network, &container);
    let port: SocketAddr = "10.88.0.1:8080".parse().unwrap();
    assert_eq!(ask(&lab, &container, port), "hello");
    // Without naming it again: DEL knows the arguments of the ADD. (No CHECK here: this plugin's, up to
    // 1.1.1, misses rules for IPv6 where there is only IPv4.)
    container.attachment.capability_args.clear();
    lab.del(&network, &container);
    let refused = || TcpStream::connect_timeout(&port, LIMIT).map_err(|e| net::Error::sys("connect", e));
    assert!(lab.host.run(refused).is_err());
}

#[test]
fn loopback_goes_up_and_down() {
    let lab = Lab::new();
    let network = list(&json!({"cniVersion": "1.0.0", "name": "lo", "plugins": [{"type": "loopback"}]}));
    let mut container = Container::of(NetNs::create().unwrap());
    container.attachment.ifname = "lo".into();
    let up = || in_ns(&container.ns, async { Links::open()?.get("lo").await }).unwrap().admin_up;
    assert!(!up());
    let result = lab.add(&network, &container);
    assert!(up());
    assert_eq!(result.ips_of("lo").next().unwrap().address.to_string(), "127.0.0.1/8");
    lab.on_host(lab.cni.check(&network, &container.attachment)).unwrap();
    lab.del(&network, &container);
    wait_for("lo goes down", LIMIT, || if up() { Err("up".into()) } else { Ok(()) });
}

#[test]
fn gc_takes_what_nobody_wants_any_more() {
    let lab = Lab::new();
    let network = lab.bridge("1.0.0", &[]);
    let (kept, stale) = (Container::new(), Container::new());
    let address = address(&lab.add(&network, &kept));
    lab.add(&network, &stale);
    let valid = [(kept.attachment.container_id.clone(), "eth0".to_owned())];
    lab.on_host(lab.cni.gc(&network, &valid)).unwrap();
    assert_eq!((lab.leases("dbnet"), lab.links("veth")), ([address].into(), 1));
    assert!(kept.has_link("eth0") && !stale.has_link("eth0"));
    let error = lab.on_host(lab.cni.check(&network, &stale.attachment)).unwrap_err();
    assert!(matches!(error, Error::NotAttached { .. }), "{error}");
}
