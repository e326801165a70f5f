//! flannel's network configuration: its defaults and its rules.
//!
//! Source: flannel `pkg/subnet/config.go` (`ParseConfig`, `CheckNetworkConfig`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::file::{PodNetworkFile, Spanned, Text};
use crate::model::{BackendValue, PodNetwork};
use crate::parse::{Folder, Report, yaml};
use crate::suggest::closest;

const BACKENDS: [&str; 2] = ["vxlan", "host-gw"];
const VXLAN_KEYS: [&str; 7] = ["Type", "VNI", "Port", "GBP", "Learning", "DirectRouting", "MTU"];

/// Completes a pod network written in the topology file or in the file that it names.
pub(crate) fn resolve(
    spec: &Spanned<PodNetworkFile>,
    folder: &Folder,
    report: &mut Report,
) -> Option<PodNetwork> {
    let Some(file) = &spec.value.file else {
        return check(&spec.value, spec, report);
    };
    let inline =
        spec.value.network.is_some() || spec.value.subnet_len.is_some() || spec.value.backend.is_some();
    if inline {
        report.at(file, "podNetwork has both a file and flannel's own keys").hint("keep one of them");
        return None;
    }
    let (name, text) = match folder.read(&file.value) {
        Ok(found) => found,
        Err(why) => {
            report.at(file, why);
            return None;
        }
    };
    let config: Spanned<PodNetworkFile> = match yaml(&name, &text) {
        Ok(config) => config,
        Err(problem) => {
            report.push(problem);
            return None;
        }
    };
    let mut inner = Report::new(name);
    let network = check(&config.value, &config, &mut inner);
    report.append(inner);
    network
}

fn check(
    config: &PodNetworkFile,
    whole: &Spanned<PodNetworkFile>,
    report: &mut Report,
) -> Option<PodNetwork> {
    for (on, refused) in [(&config.enable_ipv6, true), (&config.enable_ipv4, false)] {
        if let Some(value) = on.as_ref().filter(|v| v.value == refused) {
            report.at(value, "pod networks are IPv4 here");
        }
    }
    let Some(text) = &config.network else {
        report.at(whole, "podNetwork has no Network").hint("as Network: 11.0.0.0/8");
        return None;
    };
    let network = cidr(text, report)?;
    let (subnet_len, min, max) = subnets(config, network, text, report)?;
    let backend = backend(config, report);
    let enable_nftables = config.enable_nftables.unwrap_or_default();
    Some(PodNetwork { network, subnet_len, subnet_min: min, subnet_max: max, enable_nftables, backend })
}

/// Length, first and last of the workers' shares.
fn subnets(
    config: &PodNetworkFile,
    network: Ipv4Network,
    text: &Text,
    report: &mut Report,
) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
    let len = match &config.subnet_len {
        Some(len) if len.value > 30 => {
            report.at(len, format!("SubnetLen {} leaves no room for pods", len.value)).hint("at most 30");
            return None;
        }
        Some(len) if len.value < network.prefix() + 2 => {
            report
                .at(len, format!("SubnetLen {} does not divide {network}", len.value))
                .hint(format!("flannel skips the first share: at least {}", network.prefix() + 2));
            return None;
        }
        Some(len) => len.value,
        None if network.prefix() > 28 => {
            report
                .at(text, format!("{network} is too small to be shared"))
                .hint("a network of /28 or larger");
            return None;
        }
        None if network.prefix() <= 22 => 24,
        None => network.prefix() + 2,
    };
    let share = 1u64 << (32 - len);
    let base = u64::from(u32::from(network.network()));
    // flannel's default: the first share of the network is not given out.
    let first = (base + share) as u32;
    let last = (base + network.size_u64() - share) as u32;
    let mut bound = |given: &Option<Text>, name: &str, default: u32| -> Option<u32> {
        let Some(text) = given else { return Some(default) };
        let address = address(text, report)?;
        if !network.contains(address) {
            report.at(text, format!("{name} {address} is not in Network {network}"));
            return None;
        }
        if !u64::from(u32::from(address)).is_multiple_of(share) {
            report.at(text, format!("{name} {address} is not the first address of a /{len}")).hint(format!(
                "the one before is {}",
                Ipv4Addr::from(u32::from(address) & !(share as u32 - 1))
            ));
            return None;
        }
        Some(u32::from(address))
    };
    let min = bound(&config.subnet_min, "SubnetMin", first)?;
    let max = bound(&config.subnet_max, "SubnetMax", last)?;
    if min > max {
        report.at(
            text,
            format!("SubnetMin {} is above SubnetMax {}", Ipv4Addr::from(min), Ipv4Addr::from(max)),
        );
        return None;
    }
    Some((len, min.into(), max.into()))
}

fn backend(config: &PodNetworkFile, report: &mut Report) -> BTreeMap<String, BackendValue> {
    let Some(given) = &config.backend else {
        return BTreeMap::from([("Type".to_owned(), BackendValue::Text("vxlan".into()))]);
    };
    match given.value.get("Type").map(|v| (v, &v.value)) {
        Some((_, BackendValue::Text(kind))) if BACKENDS.contains(&kind.as_str()) => {}
        Some((place, kind)) => {
            let kind = match kind {
                BackendValue::Text(kind) => kind.clone(),
                other => format!("{other:?}"),
            };
            let problem = report.at(place, format!("Backend Type {kind} is not one that runs here"));
            let near =
                closest(&kind, BACKENDS).map_or(String::new(), |word| format!(": did you mean {word}?"));
            problem.hint(format!("vxlan or host-gw{near}"));
        }
        None => {
            let problem = report.at(given, "Backend has no Type");
            problem.hint("flannel would take the slow udp backend then; say Type: vxlan");
        }
    }
    for (key, value) in &given.value {
        if !VXLAN_KEYS.contains(&key.as_str()) {
            let problem = report.at(value, format!("unknown key {key} in Backend"));
            if let Some(word) = closest(key, VXLAN_KEYS) {
                problem.hint(format!("did you mean {word}?"));
            }
            continue;
        }
        let most = match key.as_str() {
            "VNI" => 0x00ff_ffff,
            "Port" | "MTU" => 65535,
            _ => continue,
        };
        if !matches!(value.value, BackendValue::Number(n) if (1..=most).contains(&n)) {
            report.at(value, format!("{key} must be a number from 1 to {most}"));
        }
    }
    given.value.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect()
}

/// A network in CIDR form, its host bits zero.
pub(crate) fn cidr(text: &Text, report: &mut Report) -> Option<Ipv4Network> {
    let parsed: Option<Ipv4Network> = text.value.parse().ok().filter(|_| text.value.contains('/'));
    match parsed {
        Some(network) if network.ip() == network.network() => Some(network),
        Some(network) => {
            report.at(text, format!("{} has bits set beyond its prefix", text.value)).hint(format!(
                "did you mean {}/{}?",
                network.network(),
                network.prefix()
            ));
            None
        }
        None => {
            report.at(text, format!("{:?} is not a network", text.value)).hint("as 10.0.0.0/8");
            None
        }
    }
}

/// An IPv4 address.
pub(crate) fn address(text: &Text, report: &mut Report) -> Option<Ipv4Addr> {
    let parsed = text.value.parse().ok();
    if parsed.is_none() {
        report.at(text, format!("{:?} is not an IPv4 address", text.value)).hint("as 10.0.0.3");
    }
    parsed
}

trait Size {
    fn size_u64(&self) -> u64;
}

impl Size for Ipv4Network {
    fn size_u64(&self) -> u64 {
        1u64 << (32 - self.prefix())
    }
}
