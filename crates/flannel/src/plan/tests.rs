use net::vxlan::Vxlan;

use super::*;
use crate::lease::{self, Attributes};

const ME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn net(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn wanted() -> Vxlan {
    Vxlan {
        name: "flannel.100".into(),
        vni: 100,
        port: Some(8472),
        underlay: 2,
        local: ME,
        learning: false,
        gbp: false,
        mtu: 1450,
        mac: mac(3),
    }
}

fn there() -> Device {
    Device {
        name: "flannel.100".into(),
        index: 7,
        mtu: 1450,
        up: true,
        mac: Some(mac(99)),
        vxlan: Some(VxlanInfo {
            vni: 100,
            port: 8472,
            underlay: Some(2),
            local: Some(ME),
            group: None,
            learning: false,
            gbp: false,
        }),
        addresses: vec![net("11.10.0.0/32")],
    }
}

fn external() -> External {
    External { name: "eth0".into(), index: 2, mtu: 1500, networks: vec![net("10.0.0.3/24")] }
}

fn seen(devices: Vec<Device>) -> Observed {
    Observed { external: Some(external()), devices, ..Observed::default() }
}

fn show(seen: &Observed, ops: &[Op]) -> String {
    ops.iter().map(|op| seen.show(op).to_string()).collect::<Vec<_>>().join("\n")
}

fn config(backend: &str) -> NetworkConfig {
    let json = format!(
        r#"{{"Network": "11.0.0.0/8", "SubnetLen": 20, "SubnetMin": "11.10.0.0", "Backend": {backend}}}"#
    );
    NetworkConfig::parse(json.as_bytes()).unwrap()
}

const VXLAN: &str = r#"{"Type": "vxlan", "VNI": 100, "Port": 8472}"#;
const DIRECT: &str = r#"{"Type": "vxlan", "VNI": 100, "Port": 8472, "DirectRouting": true}"#;
const HOST_GW: &str = r#"{"Type": "host-gw"}"#;

/// Leases of the hosts of these addresses, one subnet after the other.
fn leases(hosts: &[&str], backend: impl Fn(u8) -> BackendData) -> Vec<Lease> {
    let subnet = |n: usize| net(&format!("11.10.{}.0/20", 16 * n));
    (1..)
        .zip(hosts)
        .map(|(n, host)| Lease {
            subnet: subnet(n),
            attributes: Some(Attributes { public_ip: host.parse().unwrap(), backend: backend(n as u8) }),
            reserved: false,
            dual: false,
        })
        .collect()
}

fn vxlan(n: u8) -> BackendData {
    BackendData::Vxlan { vni: 100, mac: mac(n) }
}

/// What brings `seen` to these leases, and then nothing more.
fn converge(config: &NetworkConfig, leases: &[Lease], scope: &Scope, seen: &mut Observed) -> String {
    let own = (ME, net("11.10.0.0/20"));
    let peers = peers(config, leases, own, &external(), scope.device);
    let ops = entries(&peers, scope, seen);
    let shown = show(seen, &ops);
    for op in &ops {
        let Op::Entry(change) = op else { panic!("{op:?}") };
        seen.absorb(change);
    }
    assert_eq!(entries(&peers, scope, seen), [], "a second time");
    shown
}

fn overlay_scope() -> Scope {
    Scope { device: Some(7), external: Some(2), direct: Vec::new() }
}

#[test]
fn a_device_is_made_once() {
    let seen_none = seen(Vec::new());
    insta::assert_snapshot!(
        show(&seen_none, &device(Some(&wanted()), &seen_none)),
        @"ip link add flannel.100 address 02:00:00:00:00:03 mtu 1450 type vxlan id 100 dev eth0 local 10.0.0.3 dstport 8472 nolearning"
    );
    // Another Ethernet address, and a port that nobody asked for, are no difference.
    assert_eq!(device(Some(&wanted()), &seen(vec![there()])), []);
    assert_eq!(device(Some(&Vxlan { port: None, ..wanted() }), &seen(vec![there()])), []);
    assert_eq!(device(None, &seen_none), []);
}

#[test]
fn a_device_that_differs_is_made_anew_but_an_mtu_is_only_set() {
    let info = || there().vxlan.unwrap();
    let differing = [
        VxlanInfo { vni: 99, ..info() },
        VxlanInfo { port: 4789, ..info() },
        VxlanInfo { underlay: Some(3), ..info() },
        VxlanInfo { local: Some(Ipv4Addr::new(10, 0, 0, 9)), ..info() },
        VxlanInfo { group: Some(Ipv4Addr::new(239, 0, 0, 1)), ..info() },
        VxlanInfo { learning: true, ..info() },
        VxlanInfo { gbp: true, ..info() },
    ];
    let others = differing.into_iter().map(Some).chain([None]);
    for vxlan in others {
        let seen = seen(vec![Device { vxlan, ..there() }]);
        let expected = [Op::DeleteDevice { name: "flannel.100".into() }, Op::AddDevice(wanted())];
        assert_eq!(device(Some(&wanted()), &seen), expected, "{seen:?}");
    }
    let unbound = VxlanInfo { underlay: None, local: None, ..info() };
    assert_eq!(device(Some(&wanted()), &seen(vec![Device { vxlan: Some(unbound), ..there() }])), []);
    let seen = seen(vec![Device { mtu: 1400, ..there() }]);
    assert_eq!(device(Some(&wanted()), &seen), [Op::SetMtu { name: "flannel.100".into(), mtu: 1450 }]);
}

#[test]
fn devices_of_former_configurations_go() {
    let old = Device { name: "flannel.1".into(), index: 6, ..there() };
    let seen = seen(vec![old, there()]);
    assert_eq!(device(Some(&wanted()), &seen), [Op::DeleteDevice { name: "flannel.1".into() }]);
    assert_eq!(device(None, &seen).len(), 2);
    for (name, ours) in [
        ("flannel.1", true),
        ("flannel.", false),
        ("flannel.a1", false),
        ("flannel-v6.1", false),
        ("eth0", false),
    ] {
        assert_eq!(is_device_name(name), ours, "{name}");
    }
}

#[test]
fn the_device_has_the_base_of_the_subnet_and_no_other_address() {
    assert_eq!(address(&there(), net("11.10.0.0/20")), []);
    let fresh = Device { up: false, addresses: Vec::new(), ..there() };
    let seen_fresh = seen(vec![fresh.clone()]);
    insta::assert_snapshot!(show(&seen_fresh, &address(&fresh, net("11.10.0.0/20"))), @"
    ip address add 11.10.0.0/32 dev flannel.100
    ip link set flannel.100 up
    ");
    let seen_there = seen(vec![there()]);
    insta::assert_snapshot!(show(&seen_there, &address(&there(), net("11.10.16.0/20"))), @"
    ip address delete 11.10.0.0/32 dev flannel.100
    ip address add 11.10.16.0/32 dev flannel.100
    ");
}

#[test]
fn vxlan_peers_get_neighbour_forwarding_entry_and_route_in_this_order() {
    let mut seen = seen(vec![there()]);
    let leases = leases(&["10.0.0.4", "10.1.0.5"], vxlan);
    insta::assert_snapshot!(converge(&config(VXLAN), &leases, &overlay_scope(), &mut seen), @"
    ip neigh replace 11.10.16.0 lladdr 02:00:00:00:00:01 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:01 dev flannel.100 dst 10.0.0.4 self permanent
    ip route replace 11.10.16.0/20 via 11.10.16.0 dev flannel.100 onlink
    ip neigh replace 11.10.32.0 lladdr 02:00:00:00:00:02 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:02 dev flannel.100 dst 10.1.0.5 self permanent
    ip route replace 11.10.32.0/20 via 11.10.32.0 dev flannel.100 onlink
    ");
    insta::assert_snapshot!(converge(&config(VXLAN), &leases[..1], &overlay_scope(), &mut seen), @"
    ip neigh delete 11.10.32.0 dev flannel.100
    bridge fdb delete 02:00:00:00:00:02 dev flannel.100 dst 10.1.0.5 self
    ip route delete 11.10.32.0/20 via 11.10.32.0 dev flannel.100
    ");
}

#[test]
fn only_what_is_missing_or_wrong_is_written() {
    let mut seen = seen(vec![there()]);
    let mut leases = leases(&["10.0.0.4", "10.0.0.5"], vxlan);
    converge(&config(VXLAN), &leases, &overlay_scope(), &mut seen);
    seen.forwarding.retain(|f| f.mac != mac(2));
    insta::assert_snapshot!(
        converge(&config(VXLAN), &leases, &overlay_scope(), &mut seen),
        @"bridge fdb replace 02:00:00:00:00:02 dev flannel.100 dst 10.0.0.5 self permanent"
    );
    // A peer with a new device, and one with a new address.
    leases[0].attributes.as_mut().unwrap().backend = vxlan(9);
    leases[1].attributes.as_mut().unwrap().public_ip = Ipv4Addr::new(10, 0, 0, 6);
    insta::assert_snapshot!(converge(&config(VXLAN), &leases, &overlay_scope(), &mut seen), @"
    ip neigh replace 11.10.16.0 lladdr 02:00:00:00:00:09 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:09 dev flannel.100 dst 10.0.0.4 self permanent
    bridge fdb replace 02:00:00:00:00:02 dev flannel.100 dst 10.0.0.6 self permanent
    bridge fdb delete 02:00:00:00:00:01 dev flannel.100 dst 10.0.0.4 self
    bridge fdb delete 02:00:00:00:00:02 dev flannel.100 dst 10.0.0.5 self
    ");
}

#[test]
fn host_gw_peers_get_a_route_alone() {
    let mut seen = seen(Vec::new());
    let scope = Scope { device: None, external: Some(2), direct: vec![(net("11.0.0.0/8"), 20)] };
    let leases = leases(&["10.0.0.4", "10.0.0.5"], |_| BackendData::HostGw);
    insta::assert_snapshot!(converge(&config(HOST_GW), &leases, &scope, &mut seen), @"
    ip route replace 11.10.16.0/20 via 10.0.0.4 dev eth0
    ip route replace 11.10.32.0/20 via 10.0.0.5 dev eth0
    ");
    insta::assert_snapshot!(
        converge(&config(HOST_GW), &leases[1..], &scope, &mut seen),
        @"ip route delete 11.10.16.0/20 via 10.0.0.4 dev eth0"
    );
}

#[test]
fn with_direct_routing_peers_on_the_link_get_a_route_and_the_others_the_overlay() {
    let mut seen = seen(vec![there()]);
    let direct = Scope { direct: vec![(net("11.0.0.0/8"), 20)], ..overlay_scope() };
    let leases = leases(&["10.0.0.4", "10.1.0.5"], vxlan);
    insta::assert_snapshot!(converge(&config(DIRECT), &leases, &direct, &mut seen), @"
    ip route replace 11.10.16.0/20 via 10.0.0.4 dev eth0
    ip neigh replace 11.10.32.0 lladdr 02:00:00:00:00:02 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:02 dev flannel.100 dst 10.1.0.5 self permanent
    ip route replace 11.10.32.0/20 via 11.10.32.0 dev flannel.100 onlink
    ");
    // Back and forth, each route takes the other's place: there is no moment without.
    insta::assert_snapshot!(converge(&config(VXLAN), &leases, &direct, &mut seen), @"
    ip neigh replace 11.10.16.0 lladdr 02:00:00:00:00:01 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:01 dev flannel.100 dst 10.0.0.4 self permanent
    ip route replace 11.10.16.0/20 via 11.10.16.0 dev flannel.100 onlink
    ");
    insta::assert_snapshot!(converge(&config(DIRECT), &leases, &direct, &mut seen), @"
    ip route replace 11.10.16.0/20 via 10.0.0.4 dev eth0
    ip neigh delete 11.10.16.0 dev flannel.100
    bridge fdb delete 02:00:00:00:00:01 dev flannel.100 dst 10.0.0.4 self
    ");
}

#[test]
fn workers_that_speak_otherwise_and_ourselves_are_no_peers() {
    let mut leases = leases(&["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"], vxlan);
    leases[1].attributes.as_mut().unwrap().backend = BackendData::HostGw;
    leases[2].attributes.as_mut().unwrap().backend = BackendData::Other("wireguard".into());
    leases[3].attributes = None;
    leases.push(
        lease::parse(
            "11.10.0.0-20",
            Attributes { public_ip: [10, 0, 0, 7].into(), backend: vxlan(7) }.to_json().as_bytes(),
            false,
        )
        .unwrap(),
    );
    let own = (ME, net("11.10.0.0/20"));
    assert_eq!(peers(&config(VXLAN), &leases, own, &external(), Some(7)), []);
    let host_gw = peers(&config(HOST_GW), &leases, own, &external(), None);
    assert_eq!(host_gw.iter().map(|p| p.host).collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 4)]);
}

#[test]
fn of_two_peers_with_one_ethernet_address_the_last_is_believed_and_it_is_quiet() {
    let mut seen = seen(vec![there()]);
    let leases = leases(&["10.0.0.4", "10.0.0.5"], |_| vxlan(1));
    insta::assert_snapshot!(converge(&config(VXLAN), &leases, &overlay_scope(), &mut seen), @"
    ip neigh replace 11.10.16.0 lladdr 02:00:00:00:00:01 dev flannel.100 nud permanent
    ip route replace 11.10.16.0/20 via 11.10.16.0 dev flannel.100 onlink
    ip neigh replace 11.10.32.0 lladdr 02:00:00:00:00:01 dev flannel.100 nud permanent
    bridge fdb replace 02:00:00:00:00:01 dev flannel.100 dst 10.0.0.5 self permanent
    ip route replace 11.10.32.0/20 via 11.10.32.0 dev flannel.100 onlink
    ");
}

#[test]
fn what_is_somebody_elses_stays() {
    let mut seen = seen(vec![there()]);
    let gateway = Ipv4Addr::new(10, 0, 0, 9);
    let route = |to, index, boot| GatewayRoute { to: net(to), gateway, index, onlink: false, boot };
    let foreign = [
        route("0.0.0.0/0", 2, true),
        route("192.0.2.0/24", 2, true),
        route("11.10.48.0/20", 2, false),
        route("11.10.48.0/24", 2, true),
        route("11.10.64.0/20", 5, true),
    ];
    seen.routes.extend(foreign);
    seen.neighbours.insert(Neighbour { index: 2, address: gateway, mac: mac(9) });
    let direct = Scope { direct: vec![(net("11.0.0.0/8"), 20)], ..overlay_scope() };
    assert_eq!(converge(&config(DIRECT), &[], &direct, &mut seen), "");
    // But one that looks like ours is left over from us, unless we never make such.
    seen.routes.insert(route("11.10.48.0/20", 2, true));
    assert_eq!(converge(&config(VXLAN), &[], &overlay_scope(), &mut seen), "");
    insta::assert_snapshot!(
        converge(&config(DIRECT), &[], &direct, &mut seen),
        @"ip route delete 11.10.48.0/20 via 10.0.0.9 dev eth0"
    );
}
