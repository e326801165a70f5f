//! `topo`: starts labs, looks at them, enters them and ends them.
//!
//! It is also every process of a lab that is ours: pid 1 is `topo lab`, a worker's agent `topo agent`, a
//! cluster's control plane `topo control-plane`; and under the name `flannel` it is that CNI plugin.

mod cli;
mod commands;
mod enter;
mod output;
mod parts;
mod prompt;
mod suggest;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use kubectl::change::What;

use crate::cli::changes::SetCommand;
use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything else: pods wait for it.
    if called("flannel") {
        return flannel::plugin::main();
    }
    // Processes are started by way of /proc/self/exe, and would be called `exe` in `ps`.
    let _ = nix::sys::prctl::set_name(c"topo");
    // Pods are started by the thousand: what they run is found without building the whole command line.
    if let Some(code) = parts::in_a_pod() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return suggest::usage(error, std::env::args_os()),
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => output::failure(&error),
    }
}

/// Whether this program was started under a name.
fn called(name: &str) -> bool {
    let own = std::env::args_os().next().unwrap_or_default();
    Path::new(&own).file_name() == Some(OsStr::new(name))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let lab = &cli.lab()?;
    match cli.command {
        Command::Up(args) => commands::up::run(lab, &args),
        Command::Down(args) => commands::down::run(lab, &args),
        Command::List(args) => commands::list::run(args.output),
        Command::Status(args) => commands::status::run(lab, args.output),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Exec(args) => enter::exec(lab, &args.node, &args.command),
        Command::Shell(args) => prompt::run(lab, &args),
        Command::Logs(args) => commands::logs::run(lab, &args),
        Command::Apply(args) => commands::objects::apply(lab, &args),
        Command::Create(args) => commands::objects::create(lab, &args),
        Command::Expose(args) => commands::objects::expose(lab, &args),
        Command::Set(SetCommand::Image(args)) => commands::objects::set_image(lab, &args),
        Command::Get(args) => commands::objects::get(lab, &args),
        Command::Delete(args) => commands::objects::delete(lab, &args),
        Command::Dns(command) => parts::dns(lab, command),
        Command::Ingress(command) => commands::ingress::run(lab, &command),
        Command::Vip(command) => commands::vip::run(lab, &command),
        Command::Proxy(command) => commands::proxy::run(lab, &command),
        Command::Skupper(command) => commands::skupper::run(lab, &command),
        Command::Pod(command) => commands::pod::run(lab, &command),
        Command::Describe(args) => commands::objects::describe(lab, &args),
        Command::Scale(args) => commands::objects::scale(lab, &args),
        Command::Label(args) => commands::objects::mark(lab, &args, What::Labels),
        Command::Annotate(args) => commands::objects::mark(lab, &args, What::Annotations),
        Command::Rollout(command) => commands::objects::rollout(lab, &command),
        Command::Wait(args) => commands::objects::wait(lab, &args),
        Command::Verb(verb) => commands::verbs::run(lab, &verb),
        Command::Link(command) => commands::link::run(lab, command),
        Command::Topology(command) => commands::topology::run(&command),
        Command::Cni(command) => commands::cni::run(&command),
        Command::Echo(args) => commands::echo::run(args),
        Command::Nodes => commands::mininet::nodes(lab),
        Command::Net => commands::mininet::net(lab),
        Command::Links(args) => commands::mininet::links(lab, args.output),
        Command::Dump => commands::mininet::dump(lab),
        Command::Pingall(args) => commands::mininet::pingall(lab, &args),
        Command::Iperf(args) => commands::mininet::iperf(lab, &args),
        Command::Completions { shell } => commands::manual::completions(shell),
        Command::Man { folder } => commands::manual::pages(folder.as_deref()),
        Command::Lab(args) => parts::lab(args),
        Command::Agent(args) => parts::agent(args),
        Command::ControlPlane(args) => parts::control_plane(args),
        Command::Router(args) => parts::router(&args),
        Command::Probe => commands::doctor::probe(),
        Command::Image { args } => Ok(images::program::main(args.into_iter())),
        Command::DelayLine(args) => parts::delay_line(&args),
    }
}
