//! The router's middle: who is connected, which address is where, and over which way a delivery goes.
//!
//! One thread runs the whole router; these tables are looked at once per delivery, never per byte.

mod addresses;
mod deliveries;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;

use api::router_config::{Address as AddressEntity, Distribution};
use bytes::{Bytes, BytesMut};
use serde_amqp::Value;
use tokio::sync::Notify;

use self::addresses::{Local, Reply};
use crate::amqp::frame::Outcome;
use crate::amqp::section::{Annotations, put_annotations};
use crate::blocks::Blocks;
use crate::control::{Control, LinkId, Output, Routes};
use crate::distribution::Chooser;
use crate::engine::Peer;
use crate::mailbox::{Class, Mailbox};
use crate::message::Message;
use crate::pipe::Pipe;

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
    pub(crate) blocks: Rc<Blocks>,
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
            blocks: Rc::default(),
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
}
