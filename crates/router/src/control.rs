//! How interior routers find each other, the shortest ways, and each other's addresses.
//!
//! A state machine without I/O and clock: messages and time go in, messages and tables come out. Upstream's
//! protocol, as of skupper-router 3.5 (`python/skupper_router_internal/router/` and
//! `src/router_core/modules/mobile_sync/mobile.c`):
//!
//! - HELLO goes over each link every second; two routers that hear each other are neighbours;
//! - every router numbers its list of neighbours (link state) and its addresses, and tells the numbers to all
//!   in an RA; who is behind asks with LSR and MAR and is answered with LSU and MAU;
//! - from all link states each router computes the shortest ways.
//!
//! Upstream looks at its state once a second. This acts on what it hears at once: a new neighbour is greeted
//! back, a change is told, a gap asked about; what must wait has a deadline.
//!
//! ```text
//! link_opened, link_lost, receive, set_local, tick ──> settle ──> poll: Send, Routes, Notice
//! ```

mod links;
mod message;
mod nodes;
mod options;
mod output;
mod paths;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use api::router_config::Distribution;
use serde_amqp::Value;

use links::Links;
pub use message::Error;
use message::{Change, Message};
use nodes::Nodes;
pub use options::Options;
pub use output::{LinkId, Node, Notice, Output, Routes};

/// As many as upstream's sets of routers have room for (`qd_bitmask_width`), this one among them.
pub const MOST_ROUTERS: usize = 128;
/// How long an answer may take before the question is put again.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest time between an RA and its repetition.
const FIRST_AGAIN: Duration = Duration::from_millis(200);
/// The class of an address's hash key that consumers anywhere in the network share.
const MOBILE: char = 'M';

/// The control of one router.
#[derive(Debug)]
pub struct Control {
    options: Options,
    links: Links,
    nodes: Nodes,
    /// This router's link state: number and neighbours with cost, as last told.
    ls_seq: i64,
    peers: BTreeMap<String, u32>,
    /// This router's addresses by hash key, and their number, as last told.
    local: BTreeMap<String, Option<Distribution>>,
    mobile_seq: i64,
    routes: Routes,
    /// Whether the table may be out of date.
    stale: bool,
    /// The links that the table was made with.
    hops: BTreeMap<String, LinkId>,
    last_change: Option<Instant>,
    last_ra: Option<Instant>,
    same_id_said: bool,
    outputs: VecDeque<Output>,
}

impl Control {
    /// A router that knows nobody yet.
    #[must_use]
    pub fn new(options: Options, _now: Instant) -> Self {
        Self {
            options,
            links: Links::default(),
            nodes: Nodes::default(),
            ls_seq: 0,
            peers: BTreeMap::new(),
            local: BTreeMap::new(),
            mobile_seq: 0,
            routes: Routes::default(),
            stale: false,
            hops: BTreeMap::new(),
            last_change: None,
            last_ra: None,
            same_id_said: false,
            outputs: VecDeque::new(),
        }
    }

    /// A link can carry control messages: whoever is at its other end is greeted.
    pub fn link_opened(&mut self, link: LinkId, cost: u32, now: Instant) {
        self.links.open(link, cost.max(1));
        self.settle(now);
    }

    /// A link is gone, and with it the neighbour, if there is no other link to it.
    pub fn link_lost(&mut self, link: LinkId, now: Instant) {
        self.links.lose(link);
        self.settle(now);
    }

    /// The addresses that have consumers on this router, all of them.
    pub fn set_local(&mut self, addresses: &BTreeMap<String, Distribution>, now: Instant) {
        let local: BTreeMap<_, _> =
            addresses.iter().map(|(name, how)| (format!("{MOBILE}{name}"), Some(*how))).collect();
        if local == self.local {
            return;
        }
        let add = local.iter().filter(|(key, how)| self.local.get(*key) != Some(how));
        let add = add.map(|(key, how)| (key.clone(), *how)).collect();
        let del = self.local.keys().filter(|key| !local.contains_key(*key)).cloned().collect();
        self.local = local;
        self.mobile_seq += 1;
        let change = Change::Differ { add, del };
        let mau = Message::Mau { id: self.options.id.clone(), mobile_seq: self.mobile_seq, change };
        // The change before its number, or everybody would ask for it.
        self.send_to_all(message::MOBILE_TO_ALL, &mau);
        self.send_ra(now);
        self.settle(now);
    }

    /// A control message that came over a link and is for this router.
    ///
    /// # Errors
    /// A message that makes no sense, or comes from a router too many.
    pub fn receive(&mut self, link: LinkId, opcode: &str, body: &Value, now: Instant) -> Result<(), Error> {
        match Message::decode(opcode, body)? {
            Message::Hello { id, instance, seen } => self.hello(link, id, instance, &seen, now)?,
            Message::Ra { id, instance, ls_seq, mobile_seq } => {
                if self.is_me(&id, Some(instance)) {
                    return Ok(());
                }
                let node = self.nodes.learn(&id)?;
                if node.is_instance(instance) {
                    self.restarted(&id);
                }
                let node = self.nodes.learn(&id)?;
                node.last_seen = Some(now);
                node.wanted_ls_seq = ls_seq;
                node.wanted_mobile_seq = mobile_seq;
            }
            Message::Lsr { id } => {
                if self.is_me(&id, None) {
                    return Ok(());
                }
                self.nodes.learn(&id)?;
                self.settle(now);
                self.answer_lsr(&id, link);
            }
            Message::Lsu { id, instance, ls_seq, peers } => {
                if self.is_me(&id, Some(instance)) {
                    return Ok(());
                }
                if self.nodes.learn(&id)?.is_instance(instance) {
                    self.restarted(&id);
                }
                if self.nodes.learn(&id)?.link_state(ls_seq, peers.clone(), now) {
                    self.stale = true;
                    for peer in peers.keys().filter(|peer| **peer != self.options.id) {
                        self.nodes.learn(peer)?;
                    }
                }
            }
            Message::Mar { id, have_seq } => {
                if !self.is_me(&id, None) && have_seq != self.mobile_seq {
                    let change = Change::Exist(self.local.clone());
                    let mau =
                        Message::Mau { id: self.options.id.clone(), mobile_seq: self.mobile_seq, change };
                    self.send_to(&id, &message::mobile_to_router(&id), &mau, Some(link));
                }
            }
            Message::Mau { id, mobile_seq, change } => {
                if !self.is_me(&id, None) {
                    self.nodes.learn(&id)?.addresses(mobile_seq, change);
                    self.stale = true;
                }
            }
        }
        self.settle(now);
        Ok(())
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.settle(now);
    }

    /// When to call [`Control::tick`] next, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let links = self.links.deadline(&self.options, now);
        let nodes = self.nodes.deadline(&self.options);
        [self.next_ra(), links, nodes].into_iter().flatten().min().unwrap_or(now + self.options.ra_interval)
    }

    /// What came out, in order; to be asked until there is nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The table as it stands.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whether the neighbour at the other end of a link is heard and hears this router: the link can take over
    /// from another one to the same neighbour, which may then be lost without anybody noticing.
    #[must_use]
    pub fn is_mutual(&self, link: LinkId) -> bool {
        self.links.is_mutual(link)
    }

    /// This router's neighbours with the cost of the links to them.
    #[must_use]
    pub fn neighbours(&self) -> &BTreeMap<String, u32> {
        &self.peers
    }

    /// When the network last changed; None: never yet.
    #[must_use]
    pub fn last_topology_change(&self) -> Option<Instant> {
        self.last_change
    }

    fn hello(
        &mut self,
        link: LinkId,
        id: String,
        instance: i64,
        seen: &[String],
        now: Instant,
    ) -> Result<(), Error> {
        if self.is_me(&id, Some(instance)) {
            return Ok(());
        }
        let hears_us = seen.contains(&self.options.id);
        self.links.heard(link, &id, instance, hears_us, now);
        if hears_us && self.nodes.learn(&id)?.is_instance(instance) {
            self.restarted(&id);
        }
        Ok(())
    }

    /// Whether a message is this router's own, come back; or from another one of the same name.
    fn is_me(&mut self, id: &str, instance: Option<i64>) -> bool {
        if id != self.options.id {
            return false;
        }
        if instance.is_some_and(|instance| instance != self.instance()) && !self.same_id_said {
            self.same_id_said = true;
            self.notice(Notice::SameId);
        }
        true
    }

    fn restarted(&mut self, id: &str) {
        self.stale = true;
        self.notice(Notice::Restarted(id.to_owned()));
    }

    fn instance(&self) -> i64 {
        i64::try_from(self.options.instance).unwrap_or(i64::MAX)
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    /// When the next RA is due.
    ///
    /// A message to all goes along ways that each router finds by itself. While not all of them know the same
    /// network, one can get lost: after a change it is sent again, soon and then ever more rarely.
    fn next_ra(&self) -> Option<Instant> {
        let (last, flux) = (self.last_ra?, self.options.ra_interval_flux);
        let interval = match self.last_change {
            Some(change) if last < change + flux * 2 => {
                last.saturating_duration_since(change).clamp(FIRST_AGAIN, flux)
            }
            _ => self.options.ra_interval,
        };
        Some(last + interval)
    }

    /// Brings everything in line with what is known now.
    fn settle(&mut self, now: Instant) {
        self.links.expire(&self.options, now);
        let hellos = self.links.due(&self.options, now);
        if !hellos.is_empty() {
            let (id, instance) = (self.options.id.clone(), self.instance());
            let seen = self.links.heard_of();
            let hello = Message::Hello { id, instance, seen };
            self.send(message::TO_NEIGHBOUR.to_owned(), hellos, &hello);
        }
        self.stale |= self.nodes.expire(&self.options, &self.routes, now);
        let peers = self.links.neighbours();
        let peers_changed = peers != self.peers;
        if peers_changed {
            self.neighbours_changed(peers);
        }
        let hops = self.links.hops();
        if self.stale || peers_changed || hops != self.hops {
            self.stale = false;
            self.hops = hops;
            self.route(now);
        }
        self.ask(now);
        if peers_changed || self.next_ra().is_none_or(|due| now >= due) {
            self.send_ra(now);
        }
    }

    fn neighbours_changed(&mut self, peers: BTreeMap<String, u32>) {
        for id in peers.keys().filter(|id| !self.peers.contains_key(*id)) {
            self.outputs.push_back(Output::Notice(Notice::NeighbourUp(id.clone())));
        }
        for id in self.peers.keys().filter(|id| !peers.contains_key(*id)) {
            self.outputs.push_back(Output::Notice(Notice::NeighbourLost(id.clone())));
        }
        self.peers = peers;
        self.ls_seq += 1;
    }

    /// Makes the table anew; the ways only where link states have changed.
    fn route(&mut self, now: Instant) {
        let mut states = self.nodes.link_states();
        states.insert(self.options.id.clone(), self.peers.clone());
        let ways = match self.nodes.ways_of(&states) {
            Some(ways) => ways,
            None => {
                self.last_change = Some(now);
                self.nodes.keep(states, |states| paths::ways(&self.options.id, states))
            }
        };
        let nodes = ways.iter().filter_map(|(id, way)| {
            let node = Node {
                link: *self.hops.get(&way.next_hop)?,
                next_hop: way.next_hop.clone(),
                cost: way.cost,
                valid_origins: way.valid_origins.clone(),
                peers: self.nodes.peers(id),
                instance: self.nodes.instance(id),
            };
            Some((id.clone(), node))
        });
        let nodes: BTreeMap<_, _> = nodes.collect();
        self.nodes.reached(&nodes, now);
        let routes = Routes { addresses: self.nodes.reachable_addresses(&nodes), nodes };
        if routes != self.routes {
            self.routes = routes.clone();
            self.outputs.push_back(Output::Routes(routes));
        }
    }

    /// Asks routers for what they are known to have and this one has not.
    fn ask(&mut self, now: Instant) {
        let id = &self.options.id;
        let mut questions = Vec::new();
        for other in self.routes.nodes.keys() {
            let Some(ask) = self.nodes.ask(other, now) else { continue };
            if ask.link_state {
                let lsr = Message::Lsr { id: id.clone() };
                questions.push((other.clone(), message::to_router(other), lsr));
            }
            if let Some(have_seq) = ask.addresses {
                let mar = Message::Mar { id: id.clone(), have_seq };
                questions.push((other.clone(), message::mobile_to_router(other), mar));
            }
        }
        for (other, to, question) in questions {
            self.send_to(&other, &to, &question, None);
        }
    }

    fn answer_lsr(&mut self, asker: &str, link: LinkId) {
        let to = message::to_router(asker);
        let (id, instance) = (self.options.id.clone(), self.instance());
        let peers = self.peers.clone();
        let lsu = Message::Lsu { id, instance, ls_seq: self.ls_seq, peers };
        self.send_to(asker, &to, &lsu, Some(link));
        // Who asks is new here: it need not wait for the next RA to learn that there are addresses.
        let ra = self.ra();
        self.send_to(asker, &to, &ra, Some(link));
    }

    fn ra(&self) -> Message {
        Message::Ra {
            id: self.options.id.clone(),
            instance: self.instance(),
            ls_seq: self.ls_seq,
            mobile_seq: self.mobile_seq,
        }
    }

    fn send_ra(&mut self, now: Instant) {
        self.last_ra = Some(now);
        let ra = self.ra();
        self.send_to_all(message::TO_ALL, &ra);
    }

    fn send_to_all(&mut self, to: &str, message: &Message) {
        let links = self.routes.to_all(None).into_iter().collect();
        self.send(to.to_owned(), links, message);
    }

    /// To one router, by the way that is known, or else back over the link that its message came by.
    fn send_to(&mut self, router: &str, to: &str, message: &Message, came_by: Option<LinkId>) {
        let known = self.routes.nodes.get(router).map(|node| node.link);
        let link = known.or(came_by.filter(|link| self.links.is_open(*link)));
        self.send(to.to_owned(), link.into_iter().collect(), message);
    }

    fn send(&mut self, to: String, links: Vec<LinkId>, message: &Message) {
        if !links.is_empty() {
            let (opcode, body) = (message.opcode(), message.encode());
            self.outputs.push_back(Output::Send { to, links, opcode, body });
        }
    }
}

#[cfg(test)]
mod tests;
