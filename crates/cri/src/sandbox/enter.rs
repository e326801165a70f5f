//! Entering a sandbox from outside of its agent, as `topo exec` does.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use net::passing;
use nix::sys::socket::{MsgFlags, recv};

use super::files;
use crate::error::{Error, Result};
use crate::protocol::{Event, NAMESPACES, Request, encode};

/// A shim answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way into a sandbox.
#[derive(Debug)]
pub struct Entry {
    /// Its namespaces, in the order of [`NAMESPACES`].
    pub namespaces: Vec<OwnedFd>,
    /// The environment that a command in there should have.
    pub env: Vec<(String, String)>,
}

/// Asks the shim of the sandbox whose folder this is for the way in. Blocks.
///
/// # Errors
/// When there is no such sandbox, or it does not answer.
pub fn enter(folder: &Path) -> Result<Entry> {
    let failed = |e: io::Error| Error::file("enter", folder, e);
    let socket = std::fs::File::open(folder)
        .and_then(|folder| UnixStream::connect(files::socket_in(&folder)))
        .map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let container = files::spec(folder).and_then(|spec| spec.main);
    (&socket).write_all(&encode(&Request::Enter { container })).map_err(failed)?;
    loop {
        match line(&socket).and_then(|line| Ok(serde_json::from_slice(&line)?)).map_err(failed)? {
            Event::Namespaces { env } => {
                let namespaces = passing::receive_fds(&socket, NAMESPACES.len()).map_err(failed)?;
                return Ok(Entry { namespaces, env });
            }
            Event::Hello { error: Some(message), .. } => return Err(failed(io::Error::other(message))),
            _ => {}
        }
    }
}

/// A line and nothing after it: what follows the last one carries the descriptors.
fn line(mut socket: &UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let there = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK)?;
        if there == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let end = buffer[..there].iter().position(|byte| *byte == b'\n');
        let part = &mut buffer[..end.map_or(there, |end| end + 1)];
        socket.read_exact(part)?;
        line.extend_from_slice(part);
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn long_lines_and_what_comes_behind_them() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let long = format!("{}\n", "x".repeat(500_000));
        let sent = long.clone();
        let sender = std::thread::spawn(move || {
            (&theirs).write_all(b"one\n").unwrap();
            (&theirs).write_all(sent.as_bytes()).unwrap();
            passing::send_fds(&theirs, &[theirs.as_fd()]).unwrap();
        });
        assert_eq!(line(&ours).unwrap(), b"one\n");
        assert_eq!(line(&ours).unwrap(), long.as_bytes());
        assert_eq!(passing::receive_fds(&ours, 1).unwrap().len(), 1);
        sender.join().unwrap();
        assert_eq!(line(&ours).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
