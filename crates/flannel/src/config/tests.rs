use super::*;

fn parse(json: &str) -> Result<NetworkConfig, ConfigError> {
    NetworkConfig::parse(json.as_bytes())
}

fn why(json: &str) -> String {
    parse(json).expect_err(json).to_string()
}

/// A network with a backend, so that only the range is in question.
fn range(fields: &str) -> Result<NetworkConfig, ConfigError> {
    parse(&format!(r#"{{{fields}, "Backend": {{"Type": "host-gw"}}}}"#))
}

fn bounds(fields: &str) -> (u8, String, String) {
    let config = range(fields).expect(fields);
    (config.subnet_len, config.subnet_min.to_string(), config.subnet_max.to_string())
}

#[test]
fn the_labs_own_configuration() {
    let config = parse(include_str!("../../../../conf/flannel-network-config.json")).unwrap();
    assert_eq!(config.network.to_string(), "11.0.0.0/8");
    assert_eq!(config.subnet_len, 20);
    assert_eq!((config.subnet_min, config.subnet_max), ([11, 10, 0, 0].into(), [11, 99, 0, 0].into()));
    let Backend::Vxlan(vxlan) = &config.backend else { panic!("{config:?}") };
    assert_eq!((vxlan.vni, vxlan.port, vxlan.mtu), (100, Some(8472), None));
    assert_eq!((vxlan.gbp, vxlan.learning, vxlan.direct_routing), (false, false, false));
    assert_eq!(vxlan.device(), "flannel.100");
    assert_eq!(vxlan.device_mtu(1500), Ok(1450));
}

#[test]
fn defaults_depend_on_the_network() {
    assert_eq!(bounds(r#""Network": "10.5.0.0/16""#), (24, "10.5.1.0".into(), "10.5.255.0".into()));
    assert_eq!(bounds(r#""Network": "10.5.4.0/22""#), (24, "10.5.5.0".into(), "10.5.7.0".into()));
    assert_eq!(bounds(r#""Network": "10.5.4.0/23""#), (25, "10.5.4.128".into(), "10.5.5.128".into()));
    assert_eq!(bounds(r#""Network": "10.5.4.0/28""#), (30, "10.5.4.4".into(), "10.5.4.12".into()));
    // The end of the address space is no end of the arithmetic.
    assert_eq!(
        bounds(r#""Network": "128.0.0.0/1", "SubnetLen": 8"#),
        (8, "129.0.0.0".into(), "255.0.0.0".into())
    );
    let whole = range(r#""Network": "10.5.4.7/28""#).unwrap();
    assert_eq!(whole.network.to_string(), "10.5.4.0/28", "the host's bits are dropped");
    let subnets: Vec<_> = whole.subnets().map(|s| s.to_string()).collect();
    assert_eq!(subnets, ["10.5.4.4/30", "10.5.4.8/30", "10.5.4.12/30"]);
}

#[test]
fn what_the_real_one_refuses_is_refused() {
    let refusals = [
        (r#""SubnetLen": 24"#, "Network is missing: which addresses have the pods?"),
        (r#""Network": "0.0.0.0/0""#, "Network is missing: which addresses have the pods?"),
        (
            r#""Network": "10.5.4.0/29""#,
            "Network is too small: below /28 there are no four subnets of four addresses",
        ),
        (
            r#""Network": "10.5.0.0/16", "SubnetLen": 31"#,
            "SubnetLen is above 30: a subnet has room for a bridge and a pod",
        ),
        (
            r#""Network": "10.5.0.0/16", "SubnetLen": 17"#,
            "SubnetLen leaves Network less than four subnets, the first of which is not leased",
        ),
        (r#""Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0""#, "SubnetMin is not within Network"),
        (r#""Network": "10.5.0.0/16", "SubnetMax": "10.4.0.0""#, "SubnetMax is not within Network"),
        (
            r#""Network": "10.5.0.0/16", "SubnetMin": "10.5.0.1""#,
            "SubnetMin 10.5.0.1 is not where a subnet of SubnetLen begins",
        ),
        (
            r#""Network": "10.5.0.0/16", "SubnetMax": "10.5.9.1""#,
            "SubnetMax 10.5.9.1 is not where a subnet of SubnetLen begins",
        ),
    ];
    for (fields, reason) in refusals {
        assert_eq!(range(fields).expect_err(fields).to_string(), format!("network config: {reason}"));
    }
}

#[test]
fn names_have_no_case_and_the_last_of_two_counts() {
    let config = parse(
        r#"{"NETWORK": "10.4.0.0/16", "network": "10.5.0.0/16", "sUbNeTlEn": 26,
            "backend": {"type": "VXLAN", "VNI": 7, "port": 4789, "mtu": 1400, "directrouting": true,
                        "learning": true, "gbp": true, "Name": "ignored"}, "Other": 1}"#,
    )
    .unwrap();
    assert_eq!((config.network.to_string().as_str(), config.subnet_len), ("10.5.0.0/16", 26));
    let Backend::Vxlan(vxlan) = config.backend else { panic!() };
    assert_eq!(vxlan.device_mtu(9000), Ok(1350));
    assert_eq!(
        vxlan,
        Vxlan { vni: 7, port: Some(4789), mtu: Some(1400), gbp: true, learning: true, direct_routing: true }
    );
}

#[test]
fn null_and_nought_are_as_good_as_absent() {
    let config = range(
        r#""Network": "10.5.0.0/16", "SubnetLen": null, "SubnetMin": "0.0.0.0", "SubnetMax": null,
           "EnableIPv4": null"#,
    )
    .unwrap();
    assert_eq!(config.subnet_len, 24);
    let vxlan = r#"{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "Port": 0, "VNI": null}}"#;
    let Backend::Vxlan(vxlan) = parse(vxlan).unwrap().backend else { panic!() };
    assert_eq!((vxlan.vni, vxlan.port), (1, None), "the default VNI is 1, the port the kernel's");
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    assert!(why("{").starts_with("network config: EOF"));
    assert!(why("[]").contains("expected an object"));
    assert_eq!(
        why(r#"{"Network": "11.0.0.0"}"#),
        r#"network config: Network is "11.0.0.0", not an IPv4 network, such as 10.5.0.0/16"#
    );
    assert_eq!(
        why(r#"{"Network": "11.0.0.0/8", "SubnetLen": "20"}"#),
        r#"network config: SubnetLen is "20", not a whole number"#
    );
    assert_eq!(
        why(r#"{"Network": "11.0.0.0/8", "SubnetLen": -1}"#),
        "network config: SubnetLen is -1, not a whole number"
    );
    assert!(why(r#"{"Network": "11.0.0.0/8", "Backend": "vxlan"}"#).contains("Backend: "));
    assert!(why(r#"{"Network": "11.0.0.0/8"} trailing"#).contains("trailing characters"));
}

#[test]
fn what_is_not_built_in_says_who_can() {
    let with = |more: &str| why(&format!(r#"{{"Network": "10.5.0.0/16"{more}}}"#));
    let not = |what: &str| {
        format!("network config: {what} is not built in; the real flanneld can do it (components: real)")
    };
    assert_eq!(with(""), not("backend udp"));
    assert_eq!(with(r#", "Backend": {"Type": "wireguard"}"#), not("backend wireguard"));
    assert_eq!(with(r#", "EnableIPv6": true"#), not("EnableIPv6"));
    assert_eq!(with(r#", "Backend": {"Type": "vxlna"}"#), "network config: there is no backend \"vxlna\"");
    assert_eq!(with(r#", "Backend": null"#), "network config: there is no backend \"\"");
}

#[test]
fn figures_out_of_range_are_refused_before_the_kernel_does() {
    let vxlan = |field: &str| {
        why(&format!(r#"{{"Network": "10.5.0.0/16", "Backend": {{"Type": "vxlan", {field}}}}}"#))
    };
    assert_eq!(vxlan(r#""VNI": 16777216"#), "network config: VNI 16777216 is out of range");
    assert_eq!(
        vxlan(r#""VNI": 16777215"#),
        "network config: VNI 16777215: no interface can be named flannel.16777215"
    );
    assert_eq!(vxlan(r#""Port": 65536"#), "network config: Port 65536 is out of range");
    let config =
        Vxlan { vni: 1, port: None, mtu: Some(100), gbp: false, learning: false, direct_routing: false };
    assert_eq!(
        config.device_mtu(1500).unwrap_err().to_string(),
        "network config: an MTU of 100 leaves no room for VXLAN's 50 bytes"
    );
}

#[test]
fn a_subnet_is_admitted_by_its_place_and_its_length() {
    let config = range(
        r#""Network": "11.0.0.0/8", "SubnetLen": 20, "SubnetMin": "11.10.0.0", "SubnetMax": "11.99.0.0""#,
    )
    .unwrap();
    for (subnet, admitted) in [
        ("11.10.0.0/20", true),
        ("11.99.0.0/20", true),
        ("11.99.16.0/20", false),
        ("11.9.240.0/20", false),
        ("11.10.0.0/24", false),
    ] {
        assert_eq!(config.admits(subnet.parse().unwrap()), admitted, "{subnet}");
    }
}
