//! The loopback of a namespace, without a netlink socket and a runtime to drive it.
// An ioctl with a structure.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use crate::error::{Error, Result};

/// Turns on the loopback of the calling thread's network namespace, which then has 127.0.0.1 and ::1
/// (`netdevice(7)`).
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn set_up() -> Result<()> {
    let failed = |e: io::Error| Error::sys("turn on the loopback", e);
    // Any socket will do, and this kind is there whatever the kernel was built with.
    let socket = UnixDatagram::unbound().map_err(failed)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (target, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *target = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request names its interface, ends with zeroes and lives through the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if status < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetNs;
    use std::net::TcpListener;

    #[test]
    fn a_new_namespace_can_talk_to_itself() {
        let ns = NetNs::create().unwrap();
        let listen = || {
            let reached = |listener: TcpListener| std::net::TcpStream::connect(listener.local_addr()?);
            TcpListener::bind("127.0.0.1:0").and_then(reached).map_err(|e| Error::sys("reach 127.0.0.1", e))
        };
        ns.run(|| listen().map(|_| ())).unwrap_err();
        ns.run(|| set_up().and_then(|()| listen()).map(|_| ())).unwrap();
    }
}
