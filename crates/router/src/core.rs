//! The router's middle: who is connected, which address is where, and over which way a delivery goes.
//!
//! One thread runs the whole router; these tables are looked at once per delivery, never per byte.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Instant;

use api::router_config::{Address as AddressEntity, Distribution};
use bytes::{Bytes, BytesMut};
use serde_amqp::Value;
use tokio::sync::Notify;

use crate::address::{Destination, destination};
use crate::amqp::frame::Outcome;
use crate::amqp::section::{Annotations, Head, put_annotations};
use crate::control::{Control, LinkId, Output, Routes};
use crate::distribution::{Candidate, Chooser};
use crate::engine::Peer;
use crate::mailbox::{Class, Delivery, Letter, LinkKey, Mailbox};
use crate::message::Message;
use crate::pipe::{Outstanding, Pipe};
use crate::service::{Service, Waiting};

/// Where a delivery came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The connection's number; 0 for the router itself.
    pub(crate) connection: u64,
    /// From a router: what it says in its annotations is believed.
    pub(crate) from_router: bool,
    /// Over the control link.
    pub(crate) control: bool,
}

impl Origin {
    pub(crate) const SELF: Self = Self { connection: 0, from_router: false, control: false };
}

/// Bytes of AMQP over a connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
}

/// A connection, as the rest of the router knows it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) mailbox: Rc<Mailbox>,
    pub(crate) host: String,
    pub(crate) incoming: bool,
    pub(crate) role: &'static str,
    pub(crate) encrypted: bool,
    pub(crate) peer: RefCell<Option<Peer>>,
    /// Bytes of AMQP that came and went.
    pub(crate) traffic: Rc<Traffic>,
    /// Streams on their way over it, for each address; balanced distribution counts them.
    outstanding: RefCell<HashMap<String, Rc<Cell<u32>>>>,
}

impl Connection {
    pub(crate) fn new(
        mailbox: Rc<Mailbox>,
        host: String,
        incoming: bool,
        role: &'static str,
        encrypted: bool,
    ) -> Self {
        let (peer, outstanding, traffic) = (RefCell::default(), RefCell::default(), Rc::default());
        Self { mailbox, host, incoming, role, encrypted, peer, traffic, outstanding }
    }

    fn outstanding(&self, address: &str) -> Rc<Cell<u32>> {
        let mut all = self.outstanding.borrow_mut();
        if let Some(count) = all.get(address) {
            return Rc::clone(count);
        }
        Rc::clone(all.entry(address.to_owned()).or_default())
    }
}

/// A destination of an address on this router.
#[derive(Debug, Clone)]
enum Local {
    /// A TCP server.
    Connector(Rc<Service>),
    /// A client's link.
    Link { connection: u64, mailbox: Rc<Mailbox>, key: LinkKey, outstanding: Rc<Cell<u32>> },
}

impl Local {
    fn outstanding(&self) -> &Rc<Cell<u32>> {
        match self {
            Self::Connector(service) => &service.outstanding,
            Self::Link { outstanding, .. } => outstanding,
        }
    }
}

/// Who waits for what goes to an address that we made up.
#[derive(Debug)]
enum Reply {
    /// A TCP client, for the stream from its server.
    Client(Rc<Waiting>),
    /// A client's link.
    Link(Rc<Mailbox>, LinkKey),
}

/// What is counted of all deliveries.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) accepted: Cell<u64>,
    pub(crate) released: Cell<u64>,
    pub(crate) rejected: Cell<u64>,
    pub(crate) modified: Cell<u64>,
    pub(crate) ingress: Cell<u64>,
    pub(crate) egress: Cell<u64>,
    pub(crate) transit: Cell<u64>,
}

impl Totals {
    pub(crate) fn outcome(&self, outcome: Outcome) {
        count(match outcome {
            Outcome::Accepted => &self.accepted,
            Outcome::Released => &self.released,
            Outcome::Rejected => &self.rejected,
            Outcome::Modified => &self.modified,
        });
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Answers requests to `$management`.
pub(crate) type Manager = Box<dyn Fn(&Message) -> Option<Message>>;

/// See the module.
pub(crate) struct Core {
    id: String,
    /// `0/id`, as it stands in annotations.
    node: String,
    instance: String,
    made_up: Cell<u64>,
    next_connection: Cell<u64>,
    pub(crate) connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    control: RefCell<Control>,
    /// The control protocol has another deadline.
    pub(crate) control_changed: Notify,
    routes: RefCell<Routes>,
    locals: RefCell<HashMap<String, Vec<Local>>>,
    choosers: RefCell<HashMap<String, Chooser>>,
    replies: RefCell<HashMap<String, Reply>>,
    /// What the configuration says about the distribution of addresses.
    pub(crate) distributions: RefCell<(Vec<AddressEntity>, Distribution)>,
    /// Where addresses are has changed: TCP listeners look whether they may listen.
    pub(crate) addresses_changed: Notify,
    pub(crate) manager: RefCell<Option<Manager>>,
    pub(crate) totals: Totals,
    /// Where TCP connections read into.
    pub(crate) scratch: RefCell<BytesMut>,
}

impl Core {
    pub(crate) fn new(
        id: String,
        control: Control,
        addresses: Vec<AddressEntity>,
        distribution: Distribution,
    ) -> Self {
        let mut random = [0; 8];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::warn!(%error, "no randomness: names of links are less unlike those of other routers");
        }
        Self {
            node: format!("0/{id}"),
            id,
            instance: format!("{:x}", u64::from_ne_bytes(random)),
            made_up: Cell::new(0),
            next_connection: Cell::new(1),
            connections: RefCell::default(),
            control: RefCell::new(control),
            control_changed: Notify::new(),
            routes: RefCell::default(),
            locals: RefCell::default(),
            choosers: RefCell::default(),
            totals: Totals::default(),
            replies: RefCell::default(),
            distributions: RefCell::new((addresses, distribution)),
            addresses_changed: Notify::new(),
            manager: RefCell::default(),
            scratch: RefCell::default(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A name that nobody else gives.
    pub(crate) fn unique(&self) -> String {
        self.made_up.set(self.made_up.get() + 1);
        format!("{}.{:x}", self.instance, self.made_up.get())
    }

    pub(crate) fn new_connection(&self) -> u64 {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        id
    }

    // Connections.

    pub(crate) fn connection_opened(&self, id: u64, peer: &Peer) {
        if let Some(connection) = self.connections.borrow().get(&id) {
            tracing::info!(
                connection = id,
                host = connection.host,
                peer = peer.container,
                "connection opened"
            );
            *connection.peer.borrow_mut() = Some(peer.clone());
        }
    }

    pub(crate) fn is_connected(&self, mailbox: &Rc<Mailbox>) -> bool {
        self.connections.borrow().values().any(|connection| Rc::ptr_eq(&connection.mailbox, mailbox))
    }

    /// The control protocol runs over this connection, in both directions.
    pub(crate) fn is_mutual(&self, id: u64) -> bool {
        self.control.borrow().is_mutual(LinkId(id))
    }

    pub(crate) fn neighbour_up(&self, id: u64, cost: u32) {
        self.control.borrow_mut().link_opened(LinkId(id), cost, Instant::now());
        self.drain_control();
    }

    pub(crate) fn neighbour_down(&self, id: u64) {
        self.control.borrow_mut().link_lost(LinkId(id), Instant::now());
        self.drain_control();
    }

    // The control protocol.

    pub(crate) fn control_deadline(&self) -> Instant {
        self.control.borrow().next_deadline(Instant::now())
    }

    pub(crate) fn control_tick(&self) {
        self.control.borrow_mut().tick(Instant::now());
        self.drain_control();
    }

    fn drain_control(&self) {
        loop {
            let Some(output) = self.control.borrow_mut().poll() else { break };
            match output {
                Output::Send { to, links, opcode, body } => self.send_control(to, &links, opcode, body),
                Output::Routes(routes) => {
                    *self.routes.borrow_mut() = routes;
                    self.addresses_changed.notify_waiters();
                }
                Output::Notice(notice) => tracing::info!("{notice}"),
            }
        }
        self.control_changed.notify_one();
    }

    fn send_control(&self, to: String, links: &[LinkId], opcode: &str, body: Value) {
        let properties = BTreeMap::from([("opcode".to_owned(), Value::String(opcode.to_owned()))]);
        let message = Message { to: Some(to), properties, body: Some(body), ..Message::default() };
        let mut bytes = self.annotations(None);
        if let Err(error) = message.encode(&mut bytes) {
            tracing::error!(%error, opcode, "a control message cannot be coded");
            return;
        }
        let bytes = bytes.freeze();
        for link in links {
            self.hand_over(link.0, Class::Control, bytes.clone(), &Pipe::whole(Bytes::new()), true);
        }
    }

    /// Our annotations, or those that came with our name behind the trace.
    fn annotations(&self, came: Option<&Annotations>) -> BytesMut {
        let mut annotations = came.cloned().unwrap_or_default();
        annotations.ingress.get_or_insert_with(|| self.node.clone());
        annotations.trace.push(self.node.clone());
        let mut bytes = BytesMut::new();
        put_annotations(&mut bytes, &annotations);
        bytes
    }

    // Addresses.

    /// An address of ours for a client's link.
    pub(crate) fn reply_to_link(&self, mailbox: &Rc<Mailbox>, key: LinkKey) -> String {
        let name = format!("temp.{}", self.unique());
        self.replies.borrow_mut().insert(name.clone(), Reply::Link(Rc::clone(mailbox), key));
        format!("amqp:/_topo/{}/{name}", self.node)
    }

    /// An address of ours for the stream back to a TCP client; it lives until [`Core::forget_reply`].
    pub(crate) fn reply_to_client(&self, waiting: &Rc<Waiting>) -> (String, String) {
        let name = format!("temp.{}", self.unique());
        self.replies.borrow_mut().insert(name.clone(), Reply::Client(Rc::clone(waiting)));
        (format!("amqp:/_topo/{}/{name}", self.node), name)
    }

    pub(crate) fn forget_reply(&self, name: &str) {
        self.replies.borrow_mut().remove(name);
    }

    pub(crate) fn subscribe(&self, address: &str, connection: u64, mailbox: &Rc<Mailbox>, key: LinkKey) {
        let local = Local::Link { connection, mailbox: Rc::clone(mailbox), key, outstanding: Rc::default() };
        self.add_local(address, local);
    }

    pub(crate) fn unsubscribe(&self, address: &str, connection: u64, key: LinkKey) {
        if let Destination::Local(name) = destination(address, &self.id) {
            self.forget_reply(name);
            return;
        }
        self.remove_local(
            address,
            |local| matches!(local, Local::Link { connection: c, key: k, .. } if *c == connection && *k == key),
        );
    }

    pub(crate) fn serve(&self, service: &Rc<Service>) {
        self.add_local(&service.address, Local::Connector(Rc::clone(service)));
    }

    pub(crate) fn unserve(&self, service: &Rc<Service>) {
        self.remove_local(
            &service.address,
            |local| matches!(local, Local::Connector(s) if Rc::ptr_eq(s, service)),
        );
    }

    fn add_local(&self, address: &str, local: Local) {
        self.locals.borrow_mut().entry(mobile(address, &self.id)).or_default().push(local);
        self.locals_changed();
    }

    fn remove_local(&self, address: &str, is: impl Fn(&Local) -> bool) {
        let address = mobile(address, &self.id);
        let mut locals = self.locals.borrow_mut();
        if let Some(all) = locals.get_mut(&address) {
            all.retain(|local| !is(local));
            if all.is_empty() {
                locals.remove(&address);
                self.choosers.borrow_mut().remove(&address);
            }
        }
        drop(locals);
        self.locals_changed();
    }

    fn locals_changed(&self) {
        let locals: BTreeMap<String, Distribution> = self
            .locals
            .borrow()
            .keys()
            .map(|address| (address.clone(), self.distribution(address)))
            .collect();
        self.control.borrow_mut().set_local(&locals, Instant::now());
        self.drain_control();
        self.addresses_changed.notify_waiters();
    }

    fn distribution(&self, address: &str) -> Distribution {
        let distributions = self.distributions.borrow();
        api::router_config::distribution(&distributions.0, address).unwrap_or(distributions.1)
    }

    /// Whether anybody serves an address, here or on a router that can be reached.
    pub(crate) fn is_served(&self, address: &str) -> bool {
        let address = mobile(address, &self.id);
        let routes = self.routes.borrow();
        self.locals.borrow().contains_key(&address)
            || routes
                .addresses
                .get(&address)
                .is_some_and(|all| all.iter().any(|r| routes.nodes.contains_key(r)))
    }

    pub(crate) fn with_routes<T>(&self, look: impl FnOnce(&Routes) -> T) -> T {
        look(&self.routes.borrow())
    }

    pub(crate) fn local_addresses(&self) -> BTreeMap<String, usize> {
        self.locals.borrow().iter().map(|(address, all)| (address.clone(), all.len())).collect()
    }

    // Deliveries.

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

    fn hand_over(&self, link: u64, class: Class, head: Bytes, pipe: &Rc<Pipe>, settled: bool) -> bool {
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

fn mobile(address: &str, id: &str) -> String {
    match destination(address, id) {
        Destination::Mobile(address) => address.to_owned(),
        _ => address.to_owned(),
    }
}
