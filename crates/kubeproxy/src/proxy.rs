//! Keeps the table as the state wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::VirtualIP;
use nft::conntrack::Flow;
use nft::ruleset::{Bytes, Value};
use store::ObjectName;

use crate::apply::Kernel;
use crate::elements::{endpoint_comment, frontend_key, twice};
use crate::error::Result;
use crate::frontend::{Backend, Frontend, Place, Protocol};
use crate::layout::{self, HAIRPINS, KINDS, Kind, Role};
use crate::ops::{Elements, Op, compare_map, compare_structures, in_order};
use crate::plan::PodAddress;
use crate::room::Sizes;
use crate::state::{Places, Plan, Source, State};

const ICMP: u8 = libc::IPPROTO_ICMP as u8;
const ICMP6: u8 = libc::IPPROTO_ICMPV6 as u8;

/// The state and the kernel.
#[derive(Debug)]
pub struct Proxy<K> {
    kernel: K,
    state: State,
    /// The worker's own address.
    node: IpAddr,
    /// The generation in which the table was as the state wants it; none when that is not known.
    settled: Option<u32>,
    /// Frontends of which endpoints have gone, or that have gone themselves, and whose flows were not looked at since.
    stale: BTreeSet<Place>,
}

/// What a sync has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Operations that were carried out.
    pub ops: usize,
    /// What was wrong though nothing had been wanted, in words.
    pub repaired: Option<String>,
}

impl<K: Kernel> Proxy<K> {
    /// Nothing is known of the table yet; `node` is the worker's own address.
    pub fn new(kernel: K, state: State, node: IpAddr) -> Self {
        Self { kernel, state, node, settled: None, stale: BTreeSet::new() }
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// What is wanted.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The first state: what is in the table already stays where it is.
    ///
    /// # Errors
    /// The kernel's; call it again.
    pub fn load(&mut self, plans: impl IntoIterator<Item = (Source, Plan)>) -> Result<Done> {
        let found = self.places()?;
        self.state = State::new(self.state.networks().clone());
        if let Some((places, sizes)) = found {
            self.state.begin_from(places, sizes);
        }
        self.state.fill(plans.into_iter().collect());
        let done = self.repair()?;
        let protocols = lasting(self.state.frontends().map(|(frontend, _)| &frontend.place));
        self.forget_flows(&protocols)?;
        Ok(done)
    }

    /// Replaces what objects want, and brings the table to it. Nothing is written where nothing changes.
    ///
    /// # Errors
    /// The kernel's. The state is the new one all the same; [`Proxy::resync`] brings the table to it.
    pub fn change(&mut self, plans: impl IntoIterator<Item = (Source, Option<Plan>)>) -> Result<Done> {
        // What somebody else has done is told apart from what is to be done now.
        let known = match self.settled {
            Some(_) => Ok(Done::default()),
            None => self.repair(),
        };
        let (ops, moved) = self.state.change(plans);
        self.stale.extend(moved.into_iter().filter(|moved| moved.stale).map(|moved| moved.frontend.place));
        let more_room = self.state.make_room();
        let mut done = known?;
        if more_room {
            done.ops += self.repair()?.ops;
        } else if !ops.is_empty() {
            match self.commit(&ops, self.settled) {
                Ok(()) => done.ops += ops.len(),
                Err(error) => {
                    // Somebody was there. What is to be done instead, the table says.
                    done.ops += self.repair()?.ops;
                    done.repaired = Some(runtime::chain(&error));
                }
            }
        }
        self.forget_stale()?;
        Ok(done)
    }

    /// Replaces what objects want, and leaves the table to the next look at it.
    pub(crate) fn adopt(&mut self, plans: impl IntoIterator<Item = (Source, Option<Plan>)>) {
        let (_, moved) = self.state.change(plans);
        self.stale.extend(moved.into_iter().filter(|moved| moved.stale).map(|moved| moved.frontend.place));
        self.state.make_room();
        self.settled = None;
    }

    /// Looks whether the table is as it should be, if anybody has changed any rule since it was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resync(&mut self) -> Result<Done> {
        if self.settled.is_some() && self.settled == Some(self.kernel.generation()?) {
            return Ok(Done::default());
        }
        let before = self.settled;
        let done = self.repair()?;
        self.forget_stale()?;
        // Otherwise it was not known how it was.
        Ok(Done { repaired: done.repaired.filter(|_| before.is_some()), ..done })
    }

    /// Compares the table with the state and writes the difference.
    fn repair(&mut self) -> Result<Done> {
        self.settled = None;
        let generation = self.kernel.generation()?;
        let mut ops = self.difference()?;
        if ops.is_empty() {
            self.settled = Some(generation);
            return Ok(Done::default());
        }
        match self.commit(&ops, Some(generation)) {
            // Elements of somebody else have left no room.
            Err(error) if error.errno() == Some(libc::ENFILE) => {
                ops = self.anew(true);
                self.commit(&ops, Some(generation))?;
            }
            result => result?,
        }
        Ok(Done { ops: ops.len(), repaired: Some(in_words(&ops)) })
    }

    /// What makes the table as if there were none; `there`: whether there is one.
    fn anew(&self, there: bool) -> Vec<Op> {
        let mut ops = vec![Op::AddTable];
        ops.extend(there.then_some(Op::DeleteTable));
        ops.extend(compare_structures(&Default::default(), self.state.structure()).unwrap_or_default());
        ops.extend(self.state.placed().map(|(map, element)| Op::Add(map, element)));
        in_order(ops)
    }

    /// What makes the table the wanted one.
    fn difference(&mut self) -> Result<Vec<Op>> {
        let structure = self.state.structure().clone();
        let observed = self.kernel.observe(&structure)?;
        let Some(there) = observed else { return Ok(self.anew(false)) };
        let Some(mut ops) = compare_structures(&there, &structure) else { return Ok(self.anew(true)) };
        // Of each map that is there, what is wanted; of others everything is.
        let mut wanted: BTreeMap<&str, Elements> = there
            .maps
            .keys()
            .filter_map(|name| structure.maps.get_key_value(name.as_str()))
            .map(|(name, _)| (*name, Elements::new()))
            .collect();
        for (map, element) in self.state.placed() {
            match wanted.get_mut(map.name) {
                Some(elements) => drop(elements.insert(element.key, element)),
                None => ops.push(Op::Add(map, element)),
            }
        }
        for (name, wanted) in wanted {
            if let Some(map) = layout::map(name).filter(|map| !map.is_dynamic()) {
                ops.extend(compare_map(map, self.kernel.elements(name)?, wanted));
            }
        }
        Ok(in_order(ops))
    }

    fn commit(&mut self, ops: &[Op], generation: Option<u32>) -> Result<()> {
        self.settled = None;
        let count = match self.kernel.commit(ops) {
            // Before Linux 6.2 a chain is in use for a moment after the last element that led there has gone.
            Err(error) if error.errno() == Some(libc::EBUSY) => {
                let stays = |op: &&Op| !matches!(op, Op::DeleteChain(_) | Op::DeleteMap(_));
                let ops: Vec<_> = ops.iter().filter(stays).cloned().collect();
                // Not settled: the next look at the table finds what is left.
                return self.kernel.commit(&ops).map(|_| ());
            }
            result => result?,
        };
        let now = self.kernel.generation()?;
        // If others committed meanwhile it is further on, and the table is looked at again.
        self.settled = generation.filter(|before| now == before.wrapping_add(count)).map(|_| now);
        Ok(())
    }

    /// Where endpoints are in the table, and how many its maps take; none if there is no table.
    fn places(&mut self) -> Result<Option<(Places, Sizes)>> {
        let mut places = Places::new();
        let Some(observed) = self.kernel.observe(self.state.structure())? else { return Ok(None) };
        for kind in KINDS {
            let read = |kernel: &mut K, role| match kind.map(role) {
                Some(map) if observed.maps.contains_key(map.name) => kernel.elements(map.name),
                _ => Ok(Elements::new()),
            };
            let endpoints = read(&mut self.kernel, Role::Endpoints)?;
            let (choices, chosen) =
                (read(&mut self.kernel, Role::Choices)?, read(&mut self.kernel, Role::Chosen)?);
            for (key, element) in endpoints {
                place(&mut places, kind, &key, &element.value);
            }
            for (key, choice) in choices {
                let Some((frontend, _)) = split(&key) else { continue };
                let Value::Data(number) = &choice.value else { continue };
                let Some(number) = number.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) else {
                    continue;
                };
                if let Some(element) = chosen.get(&frontend.number(number)) {
                    place(&mut places, kind, &key, &element.value);
                }
            }
        }
        Ok(Some((places, observed.sizes)))
    }

    /// Where the table has the pods of a virtual IP: where they were when they were last seen.
    pub(crate) fn last_known(&mut self, vip: &VirtualIP) -> Result<BTreeMap<ObjectName, PodAddress>> {
        let mut found = BTreeMap::new();
        let Some(observed) = self.kernel.observe(self.state.structure())? else { return Ok(found) };
        let Some(map) = Kind::Virtual.map(Role::Endpoints).filter(|map| observed.maps.contains_key(map.name))
        else {
            return Ok(found);
        };
        let Ok(address) = vip.spec.address.parse() else { return Ok(found) };
        let own = frontend_key(&Place::Virtual(address));
        let elements = self.kernel.elements(map.name)?;
        let hairpins = self.kernel.elements(HAIRPINS.name)?;
        let owner = ObjectName::of(&vip.metadata);
        for element in elements.values().filter(|element| element.key.starts_with(&own)) {
            let Some((address, _)) = end(&element.value) else { continue };
            for pod in &vip.spec.pods {
                let pod = ObjectName::new(&owner.namespace, pod);
                let backend = Backend { address, port: 0, local: false, name: pod.to_string().into() };
                if endpoint_comment(&owner.to_string(), &backend) == element.comment {
                    let local = hairpins.contains_key(&twice(address));
                    found.insert(pod, PodAddress { address, local });
                }
            }
        }
        Ok(found)
    }

    /// Forgets datagrams' flows to endpoints that have gone: as long as a client goes on sending, the kernel would go
    /// on sending them there.
    fn forget_stale(&mut self) -> Result<()> {
        let protocols = lasting(&self.stale);
        self.forget_flows(&protocols)?;
        self.stale.clear();
        Ok(())
    }

    fn forget_flows(&mut self, protocols: &[u8]) -> Result<()> {
        for protocol in protocols {
            for flow in self.kernel.flows(*protocol)? {
                if self.is_stale(&flow) {
                    self.kernel.forget(&flow)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a flow goes where no endpoint is.
    fn is_stale(&self, flow: &Flow) -> bool {
        let (ip, port) = (flow.destination.ip(), flow.destination.port());
        let translated = flow.answers_from != flow.destination;
        let mut places = vec![Place::Virtual(ip)];
        if let Some(protocol) = Protocol::from_number(flow.protocol) {
            places.push(Place::Address(ip, protocol, port));
            // Which addresses are the worker's is for the kernel to know; a port of another host is not translated.
            if translated || ip == self.node {
                places.push(Place::NodePort(protocol, port));
            }
        }
        for place in places {
            let balances = [Frontend::new(place), Frontend::outside(place)];
            let mut balances = balances.iter().filter_map(|frontend| self.state.balance(frontend)).peekable();
            if balances.peek().is_none() {
                if self.stale.contains(&place) {
                    return true;
                }
                continue;
            }
            let same = |backend: &Backend| {
                let port =
                    if matches!(place, Place::Virtual(_)) { flow.answers_from.port() } else { backend.port };
                SocketAddr::new(backend.address, port) == flow.answers_from
            };
            return !balances.any(|balance| balance.target.backends().iter().any(same));
        }
        false
    }
}

/// The protocols whose flows to these places may outlive their endpoints. To ask for flows costs more than all else at
/// the start: the kernel has one table of them for all namespaces, and walks through it.
fn lasting<'a>(places: impl IntoIterator<Item = &'a Place>) -> Vec<u8> {
    let (mut udp, mut virtual_ip) = (false, false);
    for place in places {
        match place {
            Place::Virtual(_) => virtual_ip = true,
            Place::Address(_, Protocol::Udp, _) | Place::NodePort(Protocol::Udp, _) => udp = true,
            _ => {}
        }
    }
    let mut protocols = Vec::new();
    if udp || virtual_ip {
        protocols.push(Protocol::Udp.number());
    }
    if virtual_ip {
        protocols.extend([ICMP, ICMP6]);
    }
    protocols
}

/// A key and the number at its end.
fn split(key: &Bytes) -> Option<(Bytes, u32)> {
    let (frontend, number) = key.split_last_chunk::<4>()?;
    Some((Bytes::read(frontend)?, u32::from_ne_bytes(*number)))
}

/// The endpoint that a value stands for; of port 0 if it has none.
pub(crate) fn end(value: &Value) -> Option<(IpAddr, u16)> {
    let Value::Data(data) = value else { return None };
    let port = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    match data.len() {
        4 | 8 => Some((IpAddr::from(*data.first_chunk::<4>()?), port(&data[4..]))),
        16 | 20 => Some((IpAddr::from(*data.first_chunk::<16>()?), port(&data[16..]))),
        _ => None,
    }
}

/// Notes an endpoint at the place that its key names.
fn place(places: &mut Places, kind: Kind, key: &Bytes, value: &Value) {
    let (Some((frontend, index)), Some(end)) = (split(key), end(value)) else { return };
    let all = places.entry((kind, frontend)).or_default();
    let index = index as usize;
    // Whoever has been at the table may have written anything.
    if index >= layout::MOST {
        return;
    }
    if all.len() <= index {
        all.resize(index + 1, (IpAddr::from([0, 0, 0, 0]), 0));
    }
    all[index] = end;
}

/// What was wrong with a table that takes these operations.
fn in_words(ops: &[Op]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for op in ops {
        let what = match op {
            Op::AddTable if !ops.contains(&Op::DeleteTable) => return "the table was gone".into(),
            Op::DeleteTable => return "the table was made otherwise".into(),
            Op::AddMap(map) => format!("map {} was gone", map.name),
            Op::AddChain(chain) => format!("chain {} was gone", chain.name),
            Op::SetRules(chain, _) => format!("chain {chain} had other rules"),
            Op::Add(map, _) => format!("map {} lacked elements", map.name),
            Op::Replace(map, _) => format!("map {} had other elements", map.name),
            Op::Delete(map, _) => format!("map {} had elements too many", map.name),
            Op::DeleteChain(chain) => format!("chain {chain} was too many"),
            Op::DeleteMap(map) => format!("map {map} was too many"),
            Op::Flush(_) | Op::AddTable => continue,
        };
        *counts.entry(what).or_default() += 1;
    }
    let words = counts.into_iter().map(|(what, count)| match count {
        1 => what.replace("elements", "an element"),
        count => what.replace("elements", &format!("{count} elements")),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
