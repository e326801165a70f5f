//! What Mininet's prompt has: nodes, net, links, dump, pingall, iperf, in its words.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::protocol::LinkStatus;
use lab::{Client, LabName};
use net::{NetNs, ping, throughput};
use topology::Topology;

use crate::cli::Output;
use crate::cli::links::{IperfArgs, PingallArgs};
use crate::commands::link::describe;
use crate::enter::{client, join};
use crate::output::{self, Hinted, line, note, raw};

fn topology(client: &Client) -> Result<Topology> {
    Ok(topology::load(&client.state().topology())?)
}

pub(crate) fn nodes(lab: &LabName) -> Result<ExitCode> {
    let topology = topology(&client(lab)?)?;
    let mut names: Vec<&str> = topology.nodes().map(|(name, _)| name).chain(topology.switches()).collect();
    names.sort_unstable();
    line("available nodes are:");
    line(names.join(" "));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn net(lab: &LabName) -> Result<ExitCode> {
    let topology = topology(&client(lab)?)?;
    let cables = topology.cables();
    for (name, _) in topology.nodes() {
        let own = cables.iter().filter(|c| c.node == name);
        let links: Vec<String> = own.map(|c| format!("{}:{}", c.node_port, c.switch_port)).collect();
        line(format_args!("{name} {}", links.join(" ")));
    }
    for switch in topology.switches() {
        let ports = cables.iter().filter_map(|c| {
            if c.switch == switch {
                Some(format!("{}:{}", c.switch_port, c.node_port))
            } else {
                (c.node == switch).then(|| format!("{}:{}", c.node_port, c.switch_port))
            }
        });
        line(format_args!("{switch} lo:  {}", ports.collect::<Vec<_>>().join(" ")));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn links(lab: &LabName, form: Output) -> Result<ExitCode> {
    let links: Vec<LinkStatus> = client(lab)?.links()?;
    match form {
        Output::Json => output::json(&links)?,
        Output::Table => links.iter().for_each(|link| line(describe(link))),
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn dump(lab: &LabName) -> Result<ExitCode> {
    let client = client(lab)?;
    let (topology, status) = (topology(&client)?, client.status()?);
    let mut pids = BTreeMap::new();
    for cluster in &status.clusters {
        pids.extend(cluster.etcd.iter().map(|e| (e.node.as_str(), e.pid)));
        pids.extend(cluster.workers.iter().map(|w| (w.name.as_str(), w.pid)));
    }
    for (name, address) in topology.nodes() {
        let pid = pids.get(name).copied().flatten().map_or("None".into(), |pid| pid.to_string());
        line(format_args!("<Host {name}: {name}-eth0:{address} pid={pid}>"));
    }
    let cables = topology.cables();
    for switch in topology.switches() {
        let ports = cables.iter().filter_map(|c| {
            if c.switch == switch { Some(&c.switch_port) } else { (c.node == switch).then_some(&c.node_port) }
        });
        let ports: Vec<String> = ports.map(|port| format!("{port}:None")).collect();
        line(format_args!("<Bridge {switch}: lo:127.0.0.1,{} pid={}>", ports.join(","), status.pid));
    }
    Ok(ExitCode::SUCCESS)
}

/// The network namespaces of nodes; this process moves into the lab's user namespace, where it has the
/// right to enter them.
fn namespaces(client: &Client, names: &[&str]) -> Result<Vec<NetNs>> {
    let mut found = Vec::with_capacity(names.len());
    let mut user = None;
    for name in names {
        let (entry, fds) = client.enter(name)?;
        for (kind, fd) in entry.namespaces.iter().zip(fds) {
            match kind.as_str() {
                "net" => found.push(NetNs::from(fd)),
                "user" if user.is_none() => user = Some(fd),
                _ => {}
            }
        }
    }
    if let Some(user) = user {
        join(&["user".to_owned()], &[user])?;
    }
    Ok(found)
}

pub(crate) fn pingall(lab: &LabName, args: &PingallArgs) -> Result<ExitCode> {
    let timeout = Duration::try_from_secs_f64(args.timeout).context("pingall: timeout")?;
    let client = client(lab)?;
    let topology = topology(&client)?;
    let nodes: Vec<(&str, Ipv4Addr)> = topology.nodes().collect();
    let names: Vec<&str> = nodes.iter().map(|(name, _)| *name).collect();
    let namespaces = namespaces(&client, &names)?;
    line("*** Ping: testing ping reachability");
    let (mut sent, mut received) = (0, 0);
    // All at once would be n² echoes in the same moment: a queue that overflows is no unreachable node.
    for (chunk, group) in namespaces.chunks(8).enumerate() {
        let answers = ping_from(group, chunk * 8, &nodes, timeout)?;
        for (offset, answers) in answers.into_iter().enumerate() {
            let (name, _) = nodes[chunk * 8 + offset];
            raw(format!("{name} -> ").as_bytes());
            for (target, answer) in answers {
                sent += 1;
                received += usize::from(answer.is_some());
                raw(format!("{} ", if answer.is_some() { target } else { "X" }).as_bytes());
            }
            line("");
        }
    }
    let dropped = ((sent - received) * 100usize).checked_div(sent).unwrap_or(0);
    line(format_args!("*** Results: {dropped}% dropped ({received}/{sent} received)"));
    Ok(ExitCode::from(if received == sent { 0 } else { output::NO }))
}

type Answers<'a> = Vec<(&'a str, Option<Duration>)>;

/// From each of some namespaces, whose nodes begin at `first`, to all other nodes.
fn ping_from<'a>(
    group: &[NetNs],
    first: usize,
    nodes: &[(&'a str, Ipv4Addr)],
    timeout: Duration,
) -> Result<Vec<Answers<'a>>> {
    thread::scope(|scope| {
        let pings: Vec<_> = group
            .iter()
            .enumerate()
            .map(|(offset, namespace)| {
                let own = first + offset;
                let others: Vec<_> =
                    nodes.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, n)| *n).collect();
                scope.spawn(move || -> Result<Answers<'a>, net::Error> {
                    let targets: Vec<Ipv4Addr> = others.iter().map(|(_, address)| *address).collect();
                    let answers = namespace.run(|| ping::ping_all(&targets, timeout))?;
                    Ok(others.iter().map(|(name, _)| *name).zip(answers).collect())
                })
            })
            .collect();
        pings
            .into_iter()
            .map(|ping| {
                ping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Into::into)
            })
            .collect()
    })
}

pub(crate) fn iperf(lab: &LabName, args: &IperfArgs) -> Result<ExitCode> {
    let duration = Duration::try_from_secs_f64(args.time).context("iperf: time")?;
    if duration.is_zero() {
        bail!("iperf: the time must be more than 0 seconds");
    }
    let client = client(lab)?;
    let topology = topology(&client)?;
    let nodes: BTreeMap<&str, Ipv4Addr> = topology.nodes().collect();
    let ends = || topology.nodes().map(|(name, _)| name);
    let from = args.client.as_deref().or_else(|| ends().next()).unwrap_or_default();
    let to = args.server.as_deref().or_else(|| ends().last()).unwrap_or_default();
    let mut addresses = Vec::new();
    for name in [from, to] {
        let Some(address) = nodes.get(name) else {
            let hint = topology::closest(name, ends())
                .map_or("see `topo nodes`".into(), |near| format!("did you mean {near}?"));
            return Err(
                Hinted { message: format!("iperf: there is no node {name} with an address"), hint }.into()
            );
        };
        addresses.push(*address);
    }
    note(format_args!("*** Iperf: testing TCP bandwidth between {from} and {to}"));
    let namespaces = namespaces(&client, &[from, to])?;
    let result = throughput::measure(&namespaces[1], &namespaces[0], addresses[1], duration)
        .with_context(|| format!("iperf: from {from} to {to}"))?;
    line(format_args!(
        "*** Results: ['{}', '{}']",
        bits(result.server_bits_per_second),
        bits(result.client_bits_per_second)
    ));
    Ok(ExitCode::SUCCESS)
}

/// As iperf prints them: three digits, and bits by thousands.
fn bits(rate: f64) -> String {
    let (value, unit) = match rate {
        r if r >= 1e9 => (r / 1e9, "Gbits/sec"),
        r if r >= 1e6 => (r / 1e6, "Mbits/sec"),
        r if r >= 1e3 => (r / 1e3, "Kbits/sec"),
        r => (r, "bits/sec"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_iperf_prints_them() {
        assert_eq!(bits(9.876e9), "9.88 Gbits/sec");
        assert_eq!(bits(95.31e6), "95.3 Mbits/sec");
        assert_eq!(bits(950.0e3), "950 Kbits/sec");
        assert_eq!(bits(12.0), "12.0 bits/sec");
    }
}
