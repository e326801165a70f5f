//! Telling a network where an address is now (gratuitous ARP, RFC 5227 section 3), and addresses that come and go.

// Packet sockets' addresses have no safe wrapper in nix.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::ptr;

use futures_util::TryStreamExt;
use ipnetwork::Ipv4Network;
use netlink_packet_route::address::AddressAttribute;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Error, Result};
use crate::links::Links;

/// Without its header: hardware and protocol with their lengths, operation, sender, target (RFC 826).
const MESSAGE: usize = 28;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const EVERYONE: [u8; 6] = [0xff; 6];

/// Tells everyone on link `index` of the calling thread's namespace that `address` is at the station `mac` now.
///
/// Whoever knows the address from before takes the new place. It is told as a request and as an answer, for some listen
/// to the one and some to the other.
///
/// # Errors
/// When there is no such link, or it is down.
pub fn announce(index: u32, mac: [u8; 6], address: Ipv4Addr) -> Result<()> {
    let failed = |e: Errno| Error::sys(format!("tell where {address} is"), e);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // With protocol 0 it receives nothing.
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None).map_err(failed)?;
    let mut to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    to.sll_addr[..6].copy_from_slice(&EVERYONE);
    for operation in [REQUEST, REPLY] {
        let message = message(operation, mac, address);
        let (from, len) = (ptr::from_ref(&to).cast(), size_of_val(&to) as libc::socklen_t);
        let text = message.as_ptr().cast();
        // SAFETY: both pointers lead to as many bytes as are told, which live until the call returns.
        let sent = unsafe { libc::sendto(socket.as_raw_fd(), text, MESSAGE, 0, from, len) };
        Errno::result(sent).map_err(failed)?;
    }
    Ok(())
}

fn message(operation: u16, mac: [u8; 6], address: Ipv4Addr) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    // Ethernet, IPv4.
    message[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    message[6..8].copy_from_slice(&operation.to_be_bytes());
    message[8..14].copy_from_slice(&mac);
    message[14..18].copy_from_slice(&address.octets());
    let target = if operation == REPLY { mac } else { [0; 6] };
    message[18..24].copy_from_slice(&target);
    message[24..].copy_from_slice(&address.octets());
    message
}

impl Links {
    /// Adds an address under a label, which tells whose it is: `ip address` shows it at the end of the line. It begins
    /// with the link's name and has at most 15 bytes.
    ///
    /// # Errors
    /// `EEXIST` when it is there already.
    pub async fn add_labelled_address(&self, index: u32, address: Ipv4Network, label: &str) -> Result<()> {
        let mut request = self.handle().address().add(index, address.ip().into(), address.prefix());
        request.message_mut().attributes.push(AddressAttribute::Label(label.into()));
        let added = request.execute().await;
        added.map_err(|e| Error::netlink(format!("add address {address}"), e))
    }

    /// The addresses under a label.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn labelled_addresses(&self, index: u32, label: &str) -> Result<Vec<Ipv4Network>> {
        let request = self.handle().address().get().set_link_index_filter(index).execute();
        let messages: Vec<_> =
            request.try_collect().await.map_err(|e| Error::netlink("list addresses", e))?;
        let messages = messages.into_iter().filter(|message| {
            message.attributes.iter().any(|a| matches!(a, AddressAttribute::Label(other) if other == label))
        });
        let local = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
            _ => None,
        };
        let address = messages.filter_map(|message| {
            let ip = message.attributes.iter().find_map(local)?;
            Ipv4Network::new(ip, message.header.prefix_len).ok()
        });
        Ok(address.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_names_the_address_as_sender_and_target() {
        let mac = [2, 0, 0, 0, 0, 7];
        let request = message(REQUEST, mac, Ipv4Addr::new(10, 200, 0, 1));
        assert_eq!(request[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(request[8..18], [2, 0, 0, 0, 0, 7, 10, 200, 0, 1]);
        assert_eq!(request[18..], [0, 0, 0, 0, 0, 0, 10, 200, 0, 1]);
        assert_eq!(message(REPLY, mac, Ipv4Addr::new(10, 200, 0, 1))[18..24], mac);
    }
}
