//! Telling objects how they are: statuses and events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::types::api::core::v1::ObjectReference;
use api::types::api::networking::v1::{Ingress, IngressStatus};
use api::{Kind, KindInfo, NodeIngress, NodeIngressStatus, kinds, time};
use serde_json::{Value, json};
use store::events::{NORMAL, Recorder, WARNING};
use store::leader::{Candidate, Standing};
use store::{Error, Object, ObjectName, Objects, Store};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::model::Owner;
use crate::plan::{Cluster, Plan, Problem, Settings};
use crate::status::{self, balancer};

/// The lease of the controller that tells what several would tell alike.
const LEASE: &str = "knetsim-ingress";
/// As many statuses are written at a time.
const WRITERS: usize = 16;
const RETRY: Duration = Duration::from_secs(1);

/// Tells objects how they are. Its tasks end with it.
#[derive(Debug)]
pub(crate) struct Teller {
    recorder: Recorder,
    node: String,
    leads: Arc<AtomicBool>,
    /// What events have been told of.
    told: BTreeSet<Problem>,
    served: BTreeSet<Owner>,
    controllers: BTreeSet<String>,
    desired: watch::Sender<Desired>,
    /// Who wants to lead, until there is something to be told by one alone.
    candidate: Option<Candidate>,
    /// Woken when this one leads.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

/// What the statuses are to be.
#[derive(Debug, Clone, Default)]
struct Desired {
    cluster: Cluster,
    ingresses: BTreeMap<ObjectName, (BTreeSet<u16>, Option<&'static str>)>,
    proxies: BTreeMap<ObjectName, NodeIngressStatus>,
    /// Of Gateway API, by kind and name; told by one of several controllers.
    gateway: BTreeMap<(&'static str, ObjectName), Value>,
    /// The names of these controllers in classes.
    controllers: BTreeSet<String>,
}

impl Teller {
    /// One for a node, whose clients find it at `address`. `changed` is told when there may be more to tell.
    pub(crate) fn start(store: &Store, settings: &Settings, address: &str, changed: Arc<Notify>) -> Self {
        let node = settings.node.as_str();
        let mut tasks = JoinSet::new();
        let (desired, wanted) = watch::channel(Desired::default());
        tasks.spawn(write_statuses(store.clone(), address.into(), wanted));
        Self {
            recorder: Recorder::new(store, "knetsim-ingress", node),
            node: node.into(),
            leads: Arc::default(),
            told: BTreeSet::new(),
            served: BTreeSet::new(),
            controllers: settings.gateway_controllers.clone(),
            desired,
            candidate: Some(Candidate::new(store, LEASE, node)),
            changed,
            tasks,
        }
    }

    /// Takes part in the election: there are objects that all nodes see alike.
    fn stand(&mut self) {
        let Some(candidate) = self.candidate.take() else { return };
        let (leads, changed) = (self.leads.clone(), self.changed.clone());
        self.tasks.spawn(async move {
            let tell = |now: &Standing| {
                leads.store(*now == Standing::Leads, Ordering::Relaxed);
                changed.notify_one();
            };
            candidate.run(std::future::pending, tell).await;
        });
    }

    /// Tells of a plan that is in service, or why it is not.
    pub(crate) fn tell(&mut self, cluster: &Cluster, plan: &Plan, failure: Option<&str>) {
        let is_silent = |class: &Arc<api::gateway::GatewayClass>| {
            class.status.is_none() && self.controllers.contains(&class.spec.controller_name)
        };
        if !cluster.ingresses.is_empty()
            || !cluster.gateways.is_empty()
            || cluster.gateway_classes.values().any(is_silent)
        {
            self.stand();
        }
        self.events(cluster, plan);
        let mut desired = desired(cluster, plan, failure);
        if self.leads.load(Ordering::Relaxed) && failure.is_none() {
            desired.gateway = gateway(cluster, plan);
            desired.controllers.clone_from(&self.controllers);
        }
        self.desired.send_replace(desired);
    }

    /// Tells an event of the node.
    pub(crate) fn tell_of_node(&self, reason: &str, message: &str) {
        let node = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event(&node, WARNING, reason, message);
    }

    /// Whether it is this node that tells of a problem: of those that all nodes see alike one does.
    pub(crate) fn tells_of(&self, problem: &Problem) -> bool {
        problem.owner.kind == NodeIngress::INFO.kind
            || matches!(problem.reason, "PortInUse" | "Refused")
            || self.leads.load(Ordering::Relaxed)
    }

    /// An event for each problem that is new. Those that all nodes see alike are told by one of them.
    fn events(&mut self, cluster: &Cluster, plan: &Plan) {
        self.told.retain(|problem| plan.problems.contains(problem));
        self.served.retain(|owner| plan.served.contains_key(owner));
        for problem in &plan.problems {
            if self.tells_of(problem) && self.told.insert(problem.clone()) {
                let reference = reference(cluster, &problem.owner);
                self.recorder.event(&reference, WARNING, problem.reason, &problem.message);
            }
        }
        let broken: BTreeSet<_> = plan.problems.iter().map(|problem| &problem.owner).collect();
        for (owner, ports) in plan.served.iter().filter(|(owner, _)| !broken.contains(owner)) {
            let own = owner.kind == NodeIngress::INFO.kind;
            if (own || self.leads.load(Ordering::Relaxed))
                && !ports.is_empty()
                && self.served.insert(owner.clone())
            {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                let message = format!("served on port {}", ports.join(" and "));
                self.recorder.event(&reference(cluster, owner), NORMAL, "Served", &message);
            }
        }
    }
}

fn reference(cluster: &Cluster, owner: &Owner) -> ObjectReference {
    fn of<K: Object>(objects: &Objects<K>, owner: &Owner) -> Option<ObjectReference> {
        let object = objects.get(&ObjectName::new(&owner.namespace, &owner.name))?;
        Some(store::events::reference(object.as_ref()))
    }
    let found = match owner.kind {
        "Ingress" => of(&cluster.ingresses, owner),
        "NodeIngress" => of(&cluster.node_ingresses, owner),
        "Secret" => of(&cluster.secrets, owner),
        "Gateway" => of(&cluster.gateways, owner),
        "HTTPRoute" => of(&cluster.http_routes, owner),
        _ => None,
    };
    found.unwrap_or_else(|| ObjectReference {
        kind: Some(owner.kind.into()),
        namespace: Some(owner.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: Some(owner.name.clone()),
        ..ObjectReference::default()
    })
}

fn desired(cluster: &Cluster, plan: &Plan, failure: Option<&str>) -> Desired {
    let mut desired = Desired { cluster: cluster.clone(), ..Desired::default() };
    let first = |owner: &Owner| plan.problems.iter().find(|problem| problem.owner == *owner);
    for (owner, ports) in &plan.served {
        let name = ObjectName::new(&owner.namespace, &owner.name);
        let problem = first(owner);
        if owner.kind == Ingress::INFO.kind {
            let ports = if failure.is_some() { BTreeSet::new() } else { ports.clone() };
            desired.ingresses.insert(name, (ports, problem.map(|problem| problem.reason)));
        } else if owner.kind == NodeIngress::INFO.kind {
            let message = failure.or(problem.map(|problem| problem.message.as_str())).unwrap_or_default();
            let ready = failure.is_none() && !ports.is_empty();
            desired.proxies.insert(name, NodeIngressStatus { ready, message: message.into() });
        }
    }
    desired
}

/// Writes statuses that are not as they should be, until dropped.
async fn write_statuses(store: Store, address: String, mut wanted: watch::Receiver<Desired>) {
    loop {
        let desired = wanted.borrow_and_update().clone();
        let mut writes = JoinSet::new();
        let mut failed = false;
        for (name, ingress) in desired.cluster.ingresses.iter() {
            let (ports, error) = desired.ingresses.get(name).cloned().unwrap_or_default();
            let set = set_balancer(address.clone(), ports, error);
            let mut changed = ingress.as_ref().clone();
            set(&mut changed);
            if changed != **ingress {
                failed |= write(&store, &mut writes, name, set).await;
            }
        }
        for (name, proxy) in desired.cluster.node_ingresses.iter() {
            let Some(status) = desired.proxies.get(name).cloned() else { continue };
            if proxy.status.as_ref() != Some(&status) {
                let set = move |proxy: &mut NodeIngress| proxy.status = Some(status.clone());
                failed |= write(&store, &mut writes, name, set).await;
            }
        }
        while let Some(result) = writes.join_next().await {
            failed |= !result.unwrap_or(false);
        }
        for ((kind, name), status) in &desired.gateway {
            failed |= !write_gateway(&store, kind, name, status, &desired, &address).await;
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// What objects of Gateway API are told: those that are served, and those that are not any more.
fn gateway(cluster: &Cluster, plan: &Plan) -> BTreeMap<(&'static str, ObjectName), Value> {
    let gone = |name: &ObjectName| (("HTTPRoute", name.clone()), json!({"parents": []}));
    let mut all: BTreeMap<_, _> = cluster.http_routes.keys().map(gone).collect();
    all.extend(plan.gateway_statuses.iter().map(|(owner, status)| {
        ((owner.kind, ObjectName::new(&owner.namespace, &owner.name)), status.clone())
    }));
    all
}

/// Writes the status of an object of Gateway API, if it is another; says whether that went well. The object is
/// taken as a document, for it may have fields that its type does not have.
async fn write_gateway(
    store: &Store,
    kind: &str,
    name: &ObjectName,
    told: &Value,
    desired: &Desired,
    address: &str,
) -> bool {
    let (info, now): (&'static KindInfo, _) = match kind {
        "GatewayClass" => {
            (&kinds::GATEWAY_CLASSES, desired.cluster.gateway_classes.get(name).map(|o| &o.status))
        }
        "Gateway" => (&kinds::GATEWAYS, desired.cluster.gateways.get(name).map(|o| &o.status)),
        _ => (&kinds::HTTP_ROUTES, desired.cluster.http_routes.get(name).map(|o| &o.status)),
    };
    let Some(now) = now else { return true };
    let address = (kind == "Gateway").then_some(address);
    let time = serde_json::to_value(time::now()).unwrap_or_default();
    let time = time.as_str().unwrap_or_default();
    let merged = |old: Option<&Value>| status::gateway(old, told, &desired.controllers, address, time);
    let nothing = |status: &Value| *status == json!({"parents": []});
    if now.as_ref() == Some(&merged(now.as_ref())) || now.is_none() && nothing(told) {
        return true;
    }
    loop {
        let found = store.get_raw(info, &name.namespace, &name.name).await;
        let mut object = match found {
            Ok(Some(object)) => object,
            Ok(None) => return true,
            Err(_) => return false,
        };
        object["status"] = merged(object.get("status"));
        match store.update_raw(info, &mut object).await {
            Err(Error::Conflict { .. }) => {}
            Ok(()) | Err(Error::NotFound { .. }) => return true,
            Err(error) => {
                tracing::warn!(object = %name, %error, "a status was not written");
                return false;
            }
        }
    }
}

fn set_balancer(
    address: String,
    ports: BTreeSet<u16>,
    error: Option<&'static str>,
) -> impl Fn(&mut Ingress) + Clone + Send + 'static {
    move |ingress| {
        let now = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let new = balancer(now, &address, &ports, error);
        if now.is_some() || new.ingress.is_some() {
            ingress.status = Some(IngressStatus { load_balancer: Some(new) });
        }
    }
}

/// Begins to write a status; waits first if there are many. Says whether one that was waited for failed.
async fn write<K>(
    store: &Store,
    writes: &mut JoinSet<bool>,
    name: &ObjectName,
    set: impl Fn(&mut K) + Send + 'static,
) -> bool
where
    K: Object + Clone + PartialEq + Send + Sync,
{
    let mut failed = false;
    if writes.len() >= WRITERS
        && let Some(result) = writes.join_next().await
    {
        failed = !result.unwrap_or(false);
    }
    let (store, name) = (store.clone(), name.clone());
    writes.spawn(async move {
        match store.modify::<K>(&name.namespace, &name.name, set).await {
            Ok(_) | Err(Error::NotFound { .. }) => true,
            Err(error) => {
                tracing::warn!(object = %name, %error, "a status was not written");
                false
            }
        }
    });
    failed
}
