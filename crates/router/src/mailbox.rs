//! What others tell a connection: each is owned by one task; the rest of the router leaves it messages.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;

use crate::pipe::Pipe;

/// A link of a connection: its place in the connection's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub(crate) u32);

/// Over which link a delivery leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The control link: messages between routers.
    Control,
    /// The shared link for whole messages.
    Data,
    /// A link of its own.
    Stream,
    /// The link of a client that asked for the address.
    Link(LinkKey),
}

/// A delivery to pass on.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) class: Class,
    /// What goes before the pipe's bytes: the sections up to the body.
    pub(crate) head: Bytes,
    pub(crate) pipe: Rc<Pipe>,
    /// Nobody waits for an outcome.
    pub(crate) settled: bool,
}

/// What others tell a connection.
#[derive(Debug)]
pub(crate) enum Letter {
    Deliver(Delivery),
    /// A link's pipe has something new.
    Link(LinkKey),
    /// Another connection to the same router takes over: no new streams, and end with the last.
    Retire,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: RefCell<VecDeque<Letter>>,
    waker: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

impl Mailbox {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// Leaves a letter; `false` when the connection is gone.
    pub(crate) fn send(&self, letter: Letter) -> bool {
        if self.closed.get() {
            return false;
        }
        self.letters.borrow_mut().push_back(letter);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
        true
    }

    pub(crate) fn wake_link(&self, link: LinkKey) {
        self.send(Letter::Link(link));
    }

    pub(crate) fn take(&self) -> Option<Letter> {
        self.letters.borrow_mut().pop_front()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// No more letters; those that wait are given back.
    pub(crate) fn close(&self) -> VecDeque<Letter> {
        self.closed.set(true);
        self.letters.take()
    }
}
