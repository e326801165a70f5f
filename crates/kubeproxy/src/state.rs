//! The desired state: what each service and virtual IP wants, and what the table has of it.
//!
//! A change of one service touches that service's frontends only, whatever the number of the others: what it takes is
//! compared with what it took, and the difference is what has to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use nft::ruleset::Bytes;
use store::ObjectName;

use crate::chains::{self, Networks, Structure};
use crate::elements::{self, Placed, Shared};
use crate::frontend::{Backend, Balance, Frontend, Target};
use crate::layout::{self, Kind};
use crate::ops::{Observed, Op, compare, compare_structures, in_order};
use crate::room::{Room, Sizes};

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
    pub cluster_ips: BTreeSet<IpAddr>,
    /// What cannot be done, in words.
    pub warnings: Vec<String>,
}

/// What an object took of the state.
#[derive(Debug, Clone, Default)]
struct Taken {
    frontends: Box<[Frontend]>,
    shared: Box<[(Shared, Arc<str>)]>,
}

/// What those call a thing that have it, each with their number. The first by name counts.
type Names = Vec<(Arc<str>, usize)>;

/// Several objects may want the same frontend; the first by name has it.
type Claims = Vec<(Source, Balance)>;

/// Where endpoints were before, by the map and the key of their frontend: an agent that starts anew leaves them
/// there.
pub(crate) type Places = BTreeMap<(Kind, Bytes), Vec<(IpAddr, u16)>>;

/// The desired state.
#[derive(Debug)]
pub struct State {
    networks: Networks,
    objects: BTreeMap<Source, Taken>,
    frontends: BTreeMap<Frontend, Claims>,
    shared: BTreeMap<Shared, Names>,
    structure: Structure,
    /// Whether elements count connections. That takes the kernel a third of the time of a load.
    counted: bool,
    places: Places,
    /// Whether there is a table already that is to become this state.
    begun: bool,
    room: Room,
}

/// A table that begins with more services does not count, and says how many elements its maps take.
const COUNTED: usize = 1000;

/// What was there before a change, of what the change has touched.
#[derive(Debug, Default)]
struct Before {
    frontends: BTreeMap<Frontend, Option<Balance>>,
    shared: BTreeMap<Shared, Option<Arc<str>>>,
}

impl State {
    /// Nothing is wanted but the table.
    #[must_use]
    pub fn new(networks: Networks) -> Self {
        let structure = chains::structure(&networks, &BTreeSet::new(), true);
        Self {
            networks,
            objects: BTreeMap::new(),
            frontends: BTreeMap::new(),
            shared: BTreeMap::new(),
            structure,
            counted: true,
            places: Places::new(),
            begun: false,
            room: Room::default(),
        }
    }

    pub(crate) fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Where endpoints are in the table that is to become this state, and what its maps take.
    pub(crate) fn begin_from(&mut self, places: Places, sizes: Sizes) {
        self.begun = true;
        self.places = places;
        self.room = Room::of_table(sizes);
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Gives maps more room if they have more elements than they take; says whether it was so. Then the table has to be
    /// made anew.
    pub(crate) fn make_room(&mut self) -> bool {
        let exceeded = self.room.is_exceeded();
        if exceeded {
            self.room.make();
            self.room.tell(&mut self.structure);
        }
        exceeded
    }

    /// Replaces what objects want; none is an object that has gone. Gives what has to be done for it, in the order in
    /// which it has to be done, and what was done to frontends.
    pub fn change(
        &mut self,
        plans: impl IntoIterator<Item = (Source, Option<Plan>)>,
    ) -> (Vec<Op>, Vec<Moved>) {
        let mut before = Before::default();
        for (source, plan) in plans {
            self.replace(source, plan.unwrap_or_default(), Some(&mut before));
        }
        self.settle(before)
    }

    /// The first state, of which nobody needs to know what has to be done.
    pub(crate) fn fill(&mut self, plans: Vec<(Source, Plan)>) {
        self.counted = plans.len() <= COUNTED;
        for (source, plan) in plans {
            self.replace(source, plan, None);
        }
        for (frontend, claims) in &self.frontends {
            let balance = claims.first().map(|(_, balance)| balance);
            for (map, count) in balance.iter().flat_map(|b| elements::count_of_frontend(frontend, b)) {
                self.room.add(map.name, count);
            }
        }
        self.shared.keys().filter_map(|shared| shared.map()).for_each(|map| self.room.add(map.name, 1));
        if self.room.is_exceeded() || !self.begun && !self.counted {
            self.room.make();
        }
        self.structure = self.build();
        self.places = Places::new();
    }

    /// The structure for what is wanted.
    fn build(&self) -> Structure {
        let mut structure = chains::structure(&self.networks, &self.balancers(), self.counted);
        self.room.tell(&mut structure);
        structure
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
            let structure = self.build();
            let observed = Observed::of(&self.structure, &structure);
            // Maps and chains of a name are always made alike.
            ops.extend(compare_structures(&observed, &structure).unwrap_or_default());
            self.structure = structure;
        }
        self.room.follow(&ops);
        (in_order(ops), moved)
    }

    fn balancers(&self) -> BTreeSet<(Kind, u32)> {
        let balancers = self.shared.keys().map_while(|shared| match shared {
            Shared::Balancer(kind, mark) => Some((*kind, *mark)),
            _ => None,
        });
        balancers.collect()
    }

    fn replace(&mut self, source: Source, plan: Plan, mut before: Option<&mut Before>) {
        let old = self.objects.remove(&source).unwrap_or_default();
        for frontend in &old.frontends {
            if !plan.frontends.contains_key(frontend) {
                self.claim(*frontend, &source, None, before.as_deref_mut());
            }
        }
        let shared = shared_of(&source, &plan);
        for (shared, name) in &shared {
            self.take(*shared, name, before.as_deref_mut());
        }
        for (shared, name) in &old.shared {
            self.give_back(*shared, name, before.as_deref_mut());
        }
        let frontends: Box<[Frontend]> = plan.frontends.keys().copied().collect();
        for (frontend, balance) in plan.frontends {
            self.claim(frontend, &source, Some(balance), before.as_deref_mut());
        }
        if !frontends.is_empty() || !shared.is_empty() {
            self.objects.insert(source, Taken { frontends, shared: shared.into() });
        }
    }

    /// An object's wish for a frontend, or that it has none any more.
    fn claim(
        &mut self,
        frontend: Frontend,
        source: &Source,
        balance: Option<Balance>,
        mut before: Option<&mut Before>,
    ) {
        let claims = self.frontends.entry(frontend).or_default();
        let own = claims.iter().position(|(other, _)| other == source);
        let own = own.map(|at| (at, claims.remove(at).1));
        let old = match own {
            Some((0, own)) => Some(own),
            _ => claims.first().map(|(_, balance)| balance.clone()),
        };
        if let Some(balance) = balance {
            let balance = in_place(&mut self.places, &frontend, old.as_ref(), balance);
            let at = claims.partition_point(|(other, _)| other < source);
            // There is hardly ever another.
            claims.reserve_exact(1);
            claims.insert(at, (source.clone(), balance));
        }
        let new = claims.first().map(|(_, balance)| balance);
        let changed = new != old.as_ref();
        let kind = Kind::of(&frontend);
        let marks = |balance: Option<&Balance>| -> Vec<u32> {
            balance.into_iter().flat_map(|balance| layout::balancers(layout::mark(balance))).collect()
        };
        let (taken, given_back) = (marks(new), marks(old.as_ref()));
        if claims.is_empty() {
            self.frontends.remove(&frontend);
        }
        if !changed {
            return;
        }
        if taken != given_back {
            for mark in taken {
                let name = chains::balancer_comment(mark).into();
                self.take(Shared::Balancer(kind, mark), &name, before.as_deref_mut());
            }
            for mark in given_back {
                let name = chains::balancer_comment(mark).into();
                self.give_back(Shared::Balancer(kind, mark), &name, before.as_deref_mut());
            }
        }
        if let Some(before) = before {
            before.frontends.entry(frontend).or_insert(old);
        }
    }

    fn shared_name(&self, shared: &Shared) -> Option<Arc<str>> {
        self.shared.get(shared)?.first().map(|(name, _)| name.clone())
    }

    fn note(&self, shared: Shared, before: Option<&mut Before>) {
        if let Some(before) = before {
            before.shared.entry(shared).or_insert_with(|| self.shared_name(&shared));
        }
    }

    fn take(&mut self, shared: Shared, name: &Arc<str>, before: Option<&mut Before>) {
        self.note(shared, before);
        let names = self.shared.entry(shared).or_default();
        match names.binary_search_by(|(other, _)| other.cmp(name)) {
            Ok(at) => names[at].1 += 1,
            Err(at) => {
                names.reserve_exact(1);
                names.insert(at, (Arc::clone(name), 1));
            }
        }
    }

    fn give_back(&mut self, shared: Shared, name: &Arc<str>, before: Option<&mut Before>) {
        self.note(shared, before);
        let Some(names) = self.shared.get_mut(&shared) else { return };
        if let Ok(at) = names.binary_search_by(|(other, _)| other.cmp(name)) {
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
    #[cfg(test)]
    pub(crate) fn elements(&self, map: &str) -> crate::ops::Elements {
        let of_map = self.placed().filter(|(other, _)| other.name == map);
        of_map.map(|(_, element)| (element.key, element)).collect()
    }

    /// The elements that there are to be, each with its map.
    pub(crate) fn placed(&self) -> impl Iterator<Item = Placed> {
        let frontends =
            self.frontends().flat_map(|(frontend, balance)| elements::of_frontend(frontend, balance));
        let shared = self.shared.iter();
        let shared = shared.filter_map(|(shared, names)| elements::of_shared(*shared, &names.first()?.0));
        frontends.chain(shared)
    }
}

/// What an object has in common with others, and what it calls it.
fn shared_of(source: &Source, plan: &Plan) -> Vec<(Shared, Arc<str>)> {
    let name: Arc<str> = match source {
        Source::Service(name) | Source::VirtualIp(name) => name.to_string().into(),
    };
    let backends = plan.frontends.values().flat_map(|balance| balance.target.backends());
    let local = backends.filter(|backend| backend.local);
    let hairpins: BTreeMap<_, _> = local.map(|backend| (backend.address, &backend.name)).collect();
    let cluster_ips = plan.cluster_ips.iter().map(|ip| (Shared::ClusterIp(*ip), Arc::clone(&name)));
    cluster_ips
        .chain(hairpins.into_iter().map(|(ip, name)| (Shared::Hairpin(ip), Arc::clone(name))))
        .collect()
}

/// The endpoints that were there before stay where they were; what is new takes the places of those that have
/// gone, and then the last ones theirs.
fn in_place(
    places: &mut Places,
    frontend: &Frontend,
    old: Option<&Balance>,
    mut balance: Balance,
) -> Balance {
    let Target::Backends(backends) = &mut balance.target else { return balance };
    let places: Vec<_> = match old {
        Some(old) => old.target.backends().iter().map(|backend| (backend.address, backend.port)).collect(),
        None if places.is_empty() => return balance,
        None => {
            let key = (Kind::of(frontend), elements::frontend_key(&frontend.place));
            places.remove(&key).unwrap_or_default()
        }
    };
    *backends = keep_places(&places, std::mem::take(backends));
    balance
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
fn keep_places(places: &[(IpAddr, u16)], backends: Vec<Backend>) -> Vec<Backend> {
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
