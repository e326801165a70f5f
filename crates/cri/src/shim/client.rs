//! An agent, or whoever else is connected to the shim.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use net::passing;
use nix::poll::{PollFd, PollFlags};

use super::mounts::View;
use crate::protocol::{Event, LONGEST, NAMESPACES, Request, encode, take_lines};

/// Who does not read is dropped when so many bytes wait for him; he may come again and is told all.
const MOST_WAITING: usize = 1 << 20;

pub(super) struct Client {
    /// Never another's.
    id: u64,
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    gone: bool,
}

impl Client {
    pub(super) fn new(id: u64, stream: UnixStream) -> Self {
        // One that stays blocking could stop the pod.
        let gone = stream.set_nonblocking(true).is_err();
        Self { id, stream, incoming: Vec::new(), outgoing: Vec::new(), gone }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn poll(&self) -> PollFd<'_> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
        PollFd::new(self.stream.as_fd(), flags)
    }

    pub(super) fn send(&mut self, event: &Event) {
        self.outgoing.extend(encode(event));
        self.flush();
    }

    /// Sends what waits; tells whether the client is still there.
    pub(super) fn flush(&mut self) -> bool {
        while !self.gone && !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        self.gone |= self.outgoing.len() > MOST_WAITING;
        !self.gone
    }

    /// What the client asks for. One that talks nonsense is dropped.
    pub(super) fn receive(&mut self) -> Vec<Request> {
        let mut buffer = [0; 4096];
        // A bound, so that one who talks without end does not keep the others waiting.
        while !self.gone && self.incoming.len() <= LONGEST {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.gone = true,
                Ok(length) => self.incoming.extend_from_slice(&buffer[..length]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        let requests = take_lines(&mut self.incoming).unwrap_or_else(|_| {
            self.gone = true;
            Vec::new()
        });
        // What is left is a part of one line.
        self.gone |= self.incoming.len() > LONGEST;
        requests
    }

    /// Gives the shim's namespaces away, or for files what a container sees. Whoever asks waits for the
    /// answer, so that it fits at once.
    pub(super) fn hand_over(&mut self, env: &[(String, String)], view: Option<&View>) {
        let folder = Path::new("/proc/self/ns");
        let files: Result<Vec<OwnedFd>, _> = NAMESPACES
            .iter()
            .map(|kind| match view {
                Some(view) if *kind == "mnt" => view.descriptor(),
                _ => File::open(folder.join(kind)).map(OwnedFd::from),
            })
            .collect();
        let Ok(files) = files else {
            self.gone = true;
            return;
        };
        self.send(&Event::Namespaces { env: env.to_vec() });
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        self.gone |= !self.outgoing.is_empty() || passing::send_fds(&self.stream, &fds).is_err();
    }
}
