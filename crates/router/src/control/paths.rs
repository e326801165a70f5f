//! Shortest ways through the network, the same on every router.
//!
//! Source: upstream `python/skupper_router_internal/router/path.py`. A message to all routers is copied from
//! router to router along the shortest ways from its origin, and each router finds those ways by itself: the
//! choice between equal ways has to be upstream's, or copies are lost or doubled.

use std::collections::{BTreeMap, BTreeSet};

/// Who says to be next to whom, at which cost.
pub(super) type LinkStates = BTreeMap<String, BTreeMap<String, u32>>;

/// The way to one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The neighbour that it begins with.
    pub(super) next_hop: String,
    /// What it costs.
    pub(super) cost: u64,
    /// Routers whose shortest way to it goes through this one.
    pub(super) valid_origins: BTreeSet<String>,
}

/// The ways from `me` to all that can be reached.
pub(super) fn ways(me: &str, states: &LinkStates) -> BTreeMap<String, Way> {
    let states = &with_silent(states);
    let tree = tree(me, states);
    let mut ways: BTreeMap<String, Way> = tree
        .iter()
        .filter_map(|(id, step)| {
            let next_hop = path(&tree, id).last()?.to_owned();
            Some((id.clone(), Way { next_hop, cost: step.cost, valid_origins: BTreeSet::new() }))
        })
        .collect();
    let reachable: Vec<String> = ways.keys().cloned().collect();
    for origin in &reachable {
        let tree = self::tree(origin, states);
        for (id, way) in &mut ways {
            // Up from the destination: whoever stands before it on its way.
            if path(&tree, id).skip(1).any(|step| step == me) {
                way.valid_origins.insert(origin.clone());
            }
        }
    }
    ways
}

/// A neighbour that has not spoken yet leads back to who names it, so that it can be asked.
fn with_silent(states: &LinkStates) -> LinkStates {
    let mut all = states.clone();
    for (id, peers) in states {
        for peer in peers.keys() {
            all.entry(peer.clone()).or_insert_with(|| BTreeMap::from([(id.clone(), 1)]));
        }
    }
    all
}

struct Step {
    cost: u64,
    /// Who stands before it on the way; none before the root.
    before: String,
}

/// From a router up to, but without, the root.
fn path<'a>(tree: &'a BTreeMap<String, Step>, id: &'a str) -> impl Iterator<Item = &'a str> {
    let known = tree.contains_key(id).then_some(id);
    std::iter::successors(known, |at| {
        let before = tree.get(*at)?.before.as_str();
        tree.contains_key(before).then_some(before)
    })
}

/// Dijkstra's shortest ways from a root; of equal ones, that over the router that is nearer to the root, then
/// whose id is lower. The root itself is not among them.
fn tree(root: &str, states: &LinkStates) -> BTreeMap<String, Step> {
    let mut found: BTreeMap<String, Step> = BTreeMap::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut open: BTreeSet<(u64, &str)> = BTreeSet::from([(0, root)]);
    while let Some((cost, at)) = open.pop_first() {
        done.insert(at);
        for (peer, step) in states.get(at).into_iter().flatten() {
            let cost = cost.saturating_add(u64::from(*step));
            let known = found.get(peer.as_str()).map(|step| step.cost);
            if peer == root || done.contains(peer.as_str()) || known.is_some_and(|known| known <= cost) {
                continue;
            }
            if let Some(known) = known {
                open.remove(&(known, peer.as_str()));
            }
            open.insert((cost, peer));
            found.insert(peer.clone(), Step { cost, before: at.to_owned() });
        }
    }
    found
}

#[cfg(test)]
mod tests;
