//! The desired state: what each service and virtual IP wants, and what the table has of it.
//!
//! A change of one service touches that service's frontends only, whatever the number of the others: what it takes is
//! compared with what it took, and the difference is what has to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nft::ruleset::Map;
use store::ObjectName;

use crate::chains::{self, Networks, Structure};
use crate::elements::{self, Placed, Shared};
use crate::frontend::{Backend, Balance, Frontend, Target};
use crate::layout::{self, Kind};
use crate::ops::{Elements, Observed, Op, compare, compare_structures, in_order};

/// An object that has frontends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A service.
    Service(ObjectName),
    /// A virtual IP.
    VirtualIp(ObjectName),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::VirtualIp(name) => write!(f, "virtual IP {name}"),
        }
    }
}

/// What an object wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Its frontends.
    pub frontends: BTreeMap<Frontend, Balance>,
    /// Addresses at which there is nothing but its frontends.
    pub cluster_ips: BTreeSet<std::net::IpAddr>,
    /// What cannot be done, in words.
    pub warnings: Vec<String>,
}

/// What an object took of the state.
#[derive(Debug, Clone, Default)]
struct Taken {
    frontends: Box<[Frontend]>,
    shared: Box<[(Shared, Box<str>)]>,
}

/// What those call a thing that have it, each with their number. The first by name counts.
type Names = Vec<(Box<str>, usize)>;

/// Several objects may want the same frontend; the first by name has it.
type Claims = Vec<(Source, Balance)>;

/// Where endpoints were before, by the map and the key of their frontend: an agent that starts anew leaves them
/// there.
pub(crate) type Places = BTreeMap<(Kind, Box<[u8]>), Vec<(std::net::IpAddr, u16)>>;

/// The desired state.
#[derive(Debug)]
pub struct State {
    networks: Networks,
    objects: BTreeMap<Source, Taken>,
    frontends: BTreeMap<Frontend, Claims>,
    shared: BTreeMap<Shared, Names>,
    structure: Structure,
    places: Places,
}

/// What was there before a change, of what the change has touched.
#[derive(Debug, Default)]
struct Before {
    frontends: BTreeMap<Frontend, Option<Balance>>,
    shared: BTreeMap<Shared, Option<Box<str>>>,
}

impl State {
    /// Nothing is wanted but the table.
    #[must_use]
    pub fn new(networks: Networks) -> Self {
        let structure = chains::structure(&networks, &BTreeSet::new());
        Self {
            networks,
            objects: BTreeMap::new(),
            frontends: BTreeMap::new(),
            shared: BTreeMap::new(),
            structure,
            places: Places::new(),
        }
    }

    pub(crate) fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Where endpoints are in the table that is to become this state.
    pub(crate) fn set_places(&mut self, places: Places) {
        self.places = places;
    }

    /// Replaces what objects want; none is an object that has gone. Gives what has to be done for it, in the order in
    /// which it has to be done, and what was done to frontends.
    pub fn change(
        &mut self,
        plans: impl IntoIterator<Item = (Source, Option<Plan>)>,
    ) -> (Vec<Op>, Vec<Moved>) {
        let mut before = Before::default();
        for (source, plan) in plans {
            self.replace(source, plan.unwrap_or_default(), &mut before);
        }
        self.settle(before)
    }

    /// As [`State::change`] with an object of which nobody needs to know what has to be done.
    pub(crate) fn fill(&mut self, plans: impl IntoIterator<Item = (Source, Plan)>) {
        for (source, plan) in plans {
            self.replace(source, plan, &mut Before::default());
        }
        self.structure = chains::structure(&self.networks, &self.balancers());
        self.places = Places::new();
    }

    /// What has to be done, given what was there before.
    fn settle(&mut self, before: Before) -> (Vec<Op>, Vec<Moved>) {
        let (mut old, mut new, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for (frontend, balance) in before.frontends {
            let now = self.balance(&frontend);
            old.extend(balance.iter().flat_map(|balance| elements::of_frontend(&frontend, balance)));
            new.extend(now.iter().flat_map(|balance| elements::of_frontend(&frontend, balance)));
            moved.extend(Moved::between(frontend, balance.as_ref(), now));
        }
        let mut restructured = false;
        for (shared, name) in before.shared {
            let now = self.shared_name(&shared);
            restructured |= matches!(shared, Shared::Balancer(..)) && now.is_some() != name.is_some();
            old.extend(name.and_then(|name| elements::of_shared(shared, &name)));
            new.extend(now.and_then(|name| elements::of_shared(shared, &name)));
        }
        let mut ops = compare(old, new);
        if restructured {
            let structure = chains::structure(&self.networks, &self.balancers());
            let observed = Observed::of(&self.structure, &structure);
            // Maps and chains of a name are always made alike.
            ops.extend(compare_structures(&observed, &structure).unwrap_or_default());
            self.structure = structure;
        }
        (in_order(ops), moved)
    }

    fn balancers(&self) -> BTreeSet<(Kind, u32)> {
        let balancers = self.shared.keys().map_while(|shared| match shared {
            Shared::Balancer(kind, mark) => Some((*kind, *mark)),
            _ => None,
        });
        balancers.collect()
    }

    fn replace(&mut self, source: Source, plan: Plan, before: &mut Before) {
        let old = self.objects.remove(&source).unwrap_or_default();
        for frontend in &old.frontends {
            if !plan.frontends.contains_key(frontend) {
                self.claim(*frontend, &source, None, before);
            }
        }
        let mut shared = Vec::new();
        shared.extend(plan.cluster_ips.iter().map(|ip| Shared::ClusterIp(*ip)));
        let backends = plan.frontends.values().flat_map(|balance| balance.target.backends());
        let mut hairpins: BTreeMap<_, _> = backends
            .filter(|backend| backend.local)
            .map(|backend| (backend.address, backend.name.clone()))
            .collect();
        shared.extend(hairpins.keys().map(|ip| Shared::Hairpin(*ip)));
        let name = match &source {
            Source::Service(name) | Source::VirtualIp(name) => name.to_string(),
        };
        let shared: Vec<(Shared, Box<str>)> = shared
            .into_iter()
            .map(|shared| match shared {
                Shared::Hairpin(ip) => (shared, hairpins.remove(&ip).as_deref().unwrap_or_default().into()),
                _ => (shared, name.as_str().into()),
            })
            .collect();
        for (shared, name) in &shared {
            self.take(*shared, name, before);
        }
        for (shared, name) in &old.shared {
            self.give_back(*shared, name, before);
        }
        let frontends: Box<[Frontend]> = plan.frontends.keys().copied().collect();
        for (frontend, balance) in plan.frontends {
            self.claim(frontend, &source, Some(balance), before);
        }
        if !frontends.is_empty() || !shared.is_empty() {
            self.objects.insert(source, Taken { frontends, shared: shared.into() });
        }
    }

    /// An object's wish for a frontend, or that it has none any more.
    fn claim(&mut self, frontend: Frontend, source: &Source, balance: Option<Balance>, before: &mut Before) {
        let old = self.balance(&frontend).cloned();
        let balance = balance.map(|balance| self.in_place(&frontend, old.as_ref(), balance));
        let claims = self.frontends.entry(frontend).or_default();
        claims.retain(|(other, _)| other != source);
        if let Some(balance) = balance {
            let at = claims.partition_point(|(other, _)| other < source);
            claims.insert(at, (source.clone(), balance));
        }
        if claims.is_empty() {
            self.frontends.remove(&frontend);
        }
        let new = self.balance(&frontend).cloned();
        if new == old {
            return;
        }
        let kind = Kind::of(&frontend);
        let marks = |balance: &Option<Balance>| -> Vec<u32> {
            balance.iter().flat_map(|balance| layout::balancers(layout::mark(balance))).collect()
        };
        for mark in marks(&new) {
            self.take(Shared::Balancer(kind, mark), &chains::balancer_comment(mark), before);
        }
        for mark in marks(&old) {
            self.give_back(Shared::Balancer(kind, mark), &chains::balancer_comment(mark), before);
        }
        before.frontends.entry(frontend).or_insert(old);
    }

    /// The endpoints that were there before stay where they were; what is new takes the places of those that have
    /// gone, and then the last ones theirs.
    fn in_place(&mut self, frontend: &Frontend, old: Option<&Balance>, mut balance: Balance) -> Balance {
        let Target::Backends(backends) = &mut balance.target else { return balance };
        let places: Vec<_> = match old {
            Some(old) => {
                old.target.backends().iter().map(|backend| (backend.address, backend.port)).collect()
            }
            None => {
                let key = (Kind::of(frontend), elements::frontend_key(&frontend.place).into_boxed_slice());
                self.places.remove(&key).unwrap_or_default()
            }
        };
        *backends = keep_places(&places, std::mem::take(backends));
        balance
    }

    fn shared_name(&self, shared: &Shared) -> Option<Box<str>> {
        self.shared.get(shared)?.first().map(|(name, _)| name.clone())
    }

    fn take(&mut self, shared: Shared, name: &str, before: &mut Before) {
        let there = self.shared_name(&shared);
        before.shared.entry(shared).or_insert(there);
        let names = self.shared.entry(shared).or_default();
        match names.binary_search_by(|(other, _)| (**other).cmp(name)) {
            Ok(at) => names[at].1 += 1,
            Err(at) => names.insert(at, (name.into(), 1)),
        }
    }

    fn give_back(&mut self, shared: Shared, name: &str, before: &mut Before) {
        let there = self.shared_name(&shared);
        before.shared.entry(shared).or_insert(there);
        let Some(names) = self.shared.get_mut(&shared) else { return };
        if let Ok(at) = names.binary_search_by(|(other, _)| (**other).cmp(name)) {
            names[at].1 -= 1;
            if names[at].1 == 0 {
                names.remove(at);
            }
        }
        if names.is_empty() {
            self.shared.remove(&shared);
        }
    }

    /// What there is at a frontend.
    #[must_use]
    pub fn balance(&self, frontend: &Frontend) -> Option<&Balance> {
        self.frontends.get(frontend)?.first().map(|(_, balance)| balance)
    }

    /// All frontends, with what there is at them.
    pub fn frontends(&self) -> impl Iterator<Item = (&Frontend, &Balance)> {
        self.frontends.iter().filter_map(|(frontend, claims)| Some((frontend, &claims.first()?.1)))
    }

    /// Frontends that an object wants and another one has.
    #[must_use]
    pub fn conflicts(&self, source: &Source) -> Vec<String> {
        let wanted = self.objects.get(source).map(|taken| &taken.frontends[..]).unwrap_or_default();
        let holder = |frontend: &Frontend| self.frontends.get(frontend)?.first().map(|(holder, _)| holder);
        let taken = wanted.iter().filter_map(|frontend| Some((frontend, holder(frontend)?)));
        let others = taken.filter(|(_, holder)| *holder != source);
        others.map(|(frontend, holder)| format!("{source}: {frontend} is taken by {holder}")).collect()
    }

    /// How many objects have frontends.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(crate) fn structure(&self) -> &Structure {
        &self.structure
    }

    /// The elements that a map is to have.
    pub(crate) fn elements(&self, map: &Map) -> Elements {
        let of_map = self.placed().filter(|(other, _)| other.name == map.name);
        of_map.map(|(_, element)| (element.key.clone(), element)).collect()
    }

    fn placed(&self) -> impl Iterator<Item = Placed> {
        let frontends =
            self.frontends().flat_map(|(frontend, balance)| elements::of_frontend(frontend, balance));
        let shared = self.shared.iter();
        let shared = shared.filter_map(|(shared, names)| elements::of_shared(*shared, &names.first()?.0));
        frontends.chain(shared)
    }
}

/// A frontend whose endpoints have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The frontend.
    pub frontend: Frontend,
    /// Whether connections from before may go where they should not: an endpoint has gone, or the frontend was not
    /// there, or has gone itself.
    pub stale: bool,
}

impl Moved {
    fn between(frontend: Frontend, old: Option<&Balance>, new: Option<&Balance>) -> Option<Self> {
        let ends = |balance: Option<&Balance>| -> BTreeSet<_> {
            let backends = balance.iter().flat_map(|balance| balance.target.backends());
            backends.map(|backend| (backend.address, backend.port)).collect()
        };
        let (before, now) = (ends(old), ends(new));
        let stale =
            before.is_empty() != now.is_empty() || old.is_none() || before.difference(&now).next().is_some();
        (before != now || old.is_none() != new.is_none()).then_some(Self { frontend, stale })
    }
}

/// Puts what stays where it was, in as many places as there are now.
fn keep_places(places: &[(std::net::IpAddr, u16)], backends: Vec<Backend>) -> Vec<Backend> {
    let before: BTreeMap<_, _> = places.iter().enumerate().map(|(at, end)| (*end, at)).collect();
    let mut placed: Vec<Option<Backend>> = vec![None; backends.len()];
    let mut rest = Vec::new();
    for backend in backends {
        match before.get(&(backend.address, backend.port)).and_then(|at| placed.get_mut(*at)) {
            Some(place) if place.is_none() => *place = Some(backend),
            _ => rest.push(backend),
        }
    }
    let mut rest = rest.into_iter();
    placed.into_iter().filter_map(|place| place.or_else(|| rest.next())).collect()
}

#[cfg(test)]
mod tests;
