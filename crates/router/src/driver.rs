//! A connection's task: reads the socket into the engine, writes what the engine made.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::amqp::frame::{self, Header};
use crate::blocks::Blocks;
use crate::core::Traffic;
use crate::engine::{self, Engine};
use crate::io::Io;
use crate::mailbox::Mailbox;

/// A read has room for this at least.
const LEAST: usize = 16 * 1024;
/// Slices handed to one write.
const SLICES: usize = 64;
/// Reads before others get their turn.
const READS: usize = 4;
/// How often silence is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read or write failed")]
    Io(#[from] std::io::Error),
    #[error("protocol violated")]
    Engine(#[from] engine::Error),
    #[error("the peer ended the connection without close")]
    Ended,
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    #[error("another connection to the same router has taken over")]
    Replaced,
    #[error("the peer speaks another protocol: it began with {0:?}")]
    Protocol([u8; 8]),
}

/// When a connection was last heard; its connector looks at it.
pub(crate) type Heard = Rc<Cell<Instant>>;

pub(crate) struct Driver {
    io: Io,
    engine: Engine,
    mailbox: Rc<Mailbox>,
    /// What was read and is not a whole frame yet.
    input: BytesMut,
    blocks: Rc<Blocks>,
    /// The protocol header came.
    begun: bool,
    heard: Heard,
    traffic: Rc<Traffic>,
    sent: Instant,
    idle: Duration,
    tick: Interval,
    /// The engine said that it is over; what it said is still to be written.
    over: Option<Error>,
}

impl Driver {
    /// `input` is what was read of the connection already.
    pub(crate) fn new(
        io: Io,
        input: BytesMut,
        engine: Engine,
        mailbox: Rc<Mailbox>,
        heard: Heard,
        traffic: Rc<Traffic>,
        idle: Duration,
    ) -> Self {
        let now = Instant::now();
        heard.set(now);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let blocks = engine.blocks();
        Self {
            io,
            engine,
            mailbox,
            input,
            blocks,
            begun: false,
            heard,
            traffic,
            sent: now,
            idle,
            tick,
            over: None,
        }
    }

    /// Runs the connection until it ends.
    pub(crate) async fn run(mut self) -> Error {
        if let Err(error) = self.engine.start() {
            return error.into();
        }
        if let Err(error) = self.frames() {
            return error;
        }
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.mailbox.register(cx.waker());
        if let Some(error) = self.check_silence(cx) {
            return Poll::Ready(error);
        }
        let mut reads = 0;
        loop {
            if self.over.is_none() {
                while let Some(letter) = self.mailbox.take() {
                    if let Err(error) = self.engine.letter(letter) {
                        self.over = Some(error.into());
                        break;
                    }
                }
            }
            let wrote = match self.write(cx) {
                Ok(wrote) => wrote,
                Err(error) => return Poll::Ready(self.over.take().unwrap_or(error)),
            };
            if wrote == Wrote::All && self.over.is_some() {
                return Poll::Ready(self.over.take().unwrap_or(Error::Ended));
            }
            if self.over.is_some() {
                return Poll::Pending;
            }
            if reads >= READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.read(cx) {
                Poll::Ready(Ok(())) => reads += 1,
                Poll::Ready(Err(error)) => {
                    // A reason that the engine wants to tell is told first.
                    self.engine.close(Some(&error.to_string()));
                    self.over = Some(error);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends a sign of life in time, and gives up on a peer that sends none.
    fn check_silence(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        let mut ticked = false;
        while self.tick.poll_tick(cx).is_ready() {
            ticked = true;
        }
        if !ticked {
            return None;
        }
        // After a link that was cut TCP tries again as late as it was cut for, at worst: streams outlive a cut of `idle`.
        // Who is gone meanwhile is no neighbour much sooner, and its streams are all that waits.
        let limit = self.idle * 2;
        if !limit.is_zero() && self.heard.get().elapsed() > limit {
            return Some(Error::Silent(limit));
        }
        if self.engine.is_done() {
            self.engine.close(None);
            self.over = Some(Error::Replaced);
            return None;
        }
        let theirs = self.engine.peer.as_ref().and_then(|peer| peer.idle).filter(|idle| *idle > 0);
        let half = Duration::from_millis(u64::from(theirs?) / 2);
        if self.sent.elapsed() + TICK >= half {
            self.engine.put_empty();
        }
        None
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Wrote, Error> {
        loop {
            let out = match self.engine.fill() {
                Ok(out) => out,
                Err(error) => {
                    self.over.get_or_insert(error.into());
                    return Ok(Wrote::All);
                }
            };
            if out.is_empty() {
                // TLS may hold records back.
                return match Pin::new(&mut self.io).poll_flush(cx)? {
                    Poll::Ready(()) => Ok(Wrote::All),
                    Poll::Pending => Ok(Wrote::Some),
                };
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(out.iter()) {
                *slice = IoSlice::new(chunk);
                count += 1;
            }
            let mut written = match Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])? {
                Poll::Ready(0) => return Err(Error::Ended),
                Poll::Ready(written) => written,
                Poll::Pending => return Ok(Wrote::Some),
            };
            self.sent = Instant::now();
            self.traffic.bytes_out.set(self.traffic.bytes_out.get() + written as u64);
            while written > 0 {
                let Some(front) = out.front_mut() else { break };
                if front.len() > written {
                    front.advance(written);
                    break;
                }
                written -= front.len();
                out.pop_front();
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.make_room();
        let result = {
            let read = pin!(self.io.read_buf(&mut self.input));
            read.poll(cx)
        };
        if self.input.is_empty() {
            // A connection that waits holds nothing.
            self.blocks.give(std::mem::take(&mut self.input));
        }
        let read = ready!(result)?;
        if read == 0 {
            return Poll::Ready(Err(Error::Ended));
        }
        self.traffic.bytes_in.set(self.traffic.bytes_in.get() + read as u64);
        self.heard.set(Instant::now());
        Poll::Ready(self.frames())
    }

    /// Hands all whole frames to the engine.
    fn frames(&mut self) -> Result<(), Error> {
        if !self.begun {
            let Some(header) = self.input.first_chunk::<8>() else { return Ok(()) };
            if *header != frame::AMQP_HEADER {
                return Err(Error::Protocol(*header));
            }
            self.input.advance(8);
            self.begun = true;
        }
        let limit = self.engine.settings.max_frame as usize;
        while let Some(header) = Header::parse(&self.input).map_err(engine::Error::from)? {
            if header.size > limit {
                let why = format!("a frame of {} bytes; at most {limit} were agreed", header.size);
                return Err(engine::Error::Protocol(why).into());
            }
            if self.input.len() < header.size {
                return Ok(());
            }
            let mut whole = self.input.split_to(header.size).freeze();
            whole.advance(header.body);
            self.engine.frame(header, whole)?;
        }
        Ok(())
    }

    /// Makes room for a read: at least for the rest of the frame that has begun.
    fn make_room(&mut self) {
        let frame = Header::parse(&self.input).ok().flatten().map_or(0, |header| header.size);
        let missing = frame.saturating_sub(self.input.len());
        if self.input.capacity() - self.input.len() >= missing.max(LEAST) {
            return;
        }
        let mut next = self.blocks.take();
        next.reserve(self.input.len() + missing.max(LEAST));
        next.extend_from_slice(&self.input);
        self.blocks.give(std::mem::replace(&mut self.input, next));
    }
}

/// How a round of writing ended.
#[derive(Debug, PartialEq, Eq)]
enum Wrote {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Some,
}
