//! Links: one direction each, with credit in deliveries (specification part 2, section 2.6).

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::CREDIT;
use crate::amqp::frame::Outcome;
use crate::mailbox::Delivery;
use crate::pipe::Pipe;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Capability `qd.router`: messages between routers.
    Control,
    /// Capability `qd.router-data`: whole messages.
    Data,
    /// One stream at a time, between routers; ours to use again.
    Stream,
    /// Of a client, or a stream of the peer's.
    Endpoint,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    /// Our channel.
    pub(super) session: u16,
    /// Ours.
    pub(super) handle: u32,
    /// The peer's, once it has answered.
    pub(super) remote: Option<u32>,
    pub(super) kind: Kind,
    /// The address that this link is a destination of, to be forgotten with it.
    pub(super) address: Option<String>,
    pub(super) end: LinkEnd,
}

#[derive(Debug)]
pub(super) enum LinkEnd {
    Sender(Sender),
    Receiver(Receiver),
}

/// A delivery that is being sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) head: Option<Bytes>,
    pub(super) pipe: Rc<Pipe>,
    pub(super) id: u32,
    pub(super) settled: bool,
    /// A frame of it went out.
    pub(super) started: bool,
    /// The peer wants no more of it.
    pub(super) refused: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sender {
    pub(super) credit: u32,
    pub(super) count: u32,
    pub(super) queue: VecDeque<Delivery>,
    pub(super) sending: Option<Sending>,
    /// Sent, without an outcome yet.
    pub(super) unsettled: Vec<(u32, Rc<Pipe>)>,
    /// It stands in the engine's queue.
    pub(super) ready: bool,
}

/// A delivery that is coming in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: u32,
    pub(super) settled: bool,
    /// What came until the sections before the body are complete, or the message is.
    pub(super) buffer: BytesMut,
    /// How often they were looked for.
    pub(super) looks: u32,
    /// Where its bytes go, once it is known.
    pub(super) pipe: Option<Rc<Pipe>>,
    /// It is refused: what still comes is dropped.
    pub(super) discard: bool,
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) credit: u32,
    pub(super) count: u32,
    /// Where messages go that do not say it themselves.
    pub(super) target: Option<String>,
    /// Pass deliveries on while they come in.
    pub(super) streaming: bool,
    pub(super) incoming: Option<Incoming>,
    /// Deliveries without an outcome yet: number, pipe, what was said about its progress.
    pub(super) unsettled: Vec<(u32, Rc<Pipe>, u64)>,
}

impl Receiver {
    pub(super) fn new(target: Option<String>, streaming: bool) -> Self {
        Self { credit: CREDIT, count: 0, target, streaming, incoming: None, unsettled: Vec::new() }
    }

    /// How many frames of its deliveries wait to leave.
    pub(super) fn held(&self) -> usize {
        self.unsettled.iter().map(|(_, pipe, _)| pipe.held()).sum()
    }
}

impl Link {
    pub(super) fn sender(&self) -> Option<&Sender> {
        match &self.end {
            LinkEnd::Sender(sender) => Some(sender),
            LinkEnd::Receiver(_) => None,
        }
    }

    pub(super) fn sender_mut(&mut self) -> Option<&mut Sender> {
        match &mut self.end {
            LinkEnd::Sender(sender) => Some(sender),
            LinkEnd::Receiver(_) => None,
        }
    }

    pub(super) fn receiver(&self) -> Option<&Receiver> {
        match &self.end {
            LinkEnd::Receiver(receiver) => Some(receiver),
            LinkEnd::Sender(_) => None,
        }
    }

    pub(super) fn receiver_mut(&mut self) -> Option<&mut Receiver> {
        match &mut self.end {
            LinkEnd::Receiver(receiver) => Some(receiver),
            LinkEnd::Sender(_) => None,
        }
    }

    /// A delivery is on its way over it.
    pub(super) fn is_busy(&self) -> bool {
        match &self.end {
            LinkEnd::Sender(s) => s.sending.is_some() || !s.queue.is_empty() || !s.unsettled.is_empty(),
            LinkEnd::Receiver(r) => r.incoming.is_some() || !r.unsettled.is_empty(),
        }
    }

    /// Channel, handle, delivery count and credit, for a flow.
    pub(super) fn flow(&self) -> (u16, u32, u32, u32) {
        let (count, credit) = match &self.end {
            LinkEnd::Sender(sender) => (sender.count, sender.credit),
            LinkEnd::Receiver(receiver) => (receiver.count, receiver.credit),
        };
        (self.session, self.handle, count, credit)
    }

    /// Ends all that passes over it.
    pub(super) fn break_off(self) {
        match self.end {
            LinkEnd::Sender(sender) => {
                for delivery in sender.queue {
                    delivery.pipe.settle(Outcome::Released);
                }
                for pipe in sender
                    .sending
                    .map(|s| s.pipe)
                    .into_iter()
                    .chain(sender.unsettled.into_iter().map(|u| u.1))
                {
                    pipe.settle(Outcome::Modified);
                }
            }
            LinkEnd::Receiver(receiver) => {
                for pipe in receiver
                    .incoming
                    .and_then(|i| i.pipe)
                    .into_iter()
                    .chain(receiver.unsettled.into_iter().map(|u| u.1))
                {
                    pipe.forget_producer();
                    pipe.end(crate::pipe::End::Aborted);
                }
            }
        }
    }
}
