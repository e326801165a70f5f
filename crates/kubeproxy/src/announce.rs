//! Addresses of load balancers: for each one node is chosen, which takes it and tells the network so by ARP.
//!
//! Who it is follows from the objects, the same on every node: the first by a hash of node and address among those that
//! may. So nobody has to ask anybody, addresses are spread over the nodes, and when one fails only its own move.
//!
//! Until a node that fails is known to all as not ready, most of a minute passes. So those who are next in line ping the
//! nodes before them, and step in when none of these answers.
//!
//! Source: metallb `speaker/layer2_controller.go` (`ShouldAnnounce`), and kube-vip for the address that is the node's own:
//! the kernel answers for it, also while no agent runs.

mod apply;
mod watch;

use std::collections::BTreeMap;
use std::net::IpAddr;

use store::ObjectName;

use crate::objects::{EXCLUDE, Endpoint, EndpointSlice, Node, Service};

pub(crate) use apply::run;

/// As many besides the first watch over the nodes before them in a line.
const WATCH: usize = 2;

/// Nodes that may announce, with their own addresses.
pub(crate) type Speakers = BTreeMap<Box<str>, Option<IpAddr>>;

/// Addresses for which a node stands in line.
pub(crate) type Claims = BTreeMap<IpAddr, Claim>;

/// A node's place in the line for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whose address it is.
    pub(crate) service: ObjectName,
    /// The own addresses of the nodes before it: it has to announce if none of them is alive.
    pub(crate) before: Vec<IpAddr>,
}

/// The place of `node`, unless it is not in the line, or too far behind.
pub(crate) fn claim(service: &ObjectName, line: &[&str], node: &str, speakers: &Speakers) -> Option<Claim> {
    let place = line.iter().position(|other| *other == node).filter(|place| *place <= WATCH)?;
    // Of one that does not say where it is nobody can say that it is not alive.
    let before = line[..place].iter().map(|node| *speakers.get(*node)?).collect::<Option<_>>()?;
    Some(Claim { service: service.clone(), before })
}

/// Whether a node may announce addresses.
pub(crate) fn may_announce(node: &Node) -> bool {
    let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDE));
    node.is_ready() && !excluded
}

/// The addresses of a service that are to be announced. Those of another class are somebody else's to announce.
pub(crate) fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let ours = &*service.spec.kind == "LoadBalancer" && service.spec.load_balancer_class.is_none();
    let ingress = service.status.load_balancer.ingress.iter().filter(move |_| ours);
    ingress.filter(|one| &*one.ip_mode != "Proxy").filter_map(|one| one.ip.parse().ok())
}

/// The nodes that may announce a service's address, in their order; none where nobody would serve it.
pub(crate) fn line<'a, 'b>(
    service: &Service,
    slices: impl Iterator<Item = &'b EndpointSlice>,
    nodes: &'a Speakers,
    address: IpAddr,
) -> Vec<&'a str> {
    let endpoints: Vec<&Endpoint> =
        slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| serves(endpoint)).collect();
    if endpoints.is_empty() {
        return Vec::new();
    }
    let local = &*service.spec.external_traffic_policy == "Local";
    let has = |node: &str| endpoints.iter().any(|endpoint| endpoint.node_name.as_deref() == Some(node));
    let mut line: Vec<_> = nodes.keys().map(|node| &**node).filter(|node| !local || has(node)).collect();
    line.sort_unstable_by_key(|node| (rank(node, address), *node));
    line
}

/// Nothing said is ready, and ready is serving.
fn serves(endpoint: &Endpoint) -> bool {
    let conditions = &endpoint.conditions;
    conditions.serving.or(conditions.ready).unwrap_or(true)
}

/// A node's place in the line for an address: FNV-1a, and its bits mixed (the finalizer of MurmurHash3), for names differ
/// in their last letter.
fn rank(node: &str, address: IpAddr) -> u64 {
    let bytes = format!("{node}#{address}");
    let hash = bytes.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn announcer<'a>(
        service: &Service,
        slice: &EndpointSlice,
        nodes: &'a Speakers,
        address: IpAddr,
    ) -> Option<&'a str> {
        line(service, [slice].into_iter(), nodes, address).first().copied()
    }

    fn service(spec: Value, ingress: Value) -> Service {
        let mut all = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let status = json!({"loadBalancer": {"ingress": ingress}});
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": all, "status": status})).unwrap()
    }

    fn slice(endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints}))
            .unwrap()
    }

    fn nodes(count: u8) -> Speakers {
        (1..=count).map(|n| (format!("C0w{n}").into(), Some(IpAddr::from([10, 0, 0, n])))).collect()
    }

    fn at(host: u8) -> IpAddr {
        IpAddr::from([10, 200, 0, host])
    }

    #[test]
    fn addresses_are_announced_that_are_ours_and_come_with_packets() {
        let both = json!([{"ip": "10.200.0.1"}, {"ip": "10.200.0.2", "ipMode": "Proxy"}, {"hostname": "x"}]);
        let found = |spec: Value| -> Vec<IpAddr> { addresses(&service(spec, both.clone())).collect() };
        assert_eq!(found(json!({})), [at(1)]);
        assert!(found(json!({"loadBalancerClass": "example.com/other"})).is_empty());
        assert!(found(json!({"type": "NodePort"})).is_empty());
    }

    #[test]
    fn a_node_may_if_it_is_ready_and_not_kept_away() {
        let node = |labels: Value, ready: &str| {
            let conditions =
                json!([{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": ready}]);
            let node =
                json!({"metadata": {"name": "C0w1", "labels": labels}, "status": {"conditions": conditions}});
            may_announce(&serde_json::from_value(node).unwrap())
        };
        assert!(node(json!({}), "True"));
        assert!(!node(json!({}), "Unknown") && !node(json!({}), "False"));
        assert!(!node(json!({EXCLUDE: ""}), "True"));
    }

    #[test]
    fn addresses_are_spread_and_only_those_of_a_node_that_fails_move() {
        let (service, slice) = (service(json!({}), json!([])), slice(json!([{"addresses": ["11.10.0.2"]}])));
        let chosen = |nodes: &Speakers| -> Vec<String> {
            let one = |host| announcer(&service, &slice, nodes, at(host)).unwrap().to_owned();
            (1..=90).map(one).collect()
        };
        let before = chosen(&nodes(3));
        for node in nodes(3).keys() {
            let count = before.iter().filter(|chosen| **chosen == **node).count();
            assert!((15..=45).contains(&count), "{node}: {count}");
        }
        let after = chosen(&nodes(2));
        for (before, after) in before.iter().zip(&after).filter(|(before, _)| *before != "C0w3") {
            assert_eq!(before, after);
        }
        assert!(!after.contains(&"C0w3".to_owned()));
        assert_eq!(announcer(&service, &slice, &nodes(0), at(1)), None);
    }

    #[test]
    fn with_the_policy_local_a_node_with_an_endpoint_is_chosen() {
        let local = service(json!({"externalTrafficPolicy": "Local"}), json!([]));
        let endpoint = |node: &str, serving: bool| json!({"addresses": ["11.10.0.2"], "nodeName": node, "conditions": {"ready": false, "serving": serving}});
        let chosen = |endpoints: Value| -> BTreeSet<Option<String>> {
            let slice = slice(endpoints);
            let nodes = nodes(3);
            let one = |host| announcer(&local, &slice, &nodes, at(host)).map(str::to_owned);
            (1..=30).map(one).collect()
        };
        assert_eq!(chosen(json!([endpoint("C0w2", true)])), [Some("C0w2".to_owned())].into());
        assert_eq!(
            chosen(json!([endpoint("C0w2", false), endpoint("C0w1", true)])),
            [Some("C0w1".to_owned())].into()
        );
        assert_eq!(chosen(json!([endpoint("C0w1", true), endpoint("C0w3", true)])).len(), 2);
        // Nobody would serve it, wherever it were.
        assert_eq!(chosen(json!([])), [None].into());
        assert_eq!(chosen(json!([endpoint("C0w2", false)])), [None].into());
        assert_eq!(chosen(json!([endpoint("C0w9", true)])), [None].into());
    }

    #[test]
    fn who_is_next_in_line_knows_who_is_before() {
        let (web, mut nodes) = (ObjectName::new("default", "web"), nodes(4));
        let line = ["C0w3", "C0w1", "C0w2", "C0w4"];
        let before = |nodes: &Speakers, node: &str| claim(&web, &line, node, nodes).map(|claim| claim.before);
        let own = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert_eq!(before(&nodes, "C0w3"), Some(vec![]));
        assert_eq!(before(&nodes, "C0w2"), Some(vec![own(3), own(1)]));
        assert_eq!(before(&nodes, "C0w4"), None, "there are enough others");
        assert_eq!(before(&nodes, "C0w5"), None);
        nodes.insert("C0w3".into(), None);
        assert_eq!(before(&nodes, "C0w1"), None);
    }
}
