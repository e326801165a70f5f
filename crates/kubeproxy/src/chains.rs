//! Chains and their rules. There are as many as numbers of endpoints are in use, whatever the number of services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use nft::ruleset::{At, Chain, Family, Field, Hook, Map, Network, Rule};

use crate::frontend::Masquerade;
use crate::layout::{
    self, BALANCER, CHOSEN, CLUSTER_IPS, HAIRPINS, KINDS, Kind, MASQUERADE, Meaning, OUTSIDE, ROLES, Role,
};

/// Where connections end that nobody serves. A chain, for a map's verdict cannot reject.
pub(crate) const REFUSE: &str = "refuse";
const PREROUTING: &str = "nat-prerouting";
const OUTPUT: &str = "nat-output";
const POSTROUTING: &str = "nat-postrouting";
const SERVICES: &str = "services";
const OUTSIDE_CLIENTS: &str = "outside-clients";

/// Whether a chain decides that a packet is for a service at all.
pub(crate) fn is_entrance(chain: &str) -> bool {
    is_base(chain) || [SERVICES, OUTSIDE_CLIENTS].contains(&chain)
}

/// Whether packets come to a chain from the kernel.
pub(crate) fn is_base(chain: &str) -> bool {
    [PREROUTING, OUTPUT, POSTROUTING].contains(&chain)
}

/// `dstnat`
const DSTNAT: i32 = -100;
/// Just before `srcnat`: only the first nat chain that does something with a connection is heard, and flannel's
/// would leave the mark on the packet.
const SRCNAT: i32 = 99;

/// Networks that rules name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks {
    /// Of all pods of the cluster.
    pub pods: IpNetwork,
    /// Of all services of the cluster.
    pub services: IpNetwork,
}

impl Networks {
    pub(crate) fn family(&self) -> Family {
        Family::of(self.services.ip())
    }
}

/// The parts of the table that are not elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Structure {
    /// By name.
    pub maps: BTreeMap<&'static str, &'static Map>,
    /// By name.
    pub chains: BTreeMap<String, Chain>,
}

/// The name of the chain that balances connections with a mark.
pub(crate) fn balancer_name(kind: Kind, mark: u32) -> String {
    let name = kind.name();
    match layout::meaning(mark) {
        Meaning::Reject | Meaning::Drop => name.into(),
        Meaning::Balance { count, affinity: None, .. } => format!("{name}-{count}"),
        Meaning::Balance { count, affinity: Some(seconds), masquerade } => {
            let masquerade = if masquerade == Masquerade::Always { "-masquerade" } else { "" };
            format!("{name}-{count}-{seconds}s{masquerade}")
        }
    }
}

/// In words, for comments.
pub(crate) fn balancer_comment(mark: u32) -> String {
    match layout::meaning(mark) {
        Meaning::Reject => "no endpoints".into(),
        Meaning::Drop => "endpoints, but none on this worker".into(),
        Meaning::Balance { count, affinity, masquerade } => {
            let s = if count == 1 { "" } else { "s" };
            let affinity =
                affinity.map(|seconds| format!(", a client stays for {seconds} s")).unwrap_or_default();
            let masquerade = if masquerade == Masquerade::Always { ", masqueraded" } else { "" };
            format!("{count} endpoint{s}{affinity}{masquerade}")
        }
    }
}

/// The table without its elements, for the marks that are in use.
pub(crate) fn structure(networks: &Networks, balancers: &BTreeSet<(Kind, u32)>) -> Structure {
    let build = Build { networks, rule: Rule::new(networks.family()) };
    let kinds: BTreeSet<Kind> = balancers.iter().map(|(kind, _)| *kind).collect();
    let affinity = |(_, mark): &(Kind, u32)| {
        matches!(layout::meaning(*mark), Meaning::Balance { affinity: Some(_), .. })
    };
    let sticky: BTreeSet<Kind> = balancers.iter().filter(|b| affinity(b)).map(|(kind, _)| *kind).collect();
    let mut all = Structure::default();
    for map in [&CLUSTER_IPS, &HAIRPINS] {
        all.maps.insert(map.name, map);
    }
    for kind in KINDS.into_iter().filter(|kind| kinds.contains(kind)) {
        for role in ROLES {
            let wanted = match role {
                Role::Frontends | Role::Endpoints | Role::Balancers => true,
                Role::Choices | Role::Chosen | Role::Clients => sticky.contains(&kind),
            };
            if let Some(map) = kind.map(role).filter(|_| wanted) {
                all.maps.insert(map.name, map);
            }
        }
    }
    let mut chains = build.base(&kinds, !sticky.is_empty());
    chains.extend(kinds.iter().map(|kind| build.dispatch(*kind)));
    chains.extend(balancers.iter().filter_map(|(kind, mark)| build.balancer(*kind, *mark)));
    all.chains = chains.into_iter().map(|chain| (chain.name.clone(), chain)).collect();
    all
}

struct Build<'a> {
    networks: &'a Networks,
    /// Without a statement.
    rule: Rule,
}

impl Build<'_> {
    fn rule(&self) -> Rule {
        self.rule.clone()
    }

    fn chain(&self, name: &str, comment: &str, rules: Vec<Rule>) -> Chain {
        Chain { name: name.into(), hook: None, comment: comment.into(), rules }
    }

    fn base_chain(&self, name: &str, comment: &str, at: At, rules: Vec<Rule>) -> Chain {
        let priority = if at == At::Postrouting { SRCNAT } else { DSTNAT };
        Chain { hook: Some(Hook { at, priority }), ..self.chain(name, comment, rules) }
    }

    fn base(&self, kinds: &BTreeSet<Kind>, affinity: bool) -> Vec<Chain> {
        let outside =
            [Kind::OutsideService, Kind::OutsideNodePort].into_iter().filter(|kind| kinds.contains(kind));
        let outside: Vec<_> = outside.map(|kind| self.lookup(kind)).collect();
        let mut chains = Vec::new();
        let mut arrive = Vec::new();
        if !outside.is_empty() {
            let from_outside = self.rule().not_from(network(self.networks.pods));
            arrive.push(from_outside.jump(OUTSIDE_CLIENTS).because("clients outside of the pod network"));
            chains.push(self.chain(OUTSIDE_CLIENTS, "services with externalTrafficPolicy Local", outside));
        }
        arrive.push(self.rule().jump(SERVICES));
        chains.push(self.base_chain(PREROUTING, "connections that arrive", At::Prerouting, arrive));
        let leave = vec![self.rule().jump(SERVICES)];
        chains.push(self.base_chain(OUTPUT, "connections of the worker itself", At::Output, leave));
        chains.push(self.chain(SERVICES, "connections to services", self.services(kinds)));
        let refuse = vec![
            self.rule()
                .protocol(libc::IPPROTO_TCP as u8)
                .counter()
                .reset()
                .because("connections to no endpoint"),
            self.rule().counter().reject().because("datagrams to no endpoint"),
        ];
        chains.push(self.chain(REFUSE, "services without endpoints, ports without service", refuse));
        chains.push(self.base_chain(
            POSTROUTING,
            "connections to services, on their way to an endpoint",
            At::Postrouting,
            self.postrouting(affinity),
        ));
        chains
    }

    fn services(&self, kinds: &BTreeSet<Kind>) -> Vec<Rule> {
        let everyone = [Kind::Service, Kind::Virtual, Kind::NodePort].into_iter();
        let mut rules: Vec<_> =
            everyone.filter(|kind| kinds.contains(kind)).map(|kind| self.lookup(kind)).collect();
        let other_port = self.rule().is_in(&[Field::Destination], CLUSTER_IPS.name).goto(REFUSE);
        rules.push(other_port.because("a service has no such port"));
        let unknown = self.rule().to(network(self.networks.services)).counter().drop();
        rules.push(unknown.because("no service has this address"));
        rules
    }

    /// Finds a frontend of a kind.
    fn lookup(&self, kind: Kind) -> Rule {
        let rule = match kind {
            Kind::NodePort | Kind::OutsideNodePort => self.rule().not_to(self.loopback()).to_local(),
            _ => self.rule(),
        };
        let Some(map) = kind.map(Role::Frontends) else { return rule };
        rule.set_mark_from(map.key, map.name).goto(&dispatch_name(kind))
    }

    /// What comes from a loopback address cannot go anywhere else.
    fn loopback(&self) -> Network {
        match self.networks.family() {
            Family::Ip => Network { address: IpAddr::from([127, 0, 0, 0]), prefix: 8 },
            Family::Ip6 => Network { address: std::net::Ipv6Addr::LOCALHOST.into(), prefix: 128 },
        }
    }

    /// Goes on as the mark says.
    fn dispatch(&self, kind: Kind) -> Chain {
        let mut rules = Vec::new();
        if !matches!(kind, Kind::OutsideService | Kind::OutsideNodePort) {
            let outside = self.rule().mark_has(OUTSIDE).not_from(network(self.networks.pods));
            rules.push(
                outside.set_mark_bits(MASQUERADE).because("masquerade clients outside of the pod network"),
            );
        }
        if let Some(map) = kind.map(Role::Balancers) {
            rules.push(self.rule().dispatch_mark(BALANCER, map.name));
        }
        self.chain(&dispatch_name(kind), "the mark says how many endpoints there are", rules)
    }

    /// Chooses an endpoint; none for marks that need no chain.
    fn balancer(&self, kind: Kind, mark: u32) -> Option<Chain> {
        let Meaning::Balance { count, affinity, masquerade } = layout::meaning(mark) else { return None };
        // One chain does with and without masquerading, if no client is remembered.
        let mark = if affinity.is_none() { mark & !MASQUERADE } else { mark };
        let rules = match affinity {
            None => vec![self.rule().keep_mark_bits(MASQUERADE), self.draw(kind, count)?],
            Some(seconds) => self.remember(kind, count, seconds, masquerade == Masquerade::Always)?,
        };
        Some(self.chain(&balancer_name(kind, mark), &balancer_comment(mark), rules))
    }

    fn draw(&self, kind: Kind, count: u32) -> Option<Rule> {
        let map = kind.map(Role::Endpoints)?;
        Some(self.rule().dnat_from(&with_modulus(map.key, count), map.name, kind != Kind::Virtual))
    }

    /// A client goes where it went, unless that endpoint has gone; then, or the first time, it draws one.
    fn remember(&self, kind: Kind, count: u32, seconds: u32, masquerade: bool) -> Option<Vec<Rule>> {
        let (clients, choices, chosen) =
            (kind.map(Role::Clients)?, kind.map(Role::Choices)?, kind.map(Role::Chosen)?);
        let timeout = Duration::from_secs(seconds.into());
        let known = self.rule().set_mark_from(clients.key, clients.name);
        let known = known.remember_mark(clients.key, clients.name, timeout);
        let forget = self.rule().forget(clients.key, clients.name);
        let mut draw = self.rule().set_mark_from(&with_modulus(choices.key, count), choices.name);
        if masquerade {
            draw = draw.set_mark_bits(MASQUERADE);
        }
        let draw = draw.remember_mark(clients.key, clients.name, timeout);
        let go = |rule: Rule| rule.dnat_from(chosen.key, chosen.name, true);
        Some(vec![
            go(known).because("a client that is known goes where it went"),
            forget.because("or its endpoint has gone"),
            draw.because("others draw an endpoint"),
            // A rule of its own: the map may be full.
            go(self.rule()),
        ])
    }

    fn postrouting(&self, affinity: bool) -> Vec<Rule> {
        let mut rules = vec![self.rule().not_translated().leave()];
        let masquerade = self.rule().mark_has(MASQUERADE).set_mark(0).masquerade();
        rules.push(masquerade.because("answers have to come back to this worker"));
        if affinity {
            // An overlay would take the mark along.
            rules.push(self.rule().mark_has(CHOSEN).set_mark(0).because("the mark has served its purpose"));
        }
        let hairpin = self.rule().is_in(HAIRPINS.key, HAIRPINS.name).masquerade();
        rules.push(hairpin.because("an endpoint that is its own client"));
        rules
    }
}

fn dispatch_name(kind: Kind) -> String {
    format!("{}-balance", kind.name())
}

/// The key with a draw of so many.
fn with_modulus(key: &[Field], count: u32) -> Vec<Field> {
    let count = |field: &Field| match field {
        Field::Random(_) => Field::Random(count),
        Field::Turn(_) => Field::Turn(count),
        other => *other,
    };
    key.iter().map(count).collect()
}

fn network(network: IpNetwork) -> Network {
    Network { address: network.ip(), prefix: network.prefix() }
}
