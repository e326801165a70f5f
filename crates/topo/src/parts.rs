//! The processes of a lab that are ours.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use net::delay::DelayLine;
use runtime::Notifier;
use tracing_subscriber::EnvFilter;

use crate::cli::{AgentArgs, ControlPlaneArgs, DelayLineArgs, EchoCli, LabArgs};
use crate::{commands, output};

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
        images: args.images,
        logs: args.logs,
        cluster: args.cluster.clone(),
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
        manifests: args.manifests,
    };
    runtime.block_on(control_plane::run(options)).context(context)?;
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
