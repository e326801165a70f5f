//! A network of routers in memory: links with delay and loss, and the forwarding that the rest of a router does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use api::router_config::Distribution;
use serde_amqp::Value;

use crate::control::{Control, LinkId, Notice, Options, Output};

/// A control message between two routers.
#[derive(Clone, Debug)]
struct Letter {
    origin: String,
    to: String,
    opcode: &'static str,
    body: Value,
}

struct Wire {
    ends: [String; 2],
    cost: u32,
    up: bool,
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) routers: BTreeMap<String, Control>,
    pub(super) notices: Vec<(String, Notice)>,
    wires: BTreeMap<LinkId, Wire>,
    /// Arrival, order of sending, receiver, link.
    letters: BinaryHeap<Reverse<(Instant, u64, String, LinkId)>>,
    contents: BTreeMap<u64, Letter>,
    sent: u64,
    /// Of 100 letters, how many are lost; and the longest delay. Unequal delays change the order.
    pub(super) loss: u64,
    pub(super) delay: u64,
    chance: u64,
    pub(super) count: BTreeMap<&'static str, usize>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            routers: BTreeMap::new(),
            notices: Vec::new(),
            wires: BTreeMap::new(),
            letters: BinaryHeap::new(),
            contents: BTreeMap::new(),
            sent: 0,
            loss: 0,
            delay: 0,
            chance: seed | 1,
            count: BTreeMap::new(),
        }
    }

    /// Some number (xorshift).
    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below.max(1)
    }

    pub(super) fn add(&mut self, id: &str, instance: u64) {
        self.routers.insert(id.to_owned(), Control::new(Options::new(id, instance), self.now));
    }

    pub(super) fn connect(&mut self, a: &str, b: &str, cost: u32) -> LinkId {
        let link = LinkId(self.wires.len() as u64 + 1);
        self.wires.insert(link, Wire { ends: [a.to_owned(), b.to_owned()], cost, up: false });
        self.raise(link);
        link
    }

    pub(super) fn raise(&mut self, link: LinkId) {
        let wire = self.wires.get_mut(&link).unwrap();
        wire.up = true;
        let (ends, cost) = (wire.ends.clone(), wire.cost);
        for end in &ends {
            self.with(end, |control, now| control.link_opened(link, cost, now));
        }
    }

    /// Nothing passes any more, and nobody is told.
    pub(super) fn cut(&mut self, link: LinkId) {
        self.wires.get_mut(&link).unwrap().up = false;
    }

    /// The connection ends, and both ends notice.
    pub(super) fn close(&mut self, link: LinkId) {
        self.cut(link);
        for end in self.wires[&link].ends.clone() {
            self.with(&end, |control, now| control.link_lost(link, now));
        }
    }

    pub(super) fn serve(&mut self, id: &str, addresses: &[&str]) {
        let all = addresses.iter().map(|name| ((*name).to_owned(), Distribution::Balanced)).collect();
        self.with(id, |control, now| control.set_local(&all, now));
    }

    fn with(&mut self, id: &str, act: impl FnOnce(&mut Control, Instant)) {
        let now = self.now;
        let control = self.routers.get_mut(id).unwrap();
        act(control, now);
        while let Some(output) = self.routers.get_mut(id).unwrap().poll() {
            match output {
                Output::Send { to, links, opcode, body } => {
                    assert!(!links.is_empty(), "{id}: {opcode} to nobody");
                    *self.count.entry(opcode).or_default() += 1;
                    for link in links {
                        let letter =
                            Letter { origin: id.to_owned(), to: to.clone(), opcode, body: body.clone() };
                        self.post(id, link, letter);
                    }
                }
                Output::Notice(notice) => self.notices.push((id.to_owned(), notice)),
                Output::Routes(routes) => assert_eq!(&routes, self.routers[id].routes()),
            }
        }
    }

    fn post(&mut self, from: &str, link: LinkId, letter: Letter) {
        let wire = &self.wires[&link];
        let other = wire.ends.iter().find(|end| *end != from).unwrap().clone();
        if !wire.up || self.draw(100) < self.loss {
            return;
        }
        let delay = self.delay;
        let at = self.now + Duration::from_micros(100 + self.draw(delay * 1000 + 1));
        self.sent += 1;
        self.letters.push(Reverse((at, self.sent, other, link)));
        self.contents.insert(self.sent, letter);
    }

    /// What the rest of a router does with a control message.
    fn arrive(&mut self, at: &str, link: LinkId, letter: Letter) {
        let path: Vec<&str> = letter.to.trim_start_matches("amqp:/").split('/').collect();
        let routes = self.routers[at].routes();
        let onward: BTreeSet<LinkId> = match path.as_slice() {
            ["_topo", "0", "all", _] => {
                let mut onward = routes.to_all(Some(&letter.origin));
                onward.remove(&link);
                onward
            }
            ["_topo", "0", id, _] if *id != at => {
                routes.nodes.get(*id).map(|node| node.link).into_iter().collect()
            }
            _ => BTreeSet::new(),
        };
        let mine = matches!(path.as_slice(), ["_local", "qdhello"] | ["_topo", "0", "all", _])
            || matches!(path.as_slice(), ["_topo", "0", id, _] if *id == at);
        for link in onward {
            self.post(at, link, letter.clone());
        }
        if mine {
            let Letter { opcode, body, .. } = letter;
            self.with(at, |control, now| control.receive(link, opcode, &body, now).unwrap());
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let letter = self.letters.peek().map(|Reverse((at, ..))| *at);
            let deadlines = self.routers.iter().map(|(id, control)| (control.next_deadline(self.now), id));
            let (deadline, id) = deadlines.min().map(|(at, id)| (at, id.clone())).unwrap();
            let next = letter.unwrap_or(deadline).min(deadline);
            if next > end {
                break;
            }
            assert!(next >= self.now || next == deadline, "time goes on");
            if letter == Some(next) {
                let Reverse((at, number, receiver, link)) = self.letters.pop().unwrap();
                self.now = at.max(self.now);
                let letter = self.contents.remove(&number).unwrap();
                if self.wires[&link].up {
                    self.arrive(&receiver, link, letter);
                }
            } else {
                let before = self.now;
                self.now = deadline.max(self.now);
                self.with(&id, Control::tick);
                let after = self.routers[&id].next_deadline(self.now);
                assert!(after > before.max(deadline), "{id} would tick without end");
            }
        }
        self.now = end;
    }

    pub(super) fn millis(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    /// The true cost of the shortest way between any two.
    fn truth(&self) -> BTreeMap<(String, String), u64> {
        let ids: Vec<_> = self.routers.keys().cloned().collect();
        let mut best: BTreeMap<(String, String), u64> = BTreeMap::new();
        for wire in self.wires.values().filter(|wire| wire.up) {
            let [a, b] = wire.ends.clone();
            for pair in [(a.clone(), b.clone()), (b, a)] {
                let cost = best.entry(pair).or_insert(u64::MAX);
                *cost = u64::from(wire.cost).min(*cost);
            }
        }
        for via in &ids {
            for from in &ids {
                for to in &ids {
                    let first = best.get(&(from.clone(), via.clone()));
                    let second = best.get(&(via.clone(), to.clone()));
                    if let (Some(first), Some(second)) = (first, second)
                        && from != to
                    {
                        let sum = first + second;
                        let cost = best.entry((from.clone(), to.clone())).or_insert(u64::MAX);
                        *cost = sum.min(*cost);
                    }
                }
            }
        }
        best
    }

    /// What is not yet as it should be; empty: every router knows all shortest ways and all addresses, and a
    /// message to all reaches everybody once.
    pub(super) fn wrong(&self, served: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
        let truth = self.truth();
        let mut wrong = Vec::new();
        for (id, control) in &self.routers {
            let routes = control.routes();
            let known: BTreeMap<_, _> =
                routes.nodes.iter().map(|(to, node)| (to.clone(), node.cost)).collect();
            let mine = truth.iter().filter(|((from, _), _)| from == id);
            let mine: BTreeMap<_, _> = mine.map(|((_, to), cost)| (to.clone(), *cost)).collect();
            if known != mine {
                wrong.push(format!("{id} has ways {known:?}, which are {mine:?}"));
                continue;
            }
            let mut addresses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (other, names) in served.iter().filter(|(other, _)| mine.contains_key(**other)) {
                for name in names {
                    addresses.entry((*name).to_owned()).or_default().insert((*other).to_owned());
                }
            }
            if routes.addresses != addresses {
                wrong.push(format!("{id} has addresses {:?}, which are {addresses:?}", routes.addresses));
            }
        }
        if wrong.is_empty() {
            wrong.extend(self.routers.keys().flat_map(|id| self.told(id)));
        }
        wrong
    }

    /// Whom a message to all from `origin` does not reach once.
    fn told(&self, origin: &str) -> Vec<String> {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let first = self.routers[origin].routes().to_all(None);
        let mut ways: Vec<(String, LinkId)> =
            first.into_iter().map(|link| (origin.to_owned(), link)).collect();
        while let Some((from, link)) = ways.pop() {
            let at = self.wires[&link].ends.iter().find(|end| **end != from).unwrap();
            let seen = times.entry(at.clone()).or_default();
            *seen += 1;
            if *seen > 1 {
                break;
            }
            let onward = self.routers[at].routes().to_all(Some(origin));
            ways.extend(onward.into_iter().filter(|on| *on != link).map(|on| (at.clone(), on)));
        }
        let expected: BTreeMap<_, _> =
            self.routers[origin].routes().nodes.keys().map(|id| (id.clone(), 1)).collect();
        if times == expected { Vec::new() } else { vec![format!("all from {origin} reaches {times:?}")] }
    }
}
