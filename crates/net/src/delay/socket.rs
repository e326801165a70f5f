//! A packet socket on one device that keeps the offload state of frames (`packet(7)`).

// Packet sockets' addresses, options and control messages have no safe wrapper in nix.
#![allow(unsafe_code)]

use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::{io, ptr};

use libc::{c_int, c_void, packet_mreq, sockaddr_ll, socklen_t, tpacket_auxdata, tpacket_stats};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socket, sockopt};

use super::segment::{VNET_HEADER, shift_checksum};
use crate::error::{Error, Result};

/// The largest frame there is, with its headers: a segment of 64 KiB, Ethernet and VLAN headers,
/// and what the socket puts before them.
pub(super) const MAX_FRAME: usize = 65536 + 64;

/// Bytes of a VLAN tag, and so what is left free before a frame.
const TAG: usize = 4;

/// Where the tag stands in a frame: after the two addresses (IEEE 802.1Q).
const TAG_OFFSET: usize = 12;

/// Asked for each way, so that the kernel can hold what comes while the line's process waits for
/// a processor: some hundred large frames.
const SOCKET_BUFFER: usize = 8 << 20;

/// A packet socket bound to a device.
///
/// Frames are read and written with a `virtio_net_hdr` before them (`PACKET_VNET_HDR`).
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
    device: String,
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A frame with its header, at this range of the buffer.
    Frame(Range<usize>),
    /// A frame that cannot be passed on: too large for the buffer, or an offload without a name.
    Lost,
    /// There is none now.
    Nothing,
    /// The device went down.
    Down,
}

/// What became of a frame sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The device has it.
    Taken,
    /// The device is down, its queue full or its MTU too small.
    Lost,
    /// The send buffer is full: try again when the socket is writable.
    Full,
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PacketSocket {
    /// Opens a socket on `device` in the calling thread's namespace and makes it promiscuous.
    pub(super) fn open(device: &str) -> Result<Self> {
        let failed = |e: io::Error| Error::sys(format!("open packet socket on {device}"), e);
        let index = match if_nametoindex(device) {
            Ok(index) => index as c_int,
            Err(Errno::ENODEV) => return Err(Error::NoLink(device.into())),
            Err(e) => return Err(failed(e.into())),
        };
        // Without a protocol it hears nothing before it is bound to the device.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None).map_err(|e| failed(e.into()))?;
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
            set_option(&fd, option, &1).map_err(failed)?;
        }
        let promiscuous = packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&fd, libc::PACKET_ADD_MEMBERSHIP, &promiscuous).map_err(failed)?;
        enlarge_buffers(&fd).map_err(|e| failed(e.into()))?;
        bind(&fd, index).map_err(failed)?;
        Ok(Self { fd, device: device.into() })
    }

    /// Reads a frame into `buffer`, without waiting; a VLAN tag that the kernel took out is put
    /// back in.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        // The tag moves what stands before it to the front; so the frame's rest stays in place.
        let Some((_, body)) = buffer.split_at_mut_checked(TAG) else { return Ok(Received::Lost) };
        let capacity = body.len();
        let (len, tag) = match self.receive_message(body) {
            Ok(read) => read,
            Err(e) => return self.not_received(e),
        };
        if len > capacity || len < VNET_HEADER + TAG_OFFSET {
            return Ok(Received::Lost);
        }
        let Some(tag) = tag else { return Ok(Received::Frame(TAG..TAG + len)) };
        let place = VNET_HEADER + TAG_OFFSET;
        buffer.copy_within(TAG..TAG + place, 0);
        buffer[place..place + TAG].copy_from_slice(&tag);
        shift_checksum(&mut buffer[..VNET_HEADER], TAG as u16);
        Ok(Received::Frame(0..TAG + len))
    }

    fn not_received(&self, error: Errno) -> Result<Received> {
        match error {
            Errno::EAGAIN | Errno::EINTR => Ok(Received::Nothing),
            Errno::ENETDOWN => Ok(Received::Down),
            // A segment of a kind that virtio_net_hdr has no number for; the kernel drops it.
            Errno::EINVAL => Ok(Received::Lost),
            e => Err(Error::sys(format!("receive on {}", self.device), e)),
        }
    }

    /// One `recvmsg`: the frame's length, even when the buffer is shorter, and its VLAN tag.
    fn receive_message(&self, buffer: &mut [u8]) -> Result<(usize, Option<[u8; TAG]>), Errno> {
        /// Room for one control message, aligned as `cmsg(3)` wants it.
        #[repr(C)]
        struct Control {
            header: libc::cmsghdr,
            auxdata: tpacket_auxdata,
            padding: [u64; 2],
        }
        let mut control = MaybeUninit::<Control>::uninit();
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zeroes is a valid msghdr: null pointers and no lengths.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the pointers in `message` lead to `buffer` and `control`, which live on, with
        // their lengths.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
        let len = Errno::result(len)?;
        // SAFETY: the kernel filled in `message`; the macro stays within msg_controllen.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: CMSG_FIRSTHDR is null or leads to a complete header in `control`.
        let auxdata = unsafe { header.as_ref() }
            .filter(|h| h.cmsg_level == libc::SOL_PACKET && h.cmsg_type == libc::PACKET_AUXDATA)
            // SAFETY: a message of that type carries a tpacket_auxdata (packet(7)).
            .map(|_| unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast::<tpacket_auxdata>()) });
        Ok((len as usize, auxdata.and_then(|auxdata| vlan_tag(&auxdata))))
    }

    /// Sends a frame with its header, without waiting.
    pub(super) fn send(&self, frame: &[u8]) -> Result<Sent> {
        match send(self.fd.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => Ok(Sent::Taken),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Sent::Full),
            // EMSGSIZE: beyond the MTU; EINVAL: a header that does not fit the frame.
            Err(Errno::ENETDOWN | Errno::ENOBUFS | Errno::EMSGSIZE | Errno::EINVAL) => Ok(Sent::Lost),
            Err(Errno::ENXIO) => Err(Error::NoLink(self.device.clone())),
            Err(e) => Err(Error::sys(format!("send on {}", self.device), e)),
        }
    }

    /// Frames that the kernel dropped since the last call, because the socket's buffer was full.
    pub(super) fn overflowed(&self) -> Result<u64> {
        let mut statistics = tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<tpacket_stats>() as socklen_t;
        let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        let to = (&raw mut statistics).cast::<c_void>();
        // SAFETY: `to` leads to `len` writable bytes, of which any content is a valid value.
        let done = unsafe { libc::getsockopt(self.fd.as_raw_fd(), level, option, to, &raw mut len) };
        Errno::result(done).map_err(|e| Error::sys(format!("read drops of {}", self.device), e))?;
        Ok(statistics.tp_drops.into())
    }

    /// Whether the device still exists, up or down: the kernel unbinds a socket when it goes.
    ///
    /// # Errors
    /// [`Error::NoLink`] when it is gone.
    pub(super) fn check_device(&self) -> Result<()> {
        let mut address = link_address(0);
        let mut len = size_of::<sockaddr_ll>() as socklen_t;
        let to = (&raw mut address).cast::<libc::sockaddr>();
        // SAFETY: `to` leads to `len` writable bytes, of which any content is a valid value.
        let done = unsafe { libc::getsockname(self.fd.as_raw_fd(), to, &raw mut len) };
        Errno::result(done).map_err(|e| Error::sys(format!("look for {}", self.device), e))?;
        if address.sll_ifindex > 0 { Ok(()) } else { Err(Error::NoLink(self.device.clone())) }
    }
}

/// The tag that the kernel moved out of the frame, in the form that it has on the wire.
fn vlan_tag(auxdata: &tpacket_auxdata) -> Option<[u8; TAG]> {
    let has = |flag| auxdata.tp_status & flag != 0;
    if !has(libc::TP_STATUS_VLAN_VALID) {
        return None;
    }
    let protocol = match has(libc::TP_STATUS_VLAN_TPID_VALID) {
        true => auxdata.tp_vlan_tpid,
        false => libc::ETH_P_8021Q as u16,
    };
    let ([p0, p1], [t0, t1]) = (protocol.to_be_bytes(), auxdata.tp_vlan_tci.to_be_bytes());
    Some([p0, p1, t0, t1])
}

/// Larger buffers than `net.core.rmem_max` and `wmem_max` allow, or else as large as they allow.
fn enlarge_buffers(fd: &OwnedFd) -> nix::Result<()> {
    // The forced ones want CAP_NET_ADMIN in the first user namespace.
    if setsockopt(fd, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(fd, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(fd, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    Ok(())
}

/// Sets an option of level `SOL_PACKET` that takes a `T`.
fn set_option<T>(fd: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    let (from, len) = (ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `from` leads to `len` readable bytes.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, option, from, len) };
    Errno::result(done).map(drop).map_err(Into::into)
}

/// Binds to a device, for frames of every protocol.
fn bind(fd: &OwnedFd, index: c_int) -> io::Result<()> {
    let address = link_address(index);
    let len = size_of::<sockaddr_ll>() as socklen_t;
    // SAFETY: the pointer leads to `len` readable bytes.
    let done = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), len) };
    Errno::result(done).map(drop).map_err(Into::into)
}

fn link_address(index: c_int) -> sockaddr_ll {
    sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
