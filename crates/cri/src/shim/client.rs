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
/// An environment with all services of a namespace is long: 340 KiB for a thousand.
const MOST_WAITING: usize = 4 << 20;

pub(super) struct Client {
    /// Never another's.
    id: u64,
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// What is handed over once `outgoing` has been sent.
    descriptors: Vec<OwnedFd>,
    /// What is said after that.
    behind: Vec<u8>,
    gone: bool,
}

impl Client {
    pub(super) fn new(id: u64, stream: UnixStream) -> Self {
        // One that stays blocking could stop the pod.
        let gone = stream.set_nonblocking(true).is_err();
        Self {
            id,
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            descriptors: Vec::new(),
            behind: Vec::new(),
            gone,
        }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn poll(&self) -> PollFd<'_> {
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !self.outgoing.is_empty() || !self.descriptors.is_empty());
        PollFd::new(self.stream.as_fd(), flags)
    }

    pub(super) fn send(&mut self, event: &Event) {
        let last = if self.descriptors.is_empty() { &mut self.outgoing } else { &mut self.behind };
        last.extend(encode(event));
        self.flush();
    }

    /// Sends what waits; tells whether the client is still there.
    pub(super) fn flush(&mut self) -> bool {
        self.write();
        if self.outgoing.is_empty() && !self.descriptors.is_empty() && !self.gone {
            let fds: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
            match passing::send_fds(&self.stream, &fds) {
                Ok(()) => {
                    self.descriptors.clear();
                    self.outgoing = std::mem::take(&mut self.behind);
                    self.write();
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => self.gone = true,
            }
        }
        self.gone |= self.outgoing.len() + self.behind.len() > MOST_WAITING;
        !self.gone
    }

    fn write(&mut self) {
        while !self.gone && !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
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

    /// Gives the shim's namespaces away, or for files what a container sees. Once a client has asked for that, it
    /// waits for it.
    pub(super) fn hand_over(&mut self, env: &[(String, String)], view: Option<&View>) {
        let folder = Path::new("/proc/self/ns");
        let files: Result<Vec<OwnedFd>, _> = NAMESPACES
            .iter()
            .map(|kind| match view {
                Some(view) if *kind == "mnt" => view.descriptor(),
                _ => File::open(folder.join(kind)).map(OwnedFd::from),
            })
            .collect();
        // One who asks again before he has been answered would get the descriptors of both at once.
        let Some(files) = files.ok().filter(|_| self.descriptors.is_empty()) else {
            self.gone = true;
            return;
        };
        self.outgoing.extend(encode(&Event::Namespaces { env: env.to_vec() }));
        self.descriptors = files;
        self.flush();
    }
}
