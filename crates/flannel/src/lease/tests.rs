use super::*;

/// Six subnets, 11.0.0.8/29 … of which three are left out at either end of the network.
const CONFIG: &str = r#"{"Network": "11.0.0.0/24", "SubnetLen": 29, "SubnetMin": "11.0.0.24",
                         "SubnetMax": "11.0.0.64", "Backend": {"Type": "host-gw"}}"#;
const ME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn config() -> NetworkConfig {
    NetworkConfig::parse(CONFIG.as_bytes()).unwrap()
}

fn net(text: &str) -> Ipv4Network {
    text.parse().unwrap()
}

/// Leases from pairs of key and the last number of 10.0.0.x.
fn leases(all: &[(&str, u8)]) -> BTreeMap<String, Lease> {
    all.iter()
        .map(|(key, host)| {
            let public_ip = Ipv4Addr::new(10, 0, 0, *host);
            let value = Attributes { public_ip, backend: BackendData::HostGw }.to_json();
            ((*key).to_owned(), parse(key, value.as_bytes(), false).unwrap())
        })
        .collect()
}

fn first(_: usize) -> usize {
    0
}

#[test]
fn values_are_byte_for_byte_those_of_the_real_one() {
    // As they stood in etcd after a real flanneld v0.28.9.
    let vxlan = r#"{"PublicIP":"10.0.0.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":100,"VtepMAC":"0e:80:1f:e7:b7:e3"}}"#;
    let host_gw = r#"{"PublicIP":"10.0.0.3","PublicIPv6":null,"BackendType":"host-gw"}"#;
    let mac = "0e:80:1f:e7:b7:e3".parse().unwrap();
    for (json, backend) in [(vxlan, BackendData::Vxlan { vni: 100, mac }), (host_gw, BackendData::HostGw)] {
        let attributes = Attributes { public_ip: ME, backend };
        assert_eq!(attributes.to_json(), json);
        assert_eq!(Attributes::parse(json.as_bytes()), Some(attributes));
    }
}

#[test]
fn values_of_others_are_read_with_tolerance_and_never_believed_in_part() {
    let read = |json: &str| Attributes::parse(json.as_bytes());
    let other = read(r#"{"publicip":"10.0.0.9","BackendType":"wireguard","BackendData":{"PublicKey":"x"}}"#);
    assert_eq!(other.unwrap().backend, BackendData::Other("wireguard".into()));
    for wrong in [
        "",
        "null",
        r#"{"BackendType":"host-gw"}"#,
        r#"{"PublicIP":"10.0.0","BackendType":"host-gw"}"#,
        r#"{"PublicIP":"10.0.0.9","BackendType":"vxlan"}"#,
        r#"{"PublicIP":"10.0.0.9","BackendType":"vxlan","BackendData":{"VNI":1}}"#,
        r#"{"PublicIP":"10.0.0.9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"zz"}}"#,
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_key_is_a_subnet() {
    assert_eq!(key(net("11.10.16.0/20")), "11.10.16.0-20");
    let lease = parse("11.10.16.0-20", b"?", true).unwrap();
    assert_eq!(lease, Lease { subnet: net("11.10.16.0/20"), attributes: None, reserved: true, dual: false });
    let dual = parse("11.10.16.0-20&fd00::-64", b"?", false).unwrap();
    assert!(dual.dual && dual.subnet == net("11.10.16.0/20"));
    for wrong in ["", "11.10.16.0", "11.10.16.0-33", "11.10.16.1-20", "11.10.16.0-020", "x-20", "fd00::-64"] {
        assert_eq!(parse(wrong, b"", false), None, "{wrong}");
    }
}

#[test]
fn the_lease_that_bears_our_address_comes_first() {
    let leases = leases(&[("11.0.0.24-29", 9), ("11.0.0.40-29", 3), ("11.0.0.48-29", 3)]);
    let previous = Some(net("11.0.0.32/29"));
    let choice = choose(&config(), &leases, ME, previous, first);
    assert_eq!(choice, Ok(Choice::Renew { subnet: net("11.0.0.40/29"), reserved: false }));
}

#[test]
fn a_reservation_stays_one() {
    let mut leases = leases(&[("11.0.0.40-29", 3)]);
    leases.get_mut("11.0.0.40-29").unwrap().reserved = true;
    let choice = choose(&config(), &leases, ME, None, first);
    assert_eq!(choice, Ok(Choice::Renew { subnet: net("11.0.0.40/29"), reserved: true }));
}

#[test]
fn our_lease_of_another_network_or_length_or_with_ipv6_is_dropped() {
    for key in ["11.0.0.8-29", "11.0.0.72-29", "11.0.0.32-30", "11.0.0.32-29&fd00::-64"] {
        let leases = leases(&[(key, 3)]);
        assert_eq!(choose(&config(), &leases, ME, None, first), Ok(Choice::Drop(key.into())));
    }
}

#[test]
fn the_previous_subnet_comes_second_if_it_is_free_and_fits() {
    let choice = |all: &[(&str, u8)], previous: &str| {
        choose(&config(), &leases(all), ME, Some(net(previous)), first).unwrap()
    };
    assert_eq!(choice(&[("11.0.0.24-29", 9)], "11.0.0.48/29"), Choice::Create(net("11.0.0.48/29")));
    let another = Choice::Create(net("11.0.0.24/29"));
    assert_eq!(choice(&[("11.0.0.48-29", 9)], "11.0.0.48/29"), another, "someone has it");
    assert_eq!(choice(&[("11.0.0.48-30", 9)], "11.0.0.48/29"), another, "someone has a part of it");
    assert_eq!(choice(&[], "11.0.0.8/29"), another, "out of range");
    assert_eq!(choice(&[], "11.0.0.48/30"), another, "another length");
}

#[test]
fn else_one_of_the_first_hundred_free_ones_is_drawn() {
    let config =
        NetworkConfig::parse(br#"{"Network": "11.0.0.0/8", "SubnetLen": 20, "SubnetMin": "11.10.0.0", "Backend": {"Type": "host-gw"}}"#)
            .unwrap();
    // Unreadable, and of another length: both are in the way.
    let mut taken = leases(&[("11.10.16.0-24", 9)]);
    taken.insert("11.10.32.0-20".into(), parse("11.10.32.0-20", b"?", false).unwrap());
    let draw = |n: usize| {
        let mut count = 0;
        let choice = choose(&config, &taken, ME, None, |of| {
            count = of;
            n
        });
        let Ok(Choice::Create(subnet)) = choice else { panic!("{choice:?}") };
        (count, subnet.to_string())
    };
    assert_eq!(draw(0), (100, "11.10.0.0/20".into()));
    assert_eq!(draw(1), (100, "11.10.48.0/20".into()));
    assert_eq!(draw(99), (100, "11.16.80.0/20".into()));
}

#[test]
fn the_first_subnet_of_a_network_is_left_out() {
    let config =
        NetworkConfig::parse(br#"{"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}"#).unwrap();
    assert_eq!(choose(&config, &BTreeMap::new(), ME, None, first), Ok(Choice::Create(net("10.5.1.0/24"))));
}

#[test]
fn when_all_are_leased_it_says_how_many_there_are() {
    let all: Vec<(String, u8)> = config().subnets().zip(10..).map(|(s, host)| (key(s), host)).collect();
    let all: Vec<(&str, u8)> = all.iter().map(|(key, host)| (key.as_str(), *host)).collect();
    let error = choose(&config(), &leases(&all), ME, Some(net("11.0.0.24/29")), first).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no subnet is free: all 6 from 11.0.0.24/29 to 11.0.0.64/29 are leased; delete a lease under \
         <prefix>/subnets, or widen Network, SubnetMin and SubnetMax"
    );
    // One that is given back is found.
    let choice = choose(&config(), &leases(&all[..5]), ME, None, first);
    assert_eq!(choice, Ok(Choice::Create(net("11.0.0.64/29"))));
}
