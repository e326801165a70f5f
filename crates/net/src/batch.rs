//! Many neighbours, forwarding entries and routes at once.
//!
//! A request that is awaited costs a way to the kernel and back, and two wake-ups: some 60 us. Here
//! many requests go with one `sendmsg`; the kernel carries them out one after the other before that
//! returns, each on its own: one that fails does not stop those behind it.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::error::{Error, Result};
use crate::mac::Mac;

/// Requests in one `sendmsg`. If all of them fail, their answers (768 bytes of memory each) still fit
/// into a receive buffer of the kernel's default size, 208 KiB.
const TOGETHER: usize = 256;
/// What the receive buffer is asked to be; the kernel doubles it.
const RECEIVE: usize = 208 * 1024;
/// An answer is a header, an error number and the header of the request: 36 bytes.
const ANSWER: usize = 4096;

/// One change. All of them say how it is to be, not what to do to get there: to set what is there
/// already, alike or not, is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A permanent neighbour on link `index`.
    SetNeighbour {
        /// Index of the interface.
        index: u32,
        /// Its address.
        address: Ipv4Addr,
        /// The station.
        mac: Mac,
    },
    /// No such neighbour. `ENOENT` when there is none.
    DeleteNeighbour {
        /// Index of the interface.
        index: u32,
        /// Its address.
        address: Ipv4Addr,
    },
    /// A permanent forwarding entry of VXLAN device `index`.
    SetForwarding {
        /// Index of the device.
        index: u32,
        /// The station.
        mac: Mac,
        /// The host behind which it is.
        to: Ipv4Addr,
    },
    /// No such entry. `ENOENT` when there is none.
    DeleteForwarding {
        /// Index of the device.
        index: u32,
        /// The station.
        mac: Mac,
        /// The host behind which it was.
        to: Ipv4Addr,
    },
    /// A route of the main table, the only one to that network.
    SetRoute {
        /// Where to.
        to: Ipv4Network,
        /// By whom.
        gateway: Ipv4Addr,
        /// Index of the interface.
        index: u32,
        /// The gateway counts as being on the link, whatever the addresses say.
        onlink: bool,
    },
    /// No such route. `ESRCH` when there is none.
    DeleteRoute {
        /// Where to.
        to: Ipv4Network,
        /// By whom.
        gateway: Ipv4Addr,
        /// Index of the interface.
        index: u32,
    },
}

/// A change that the kernel did not make.
#[derive(Debug)]
pub struct Refused {
    /// Its position among those given.
    pub position: usize,
    /// What the kernel said.
    pub source: io::Error,
}

/// A netlink socket of one namespace for many changes at once.
pub struct Batcher {
    socket: Socket,
    out: Vec<u8>,
    answers: Vec<u8>,
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

impl Batcher {
    /// Opens a socket in the calling thread's namespace. It stays there, wherever it is used.
    ///
    /// # Errors
    /// When netlink is not to be had.
    pub fn open() -> Result<Self> {
        let opened = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Connected to the kernel, it hears of nobody else.
            socket.connect(&SocketAddr::new(0, 0))?;
            // An error repeats the request's header only, not the whole request.
            socket.set_cap_ack(true)?;
            socket.set_rx_buf_sz(libc::c_int::try_from(RECEIVE).unwrap_or(libc::c_int::MAX))?;
            Ok(socket)
        };
        let socket = opened().map_err(|e: io::Error| Error::sys("open netlink socket", e))?;
        Ok(Self { socket, out: Vec::new(), answers: Vec::with_capacity(ANSWER) })
    }

    /// Makes the changes in their order; gives those that the kernel refused. The others are made.
    ///
    /// Blocks for as long as the kernel works: some microseconds a change, longer while others hold
    /// its lock on routing (as the end of a large lab does).
    ///
    /// # Errors
    /// When nothing can be sent, or answers got lost, so that what is made is not known.
    pub fn run(&mut self, changes: &[Change]) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for (at, together) in changes.chunks(TOGETHER).enumerate() {
            self.send(together)?;
            self.collect(at * TOGETHER, together.len(), &mut refused)?;
        }
        Ok(refused)
    }

    fn send(&mut self, changes: &[Change]) -> Result<()> {
        self.out.clear();
        for (position, change) in changes.iter().enumerate() {
            let (message, mut flags) = request(change);
            // Only the last one is confirmed: it is the last answer, whatever became of the others.
            // Failures are told without being asked for.
            if position + 1 == changes.len() {
                flags |= NLM_F_ACK;
            }
            append(&mut self.out, message, flags, position);
        }
        let failed = |e| Error::sys("send a batch of netlink requests", e);
        let sent = self.socket.send(&self.out, 0).map_err(failed)?;
        if sent == self.out.len() {
            Ok(())
        } else {
            Err(failed(io::Error::new(io::ErrorKind::WriteZero, "sent in part")))
        }
    }

    /// Reads the answers. The kernel has done all the work within `sendmsg`, so they are here already.
    fn collect(&mut self, first: usize, count: usize, refused: &mut Vec<Refused>) -> Result<()> {
        let mut complete = false;
        loop {
            self.answers.clear();
            match self.socket.recv(&mut self.answers, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::sys("read answers to a batch of netlink requests", e)),
            }
            let answer: NetlinkMessage<RouteNetlinkMessage> = NetlinkMessage::deserialize(&self.answers)
                .map_err(|e| Error::sys("read answer to a netlink request", io::Error::other(e)))?;
            let NetlinkPayload::Error(verdict) = answer.payload else { continue };
            let position = answer.header.sequence_number as usize;
            complete |= position + 1 == count;
            if verdict.code.is_some() {
                refused.push(Refused { position: first + position, source: verdict.to_io() });
            }
        }
        if complete {
            Ok(())
        } else {
            Err(Error::Other("the kernel did not answer a batch of netlink requests".into()))
        }
    }
}

fn append(out: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, position: usize) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = u32::try_from(position).unwrap_or(u32::MAX);
    message.finalize();
    let start = out.len();
    // Each message begins at a multiple of four bytes (`NLMSG_ALIGNTO`).
    out.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut out[start..start + message.buffer_len()]);
}

fn request(change: &Change) -> (RouteNetlinkMessage, u16) {
    const SET: u16 = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
    use RouteNetlinkMessage::{DelNeighbour, DelRoute, NewNeighbour, NewRoute};
    match *change {
        Change::SetNeighbour { index, address, mac } => {
            (NewNeighbour(neighbour(index, address, Some(mac))), SET)
        }
        Change::DeleteNeighbour { index, address } => {
            (DelNeighbour(neighbour(index, address, None)), NLM_F_REQUEST)
        }
        Change::SetForwarding { index, mac, to } => (NewNeighbour(forwarding(index, mac, to)), SET),
        Change::DeleteForwarding { index, mac, to } => {
            (DelNeighbour(forwarding(index, mac, to)), NLM_F_REQUEST)
        }
        Change::SetRoute { to, gateway, index, onlink } => {
            (NewRoute(new_route(to, gateway, index, onlink)), SET)
        }
        Change::DeleteRoute { to, gateway, index } => (DelRoute(route(to, gateway, index)), NLM_F_REQUEST),
    }
}

fn neighbour(index: u32, address: Ipv4Addr, mac: Option<Mac>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    if let Some(mac) = mac {
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    }
    message
}

fn forwarding(index: u32, mac: Mac, to: Ipv4Addr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    // The device's own table (`NTF_SELF`), not that of a bridge above it.
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(to)));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

fn new_route(to: Ipv4Network, gateway: Ipv4Addr, index: u32, onlink: bool) -> RouteMessage {
    let mut message = route(to, gateway, index);
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    if onlink {
        message.header.flags = RouteFlags::Onlink;
    }
    message
}

/// Scope and protocol are open, so that a request to delete finds the route whatever they are.
fn route(to: Ipv4Network, gateway: Ipv4Addr, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = to.prefix();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.scope = RouteScope::NoWhere;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(to.network())),
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)),
        RouteAttribute::Oif(index),
    ];
    message
}
