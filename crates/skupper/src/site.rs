//! The task of a site: keeps its router as the plan says, and tells what the router sees.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::router_config::Config;
use runtime::{Backoff, chain};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};
use crate::files;
use crate::manage::{self, Amqp, Observation};
use crate::network::Network;
use crate::ops::{self, LIVE, Observed, Wanted};
use crate::plan::Profile;
use crate::router::{Process, Program};

/// How often a router is asked: what another site begins or ceases to offer shows so soon.
const PERIOD: Duration = Duration::from_millis(400);
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(10);
/// A router that has just been started listens after that many milliseconds.
const TRY: Duration = Duration::from_millis(20);
const KNOCK: Duration = Duration::from_millis(100);
const START: Duration = Duration::from_secs(20);

/// What a router is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Everything that it is to have.
    pub config: Config,
    /// Certificates.
    pub profiles: Vec<Profile>,
    /// The port of its management.
    pub amqp: u16,
}

/// How a router is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Whether it answers.
    pub running: bool,
    /// What is wrong, or what it does.
    pub message: String,
    /// Its process.
    pub pid: Option<i32>,
    /// What it has refused, by `type name`.
    pub refused: Vec<String>,
    /// The last that it said. It stays while it does not answer.
    pub seen: Observation,
}

/// Runs until dropped. The router stays: who wants it ended calls [`crate::router::end`].
pub async fn run(
    program: Program,
    folder: PathBuf,
    mut target: watch::Receiver<Target>,
    state: watch::Sender<State>,
) {
    let mut backoff = Backoff::new(FIRST, MOST);
    loop {
        let began = Instant::now();
        let error = match hold(&program, &folder, &mut target, &state).await {
            Ok(()) => {
                backoff.reset();
                continue;
            }
            Err(error) => chain(&error),
        };
        let delay = backoff.after(began.elapsed());
        tracing::warn!(error, ?delay, "the router");
        state.send_modify(|state| {
            state.running = false;
            state.message = format!("{error}; next try in {} ms", delay.as_millis());
            state.pid = None;
            state.seen.network = without_own_links(&state.seen);
        });
        sleep(delay).await;
    }
}

/// While a router is down, nothing that it has works; what others have may.
fn without_own_links(seen: &Observation) -> Network {
    let mut network = seen.network.clone();
    network.routers.retain(|id, _| *id == seen.id);
    for router in network.routers.values_mut() {
        router.incoming.clear();
        for link in &mut router.links {
            link.operational = false;
            link.peer.clear();
            link.message = "the router is down".into();
        }
        router.listeners.iter_mut().for_each(|end| end.up = false);
    }
    network
}

/// Starts a router or finds the one that runs, and keeps it as it should be until it has to be another one.
async fn hold(
    program: &Program,
    folder: &Path,
    target: &mut watch::Receiver<Target>,
    state: &watch::Sender<State>,
) -> Result<()> {
    let first = target.borrow_and_update().clone();
    files::folder(folder)?;
    files::profiles(folder, &first.profiles)?;
    let fixed = fixed(&first.config)?;
    // By its end skrouterd knows the form.
    let config = folder.join("config.json");
    let beginning = without_silent(&first.config, &Observed::default()).await;
    files::write(&config, text(&beginning)?.as_bytes())?;
    let mut process = match Process::adopt(folder, program, &fixed) {
        Some(process) => process,
        None => Process::start(folder, program, &config, &fixed)?,
    };
    let mut router = connect(&mut process, first.amqp).await?;
    let mut target_now = first;
    loop {
        let observed = manage::entities(&mut router).await?;
        let reachable = without_silent(&target_now.config, &observed).await;
        let ops = ops::plan(&Wanted::of(&reachable).map_err(refused)?, &observed);
        let refusals = manage::apply(&mut router, &ops).await?;
        let before = state.borrow().seen.network.clone();
        let seen = manage::observe(&mut router, &before).await?;
        let new = State {
            running: true,
            message: "OK".into(),
            pid: Some(process.pid()),
            refused: refusals.iter().map(ToString::to_string).collect(),
            seen,
        };
        state.send_if_modified(|old| {
            let differs = *old != new;
            *old = new;
            differs
        });
        // Level-triggered: whatever wakes, everything is compared.
        if let Ok(Err(_)) = timeout(PERIOD, target.changed()).await {
            // Nobody tells it anything any more: it is about to be dropped.
            return std::future::pending().await;
        }
        if let Some(how) = process.ended() {
            return Err(Error::Router(format!("the router has ended: {how}")));
        }
        let new = target.borrow_and_update().clone();
        if new != target_now {
            files::profiles(folder, &new.profiles)?;
            files::write(&config, text(&new.config)?.as_bytes())?;
            target_now = new;
            if !process.is_of(&self::fixed(&target_now.config)?) {
                process.end();
                return Ok(());
            }
        }
    }
}

/// Leaves out connectors that the router does not have yet and whose other end does not listen yet: a router
/// whose first try is refused tries again only after five seconds.
async fn without_silent(config: &Config, observed: &Observed) -> Config {
    let mut config = config.clone();
    let mut kept = Vec::new();
    for connector in config.connectors {
        let listens = || async {
            let to = (connector.host.as_str(), connector.port);
            timeout(KNOCK, TcpStream::connect(to)).await.is_ok_and(|connected| connected.is_ok())
        };
        if observed.has("connector", &connector.name) || listens().await {
            kept.push(connector);
        }
    }
    config.connectors = kept;
    config
}

async fn connect(process: &mut Process, port: u16) -> Result<Amqp> {
    let at = format!("127.0.0.1:{port}");
    let began = Instant::now();
    loop {
        if let Some(how) = process.ended() {
            return Err(Error::Router(format!("the router has ended: {how}")));
        }
        match Amqp::connect(&at).await {
            Ok(router) => return Ok(router),
            Err(error) if began.elapsed() > START => return Err(error),
            Err(_) => sleep(TRY).await,
        }
    }
}

fn refused(refused: api::router_config::Refused) -> Error {
    Error::Router(format!("the configuration cannot be: {refused}"))
}

fn text(config: &Config) -> Result<String> {
    config.to_text().map_err(refused)
}

/// What can only be changed by starting anew.
fn fixed(config: &Config) -> Result<String> {
    let entities = config.entities().map_err(refused)?;
    let fixed = entities.iter().filter(|one| !LIVE.contains(&one.kind.short_name()));
    let shown = fixed.map(|one| format!("{} {:?}", one.kind.short_name(), one.said().collect::<Vec<_>>()));
    Ok(shown.collect::<Vec<_>>().join("\n"))
}
