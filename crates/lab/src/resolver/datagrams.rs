//! Questions by UDP. A question goes on with a number of its own, so that those of several askers do not meet.
//! Who is silent for a moment is not the one who is asked next.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{HEADER, Outside, RESPONSE, fail};

/// Questions that may be under way.
const UNDER_WAY: usize = 1000;
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who asks again does so after this.
const SILENCE: Duration = Duration::from_millis(1500);
/// No packet of DNS is longer than its askers can take.
const LONGEST: usize = 4096;

/// A question that was passed on.
#[derive(Debug)]
struct Asked {
    peer: SocketAddr,
    /// The asker's own number.
    id: [u8; 2],
    whom: usize,
    at: Instant,
}

/// Passes questions on that come to `inside`, until that fails.
#[derive(Debug)]
pub(crate) struct Relay {
    inside: UdpSocket,
    outside: Vec<Outside>,
    /// By the number under which they went out.
    asked: HashMap<[u8; 2], Asked>,
    /// Who is asked now.
    turn: usize,
    number: u16,
}

impl Relay {
    pub(crate) fn new(inside: UdpSocket, outside: Vec<Outside>) -> io::Result<Self> {
        inside.set_nonblocking(true)?;
        for one in &outside {
            one.datagrams.set_nonblocking(true)?;
        }
        Ok(Self { inside, outside, asked: HashMap::new(), turn: 0, number: 0 })
    }

    /// Never ends, unless the sockets cannot be waited for.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut packet = vec![0; LONGEST];
        loop {
            let mut ready = vec![PollFd::new(self.inside.as_fd(), PollFlags::POLLIN)];
            ready
                .extend(self.outside.iter().map(|one| PollFd::new(one.datagrams.as_fd(), PollFlags::POLLIN)));
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Ok((length, peer)) = self.inside.recv_from(&mut packet) {
                self.ask(&mut packet[..length], peer);
            }
            for whom in 0..self.outside.len() {
                while let Ok((length, from)) = self.outside[whom].datagrams.recv_from(&mut packet) {
                    if from == self.outside[whom].address {
                        self.answer(&mut packet[..length], whom);
                    }
                }
            }
        }
    }

    fn ask(&mut self, packet: &mut [u8], peer: SocketAddr) {
        if packet.len() < HEADER || packet[2] & RESPONSE != 0 {
            return;
        }
        self.forget();
        let id = [packet[0], packet[1]];
        let Some(number) = self.free_number() else { return self.fail(packet, peer) };
        packet[..2].copy_from_slice(&number);
        let one = &self.outside[self.turn];
        if one.datagrams.send_to(packet, one.address).is_err() {
            self.turn = (self.turn + 1) % self.outside.len();
            packet[..2].copy_from_slice(&id);
            return self.fail(packet, peer);
        }
        self.asked.insert(number, Asked { peer, id, whom: self.turn, at: Instant::now() });
    }

    /// Drops what nobody waits for any more, and turns away from who is silent.
    fn forget(&mut self) {
        let turn = self.turn;
        let is_silent = |asked: &Asked| asked.whom == turn && asked.at.elapsed() > SILENCE;
        if self.asked.values().any(is_silent) {
            self.turn = (turn + 1) % self.outside.len();
        }
        self.asked.retain(|_, asked| asked.at.elapsed() < PATIENCE);
    }

    /// The askers choose numbers that nobody can guess; these only have to differ, and start where theirs are
    /// not known: whoever answers must be the one who was asked, at a port that nobody outside knows.
    fn free_number(&mut self) -> Option<[u8; 2]> {
        if self.asked.len() >= UNDER_WAY {
            return None;
        }
        loop {
            self.number = self.number.wrapping_add(random().wrapping_add(1));
            let number = self.number.to_be_bytes();
            if !self.asked.contains_key(&number) {
                return Some(number);
            }
        }
    }

    /// An answer at once, where there can be none; whoever cannot be told asks again.
    fn fail(&self, packet: &mut [u8], peer: SocketAddr) {
        fail(packet);
        let _ = self.inside.send_to(packet, peer);
    }

    fn answer(&mut self, packet: &mut [u8], whom: usize) {
        let Some(number) = packet.first_chunk::<2>().filter(|_| packet.len() >= HEADER) else { return };
        if self.asked.get(number).is_none_or(|asked| asked.whom != whom) || packet[2] & RESPONSE == 0 {
            return;
        }
        let Some(asked) = self.asked.remove(number) else { return };
        packet[..2].copy_from_slice(&asked.id);
        let _ = self.inside.send_to(packet, asked.peer);
    }
}

/// Some number; the standard library's hashers begin with keys that nobody knows.
fn random() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(()) as u16
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::SERVFAIL;
    use super::*;

    /// A relay, the resolvers behind it, and an asker.
    fn relay(resolvers: usize) -> (Vec<UdpSocket>, UdpSocket) {
        let local = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolvers: Vec<UdpSocket> = (0..resolvers).map(|_| local()).collect();
        let outside = resolvers.iter().map(|r| Outside::open(r.local_addr().unwrap()).unwrap()).collect();
        let (inside, asker) = (local(), local());
        asker.connect(inside.local_addr().unwrap()).unwrap();
        for socket in resolvers.iter().chain([&asker]) {
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        let relay = Relay::new(inside, outside).unwrap();
        thread::spawn(move || relay.run());
        (resolvers, asker)
    }

    fn question(id: u8) -> Vec<u8> {
        let mut packet = vec![0; HEADER + 6];
        packet[1] = id;
        packet
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn answers_come_back_to_who_asked_under_their_own_number() {
        let (resolvers, asker) = relay(1);
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        asker.send(&question(7)).unwrap();
        other.send_to(&question(7), asker.peer_addr().unwrap()).unwrap();
        let (mut first, from) = receive(&resolvers[0]);
        let (mut second, _) = receive(&resolvers[0]);
        assert_ne!(first[..2], second[..2]);
        // Neither a stranger nor another question is an answer.
        let mut forged = first.clone();
        forged[2] = RESPONSE;
        forged[HEADER] = 66;
        other.send_to(&forged, ("127.0.0.1", from.port())).unwrap();
        resolvers[0].send_to(&first, from).unwrap();
        for (answer, mark) in [(&mut second, 2), (&mut first, 1)] {
            answer[2] = RESPONSE;
            answer[HEADER] = mark;
            resolvers[0].send_to(answer, from).unwrap();
        }
        for (socket, mark) in [(&asker, 1), (&other, 2)] {
            let (answer, _) = receive(socket);
            assert_eq!((answer[1], answer[HEADER]), (7, mark));
        }
    }

    #[test]
    fn who_is_silent_is_not_asked_again_at_once() {
        let (resolvers, asker) = relay(2);
        asker.send(&question(1)).unwrap();
        receive(&resolvers[0]);
        resolvers[1].set_nonblocking(true).unwrap();
        let began = Instant::now();
        let mut buffer = [0; 100];
        while resolvers[1].recv(&mut buffer).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the second resolver is not asked");
            asker.send(&question(2)).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn too_many_at_once_fail_at_once() {
        let (resolvers, asker) = relay(1);
        // As many at a time as sockets keep.
        for _ in 0..UNDER_WAY / 50 {
            (0..50).for_each(|id| assert!(asker.send(&question(id)).is_ok()));
            (0..50).for_each(|_| drop(receive(&resolvers[0])));
        }
        asker.send(&question(7)).unwrap();
        let (answer, _) = receive(&asker);
        assert_eq!((answer[2] & RESPONSE, answer[3] & 0x0f), (RESPONSE, SERVFAIL));
    }
}
