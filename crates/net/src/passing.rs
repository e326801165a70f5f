//! Descriptors and pids that travel over a Unix socket (`unix(7)`).
// What the kernel hands over are bare numbers.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::unistd::{Gid, Uid};

/// Most descriptors in one message; the kernel's own bound is 253 (`SCM_MAX_FD`).
const MOST: usize = 16;

/// Sends descriptors, at most 16, with one byte.
///
/// # Errors
/// The kernel's.
pub fn send_fds(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"f")], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives `count` descriptors.
///
/// # Errors
/// `InvalidData` when another number came.
pub fn receive_fds(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these descriptors for us, nobody else has them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if fds.len() == count {
        Ok(fds)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} descriptors instead of {count}", fds.len()),
        ))
    }
}

/// Sends a pid of the caller's pid namespace, which must be the caller's own or need
/// `CAP_SYS_ADMIN`; the kernel translates it for the receiver.
///
/// # Errors
/// `ESRCH` when there is no such process any more.
pub fn send_pid(stream: &UnixStream, pid: i32) -> io::Result<()> {
    let credentials = UnixCredentials::from(libc::ucred {
        pid,
        uid: Uid::current().as_raw(),
        gid: Gid::current().as_raw(),
    });
    let control = [ControlMessage::ScmCredentials(&credentials)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"p")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Lets a stream receive pids; to be called before the first is sent.
///
/// # Errors
/// The kernel's.
pub fn expect_pids(stream: &UnixStream) -> io::Result<()> {
    Ok(setsockopt(stream, sockopt::PassCred, &true)?)
}

/// Receives a pid as the caller sees it.
///
/// # Errors
/// When something else came.
pub fn receive_pid(stream: &UnixStream) -> io::Result<i32> {
    let mut byte = [0];
    receive_with_pid(stream.as_raw_fd(), &mut byte, MsgFlags::empty()).map(|(_, pid)| pid)
}

/// Lets a datagram socket tell who sent what.
///
/// # Errors
/// The kernel's.
pub fn expect_senders(socket: &UnixDatagram) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::PassCred, &true)?)
}

/// Receives a datagram and its sender's pid, as the caller sees it; does not wait.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, i32)> {
    receive_with_pid(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
}

fn receive_with_pid(fd: RawFd, buffer: &mut [u8], flags: MsgFlags) -> io::Result<(usize, i32)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags | MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmCredentials(credentials) = control {
            return Ok((message.bytes, credentials.pid()));
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no pid came"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_and_pids_arrive() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_fds(&a, &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut fds = receive_fds(&b, 1).unwrap();
        let mut copy = std::fs::File::from(fds.remove(0));
        io::Write::write_all(&mut copy, b"x").unwrap();
        drop(copy);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");

        expect_pids(&b).unwrap();
        let own = std::process::id() as i32;
        send_pid(&a, own).unwrap();
        assert_eq!(receive_pid(&b).unwrap(), own);
    }
}
