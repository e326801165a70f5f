//! What has to be done to a table, and in which order.

use std::collections::BTreeMap;

use nft::ruleset::{Bytes, Chain, Element, Map, Rule};

use crate::chains::{self, Structure};
use crate::elements::Placed;
use crate::layout::{self, CLUSTER_IPS, Role};

/// One change of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The table with all that is in it.
    DeleteTable,
    /// The table, which is not there.
    AddTable,
    /// A map that is not there.
    AddMap(Map),
    /// A chain that is not there, without its rules.
    AddChain(Chain),
    /// All rules of a chain.
    SetRules(String, Vec<Rule>),
    /// An element that is not there.
    Add(&'static Map, Element),
    /// An element that is there with another value or comment.
    Replace(&'static Map, Element),
    /// An element by its key.
    Delete(&'static Map, Bytes),
    /// The rules of a chain that is to be deleted: what they lead to may be deleted, too.
    Flush(String),
    /// A map that no rule uses any more, with its elements.
    DeleteMap(String),
    /// A chain to which nothing leads any more.
    DeleteChain(String),
}

impl Op {
    /// When it comes. Whoever does only the first of the operations leaves a table in which every lookup finds what
    /// it leads to, so that a load may be split and no connection is lost.
    fn step(&self) -> u8 {
        match self {
            Self::DeleteTable => 0,
            Self::AddTable => 1,
            Self::AddMap(_) => 2,
            Self::AddChain(chain) if chain.hook.is_none() => 3,
            Self::SetRules(chain, _) if !chains::is_entrance(chain) => 4,
            // Where connections go to, before anything leads there.
            Self::Add(map, _) if !is_entrance(map) => 5,
            Self::Replace(map, _) if !is_entrance(map) => 6,
            Self::Add(map, _) | Self::Replace(map, _) if map.name != CLUSTER_IPS.name => 7,
            // An address of a service refuses what is not found before.
            Self::Add(..) | Self::Replace(..) => 8,
            Self::SetRules(chain, _) if !chains::is_base(chain) => 9,
            // From here on packets come.
            Self::AddChain(_) => 10,
            Self::SetRules(..) => 11,
            Self::Delete(map, _) if map.name == CLUSTER_IPS.name => 12,
            Self::Delete(map, _) if is_entrance(map) => 13,
            Self::Delete(..) => 14,
            Self::Flush(_) => 15,
            // Its verdicts lead to chains.
            Self::DeleteMap(_) => 16,
            Self::DeleteChain(_) => 17,
        }
    }
}

/// Whether a map decides that a packet is for a service at all.
fn is_entrance(map: &Map) -> bool {
    let frontends =
        |kind: layout::Kind| kind.map(Role::Frontends).is_some_and(|other| other.name == map.name);
    map.name == CLUSTER_IPS.name || layout::KINDS.into_iter().any(frontends)
}

/// Puts operations into the order in which they have to be done.
pub(crate) fn in_order(mut ops: Vec<Op>) -> Vec<Op> {
    ops.sort_by_cached_key(Op::step);
    ops
}

/// What makes the old elements the new ones.
pub(crate) fn compare(mut old: Vec<Placed>, mut new: Vec<Placed>) -> Vec<Op> {
    if old.is_empty() {
        return new.into_iter().map(|(map, element)| Op::Add(map, element)).collect();
    }
    let order = |(map, element): &Placed, (other_map, other): &Placed| {
        map.name.cmp(other_map.name).then_with(|| element.key.cmp(&other.key))
    };
    old.sort_unstable_by(order);
    new.sort_unstable_by(order);
    let mut old = old.into_iter().peekable();
    let mut ops = Vec::with_capacity(new.len());
    for placed in new {
        while let Some((map, gone)) = old.next_if(|before| order(before, &placed).is_lt()) {
            ops.push(Op::Delete(map, gone.key));
        }
        let before = old.next_if(|before| order(before, &placed).is_eq());
        let (map, element) = placed;
        match before {
            None => ops.push(Op::Add(map, element)),
            Some((_, before)) if before != element => ops.push(Op::Replace(map, element)),
            Some(_) => {}
        }
    }
    ops.extend(old.map(|(map, element)| Op::Delete(map, element.key)));
    ops
}

/// Elements by their keys.
pub type Elements = BTreeMap<Bytes, Element>;

/// What makes the elements of a map the wanted ones.
pub(crate) fn compare_map(map: &'static Map, mut there: Elements, wanted: Elements) -> Vec<Op> {
    let mut ops = Vec::new();
    for (key, element) in wanted {
        match there.remove(&key) {
            None => ops.push(Op::Add(map, element)),
            Some(before) if before != element => ops.push(Op::Replace(map, element)),
            Some(_) => {}
        }
    }
    ops.extend(there.into_keys().map(|key| Op::Delete(map, key)));
    ops
}

/// How something in the kernel stands to what is wanted under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is that.
    Same,
    /// A chain has other rules.
    OtherRules,
    /// It is something else.
    Other,
}

/// The table as it is, beside what it is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Maps by name.
    pub maps: BTreeMap<String, Standing>,
    /// Chains by name.
    pub chains: BTreeMap<String, Standing>,
    /// How many elements those maps take that do not take any number.
    pub sizes: BTreeMap<String, u32>,
}

impl Observed {
    /// As one sees the table that has one structure and is to have another.
    pub(crate) fn of(there: &Structure, wanted: &Structure) -> Self {
        let maps = there.maps.keys().map(|name| ((*name).to_owned(), Standing::Same));
        let chain = |(name, chain): (&String, &Chain)| {
            let standing = match wanted.chains.get(name) {
                Some(wanted) if wanted == chain => Standing::Same,
                Some(wanted) if (wanted.hook, &wanted.comment) == (chain.hook, &chain.comment) => {
                    Standing::OtherRules
                }
                _ => Standing::Other,
            };
            (name.clone(), standing)
        };
        Self {
            maps: maps.collect(),
            chains: there.chains.iter().map(chain).collect(),
            sizes: BTreeMap::new(),
        }
    }
}

/// What gives the table its structure; none if it has to be made anew, for a map or a chain that is wanted is
/// something else.
pub(crate) fn compare_structures(there: &Observed, wanted: &Structure) -> Option<Vec<Op>> {
    let other = |standing: &Standing| *standing == Standing::Other;
    let map =
        |(name, standing): (&String, &Standing)| other(standing) && wanted.maps.contains_key(name.as_str());
    let chain = |(name, standing): (&String, &Standing)| other(standing) && wanted.chains.contains_key(name);
    if there.maps.iter().any(map) || there.chains.iter().any(chain) {
        return None;
    }
    let mut ops = Vec::new();
    let missing = wanted.maps.values().filter(|map| !there.maps.contains_key(map.name));
    ops.extend(missing.map(|map| Op::AddMap(*map)));
    for chain in wanted.chains.values() {
        let standing = there.chains.get(&chain.name);
        if standing.is_none() {
            ops.push(Op::AddChain(Chain { rules: Vec::new(), ..chain.clone() }));
        }
        if standing != Some(&Standing::Same) {
            ops.push(Op::SetRules(chain.name.clone(), chain.rules.clone()));
        }
    }
    for name in there.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
        ops.push(Op::Flush(name.clone()));
        ops.push(Op::DeleteChain(name.clone()));
    }
    let gone = there.maps.keys().filter(|name| !wanted.maps.contains_key(name.as_str()));
    ops.extend(gone.map(|name| Op::DeleteMap(name.clone())));
    Some(ops)
}
