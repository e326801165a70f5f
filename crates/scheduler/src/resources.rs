//! What pods ask for, and what nodes have.
//!
//! Sources: kubernetes `pkg/scheduler/framework/types.go` (`Resource`), component-helpers
//! `resource/helpers.go` (`PodRequests`), `pkg/scheduler/util/pod_resources.go` (non-zero requests).

use std::collections::BTreeMap;

use api::quantity::Amount;
use api::types::api::core::v1::{Container, PodSpec};
use api::types::apimachinery::pkg::api::resource::Quantity;

/// What a container that asks for nothing is taken to need, where nodes are compared
/// (`DefaultMilliCPURequest`, `DefaultMemoryRequest`).
const GUESSED_MILLI_CPU: i64 = 100;
const GUESSED_MEMORY: i64 = 200 << 20;

/// Amounts of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Thousandths of a processor.
    pub(crate) milli_cpu: i64,
    /// Bytes.
    pub(crate) memory: i64,
    /// All others by their names, as `ephemeral-storage`, in whole units; without `pods`.
    pub(crate) others: BTreeMap<String, i64>,
}

type List = BTreeMap<String, Quantity>;

impl Resources {
    /// What cannot be read counts as nothing: the API server has let it pass.
    pub(crate) fn of(list: Option<&List>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let amount = Amount::parse(quantity).unwrap_or_default();
            match name.as_str() {
                "cpu" => resources.milli_cpu = amount.millis(),
                "memory" => resources.memory = amount.units(),
                "pods" => {}
                _ => drop(resources.others.insert(name.clone(), amount.units())),
            }
        }
        resources
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        for (name, amount) in &other.others {
            *self.others.entry(name.clone()).or_default() += amount;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        for (name, amount) in &other.others {
            *self.others.entry(name.clone()).or_default() -= amount;
        }
    }

    fn at_least(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    fn is_zero(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.others.values().all(|amount| *amount == 0)
    }
}

/// What a pod asks for: as much as its containers together, or as its largest step of initialisation.
pub(crate) fn requests(spec: &PodSpec) -> Resources {
    total(spec, |container| Resources::of(requested(container)))
}

/// The same, with a guess for containers that do not ask (`GetNonzeroRequests`).
pub(crate) fn guessed_requests(spec: &PodSpec) -> Resources {
    total(spec, |container| {
        let list = requested(container);
        let asks = |name| list.is_some_and(|list| list.contains_key(name));
        let mut resources = Resources::of(list);
        if !asks("cpu") {
            resources.milli_cpu = GUESSED_MILLI_CPU;
        }
        if !asks("memory") {
            resources.memory = GUESSED_MEMORY;
        }
        resources
    })
}

/// Whether nothing is asked for, so that there is nothing to be balanced.
pub(crate) fn asks_for_nothing(requests: &Resources) -> bool {
    requests.is_zero()
}

fn requested(container: &Container) -> Option<&List> {
    container.resources.as_ref()?.requests.as_ref()
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    spec.containers.iter().for_each(|container| running.add(&of(container)));
    let (mut sidecars, mut largest) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&step);
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        largest.at_least(&step);
    }
    running.at_least(&largest);
    running.add(&Resources::of(spec.overhead.as_ref()));
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(containers: Value, init: Value) -> PodSpec {
        let wrap = |list: Value| -> Value {
            let one = |(i, c): (usize, &Value)| {
                let mut container =
                    json!({"name": format!("c{i}"), "resources": {"requests": c["requests"]}});
                container["restartPolicy"] = c["restartPolicy"].clone();
                container
            };
            list.as_array().unwrap().iter().enumerate().map(one).collect()
        };
        serde_json::from_value(json!({"containers": wrap(containers), "initContainers": wrap(init)})).unwrap()
    }

    #[test]
    fn a_pod_asks_for_its_largest_moment() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let table = [
            (json!([asks("1"), asks("500m")]), json!([]), 1500),
            (json!([asks("1")]), json!([asks("3"), asks("2")]), 3000),
            (json!([asks("1")]), json!([{"requests": {"cpu": "2"}, "restartPolicy": "Always"}]), 3000),
            (
                json!([asks("1")]),
                json!([{"requests": {"cpu": "2"}, "restartPolicy": "Always"}, asks("4")]),
                6000,
            ),
            (json!([{}]), json!([]), 0),
        ];
        for (containers, init, milli_cpu) in table {
            let spec = spec(containers.clone(), init.clone());
            assert_eq!(requests(&spec).milli_cpu, milli_cpu, "{containers} {init}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_guessed() {
        let guessed = guessed_requests(&spec(json!([{"requests": {"cpu": "0"}}, {}]), json!([])));
        assert_eq!((guessed.milli_cpu, guessed.memory), (100, 400 << 20));
        assert!(asks_for_nothing(&requests(&spec(json!([{}]), json!([])))));
    }

    #[test]
    fn others_are_counted_by_name() {
        let list =
            [("nvidia.com/gpu", "2"), ("ephemeral-storage", "1Gi"), ("pods", "110"), ("memory", "1Ki")];
        let list = list.map(|(name, amount)| (name.to_owned(), Quantity(amount.into()))).into();
        let mut resources = Resources::of(Some(&list));
        assert_eq!((resources.memory, resources.others["ephemeral-storage"]), (1024, 1 << 30));
        assert!(!resources.others.contains_key("pods"));
        let same = resources.clone();
        resources.add(&same);
        assert_eq!(resources.others["nvidia.com/gpu"], 4);
        resources.subtract(&same);
        assert_eq!(resources, same);
    }
}
