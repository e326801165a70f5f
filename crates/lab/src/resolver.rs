//! Names of the world outside: the machine's resolvers, asked on behalf of a lab that has no way out.
//!
//! ```text
//! DNS pods ── 10.1.0.1:53, on the first etcd node ── pid 1 ── sockets of the machine's own network ── resolvers
//! ```
//!
//! `topo up` opens the sockets before there is a lab, and hands them in; nothing but questions and answers
//! crosses. [`Relay`] passes on what comes by UDP, [`Line`] what comes by TCP: what was too long for a packet.

mod datagrams;
mod streams;

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

pub(crate) use datagrams::Relay;
pub(crate) use streams::Line;

/// Who is asked instead of the machine's own: addresses with or without port, by comma; `none` is nobody.
pub const VARIABLE: &str = "KNETSIM_RESOLVERS";
/// `resolv.conf(5)`, `MAXNS`.
const MOST: usize = 3;
const PORT: u16 = 53;
/// Conversations by TCP at once.
const LINES: usize = 4;
const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const SERVFAIL: u8 = 2;

/// A resolver of the machine, and the sockets in the machine's network by which it is asked.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    datagrams: UdpSocket,
    /// One a line, not connected to anybody.
    streams: [TcpStream; Outside::STREAMS],
}

impl Outside {
    const STREAMS: usize = LINES;
    /// The sockets that each of them has.
    pub(crate) const SOCKETS: usize = 1 + Self::STREAMS;

    /// Those of the machine, or of the variable; from the network namespace of the caller.
    pub(crate) fn all() -> Vec<Self> {
        let addresses = match env::var(VARIABLE) {
            Ok(text) => listed(&text),
            Err(_) => named(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        };
        // One that cannot be had is as good as none.
        addresses.into_iter().take(MOST).filter_map(|address| Self::open(address).ok()).collect()
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let datagrams = UdpSocket::bind((any, 0))?;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let stream = || socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let streams = [stream()?, stream()?, stream()?, stream()?].map(TcpStream::from);
        Ok(Self { address, datagrams, streams })
    }

    /// One whose sockets were handed in, in the order of [`Outside::sockets`].
    pub(crate) fn inherited(
        address: SocketAddr,
        [datagrams, streams @ ..]: [OwnedFd; Self::SOCKETS],
    ) -> Self {
        Self { address, datagrams: datagrams.into(), streams: streams.map(TcpStream::from) }
    }

    /// What is handed in.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.datagrams.as_fd()].into_iter().chain(self.streams.iter().map(AsFd::as_fd))
    }
}

/// Makes an answer of a question, that there can be none.
fn fail(question: &mut [u8]) {
    question[2] |= RESPONSE;
    question[3] = question[3] & 0xf0 | SERVFAIL;
}

fn listed(text: &str) -> Vec<SocketAddr> {
    text.split(',').filter_map(|word| socket_address(word.trim())).collect()
}

fn named(text: &str) -> Vec<SocketAddr> {
    let nameserver = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver").and_then(|_| words.next()).and_then(socket_address)
    };
    text.lines().filter_map(nameserver).collect()
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| (ip, PORT).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked() {
        let addresses =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        assert_eq!(
            named("# a\nnameserver 192.0.2.1\nnameserver\nsearch a\n nameserver ::1\nnameserver x\n"),
            addresses(&["192.0.2.1:53", "[::1]:53"])
        );
        assert_eq!(listed("192.0.2.1, [::1]:54,nonsense"), addresses(&["192.0.2.1:53", "[::1]:54"]));
        assert_eq!(listed("none"), []);
    }
}
