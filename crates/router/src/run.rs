//! The router as a whole: what its configuration says, running.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use api::router_config::{Config, Connector, Listener, SslProfile, TcpConnector, TcpListener};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::control::{self, Control};
use crate::core::Core;
use crate::endpoint;
use crate::service::Service;

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
}

/// Reads the configuration file and runs the router, until dropped.
///
/// # Errors
/// A file that is unreadable or wrong.
pub async fn run_file(path: &Path) -> Result<Infallible, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let (config, warnings) = Config::parse(&path.display().to_string(), &text)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(run(config).await)
}

/// Runs a router, until dropped.
///
/// All of it runs on the calling thread; the future is for a runtime's `block_on`.
pub async fn run(config: Config) -> Infallible {
    LocalSet::new()
        .run_until(async move {
            let router = Router::start(config);
            router.control().await
        })
        .await
}

/// A task that ends with what holds it.
#[derive(Debug)]
struct Task(JoinHandle<()>);

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
struct Listening {
    service: Rc<Service>,
    _task: Task,
}

/// The entities at work, by name.
#[derive(Default)]
struct Entities {
    profiles: BTreeMap<String, SslProfile>,
    listeners: BTreeMap<String, Task>,
    connectors: BTreeMap<String, (Task, Rc<endpoint::Status>)>,
    tcp_listeners: BTreeMap<String, Listening>,
    tcp_connectors: BTreeMap<String, Rc<Service>>,
}

struct Router {
    core: Rc<Core>,
    entities: RefCell<Entities>,
}

impl Router {
    fn start(config: Config) -> Rc<Self> {
        let router = &config.router;
        let id = router.id.clone().unwrap_or_else(made_up_id);
        let instance = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let options = control::Options {
            id: id.clone(),
            instance,
            hello_interval: router.hello_interval,
            hello_max_age: router.hello_max_age,
            ra_interval: router.ra_interval,
            ra_interval_flux: router.ra_interval_flux,
            remote_ls_max_age: router.remote_ls_max_age,
            unreachable_holdoff: router.unreachable_holdoff,
        };
        let control = Control::new(options, Instant::now());
        tracing::info!(id, instance, mode = %router.mode, "router starts");
        let core = Rc::new(Core::new(id, control, config.addresses, router.default_distribution));
        let this = Rc::new(Self { core, entities: RefCell::default() });
        this.entities.borrow_mut().profiles =
            config.ssl_profiles.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        config.listeners.into_iter().for_each(|listener| this.add_listener(listener));
        config.connectors.into_iter().for_each(|connector| this.add_connector(connector));
        config.tcp_connectors.into_iter().for_each(|connector| this.add_tcp_connector(connector));
        config.tcp_listeners.into_iter().for_each(|listener| this.add_tcp_listener(listener));
        this
    }

    /// Keeps the control protocol's time.
    async fn control(&self) -> Infallible {
        loop {
            let deadline = tokio::time::Instant::from_std(self.core.control_deadline());
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => self.core.control_tick(),
                () = self.core.control_changed.notified() => {}
            }
        }
    }

    fn profile(&self, name: Option<&String>) -> Option<SslProfile> {
        name.and_then(|name| self.entities.borrow().profiles.get(name).cloned())
    }

    fn add_listener(&self, listener: Listener) {
        let profile = self.profile(listener.ssl_profile.as_ref());
        let name = listener.name.clone();
        let task = Task::spawn(endpoint::listen(Rc::clone(&self.core), listener, profile));
        self.entities.borrow_mut().listeners.insert(name, task);
    }

    fn add_connector(&self, connector: Connector) {
        let profile = self.profile(connector.ssl_profile.as_ref());
        let name = connector.name.clone();
        let status = Rc::new(endpoint::Status::default());
        let task = Task::spawn(endpoint::connect(Rc::clone(&self.core), connector, profile, Rc::clone(&status)));
        self.entities.borrow_mut().connectors.insert(name, (task, status));
    }

    fn add_tcp_listener(&self, listener: TcpListener) {
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
