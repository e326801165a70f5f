//! Inter-router connections, and who is heard over them.
//!
//! Upstream: `python/skupper_router_internal/router/hello.py`. It knows one link to a neighbour, the last that
//! a HELLO came by; here there may be several, of which the cheapest counts.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{LinkId, Options};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<LinkId, Link>);

#[derive(Debug)]
struct Link {
    cost: u32,
    other: Option<Other>,
    last_hello: Option<Instant>,
    /// Whether something is to be said before the next HELLO is due.
    urgent: bool,
}

/// Who is at the other end.
#[derive(Debug)]
struct Other {
    id: String,
    instance: i64,
    heard: Instant,
    /// When it last said that it hears this router.
    hears_us: Option<Instant>,
}

impl Links {
    pub(super) fn open(&mut self, link: LinkId, cost: u32) {
        self.0.insert(link, Link { cost, other: None, last_hello: None, urgent: true });
    }

    pub(super) fn lose(&mut self, link: LinkId) {
        self.0.remove(&link);
    }

    pub(super) fn is_open(&self, link: LinkId) -> bool {
        self.0.contains_key(&link)
    }

    /// A HELLO came. Who is new here is answered at once, so that it learns that it is heard.
    pub(super) fn heard(&mut self, link: LinkId, id: &str, instance: i64, hears_us: bool, now: Instant) {
        let Some(link) = self.0.get_mut(&link) else { return };
        let known = link.other.take().filter(|other| other.id == id && other.instance == instance);
        link.urgent |= known.is_none();
        let before = known.and_then(|other| other.hears_us);
        let hears_us = if hears_us { Some(now) } else { before };
        link.other = Some(Other { id: id.to_owned(), instance, heard: now, hears_us });
    }

    /// Forgets who was silent for too long.
    pub(super) fn expire(&mut self, options: &Options, now: Instant) {
        for link in self.0.values_mut() {
            let old = |at: Instant| now.saturating_duration_since(at) >= options.hello_max_age;
            if link.other.as_ref().is_some_and(|other| old(other.heard)) {
                link.other = None;
            }
            if let Some(other) = &mut link.other
                && other.hears_us.is_some_and(old)
            {
                other.hears_us = None;
            }
        }
    }

    /// The links over which HELLO is to be said now; taken as said.
    pub(super) fn due(&mut self, options: &Options, now: Instant) -> Vec<LinkId> {
        let mut due = Vec::new();
        for (id, link) in &mut self.0 {
            let late = link.last_hello.is_none_or(|last| now >= last + options.hello_interval);
            if late || link.urgent {
                link.last_hello = Some(now);
                link.urgent = false;
                due.push(*id);
            }
        }
        due
    }

    /// Everybody who is heard.
    pub(super) fn heard_of(&self) -> Vec<String> {
        let mut all: Vec<_> =
            self.0.values().filter_map(|link| Some(link.other.as_ref()?.id.clone())).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn is_mutual(&self, link: LinkId) -> bool {
        self.mutual().any(|(_, _, mutual)| mutual == link)
    }

    /// Everybody who is heard and hears this router, with the lowest cost of a link to it.
    pub(super) fn neighbours(&self) -> BTreeMap<String, u32> {
        let mut all: BTreeMap<String, u32> = BTreeMap::new();
        for (id, cost, _) in self.mutual() {
            let least = all.entry(id.to_owned()).or_insert(cost);
            *least = cost.min(*least);
        }
        all
    }

    /// The cheapest link to each neighbour; of equal ones, the first.
    pub(super) fn hops(&self) -> BTreeMap<String, LinkId> {
        let mut best: BTreeMap<&str, (u32, LinkId)> = BTreeMap::new();
        for (id, cost, link) in self.mutual() {
            let least = best.entry(id).or_insert((cost, link));
            *least = (*least).min((cost, link));
        }
        best.into_iter().map(|(id, (_, link))| (id.to_owned(), link)).collect()
    }

    fn mutual(&self) -> impl Iterator<Item = (&str, u32, LinkId)> {
        self.0.iter().filter_map(|(id, link)| {
            let other = link.other.as_ref()?;
            other.hears_us.map(|_| (other.id.as_str(), link.cost, *id))
        })
    }

    pub(super) fn deadline(&self, options: &Options, now: Instant) -> Option<Instant> {
        let hello = |link: &Link| link.last_hello.map_or(now, |last| last + options.hello_interval);
        let silence = |link: &Link| {
            let other = link.other.as_ref()?;
            Some(other.hears_us.unwrap_or(other.heard).min(other.heard) + options.hello_max_age)
        };
        self.0.values().flat_map(|link| [Some(hello(link)), silence(link)]).flatten().min()
    }
}
