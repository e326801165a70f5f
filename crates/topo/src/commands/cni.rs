//! `topo cni`: cnitool's verbs, with its environment and its cache.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cni::tool::Settings;
use cni::{Attachment, Cni, Code, Error, NetworkList, ProcessExec, Reason};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::cni::{CniAttachmentArgs, CniCommand, CniNetworkArgs, CniRuntimeArgs};
use crate::output::{Hinted, Negative, line, note};

/// Ended by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(command: &CniCommand) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            code = carry_out(command) => code,
            signal = interrupted() => {
                // Dropping the operation has killed the plugin.
                signal?;
                if let CniCommand::Add(args) = command {
                    note("interrupted: undoing what is done; once more to leave it");
                    tokio::select! {
                        done = carry_out_del(args) => done?,
                        signal = interrupted() => signal?,
                    }
                }
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    })
}

async fn interrupted() -> std::io::Result<()> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}

async fn carry_out(command: &CniCommand) -> Result<ExitCode> {
    match command {
        CniCommand::Add(args) => {
            let (cni, network, attachment) = attachment(args)?;
            line(cni.add(&network, &attachment).await.map_err(explain)?.pretty());
        }
        CniCommand::Del(args) => carry_out_del(args).await?,
        CniCommand::Check(args) => {
            let (cni, network, attachment) = attachment(args)?;
            cni.check(&network, &attachment).await.map_err(answer)?;
        }
        CniCommand::Gc(args) => {
            let (cni, network) = network(&args.network)?;
            cni.gc(&network, &valid(&args.valid)?).await.map_err(explain)?;
        }
        CniCommand::Status(args) => {
            let (cni, network) = network(args)?;
            cni.status(&network).await.map_err(answer)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn carry_out_del(args: &CniAttachmentArgs) -> Result<()> {
    let (cni, network, attachment) = attachment(args)?;
    cni.del(&network, &attachment).await.map_err(explain)
}

fn attachment(args: &CniAttachmentArgs) -> Result<(Cni<ProcessExec>, NetworkList, Attachment)> {
    let (settings, cni, network) = load(&args.network, &args.runtime)?;
    let mut attachment = settings.attachment(&args.netns).context("current folder")?;
    if let Some(ifname) = &args.ifname {
        attachment.ifname.clone_from(ifname);
    }
    Ok((cni, network, attachment))
}

fn network(args: &CniNetworkArgs) -> Result<(Cni<ProcessExec>, NetworkList)> {
    let (_, cni, network) = load(&args.network, &args.runtime)?;
    Ok((cni, network))
}

fn load(network: &str, args: &CniRuntimeArgs) -> Result<(Settings, Cni<ProcessExec>, NetworkList)> {
    let settings = Settings::read(|name| env::var_os(name))?;
    let network = cni::config::load(&settings.configurations, network).map_err(explain)?;
    let limit = Duration::from_secs(args.timeout);
    let exec = ProcessExec::new().echo_stderr();
    let cni = Cni::new(exec, settings.plugin_path.clone(), &args.cache_dir, limit);
    Ok((settings, cni, network))
}

fn valid(texts: &[String]) -> Result<Vec<(String, String)>> {
    let mut valid = Vec::new();
    for text in texts {
        match text.split_once('/') {
            Some((container, ifname)) => valid.push((container.into(), ifname.into())),
            None => bail!("cni gc: --valid {text}: expected CONTAINER/IFNAME"),
        }
    }
    Ok(valid)
}

/// An error of CHECK or STATUS: what a plugin has found is the answer no.
fn answer(error: Error) -> anyhow::Error {
    let found = error.failure().is_some_and(|failure| matches!(failure.reason, Reason::Answer { .. }));
    if found && error.code() != Some(Code::IncompatibleVersion) {
        return Negative(error.to_string()).into();
    }
    explain(error)
}

/// An error, with what to do about it where that is known.
fn explain(error: Error) -> anyhow::Error {
    let hint = match &error {
        Error::NoPlugin { .. } => "CNI_PATH names the folders of plugins; Debian has many in the package \
                                   containernetworking-plugins, in /usr/lib/cni"
            .to_owned(),
        Error::NoNetwork { .. } => "NETCONFPATH names the folder of configurations".to_owned(),
        Error::Attached { .. } => "`topo cni del` detaches it".to_owned(),
        Error::Cache { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "run it as root, or choose a --cache-dir".to_owned()
        }
        Error::Plugin(failure) if error.code() == Some(Code::IncompatibleVersion) => {
            format!("what it speaks: CNI_COMMAND=VERSION {} </dev/null", failure.path.display())
        }
        _ => return error.into(),
    };
    Hinted { message: format!("{:#}", anyhow::Error::from(error)), hint }.into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> CniCommand {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Cni(command) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_words_are_cnitools() {
        let CniCommand::Add(args) = parse("topo cni add dbnet /run/netns/blue -i net1") else { panic!() };
        assert_eq!((args.network.as_str(), args.netns.as_str()), ("dbnet", "/run/netns/blue"));
        assert_eq!((args.ifname.as_deref(), args.runtime.timeout), (Some("net1"), 60));
        assert_eq!(args.runtime.cache_dir, std::path::Path::new("/var/lib/cni"));
        for verb in ["del", "check"] {
            assert!(Cli::try_parse_from(["topo", "cni", verb, "dbnet"]).is_err());
            parse(&format!("topo cni {verb} dbnet blue"));
        }
        for verb in ["gc", "status"] {
            parse(&format!("topo cni {verb} dbnet"));
            parse(&format!("topo cni {verb} dbnet blue"));
        }
    }

    #[test]
    fn attachments_that_stay_are_named_with_their_interface() {
        let CniCommand::Gc(args) = parse("topo cni gc dbnet --valid c1/eth0 --valid c2/net1") else {
            panic!()
        };
        let expected = [("c1", "eth0"), ("c2", "net1")].map(|(c, i)| (c.to_owned(), i.to_owned()));
        assert_eq!(valid(&args.valid).unwrap(), expected);
        assert_eq!(
            valid(&["c1".into()]).unwrap_err().to_string(),
            "cni gc: --valid c1: expected CONTAINER/IFNAME"
        );
    }

    #[test]
    fn a_missing_network_has_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = explain(cni::config::load(folder.path(), "dbnet").unwrap_err());
        assert!(error.to_string().starts_with("no network dbnet in "));
        assert!(error.downcast_ref::<Hinted>().unwrap().hint.contains("NETCONFPATH"));
    }
}
