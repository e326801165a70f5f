//! What the probe tries: whether labs depend on it, what its lack costs, and which module has it.

use super::check::{Check, Group, Outcome};
use super::watch::Seen;
use super::{forbidden, machine, modules};

/// Something that is tried inside, under the name that the probe uses.
#[derive(Debug)]
struct Feature {
    group: Group,
    name: &'static str,
    /// Whether labs do not start without, or their pods and services not reach each other.
    required: bool,
    module: Option<&'static str>,
    cost: &'static str,
}

const REQUIRED: bool = true;
const OPTIONAL: bool = false;

const fn feature(
    group: Group,
    required: bool,
    name: &'static str,
    module: &'static str,
    cost: &'static str,
) -> Feature {
    let module = if module.is_empty() { None } else { Some(module) };
    Feature { group, name, required, module, cost }
}

use Group::{Impairments, Links, Namespaces, Nftables};

const FEATURES: [Feature; 31] = [
    feature(
        Namespaces,
        REQUIRED,
        "mount proc",
        "",
        "labs do not start: their /proc shows their own processes",
    ),
    feature(Namespaces, OPTIONAL, "mount sysfs", "", "/sys in a lab shows the machine's devices"),
    feature(Namespaces, REQUIRED, "mount tmpfs", "", "labs do not start: they have a /run of their own"),
    feature(
        Namespaces,
        OPTIONAL,
        "mount overlay",
        "overlay",
        "/etc in a lab cannot be changed; names of nodes resolve all the same",
    ),
    feature(
        Namespaces,
        REQUIRED,
        "network namespace",
        "",
        "labs do not start: a node is a network namespace with a name",
    ),
    feature(Links, REQUIRED, "veth", "veth", "nodes and pods have no cables"),
    feature(Links, REQUIRED, "bridge", "bridge", "there are no switches"),
    feature(Links, REQUIRED, "vxlan", "vxlan", "pods reach no pods on other workers"),
    feature(Links, REQUIRED, "ip forwarding", "", "workers do not route for their pods"),
    feature(Links, REQUIRED, "tcp", "", "no packet crosses a switch"),
    feature(Links, OPTIONAL, "icmp", "", "`topo pingall` does not work"),
    feature(Links, OPTIONAL, "packet socket", "af_packet", "no tcpdump, and no delay lines"),
    feature(Nftables, REQUIRED, "tables", "nf_tables", "no services"),
    feature(Nftables, REQUIRED, "nat", "nft_chain_nat", "no services"),
    feature(Nftables, REQUIRED, "numgen maps", "nft_numgen", "services do not choose among their endpoints"),
    feature(Nftables, REQUIRED, "verdict maps", "nf_tables", "no services"),
    feature(Nftables, REQUIRED, "service", "", "a connection to a service does not arrive"),
    feature(Nftables, REQUIRED, "masquerade", "nft_masq", "hairpins and NodePorts get no answers"),
    feature(Nftables, REQUIRED, "conntrack", "nft_ct", "rules cannot tell answers from requests"),
    feature(Nftables, OPTIONAL, "jhash", "nft_hash", "no services with client affinity"),
    feature(Nftables, OPTIONAL, "fib", "nft_fib_ipv4", "no NodePorts"),
    feature(
        Nftables,
        OPTIONAL,
        "reject",
        "nft_reject_ipv4",
        "services without endpoints hang instead of refusing",
    ),
    feature(Nftables, OPTIONAL, "dynamic sets", "nf_tables", "client affinity does not time out"),
    feature(
        Nftables,
        OPTIONAL,
        "trace",
        "nf_tables",
        "`topo trace` does not show which rules a packet meets",
    ),
    feature(Nftables, OPTIONAL, "ingress hook", "nf_tables", "links cannot lose packets (--loss)"),
    feature(
        Nftables,
        OPTIONAL,
        "egress hook",
        "",
        "links cannot lose packets (--loss): Linux 5.16 with CONFIG_NETFILTER_EGRESS can",
    ),
    feature(Impairments, OPTIONAL, "tbf", "sch_tbf", "links cannot be slowed down (--rate)"),
    feature(
        Impairments,
        OPTIONAL,
        "netem",
        "sch_netem",
        "links are delayed by a line in userspace instead: less throughput",
    ),
    feature(
        Impairments,
        OPTIONAL,
        "delay line",
        "af_packet",
        "without netem links cannot be delayed (--delay)",
    ),
    feature(Impairments, OPTIONAL, "clsact", "sch_ingress", "`tc filter` has no hook in nodes"),
    feature(
        Impairments,
        OPTIONAL,
        "ingress qdisc",
        "sch_ingress",
        "`tc filter … ingress` does not work in nodes",
    ),
];

/// The checks that were made inside.
pub(super) fn checks(seen: &Seen, root: bool) -> Vec<Check> {
    FEATURES.iter().map(|feature| check(feature, seen, root)).collect()
}

fn check(feature: &Feature, seen: &Seen, root: bool) -> Check {
    let &Feature { group, name, required, module, cost } = feature;
    let heard = seen.of(name);
    let mut check = Check { detail: heard.detail, ..Check::not(heard.result, group, name, required) };
    if heard.result == Outcome::Ok {
        return check;
    }
    // Of what could not be tried nobody knows whether it is there.
    let limited = heard.result == Outcome::Limited;
    check.cost = Some(if limited { format!("should it be missing: {cost}") } else { cost.into() });
    if forbidden::is_refusal(heard.errno) {
        let reason = forbidden::explain(heard.errno, root);
        check.detail = format!("{}: {}", check.detail, reason.detail);
        check.fix = Some(reason.fix);
    } else if heard.answered && !limited {
        check.fix = module.map(|module| modules::fix(module, &machine::kernel(), root));
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), FEATURES.len());
    }
}
