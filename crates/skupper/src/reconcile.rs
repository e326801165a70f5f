//! The loop of the worker that runs a cluster's sites: objects, what routers say, and time wake it; then
//! everything is compared.

mod credentials;
mod objects;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::skupper::State;
use api::time;
use runtime::{Health, chain};
use store::Store;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::Result;
use crate::grants;
use crate::inputs::{Inputs, Place};
use crate::network::Network;
use crate::plan::{self, Plan, SitePlan};
use crate::router::{self, Program};
use crate::{services, site};

use objects::Reflectors;
use tokens::Tokens;

pub use credentials::{LIFETIME, ROTATE};

/// The controller's name in `topo status`.
pub const COMPONENT: &str = "skupper";
/// The routers' name there.
pub const ROUTER_COMPONENT: &str = "router";

/// What is looked at without anything having woken the loop: times that have come.
const PERIOD: Duration = Duration::from_secs(1);
/// Several things happen at once: they are looked at together.
const TOGETHER: Duration = Duration::from_millis(5);

/// What the controller is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the routers run.
    pub place: Place,
    /// The router program; none where the one that is wanted cannot be had.
    pub program: Option<Program>,
    /// How long certificates hold.
    pub lifetime: Duration,
}

/// Runs until dropped. Routers stay.
pub async fn run(options: Options, store: Store, health: Health) {
    let wake = Arc::new(Notify::new());
    let reflectors = Reflectors::start(&store);
    let _woken = reflectors.wake(&wake);
    reflectors.wait_synced().await;
    let mut controller = Controller {
        options,
        store,
        health,
        sites: BTreeMap::new(),
        tokens: Tokens::new(wake.clone()),
        wake: wake.clone(),
    };
    controller.end_orphans(&reflectors.inputs());
    loop {
        let inputs = reflectors.inputs();
        let trouble = controller.reconcile(&inputs).await.err().map(|error| chain(&error));
        controller.tell(trouble);
        // What happens while it works is a permit that is there already.
        let _ = timeout(PERIOD, wake.notified()).await;
        tokio::time::sleep(TOGETHER).await;
    }
}

/// A site's tasks; they end with it.
#[derive(Debug)]
struct Running {
    target: watch::Sender<site::Target>,
    state: watch::Receiver<site::State>,
    grants: watch::Sender<grants::Site>,
    trouble: watch::Receiver<Option<String>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Controller {
    options: Options,
    store: Store,
    health: Health,
    sites: BTreeMap<String, Running>,
    tokens: Tokens,
    wake: Arc<Notify>,
}

impl Controller {
    /// Sites may have been deleted while nobody looked: their routers go.
    fn end_orphans(&self, inputs: &Inputs) {
        let Ok(entries) = std::fs::read_dir(&self.options.place.folder) else { return };
        for entry in entries.flatten() {
            let namespace = entry.file_name().to_string_lossy().into_owned();
            if !inputs.sites.keys().any(|name| name.namespace == namespace) {
                self.remove(&namespace);
            }
        }
    }

    fn remove(&self, namespace: &str) {
        let folder = self.options.place.site_folder(namespace);
        router::end(&folder);
        // Keys are not left behind; what cannot be removed goes with the lab.
        let _ = std::fs::remove_dir_all(&folder);
    }

    async fn reconcile(&mut self, inputs: &Inputs) -> Result<()> {
        let place = self.options.place.clone();
        let states: BTreeMap<String, site::State> =
            self.sites.iter().map(|(name, site)| (name.clone(), site.state.borrow().clone())).collect();
        let networks: BTreeMap<String, Network> =
            states.iter().map(|(name, state)| (name.clone(), state.seen.network.clone())).collect();
        let plan = plan::plan(&place, inputs, &networks);
        // A site that cannot have certificates keeps none of the others from theirs.
        let mut first = None;
        for site in plan.sites.values() {
            let made = credentials::ensure(&self.store, inputs, &place, site, self.options.lifetime).await;
            if let Err(error) = made {
                tracing::warn!(error = chain(&error), "a site's certificates");
                first = first.or(Some(error));
            }
        }
        self.sync_tasks(inputs, &plan);
        for op in services::plan(&place, inputs, &plan) {
            if let Err(error) = services::apply(&self.store, &op).await {
                tracing::warn!(error = chain(&error), "a listener's service");
                first = first.or(Some(error));
            }
        }
        let urls =
            plan.sites.iter().map(|(namespace, site)| (namespace.clone(), grant_url(&place, site))).collect();
        tokens::grants(&self.store, inputs, &plan, &urls).await?;
        self.tokens.redeem(&self.store, inputs, &plan);
        self.tokens.renew(&self.store, inputs, &plan);
        let now = time::now();
        objects::write(&self.store, inputs, &plan, &states, &now).await?;
        first.map_or(Ok(()), Err)
    }

    /// A router and a grant server for every site, and for no other.
    fn sync_tasks(&mut self, inputs: &Inputs, plan: &Plan) {
        let gone: Vec<_> =
            self.sites.keys().filter(|name| !plan.sites.contains_key(*name)).cloned().collect();
        for namespace in gone {
            self.sites.remove(&namespace);
            self.remove(&namespace);
        }
        let Some(program) = self.options.program.clone() else { return };
        for (namespace, site) in &plan.sites {
            let target = site::Target {
                config: site.config.clone(),
                profiles: site.profiles.clone(),
                amqp: site.ports.amqp,
            };
            let grants = self.grants_of(inputs, namespace, site);
            match self.sites.get(namespace) {
                Some(running) => {
                    send(&running.target, target);
                    send(&running.grants, grants);
                }
                // Its certificates are being made: a router that is started without would be told of them later.
                None if matches!(site.state, State::Pending(_)) => {}
                None => {
                    let running = self.start(namespace, site, &program, target, grants);
                    self.sites.insert(namespace.clone(), running);
                }
            }
        }
    }

    fn grants_of(&self, inputs: &Inputs, namespace: &str, site: &SitePlan) -> grants::Site {
        grants::Site {
            namespace: namespace.into(),
            server: inputs.secret(namespace, plan::SERVER).cloned(),
            ca: inputs.secret(namespace, site.site.spec.issuer()).cloned(),
            endpoints: site.endpoints.clone(),
            lifetime: credentials::lifetime(&site.site, self.options.lifetime),
            url: grant_url(&self.options.place, site),
        }
    }

    fn start(
        &self,
        namespace: &str,
        site: &SitePlan,
        program: &Program,
        target: site::Target,
        grants: grants::Site,
    ) -> Running {
        let folder = self.options.place.site_folder(namespace);
        let (target, targets) = watch::channel(target);
        let (states, state) = watch::channel(site::State::default());
        let (grants, sites) = watch::channel(grants);
        let (troubles, trouble) = watch::channel(None);
        let address = (self.options.place.address, site.ports.grants);
        let mut woken = state.clone();
        let wake = self.wake.clone();
        let tasks = vec![
            tokio::spawn(site::run(program.clone(), folder, targets, states)),
            tokio::spawn(grants::run(address, self.store.clone(), sites, troubles)),
            tokio::spawn(async move {
                while woken.changed().await.is_ok() {
                    wake.notify_one();
                }
            }),
        ];
        Running { target, state, grants, trouble, tasks }
    }

    /// What is wrong with routers is a warning: a lab is ready before they are, for whoever begins with
    /// something else. The sites say when they are.
    fn tell(&self, trouble: Option<String>) {
        let mut messages = Vec::new();
        let mut warnings = Vec::new();
        for (namespace, site) in &self.sites {
            let state = site.state.borrow();
            match (state.running, state.pid) {
                (true, Some(pid)) => messages.push(format!("{namespace}: process {pid}")),
                (_, _) if state.message.is_empty() => messages.push(format!("{namespace}: starting")),
                _ => warnings.push(format!("{namespace}: {}", state.message)),
            }
            warnings.extend(state.refused.iter().map(|refused| format!("{namespace}: {refused}")));
        }
        if self.options.program.is_some() {
            let idle = messages.is_empty() && warnings.is_empty();
            let message = if idle { "no site needs one".into() } else { messages.join(", ") };
            self.health.warn(ROUTER_COMPONENT, &message, &warnings);
        }
        let warnings: Vec<String> =
            self.sites.values().filter_map(|site| site.trouble.borrow().clone()).chain(trouble).collect();
        let count = self.sites.len();
        let message = if count == 1 { "1 site".into() } else { format!("{count} sites") };
        self.health.warn(COMPONENT, &message, &warnings);
    }
}

fn grant_url(place: &Place, site: &SitePlan) -> String {
    format!("https://{}:{}", place.address, site.ports.grants)
}

fn send<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|old| {
        let differs = *old != value;
        *old = value;
        differs
    });
}
