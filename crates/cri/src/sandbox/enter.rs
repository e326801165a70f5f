//! Entering a sandbox from outside of its agent, as `topo exec` does.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use net::passing;

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
    let mut byte = [0];
    loop {
        socket.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(line);
        }
        line.push(byte[0]);
    }
}
