//! Deliveries in: from frames to pipes.

use bytes::{Bytes, BytesMut};

use super::link::{Incoming, Kind, LinkEnd};
use super::session::Session;
use super::{CREDIT, Engine, Error};
use crate::amqp::frame::{self, Disposition, Outcome, State, Transfer};
use crate::amqp::section::{Head, STREAMING};
use crate::core::Origin;
use crate::mailbox::LinkKey;
use crate::pipe::{End, Pipe, Wake};

/// Sections before the body beyond this are nobody's.
const MAX_HEAD: usize = 64 * 1024;
/// As many frames may bring it: each is read from the beginning.
const MAX_LOOKS: u32 = 64;
/// A whole message beyond this is refused.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Payload below this is copied: a few bytes must not keep a whole read alive.
const SMALL: usize = 4 * 1024;

/// Instead of what was told: the sender does not want to know.
const SETTLED: u64 = u64::MAX;

impl Engine {
    pub(super) fn transfer(&mut self, channel: u16, transfer: Transfer, payload: Bytes) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        let Some(session) = self.session(ours) else { return Ok(()) };
        let Some(key) = count_frame(session, transfer.handle)? else {
            self.open_window(ours);
            return Ok(());
        };
        let Some(Some(link)) = self.links.get_mut(key.0 as usize) else { return Ok(()) };
        let kind = link.kind;
        let LinkEnd::Receiver(receiver) = &mut link.end else {
            return Err(Error::Protocol("a transfer on a link that we send on".into()));
        };
        let incoming = match &mut receiver.incoming {
            Some(incoming) => incoming,
            none => {
                let Some(id) = transfer.delivery_id else {
                    return Err(Error::Protocol("a delivery begins without a number".into()));
                };
                receiver.credit = receiver
                    .credit
                    .checked_sub(1)
                    .ok_or_else(|| Error::Protocol("more deliveries than there was credit".into()))?;
                receiver.count = receiver.count.wrapping_add(1);
                none.insert(Incoming {
                    id,
                    settled: transfer.settled,
                    buffer: BytesMut::new(),
                    looks: 0,
                    pipe: None,
                    discard: false,
                })
            }
        };
        incoming.settled |= transfer.settled;
        if transfer.aborted {
            // What came with it is to be ignored (2.7.5).
        } else if let Some(pipe) = &incoming.pipe {
            pipe.push(own(payload));
        } else if !incoming.discard {
            incoming.buffer.extend_from_slice(&payload);
            let streaming = receiver.streaming;
            self.begin_delivery(key, kind, streaming, !transfer.more)?;
        }
        if !transfer.more || transfer.aborted {
            self.end_delivery(key, transfer.aborted);
        }
        self.open_window(ours);
        Ok(())
    }

    /// Looks whether enough came to know where a delivery goes, and sends it there.
    fn begin_delivery(
        &mut self,
        key: LinkKey,
        kind: Kind,
        streaming: bool,
        complete: bool,
    ) -> Result<(), Error> {
        let origin = Origin {
            connection: self.settings.id,
            from_router: self.settings.inter_router,
            control: kind == Kind::Control,
        };
        let core = self.core.clone();
        let mailbox = self.mailbox.clone();
        let Some(receiver) = self.link(key).and_then(|l| l.receiver_mut()) else { return Ok(()) };
        let target = receiver.target.clone();
        let Some(incoming) = receiver.incoming.as_mut() else { return Ok(()) };
        incoming.looks += 1;
        let more = !complete && incoming.buffer.len() < MAX_HEAD && incoming.looks < MAX_LOOKS;
        let mut head = match Head::parse(&incoming.buffer, complete) {
            Ok(head) => head,
            Err(crate::amqp::Error::Short) if more => return Ok(()),
            Err(error) => {
                tracing::warn!(connection = origin.connection, %error, "a malformed message is rejected");
                self.refuse_delivery(key, Outcome::Rejected);
                return Ok(());
            }
        };
        if !origin.from_router {
            // Only routers are believed about where a message comes from.
            head.annotations = None;
        }
        if head.destination().is_none() {
            head.to = target;
        }
        let stream = streaming
            || head.is_octets()
            || head.annotations.as_ref().is_some_and(|a| a.flags & STREAMING != 0);
        let outcome = if stream {
            let mut bytes = std::mem::take(&mut incoming.buffer).freeze();
            let body = bytes.split_off(head.body.min(bytes.len()));
            let pipe = Pipe::new();
            pipe.set_producer(Wake::Link(mailbox, key));
            pipe.push(body);
            let outcome = core.route(origin, &head, bytes, &pipe);
            if outcome.is_none() {
                let told = if incoming.settled { SETTLED } else { 0 };
                receiver.unsettled.push((incoming.id, pipe.clone(), told));
                if let Some(incoming) = receiver.incoming.as_mut() {
                    incoming.pipe = Some(pipe);
                }
            }
            outcome
        } else if complete {
            let bytes = std::mem::take(&mut incoming.buffer).freeze();
            Some(core.message(origin, &head, bytes))
        } else if incoming.buffer.len() > MAX_MESSAGE {
            Some(Outcome::Rejected)
        } else {
            None
        };
        if let Some(outcome) = outcome {
            self.refuse_delivery(key, outcome);
        }
        Ok(())
    }

    /// Gives the delivery that is coming in an outcome at once.
    fn refuse_delivery(&mut self, key: LinkKey, outcome: Outcome) {
        let Some(link) = self.link(key) else { return };
        let channel = link.session;
        let Some(incoming) = link.receiver_mut().and_then(|r| r.incoming.as_mut()) else { return };
        incoming.discard = true;
        incoming.buffer = BytesMut::new();
        let id = incoming.id;
        if !incoming.settled {
            self.put_outcome(channel, id, outcome);
        }
    }

    fn put_outcome(&mut self, channel: u16, id: u32, outcome: Outcome) {
        self.core.totals.outcome(outcome);
        let state = Some(State::Outcome(outcome));
        let disposition = Disposition { receiver: true, first: id, last: id, settled: true, state };
        frame::put_disposition(&mut self.head, channel, &disposition);
    }

    /// The last frame of a delivery came.
    fn end_delivery(&mut self, key: LinkKey, aborted: bool) {
        let Some(receiver) = self.link(key).and_then(|l| l.receiver_mut()) else { return };
        let Some(incoming) = receiver.incoming.take() else { return };
        if let Some(pipe) = incoming.pipe {
            pipe.end(if aborted { End::Aborted } else { End::Complete });
            // The peer settled: it wants no outcome, and an aborted delivery has none.
            if incoming.settled || aborted {
                receiver.unsettled.retain(|(id, _, _)| *id != incoming.id);
            }
        }
        self.give_credit(key);
    }

    /// Gives credit back for deliveries that have an outcome.
    fn give_credit(&mut self, key: LinkKey) {
        let Some(receiver) = self.link(key).and_then(|l| l.receiver_mut()) else { return };
        let open = u32::try_from(receiver.unsettled.len()).unwrap_or(CREDIT);
        let credit = CREDIT.saturating_sub(open);
        if receiver.credit <= CREDIT / 2 && credit > receiver.credit {
            receiver.credit = credit;
            self.put_link_flow(key, false);
        }
    }

    /// Tells the peer what became of its deliveries, how far they are, and that there is room.
    pub(super) fn report(&mut self, key: LinkKey) {
        let Some(link) = self.link(key) else { return };
        let channel = link.session;
        let Some(receiver) = link.receiver_mut() else { return };
        let current = receiver.incoming.as_ref().filter(|i| i.pipe.is_some()).map(|i| i.id);
        let mut outcomes = Vec::new();
        let mut progress = Vec::new();
        let mut discard = false;
        receiver.unsettled.retain_mut(|(id, pipe, told)| {
            if let Some(outcome) = pipe.outcome() {
                pipe.forget_producer();
                discard |= current == Some(*id);
                if *told != SETTLED {
                    outcomes.push((*id, outcome));
                }
                return false;
            }
            let received = pipe.received();
            if received > *told {
                *told = received;
                progress.push((*id, received));
            }
            true
        });
        if discard && let Some(incoming) = receiver.incoming.as_mut() {
            incoming.discard = true;
            incoming.pipe = None;
        }
        for (id, offset) in progress {
            let state = Some(State::Received(offset));
            let disposition = Disposition { receiver: true, first: id, last: id, settled: false, state };
            frame::put_disposition(&mut self.head, channel, &disposition);
        }
        for (id, outcome) in outcomes {
            self.put_outcome(channel, id, outcome);
        }
        self.give_credit(key);
        self.open_window(channel);
    }
}

/// Counts a frame against the session's window; gives its link, unless that is one that we have detached.
fn count_frame(session: &mut Session, handle: u32) -> Result<Option<LinkKey>, Error> {
    session.in_window = session
        .in_window
        .checked_sub(1)
        .ok_or_else(|| Error::Protocol("more frames than the session's window".into()))?;
    session.next_in = session.next_in.wrapping_add(1);
    let key = session.by_handle(handle);
    if key.is_none() && !session.gone.contains(&handle) && !session.ended {
        return Err(Error::Protocol("a transfer for a link that is not attached".into()));
    }
    Ok(key)
}

fn own(payload: Bytes) -> Bytes {
    if payload.len() < SMALL { Bytes::copy_from_slice(&payload) } else { payload }
}
