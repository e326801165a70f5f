//! One delivery on its way through the router: bytes forward, acknowledgement and outcome back.
//!
//! A pipe joins whoever takes the bytes in (a link's receiver, a TCP connection) with whoever passes them on. There
//! is no task and no copy in between: the producer appends slices of what it read, the consumer writes these slices.
//! Each side wakes the other only when the other waits. What a pipe holds is bounded by its producer: a TCP
//! connection stops reading at [`Pipe::is_full`], a link's peer is stopped by its session's window, which opens as
//! the pipe drains.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;

use crate::amqp::frame::Outcome;
use crate::mailbox::{LinkKey, Mailbox};

/// A TCP connection is not read further while its pipe holds this much.
const FULL: usize = 256 * 1024;

/// How the producer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All bytes are in.
    Complete,
    /// There will be no more, and some are missing.
    Aborted,
}

/// Who is woken when the other side did something.
#[derive(Debug, Default)]
pub(crate) enum Wake {
    /// Nobody.
    #[default]
    None,
    /// A task.
    Task(Waker),
    /// A link of a connection.
    Link(Rc<Mailbox>, LinkKey),
}

impl Wake {
    fn wake(&self) {
        match self {
            Self::None => {}
            Self::Task(waker) => waker.wake_by_ref(),
            Self::Link(mailbox, link) => mailbox.wake_link(*link),
        }
    }
}

/// Counts the streams on a way while it lives; balanced distribution looks at it.
#[derive(Debug)]
pub(crate) struct Outstanding(Rc<Cell<u32>>);

impl Outstanding {
    pub(crate) fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get().saturating_add(1));
        Self(Rc::clone(count))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<End>,
    received: u64,
    outcome: Option<Outcome>,
    producer: Wake,
    consumer: Wake,
    outstanding: Option<Outstanding>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pipe(RefCell<Inner>);

impl Pipe {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// A whole message: nobody waits for its outcome.
    pub(crate) fn whole(bytes: Bytes) -> Rc<Self> {
        let pipe = Self::default();
        pipe.push(bytes);
        pipe.end(End::Complete);
        Rc::new(pipe)
    }

    pub(crate) fn set_producer(&self, wake: Wake) {
        self.0.borrow_mut().producer = wake;
    }

    pub(crate) fn set_consumer(&self, wake: Wake) {
        self.0.borrow_mut().consumer = wake;
    }

    /// A task that polls keeps its waker current; the same one again costs nothing.
    pub(crate) fn set_producer_task(&self, waker: &Waker) {
        set_task(&mut self.0.borrow_mut().producer, waker);
    }

    pub(crate) fn set_consumer_task(&self, waker: &Waker) {
        set_task(&mut self.0.borrow_mut().consumer, waker);
    }

    pub(crate) fn count(&self, outstanding: Outstanding) {
        self.0.borrow_mut().outstanding = Some(outstanding);
    }

    // Producer.

    pub(crate) fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut inner = self.0.borrow_mut();
        if inner.outcome.is_some() {
            return;
        }
        inner.bytes += chunk.len();
        inner.chunks.push_back(chunk);
        // One that has something in hand looks again by itself.
        if inner.chunks.len() == 1 {
            inner.consumer.wake();
        }
    }

    pub(crate) fn end(&self, end: End) {
        let mut inner = self.0.borrow_mut();
        if inner.end.is_none() {
            inner.end = Some(end);
            inner.consumer.wake();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.borrow().bytes >= FULL
    }

    /// How many chunks wait; each was one frame.
    pub(crate) fn held(&self) -> usize {
        self.0.borrow().chunks.len()
    }

    /// How many bytes the other end of the way passed on.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.0.borrow().outcome
    }

    // Consumer.

    /// Takes up to `limit` bytes off the front.
    pub(crate) fn pop(&self, limit: usize) -> Option<Bytes> {
        let mut inner = self.0.borrow_mut();
        let was_full = inner.bytes >= FULL;
        let front = inner.chunks.front_mut()?;
        let chunk = if front.len() > limit { front.split_to(limit) } else { inner.chunks.pop_front()? };
        inner.bytes -= chunk.len();
        let drained = inner.chunks.is_empty();
        if drained || (was_full && inner.bytes < FULL) {
            inner.producer.wake();
        }
        Some(chunk)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().chunks.is_empty()
    }

    /// How the producer ended, once all its bytes are taken.
    pub(crate) fn ended(&self) -> Option<End> {
        let inner = self.0.borrow();
        match inner.end {
            Some(End::Aborted) => Some(End::Aborted),
            Some(End::Complete) if inner.chunks.is_empty() => Some(End::Complete),
            _ => None,
        }
    }

    pub(crate) fn set_received(&self, offset: u64) {
        let mut inner = self.0.borrow_mut();
        if offset > inner.received {
            inner.received = offset;
            inner.producer.wake();
        }
    }

    /// Ends the consumer's side; what still waits is dropped.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let mut inner = self.0.borrow_mut();
        if inner.outcome.is_none() {
            inner.outcome = Some(outcome);
            inner.chunks.clear();
            inner.bytes = 0;
            inner.outstanding = None;
            inner.producer.wake();
        }
        inner.consumer = Wake::None;
    }

    /// Breaks the rings of references that end with a link.
    pub(crate) fn forget_producer(&self) {
        self.0.borrow_mut().producer = Wake::None;
    }
}

fn set_task(wake: &mut Wake, waker: &Waker) {
    match wake {
        Wake::Task(old) if old.will_wake(waker) => {}
        other => *other = Wake::Task(waker.clone()),
    }
}
