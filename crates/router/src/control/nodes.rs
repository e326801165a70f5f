//! What is known of the other routers.
//!
//! Upstream: `python/skupper_router_internal/router/node.py`. There a question is asked once and again at the
//! next RA; here it is asked again until the answer is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use api::router_config::Distribution;

use super::message::{Change, Error};
use super::paths::{LinkStates, Way};
use super::{MOBILE, MOST_ROUTERS, Node, Options, PATIENCE, Routes};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    all: BTreeMap<String, Other>,
    /// The link states that `ways` were computed from.
    states: LinkStates,
    ways: BTreeMap<String, Way>,
}

/// Another router.
#[derive(Debug, Default)]
pub(super) struct Other {
    instance: Option<i64>,
    ls_seq: i64,
    peers: BTreeMap<String, u32>,
    /// By hash key.
    addresses: BTreeMap<String, Option<Distribution>>,
    mobile_seq: i64,
    /// The last RA or LSU; None: not yet, and what is known is hearsay.
    pub(super) last_seen: Option<Instant>,
    /// The numbers that it last told.
    pub(super) wanted_ls_seq: i64,
    pub(super) wanted_mobile_seq: i64,
    /// Whether nothing was ever heard about its addresses since it could be reached.
    unasked: bool,
    /// An answer that did not fit: what is between is missing.
    gap: bool,
    asked_ls: Option<Instant>,
    asked_mobile: Option<Instant>,
    reachable: bool,
    lost: Option<Instant>,
    /// Since when nobody names it.
    unnamed: Option<Instant>,
}

/// What to ask a router.
pub(super) struct Ask {
    pub(super) link_state: bool,
    /// Addresses that are newer than those of this number.
    pub(super) addresses: Option<i64>,
}

impl Other {
    /// Takes note of its instance; true when it is another than before, and everything known is void.
    pub(super) fn is_instance(&mut self, instance: i64) -> bool {
        let before = self.instance.replace(instance);
        let restarted = before.is_some_and(|before| before != instance);
        if restarted {
            let (reachable, lost) = (self.reachable, self.lost);
            *self = Self { instance: Some(instance), wanted_ls_seq: 1, reachable, lost, ..Self::default() };
            self.unasked = true;
        }
        restarted
    }

    /// A link state came; true when it is news.
    pub(super) fn link_state(&mut self, ls_seq: i64, peers: BTreeMap<String, u32>, now: Instant) -> bool {
        if ls_seq <= self.ls_seq {
            return false;
        }
        self.ls_seq = ls_seq;
        self.peers = peers;
        self.last_seen = Some(now);
        self.asked_ls = None;
        true
    }

    /// Addresses came.
    pub(super) fn addresses(&mut self, mobile_seq: i64, change: Change) {
        match change {
            Change::Exist(all) if mobile_seq >= self.mobile_seq => self.addresses = all,
            Change::Differ { add, del } if mobile_seq.checked_sub(1) == Some(self.mobile_seq) => {
                for key in del {
                    self.addresses.remove(&key);
                }
                self.addresses.extend(add);
            }
            Change::Differ { .. } if mobile_seq > self.mobile_seq => {
                self.wanted_mobile_seq = mobile_seq;
                self.gap = true;
                return;
            }
            // Older than what is known.
            _ => return,
        }
        self.mobile_seq = mobile_seq;
        self.gap = false;
        self.unasked = false;
        self.asked_mobile = None;
    }
}

impl Nodes {
    /// The router of that id, known or new.
    pub(super) fn learn(&mut self, id: &str) -> Result<&mut Other, Error> {
        if !self.all.contains_key(id) && self.all.len() + 1 >= MOST_ROUTERS {
            return Err(Error::TooMany(id.to_owned()));
        }
        // There is at least something to be asked.
        let new = || Other { wanted_ls_seq: 1, unasked: true, ..Other::default() };
        Ok(self.all.entry(id.to_owned()).or_insert_with(new))
    }

    /// Forgets what is too old; true when there was something.
    pub(super) fn expire(&mut self, options: &Options, routes: &Routes, now: Instant) -> bool {
        let mut forgot = false;
        let past = |at: Option<Instant>, age| at.is_some_and(|at| now.saturating_duration_since(at) >= age);
        for other in self.all.values_mut() {
            if past(other.last_seen, options.remote_ls_max_age) {
                forgot = true;
                other.last_seen = None;
                other.peers.clear();
                (other.ls_seq, other.wanted_ls_seq) = (0, 0);
            }
            if past(other.lost, options.unreachable_holdoff) {
                forgot = true;
                other.lost = None;
                other.addresses.clear();
                (other.mobile_seq, other.wanted_mobile_seq) = (0, 0);
            }
        }
        let named: BTreeSet<String> =
            self.all.values().flat_map(|other| other.peers.keys().cloned()).collect();
        for (id, other) in &mut self.all {
            let alone = other.peers.is_empty() && !named.contains(id) && !routes.nodes.contains_key(id);
            other.unnamed = if alone { other.unnamed.or(Some(now)) } else { None };
        }
        // What it is about to tell may already be on its way.
        let before = self.all.len();
        self.all.retain(|_, other| !past(other.unnamed, PATIENCE * 3));
        forgot || self.all.len() < before
    }

    pub(super) fn link_states(&self) -> LinkStates {
        self.all.iter().map(|(id, other)| (id.clone(), other.peers.clone())).collect()
    }

    /// The ways, if they were computed from these link states.
    pub(super) fn ways_of(&self, states: &LinkStates) -> Option<BTreeMap<String, Way>> {
        (self.states == *states).then(|| self.ways.clone())
    }

    /// Computes the ways and keeps them.
    pub(super) fn keep(
        &mut self,
        states: LinkStates,
        compute: impl FnOnce(&LinkStates) -> BTreeMap<String, Way>,
    ) -> BTreeMap<String, Way> {
        self.ways = compute(&states);
        self.states = states;
        self.ways.clone()
    }

    /// Takes note of who can be reached now.
    pub(super) fn reached(&mut self, nodes: &BTreeMap<String, Node>, now: Instant) {
        for (id, other) in &mut self.all {
            let reachable = nodes.contains_key(id);
            match (other.reachable, reachable) {
                // What was asked before it was lost, and its answer, may be lost as well.
                (false, true) => {
                    other.lost = None;
                    other.asked_ls = None;
                    other.asked_mobile = None;
                    other.unasked |= other.mobile_seq == 0;
                }
                (true, false) => other.lost = Some(now),
                _ => {}
            }
            other.reachable = reachable;
        }
    }

    pub(super) fn peers(&self, id: &str) -> BTreeSet<String> {
        self.all.get(id).map(|other| other.peers.keys().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn instance(&self, id: &str) -> i64 {
        self.all.get(id).and_then(|other| other.instance).unwrap_or_default()
    }

    /// Who has which address, by name without class.
    pub(super) fn reachable_addresses(
        &self,
        nodes: &BTreeMap<String, Node>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, other) in self.all.iter().filter(|(id, _)| nodes.contains_key(*id)) {
            for name in other.addresses.keys().filter_map(|key| key.strip_prefix(MOBILE)) {
                all.entry(name.to_owned()).or_default().insert(id.clone());
            }
        }
        all
    }

    /// What to ask a router that can be reached; taken as asked.
    pub(super) fn ask(&mut self, id: &str, now: Instant) -> Option<Ask> {
        let other = self.all.get_mut(id)?;
        let again = |asked: Option<Instant>| asked.is_none_or(|asked| now >= asked + PATIENCE);
        let link_state = other.ls_seq < other.wanted_ls_seq && again(other.asked_ls);
        if link_state {
            other.asked_ls = Some(now);
        }
        let behind = other.gap || other.mobile_seq < other.wanted_mobile_seq;
        // Who has told its link state knows this router, and will not wonder who asks.
        let addresses = other.unasked && other.ls_seq > 0 || behind && again(other.asked_mobile);
        if addresses {
            other.unasked = false;
            other.asked_mobile = Some(now);
        }
        Some(Ask { link_state, addresses: addresses.then_some(other.mobile_seq) })
    }

    pub(super) fn deadline(&self, options: &Options) -> Option<Instant> {
        let each = self.all.values().flat_map(|other| {
            let ls = (other.ls_seq < other.wanted_ls_seq && other.reachable).then_some(other.asked_ls);
            let behind = other.gap || other.mobile_seq < other.wanted_mobile_seq;
            let mobile = (behind && other.reachable).then_some(other.asked_mobile);
            [
                ls.flatten().map(|asked| asked + PATIENCE),
                mobile.flatten().map(|asked| asked + PATIENCE),
                other.last_seen.map(|seen| seen + options.remote_ls_max_age),
                other.lost.map(|lost| lost + options.unreachable_holdoff),
                other.unnamed.map(|since| since + PATIENCE * 3),
            ]
        });
        each.flatten().min()
    }
}
