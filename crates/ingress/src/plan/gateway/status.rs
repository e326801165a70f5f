//! Statuses of Gateway API's objects, as JSON, without the times of changes.

use serde_json::{Value, json};

use super::listener::Open;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// As `Accepted`.
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    /// Empty where there is nothing to say.
    pub(super) message: String,
    /// Whether it is good if it holds.
    pub(super) good: bool,
}

impl Found {
    pub(super) fn is_bad(&self) -> bool {
        self.holds != self.good
    }

    fn json(&self, generation: Option<i64>) -> Value {
        json!({
            "type": self.kind, "status": if self.holds { "True" } else { "False" }, "reason": self.reason,
            "message": self.message, "observedGeneration": generation.unwrap_or_default(),
        })
    }
}

/// How a route is at one of its parents.
#[derive(Debug)]
pub(super) struct Parent {
    /// As it stands in the route.
    pub(super) reference: Value,
    pub(super) controller: String,
    pub(super) conditions: Vec<Found>,
}

pub(super) fn class_status(generation: Option<i64>) -> Value {
    json!({"conditions": [super::holds("Accepted", "Accepted").json(generation)]})
}

pub(super) fn gateway_status(listeners: &[Open<'_>], generation: Option<i64>) -> Value {
    let bad = |open: &&Open<'_>| open.conditions.iter().any(Found::is_bad);
    let names: Vec<_> = listeners.iter().filter(bad).map(|open| open.listener.name.as_str()).collect();
    let some_work = listeners.iter().any(Open::is_open);
    let message = format!("listeners {}", names.join(", "));
    let accepted = match (names.is_empty(), some_work) {
        (true, _) => super::holds("Accepted", "Accepted"),
        // As the specification wants it: accepted where a part of it is.
        (false, true) => Found { message, ..super::holds("Accepted", "ListenersNotValid") },
        (false, false) => super::fails("Accepted", "ListenersNotValid", message),
    };
    let programmed = if some_work {
        super::holds("Programmed", "Programmed")
    } else {
        super::fails("Programmed", "Invalid", "no listener can be served")
    };
    let listeners: Vec<_> = listeners
        .iter()
        .map(|open| {
            let conditions: Vec<_> = open.conditions.iter().map(|one| one.json(generation)).collect();
            json!({
                "name": open.listener.name, "attachedRoutes": open.attached, "conditions": conditions,
                "supportedKinds": open.kinds.iter().map(|kind| json!({"group": api::gateway::GROUP, "kind": kind}))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"conditions": [accepted.json(generation), programmed.json(generation)], "listeners": listeners})
}

pub(super) fn route_status(parents: &[Parent], generation: Option<i64>) -> Value {
    let parent = |parent: &Parent| {
        let conditions: Vec<_> = parent.conditions.iter().map(|one| one.json(generation)).collect();
        json!({"parentRef": parent.reference, "controllerName": parent.controller, "conditions": conditions})
    };
    json!({"parents": parents.iter().map(parent).collect::<Vec<_>>()})
}
