//! `topo link`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use lab::LabName;
use lab::protocol::LinkStatus;
use topology::LinkProperties;

use crate::cli::links::{LinkCommand, LinkSetArgs};
use crate::enter::client;
use crate::output::{Negative, line};

pub(crate) fn run(lab: &LabName, command: LinkCommand) -> Result<ExitCode> {
    let args = match command {
        LinkCommand::Set(args) => args,
        LinkCommand::Mininet(words) => mininet(&words)?,
    };
    let up = match (args.up, args.down) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let change = LinkProperties { rate: args.rate, loss: args.loss, delay: args.delay, mtu: args.mtu, up };
    if change == LinkProperties::default() && !args.clear {
        bail!("link set: nothing to set: give --rate, --loss, --delay, --mtu, --up, --down or --clear");
    }
    let status = match client(lab)?.link_set(&args.a, &args.b, change, args.clear) {
        Ok(status) => status,
        // The kernel cannot: a negative result, not a mistake of the user's.
        Err(lab::Error::Refused(why)) => return Err(Negative(format!("link set: {why}")).into()),
        Err(e) => return Err(e.into()),
    };
    line(describe(&status));
    Ok(ExitCode::SUCCESS)
}

/// `link A B up`, as Mininet's prompt has it.
fn mininet(words: &[String]) -> Result<LinkSetArgs> {
    let [a, b, state] = words else { bail!("link: expected `link set A B …` or `link A B up|down`") };
    let (up, down) = match state.as_str() {
        "up" => (true, false),
        "down" => (false, true),
        other => bail!("link: {other:?} is neither up nor down"),
    };
    let (a, b) = (a.clone(), b.clone());
    Ok(LinkSetArgs { a, b, rate: None, loss: None, delay: None, mtu: None, up, down, clear: false })
}

/// `C0w1-eth0<->C0s0-eth2 (OK OK)`, and what impairs it.
pub(crate) fn describe(link: &LinkStatus) -> String {
    let word = |up: bool| if up { "OK" } else { "DOWN" };
    let mut text =
        format!("{}<->{} ({} {})", link.a.interface, link.b.interface, word(link.a.up), word(link.b.up));
    let p = &link.properties;
    let figures = [
        p.rate.map(|rate| format!("rate {rate}")),
        p.delay.map(|delay| format!("delay {delay}")),
        p.loss.map(|loss| format!("loss {loss}")),
        p.mtu.map(|mtu| format!("mtu {mtu}")),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    if !figures.is_empty() {
        text.push_str(&format!("  {}", figures.join(", ")));
    }
    if !link.means.is_empty() {
        text.push_str(&format!("  by {}", link.means.join(", ")));
    }
    text
}
