//! `topo vip`: an address that stands for pods, whatever the protocol.

use std::process::ExitCode;

use anyhow::Result;
use api::virtual_ip::{VirtualIP, VirtualIPSpec};
use lab::LabName;
use store::registry;

use super::objects::with_store;
use crate::cli::services::{VipAddArgs, VipCommand, VipDeleteArgs};
use crate::output::line;

pub(crate) fn run(lab: &LabName, command: &VipCommand) -> Result<ExitCode> {
    match command {
        VipCommand::Add(args) => add(lab, args),
        VipCommand::Delete(args) => delete(lab, args),
    }
}

fn add(lab: &LabName, args: &VipAddArgs) -> Result<ExitCode> {
    let spec = VirtualIPSpec {
        address: args.address.to_string(),
        pods: args.pods.clone(),
        addresses: args.addresses.iter().map(ToString::to_string).collect(),
    };
    // Named after its address, so that there is only one of it.
    let vip = VirtualIP::new(&args.namespace, &args.address.to_string(), spec);
    with_store(lab, Some(&args.cluster), async |store| {
        registry::create(&store, &vip).await?;
        line(format!("virtualip.knetsim.dev/{} created", args.address));
        Ok(ExitCode::SUCCESS)
    })
}

fn delete(lab: &LabName, args: &VipDeleteArgs) -> Result<ExitCode> {
    with_store(lab, Some(&args.cluster), async |store| {
        let name = args.address.to_string();
        registry::delete::<VirtualIP>(&store, &args.namespace, &name, &Default::default()).await?;
        line(format!("virtualip.knetsim.dev \"{name}\" deleted"));
        Ok(ExitCode::SUCCESS)
    })
}
