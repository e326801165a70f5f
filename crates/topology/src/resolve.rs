//! Fills in defaults and refuses what cannot become a lab.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use images::{Image, Table};
use ipnetwork::Ipv4Network;

use crate::file::{
    ClusterFile, ComponentsFile, CountOrList, LinkFile, Spanned, Text, TopologyFile, UnderlayFile,
};
use crate::model::{
    Choice, Cluster, Components, EtcdMember, LinkProperties, LinkSpec, PodNetwork, SiteLink, Topology,
    Underlay, Worker,
};
use crate::parse::{Folder, Report};
use crate::pod_network::{self, address, cidr};
use crate::problem::Problems;
use crate::suggest::closest;
use crate::units::Grace;

/// `IFNAMSIZ` without its final zero (`linux/if.h`).
const INTERFACE_NAME: usize = 15;
/// Interfaces are called `<node>-eth0`.
const NODE_NAME: usize = INTERFACE_NAME - "-eth0".len();
/// Interfaces are called `<switch>-eth<N>`, N up to 9999.
const SWITCH_NAME: usize = INTERFACE_NAME - "-eth9999".len();
/// Switches are called `<cluster>s0`.
const CLUSTER_NAME: usize = SWITCH_NAME - 2;
/// Names that mean something else to the kernel (`net.ipv4.conf.*`, `ip link`).
const RESERVED: [&str; 5] = ["lo", "all", "default", "dev", "eth0"];
/// Nodes of one switch. The kernel's bridge has 1024 ports (`BR_MAX_PORTS`), but a lab must also be gone within
/// half a second, and nodes know each other: memory grows with the square.
const MAX_NODES: usize = 500;
/// Smallest MTU that IPv4 hosts must carry is 576; pods need 50 less for VXLAN and some room.
const MTU: std::ops::RangeInclusive<u32> = 576..=65535;

/// Checks a parsed file whole and completes it.
pub(crate) fn resolve(name: &str, file: &TopologyFile, folder: &Folder) -> Result<Topology, Problems> {
    let mut resolver = Resolver {
        report: Report::new(name),
        folder,
        file,
        names: BTreeMap::new(),
        addresses: BTreeMap::new(),
        next_worker: None,
    };
    let topology = resolver.topology();
    match topology {
        Some(topology) if resolver.report.is_empty() => Ok(topology),
        _ => Err(resolver.report.into_problems()),
    }
}

struct Resolver<'a> {
    report: Report,
    folder: &'a Folder,
    file: &'a TopologyFile,
    /// Every name in use, with what bears it.
    names: BTreeMap<String, &'static str>,
    /// Every address in use, with who has it.
    addresses: BTreeMap<Ipv4Addr, String>,
    /// Where the next cluster's workers begin if it does not say.
    next_worker: Option<Ipv4Addr>,
}

impl Resolver<'_> {
    fn topology(&mut self) -> Option<Topology> {
        let underlay = self.underlay(&self.file.underlay);
        // With a bad underlay the rest is still looked at, against a network that holds everything.
        let everything = Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0)?;
        let any = Underlay { network: everything, switch: String::new(), mtu: 1500 };
        let checked = underlay.as_ref().unwrap_or(&any);
        let clusters = &self.file.clusters;
        if clusters.value.is_empty() {
            self.report
                .at(clusters, "there are no clusters")
                .hint("the smallest file: clusters: [{name: C0, workers: 1}]");
        }
        let pod_network = match &self.file.pod_network {
            Some(spec) => pod_network::resolve(spec, self.folder, &mut self.report),
            None => Some(default_pod_network()),
        };
        let resolved: Vec<Option<Cluster>> = clusters
            .value
            .iter()
            .enumerate()
            .map(|(i, cluster)| self.cluster(i, cluster, checked, pod_network.as_ref()))
            .collect();
        let clusters: Vec<Cluster> = resolved.into_iter().collect::<Option<_>>()?;
        let underlay = underlay?;
        let images = self.images();
        let site_links = self.site_links(&clusters);
        let mut topology = Topology { underlay, clusters, images, links: Vec::new(), site_links };
        self.networks_apart(&topology);
        self.pools(&mut topology);
        topology.links = self.links(&topology);
        Some(topology)
    }

    fn underlay(&mut self, file: &UnderlayFile) -> Option<Underlay> {
        let network = match &file.network {
            Some(text) => cidr(text, &mut self.report)?,
            None => Ipv4Network::new_checked(Ipv4Addr::new(10, 0, 0, 0), 8)?,
        };
        if let Some(text) = file.network.as_ref().filter(|_| network.prefix() > 29) {
            self.report
                .at(text, format!("{network} has no room for nodes"))
                .hint("a network of /29 or larger");
        }
        let first = network.network();
        if let Some(text) = &file.network
            && (first.octets()[0] == 0 || first.is_loopback() || first.octets()[0] >= 224)
        {
            self.report.at(text, format!("{network} is not for hosts")).hint("as 10.0.0.0/8");
        }
        let mtu = match &file.mtu {
            Some(mtu) => self.mtu(mtu)?,
            None => 1500,
        };
        let switch = match &file.switch {
            Some(text) => self.name(text, "switch", SWITCH_NAME).then(|| text.value.clone())?,
            None => {
                self.names.insert("t0".into(), "switch");
                "t0".into()
            }
        };
        Some(Underlay { network, switch, mtu })
    }

    fn cluster(
        &mut self,
        index: usize,
        spanned: &Spanned<ClusterFile>,
        underlay: &Underlay,
        shared: Option<&PodNetwork>,
    ) -> Option<Cluster> {
        let file = &spanned.value;
        // Every other name follows from this one: without it there is nothing to say of them.
        if !self.name(&file.name, "cluster", CLUSTER_NAME) {
            return None;
        }
        let name = &file.name.value;
        if name.contains('-') {
            let problem = self.report.at(&file.name, format!("cluster name {name} has a - in it"));
            // Of C0 and C0-a, pod a-b of the one and pod b of the other would be the same.
            problem.hint("letters and digits: pods are named <cluster>-<pod>");
        }
        let switch = match &file.switch {
            Some(text) => self.name(text, "switch", SWITCH_NAME).then(|| text.value.clone()),
            None => self.derived(&file.name, format!("{name}s0"), "switch", SWITCH_NAME),
        };
        let etcd = self.etcd(index, file, underlay);
        let workers = self.workers(file, underlay);
        let pod_network = match &file.pod_network {
            Some(spec) => pod_network::resolve(spec, self.folder, &mut self.report),
            None => shared.cloned(),
        };
        let service_network = match file.service_network.as_ref().or(self.file.service_network.as_ref()) {
            Some(text) => cidr(text, &mut self.report),
            None => Ipv4Network::new_checked(Ipv4Addr::new(100, 64, 0, 0), 16),
        };
        let manifests = self.manifests(file);
        Some(Cluster {
            name: name.clone(),
            switch: switch?,
            etcd: etcd?,
            workers: workers?,
            pod_network: pod_network?,
            service_network: service_network?,
            // Once all nodes have their addresses.
            load_balancer_pool: None,
            manifests,
            dns: file.dns.or(self.file.dns).unwrap_or(true),
            node_monitor_grace_period: file
                .node_monitor_grace_period
                .or(self.file.node_monitor_grace_period)
                .unwrap_or(Grace::DEFAULT),
        })
    }

    /// Members by number: `C0e1`, `C0e2`, … at 10.1.0.1, 10.1.0.2, … in the first cluster, 10.2.0.1,
    /// … in the second.
    fn etcd(&mut self, index: usize, file: &ClusterFile, underlay: &Underlay) -> Option<Vec<EtcdMember>> {
        let count = match &file.etcd {
            None => 1,
            Some(Spanned { value: CountOrList::Count(count, None), .. }) => *count,
            Some(Spanned { value: CountOrList::Count(_, Some(first)), .. }) => {
                self.report
                    .at(first, "etcd takes a count or a list")
                    .hint("as etcd: [{name: C0e1, address: 10.1.0.1}]");
                return None;
            }
            Some(Spanned { value: CountOrList::List(list), .. }) => list.len() as u32,
        };
        if count != 1 && count != 3 {
            if let Some(place) = &file.etcd {
                let problem = self.report.at(place, format!("{count} etcd members: a cluster has 1 or 3"));
                problem
                    .hint("an even number adds nothing, and 5 are for machines that can fail on their own");
            }
            return None;
        }
        if let Some(Spanned { value: CountOrList::List(list), .. }) = &file.etcd {
            let members: Vec<Option<EtcdMember>> = list
                .iter()
                .map(|m| {
                    let named = self.name(&m.value.name, "etcd node", NODE_NAME);
                    let address = self.node_address(&m.value.name.value, &m.value.address, underlay)?;
                    named.then(|| EtcdMember { name: m.value.name.value.clone(), address })
                })
                .collect();
            return members.into_iter().collect();
        }
        let base = u32::from(underlay.network.network());
        // A block of 2^16 a cluster where the network has that many, as in the course.
        let step: u32 = if underlay.network.prefix() <= 8 { 1 << 16 } else { 0 };
        if step == 0 {
            let place = &file.name;
            let problem =
                self.report.at(place, format!("etcd addresses have no default in {}", underlay.network));
            problem.hint("list them, as etcd: [{name: C0e1, address: 192.168.7.1}]");
            return None;
        }
        (0..count)
            .map(|i| {
                let name = self.derived(
                    &file.name,
                    format!("{}e{}", file.name.value, i + 1),
                    "etcd node",
                    NODE_NAME,
                )?;
                let address = Ipv4Addr::from(base + (index as u32 + 1) * step + 1 + i);
                self.take_address(&name, &file.name, address, underlay)
                    .then_some(EtcdMember { name, address })
            })
            .collect()
    }

    fn workers(&mut self, file: &ClusterFile, underlay: &Underlay) -> Option<Vec<Worker>> {
        let (count, first) = match &file.workers.value {
            CountOrList::List(list) => (list.len(), None),
            CountOrList::Count(count, first) => (*count as usize, first.as_ref()),
        };
        if count == 0 {
            self.report.at(&file.workers, format!("cluster {} has no workers", file.name.value));
            return None;
        }
        if count > MAX_NODES {
            self.report.at(&file.workers, format!("{count} workers on one switch: at most {MAX_NODES}"));
            return None;
        }
        if let CountOrList::List(list) = &file.workers.value {
            let mut workers = Vec::with_capacity(list.len());
            for worker in list {
                let named = self.name(&worker.value.name, "worker", NODE_NAME);
                let address = self.node_address(&worker.value.name.value, &worker.value.address, underlay);
                let components = self.components(&[worker.value.components, file.components]);
                if let (true, Some(address)) = (named, address) {
                    workers.push(Worker { name: worker.value.name.value.clone(), address, components });
                }
            }
            self.next_worker = workers.last().map(|w| after(w.address));
            return (workers.len() == list.len()).then_some(workers);
        }
        let default = || Ipv4Addr::from(u32::from(underlay.network.network()) + 3);
        let first_address = match first {
            Some(text) => address(text, &mut self.report)?,
            None => self.next_worker.unwrap_or_else(default),
        };
        let components = self.components(&[file.components]);
        let place = first.unwrap_or(&file.name);
        let mut workers = Vec::with_capacity(count);
        for i in 0..count as u32 {
            let name =
                self.derived(&file.name, format!("{}w{}", file.name.value, i + 1), "worker", NODE_NAME)?;
            let address = Ipv4Addr::from(u32::from(first_address).saturating_add(i));
            if !self.take_address(&name, place, address, underlay) {
                return None;
            }
            workers.push(Worker { name, address, components });
        }
        self.next_worker = workers.last().map(|w| after(w.address));
        Some(workers)
    }

    /// The first that says something wins, part by part: worker, cluster, file.
    fn components(&self, levels: &[Option<ComponentsFile>]) -> Components {
        let levels = levels.iter().flatten().chain(self.file.components.as_ref());
        let pick =
            |part: fn(&ComponentsFile) -> Option<Choice>| levels.clone().find_map(part).unwrap_or_default();
        Components {
            flannel: pick(|c| c.flannel),
            flannel_plugin: pick(|c| c.flannel_plugin),
            router: pick(|c| c.router),
        }
    }

    fn images(&mut self) -> BTreeMap<String, Image> {
        for (name, image) in &self.file.images {
            if let Err(error) = Table::new([(name.clone(), image.value.clone())].into()) {
                self.report.at(image, error.to_string());
            }
        }
        self.file.images.iter().map(|(name, image)| (name.clone(), image.value.clone())).collect()
    }

    fn manifests(&mut self, file: &ClusterFile) -> Vec<String> {
        let mut found = Vec::new();
        for text in self.file.manifests.iter().chain(&file.manifests) {
            match self.folder.locate(&text.value) {
                Ok(path) => found.push(path),
                Err(why) => {
                    self.report.at(text, why);
                }
            }
        }
        found
    }

    fn site_links(&mut self, clusters: &[Cluster]) -> Vec<SiteLink> {
        let mut links: Vec<SiteLink> = Vec::new();
        for link in &self.file.site_links {
            let file = &link.value;
            for end in [&file.from, &file.to] {
                if !clusters.iter().any(|cluster| cluster.name == end.value) {
                    let names: Vec<_> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
                    let hint = format!("there are {}", names.join(", "));
                    self.report.at(end, format!("there is no cluster {:?}", end.value)).hint(hint);
                }
            }
            let (from, to) = (file.from.value.clone(), file.to.value.clone());
            if from == to {
                self.report.at(link, "a site is not linked to itself");
            }
            let joins =
                |one: &SiteLink| (&one.from, &one.to) == (&from, &to) || (&one.to, &one.from) == (&from, &to);
            if links.iter().any(joins) {
                self.report.at(link, format!("{from} and {to} are linked already"));
            }
            let cost = file.cost.as_ref().map_or(1, |cost| cost.value);
            if let Some(given) = file.cost.as_ref().filter(|given| given.value == 0) {
                self.report.at(given, "a link costs at least 1");
            }
            links.push(SiteLink { from, to, cost });
        }
        links
    }

    fn links(&mut self, topology: &Topology) -> Vec<LinkSpec> {
        let mut seen = BTreeSet::new();
        let mut specs = Vec::new();
        for link in &self.file.links {
            if let Some(spec) = self.link(&link.value, topology)
                && self.first_time(&mut seen, &link.value, &spec)
            {
                specs.push(spec);
            }
        }
        specs
    }

    fn first_time(
        &mut self,
        seen: &mut BTreeSet<(String, String)>,
        file: &LinkFile,
        spec: &LinkSpec,
    ) -> bool {
        let (a, b) = spec.between.clone();
        let key = if a < b { (a, b) } else { (b, a) };
        let new = seen.insert(key);
        if !new {
            let (a, b) = &spec.between;
            self.report.at(&file.between, format!("the link between {a} and {b} is described twice"));
        }
        new
    }

    fn link(&mut self, file: &LinkFile, topology: &Topology) -> Option<LinkSpec> {
        let [a, b] = file.between.value.as_slice() else {
            self.report
                .at(&file.between, "a link is between two neighbours")
                .hint("as between: [C0w1, C0s0]");
            return None;
        };
        let names: Vec<&str> = topology.switches().chain(topology.nodes().map(|(name, _)| name)).collect();
        for end in [a, b] {
            if !names.contains(&end.value.as_str()) {
                let near = closest(&end.value, names.iter().copied()).map(|n| format!("did you mean {n}?"));
                let problem = self.report.at(end, format!("there is no node or switch {}", end.value));
                problem.hint = near;
                return None;
            }
        }
        let cables = topology.cables();
        if !cables.iter().any(|cable| cable.joins(&a.value, &b.value)) {
            let neighbours: Vec<&str> = cables.iter().filter_map(|c| c.other(&a.value)).collect();
            let problem =
                self.report.at(&file.between, format!("{} and {} are not neighbours", a.value, b.value));
            problem.hint(format!("{} is plugged into {}", a.value, neighbours.join(", ")));
            return None;
        }
        let mtu = match &file.mtu {
            Some(mtu) => Some(self.mtu(mtu)?),
            None => None,
        };
        let properties =
            LinkProperties { rate: file.rate, loss: file.loss, delay: file.delay, mtu, up: file.up };
        Some(LinkSpec { between: (a.value.clone(), b.value.clone()), properties })
    }

    fn mtu(&mut self, mtu: &Spanned<u32>) -> Option<u32> {
        let fits = MTU.contains(&mtu.value);
        if !fits {
            self.report.at(mtu, format!("mtu {} is not from {} to {}", mtu.value, MTU.start(), MTU.end()));
        }
        fits.then_some(mtu.value)
    }

    /// Underlay, pod and service networks of one cluster must not overlap: each has its own routes.
    fn networks_apart(&mut self, topology: &Topology) {
        for (file, cluster) in self.file.clusters.value.iter().zip(&topology.clusters) {
            let networks = [
                ("underlay network", topology.underlay.network),
                ("pod network", cluster.pod_network.network),
                ("service network", cluster.service_network),
            ];
            for (i, (first, a)) in networks.iter().enumerate() {
                for (second, b) in &networks[i + 1..] {
                    if a.contains(b.network()) || b.contains(a.network()) {
                        let message =
                            format!("cluster {}: {first} {a} and {second} {b} overlap", cluster.name);
                        self.report.at(&file.value.name, message);
                    }
                }
            }
        }
    }

    /// The addresses of load balancers: in the underlay, for all nodes are to reach them, and nobody else's.
    fn pools(&mut self, topology: &mut Topology) {
        let underlay = topology.underlay.network;
        let mut taken: Vec<Ipv4Network> = Vec::new();
        let files = &self.file.clusters.value;
        let wanted = files.iter().map(|file| file.value.load_balancer_pool.as_ref());
        let wanted: Vec<_> =
            wanted.map(|text| (text, text.and_then(|t| cidr(t, &mut self.report)))).collect();
        for (text, pool) in &wanted {
            let (Some(text), Some(pool)) = (text, pool) else { continue };
            let overlaps = |other: &&Ipv4Network| overlap(**other, *pool);
            let node = self.addresses.iter().find(|(address, _)| pool.contains(**address));
            let why = if !(underlay.contains(pool.network()) && underlay.prefix() <= pool.prefix()) {
                format!("is not in the underlay network {underlay}")
            } else if let Some((address, name)) = node {
                format!("has {name}'s address {address} in it")
            } else if let Some(other) = taken.iter().find(overlaps) {
                format!("and another cluster's, {other}, overlap")
            } else {
                taken.push(*pool);
                continue;
            };
            self.report.at(text, format!("load balancers' addresses: {pool} {why}"));
        }
        for (index, (cluster, (_, pool))) in topology.clusters.iter_mut().zip(wanted).enumerate() {
            let nodes = &self.addresses;
            let is_free = |pool: &Ipv4Network| {
                !nodes.keys().any(|address| pool.contains(*address))
                    && !taken.iter().any(|other| overlap(*other, *pool))
            };
            cluster.load_balancer_pool = pool.or_else(|| default_pools(underlay, index).find(is_free));
            taken.extend(cluster.load_balancer_pool);
        }
    }

    /// Checks a name that the user gave, and that it is the first of its kind.
    fn name(&mut self, text: &Text, what: &'static str, longest: usize) -> bool {
        self.derived(text, text.value.clone(), what, longest).is_some()
    }

    /// The same for a name that follows from the one at `place`.
    fn derived(&mut self, place: &Text, name: String, what: &'static str, longest: usize) -> Option<String> {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let ends = name.ends_with(|c: char| c.is_ascii_alphanumeric());
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !(starts && ends && plain) {
            let problem = self.report.at(place, format!("{what} name {name:?} is not fit for an interface"));
            problem.hint("letters, digits and -, a letter first, no - at the end");
            return None;
        }
        if RESERVED.contains(&name.as_str()) {
            self.report.at(place, format!("{what} name {name} means something else to the kernel"));
            return None;
        }
        if name.len() > longest {
            let problem = self.report.at(place, format!("{what} name {name} is too long"));
            problem.hint(format!("at most {longest} characters: interfaces are named after it, and have 15"));
            return None;
        }
        if let Some(other) = self.names.get(&name) {
            self.report.at(place, format!("{what} name {name} is taken by a {other}"));
            return None;
        }
        self.names.insert(name.clone(), what);
        Some(name)
    }

    fn node_address(&mut self, name: &str, text: &Text, underlay: &Underlay) -> Option<Ipv4Addr> {
        let address = address(text, &mut self.report)?;
        self.take_address(name, text, address, underlay).then_some(address)
    }

    fn take_address(&mut self, name: &str, place: &Text, address: Ipv4Addr, underlay: &Underlay) -> bool {
        let network = underlay.network;
        let why = if !network.contains(address) {
            format!("is not in the underlay network {network}")
        } else if address == network.network() {
            format!("is the underlay network {network} itself")
        } else if address == network.broadcast() {
            format!("is the broadcast address of {network}")
        } else if let Some(other) = self.addresses.get(&address) {
            format!("is {other}'s already")
        } else {
            self.addresses.insert(address, name.to_owned());
            return true;
        };
        self.report.at(place, format!("{name}: address {address} {why}"));
        false
    }
}

/// Where the next cluster's workers begin: two addresses further, as in the course.
fn after(last: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(last).saturating_add(3))
}

fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// Where a cluster's load balancers may have their addresses, the best place first: 10.200.0.0/24 for the first cluster
/// of 10.0.0.0/8, 10.201.0.0/24 for the second. Of a smaller network as high a part; of a tiny one none.
fn default_pools(underlay: Ipv4Network, index: usize) -> impl Iterator<Item = Ipv4Network> {
    let bits = 32 - u32::from(underlay.prefix());
    let parts: u32 = match bits {
        16.. => 256,
        8.. => 16,
        _ => 0,
    };
    let first = parts * 25 / 32 + index as u32;
    let part = move |k: u32| {
        let size = bits - parts.ilog2();
        let start = u32::from(underlay.network()) + (((first + k) % parts) << size);
        Ipv4Network::new(Ipv4Addr::from(start), 32 - size.min(8) as u8).ok()
    };
    (0..parts).filter_map(part)
}

fn default_pod_network() -> PodNetwork {
    let folder = Folder::BuiltIn;
    let spec = crate::parse::yaml("", "file: flannel-network-config.json");
    let mut report = Report::new("");
    let network = spec.ok().and_then(|spec| pod_network::resolve(&spec, &folder, &mut report));
    // The compiled-in file is covered by this crate's tests.
    network.unwrap_or_else(|| unreachable!("the built-in flannel configuration is valid"))
}
