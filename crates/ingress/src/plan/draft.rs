//! A plan in the making.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Behind, Except, Plan, Problem, Route, Settings};
use serde_json::Value;

use crate::model::{Action, Case, Host, Location, Model, Owner, Path, Policy, Server};

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) settings: &'a Settings,
    except: &'a Except,
    pub(super) model: Model,
    problems: BTreeSet<Problem>,
    served: BTreeMap<Owner, BTreeSet<u16>>,
    /// What is behind each upstream and each address.
    behind: BTreeMap<String, Behind>,
    gateway_statuses: BTreeMap<Owner, Value>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(settings: &'a Settings, except: &'a Except) -> Self {
        let problems = except.objects.values().cloned().collect();
        Self {
            settings,
            except,
            model: Model::default(),
            problems,
            served: BTreeMap::new(),
            behind: BTreeMap::new(),
            gateway_statuses: BTreeMap::new(),
        }
    }

    /// Whether nginx has refused the object.
    pub(super) fn is_excepted(&self, owner: &Owner) -> bool {
        self.except.objects.contains_key(owner)
    }

    pub(super) fn problem(&mut self, owner: &Owner, reason: &'static str, message: impl Into<String>) {
        self.problems.insert(Problem { owner: owner.clone(), reason, message: message.into() });
    }

    /// The object is this controller's.
    pub(super) fn claim(&mut self, owner: &Owner) {
        self.served.entry(owner.clone()).or_default();
    }

    /// How an object of Gateway API is.
    pub(super) fn gateway_status(&mut self, owner: &Owner, status: Value) {
        self.gateway_statuses.insert(owner.clone(), status);
    }

    /// What people are told of a backend.
    pub(super) fn behind(&mut self, name: &str, behind: Behind) {
        self.behind.insert(name.into(), behind);
    }

    /// The server of a host, which is one of this object's from now on.
    pub(super) fn server(&mut self, port: u16, host: &Host, owner: &Owner) -> &mut Server {
        self.served.entry(owner.clone()).or_default().insert(port);
        let server = self.model.servers.entry((port, host.clone())).or_default();
        server.owners.insert(owner.clone());
        server
    }

    /// Gives a path of a host to an object, unless another has it.
    pub(super) fn locate(&mut self, port: u16, host: &Host, path: Path, case: Case) {
        self.place(port, host, path, Location { cases: vec![case] });
    }

    /// Gives a path of a host to those who have cases there, unless others have it.
    pub(super) fn place(&mut self, port: u16, host: &Host, path: Path, location: Location) {
        let owners: BTreeSet<Owner> = location.cases.iter().map(|case| case.owner.clone()).collect();
        let Some(first) = owners.first() else { return };
        let holder = match self.server(port, host, first).locations.entry(path.clone()) {
            Entry::Vacant(free) => {
                free.insert(location);
                for owner in &owners {
                    self.server(port, host, owner);
                }
                return;
            }
            Entry::Occupied(taken) => taken.get().cases.first().map(|case| case.owner.clone()),
        };
        let holder = holder.map(|holder| holder.to_string()).unwrap_or_default();
        for owner in owners {
            let message = format!("host {host}, path {path}: {holder} has it already");
            self.problem(&owner, "RouteConflict", message);
        }
    }

    pub(super) fn finish(mut self) -> Plan {
        self.complete();
        let routes = self.routes();
        let Self { model, problems, served, gateway_statuses, .. } = self;
        Plan { model, problems, served, gateway_statuses, routes }
    }

    /// Every port answers every host and every path.
    fn complete(&mut self) {
        for (port, why) in &self.except.ports {
            let closed = self.model.servers.extract_if(.., |(at, _), _| at == port);
            let owners: BTreeSet<Owner> = closed.flat_map(|(_, server)| server.owners).collect();
            for owner in owners {
                self.served.entry(owner.clone()).or_default().remove(port);
                let message = format!("port {port} of {} cannot be had: {why}", self.settings.node);
                self.problems.insert(Problem { owner, reason: "PortInUse", message });
            }
        }
        let mut ports: BTreeSet<u16> = self.model.servers.keys().map(|(port, _)| *port).collect();
        if !self.served.is_empty() && !self.except.ports.contains_key(&self.settings.http_port) {
            ports.insert(self.settings.http_port);
        }
        for port in ports {
            self.model.servers.entry((port, Host::Any)).or_default();
        }
        // A default backend is one for all hosts.
        for port in [self.settings.http_port, self.settings.https_port] {
            let any = self.model.servers.get(&(port, Host::Any)).and_then(|server| server.otherwise.clone());
            let Some(any) = any else { continue };
            for (_, server) in self.model.servers.iter_mut().filter(|((at, _), _)| *at == port) {
                if server.owners.iter().any(|owner| owner.kind == super::ingress::KIND) {
                    server.otherwise.get_or_insert_with(|| any.clone());
                }
            }
        }
    }

    fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for ((port, host), server) in &self.model.servers {
            let named = server.locations.iter().map(|(path, location)| (path.to_string(), location));
            let otherwise = server.otherwise.iter().map(|location| ("otherwise".to_owned(), location));
            for (path, location) in named.chain(otherwise) {
                for case in &location.cases {
                    routes.push(self.route(*port, host, path.clone(), case));
                }
            }
        }
        routes
    }

    fn route(&self, port: u16, host: &Host, path: String, case: &Case) -> Route {
        let mut to = Vec::new();
        let mut instead = String::new();
        match &case.action {
            Action::Proxy { to: choice, .. } => super::backend::shares(choice, None, &self.behind, &mut to),
            Action::Answer { status, why } => instead = format!("{status}: {why}"),
            Action::Redirect { status, .. } => instead = format!("redirect {status}"),
        }
        Route { port, host: host.to_string(), path, owner: case.owner.clone(), to, instead }
    }
}

/// A case without conditions.
pub(super) fn always(owner: &Owner, action: Action, policy: Policy) -> Case {
    Case { owner: owner.clone(), when: Vec::new(), action, policy }
}
