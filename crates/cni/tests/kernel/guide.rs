//! The plugin of `docs/cni-plugin.md`, taken from there as it is printed.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use cni::{Code, Error, NetworkList, Version};
use net::Links;
use serde_json::{Map, Value, json};
use testkit::in_ns;

use crate::lab::{Container, Lab, address, list};

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cni-plugin.md");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let guide = guide();
    let fence = format!("\n```{language}\n");
    let bodies = guide.split(&fence).skip(1);
    bodies.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

fn script() -> String {
    let mut scripts = blocks("sh");
    assert_eq!(scripts.len(), 1, "the guide has one script");
    scripts.remove(0)
}

/// A lab with the plugin, and a network of the guide whose leases are in the lab's folder.
fn lab(name: &str) -> (Lab, NetworkList) {
    let lab = Lab::new();
    lab.plugin("wire", &script());
    let lists = blocks("json");
    let parsed = lists.iter().map(|text| serde_json::from_str(text).unwrap());
    let mut network: Value = parsed.into_iter().find(|list: &Value| list["name"] == name).unwrap();
    network["plugins"][0]["ipam"]["dataDir"] = json!(lab.folder.path().join("ipam"));
    (lab, list(&network))
}

#[test]
fn it_has_twenty_lines() {
    let script = script();
    let lines = script.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    assert_eq!(lines.count(), 20);
}

#[test]
fn it_tells_its_version() {
    let (lab, _) = lab("wirenet");
    let versions = lab.on_host(lab.cni.version("wire")).unwrap();
    assert_eq!(versions.supported, [Version::V1_0_0.as_str()]);
}

#[test]
fn it_attaches_checks_and_detaches() {
    let (lab, network) = lab("wirenet");
    let (blue, red) = (Container::new(), Container::new());
    let first = lab.add(&network, &blue);
    let second = lab.add(&network, &red);
    assert_eq!((address(&first), address(&second)), (Ipv4Addr::new(10, 7, 0, 2), Ipv4Addr::new(10, 7, 0, 3)));
    assert_eq!(first.interfaces()[1].sandbox, blue.path.to_str().unwrap());
    blue.ping(address(&second));
    red.ping(Ipv4Addr::new(10, 7, 0, 1));
    lab.on_host(lab.cni.check(&network, &blue.attachment)).unwrap();

    in_ns(&blue.ns, async { Links::open()?.delete("eth0").await }).unwrap();
    let error = lab.on_host(lab.cni.check(&network, &blue.attachment)).unwrap_err();
    assert_eq!(error.code(), Some(Code::Own(101)), "{error}");
    assert!(error.to_string().contains("plugin's own: eth0 is gone; stderr: "), "{error}");

    for _ in 0..2 {
        lab.del(&network, &blue);
    }
    lab.del(&network, &red);
    assert_eq!((lab.leases("wirenet").len(), lab.links("veth")), (0, 0));
    assert!(!red.has_link("eth0"));
}

#[test]
fn what_is_in_the_way_is_told_and_the_address_is_free_again() {
    let (lab, network) = lab("wirenet");
    let blue = Container::new();
    in_ns(&blue.ns, async { Links::open()?.add_bridge("eth0", 1500).await }).unwrap();
    let error = lab.on_host(lab.cni.add(&network, &blue.attachment)).unwrap_err();
    assert!(matches!(error, Error::Plugin(_)), "{error}");
    assert_eq!(error.code(), Some(Code::Own(100)));
    assert!(
        error.to_string().contains("no cable wire") && error.to_string().contains("File exists"),
        "{error}"
    );
    assert!(lab.leases("wirenet").is_empty() && blue.has_link("eth0"));
}

#[test]
fn an_error_of_the_one_that_it_asks_is_passed_on() {
    let (lab, mut network) = lab("wirenet");
    let text = String::from_utf8(network.bytes().to_vec()).unwrap();
    network = NetworkList::parse(text.replace("10.7.0.0/24", "10.7.0.0/31").as_bytes()).unwrap();
    let error = lab.on_host(lab.cni.add(&network, &Container::new().attachment)).unwrap_err().to_string();
    assert!(error.contains("plugin wire (") && error.contains("10.7.0.0/31"), "{error}");
}

#[test]
fn others_go_behind_it() {
    let (lab, network) = lab("chainnet");
    let mut red = Container::new();
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    red.attachment.capability_args = Map::from_iter([("portMappings".into(), mapping)]);
    lab.add(&network, &red);
    let mtu = in_ns(&red.ns, async { Links::open()?.get("eth0").await }).unwrap().mtu;
    assert_eq!(mtu, 1400);
    red.ping(Ipv4Addr::new(10, 7, 1, 1));
    lab.del(&network, &red);
    assert_eq!((lab.leases("chainnet").len(), lab.links("veth")), (0, 0));
}
