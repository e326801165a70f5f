//! One TCP connection and its two streams through the network.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::{Service, Waiting, add};
use crate::amqp::frame::Outcome;
use crate::pipe::{End, Pipe};

/// The sender stops here until the other end says how far it is (`TCP_MAX_CAPACITY_BYTES` in
/// `src/adaptors/tcp/tcp_adaptor.c`, where buffers' headers take a little off).
const WINDOW: u64 = 1024 * 1024;
/// The receiver says how far it is after so much (`TCP_ACK_THRESHOLD_BYTES`; a little less, as there).
const ACKNOWLEDGE: u64 = 500 * 1024;
/// A read below this gets its own memory: a few bytes must not keep a block alive.
const SMALL: usize = 4 * 1024;
/// Chunks that one write takes.
const CHUNKS: usize = 32;
/// Rounds before others get their turn.
const ROUNDS: usize = 8;
/// After a clean end the client may take its time to end too.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Stream {
    io: TcpStream,
    service: Rc<Service>,
    /// What TCP sent, into the network.
    out: Rc<Pipe>,
    /// Bytes of it.
    sent: u64,
    read_closed: bool,
    /// What comes from the network; a client's comes later.
    inward: Option<Rc<Pipe>>,
    waiting: Option<(Rc<Waiting>, String)>,
    /// Taken from the network, on its way to TCP.
    writing: VecDeque<Bytes>,
    written: u64,
    acknowledged: u64,
    write_closed: bool,
}

/// How a round went.
enum Round {
    /// There may be more to do.
    Again,
    /// Nothing until something changes.
    Wait,
    /// Both directions ended.
    Done,
    /// The network failed: TCP is to be ended cleanly.
    Failed,
}

impl Stream {
    pub(super) fn new(io: TcpStream, service: Rc<Service>, out: Rc<Pipe>) -> Self {
        // Small answers must not wait for more; a socket that does not know the option is slower, no more.
        let _ = io.set_nodelay(true);
        Self {
            io,
            service,
            out,
            sent: 0,
            read_closed: false,
            inward: None,
            waiting: None,
            writing: VecDeque::new(),
            written: 0,
            acknowledged: 0,
            write_closed: false,
        }
    }

    /// The stream from the server will arrive here.
    pub(super) fn wait_for(&mut self, waiting: Rc<Waiting>, name: String) {
        self.waiting = Some((waiting, name));
    }

    /// The stream from the client is here.
    pub(super) fn answer(&mut self, from_client: Rc<Pipe>) {
        self.inward = Some(from_client);
    }

    pub(super) async fn run(mut self) {
        let failed = poll_fn(|cx| self.poll(cx)).await;
        if failed {
            self.linger().await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.out.set_producer_task(cx.waker());
        if let Some(inward) = &self.inward {
            inward.set_consumer_task(cx.waker());
        }
        for _ in 0..ROUNDS {
            self.look_for_answer(cx);
            let round = match (self.write(cx), self.read(cx)) {
                (Round::Failed, _) | (_, Round::Failed) => Round::Failed,
                (Round::Again, _) | (_, Round::Again) => Round::Again,
                (Round::Done, Round::Done) => Round::Done,
                _ => Round::Wait,
            };
            match round {
                Round::Again => {}
                Round::Wait => return Poll::Pending,
                Round::Done => return Poll::Ready(false),
                Round::Failed => {
                    if self.sent == 0 && self.written == 0 {
                        add(&self.service.counters.failed, 1);
                    }
                    return Poll::Ready(true);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn look_for_answer(&mut self, cx: &mut Context<'_>) {
        let Some((waiting, name)) = &self.waiting else { return };
        let Some(pipe) = waiting.pipe.borrow_mut().take() else {
            *waiting.waker.borrow_mut() = Some(cx.waker().clone());
            return;
        };
        pipe.set_consumer_task(cx.waker());
        self.inward = Some(pipe);
        self.service.core.forget_reply(name);
        self.waiting = None;
    }

    /// From TCP into the network.
    fn read(&mut self, cx: &mut Context<'_>) -> Round {
        match self.out.outcome() {
            None | Some(Outcome::Accepted) => {}
            Some(_) if self.read_closed && self.write_closed => {}
            Some(_) => return Round::Failed,
        }
        if self.read_closed {
            return Round::Done;
        }
        // Not before the server's side has answered, as `LSIDE_STREAM_START` does: real routers lose bytes that
        // come while they still connect.
        if self.waiting.is_some() {
            return Round::Wait;
        }
        let accepted = self.out.outcome().is_some();
        if !accepted && (self.out.is_full() || self.sent.saturating_sub(self.out.received()) >= WINDOW) {
            return Round::Wait;
        }
        match self.io.poll_read_ready(cx) {
            Poll::Pending => return Round::Wait,
            Poll::Ready(Err(_)) => return self.tcp_failed(),
            Poll::Ready(Ok(())) => {}
        }
        let read = {
            let blocks = &self.service.core.blocks;
            let mut block = blocks.take();
            let read = self.io.try_read_buf(&mut block).map(|n| (n, take(&mut block)));
            blocks.give(block);
            read
        };
        match read {
            Ok((0, _)) => {
                self.read_closed = true;
                self.out.end(End::Complete);
                Round::Done
            }
            Ok((n, chunk)) => {
                self.sent += n as u64;
                add(&self.service.counters.bytes_in, n as u64);
                self.out.push(chunk);
                Round::Again
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Round::Again,
            Err(_) => self.tcp_failed(),
        }
    }

    /// TCP was reset: the other end's TCP is ended too (`close_connection_XSIDE_IO`).
    fn tcp_failed(&mut self) -> Round {
        self.read_closed = true;
        self.write_closed = true;
        self.out.end(End::Complete);
        if let Some(inward) = &self.inward {
            inward.settle(Outcome::Modified);
        }
        Round::Failed
    }

    /// From the network to TCP.
    fn write(&mut self, cx: &mut Context<'_>) -> Round {
        if self.write_closed {
            return Round::Done;
        }
        let Some(inward) = &self.inward else { return Round::Wait };
        while self.writing.len() < CHUNKS {
            let Some(chunk) = inward.pop(usize::MAX) else { break };
            self.writing.push_back(chunk);
        }
        if self.writing.is_empty() {
            return match inward.ended() {
                None => Round::Wait,
                Some(End::Complete) => {
                    inward.settle(Outcome::Accepted);
                    self.write_closed = true;
                    // It only fails when TCP is gone, which reading shows.
                    let _ = Pin::new(&mut self.io).poll_shutdown(cx);
                    Round::Done
                }
                Some(End::Aborted) => Round::Failed,
            };
        }
        match self.io.poll_write_ready(cx) {
            Poll::Pending => return Round::Wait,
            Poll::Ready(Err(_)) => return self.tcp_failed(),
            Poll::Ready(Ok(())) => {}
        }
        let mut slices = [IoSlice::new(&[]); CHUNKS];
        for (slice, chunk) in slices.iter_mut().zip(self.writing.iter()) {
            *slice = IoSlice::new(chunk);
        }
        let count = self.writing.len().min(CHUNKS);
        match self.io.try_write_vectored(&slices[..count]) {
            Ok(n) => {
                advance(&mut self.writing, n);
                self.written += n as u64;
                add(&self.service.counters.bytes_out, n as u64);
                if self.written - self.acknowledged >= ACKNOWLEDGE {
                    self.acknowledged = self.written;
                    inward.set_received(self.written);
                }
                Round::Again
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Round::Again,
            Err(_) => self.tcp_failed(),
        }
    }

    /// The network ended this: TCP gets a clean end, not a reset. What the client still sends is read and dropped.
    async fn linger(&mut self) {
        self.settle();
        let shut = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
        if shut.is_err() {
            return;
        }
        let mut dropped = BytesMut::new();
        let drain = async {
            while self.io.readable().await.is_ok() {
                dropped.clear();
                dropped.reserve(SMALL);
                match self.io.try_read_buf(&mut dropped) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Whoever takes longer gets the reset.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    fn settle(&mut self) {
        self.out.end(End::Complete);
        if let Some((waiting, name)) = self.waiting.take() {
            self.service.core.forget_reply(&name);
            self.inward = waiting.pipe.borrow_mut().take();
        }
        if let Some(inward) = self.inward.take() {
            // Accepted already when it came to its end.
            inward.settle(Outcome::Modified);
        }
        self.out.forget_producer();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.settle();
        add(&self.service.counters.closed, 1);
    }
}

/// What was read; the block has the room after it.
fn take(block: &mut BytesMut) -> Bytes {
    if block.len() < SMALL {
        let chunk = Bytes::copy_from_slice(block);
        block.clear();
        chunk
    } else {
        block.split().freeze()
    }
}

fn advance(chunks: &mut VecDeque<Bytes>, mut n: usize) {
    while n > 0 {
        let Some(front) = chunks.front_mut() else { return };
        if front.len() > n {
            front.advance(n);
            return;
        }
        n -= front.len();
        chunks.pop_front();
    }
}
