//! Sessions: windows in frames, numbers of deliveries (specification part 2, section 2.5).

use fe2o3_amqp_types::definitions::Handle;
use fe2o3_amqp_types::performatives::Begin;

use super::{CHANNEL_MAX, Engine, Error};
use crate::amqp::frame::{self, Flow};
use crate::mailbox::LinkKey;

/// Frames that a peer may send before we say that there is room again. With [`super::MAX_FRAME`] it bounds what one
/// stream can make the router hold to 4 MB, whatever the peer does; those that keep the stream's own window
/// (1 MB, `src/adaptors/tcp/tcp_adaptor.c`) stay under that.
const WINDOW: u32 = 64;

/// Links in one session, from 0; ours have one or two.
pub(super) const HANDLE_MAX: u32 = 255;

/// A session; its place in the table is our channel.
#[derive(Debug)]
pub(super) struct Session {
    /// The peer's channel, once it has begun.
    pub(super) remote: Option<u16>,
    pub(super) next_in: u32,
    /// Frames that the peer may still send.
    pub(super) in_window: u32,
    pub(super) next_out: u32,
    /// Frames that the peer still takes.
    pub(super) out_window: u32,
    pub(super) next_delivery: u32,
    /// The peer's handles.
    pub(super) handles: Vec<(u32, LinkKey)>,
    /// Links of ours that the peer has not answered yet are here too.
    pub(super) ours: Vec<LinkKey>,
    /// Handles of the peer's whose links we detached: it may use them until it has seen that (2.6.6).
    pub(super) gone: Vec<u32>,
    next_handle: u32,
    /// We sent `end`.
    pub(super) ended: bool,
}

impl Session {
    fn new() -> Self {
        Self {
            remote: None,
            next_in: 0,
            in_window: WINDOW,
            next_out: 0,
            out_window: 0,
            next_delivery: 0,
            handles: Vec::new(),
            ours: Vec::new(),
            gone: Vec::new(),
            next_handle: 0,
            ended: false,
        }
    }

    pub(super) fn begun(&mut self, channel: u16, begin: &Begin) {
        self.remote = Some(channel);
        self.next_in = begin.next_outgoing_id;
        self.out_window = begin.incoming_window;
    }

    pub(super) fn handle(&mut self) -> u32 {
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        handle
    }

    pub(super) fn by_handle(&self, handle: u32) -> Option<LinkKey> {
        self.handles.iter().find(|(h, _)| *h == handle).map(|(_, key)| *key)
    }

    /// Forgets a link; its handle is of no meaning until the peer detaches it too.
    pub(super) fn forget(&mut self, key: LinkKey) {
        let gone = self.handles.extract_if(.., |(_, k)| *k == key).map(|(handle, _)| handle);
        self.gone.extend(gone);
        self.ours.retain(|k| *k != key);
    }

    pub(super) fn links(&self) -> Vec<LinkKey> {
        self.ours.clone()
    }

    fn flow(&self) -> Flow {
        Flow {
            next_incoming_id: self.remote.map(|_| self.next_in),
            incoming_window: self.in_window,
            next_outgoing_id: self.next_out,
            outgoing_window: 0x7fff_ffff,
            ..Flow::default()
        }
    }

    /// Takes the windows of a flow that came.
    fn take_flow(&mut self, flow: &Flow) {
        let seen = flow.next_incoming_id.unwrap_or(0);
        self.out_window = seen.wrapping_add(flow.incoming_window).wrapping_sub(self.next_out);
        // A window that is behind what was sent already is none.
        if self.out_window > i32::MAX as u32 && flow.incoming_window <= i32::MAX as u32 {
            self.out_window = 0;
        }
    }
}

impl Engine {
    pub(super) fn new_session(&mut self) -> Result<u16, Error> {
        let free = self.sessions.iter().position(Option::is_none);
        let place = free.unwrap_or(self.sessions.len());
        let channel = u16::try_from(place).ok().filter(|c| *c <= self.channel_max.min(CHANNEL_MAX));
        let channel = channel.ok_or_else(|| Error::Protocol("no channel is left".into()))?;
        if free.is_none() {
            self.sessions.push(None);
        }
        self.sessions[place] = Some(Session::new());
        Ok(channel)
    }

    /// The next session fits under the peer's channel maximum.
    pub(super) fn has_channel(&self) -> bool {
        self.sessions.len() <= usize::from(self.channel_max) || self.sessions.iter().any(Option::is_none)
    }

    pub(super) fn put_begin(&mut self, ours: u16, remote: Option<u16>) -> Result<(), Error> {
        let begin = Begin {
            remote_channel: remote,
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: 0x7fff_ffff,
            handle_max: Handle(HANDLE_MAX),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        Ok(frame::put_performative(&mut self.head, frame::AMQP, ours, &begin)?)
    }

    /// The windows changed: whoever waited may go on.
    pub(super) fn session_ready(&mut self, ours: u16) {
        let Some(session) = self.session(ours) else { return };
        for key in session.links() {
            self.make_ready(key);
        }
    }

    pub(super) fn flow(&mut self, channel: u16, flow: &Flow) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        let Some(session) = self.session(ours) else { return Ok(()) };
        session.take_flow(flow);
        let link = flow.handle.and_then(|handle| session.by_handle(handle));
        let gone = flow.handle.is_some_and(|handle| session.gone.contains(&handle)) || session.ended;
        if flow.handle.is_some() && link.is_none() && !gone {
            return Err(Error::Protocol("flow for a link that is not attached".into()));
        }
        if let Some(key) = link {
            let mut drained = false;
            if let Some(sender) = self.link(key).and_then(|l| l.sender_mut()) {
                let seen = flow.delivery_count.unwrap_or(0);
                let end = seen.wrapping_add(flow.link_credit.unwrap_or(0));
                // Serial arithmetic (RFC 1982): credit that was taken back after it was used is none.
                let credit = end.wrapping_sub(sender.count);
                sender.credit = if credit > i32::MAX as u32 { 0 } else { credit };
                drained = flow.drain && sender.queue.is_empty();
                if drained {
                    sender.count = sender.count.wrapping_add(sender.credit);
                    sender.credit = 0;
                }
            }
            if drained || flow.echo {
                self.put_link_flow(key, drained);
            }
            self.check_up();
        } else if flow.echo {
            self.put_session_flow(ours);
        }
        self.session_ready(ours);
        Ok(())
    }

    pub(super) fn put_session_flow(&mut self, ours: u16) {
        let Some(flow) = self.session(ours).map(|s| s.flow()) else { return };
        frame::put_flow(&mut self.head, ours, &flow);
    }

    /// Tells the peer a link's credit, together with its session's window.
    pub(super) fn put_link_flow(&mut self, key: LinkKey, drain: bool) {
        let Some(link) = self.link(key) else { return };
        let (channel, handle, count, credit) = link.flow();
        let Some(flow) = self.session(channel).map(|s| s.flow()) else { return };
        let flow = Flow {
            handle: Some(handle),
            delivery_count: Some(count),
            link_credit: Some(credit),
            drain,
            ..flow
        };
        frame::put_flow(&mut self.head, channel, &flow);
    }

    /// Opens the peer's window as far as what came from it has left the router again.
    pub(super) fn open_window(&mut self, ours: u16) {
        let Some(session) = self.sessions.get(usize::from(ours)).and_then(Option::as_ref) else { return };
        if session.in_window > WINDOW / 2 || session.ended {
            return;
        }
        let held: usize = session
            .handles
            .iter()
            .filter_map(|(_, key)| Some(self.links.get(key.0 as usize)?.as_ref()?.receiver()?.held()))
            .sum::<usize>();
        let room = WINDOW.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        if room > session.in_window + WINDOW / 4 {
            let links = self.session(ours).map(|session| {
                session.in_window = room;
                session.links()
            });
            // With a link: a real router that stopped a stream for the window goes on when the link's flow comes, and
            // not by the session's alone (`AMQP_link_flow_handler` in `src/adaptors/amqp/amqp_adaptor.c`).
            let receiver = links
                .into_iter()
                .flatten()
                .find(|key| self.link(*key).is_some_and(|l| l.receiver().is_some()));
            match receiver {
                Some(key) => self.put_link_flow(key, false),
                None => self.put_session_flow(ours),
            }
        }
    }
}
