//! Listening sockets, several on one port, and which of them gets new connections.
//!
//! Sockets of one port and user with `SO_REUSEPORT` are a group (socket(7)); a filter says by its result the
//! number of the one that a new connection goes to, in the order in which they began to listen; when one is
//! closed, the last takes its number (Linux `net/core/sock_reuseport.c`). A number that is none leaves the
//! choice to chance, so for the moments in which numbers change nothing is lost.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};

/// Which sockets listen on which port, by the numbers of their generations, in the kernel's order.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<u16, Vec<u64>>);

/// A socket of a generation whose number is not known: one of a process before this one.
const STRANGER: u64 = u64::MAX;

impl Groups {
    /// Opens a generation's socket on a port of all addresses.
    pub(super) fn open(&mut self, port: u16, generation: u64) -> io::Result<OwnedFd> {
        let before = listening(port);
        let socket = open(port)?;
        let group = self.0.entry(port).or_default();
        // Those that somebody else has opened came before.
        let strangers = before.saturating_sub(group.len());
        group.extend(std::iter::repeat_n(STRANGER, strangers));
        group.push(generation);
        Ok(socket)
    }

    /// Sends new connections to a generation's socket. Where the kernel does not take the filter, chance
    /// decides, and connections may come to an old generation while there is one.
    pub(super) fn steer(&self, port: u16, generation: u64, socket: &OwnedFd) {
        let group = self.0.get(&port).map(Vec::as_slice).unwrap_or_default();
        let Some(number) = group.iter().position(|one| *one == generation) else { return };
        if let Err(error) = steer(socket, number) {
            tracing::warn!(port, %error, "new connections cannot be led to the new nginx alone");
        }
    }

    /// A generation's socket is closed.
    pub(super) fn closed(&mut self, port: u16, generation: u64) {
        let Some(group) = self.0.get_mut(&port) else { return };
        if let Some(at) = group.iter().position(|one| *one == generation) {
            group.swap_remove(at);
        }
        if group.is_empty() {
            self.0.remove(&port);
        }
    }

    /// What this process has not opened is closed.
    pub(super) fn strangers_closed(&mut self) {
        for group in self.0.values_mut() {
            group.retain(|one| *one != STRANGER);
        }
        self.0.retain(|_, group| !group.is_empty());
    }
}

fn open(port: u16) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    listen(&socket, Backlog::new(511)?)?;
    Ok(socket)
}

/// The filter of a single instruction: return this number (`BPF_RET | BPF_K`).
fn steer(socket: &impl AsFd, number: usize) -> io::Result<()> {
    const RETURN: u16 = 0x06;
    let k = u32::try_from(number).map_err(io::Error::other)?;
    let mut program = [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k }];
    let program = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?;
    Ok(())
}

/// How many sockets of this network namespace listen on a port of all addresses (proc(5), `/proc/net/tcp`).
fn listening(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    let address = format!("00000000:{port:04X}");
    let is_ours = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(address.as_str()) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(is_ours).count()
}
