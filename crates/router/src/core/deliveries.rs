//! Where a delivery goes: to somebody here, or over the way that the address's distribution chooses.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_amqp::Value;

use super::addresses::{Local, Reply};
use super::{Core, Origin, count};
use crate::address::{Destination, destination};
use crate::amqp::frame::Outcome;
use crate::amqp::section::Head;
use crate::control::LinkId;
use crate::distribution::Candidate;
use crate::mailbox::{Class, Delivery, Letter};
use crate::message::Message;
use crate::pipe::{Outstanding, Pipe};

impl Core {
    /// Sends a stream on its way; an outcome when there is none.
    ///
    /// `bytes` are the sections before the body, as they came.
    pub(crate) fn route(
        &self,
        origin: Origin,
        head: &Head,
        bytes: Bytes,
        pipe: &Rc<Pipe>,
    ) -> Option<Outcome> {
        let Some(to) = head.destination() else { return Some(Outcome::Rejected) };
        match destination(to, &self.id) {
            Destination::Local(name) => self.to_reply(name, head, bytes, pipe),
            Destination::Router(router) => self.to_router(origin, router, head, &bytes, pipe),
            Destination::Mobile(address) => self.to_address(origin, address, head, bytes, pipe),
            Destination::All => Some(Outcome::Rejected),
        }
    }

    fn to_reply(&self, name: &str, head: &Head, mut bytes: Bytes, pipe: &Rc<Pipe>) -> Option<Outcome> {
        let found = match self.replies.borrow().get(name) {
            Some(Reply::Client(waiting)) => Ok(Rc::clone(waiting)),
            Some(Reply::Link(mailbox, key)) => Err((Rc::clone(mailbox), *key)),
            None => return Some(Outcome::Released),
        };
        match found {
            Ok(waiting) => {
                waiting.arrive(pipe);
                None
            }
            Err((mailbox, key)) => {
                let head = bytes.split_off(head.rest.min(bytes.len()));
                let delivery =
                    Delivery { class: Class::Link(key), head, pipe: Rc::clone(pipe), settled: false };
                (!mailbox.send(Letter::Deliver(delivery))).then_some(Outcome::Released)
            }
        }
    }

    fn to_router(
        &self,
        origin: Origin,
        id: &str,
        head: &Head,
        bytes: &Bytes,
        pipe: &Rc<Pipe>,
    ) -> Option<Outcome> {
        let link = self.routes.borrow().nodes.get(id).map(|node| node.link.0);
        let Some(link) = link.filter(|link| *link != origin.connection) else {
            return Some(Outcome::Released);
        };
        self.pass_on(link, Class::Stream, head, bytes, pipe, false)
    }

    /// Picks one of those that serve an address.
    fn to_address(
        &self,
        origin: Origin,
        address: &str,
        head: &Head,
        mut bytes: Bytes,
        pipe: &Rc<Pipe>,
    ) -> Option<Outcome> {
        let Some(way) = self.choose(origin, address, head) else { return Some(Outcome::Released) };
        if !origin.from_router {
            count(&self.totals.ingress);
        }
        let unused = Cell::new(0);
        count(match (&way, origin.from_router) {
            (Way::Local(_), _) => &self.totals.egress,
            (Way::Remote(..), true) => &self.totals.transit,
            // Neither leaves the network here nor only passes.
            (Way::Remote(..), false) => &unused,
        });
        match way {
            Way::Local(local) => {
                pipe.count(Outstanding::new(local.outstanding()));
                match local {
                    Local::Connector(service) if head.is_octets() => {
                        service.connect(head.reply_to.clone(), pipe);
                        None
                    }
                    // A message of another kind for a TCP server.
                    Local::Connector(_) => Some(Outcome::Released),
                    Local::Link { mailbox, key, .. } => {
                        let head = bytes.split_off(head.rest.min(bytes.len()));
                        let delivery =
                            Delivery { class: Class::Link(key), head, pipe: Rc::clone(pipe), settled: false };
                        (!mailbox.send(Letter::Deliver(delivery))).then_some(Outcome::Released)
                    }
                }
            }
            Way::Remote(link, outstanding) => {
                pipe.count(Outstanding::new(&outstanding));
                self.pass_on(link, Class::Stream, head, &bytes, pipe, false)
            }
        }
    }

    /// The way that the address's distribution chooses among those that lead to it.
    fn choose(&self, origin: Origin, address: &str, head: &Head) -> Option<Way> {
        let mut ways = Vec::new();
        let mut candidates = Vec::new();
        for local in self.locals.borrow().get(address).into_iter().flatten() {
            let outstanding = u64::from(local.outstanding().get());
            candidates.push(Candidate { cost: 0, outstanding, full: false });
            ways.push(Way::Local(local.clone()));
        }
        let routes = self.routes.borrow();
        let connections = self.connections.borrow();
        let ingress = head.annotations.as_ref().and_then(|a| a.ingress.as_deref()).map(router_of);
        for router in routes.addresses.get(address).into_iter().flatten() {
            let Some(node) = routes.nodes.get(router) else { continue };
            let valid =
                !origin.from_router || ingress.is_some_and(|ingress| node.valid_origins.contains(ingress));
            if !valid || node.link.0 == origin.connection {
                continue;
            }
            let Some(connection) = connections.get(&node.link.0) else { continue };
            let outstanding = connection.outstanding(address);
            candidates.push(Candidate {
                cost: node.cost,
                outstanding: outstanding.get().into(),
                full: false,
            });
            ways.push(Way::Remote(node.link.0, outstanding));
        }
        // Of what nobody serves nothing is remembered.
        if candidates.is_empty() {
            return None;
        }
        let distribution = self.distribution(address);
        let mut choosers = self.choosers.borrow_mut();
        let chooser = choosers.entry(address.to_owned()).or_default();
        let chosen = chooser.choose(distribution, &candidates);
        // A stream has one way, whatever the distribution.
        chosen.first().map(|at| ways.swap_remove(*at))
    }

    /// Hands a delivery to the next router, with our name in its trace.
    fn pass_on(
        &self,
        link: u64,
        class: Class,
        head: &Head,
        bytes: &Bytes,
        pipe: &Rc<Pipe>,
        settled: bool,
    ) -> Option<Outcome> {
        if head.annotations.as_ref().is_some_and(|a| a.trace.contains(&self.node)) {
            tracing::warn!(
                to = head.destination(),
                "a delivery that was here already is dropped: there is a loop"
            );
            return Some(Outcome::Released);
        }
        let mut all = self.annotations(head.annotations.as_ref());
        all.extend_from_slice(bytes.get(head.rest..).unwrap_or_default());
        (!self.hand_over(link, class, all.freeze(), pipe, settled)).then_some(Outcome::Released)
    }

    pub(super) fn hand_over(
        &self,
        link: u64,
        class: Class,
        head: Bytes,
        pipe: &Rc<Pipe>,
        settled: bool,
    ) -> bool {
        let mailbox = self.connections.borrow().get(&link).map(|connection| Rc::clone(&connection.mailbox));
        let delivery = Delivery { class, head, pipe: Rc::clone(pipe), settled };
        mailbox.is_some_and(|mailbox| mailbox.send(Letter::Deliver(delivery)))
    }

    /// Takes a whole message: for the router itself, or to pass on.
    pub(crate) fn message(&self, origin: Origin, head: &Head, bytes: Bytes) -> Outcome {
        let Some(to) = head.destination() else { return Outcome::Rejected };
        let class = if origin.control { Class::Control } else { Class::Data };
        match destination(to, &self.id) {
            // A HELLO that came from farther away would make a neighbour of one who is none.
            Destination::Local("qdhello") if !to.contains("_local/") => Outcome::Rejected,
            Destination::Local("qdhello" | "qdrouter" | "qdrouter.ma") => {
                self.to_control(origin, head, &bytes)
            }
            Destination::Local("$management") | Destination::Mobile("$management") => {
                self.to_manager(head, &bytes)
            }
            Destination::All => {
                self.flood(origin, class, head, &bytes);
                self.to_control(origin, head, &bytes)
            }
            Destination::Router(router) => {
                let link = self.routes.borrow().nodes.get(router).map(|node| node.link.0);
                let link = link.filter(|link| *link != origin.connection);
                let refused = link.map_or(Some(Outcome::Released), |link| {
                    self.pass_on(link, class, head, &bytes, &Pipe::whole(Bytes::new()), true)
                });
                refused.unwrap_or(Outcome::Accepted)
            }
            Destination::Local(_) | Destination::Mobile(_) => {
                let pipe = Pipe::whole(Bytes::new());
                self.route(origin, head, bytes, &pipe).unwrap_or(Outcome::Accepted)
            }
        }
    }

    /// Passes a message for all routers on, along the tree that its ingress router spans
    /// (`qdr_forward_multicast_CT` in `src/router_core/forwarder.c`).
    fn flood(&self, origin: Origin, class: Class, head: &Head, bytes: &Bytes) {
        let ingress = head.annotations.as_ref().and_then(|a| a.ingress.as_deref()).map(router_of);
        let links: BTreeSet<u64> = self
            .routes
            .borrow()
            .nodes
            .values()
            .filter(|node| ingress.is_some_and(|ingress| node.valid_origins.contains(ingress)))
            .map(|node| node.link.0)
            .filter(|link| *link != origin.connection)
            .collect();
        for link in links {
            self.pass_on(link, class, head, bytes, &Pipe::whole(Bytes::new()), true);
        }
    }

    fn to_control(&self, origin: Origin, head: &Head, bytes: &Bytes) -> Outcome {
        if !origin.from_router {
            return Outcome::Rejected;
        }
        let message = match Message::decode(head, bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(connection = origin.connection, %error, "a malformed control message is dropped");
                return Outcome::Rejected;
            }
        };
        let opcode = match message.properties.get("opcode") {
            Some(Value::String(opcode)) => opcode.as_str(),
            Some(Value::Symbol(opcode)) => opcode.as_str(),
            _ => return Outcome::Rejected,
        };
        let body = message.body.unwrap_or(Value::Null);
        let result =
            self.control.borrow_mut().receive(LinkId(origin.connection), opcode, &body, Instant::now());
        if let Err(error) = result {
            tracing::warn!(connection = origin.connection, opcode, %error, "a control message is dropped");
        }
        self.drain_control();
        Outcome::Accepted
    }

    fn to_manager(&self, head: &Head, bytes: &Bytes) -> Outcome {
        let Ok(request) = Message::decode(head, bytes) else { return Outcome::Rejected };
        let manager = self.manager.borrow();
        let Some(answer) = manager.as_ref().and_then(|manager| manager(&request)) else {
            return Outcome::Rejected;
        };
        self.send(&answer);
        Outcome::Accepted
    }

    /// Sends a whole message of ours.
    fn send(&self, message: &Message) {
        let mut bytes = BytesMut::new();
        if let Err(error) = message.encode(&mut bytes) {
            tracing::error!(%error, "an answer cannot be coded");
            return;
        }
        let head = Head { to: message.to.clone(), ..Head::default() };
        self.message(Origin::SELF, &head, bytes.freeze());
    }
}

/// One of several ways.
enum Way {
    Local(Local),
    Remote(u64, Rc<Cell<u32>>),
}

/// `id` of `0/id`.
fn router_of(node: &str) -> &str {
    node.split_once('/').map_or(node, |(_, id)| id)
}
