//! The processes of a lab that are ours.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use dns::corefile::Classes;
use lab::LabName;
use net::delay::DelayLine;
use runtime::{Health, Notifier};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::Output;
use crate::cli::names::{DnsCommand, DnsServeArgs};
use crate::cli::parts::{AgentArgs, ControlPlaneArgs, DelayLineArgs, LabArgs, RouterArgs};
use crate::cli::pods::EchoCli;
use crate::{commands, output};

/// How long a DNS server that is told to end goes on answering.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// Logs to standard error, which the lab collects; `RUST_LOG` says how much.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Not a word of lines that cannot be written: on a full disk the lab goes on.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

/// pid 1.
pub(crate) fn lab(args: LabArgs) -> anyhow::Result<ExitCode> {
    if std::process::id() != 1 {
        anyhow::bail!("lab: this is the first process of a lab, which `topo up` starts");
    }
    log();
    lab::init::run(lab::init::Options {
        name: args.name,
        state: args.state,
        keep: args.keep,
        began: Duration::from_nanos(args.began),
        timeout: Duration::from_secs(args.timeout),
        resolvers: args.resolvers,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A worker's agent.
pub(crate) fn agent(args: AgentArgs) -> anyhow::Result<ExitCode> {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = agent::Options {
        node: args.node,
        address: args.address,
        etcd: args.etcd,
        folder: args.folder,
        network: args.network,
        service_network: args.service_network,
        flannel: args.flannel,
        flannel_plugin: args.flannel_plugin,
        router: args.router,
        images: args.images,
        logs: args.logs,
        access_log: args.access_log,
        dns: args.dns,
        cluster: args.cluster.clone(),
        node_monitor_grace: Duration::from_millis(args.node_monitor_grace_period),
    };
    runtime.block_on(agent::run(options)).with_context(|| format!("agent of {}", args.cluster))?;
    Ok(ExitCode::SUCCESS)
}

/// What runs in pods, if the command line begins with it.
///
/// `echo` with a flag of the whole command (`--lab`, `--help`) is left to the whole command line.
pub(crate) fn in_a_pod() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    match args.next()?.to_str()? {
        "shim" => Some(cri::shim::main(Path::new(&args.next()?))),
        "image" => Some(images::program::main(args)),
        "echo" => {
            let cli = EchoCli::try_parse_from(std::env::args_os().skip(1)).ok()?;
            Some(commands::echo::run(cli.echo).unwrap_or_else(|error| output::failure(&error)))
        }
        _ => None,
    }
}

/// A router between sites. Everything of it runs on this one thread.
pub(crate) fn router(args: &RouterArgs) -> anyhow::Result<ExitCode> {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(router::run_file(&args.config))? {}
}

/// A cluster's control plane.
pub(crate) fn control_plane(args: ControlPlaneArgs) -> anyhow::Result<ExitCode> {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = format!("control plane of {}", args.cluster);
    let options = control_plane::Options {
        cluster: args.cluster,
        etcd: args.etcd,
        folder: args.folder,
        network: args.network,
        service_network: args.service_network,
        load_balancer_pool: args.load_balancer_pool,
        identity: args.identity,
        standby: args.standby,
        node_monitor_grace: Duration::from_millis(args.node_monitor_grace_period),
        manifests: args.manifests,
        dns: args.dns,
    };
    runtime.block_on(control_plane::run(options)).context(context)?;
    Ok(ExitCode::SUCCESS)
}

/// A cluster's DNS server, or what a look-up costs.
pub(crate) fn dns(lab: &LabName, command: DnsCommand) -> anyhow::Result<ExitCode> {
    match command {
        DnsCommand::Trace(args) => {
            let as_json = matches!(args.output.output, Output::Json);
            commands::dns::trace(lab, &args.place, &args.name, as_json)
        }
        DnsCommand::Serve(args) => {
            log();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve_dns(args)).context("dns")
        }
    }
}

async fn serve_dns(args: DnsServeArgs) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Where it is killed, its address still leads here for a moment. The C library takes a refusal for an answer,
    // but asks again where nobody says a word.
    if let Err(error) =
        nft::silence::keep_silence("a DNS server that is killed is silent: then resolvers ask again")
    {
        tracing::warn!(error = runtime::chain(&error), "who asks while this server is killed may be refused");
    }
    let store = Store::etcd(&args.etcd).await?;
    let options = dns::Options {
        name_servers: args.name_servers,
        upstreams: args.upstreams,
        log: if args.log { Classes::ALL } else { Classes::NONE },
        config: args.config,
        own_networks: args.own_networks,
        ..dns::Options::new(&args.zone)
    };
    // Who was told of this server a moment ago still asks it (CoreDNS `lameduck`, kubeadm has 5 s).
    let ended = async {
        terminate.recv().await;
        tokio::time::sleep(LAME_DUCK).await;
    };
    tokio::select! {
        outcome = dns::run(options, store, Health::default()) => outcome?,
        () = ended => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// A delay line; runs until it is killed.
pub(crate) fn delay_line(args: &DelayLineArgs) -> anyhow::Result<ExitCode> {
    log();
    let mut line = DelayLine::open(&args.a, &args.b, Duration::from_micros(args.delay))?;
    if let Some(notifier) = Notifier::from_env()? {
        notifier.ready()?;
    }
    line.run(None)?;
    Ok(ExitCode::SUCCESS)
}
