//! A delay line: a wire in userspace on which every frame takes its time.
//!
//! Where the kernel has netem, a queueing discipline delays frames; where it has not, a process
//! holds the wire's two ends and passes the frames on itself:
//!
//! ```text
//!   node ── veth ── a │ DelayLine │ b ── veth ── node
//!                     socket, queue
//! ```
//!
//! Packet sockets (`packet(7)`) take frames with the offload state that they have in the kernel,
//! so that a TCP segment of 64 KiB crosses the line as one frame, its checksum still to be filled
//! in. One exception: a large segment inside a tunnel has no form in that interface and is cut
//! here, as a network card would.
//!
//! A frame's delay counts from the moment it is read, some microseconds after it came. What the
//! interface cannot say at all (an SCTP segment that is still to be cut) is dropped and counted.

mod probe;
mod queue;
mod segment;
mod socket;

pub use self::probe::{Place, crossing_time};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use self::queue::Queue;
use self::socket::{PacketSocket, Received, Sent};
use crate::error::{Error, Result};

/// Chunks of half a MiB that may be on the line in one direction, in all 40 MiB: 20 ms of 16 Gbit/s.
/// More than 32 MiB, the most that an allocator takes from its own heap and not from the kernel.
const QUEUE_CHUNKS: usize = 80;

/// Frames that one direction may take or give before the other has its turn.
const BATCH: usize = 64;

/// Frames read at once from which on the socket's buffer may have overflowed: asking costs a call.
const BURST: usize = 4;

/// How often a device that is down is looked for: nobody says when it is deleted.
const RECHECK: Duration = Duration::from_secs(1);

/// The longest delay, far from what a clock can count.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// A wire with a delay between two network devices.
#[derive(Debug)]
pub struct DelayLine {
    delay: Duration,
    ends: [End; 2],
    counters: Counters,
}

/// A device, and what has arrived there and is on its way to the other.
#[derive(Debug)]
struct End {
    socket: PacketSocket,
    queue: Queue,
    /// The other device takes no more for now: its send buffer is full.
    blocked: bool,
    /// The device was down when last heard of.
    down: bool,
}

/// How many frames a direction has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the far device took. A segment that the kernel has yet to cut counts as one.
    pub forwarded: u64,
    /// Frames lost: the queue or a socket's buffer was full, the far device was down or its MTU
    /// too small.
    pub dropped: u64,
}

/// The running counters of a [`DelayLine`], to be read from any thread.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<[Tally; 2]>);

#[derive(Debug, Default)]
struct Tally {
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// What came in at the first device.
    #[must_use]
    pub fn a_to_b(&self) -> Counts {
        self.0[0].counts()
    }

    /// What came in at the second device.
    #[must_use]
    pub fn b_to_a(&self) -> Counts {
        self.0[1].counts()
    }
}

impl Tally {
    fn counts(&self) -> Counts {
        Counts {
            forwarded: self.forwarded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn forward(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    fn lose(&self, frames: u64) {
        self.dropped.fetch_add(frames, Ordering::Relaxed);
    }
}

impl DelayLine {
    /// A line between devices `a` and `b` of the calling thread's namespace, `delay` long each way.
    ///
    /// The devices become promiscuous while the line is open. They must not be ports of a bridge,
    /// nor have addresses: the namespace's own stack sees what arrives, too, and answers ARP for
    /// addresses that it has. With IPv6 a device gives itself an address when it is set up, and
    /// speaks of it on the wire: write 1 to its `disable_ipv6` before.
    ///
    /// The line may be moved to any thread; its sockets stay where they were opened. It takes over
    /// all that arrives from now on, but passes on only in [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::NoLink`] when a device is missing, `EPERM` without `CAP_NET_RAW`; a delay of more
    /// than an hour.
    pub fn open(a: &str, b: &str, delay: Duration) -> Result<Self> {
        if delay > MAX_DELAY {
            return Err(Error::Other(format!("delay of {delay:?} between {a} and {b} is too long")));
        }
        Ok(Self { delay, ends: [End::open(a)?, End::open(b)?], counters: Counters::default() })
    }

    /// The counters; they stay readable while the line runs, and after.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Carries frames both ways, in order, until `stop` becomes readable or its other end is
    /// closed; without `stop`, for ever.
    ///
    /// Frames still on the line then stay there, and go on when it runs again. A device that is
    /// set down loses what would leave there, and nothing more.
    ///
    /// # Errors
    /// [`Error::NoLink`] when a device is deleted; the kernel's, when a socket fails.
    pub fn run(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<()> {
        loop {
            let ready = self.wait(stop)?;
            if ready.stop {
                return Ok(());
            }
            for from in 0..2 {
                if ready.ends[from] {
                    self.ends[from].take(self.delay, &self.counters.0[from])?;
                } else if self.ends[from].down {
                    self.ends[from].socket.check_device()?;
                }
            }
            let [a, b] = &mut self.ends;
            a.give(&b.socket, &self.counters.0[0])?;
            b.give(&a.socket, &self.counters.0[1])?;
        }
    }

    /// Waits until a device has something, or a frame is due, or a blocked device may take more.
    fn wait(&self, stop: Option<BorrowedFd<'_>>) -> Result<Ready> {
        let [a, b] = &self.ends;
        let mut fds = Vec::with_capacity(3);
        for (end, opposite) in [(a, b), (b, a)] {
            let mut interest = PollFlags::POLLIN;
            interest.set(PollFlags::POLLOUT, opposite.blocked);
            fds.push(PollFd::new(end.socket.as_fd(), interest));
        }
        fds.extend(stop.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = self.timeout(Instant::now()).map(TimeSpec::from);
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(e) => return Err(Error::sys("wait for frames", e)),
        }
        // An error state counts as ready: reading fetches and clears it.
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|e| e.intersects(!PollFlags::POLLOUT));
        Ok(Ready { ends: [ready(&fds[0]), ready(&fds[1])], stop: fds.get(2).is_some_and(ready) })
    }

    /// How long there is nothing to do by the clock; `None` is for ever.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let due = self.ends.iter().filter(|end| !end.blocked).filter_map(|end| end.queue.due()).min();
        let recheck = self.ends.iter().any(|end| end.down).then_some(RECHECK);
        due.map(|due| due.saturating_duration_since(now)).into_iter().chain(recheck).min()
    }
}

/// What [`DelayLine::wait`] saw.
#[derive(Debug, Default)]
struct Ready {
    ends: [bool; 2],
    stop: bool,
}

impl End {
    fn open(device: &str) -> Result<Self> {
        Ok(Self {
            socket: PacketSocket::open(device)?,
            queue: Queue::new(QUEUE_CHUNKS),
            blocked: false,
            down: false,
        })
    }

    /// Reads what has arrived into the queue.
    fn take(&mut self, delay: Duration, tally: &Tally) -> Result<()> {
        // Read into it when the queue is full: the kernel cuts off the rest.
        let mut nowhere = [0; 64];
        let mut taken = 0;
        while taken < BATCH {
            let (space, full) = match self.queue.space() {
                Some(space) => (space, false),
                None => (&mut nowhere[..], true),
            };
            match self.socket.receive(space)? {
                Received::Frame(_) if full => tally.lose(1),
                Received::Frame(frame) if segment::is_tunnelled(&space[frame.clone()]) => {
                    let whole = space[frame].to_vec();
                    self.split(&whole, Instant::now() + delay, tally);
                }
                Received::Frame(frame) => self.queue.push(frame, Instant::now() + delay),
                Received::Lost => tally.lose(1),
                Received::Nothing => break,
                Received::Down => {
                    self.down = true;
                    return self.socket.check_device();
                }
            }
            self.down = false;
            taken += 1;
        }
        if taken >= BURST {
            tally.lose(self.socket.overflowed()?);
        }
        Ok(())
    }

    /// Queues the frames that a tunnelled segment is to be cut into.
    fn split(&mut self, whole: &[u8], due: Instant, tally: &Tally) {
        let done = segment::split(whole, |part| match self.queue.space() {
            Some(space) => {
                space[..part.len()].copy_from_slice(part);
                self.queue.push(0..part.len(), due);
            }
            None => tally.lose(1),
        });
        if done.is_none() {
            tally.lose(1);
        }
    }

    /// Sends what is due out of the opposite device.
    fn give(&mut self, opposite: &PacketSocket, tally: &Tally) -> Result<()> {
        self.blocked = false;
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(frame) = self.queue.front(now) else { break };
            match opposite.send(frame)? {
                Sent::Taken => tally.forward(),
                Sent::Lost => tally.lose(1),
                Sent::Full => {
                    self.blocked = true;
                    break;
                }
            }
            self.queue.pop();
        }
        Ok(())
    }
}
