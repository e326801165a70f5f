//! The cluster's objects: read, and told how they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::skupper::{AccessGrant, AccessToken, Common, Connector, Link, Listener, Site};
use api::types::api::core::v1::{Pod, Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use store::{Object, ObjectName, Reflector, Store};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::Result;
use crate::inputs::Inputs;
use crate::plan::{MANAGED, Plan};
use crate::{site, status};

/// Copies of what the plan is made from.
pub(super) struct Reflectors {
    sites: Reflector<Site>,
    links: Reflector<Link>,
    grants: Reflector<AccessGrant>,
    tokens: Reflector<AccessToken>,
    listeners: Reflector<Listener>,
    connectors: Reflector<Connector>,
    pods: Reflector<Pod>,
    services: Reflector<Service>,
    slices: Reflector<EndpointSlice>,
    secrets: Reflector<Secret>,
}

/// Does something with every one of them.
macro_rules! each {
    ($of:expr, $one:ident => $do:expr) => {{
        {
            let $one = &$of.sites;
            $do
        }
        {
            let $one = &$of.links;
            $do
        }
        {
            let $one = &$of.grants;
            $do
        }
        {
            let $one = &$of.tokens;
            $do
        }
        {
            let $one = &$of.listeners;
            $do
        }
        {
            let $one = &$of.connectors;
            $do
        }
        {
            let $one = &$of.pods;
            $do
        }
        {
            let $one = &$of.services;
            $do
        }
        {
            let $one = &$of.slices;
            $do
        }
        {
            let $one = &$of.secrets;
            $do
        }
    }};
}

impl Reflectors {
    pub(super) fn start(store: &Store) -> Self {
        Self {
            sites: Reflector::start(store, None),
            links: Reflector::start(store, None),
            grants: Reflector::start(store, None),
            tokens: Reflector::start(store, None),
            listeners: Reflector::start(store, None),
            connectors: Reflector::start(store, None),
            pods: Reflector::start(store, None),
            services: Reflector::start(store, None),
            slices: Reflector::start_mentioning(store, None, MANAGED, |_| true),
            secrets: Reflector::start(store, None),
        }
    }

    pub(super) async fn wait_synced(&self) {
        each!(self, one => one.wait_synced().await);
    }

    /// Wakes whenever something changes.
    pub(super) fn wake(&self, wake: &Arc<Notify>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        each!(self, one => {
            let (mut changed, wake) = (one.subscribe(), wake.clone());
            tasks.spawn(async move {
                while changed.changed().await.is_ok() {
                    wake.notify_one();
                }
            });
        });
        tasks
    }

    pub(super) fn inputs(&self) -> Inputs {
        Inputs {
            sites: self.sites.snapshot(),
            links: self.links.snapshot(),
            grants: self.grants.snapshot(),
            tokens: self.tokens.snapshot(),
            listeners: self.listeners.snapshot(),
            connectors: self.connectors.snapshot(),
            pods: self.pods.snapshot(),
            services: self.services.snapshot(),
            slices: self.slices.snapshot(),
            secrets: self.secrets.snapshot(),
        }
    }
}

/// A kind with a status.
pub(super) trait WithStatus: Object + Clone + PartialEq {
    /// Its status.
    type Status: Clone + PartialEq;
    /// Where it is.
    fn status_mut(&mut self) -> &mut Option<Self::Status>;
}

macro_rules! with_status {
    ($($kind:ident)*) => {$(
        impl WithStatus for $kind {
            type Status = <Option<api::skupper::$kind> as Of>::Status;
            fn status_mut(&mut self) -> &mut Option<Self::Status> {
                &mut self.status
            }
        }
    )*};
}

/// The type of a kind's status.
pub(super) trait Of {
    /// It.
    type Status: Clone + PartialEq;
}

macro_rules! of {
    ($($kind:ident $status:ident)*) => {$(
        impl Of for Option<api::skupper::$kind> {
            type Status = api::skupper::$status;
        }
    )*};
}

of! {
    Site SiteStatus Link LinkStatus Listener ListenerStatus Connector ConnectorStatus
    AccessGrant AccessGrantStatus AccessToken AccessTokenStatus
}
with_status! { Site Link Listener Connector AccessGrant AccessToken }

/// Writes a status if it is another one than what the copy has. That the object is gone is no error.
pub(super) async fn put<K: WithStatus>(store: &Store, object: &Arc<K>, status: K::Status) -> Result<()> {
    let mut copy = K::clone(object);
    if copy.status_mut().as_ref() == Some(&status) {
        return Ok(());
    }
    let name = ObjectName::of(object.metadata());
    let set = |object: &mut K| *object.status_mut() = Some(status.clone());
    match store.modify::<K>(&name.namespace, &name.name, set).await {
        Ok(_) | Err(store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes how everything is.
pub(super) async fn write(
    store: &Store,
    inputs: &Inputs,
    plan: &Plan,
    states: &BTreeMap<String, site::State>,
    now: &Time,
) -> Result<()> {
    let none = site::State::default();
    for (name, object) in inputs.sites.iter() {
        let status = match (plan.idle.get(name), plan.sites.get(&name.namespace)) {
            (Some(why), _) => status::of_idle(object, why, now),
            (None, Some(site)) => {
                let state = states.get(&name.namespace).unwrap_or(&none);
                status::of_site(object, site, state, now)
            }
            (None, None) => continue,
        };
        put(store, object, status).await?;
    }
    let site = |name: &ObjectName| {
        let state = states.get(&name.namespace).unwrap_or(&none);
        plan.sites.get(&name.namespace).map(|site| (site, state))
    };
    for (name, object) in inputs.links.iter() {
        let told = site(name).and_then(|(site, state)| Some((site.links.get(&name.name)?, state)));
        let status = match told {
            Some((told, state)) => status::of_link(object, &name.name, told, state, now),
            None => idle(object.status.clone(), object.metadata.generation, now, |status| &mut status.common),
        };
        put(store, object, status).await?;
    }
    for (name, object) in inputs.listeners.iter() {
        let told = site(name).and_then(|(site, state)| Some((site.listeners.get(&name.name)?, state)));
        let status = match told {
            Some((told, state)) => status::of_listener(object, told, &state.seen.network, now),
            None => idle(object.status.clone(), object.metadata.generation, now, |status| &mut status.common),
        };
        put(store, object, status).await?;
    }
    for (name, object) in inputs.connectors.iter() {
        let told = site(name).and_then(|(site, state)| Some((site.connectors.get(&name.name)?, state)));
        let status = match told {
            Some((told, state)) => status::of_connector(object, told, &state.seen.network, now),
            None => idle(object.status.clone(), object.metadata.generation, now, |status| &mut status.common),
        };
        put(store, object, status).await?;
    }
    Ok(())
}

fn idle<S: Default>(
    status: Option<S>,
    generation: Option<i64>,
    now: &Time,
    common: impl Fn(&mut S) -> &mut Common,
) -> S {
    let mut status = status.unwrap_or_default();
    status::without_site(common(&mut status), generation, now);
    status
}
