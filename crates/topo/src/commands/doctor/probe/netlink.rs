//! The few requests of rtnetlink that crate `net` has not.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

/// `IFLA_INFO_KIND` and its neighbours, and those of a vxlan's data (`linux/if_link.h`).
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VXLAN_ID: u16 = 1;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;

/// `NDA_DST`, `NDA_LLADDR`, `NTF_SELF`, `NUD_PERMANENT` (`linux/neighbour.h`).
const DST: u16 = 1;
const LLADDR: u16 = 2;
const SELF: u8 = 2;
const PERMANENT: u16 = 0x80;

/// `TCA_KIND`, and the place of `TC_H_INGRESS`, the same as `TC_H_CLSACT` (`linux/pkt_sched.h`).
const QDISC_KIND: u16 = 1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const INGRESS_PARENT: u32 = 0xffff_fff1;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A socket in the calling thread's namespace.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let fd =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
                .context("open netlink socket")?;
        connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("connect netlink socket")?;
        Ok(Self(fd))
    }

    /// A device that sends to whom its table names, and learns nobody by itself.
    pub(super) fn add_vxlan(&self, name: &str, id: u32, port: u16) -> Result<()> {
        let mut data = attribute(VXLAN_ID, &id.to_ne_bytes());
        data.extend(attribute(VXLAN_LEARNING, &[0]));
        data.extend(attribute(VXLAN_PORT, &port.to_be_bytes()));
        let mut info = attribute(INFO_KIND, b"vxlan");
        info.extend(attribute(INFO_DATA, &data));
        // struct ifinfomsg, all of it nought.
        let mut body = vec![0; 16];
        body.extend(attribute(libc::IFLA_IFNAME, name.as_bytes()));
        body.extend(attribute(libc::IFLA_LINKINFO, &info));
        self.request(libc::RTM_NEWLINK, &body).with_context(|| format!("add vxlan {name}"))
    }

    /// Frames to `mac` go to the worker at `to`.
    pub(super) fn add_fdb(&self, index: u32, mac: [u8; 6], to: Ipv4Addr) -> Result<()> {
        let body = neighbour(libc::AF_BRIDGE, index, SELF, to, mac);
        self.request(libc::RTM_NEWNEIGH, &body).context("add an entry to the vxlan's table")
    }

    /// `address` has `mac`, without asking.
    pub(super) fn add_neighbour(&self, index: u32, address: Ipv4Addr, mac: [u8; 6]) -> Result<()> {
        let body = neighbour(libc::AF_INET, index, 0, address, mac);
        self.request(libc::RTM_NEWNEIGH, &body).context("add a neighbour")
    }

    /// A discipline of what `index` receives: `ingress` or `clsact`.
    pub(super) fn add_ingress(&self, index: u32, kind: &str) -> Result<()> {
        // struct tcmsg: family, index, handle, parent, info.
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend(INGRESS_HANDLE.to_ne_bytes());
        body.extend(INGRESS_PARENT.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attribute(QDISC_KIND, format!("{kind}\0").as_bytes()));
        self.request(libc::RTM_NEWQDISC, &body).with_context(|| format!("add discipline {kind}"))
    }

    fn request(&self, kind: u16, body: &[u8]) -> Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags as u16).to_ne_bytes());
        // Sequence number and port: one request at a time.
        message.extend([0; 8]);
        message.extend(body);
        send(self.0.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        match answer[..length].get(HEADER..).and_then(<[u8]>::first_chunk) {
            Some(code) => match i32::from_ne_bytes(*code) {
                0 => Ok(()),
                code => Err(Errno::from_raw(-code).into()),
            },
            None => bail!("the kernel's answer is cut short"),
        }
    }
}

/// `struct ndmsg` and its two attributes.
fn neighbour(family: i32, index: u32, flags: u8, to: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let mut body = vec![family as u8, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(PERMANENT.to_ne_bytes());
    body.extend([flags, 0]);
    body.extend(attribute(DST, &to.octets()));
    body.extend(attribute(LLADDR, &mac));
    body
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
