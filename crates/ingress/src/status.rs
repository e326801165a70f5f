//! What objects are told: where an Ingress is served, and how an ingress by hand is. Pure.
//!
//! Several nodes may serve the same Ingress; each keeps its own address in the list and leaves the others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

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

/// The status of an object of Gateway API: what is told now, with the times of those conditions that have
/// not changed, and what other controllers have told.
pub(crate) fn gateway(
    old: Option<&Value>,
    new: &Value,
    ours: &BTreeSet<String>,
    address: Option<&str>,
    now: &str,
) -> Value {
    let old = old.cloned().unwrap_or_else(|| json!({}));
    let mut status = old.clone();
    if new.get("conditions").is_some() {
        status["conditions"] = conditions(&old["conditions"], &new["conditions"], now);
    }
    if let Some(listeners) = new["listeners"].as_array() {
        let before = |name: &Value| array(&old["listeners"]).iter().find(|one| one["name"] == *name);
        status["listeners"] =
            listeners.iter().map(|one| with_times(before(&one["name"]), one, now)).collect();
    }
    if let Some(parents) = new["parents"].as_array() {
        let is_ours = |one: &&Value| one["controllerName"].as_str().is_some_and(|name| ours.contains(name));
        let before = |parent: &Value| {
            array(&old["parents"]).iter().find(|one| {
                one["parentRef"] == parent["parentRef"] && one["controllerName"] == parent["controllerName"]
            })
        };
        let others = array(&old["parents"]).iter().filter(|one| !is_ours(one)).cloned();
        let own = parents.iter().map(|one| with_times(before(one), one, now));
        status["parents"] = others.chain(own).collect();
    }
    if let Some(address) = address {
        let mut addresses: BTreeSet<String> = array(&old["addresses"])
            .iter()
            .filter_map(|one| Some(one["value"].as_str()?.to_owned()))
            .collect();
        addresses.insert(address.into());
        let shown = |address: &String| json!({"type": "IPAddress", "value": address});
        status["addresses"] = addresses.iter().map(shown).collect();
    }
    status
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn with_times(old: Option<&Value>, new: &Value, now: &str) -> Value {
    let mut one = new.clone();
    one["conditions"] =
        conditions(old.map_or(&Value::Null, |old| &old["conditions"]), &new["conditions"], now);
    one
}

fn conditions(old: &Value, new: &Value, now: &str) -> Value {
    let conditions = array(new).iter().map(|condition| {
        let before = array(old).iter().find(|one| one["type"] == condition["type"]);
        let same = before.filter(|before| before["status"] == condition["status"]);
        let since = same.and_then(|same| same["lastTransitionTime"].as_str()).unwrap_or(now);
        let mut condition = condition.clone();
        condition["lastTransitionTime"] = since.into();
        condition
    });
    conditions.collect()
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

    #[test]
    fn conditions_keep_their_times_and_others_their_words() {
        let condition = |status: &str, time: &str| json!({"type": "Accepted", "status": status, "reason": "Accepted", "lastTransitionTime": time});
        let parent = |controller: &str, conditions: Value| json!({"parentRef": {"name": "web"}, "controllerName": controller, "conditions": [conditions]});
        let other = parent("other.io/gateway", condition("True", "t0"));
        let old = json!({"parents": [parent("ours", condition("True", "t1")), other]});
        let ours = BTreeSet::from(["ours".to_owned()]);
        let told = |status: &str| {
            json!({"parents": [parent("ours", json!({
                "type": "Accepted", "status": status, "reason": "Accepted",
            }))]})
        };
        let same = gateway(Some(&old), &told("True"), &ours, None, "t2");
        assert_eq!(same, json!({"parents": [other, parent("ours", condition("True", "t1"))]}));
        assert_eq!(gateway(Some(&same), &told("True"), &ours, None, "t3"), same, "nothing new");
        let changed = gateway(Some(&same), &told("False"), &ours, None, "t2");
        assert_eq!(changed["parents"][1], parent("ours", condition("False", "t2")));
        let gone = gateway(Some(&changed), &json!({"parents": []}), &ours, None, "t4");
        assert_eq!(gone, json!({"parents": [other]}));

        let told = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
        let first = gateway(None, &told, &ours, Some("10.0.0.4"), "t1");
        let both = gateway(Some(&first), &told, &ours, Some("10.0.0.3"), "t2");
        assert_eq!(both["addresses"][0], json!({"type": "IPAddress", "value": "10.0.0.3"}));
        assert_eq!(both["conditions"][0]["lastTransitionTime"], "t1");
    }
}
