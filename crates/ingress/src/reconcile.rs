//! The controller of a node: keeps nginx what the cluster's objects say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use runtime::{Backoff, Health, chain};
use store::{ObjectName, Store};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::apply::{Generations, Nginx, Proxy};
use crate::error::{Error, Refusal};
use crate::gather::gather;
use crate::metrics::Metrics;
use crate::model::Owner;
use crate::plan::{Cluster, Except, Plan, Problem, Settings, plan};
use crate::render::{ACCESS_LOG, Rendered, Setup, render};
use crate::sources::Sources;
use crate::tell::Teller;

/// What the component is called on boards, in logs and events.
pub const COMPONENT: &str = "ingress";

/// The more old generations there are, the longer it is until the next.
const SPACING: Duration = Duration::from_millis(25);
/// Between two tries to have a port, and two looks at the log.
const PERIOD: Duration = Duration::from_secs(5);
/// Between tries after what no object is to blame for.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// So long people are told that nginx has ended.
const REMEMBER: Duration = Duration::from_secs(60);
/// As many problems are shown on the board.
const SHOWN: usize = 10;
/// The log is set aside when it is longer, in bytes.
const LONGEST_LOG: u64 = 16 << 20;
/// The socket of the metrics, in the folder.
const METRICS_SOCKET: &str = "metrics.sock";
/// As many connections a process has, if it may.
const CONNECTIONS: u64 = 4096;

/// What a node's controller is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which objects it serves, and where.
    pub settings: Settings,
    /// The node's address, which Ingresses have in their status.
    pub address: IpAddr,
    /// Its folder, as `/run/lab/C0w1/ingress`: configurations, sockets, logs.
    pub folder: PathBuf,
    /// Where a line for each request is written; `access.log` in the folder if it is not said.
    pub access_log: Option<PathBuf>,
    /// Where `/metrics` and `/healthz` are.
    pub metrics_port: Option<u16>,
    /// How many processes share the work. Each takes endpoints in its own turn, so with one it is the turn
    /// that people expect.
    pub processes: u16,
    /// For so long a client that keeps its connection may see what was before a change.
    pub keep: Duration,
    /// nginx; looked for where programs are if it is not said.
    pub nginx: Option<PathBuf>,
    /// Whether nginx goes on when this ends, for the next one to adopt.
    pub stay: bool,
}

impl Options {
    /// What is usual on a node.
    #[must_use]
    pub fn new(settings: Settings, address: IpAddr, folder: PathBuf) -> Self {
        Self {
            settings,
            address,
            folder,
            access_log: None,
            metrics_port: Some(10_254),
            processes: 1,
            keep: Duration::from_secs(1),
            nginx: None,
            stay: true,
        }
    }
}

/// Keeps nginx what the cluster's objects say, until dropped. To be called on a thread that lives as long:
/// nginx ends with the thread that started it.
pub async fn run(options: Options, store: Store, health: Health) {
    let make = |options: &Options| {
        let nginx = match &options.nginx {
            Some(program) => Nginx::at(program.clone())?,
            None => Nginx::find(std::env::var_os("PATH").as_deref())?,
        };
        let version = nginx.version;
        Generations::new(nginx, &options.folder, options.keep, options.stay).map(|proxy| (proxy, version))
    };
    run_with(options, store, health, make).await;
}

/// As [`run`], with anyone who serves configurations.
pub(crate) async fn run_with<P, M>(options: Options, store: Store, health: Health, make: M)
where
    P: Proxy,
    M: Fn(&Options) -> Result<(P, crate::render::Version), Error>,
{
    let changed = Arc::<Notify>::default();
    let sources = Sources::start(&store, &options.settings.node, changed.clone());
    health.set(COMPONENT, false, "waiting for etcd");
    let teller = Teller::start(&store, &options.settings, &options.address.to_string(), changed);
    let setup = Setup {
        superuser: nix::unistd::geteuid().is_root(),
        processes: options.processes,
        connections: connections(),
        keep: u32::try_from(options.keep.as_millis()).unwrap_or(u32::MAX),
        metrics_port: options.metrics_port,
        resolver: options.settings.resolver,
        access_log: options.access_log.as_ref().map_or(ACCESS_LOG.into(), |path| path.display().to_string()),
        ..Setup::default()
    };
    let log = options.access_log.clone().unwrap_or_else(|| options.folder.join("access.log"));
    let mut controller = Controller {
        metrics: Metrics::new(log),
        serves_metrics: JoinSet::new(),
        options,
        health,
        teller,
        make,
        setup,
        proxy: None,
        served: None,
        refused: BTreeMap::new(),
        ports: BTreeMap::new(),
        accident: None,
        backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        retry: None,
    };
    controller.run(sources).await;
}

struct Controller<P, M> {
    options: Options,
    health: Health,
    teller: Teller,
    make: M,
    setup: Setup,
    proxy: Option<P>,
    served: Option<Rendered>,
    /// Objects that nginx has refused, each with its version then.
    refused: BTreeMap<Owner, (Problem, Option<String>)>,
    ports: BTreeMap<u16, String>,
    /// When nginx has ended by itself, and what was said of it.
    accident: Option<(Instant, String)>,
    metrics: Metrics,
    /// Begins with nginx, which asks.
    serves_metrics: JoinSet<()>,
    backoff: Backoff,
    /// When to try again what failed.
    retry: Option<Instant>,
}

impl<P, M> Controller<P, M>
where
    P: Proxy,
    M: Fn(&Options) -> Result<(P, crate::render::Version), Error>,
{
    async fn run(&mut self, mut sources: Sources) {
        loop {
            let began = Instant::now();
            if self.look_after(sources.complete()).await {
                continue;
            }
            let cluster = sources.snapshot();
            self.reconcile(&cluster, sources.invalid()).await;
            // Planning all over again for each of many changes would leave no time for anything else.
            let retiring = self.proxy.as_ref().map_or(0, Proxy::retiring);
            let spacing = SPACING * u32::try_from(retiring).unwrap_or(u32::MAX);
            if self.look_after(sleep(began.elapsed().max(spacing))).await {
                continue;
            }
            let retry = self.retry.unwrap_or_else(|| Instant::now() + PERIOD);
            let wake = async {
                let _ = timeout(retry.saturating_duration_since(Instant::now()), sources.changed()).await;
                gather(&sources, &cluster).await;
            };
            self.look_after(wake).await;
        }
    }

    /// Looks after nginx until something else is to be done, or it has ended by itself; says whether.
    async fn look_after(&mut self, until: impl Future<Output = ()>) -> bool {
        let tend = async {
            match &mut self.proxy {
                Some(proxy) => proxy.tend().await,
                None => std::future::pending().await,
            }
        };
        let said = tokio::select! {
            () = until => return false,
            said = tend => said,
        };
        self.metrics.set(|gauges| gauges.accidents += 1);
        self.teller.tell_of_node("NginxEnded", &said);
        self.accident = Some((Instant::now(), said));
        true
    }

    async fn reconcile(&mut self, cluster: &Cluster, invalid: Vec<String>) {
        self.refused.retain(|owner, (_, then)| version(cluster, owner) == *then);
        if self.retry.is_none_or(|at| at <= Instant::now()) {
            self.ports.clear();
        }
        self.retry = None;
        let (plan, failure) = self.apply(cluster).await;
        match failure {
            None => self.backoff.reset(),
            Some(_) => self.retry = Some(Instant::now() + self.backoff.after(Duration::ZERO)),
        }
        if !self.ports.is_empty() {
            self.retry.get_or_insert_with(|| Instant::now() + PERIOD);
        }
        self.rotate();
        self.teller.tell(cluster, &plan, failure.as_deref());
        self.board(&plan, failure.as_deref(), invalid);
    }

    /// Brings a plan into service. What nginx refuses of it is left out, and the rest tried again.
    async fn apply(&mut self, cluster: &Cluster) -> (Plan, Option<String>) {
        let began = Instant::now();
        loop {
            let plan = plan(cluster, &self.options.settings, &self.except());
            if plan.is_idle() {
                if let Some(mut proxy) = self.proxy.take() {
                    self.served = None;
                    proxy.stop().await;
                    self.proxy = Some(proxy);
                }
                return (plan, None);
            }
            if let Err(error) = self.have_proxy() {
                return (plan, Some(chain(&error)));
            }
            let config = render(&plan.model, &self.setup);
            self.metrics.set(|gauges| {
                gauges.routes = plan.routes.len();
                gauges.problems = plan.problems.len();
            });
            if self.served.as_ref() == Some(&config) {
                return (plan, None);
            }
            let Some(proxy) = &mut self.proxy else { return (plan, None) };
            let error = match proxy.apply(&config).await {
                Ok(()) => {
                    self.served = Some(config);
                    self.metrics.set(|gauges| {
                        gauges.configurations += 1;
                        gauges.took = began.elapsed().as_secs_f64();
                    });
                    return (plan, None);
                }
                Err(error) => error,
            };
            self.metrics.set(|gauges| gauges.failures += 1);
            if !self.leave_out(cluster, &config, &error) {
                tracing::warn!(error = chain(&error), "a configuration is not served");
                return (plan, Some(chain(&error)));
            }
        }
    }

    /// Keeps the log from filling the disk.
    fn rotate(&self) {
        let Some(proxy) = &self.proxy else { return };
        match self.metrics.rotate(LONGEST_LOG) {
            Ok(true) => proxy.reopen_logs(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the access log is not set aside"),
        }
    }

    fn have_proxy(&mut self) -> Result<(), Error> {
        if self.proxy.is_none() {
            let (proxy, version) = (self.make)(&self.options)?;
            let socket = self.options.folder.join(METRICS_SOCKET);
            self.serves_metrics.spawn(self.metrics.clone().serve(socket));
            self.setup.version = version;
            let (major, minor, patch) = version;
            self.health.identify(COMPONENT, &format!("nginx {major}.{minor}.{patch}"), "");
            self.proxy = Some(proxy);
        }
        Ok(())
    }

    fn except(&self) -> Except {
        let objects = self.refused.iter().map(|(owner, (problem, _))| (owner.clone(), problem.clone()));
        Except { objects: objects.collect(), ports: self.ports.clone() }
    }

    /// Finds who is to blame for an error, to leave it out. Says whether there is anyone.
    fn leave_out(&mut self, cluster: &Cluster, config: &Rendered, error: &Error) -> bool {
        match error {
            Error::Port { port, source } if self.setup.metrics_port == Some(*port) => {
                tracing::warn!(port, %source, "there will be no metrics");
                self.setup.metrics_port = None;
                true
            }
            Error::Port { port, source } => {
                let is_new = !self.ports.contains_key(port);
                self.ports.insert(*port, source.to_string());
                is_new
            }
            Error::Refused(refusal) => {
                let Some(owner) = culprit(config, refusal) else { return false };
                let problem = Problem {
                    owner: owner.clone(),
                    reason: "Refused",
                    message: format!("nginx refuses it: {}", refusal.message),
                };
                let version = version(cluster, owner);
                self.refused.insert(owner.clone(), (problem, version)).is_none()
            }
            _ => false,
        }
    }

    /// Says on the board how it is.
    fn board(&mut self, plan: &Plan, failure: Option<&str>, invalid: Vec<String>) {
        self.accident.take_if(|(at, _)| at.elapsed() > REMEMBER);
        let told = plan.problems.iter().filter(|problem| self.teller.tells_of(problem));
        let problems: Vec<_> = told.map(ToString::to_string).chain(invalid).collect();
        let mut warnings: Vec<String> = self.accident.iter().map(|(_, said)| said.clone()).collect();
        warnings.extend(problems.iter().take(SHOWN).cloned());
        if problems.len() > SHOWN {
            warnings.push(format!("and {} more problems", problems.len() - SHOWN));
        }
        match failure {
            // What was served before still is; a lab without nginx is one nevertheless.
            Some(failure) => {
                warnings.insert(0, failure.into());
                self.health.warn(COMPONENT, "cannot serve what the objects say", &warnings);
            }
            None if plan.is_idle() => self.health.warn(COMPONENT, "nothing to serve", &warnings),
            None => {
                let routes = plan.routes.len();
                let message = format!("{routes} route{}", if routes == 1 { "" } else { "s" });
                self.health.warn(COMPONENT, &message, &warnings);
            }
        }
    }
}

/// The object that nginx complains of.
fn culprit<'c>(config: &'c Rendered, refusal: &Refusal) -> Option<&'c Owner> {
    let by_file = refusal.file.as_ref().and_then(|file| config.owner_of_file(file));
    by_file.or_else(|| config.owner_of_line(refusal.line?))
}

fn version(cluster: &Cluster, owner: &Owner) -> Option<String> {
    let name = ObjectName::new(&owner.namespace, &owner.name);
    let meta = match owner.kind {
        "Ingress" => &cluster.ingresses.get(&name)?.metadata,
        "NodeIngress" => &cluster.node_ingresses.get(&name)?.metadata,
        "Secret" => &cluster.secrets.get(&name)?.metadata,
        "Gateway" => &cluster.gateways.get(&name)?.metadata,
        "HTTPRoute" => &cluster.http_routes.get(&name)?.metadata,
        _ => return None,
    };
    // Its own status is none of its changes.
    let generation = meta.generation.map(|generation| generation.to_string());
    let annotations = meta.annotations.as_ref().map(|all| format!("{all:?}")).unwrap_or_default();
    Some(format!("{}{annotations}", generation.or(meta.resource_version.clone())?))
}

fn connections() -> u32 {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    // A request takes two, and some are taken by files.
    u32::try_from((limit / 2).min(CONNECTIONS)).unwrap_or(512).max(64)
}
