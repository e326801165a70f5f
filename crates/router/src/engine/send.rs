//! Deliveries out: from pipes to frames.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::link::{Kind, Sender, Sending};
use super::session::Session;
use super::{Engine, Error};
use crate::amqp::frame::{self, Disposition, Outcome, State, Transfer};
use crate::mailbox::{Class, Delivery, LinkKey, Mailbox};
use crate::pipe::{End, Wake};

/// What a frame needs beside its payload: header and performative.
const OVERHEAD: usize = 48;
/// Frames are made ahead of the socket up to so many bytes; the rest waits in its pipes.
const AHEAD: usize = 256 * 1024;

/// Whole messages that wait for a peer that takes none.
const MAX_QUEUE: usize = 1000;

/// What came of trying to send.
enum Step {
    /// A frame was made; there may be more.
    Sent,
    /// Nothing to do until something changes.
    Wait,
    /// The delivery is out.
    Done,
}

impl Engine {
    /// Puts a delivery on its link.
    pub(super) fn deliver(&mut self, delivery: Delivery) -> Result<(), Error> {
        let key = match delivery.class {
            Class::Control => self.control,
            Class::Data => self.data,
            Class::Link(key) => Some(key),
            Class::Stream => match self.idle_senders.pop() {
                Some(key) => Some(key),
                None => self.new_stream_link()?,
            },
        };
        let Some(sender) = key.and_then(|key| self.link(key)).and_then(|link| link.sender_mut()) else {
            delivery.pipe.settle(Outcome::Released);
            return Ok(());
        };
        if sender.queue.len() >= MAX_QUEUE {
            // A peer that gives no credit must not fill the memory: too much is given back.
            delivery.pipe.settle(Outcome::Released);
            return Ok(());
        }
        sender.queue.push_back(delivery);
        if let Some(key) = key {
            self.make_ready(key);
        }
        Ok(())
    }

    /// A pipe of this link has something new: bytes to send, or room, progress, an outcome to report.
    pub(super) fn link_woken(&mut self, key: LinkKey) {
        let Some(link) = self.link(key) else { return };
        if link.sender().is_some() {
            self.make_ready(key);
        } else {
            self.report(key);
        }
    }

    pub(super) fn make_ready(&mut self, key: LinkKey) {
        let Some(sender) = self.link(key).and_then(|link| link.sender_mut()) else { return };
        if !sender.ready && (sender.sending.is_some() || !sender.queue.is_empty()) {
            sender.ready = true;
            self.ready.push_back(key);
        }
    }

    /// Makes frames until enough wait for the socket; gives what is to be written.
    pub(crate) fn fill(&mut self) -> Result<&mut VecDeque<Bytes>, Error> {
        let mut bytes: usize = self.out.iter().map(Bytes::len).sum();
        while bytes < AHEAD {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(sender) = self.link(key).and_then(|link| link.sender_mut()) {
                sender.ready = false;
            }
            let before = self.out_bytes;
            match self.send_frame(key)? {
                Step::Sent | Step::Done => self.make_ready(key),
                Step::Wait => {}
            }
            bytes += self.out_bytes - before;
        }
        self.out_bytes = 0;
        if !self.head.is_empty() {
            self.out.push_back(self.head.split().freeze());
        }
        Ok(&mut self.out)
    }

    fn send_frame(&mut self, key: LinkKey) -> Result<Step, Error> {
        let mailbox = self.mailbox.clone();
        let max = self.max_frame - OVERHEAD;
        let Some(link) = self.links.get_mut(key.0 as usize).and_then(Option::as_mut) else {
            return Ok(Step::Wait);
        };
        let (channel, handle, kind) = (link.session, link.handle, link.kind);
        let Some(session) = self.sessions.get_mut(usize::from(channel)).and_then(Option::as_mut) else {
            return Ok(Step::Wait);
        };
        let Some(sender) = link.sender_mut() else { return Ok(Step::Wait) };
        if session.out_window == 0 {
            return Ok(Step::Wait);
        }
        if sender.sending.is_none() && !begin(sender, session, mailbox, key) {
            return Ok(Step::Wait);
        }
        let Some(sending) = &mut sender.sending else { return Ok(Step::Wait) };
        let ended = sending.pipe.ended();
        let mut done = sending.refused || ended.is_some();
        if !done && sending.head.is_none() && sending.pipe.is_empty() {
            return Ok(Step::Wait);
        }
        let mut transfer = Transfer {
            handle,
            delivery_id: Some(sending.id),
            settled: sending.settled || sending.refused,
            more: !done,
            aborted: ended == Some(End::Aborted) && !sending.refused,
        };
        let mark = self.out.len();
        let mut payload = 0;
        if !sending.refused && !transfer.aborted {
            if let Some(head) = &mut sending.head {
                let part = head.split_to(head.len().min(max));
                payload += part.len();
                self.out.push_back(part);
            }
            sending.head.take_if(|head| head.is_empty());
            while payload < max && sending.head.is_none() {
                let Some(chunk) = sending.pipe.pop(max - payload) else { break };
                payload += chunk.len();
                self.out.push_back(chunk);
            }
            // What was taken now may have been the last.
            done = sending.head.is_none() && sending.pipe.ended() == Some(End::Complete);
            transfer.more = !done;
        }
        frame::put_transfer(&mut self.head, channel, &transfer, u64::from(sending.id), payload);
        let head = self.head.split().freeze();
        self.out_bytes += head.len() + payload;
        self.out.insert(mark, head);
        sending.started = true;
        session.next_out = session.next_out.wrapping_add(1);
        session.out_window -= 1;
        if !done {
            return Ok(Step::Sent);
        }
        let Some(sent) = sender.sending.take() else { return Ok(Step::Done) };
        if transfer.aborted {
            sent.pipe.settle(Outcome::Modified);
        } else if sent.settled {
            sent.pipe.settle(Outcome::Accepted);
        } else if !sent.refused {
            sender.unsettled.push((sent.id, sent.pipe));
            return Ok(Step::Done);
        }
        if kind == Kind::Stream {
            self.release(key)?;
        }
        Ok(Step::Done)
    }

    /// What became of deliveries that we sent.
    pub(super) fn disposition(&mut self, channel: u16, disposition: Disposition) -> Result<(), Error> {
        let ours = self.channel(channel)?;
        if !disposition.receiver {
            return Ok(());
        }
        let Some(session) = self.session(ours) else { return Ok(()) };
        let span = disposition.last.wrapping_sub(disposition.first);
        let concerned = |id: u32| id.wrapping_sub(disposition.first) <= span;
        let outcome = match disposition.state {
            Some(State::Outcome(outcome)) => Some(outcome),
            Some(State::Received(_)) | None if !disposition.settled => None,
            _ => Some(Outcome::Modified),
        };
        let mut settle = Vec::new();
        for key in session.links() {
            let Some(link) = self.link(key) else { continue };
            let kind = link.kind;
            let Some(sender) = link.sender_mut() else { continue };
            let mut refused = false;
            if let Some(sending) = sender.sending.as_mut().filter(|s| concerned(s.id)) {
                if let Some(State::Received(offset)) = disposition.state {
                    sending.pipe.set_received(offset);
                }
                if let Some(outcome) = outcome {
                    sending.pipe.settle(outcome);
                    sending.refused = true;
                    refused = true;
                }
            }
            let mut released = false;
            sender.unsettled.retain(|(id, pipe)| {
                if !concerned(*id) {
                    return true;
                }
                if let Some(State::Received(offset)) = disposition.state {
                    pipe.set_received(offset);
                }
                let Some(outcome) = outcome else { return true };
                pipe.settle(outcome);
                if !disposition.settled {
                    settle.push(*id);
                }
                released = true;
                false
            });
            if refused {
                self.make_ready(key);
            }
            if released && kind == Kind::Stream {
                self.release(key)?;
            }
        }
        for id in settle {
            let state = outcome.map(State::Outcome);
            let answer = Disposition { receiver: false, first: id, last: id, settled: true, state };
            frame::put_disposition(&mut self.head, ours, &answer);
        }
        Ok(())
    }
}

/// Takes the next delivery of a link, if there is one and credit for it.
fn begin(sender: &mut Sender, session: &mut Session, mailbox: Rc<Mailbox>, key: LinkKey) -> bool {
    if sender.credit == 0 {
        return false;
    }
    let Some(delivery) = sender.queue.pop_front() else { return false };
    sender.credit -= 1;
    sender.count = sender.count.wrapping_add(1);
    let id = session.next_delivery;
    session.next_delivery = id.wrapping_add(1);
    delivery.pipe.set_consumer(Wake::Link(mailbox, key));
    sender.sending = Some(Sending {
        head: Some(delivery.head).filter(|head| !head.is_empty()),
        pipe: delivery.pipe,
        id,
        settled: delivery.settled,
        started: false,
        refused: false,
    });
    true
}
