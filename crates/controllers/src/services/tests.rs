//! Services as a whole, in memory.

use api::types::api::core::v1::Event;
use serde_json::{Value, json};
use store::registry;

use super::*;
use crate::fake::World;

fn service(name: &str, spec: Value) -> Value {
    let mut document = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        document["spec"][key] = value.clone();
    }
    document
}

fn world() -> World {
    let mut world = World::new();
    let allocator = Allocator::new(&world.store, "100.64.0.0/16".parse().unwrap(), 30000..=32767);
    let pool = Some("10.0.0.240/29".parse().unwrap());
    world.start(Services::new(&world.cluster, allocator, pool));
    world
}

fn ip(service: &Service) -> String {
    service.spec.as_ref().unwrap().cluster_ip.clone().unwrap_or_default()
}

fn fault(service: &Service) -> Option<&'static str> {
    apply::told(service).map(|fault| fault.reason)
}

async fn addresses(world: &World) -> Vec<String> {
    world
        .list::<IPAddress>()
        .await
        .iter()
        .map(|one| format!("{} {}", one.name(), owner_of(one).name))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn services_that_were_stored_without_get_what_they_lack() {
    let world = world();
    // As they are stored before the control plane is there.
    let np = world.create::<Service>(service("np", json!({"type": "NodePort"}))).await;
    let np = world.until_one("it has all", &np, |service| !store::allocator::lacks(service)).await;
    assert_eq!(addresses(&world).await, [format!("{} default/np", ip(&np))]);
    assert!(np.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].node_port.unwrap() >= 30086);
    let quiet = world.settled().await;
    assert_eq!(world.settled().await, quiet);

    // What has been given by hand is noted.
    let by_hand = service(
        "by-hand",
        json!({"clusterIP": "100.64.0.10", "type": "NodePort", "ports": [
            {"port": 80, "nodePort": 30001},
        ]}),
    );
    world.create::<Service>(by_hand).await;
    let noted = |all: &Vec<String>| all.contains(&"100.64.0.10 default/by-hand".to_owned());
    world.until("it is noted", || addresses(&world), noted).await;
    world.settled().await;
    let allocator = Allocator::of_cluster(&world.store).await.unwrap().unwrap();
    assert!(allocator.taken_ports().await.unwrap().contains(&30001));
}

#[tokio::test(start_paused = true)]
async fn what_two_have_is_told_the_later_one() {
    let world = world();
    let first = world.create::<Service>(service("first", json!({"clusterIP": "100.64.0.10"}))).await;
    world.settled().await;
    let second = world.create::<Service>(service("second", json!({"clusterIP": "100.64.0.10"}))).await;
    let taken = |service: &Service| fault(service) == Some("ClusterIPAlreadyAllocated");
    world.until_one("it is told", &second, taken).await;
    let outside = world.create::<Service>(service("outside", json!({"clusterIP": "10.96.0.1"}))).await;
    world.until_one("it is told", &outside, |service| fault(service) == Some("ClusterIPOutOfRange")).await;
    world.settled().await;
    assert_eq!(fault(&world.get(&first).await), None);
    let events = world.list::<Event>().await;
    let message = "Cluster IP [IPv4]:100.64.0.10 was assigned to multiple services; please recreate service";
    assert!(events.iter().any(|event| event.message.as_deref() == Some(message)));

    // With the first one gone the second has it.
    registry::delete::<Service>(&world.store, "default", "first", &Default::default()).await.unwrap();
    world.until_one("it is well", &second, |service| fault(service).is_none()).await;
    assert_eq!(addresses(&world).await, ["100.64.0.10 default/second"]);

    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30500}]});
    let a = world.create::<Service>(service("a", port.clone())).await;
    world.settled().await;
    let b = world.create::<Service>(service("b", port)).await;
    world.until_one("it is told", &b, |service| fault(service) == Some("AllocationRefused")).await;
    assert_eq!(fault(&world.get(&a).await), None);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_any_more_is_released() {
    let world = world();
    let np = world.create::<Service>(service("np", json!({"type": "NodePort"}))).await;
    let np = world.until_one("it has all", &np, |service| !store::allocator::lacks(service)).await;
    world.settled().await;
    // Not by the registry.
    world.store.delete(&world.get(&np).await).await.unwrap();
    let age = |address: &mut IPAddress| {
        address.metadata.creation_timestamp =
            Some(crate::clock::whole("2026-01-01T00:00:00Z".parse().unwrap()));
    };
    world.store.modify("", &ip(&np), age).await.unwrap();
    world.until("its address is released", || addresses(&world), Vec::is_empty).await;
    let allocator = Allocator::of_cluster(&world.store).await.unwrap().unwrap();
    let taken = || async { allocator.taken_ports().await.unwrap() };
    world.until("its port is released", taken, BTreeSet::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_service_is_about_to_be_stored_stays() {
    let world = world();
    let allocator = Allocator::new(&world.store, "100.64.0.0/16".parse().unwrap(), 30000..=32767);
    let later = store::allocator::Owner {
        name: ObjectName::new("default", "later"),
        ..plan::balancer(&Service::default())
    };
    let later = store::allocator::Owner { manager: "ipallocator.k8s.io".into(), ..later };
    assert!(allocator.reserve(Ipv4Addr::new(100, 64, 9, 9), &later).await.unwrap());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(addresses(&world).await.len(), 1);
    world.until("it is released in the end", || addresses(&world), Vec::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn load_balancers_get_addresses_of_the_pool() {
    let world = world();
    let balanced = world.create::<Service>(service("lb", json!({"type": "LoadBalancer"}))).await;
    let balanced =
        world.until_one("it has one", &balanced, |service| plan::ingress(service).len() == 1).await;
    let address = plan::ingress(&balanced)[0];
    assert!("10.0.0.240/29".parse::<Ipv4Network>().unwrap().contains(address), "{address}");
    let wanted = service("wanted", json!({"type": "LoadBalancer", "loadBalancerIP": "10.0.0.246"}));
    let wanted = world.create::<Service>(wanted).await;
    let has = |service: &Service| plan::ingress(service) == [Ipv4Addr::new(10, 0, 0, 246)];
    if address != Ipv4Addr::new(10, 0, 0, 246) {
        world.until_one("it has it", &wanted, has).await;
    }
    let other = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/other"});
    let other = world.create::<Service>(service("other", other)).await;
    world.settled().await;
    assert!(plan::ingress(&world.get(&other).await).is_empty());

    // It becomes an ordinary one.
    let plain = |service: &mut Service| {
        let spec = service.spec.as_mut().unwrap();
        spec.type_ = Some("ClusterIP".into());
        spec.allocate_load_balancer_node_ports = None;
        spec.external_traffic_policy = None;
        spec.ports.as_mut().unwrap()[0].node_port = None;
    };
    world.edit(&balanced, plain).await;
    world.until_one("it has none", &balanced, |service| plan::ingress(service).is_empty()).await;
    world.settled().await;
    assert!(!addresses(&world).await.iter().any(|one| one.starts_with(&format!("{address} "))));
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_is_told() {
    let world = world();
    for number in 0..7 {
        world.create::<Service>(service(&format!("lb{number}"), json!({"type": "LoadBalancer"}))).await;
    }
    let told = |events: &[Event]| {
        let message = "Error syncing load balancer: failed to ensure load balancer: no free address in the pool \
                       10.0.0.240/29";
        events.iter().any(|event| event.message.as_deref() == Some(message))
    };
    world.until_all("it is told", told).await;
    let balanced =
        world.list::<Service>().await.iter().filter(|service| plan::ingress(service).len() == 1).count();
    assert_eq!(balanced, 6);
}

#[tokio::test(start_paused = true)]
async fn addresses_of_virtual_ips_are_not_given_to_services() {
    let world = world();
    let vip = json!({
        "apiVersion": "knetsim.dev/v1", "kind": "VirtualIP", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"address": "100.64.10.1", "pods": ["c2"]},
    });
    let vip = world.create::<VirtualIP>(vip).await;
    let noted = |all: &Vec<String>| *all == ["100.64.10.1 default/a"];
    world.until("it is noted", || addresses(&world), noted).await;
    let document = service("web", json!({"clusterIP": "100.64.10.1"}));
    let refused = registry::create_raw(&world.store, &api::kinds::SERVICES, &document).await.unwrap_err();
    assert!(refused.to_string().ends_with("provided IP is already allocated"), "{refused}");
    world.store.delete(&vip).await.unwrap();
    world.until("it is released", || addresses(&world), Vec::is_empty).await;
}
