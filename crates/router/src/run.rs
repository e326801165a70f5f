//! The router as a whole: what its configuration says, running.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use api::router_config::{Config, Connector, Listener, TcpConnector, TcpListener};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::control::{self, Control};
use crate::core::Core;
use crate::management::{Agent, Change, Configured};
use crate::message::Message;
use crate::service::Service;
use crate::{endpoint, http};

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is not one; the message has the place.
    #[error(transparent)]
    Config(#[from] api::router_config::Error),
    /// Entities that contradict one another.
    #[error(transparent)]
    Refused(#[from] api::router_config::Refused),
}

/// Reads the configuration file and runs the router, until dropped.
///
/// # Errors
/// A file that is unreadable or wrong.
pub async fn run_file(path: &Path) -> Result<Infallible, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let (config, warnings) = Config::parse(&path.display().to_string(), &text)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    run(config).await
}

/// Runs a router, until dropped.
///
/// All of it runs on the calling thread; the future is for a runtime's `block_on`.
///
/// # Errors
/// A configuration that contradicts itself.
pub async fn run(config: Config) -> Result<Infallible, Error> {
    LocalSet::new()
        .run_until(async move {
            let router = Router::start(config)?;
            Ok(router.control().await)
        })
        .await
}

/// A task that ends with what holds it.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    fn spawn(task: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A `tcpListener` at work.
pub(crate) struct Listening {
    pub(crate) service: Rc<Service>,
    _task: Task,
}

/// The entities at work, by name.
#[derive(Default)]
pub(crate) struct Entities {
    profiles: BTreeMap<String, endpoint::Profile>,
    listeners: BTreeMap<String, Task>,
    pub(crate) connectors: BTreeMap<String, (Task, Rc<endpoint::Status>)>,
    pub(crate) tcp_listeners: BTreeMap<String, Listening>,
    pub(crate) tcp_connectors: BTreeMap<String, Rc<Service>>,
}

/// A router at work.
pub(crate) struct Router {
    pub(crate) core: Rc<Core>,
    pub(crate) entities: RefCell<Entities>,
    pub(crate) started: Instant,
    agent: RefCell<Agent>,
}

impl Router {
    fn start(config: Config) -> Result<Rc<Self>, Error> {
        let router = &config.router;
        let id = router.id.clone().unwrap_or_else(made_up_id);
        // Milliseconds: one that starts twice within a second is seen to have.
        let instance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis());
        let instance = u64::try_from(instance).unwrap_or(1);
        let now = Instant::now();
        let control = Control::new(control::Options::configured(router, &id, instance), now);
        let agent = Agent::new(&config, &id)?;
        tracing::info!(id, instance, mode = %router.mode, "router starts");
        let core = Rc::new(Core::new(id, control, config.addresses, router.default_distribution));
        let (entities, agent) = (RefCell::default(), RefCell::new(agent));
        let this = Rc::new(Self { core, entities, started: now, agent });
        let weak = Rc::downgrade(&this);
        *this.core.manager.borrow_mut() = Some(Box::new(move |request| weak.upgrade()?.manage(request)));
        let profiles = config.ssl_profiles.into_iter().map(Configured::SslProfile);
        let listeners = config.listeners.into_iter().map(Configured::Listener);
        let connectors = config.connectors.into_iter().map(Configured::Connector);
        let tcp_connectors = config.tcp_connectors.into_iter().map(Configured::TcpConnector);
        let tcp_listeners = config.tcp_listeners.into_iter().map(Configured::TcpListener);
        for entity in profiles.chain(listeners).chain(connectors).chain(tcp_connectors).chain(tcp_listeners) {
            this.add(entity);
        }
        Ok(this)
    }

    fn manage(self: &Rc<Self>, request: &Message) -> Option<Message> {
        let (answer, changes) = self.agent.borrow_mut().request(request, &**self);
        for change in changes {
            match change {
                Change::Add(entity) | Change::Update(entity) => self.add(entity),
                Change::Remove { kind, name } => self.remove(kind, &name),
            }
        }
        answer
    }

    /// Puts an entity to work; of one that is there, what can change is changed.
    fn add(self: &Rc<Self>, entity: Configured) {
        match entity {
            Configured::SslProfile(profile) => {
                let mut entities = self.entities.borrow_mut();
                match entities.profiles.get(&profile.name) {
                    Some(there) => *there.borrow_mut() = profile,
                    None => {
                        entities.profiles.insert(profile.name.clone(), Rc::new(RefCell::new(profile)));
                    }
                }
            }
            Configured::Listener(listener) => self.add_listener(listener),
            Configured::Connector(connector) => self.add_connector(connector),
            Configured::TcpListener(listener) => self.add_tcp_listener(listener),
            Configured::TcpConnector(connector) => self.add_tcp_connector(connector),
            Configured::Address(address) => {
                let mut distributions = self.core.distributions.borrow_mut();
                distributions.0.retain(|there| there.name != address.name);
                distributions.0.push(address);
            }
        }
    }

    /// Ends an entity, and the connections of it.
    fn remove(&self, kind: &str, name: &str) {
        let mut entities = self.entities.borrow_mut();
        match kind {
            "sslProfile" => drop(entities.profiles.remove(name)),
            "listener" => drop(entities.listeners.remove(name)),
            "connector" => drop(entities.connectors.remove(name)),
            "tcpListener" => {
                if let Some(listening) = entities.tcp_listeners.remove(name) {
                    listening.service.end();
                }
            }
            "tcpConnector" => {
                if let Some(service) = entities.tcp_connectors.remove(name) {
                    drop(entities);
                    self.core.unserve(&service);
                    service.end();
                }
            }
            "address" => self.core.distributions.borrow_mut().0.retain(|there| there.name != name),
            _ => {}
        }
    }

    /// Keeps the control protocol's time.
    async fn control(&self) -> Infallible {
        loop {
            let deadline = tokio::time::Instant::from_std(self.core.control_deadline());
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    self.core.control_tick();
                    self.core.blocks.tidy();
                }
                () = self.core.control_changed.notified() => {}
            }
        }
    }

    fn profile(&self, name: Option<&String>) -> Option<endpoint::Profile> {
        name.and_then(|name| self.entities.borrow().profiles.get(name).cloned())
    }

    fn add_listener(self: &Rc<Self>, listener: Listener) {
        let profile = self.profile(listener.ssl_profile.as_ref());
        let name = listener.name.clone();
        let task = if listener.http {
            let weak = Rc::downgrade(self);
            let snapshot = move || weak.upgrade().map(|router| router.snapshot()).unwrap_or_default();
            Task::spawn(http::serve(listener, Rc::new(snapshot)))
        } else {
            Task::spawn(endpoint::listen(Rc::clone(&self.core), listener, profile))
        };
        self.entities.borrow_mut().listeners.insert(name, task);
    }

    fn add_connector(&self, connector: Connector) {
        let profile = self.profile(connector.ssl_profile.as_ref());
        let name = connector.name.clone();
        let status = Rc::new(endpoint::Status::default());
        let task =
            Task::spawn(endpoint::connect(Rc::clone(&self.core), connector, profile, Rc::clone(&status)));
        self.entities.borrow_mut().connectors.insert(name, (task, status));
    }

    fn add_tcp_listener(&self, listener: TcpListener) {
        if self.entities.borrow().tcp_listeners.contains_key(&listener.name) {
            // Of one that is there only what observes it can change, and nothing does here.
            return;
        }
        let TcpListener { name, address, host, port, .. } = listener;
        let service = Service::new(Rc::clone(&self.core), name.clone(), address, host, port);
        let task = Task::spawn(Rc::clone(&service).listen());
        self.entities.borrow_mut().tcp_listeners.insert(name, Listening { service, _task: task });
    }

    fn add_tcp_connector(&self, connector: TcpConnector) {
        let TcpConnector { name, address, host, port, .. } = connector;
        let service = Service::new(Rc::clone(&self.core), name.clone(), address, host, port);
        self.core.serve(&service);
        self.entities.borrow_mut().tcp_connectors.insert(name, service);
    }
}

/// As skrouterd makes one up for a router without id.
fn made_up_id() -> String {
    let mut random = [0; 8];
    if getrandom::fill(&mut random).is_err() {
        random = std::process::id().to_ne_bytes().repeat(2).try_into().unwrap_or(random);
    }
    format!("Interior_{:015x}", u64::from_ne_bytes(random) >> 4)
}
