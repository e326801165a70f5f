//! The way to the kernel and back.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, getsockopt, recv, send,
    setsockopt, socket, sockopt,
};

use crate::error::{Error, Result};
use crate::message::{Attributes, FAMILY_HEADER, HEADER, Message, messages, u32_ne};
use crate::transaction::Batch;

/// Larger than any message that the kernel sends: it fills at most 32 KiB with a dump
/// (`netlink_dump`), and an error repeats at most a request of 64 KiB.
const ANSWER: usize = 128 * 1024;

/// Part of the send buffer that is not for messages (`netlink_sendmsg`).
const OVERHEAD: usize = 32;

/// How often a dump is begun anew when the rules change while it runs.
const DUMPS: usize = 10;

/// A netfilter socket of one namespace.
///
/// Keep it for as long as there is work in that namespace: to close one after deletions waits for the
/// kernel to free what was deleted, 8 to 24 ms.
pub struct Socket {
    fd: OwnedFd,
    /// For answers. The kernel fills little of it, so little of it is ever in memory.
    buffer: Vec<u8>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.fd).finish()
    }
}

impl Socket {
    /// Opens a socket in the calling thread's namespace. It stays there, wherever it is used.
    ///
    /// # Errors
    /// When the kernel has no netfilter, or the process no descriptor left.
    pub fn open() -> Result<Self> {
        let opened = || {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkNetFilter,
            )?;
            // Connected to the kernel, it hears of nobody else.
            connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok(Self { fd, buffer: vec![0; ANSWER] })
        };
        opened().map_err(|e: Errno| Error::socket("open netfilter socket", e))
    }

    /// Has the kernel carry out a batch, whole or not at all. An empty one is nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first object that the kernel does not take;
    /// [`Error::TooLarge`] when the batch does not fit into the send buffer;
    /// [`Error::Answer`] when the kernel neither refuses nor confirms.
    pub fn run(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.make_room(batch.bytes().len())?;
        self.send("send nftables batch", batch.bytes())?;
        self.outcome(batch)
    }

    /// Reads what the kernel thinks of the batch that was sent.
    ///
    /// It has done all the work within sendmsg, so all answers are here already. How many there are is
    /// not known, after an error in particular, so they are read until there are none.
    fn outcome(&mut self, batch: &Batch) -> Result<()> {
        let mut refused = None;
        let mut confirmed = false;
        loop {
            let answer = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => &self.buffer[..length],
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                // More errors than fit. The kernel says so first, but the first of them are here.
                Err(Errno::ENOBUFS) => continue,
                Err(e) => return Err(Error::socket("read answer to nftables batch", e)),
            };
            for message in messages(answer) {
                match verdict(&message) {
                    Some(Ok(())) => confirmed = true,
                    Some(Err(errno)) if refused.is_none() => {
                        let (position, what) = batch.find(message.seq);
                        refused = Some(Error::Refused { what, position, source: errno.into() });
                    }
                    _ => {}
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if confirmed => Ok(()),
            None => Err(Error::Answer("the kernel did not answer an nftables batch".into())),
        }
    }

    /// Everything of a kind, as `NFT_MSG_GETRULE`, in a family: the payload of each answer, without
    /// the header of the family.
    ///
    /// `attributes` narrow the choice, where the kernel heeds them.
    pub(crate) fn dump(&mut self, kind: i32, family: i32, attributes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let kind = libc::NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.ask_for_all("read nftables objects", &request(kind, libc::NLM_F_DUMP, family, attributes))
    }

    /// As [`Socket::ask`], again while what is asked for changes.
    pub(crate) fn ask_for_all(&mut self, what: &'static str, request: &[u8]) -> Result<Vec<Vec<u8>>> {
        for _ in 0..DUMPS {
            if let Some(objects) = self.ask(what, request)? {
                return Ok(objects);
            }
        }
        Err(Error::Answer(format!("{what}: they changed {DUMPS} times meanwhile")))
    }

    /// The number of the ruleset of the namespace: each transaction, of whomever, adds one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn generation(&mut self) -> Result<u32> {
        const WHAT: &str = "read nftables generation";
        /// `NFTA_GEN_ID`
        const GENERATION: u16 = 1;
        let kind = libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_GETGEN;
        let answer = self.ask(WHAT, &request(kind, libc::NLM_F_ACK, libc::AF_UNSPEC, &[]))?;
        let answer = answer.unwrap_or_default();
        let generation = answer.first().and_then(|answer| Attributes(answer).u32(GENERATION));
        generation.ok_or_else(|| Error::Answer("the kernel did not tell the nftables generation".into()))
    }

    /// Sends a request and gives the payload of each answer, without the header of the family; nothing if what
    /// was asked for changed meanwhile.
    pub(crate) fn ask(&mut self, what: &'static str, request: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.send(what, request)?;
        let mut objects = Vec::new();
        let mut interrupted = false;
        loop {
            let answer = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => &self.buffer[..length],
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(Error::socket(what, e)),
            };
            for message in messages(answer) {
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                match verdict(&message) {
                    Some(Err(errno)) => return Err(Error::socket(what, errno)),
                    Some(Ok(())) => return Ok((!interrupted).then_some(objects)),
                    // Smaller numbers are netlink's own (`NLMSG_MIN_TYPE`).
                    None if message.kind >= 0x10 => {
                        objects.push(message.payload.get(FAMILY_HEADER..).unwrap_or_default().to_vec());
                    }
                    None => {}
                }
            }
        }
    }

    /// How large a batch may be, if it is to be of `size` bytes: less than that where the kernel caps the send
    /// buffer. A load that is larger has to be split.
    ///
    /// # Errors
    /// When the socket cannot be asked.
    pub fn room_for(&self, size: usize) -> Result<usize> {
        match self.make_room(size) {
            Ok(()) => Ok(size),
            Err(Error::TooLarge { limit, .. }) => Ok(limit),
            Err(error) => Err(error),
        }
    }

    /// Makes the send buffer large enough: the kernel takes a message only if it fits as a whole.
    fn make_room(&self, size: usize) -> Result<()> {
        let room = || {
            getsockopt(&self.fd, sockopt::SndBuf)
                .map(|room| room.saturating_sub(OVERHEAD))
                .map_err(|e| Error::socket("read send buffer of netfilter socket", e))
        };
        if room()? >= size {
            return Ok(());
        }
        // The kernel doubles what is set (socket(7)). By force needs the first user namespace.
        let set = setsockopt(&self.fd, sockopt::SndBufForce, &size)
            .or_else(|_| setsockopt(&self.fd, sockopt::SndBuf, &size));
        set.map_err(|e| Error::socket("enlarge send buffer of netfilter socket", e))?;
        match room()? {
            limit if limit < size => Err(Error::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    fn send(&self, what: &'static str, bytes: &[u8]) -> Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                // Netlink takes all or nothing.
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::socket(what, e)),
            }
        }
    }
}

/// What a message says of success; nothing if it is something else.
fn verdict(message: &Message<'_>) -> Option<Result<(), Errno>> {
    if !matches!(i32::from(message.kind), libc::NLMSG_ERROR | libc::NLMSG_DONE) {
        return None;
    }
    // Both begin with an error number, negative or nought.
    let code = u32_ne(message.payload).map_or(0, u32::cast_signed);
    Some(if code == 0 { Ok(()) } else { Err(Errno::from_raw(code.wrapping_neg())) })
}

/// A request to a part of netfilter; `kind` is the part's number and the message's.
pub(crate) fn request(kind: i32, flags: i32, family: i32, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + FAMILY_HEADER + attributes.len();
    let mut out = Vec::with_capacity(length);
    out.extend((length as u32).to_ne_bytes());
    out.extend((kind as u16).to_ne_bytes());
    out.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    out.extend([0; 8]); // sequence number and port: one request at a time
    out.extend([family as u8, libc::NFNETLINK_V0 as u8, 0, 0]);
    out.extend(attributes);
    out
}
