//! Addresses and ports, also when many take them at once.

use std::collections::BTreeMap;

use api::admit::{self, Stamp};
use api::types::api::networking::v1::IPAddress;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;

fn allocator(store: &Store) -> Allocator {
    Allocator::new(store, "100.64.0.0/16".parse().unwrap(), 30000..=32767)
}

fn service(name: &str, spec: Value) -> Service {
    let mut document = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        document["spec"][key] = value.clone();
    }
    let stamp = Stamp { uid: new_uid(), now: time::now() };
    admit::create(&document, &stamp).unwrap()
}

fn ip(service: &Service) -> Ipv4Addr {
    service.spec.as_ref().unwrap().cluster_ip.as_deref().unwrap().parse().unwrap()
}

/// As the registry does.
async fn store_it(allocator: &Allocator, mut service: Service) -> Result<Service, String> {
    let allocated = allocator.allocate(&mut service, None).await.map_err(|error| error.to_string())?;
    match allocator.store.create(&mut service).await {
        Ok(()) => Ok(service),
        Err(error) => {
            allocator.give_back(&service, allocated).await.unwrap();
            Err(error.to_string())
        }
    }
}

async fn taken(store: &Store) -> BTreeMap<String, String> {
    let all = store.list::<IPAddress>(None).await.unwrap();
    all.iter().map(|one| (one.metadata.name.clone().unwrap(), owner_of(one).name.to_string())).collect()
}

#[tokio::test]
async fn a_service_gets_what_it_lacks() {
    let store = Store::memory();
    let allocator = allocator(&store);
    let web = store_it(&allocator, service("web", json!({}))).await.unwrap();
    assert!(!lacks(&web));
    // Not of the lower part.
    assert!(ip(&web) >= Ipv4Addr::new(100, 64, 1, 1), "{}", ip(&web));
    assert_eq!(web.spec.as_ref().unwrap().cluster_ips, Some(vec![ip(&web).to_string()]));
    assert_eq!(taken(&store).await, [(ip(&web).to_string(), "default/web".to_owned())].into());

    let both = json!({"type": "NodePort", "ports": [
        {"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30080},
        {"name": "c", "port": 81, "protocol": "UDP", "nodePort": 30080},
    ]});
    let np = store_it(&allocator, service("np", both)).await.unwrap();
    let ports = ports_of(&np);
    assert!(ports.len() == 2 && ports.contains(&30080) && *ports.last().unwrap() > 30085, "{ports:?}");
    assert_eq!(allocator.taken_ports().await.unwrap(), ports);

    let none = store_it(&allocator, service("none", json!({"clusterIP": "None"}))).await.unwrap();
    assert!(!lacks(&none) && addresses_of(&none).is_empty());
    let external = json!({"type": "ExternalName", "externalName": "example.com", "ports": []});
    let external = store_it(&allocator, service("external", external)).await.unwrap();
    assert!(!lacks(&external) && addresses_of(&external).is_empty());

    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let local = store_it(&allocator, service("local", local)).await.unwrap();
    assert_eq!(ports_of(&local).len(), 2, "one is for health checks");
    let unnumbered = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false});
    let unnumbered = store_it(&allocator, service("unnumbered", unnumbered)).await.unwrap();
    assert!(ports_of(&unnumbered).is_empty() && !lacks(&unnumbered));
}

#[tokio::test]
async fn what_is_taken_is_refused_in_the_api_servers_words() {
    let store = Store::memory();
    let allocator = allocator(&store);
    store_it(&allocator, service("a", json!({"clusterIP": "100.64.0.10"}))).await.unwrap();
    let np = |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    store_it(&allocator, service("b", np(30080))).await.unwrap();
    let refused = "The Service \"c\" is invalid: ";
    let table = [
        (
            json!({"clusterIP": "100.64.0.10"}),
            "spec.clusterIPs: Invalid value: [\"100.64.0.10\"]: failed to allocate IP 100.64.0.10: provided IP is \
             already allocated",
        ),
        (
            json!({"clusterIP": "10.0.0.1"}),
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided IP \
             (10.0.0.1) is not in the valid range. The range of valid IPs is 100.64.0.0/16",
        ),
        (
            json!({"clusterIP": "100.64.0.0"}),
            "spec.clusterIPs: Invalid value: [\"100.64.0.0\"]: failed to allocate IP 100.64.0.0: the provided IP \
             (100.64.0.0) is not in the valid range. The range of valid IPs is 100.64.0.0/16",
        ),
        (np(30080), "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"),
        (
            np(8080),
            "spec.ports[0].nodePort: Invalid value: 8080: provided port is not in the valid range. The range of \
             valid ports is 30000-32767",
        ),
    ];
    let before = (taken(&store).await, allocator.taken_ports().await.unwrap());
    for (spec, expected) in table {
        let said = store_it(&allocator, service("c", spec.clone())).await.unwrap_err();
        assert_eq!(said, format!("{refused}{expected}"), "{spec}");
    }
    assert_eq!((taken(&store).await, allocator.taken_ports().await.unwrap()), before, "nothing stays taken");
}

#[tokio::test]
async fn a_changed_service_keeps_what_it_has_and_gives_back_the_rest() {
    let store = Store::memory();
    let allocator = allocator(&store);
    let two = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]});
    let old = store_it(&allocator, service("web", two)).await.unwrap();
    let mut new = old.clone();
    new.spec.as_mut().unwrap().ports.as_mut().unwrap().remove(0);
    let allocated = allocator.allocate(&mut new, Some(&old)).await.unwrap();
    assert_eq!(allocated, Allocated::default());
    allocator.release(&old, Some(&new)).await.unwrap();
    assert_eq!(allocator.taken_ports().await.unwrap(), ports_of(&new));
    assert_eq!(ip(&new), ip(&old));
    allocator.release(&new, None).await.unwrap();
    assert!(allocator.taken_ports().await.unwrap().is_empty() && taken(&store).await.is_empty());
}

#[tokio::test]
async fn a_service_that_could_not_be_stored_leaves_nothing_taken() {
    let store = Store::memory();
    let allocator = allocator(&store);
    store_it(&allocator, service("web", json!({"type": "NodePort"}))).await.unwrap();
    let before = (taken(&store).await, allocator.taken_ports().await.unwrap());
    let again = store_it(&allocator, service("web", json!({"type": "NodePort"}))).await;
    assert_eq!(again.unwrap_err(), "services \"web\" already exists");
    assert_eq!((taken(&store).await, allocator.taken_ports().await.unwrap()), before);
}

#[tokio::test]
async fn what_a_lost_service_left_can_be_had_after_a_while() {
    let store = Store::memory();
    let allocator = allocator(&store);
    let wants = || service("b", json!({"clusterIP": "100.64.0.10"}));
    let mut lost = service("a", json!({"clusterIP": "100.64.0.10"}));
    let _ = allocator.allocate(&mut lost, None).await.unwrap();
    assert!(store_it(&allocator, wants()).await.unwrap_err().contains("already allocated"), "a may come yet");
    let age = |address: &mut IPAddress| {
        address.metadata.creation_timestamp = Some(
            "2026-01-01T00:00:00Z".parse().map(api::types::apimachinery::pkg::apis::meta::v1::Time).unwrap(),
        )
    };
    store.modify("", "100.64.0.10", age).await.unwrap();
    store_it(&allocator, wants()).await.unwrap();
    assert_eq!(taken(&store).await["100.64.0.10"], "default/b");
    // Reserved by something that is no service, it stays so.
    let vip = Owner { manager: "vip".into(), ..Owner::of(&service("vip", json!({}))) };
    let vip = Owner { resource: "configmaps".into(), ..vip };
    assert!(allocator.reserve(Ipv4Addr::new(100, 64, 10, 1), &vip).await.unwrap());
    store.modify("", "100.64.10.1", age).await.unwrap();
    assert!(store_it(&allocator, service("c", json!({"clusterIP": "100.64.10.1"}))).await.is_err());
}

#[tokio::test]
async fn a_small_network_is_used_up_and_then_full() {
    let store = Store::memory();
    let allocator = Allocator::new(&store, "10.9.0.0/29".parse().unwrap(), 30000..=30001);
    for number in 0..6 {
        store_it(&allocator, service(&format!("s{number}"), json!({}))).await.unwrap();
    }
    let full = store_it(&allocator, service("s6", json!({}))).await.unwrap_err();
    assert_eq!(full, "failed to allocate a serviceIP: range is full");
    assert_eq!(taken(&store).await.len(), 6);
    let np = |name: &str| service(name, json!({"clusterIP": "None"}));
    let mut two = np("x");
    two.spec.as_mut().unwrap().type_ = Some("NodePort".into());
    let mut three = two.clone();
    let port = two.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].clone();
    three.spec.as_mut().unwrap().ports = Some(vec![port.clone(), port.clone(), port.clone()]);
    let full = allocator.allocate(&mut three, None).await.unwrap_err().to_string();
    assert_eq!(full, "failed to allocate a nodePort: range is full");
    assert!(allocator.taken_ports().await.unwrap().is_empty());
    let _ = allocator.allocate(&mut two, None).await.unwrap();
    assert_eq!(allocator.taken_ports().await.unwrap().len(), 1);
}

#[tokio::test]
async fn ranges_are_found_where_the_control_plane_has_put_them() {
    let store = Store::memory();
    assert!(Allocator::of_cluster(&store).await.unwrap().is_none());
    let said = |found: Option<Allocator>| found.map(|one| (one.network().to_string(), one.node_ports()));
    for (network, ports) in [("100.64.0.0/16", 30000..=32767), ("10.96.0.0/12", 31000..=31999)] {
        let allocator = Allocator::new(&store, network.parse().unwrap(), ports.clone());
        allocator.publish().await.unwrap();
        let revision = store.list_as_of::<Service>(None).await.unwrap().revision;
        allocator.publish().await.unwrap();
        assert_eq!(store.list_as_of::<Service>(None).await.unwrap().revision, revision, "nothing differs");
        let found = Allocator::of_cluster(&store).await.unwrap();
        assert_eq!(said(found), Some((network.to_owned(), ports)));
    }
}

#[tokio::test]
async fn ports_stay_taken_when_the_range_moves() {
    let store = Store::memory();
    let np = |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    store_it(&allocator(&store), service("a", np(30500))).await.unwrap();
    store_it(&allocator(&store), service("b", np(32000))).await.unwrap();
    let other = Allocator::new(&store, "100.64.0.0/16".parse().unwrap(), 31000..=33000);
    other.publish().await.unwrap();
    assert_eq!(other.taken_ports().await.unwrap(), [32000].into(), "30500 is out of range now");
}

#[test]
fn ranges_are_as_upstreams() {
    // KEP-3070 has these numbers.
    let table = [(254, 16), (65534, 256), (14, 0), (4094, 255), (30, 16)];
    for (size, expected) in table {
        assert_eq!(lower_part(size, 16, 256), if size <= 16 { 0 } else { expected }, "{size}");
    }
    assert_eq!(lower_part(2768, 32, 128), 86);
    let all: BTreeSet<u32> = dynamic(254, 16, 77).collect();
    assert_eq!((all.len(), all.first(), all.last()), (254, Some(&0), Some(&253)));
    assert!(dynamic(254, 16, 77).take(238).all(|at| at >= 16));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However many control planes store services at once, some with wishes: no address and no port is given
    /// twice, and none is taken that no service has.
    #[test]
    fn nothing_is_given_twice(wishes in prop::collection::vec((any::<bool>(), prop::option::of(0u8..4), prop::option::of(0u16..4)), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let store = Store::memory();
            let mut tasks = JoinSet::new();
            for (number, (np, ip, port)) in wishes.into_iter().enumerate() {
                let allocator = Allocator::new(&store, "10.9.0.0/26".parse().unwrap(), 30000..=30020);
                let mut spec = json!({});
                if let Some(ip) = ip {
                    spec["clusterIP"] = format!("10.9.0.{}", ip + 1).into();
                }
                if np {
                    spec["type"] = "NodePort".into();
                    spec["ports"] = json!([{"port": 80, "nodePort": port.map(|port| 30000 + port)}]);
                }
                // Some have the same name.
                let name = format!("s{}", number % 12);
                tasks.spawn(async move { store_it(&allocator, service(&name, spec)).await });
            }
            let said: Vec<_> = tasks.join_all().await;
            let stored = store.list::<Service>(None).await.unwrap();
            assert_eq!(said.iter().filter(|said| said.is_ok()).count(), stored.len());
            let ips: BTreeSet<_> = stored.iter().map(|service| ip(service).to_string()).collect();
            assert_eq!(ips.len(), stored.len());
            assert_eq!(ips, taken(&store).await.into_keys().collect());
            let ports: Vec<u16> = stored.iter().flat_map(ports_of).collect();
            let distinct: BTreeSet<u16> = ports.iter().copied().collect();
            assert_eq!(ports.len(), distinct.len());
            let all = Allocator::new(&store, "10.9.0.0/26".parse().unwrap(), 30000..=30020);
            assert_eq!(all.taken_ports().await.unwrap(), distinct);
        });
    }
}
