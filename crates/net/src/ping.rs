//! ICMP echo to many addresses at once (RFC 792), without the program `ping`.
//!
//! All pingers of a namespace see all replies that come to it. Each has an identifier of its own,
//! which a filter in the kernel looks for, so that a busy namespace does not fill its buffer; and
//! a nonce in the payload, should two have chosen the same identifier.

// Attaching a filter to a socket has no safe wrapper in nix.
#![allow(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeSpec;

use crate::error::{Error, Result};

/// Types of messages (RFC 792).
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Bytes of the ICMP header.
const HEADER: usize = 8;

/// Bytes of a message: header and payload, as many as `ping` sends.
const MESSAGE: usize = HEADER + 56;

/// Asked for as receive and send buffer; the kernel charges 768 bytes for a message.
const BUFFER: usize = 2 << 20;

/// What the system call may be asked to wait: a time-out beyond it takes several.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Sends one echo request to each target and waits for the replies until all are there, or until
/// `timeout` after the call: for each target the round-trip time, or `None`.
///
/// An address without a route, or one that a route or filter refuses, counts as unanswered. A
/// target may be named more than once.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`; more than 65536 targets; the kernel's, when the socket fails.
pub fn ping_all(targets: &[Ipv4Addr], timeout: Duration) -> Result<Vec<Option<Duration>>> {
    if targets.len() > 1 << 16 {
        return Err(Error::Other(format!("cannot ping {} targets at once, at most 65536", targets.len())));
    }
    let start = Instant::now();
    let mut pinger = Pinger::open()?;
    let mut flights = vec![Flight::Unsent; targets.len()];
    let mut unsent = 0;
    loop {
        while let Some(&target) = targets.get(unsent) {
            match pinger.send(target, unsent as u16)? {
                Some(flight) => flights[unsent] = flight,
                None => break,
            }
            unsent += 1;
            // Or else replies could outrun the receive buffer.
            pinger.receive(&mut flights)?;
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() || !flights.iter().any(Flight::is_open) {
            break;
        }
        pinger.wait(left, unsent < targets.len())?;
        pinger.receive(&mut flights)?;
    }
    Ok(flights.iter().map(Flight::time).collect())
}

/// One target's request.
#[derive(Debug, Clone, Copy)]
enum Flight {
    Unsent,
    Sent(Instant),
    Answered(Duration),
    Refused,
}

impl Flight {
    fn is_open(&self) -> bool {
        matches!(self, Self::Unsent | Self::Sent(_))
    }

    fn time(&self) -> Option<Duration> {
        match self {
            Self::Answered(time) => Some(*time),
            Self::Unsent | Self::Sent(_) | Self::Refused => None,
        }
    }
}

/// A raw socket (`raw(7)`), and what tells its messages from others'.
#[derive(Debug)]
struct Pinger {
    socket: OwnedFd,
    identifier: u16,
    nonce: u64,
}

impl Pinger {
    fn open() -> Result<Self> {
        // The standard library's only source of random numbers, seeded by the kernel.
        let random = || RandomState::new().build_hasher().finish();
        let identifier = random() as u16;
        let failed = |e: Errno| Error::sys("open raw ICMP socket", e);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp).map_err(failed)?;
        attach_filter(&socket, identifier).map_err(failed)?;
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER).map_err(failed)?;
        setsockopt(&socket, sockopt::SndBuf, &BUFFER).map_err(failed)?;
        Ok(Self { socket, identifier, nonce: random() })
    }

    /// Sends one request; `None` when the send buffer is full.
    fn send(&self, target: Ipv4Addr, sequence: u16) -> Result<Option<Flight>> {
        let message = request(self.identifier, sequence, self.nonce);
        let address = SockaddrIn::from(SocketAddrV4::new(target, 0));
        let sent = Instant::now();
        match sendto(self.socket.as_raw_fd(), &message, &address, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => Ok(Some(Flight::Sent(sent))),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            // No route, or one of type unreachable (EHOSTUNREACH), prohibit (EACCES, as broadcasts)
            // or blackhole (EINVAL); EPERM: a filter dropped it; ENOBUFS: the device's queue did.
            Err(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::EPERM
                | Errno::ENOBUFS,
            ) => Ok(Some(Flight::Refused)),
            Err(e) => Err(Error::sys(format!("send echo request to {target}"), e)),
        }
    }

    /// Waits for a reply, or for room in the send buffer, too.
    fn wait(&self, timeout: Duration, writable: bool) -> Result<()> {
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, writable);
        let mut fds = [PollFd::new(self.socket.as_fd(), interest)];
        match ppoll(&mut fds, Some(TimeSpec::from(timeout.min(LONGEST_WAIT))), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(Error::sys("wait for echo replies", e)),
        }
    }

    /// Takes the replies that are there.
    fn receive(&mut self, flights: &mut [Flight]) -> Result<()> {
        let mut packet = [0; 60 + MESSAGE];
        loop {
            let len = match recv(self.socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                Err(e) => return Err(Error::sys("receive echo replies", e)),
            };
            let now = Instant::now();
            let Some(sequence) = reply(&packet[..len], self.identifier, self.nonce) else { continue };
            // The first counts: a flight that has landed is no longer Sent.
            if let Some(flight) = flights.get_mut(usize::from(sequence))
                && let Flight::Sent(sent) = *flight
            {
                *flight = Flight::Answered(now.saturating_duration_since(sent));
            }
        }
    }
}

/// An echo request: type, code, checksum, identifier, sequence number, payload.
fn request(identifier: u16, sequence: u16, nonce: u64) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[0] = ECHO_REQUEST;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[HEADER..HEADER + 8].copy_from_slice(&nonce.to_be_bytes());
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The sequence number, if an IP packet is a reply to one of ours.
fn reply(packet: &[u8], identifier: u16, nonce: u64) -> Option<u16> {
    // A raw socket gives the IP header, too; its length counts words of four bytes (RFC 791).
    let message = packet.get(usize::from(packet.first()? & 15) * 4..)?;
    let &[ECHO_REPLY, 0, _, _, i0, i1, s0, s1] = message.first_chunk::<HEADER>()? else { return None };
    let payload = message.get(HEADER..HEADER + 8)?;
    let ours = [i0, i1] == identifier.to_be_bytes() && payload == nonce.to_be_bytes();
    ours.then_some(u16::from_be_bytes([s0, s1]))
}

/// The internet checksum of an even number of bytes (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum + (sum >> 16)) as u16)
}

/// Lets only echo replies with the identifier through, in classic BPF (`socket(7)`).
fn attach_filter(socket: &OwnedFd, identifier: u16) -> nix::Result<()> {
    use libc::{BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};
    let code = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut program = [
        // X = length of the IP header; then two fields of the message behind it.
        code(BPF_LDX | BPF_B | BPF_MSH, 0, 0),
        code(BPF_LD | BPF_B | BPF_IND, 0, 0),
        code(BPF_JMP | BPF_JEQ | BPF_K, 3, u32::from(ECHO_REPLY)),
        code(BPF_LD | BPF_H | BPF_IND, 0, 4),
        code(BPF_JMP | BPF_JEQ | BPF_K, 1, u32::from(identifier)),
        code(BPF_RET | BPF_K, 0, u32::MAX),
        code(BPF_RET | BPF_K, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let (from, len) = (ptr::from_ref(&filter).cast(), size_of_val(&filter) as libc::socklen_t);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: `from` leads to a sock_fprog, and that to as many instructions as it says; the kernel
    // copies both.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, from, len) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a host makes of a request: an IP header, type 0.
    fn answer(mut message: [u8; MESSAGE]) -> Vec<u8> {
        message[0] = ECHO_REPLY;
        let mut packet = vec![0x46, 0];
        packet.resize(24, 0);
        packet.extend(message);
        packet
    }

    #[test]
    fn a_request_sums_up_to_zero() {
        assert_eq!(checksum(&request(0xffff, 0xfffe, u64::MAX - 1)), 0);
        assert_eq!(checksum(&request(1, 2, 3)), 0);
    }

    #[test]
    fn a_reply_gives_its_sequence_number() {
        assert_eq!(reply(&answer(request(7, 300, 99)), 7, 99), Some(300));
    }

    #[test]
    fn foreign_and_broken_packets_are_no_replies() {
        let packet = answer(request(7, 300, 99));
        assert_eq!(reply(&packet, 8, 99), None);
        assert_eq!(reply(&packet, 7, 98), None);
        for len in 0..24 + HEADER + 8 {
            assert_eq!(reply(&packet[..len], 7, 99), None);
        }
        let mut unreachable = packet;
        unreachable[24] = 3;
        assert_eq!(reply(&unreachable, 7, 99), None);
    }
}
