use serde_json::json;

use super::*;

fn parse(value: &Value) -> Result<AddResult, String> {
    AddResult::parse(value.to_string().as_bytes(), Version::V1_1_0)
}

fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 1450, "sandbox": "/run/netns/blue",
             "socketPath": "/s", "pciID": "0000:00:1f.6", "own": [1]},
        ],
        "ips": [
            {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1, "own": true},
            {"address": "fd00::5/64", "interface": 1},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "10.9.0.0/16", "gw": "10.1.0.9", "mtu": 1400, "advmss": 1360, "priority": 7,
             "table": 100, "scope": 253},
        ],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "d", "search": ["s"], "options": ["o"]},
        "own": {"kept": null},
    })
}

#[test]
fn every_field_is_read() {
    let result = parse(&full()).unwrap();
    assert_eq!(result.version(), Version::V1_1_0);
    let [host, container] = result.interfaces() else { panic!("{result:?}") };
    assert_eq!((host.name.as_str(), host.sandbox.as_str(), host.mtu), ("cni0", "", None));
    assert_eq!((container.mtu, container.pci_id.as_deref()), (Some(1450), Some("0000:00:1f.6")));
    assert_eq!(container.socket_path.as_deref(), Some("/s"));
    assert_eq!(result.ips()[0].address, "10.1.0.5/16".parse().unwrap());
    assert_eq!(result.ips()[0].gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(result.ips()[1].gateway, None);
    let route = &result.routes()[1];
    assert_eq!((route.mtu, route.advmss, route.priority), (Some(1400), Some(1360), Some(7)));
    assert_eq!((route.table, route.scope), (Some(100), Some(253)));
    assert_eq!(result.dns().nameservers, ["10.1.0.1"]);
    assert_eq!(&Value::Object(result.raw().clone()), &full());
}

#[test]
fn what_go_programs_write_for_nothing_is_nothing() {
    let result = parse(&json!({
        "cniVersion": "", "interfaces": null, "routes": null, "dns": {},
        "ips": [{"address": "10.0.0.1/24", "gateway": "", "interface": -1}],
    }))
    .unwrap();
    assert_eq!(result.version(), Version::V1_1_0);
    assert!(result.interfaces().is_empty() && result.routes().is_empty());
    assert_eq!((result.ips()[0].gateway, result.ips()[0].interface), (None, None));
    assert!(!result.raw().contains_key("dns"));
    assert!(parse(&json!({})).unwrap().ips().is_empty());
}

#[test]
fn a_result_without_a_version_has_the_networks() {
    let result = AddResult::parse(b"{}", Version::V0_4_0).unwrap();
    assert_eq!(result.version(), Version::V0_4_0);
    assert_eq!(result.raw()["cniVersion"], "0.4.0");
}

#[test]
fn what_is_no_result_is_refused_with_its_place() {
    let error = |value: Value| parse(&value).unwrap_err();
    assert_eq!(error(json!([])), "no JSON object");
    assert_eq!(error(json!(null)), "no JSON object");
    assert!(error(json!({"cniVersion": "0.2.0"})).starts_with("cniVersion: version 0.2.0 is not supported"));
    assert_eq!(error(json!({"cniVersion": 1})), "cniVersion: 1 is no text");
    let ip = |address: &str| error(json!({"ips": [{"address": address}]}));
    assert_eq!(ip("10.0.0.1"), r#"ips[0].address: "10.0.0.1" has no prefix length"#);
    assert_eq!(ip("10.0.0.1/33"), r#"ips[0].address: "10.0.0.1/33" is no address with a prefix length"#);
    assert_eq!(
        error(json!({"routes": [{"dst": "0.0.0.0/0", "gw": "x"}]})),
        r#"routes[0].gw: "x" is no address"#
    );
    assert!(error(json!({"interfaces": [{}]})).contains("missing field `name`"));
    assert!(AddResult::parse(b"", Version::LATEST).is_err());
    assert!(AddResult::parse(b"{} {}", Version::LATEST).is_err());
}

#[test]
fn going_down_to_0_4_0_gives_families_and_takes_what_is_newer() {
    let old = parse(&full()).unwrap().convert(Version::V0_4_0);
    assert_eq!(old.version(), Version::V0_4_0);
    let raw = old.raw();
    assert_eq!(raw["cniVersion"], "0.4.0");
    assert_eq!((&raw["ips"][0]["version"], &raw["ips"][1]["version"]), (&json!("4"), &json!("6")));
    let interface =
        json!({"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/run/netns/blue", "own": [1]});
    assert_eq!(raw["interfaces"][1], interface);
    assert_eq!(old.interfaces()[1].mtu, None);
    // As the Go library: routes stay as they are, and so does what nobody here knows.
    assert_eq!(raw["routes"], full()["routes"]);
    assert_eq!((&raw["ips"][0]["own"], &raw["own"]), (&json!(true), &json!({"kept": null})));
}

#[test]
fn going_up_to_1_0_0_takes_the_families() {
    let old = json!({
        "cniVersion": "0.3.1",
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [{"version": "4", "address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0}],
    });
    let new = parse(&old).unwrap().convert(Version::V1_0_0);
    assert_eq!(new.raw()["ips"][0], json!({"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0}));
    assert_eq!(new.raw()["interfaces"], old["interfaces"]);
}

#[test]
fn every_version_goes_to_every_other_and_back() {
    let plain = json!({
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [{"address": "10.0.0.5/24", "interface": 0}, {"address": "fd00::5/64"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
        "own": 1,
    });
    let start = parse(&plain).unwrap();
    for from in Version::ALL {
        let there = start.convert(from);
        for to in Version::ALL {
            let converted = there.convert(to);
            assert_eq!(converted.version(), to);
            assert_eq!(converted.raw()["cniVersion"], to.as_str());
            assert_eq!(converted.raw()["ips"][0].get("version").is_some(), to < Version::V1_0_0);
            assert_eq!(converted.convert(from), there, "{from} to {to} and back");
            // What it says of itself can be read again.
            assert_eq!(AddResult::from_map(converted.raw().clone(), from).unwrap(), converted);
        }
    }
}

#[test]
fn between_1_0_0_and_1_1_0_nothing_is_lost() {
    let result = parse(&full()).unwrap();
    let mut expected = full();
    expected["cniVersion"] = "1.0.0".into();
    assert_eq!(Value::Object(result.convert(Version::V1_0_0).raw().clone()), expected);
    assert_eq!(result.convert(Version::V1_0_0).convert(Version::V1_1_0), result);
}

#[test]
fn addresses_of_an_interface_are_those_in_the_container() {
    let result = parse(&json!({
        "interfaces": [{"name": "eth0"}, {"name": "eth0", "sandbox": "/n"}, {"name": "net1", "sandbox": "/n"}],
        "ips": [
            {"address": "10.0.0.1/24", "interface": 0},
            {"address": "10.0.0.2/24", "interface": 1},
            {"address": "10.0.0.3/24", "interface": 2},
            {"address": "10.0.0.4/24"},
            {"address": "10.0.0.5/24", "interface": 9},
        ],
    }))
    .unwrap();
    let addresses: Vec<String> = result.ips_of("eth0").map(|ip| ip.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2/24", "10.0.0.4/24"]);
}

#[test]
fn it_prints_as_cnitool_does() {
    let result = parse(&json!({"ips": [{"interface": 0, "address": "10.0.0.1/24"}], "dns": {}})).unwrap();
    let expected = r#"{
    "cniVersion": "1.1.0",
    "ips": [
        {
            "address": "10.0.0.1/24",
            "interface": 0
        }
    ]
}"#;
    assert_eq!(result.pretty(), expected);
}
