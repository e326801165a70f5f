//! What objects are told: where an Ingress is served, and how an ingress by hand is. Pure.
//!
//! Several nodes may serve the same Ingress; each keeps its own address in the list and leaves the others.

use std::collections::BTreeSet;

use api::types::api::networking::v1::{
    IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressPortStatus,
};

/// The status of an Ingress with this node's address, at which it is served on these ports; without it if
/// there are none. `error` is one word, as the API wants it (`foo.example.com/CamelCase`).
pub(crate) fn balancer(
    now: Option<&IngressLoadBalancerStatus>,
    address: &str,
    ports: &BTreeSet<u16>,
    error: Option<&str>,
) -> IngressLoadBalancerStatus {
    let others = now.and_then(|status| status.ingress.clone()).unwrap_or_default();
    let mut all: Vec<_> = others.into_iter().filter(|one| one.ip.as_deref() != Some(address)).collect();
    if !ports.is_empty() {
        let port = |port: &u16| IngressPortStatus {
            port: i32::from(*port),
            protocol: "TCP".into(),
            error: error.map(|error| format!("knetsim.dev/{error}")),
        };
        all.push(IngressLoadBalancerIngress {
            ip: Some(address.into()),
            hostname: None,
            ports: Some(ports.iter().map(port).collect()),
        });
    }
    all.sort_by(|a, b| a.ip.cmp(&b.ip).then_with(|| a.hostname.cmp(&b.hostname)));
    IngressLoadBalancerStatus { ingress: Some(all).filter(|all| !all.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_keeps_its_own_address() {
        let ports = BTreeSet::from([80, 443]);
        let one = balancer(None, "10.0.0.4", &ports, None);
        let both = balancer(Some(&one), "10.0.0.3", &BTreeSet::from([80]), Some("ServiceNotFound"));
        let shown = |status: &IngressLoadBalancerStatus| serde_json::to_string(&status.ingress).unwrap();
        assert_eq!(
            shown(&both),
            r#"[{"ip":"10.0.0.3","ports":[{"error":"knetsim.dev/ServiceNotFound","port":80,"protocol":"TCP"}]},{"ip":"10.0.0.4","ports":[{"port":80,"protocol":"TCP"},{"port":443,"protocol":"TCP"}]}]"#
        );
        assert_eq!(balancer(Some(&both), "10.0.0.4", &ports, None), both, "nothing new");
        let without = balancer(Some(&both), "10.0.0.3", &BTreeSet::new(), None);
        assert_eq!(without, one);
        assert_eq!(balancer(Some(&one), "10.0.0.4", &BTreeSet::new(), None).ingress, None);
    }
}
