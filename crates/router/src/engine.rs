//! One connection's protocol: frames in, frames out, no I/O.
//!
//! The connection's task ([`crate::driver`]) hands in what it read and writes what [`Engine::fill`] made. Sessions
//! and links are plain tables, owned by that task; nothing here is locked.
//!
//! As between real routers, each stream has a link and a session of its own, so that its window holds back this one
//! stream only (`docs/notes/streaming.md` of skupper-router). Links of streams that ended are used again.

mod attach;
mod link;
mod receive;
mod send;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::definitions::{AmqpError, Error as Condition, Fields, Handle};
use fe2o3_amqp_types::performatives::{Begin, ChannelMax, Close, Detach, End, MaxFrameSize, Open};
use serde_amqp::Value;
use serde_amqp::primitives::{Array, Symbol};

pub(crate) use self::link::Kind;
use self::link::Link;
use self::session::Session;
use crate::amqp::Error as Malformed;
use crate::amqp::frame::{self, Header, Performative};
use crate::blocks::Blocks;
use crate::core::Core;
use crate::mailbox::{Letter, LinkKey, Mailbox};

/// Deliveries that a peer may begin on a link of ours before it needs more credit, as skrouterd grants.
const CREDIT: u32 = 250;
/// Channels that ours uses and grants, as skrouterd.
const CHANNEL_MAX: u16 = 0x7fff;
/// The frame size that ours offers when its configuration does not say: a large read in one frame.
pub(crate) const MAX_FRAME: u32 = 64 * 1024 + 64;
/// No peer is sent larger frames, whatever it offers: what is read at once fits.
const MAX_FRAME_OUT: usize = 256 * 1024;

/// What makes the engine end the connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("malformed frame")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Protocol(String),
    /// The peer closed; what it said.
    #[error("closed by the peer: {0}")]
    Closed(String),
}

/// Who is at the other end, as its `open` says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) container: String,
    /// Milliseconds without a frame after which it gives up.
    pub(crate) idle: Option<u32>,
    /// Of the way to it, the higher of what both ends say.
    pub(crate) cost: u32,
}

/// What a connection is told about itself.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The connection's number, for logs, management and as the control protocol's link.
    pub(crate) id: u64,
    /// Between routers; else a client's.
    pub(crate) inter_router: bool,
    /// The peer connected to us.
    pub(crate) incoming: bool,
    pub(crate) cost: u32,
    /// Frames that we take.
    pub(crate) max_frame: u32,
    /// Milliseconds, for our `open`.
    pub(crate) idle: u32,
    pub(crate) hostname: Option<String>,
}

/// See the module.
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) peer: Option<Peer>,
    core: Rc<Core>,
    mailbox: Rc<Mailbox>,
    /// The largest frame that the peer takes.
    max_frame: usize,
    channel_max: u16,
    sessions: Vec<Option<Session>>,
    /// The peer's channels to ours.
    channels: HashMap<u16, u16>,
    links: Vec<Option<Link>>,
    free_links: Vec<u32>,
    /// Senders that have something to send and may.
    ready: VecDeque<LinkKey>,
    /// Senders of streams that ended, to be used again.
    idle_senders: Vec<LinkKey>,
    control: Option<LinkKey>,
    control_in: bool,
    data: Option<LinkKey>,
    up: bool,
    /// Frames without payload and headers, until they go to `out`.
    head: BytesMut,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    closing: bool,
    retired: bool,
}

impl Engine {
    pub(crate) fn new(settings: Settings, core: Rc<Core>, mailbox: Rc<Mailbox>) -> Self {
        Self {
            settings,
            peer: None,
            core,
            mailbox,
            max_frame: 512,
            channel_max: 0,
            sessions: Vec::new(),
            channels: HashMap::new(),
            links: Vec::new(),
            free_links: Vec::new(),
            ready: VecDeque::new(),
            idle_senders: Vec::new(),
            control: None,
            control_in: false,
            data: None,
            up: false,
            head: BytesMut::new(),
            out: VecDeque::new(),
            out_bytes: 0,
            closing: false,
            retired: false,
        }
    }

    /// Where its connection gets memory for what it reads.
    pub(crate) fn blocks(&self) -> Rc<Blocks> {
        Rc::clone(&self.core.blocks)
    }

    /// Puts the protocol header and our `open` out.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        self.head.extend_from_slice(&frame::AMQP_HEADER);
        let mut properties = Fields::new();
        properties.insert(Symbol::from("product"), Value::String("knetsim-router".into()));
        properties.insert(Symbol::from("version"), Value::String(env!("CARGO_PKG_VERSION").into()));
        if let Ok(id) = i64::try_from(self.settings.id) {
            properties.insert(Symbol::from("qd.conn-id"), Value::Long(id));
        }
        if self.settings.inter_router {
            if self.settings.cost > 1 {
                let cost = i32::try_from(self.settings.cost).unwrap_or(i32::MAX);
                properties.insert(Symbol::from("qd.inter-router-cost"), Value::Int(cost));
            }
            properties.insert(Symbol::from("qd.annotations-version"), Value::Int(2));
        }
        let capabilities =
            || Some(Array::from(vec![Symbol::from("ANONYMOUS-RELAY"), Symbol::from("qd.streaming-links")]));
        let open = Open {
            container_id: self.core.id().to_owned(),
            hostname: self.settings.hostname.clone(),
            max_frame_size: MaxFrameSize(self.settings.max_frame),
            channel_max: ChannelMax(CHANNEL_MAX),
            idle_time_out: Some(self.settings.idle),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: capabilities(),
            desired_capabilities: capabilities(),
            properties: Some(properties),
        };
        Ok(frame::put_performative(&mut self.head, frame::AMQP, 0, &open)?)
    }

    /// Puts a sign of life out.
    pub(crate) fn put_empty(&mut self) {
        frame::put_empty(&mut self.head);
    }

    /// Takes a letter that others left.
    pub(crate) fn letter(&mut self, letter: Letter) -> Result<(), Error> {
        match letter {
            Letter::Deliver(delivery) => self.deliver(delivery),
            Letter::Link(key) => {
                self.link_woken(key);
                Ok(())
            }
            Letter::Retire => self.retire(),
        }
    }

    /// Takes a frame; `body` is what follows its header.
    pub(crate) fn frame(&mut self, header: Header, mut body: Bytes) -> Result<(), Error> {
        if header.kind != frame::AMQP {
            return Err(Error::Protocol(format!("frame of type {} in the middle of AMQP", header.kind)));
        }
        if body.is_empty() {
            return Ok(());
        }
        let (performative, payload) = frame::parse(&body)?;
        if self.peer.is_none() && !matches!(performative, Performative::Open(_)) {
            return Err(Error::Protocol("a frame before open".into()));
        }
        let channel = header.channel;
        match performative {
            Performative::Transfer(transfer) => {
                let payload = body.split_off(payload);
                self.transfer(channel, transfer, payload)
            }
            Performative::Flow(flow) => self.flow(channel, &flow),
            Performative::Disposition(disposition) => self.disposition(channel, disposition),
            Performative::Open(open) => self.open(&open),
            Performative::Begin(begin) => self.begin(channel, &begin),
            Performative::Attach(attach) => self.attach(channel, *attach),
            Performative::Detach(detach) => self.detach(channel, &detach),
            Performative::End(_) => self.end(channel),
            Performative::Close(close) => {
                self.close(None);
                let why = close.error.map_or_else(|| "no reason given".to_owned(), |e| describe(&e));
                Err(Error::Closed(why))
            }
        }
    }

    /// Another connection takes over: the control links go, which takes all routes off this one.
    fn retire(&mut self) -> Result<(), Error> {
        self.retired = true;
        for place in 0..self.links.len() {
            let Some(link) = self.links[place].as_ref().filter(|l| l.kind == Kind::Control) else { continue };
            let (channel, handle) = (link.session, Handle(link.handle));
            let detach = Detach { handle, closed: true, error: None };
            frame::put_performative(&mut self.head, frame::AMQP, channel, &detach)?;
            if let Ok(key) = u32::try_from(place) {
                self.drop_link(LinkKey(key));
            }
        }
        Ok(())
    }

    /// Another connection has taken over, and nothing is on its way over this one.
    pub(crate) fn is_done(&self) -> bool {
        self.retired && !self.links.iter().flatten().any(Link::is_busy)
    }

    fn open(&mut self, open: &Open) -> Result<(), Error> {
        if self.peer.is_some() {
            return Err(Error::Protocol("a second open".into()));
        }
        if self.settings.inter_router && open.container_id == self.core.id() {
            return Err(Error::Protocol(format!("the neighbour calls itself {} too", open.container_id)));
        }
        let size = open.max_frame_size.0 as usize;
        if size < 512 {
            return Err(Error::Protocol(format!("max-frame-size {size} is below 512")));
        }
        self.max_frame = size.min(MAX_FRAME_OUT);
        self.channel_max = open.channel_max.0.min(CHANNEL_MAX);
        let mut peer =
            Peer { container: open.container_id.clone(), idle: open.idle_time_out, ..Peer::default() };
        for (key, value) in open.properties.iter().flat_map(|p| p.iter()) {
            if let ("qd.inter-router-cost", Value::Int(cost)) = (key.as_str(), value) {
                self.settings.cost = self.settings.cost.max(u32::try_from(*cost).unwrap_or(1));
            }
        }
        peer.cost = self.settings.cost;
        self.core.connection_opened(self.settings.id, &peer);
        self.peer = Some(peer);
        // The router that connected makes the links (`setup_inter_router_control_conn_CT` in
        // `src/router_core/connections.c`).
        if self.settings.inter_router && !self.settings.incoming {
            self.attach_between_routers()?;
        }
        Ok(())
    }

    fn begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Error> {
        if self.channels.contains_key(&channel) {
            return Err(Error::Protocol(format!("channel {channel} is in use")));
        }
        let ours = match begin.remote_channel {
            Some(ours) => {
                let session = self.session(ours).filter(|s| s.remote.is_none());
                let session =
                    session.ok_or_else(|| Error::Protocol(format!("no session waits on {ours}")))?;
                session.begun(channel, begin);
                ours
            }
            None => {
                let ours = self.new_session()?;
                if let Some(session) = self.session(ours) {
                    session.begun(channel, begin);
                }
                self.put_begin(ours, Some(channel))?;
                ours
            }
        };
        self.channels.insert(channel, ours);
        self.session_ready(ours);
        Ok(())
    }

    fn end(&mut self, channel: u16) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        self.channels.remove(&channel);
        let Some(session) = self.sessions.get_mut(usize::from(ours)).and_then(Option::take) else {
            return Ok(());
        };
        for key in session.links() {
            self.drop_link(key);
        }
        if !session.ended {
            frame::put_performative(&mut self.head, frame::AMQP, ours, &End { error: None })?;
        }
        Ok(())
    }

    /// Says goodbye, once.
    pub(crate) fn close(&mut self, why: Option<&str>) {
        if self.closing {
            return;
        }
        self.closing = true;
        let error = why.map(|why| Condition::new(AmqpError::InternalError, Some(why.to_owned()), None));
        if let Err(error) = frame::put_performative(&mut self.head, frame::AMQP, 0, &Close { error }) {
            tracing::debug!(%error, "close is not sent");
        }
    }

    /// The connection is gone: nothing that passed over it goes on.
    fn finish(&mut self) {
        for key in 0..self.links.len() {
            if let Ok(key) = u32::try_from(key) {
                self.drop_link(LinkKey(key));
            }
        }
        for letter in self.mailbox.close() {
            if let Letter::Deliver(delivery) = letter {
                delivery.pipe.settle(frame::Outcome::Released);
            }
        }
        if self.up {
            self.up = false;
            self.core.neighbour_down(self.settings.id);
        }
    }

    fn channel(&self, channel: u16) -> Result<u16, Error> {
        let ours = self.channels.get(&channel).copied();
        ours.ok_or_else(|| Error::Protocol(format!("no session on channel {channel}")))
    }

    fn session(&mut self, ours: u16) -> Option<&mut Session> {
        self.sessions.get_mut(usize::from(ours)).and_then(Option::as_mut)
    }

    fn link(&mut self, key: LinkKey) -> Option<&mut Link> {
        self.links.get_mut(key.0 as usize).and_then(Option::as_mut)
    }

    /// Both control links are there and the neighbour takes messages: the control protocol begins.
    fn check_up(&mut self) {
        let credit = match self.control.and_then(|key| self.link(key)) {
            Some(link) => link.sender().is_some_and(|s| s.credit > 0),
            None => false,
        };
        if credit && self.control_in && !self.up {
            self.up = true;
            self.core.neighbour_up(self.settings.id, self.settings.cost);
        }
    }
}

/// Whoever ends the task ends what passed over the connection.
impl Drop for Engine {
    fn drop(&mut self) {
        self.finish();
    }
}

fn describe(error: &Condition) -> String {
    let condition = format!("{:?}", error.condition);
    match &error.description {
        Some(description) => format!("{condition}: {description}"),
        None => condition,
    }
}
