//! Ports, and who has them.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::Error;

/// Connections that may wait to be accepted, as nginx has it.
const BACKLOG: u32 = 511;

/// What a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// All addresses, with a port.
pub(crate) fn any(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

/// Listens on an address; on [`any`] without IPv6 on those of IPv4.
pub(crate) fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    open(Protocol::Tcp, address, |address| {
        let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    })
}

/// As [`tcp`], for datagrams.
pub(crate) fn udp(address: SocketAddr) -> Result<UdpSocket, Error> {
    open(Protocol::Udp, address, |address| {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    })
}

fn open<T>(
    protocol: Protocol,
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, Error> {
    let port = address.port();
    let opened = match open(address) {
        // A kernel without IPv6.
        Err(e) if address == any(port) && e.kind() != io::ErrorKind::AddrInUse => {
            open((Ipv4Addr::UNSPECIFIED, port).into())
        }
        opened => opened,
    };
    opened.map_err(|e| fault(protocol, port, e))
}

fn fault(protocol: Protocol, port: u16, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse { port, protocol, holder: holder(protocol, port) },
        _ => Error::Listen { port, protocol, source },
    }
}

/// The process that has the port, as `nginx (pid 12)`, if this one may see it.
fn holder(protocol: Protocol, port: u16) -> Option<String> {
    let (files, state) = match protocol {
        Protocol::Tcp => (["tcp", "tcp6"], "0A"),
        Protocol::Udp => (["udp", "udp6"], "07"),
    };
    let inodes: Vec<String> = files
        .iter()
        .filter_map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok())
        .flat_map(|table| inodes(&table, state, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        if targets.any(|target| links.iter().any(|link| target.as_os_str() == link.as_str())) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    None
}

/// The inodes of the sockets in `table` (proc(5), `/proc/net/tcp`) that have the port.
fn inodes(table: &str, state: &str, port: u16) -> Vec<String> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let same = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&state);
        fields.get(9).filter(|_| same).map(|inode| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inodes_of_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
            1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n   \
            2: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(inodes(table, "0A", 8000), ["4711"]);
        assert_eq!(inodes(table, "0A", 80), Vec::<String>::new());
    }
}
