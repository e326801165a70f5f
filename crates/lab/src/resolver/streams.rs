//! Questions by TCP: those whose answer did not fit in a packet (RFC 7766).
//!
//! A connection needs a socket, and only `topo up` could make one in the machine's network. So there are a few for
//! good, and after each question one is disconnected (`connect(2)` to `AF_UNSPEC`), which makes it as good as new.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{connect, connect_unspec};

use super::{HEADER, LINES, Outside, RESPONSE, fail};

/// One conversation lasts no longer, whoever is slow in it.
const LONGEST: Duration = Duration::from_secs(10);
/// One resolver may take so long; the DNS pods wait for 1.6 s.
const TURN: Duration = Duration::from_millis(1200);
/// How long to leave a listener alone that has nobody to give, for want of descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// A way out: serves one asker at a time, by a socket to each resolver.
#[derive(Debug)]
pub(crate) struct Line {
    inside: TcpListener,
    outside: Vec<(SocketAddr, TcpStream)>,
    /// Who answered last.
    turn: usize,
}

impl Line {
    /// All lines that these resolvers' sockets make, for who comes to `inside`.
    pub(crate) fn all(inside: &TcpListener, outside: &[Outside]) -> io::Result<Vec<Self>> {
        let line = |number: usize| {
            let own = |one: &Outside| Ok((one.address, one.streams[number].try_clone()?));
            let outside = outside.iter().map(own).collect::<io::Result<_>>()?;
            Ok(Self { inside: inside.try_clone()?, outside, turn: 0 })
        };
        (0..LINES).map(line).collect()
    }

    /// Never ends.
    pub(crate) fn run(mut self) {
        loop {
            match self.inside.accept() {
                // However a conversation ends, it ends for its asker only.
                Ok((asker, _)) => drop(self.converse(&asker)),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn converse(&mut self, asker: &TcpStream) -> io::Result<()> {
        let end = Instant::now() + LONGEST;
        loop {
            let mut question = receive(asker, end)?;
            let answer = match self.ask(&question) {
                Some(answer) => answer,
                None => {
                    fail(&mut question);
                    question
                }
            };
            send(asker, &answer, end)?;
        }
    }

    /// The answer of the first resolver that gives one.
    fn ask(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        for _ in 0..self.outside.len() {
            let (address, socket) = &self.outside[self.turn];
            let answer = exchange(socket, *address, question, Instant::now() + TURN);
            // What the former peer did is not what the next one does.
            let _ = connect_unspec(socket).map(|()| socket.take_error());
            match answer {
                Ok(answer) => return Some(answer),
                Err(_) => self.turn = (self.turn + 1) % self.outside.len(),
            }
        }
        None
    }
}

fn exchange(socket: &TcpStream, address: SocketAddr, question: &[u8], end: Instant) -> io::Result<Vec<u8>> {
    // Also the time that connecting may take.
    socket.set_write_timeout(Some(left(end)?))?;
    connect(socket, &address)?;
    send(socket, question, end)?;
    let answer = receive(socket, end)?;
    let is_answer = answer[..2] == question[..2] && answer[2] & RESPONSE != 0;
    if is_answer { Ok(answer) } else { Err(ErrorKind::InvalidData.into()) }
}

/// A message, without its length before it.
fn receive(mut stream: &TcpStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut read = |wanted: usize| {
        let mut bytes = vec![0; wanted];
        let mut there = 0;
        while there < wanted {
            stream.set_read_timeout(Some(left(end)?))?;
            match stream.read(&mut bytes[there..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => there += more,
            }
        }
        Ok(bytes)
    };
    let length = read(2)?.try_into().map(u16::from_be_bytes).unwrap_or_default();
    if usize::from(length) < HEADER {
        return Err(ErrorKind::InvalidData.into());
    }
    read(length.into())
}

fn send(mut stream: &TcpStream, message: &[u8], end: Instant) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.set_write_timeout(Some(left(end)?))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())
}

/// What is left of the time; never nothing, which a socket would take for forever.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn later() -> Instant {
        Instant::now() + PATIENCE
    }

    fn question(id: u8) -> Vec<u8> {
        let mut packet = vec![0; HEADER + 6];
        packet[1] = id;
        packet
    }

    /// A resolver whose answers have so many bytes; it takes one question of each connection.
    fn resolver(bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            // Connections that stay open are no hindrance for the next ones.
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut answer = receive(&stream, later()).unwrap();
                answer[2] = RESPONSE;
                answer.resize(bytes, 7);
                send(&stream, &answer, later()).unwrap();
                open.push(stream);
            }
        });
        address
    }

    /// Where askers come in, and the lines from there to these resolvers.
    fn lines(resolvers: &[SocketAddr]) -> (SocketAddr, Vec<Line>) {
        let outside: Vec<Outside> =
            resolvers.iter().map(|address| Outside::open(*address).unwrap()).collect();
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        let lines = Line::all(&inside, &outside).unwrap();
        (inside.local_addr().unwrap(), lines)
    }

    #[test]
    fn one_socket_asks_again_and_again_whoever_answers() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        let (address, lines) = lines(&[nobody, resolver(60_000)]);
        // A single line, so that its sockets are all that there are.
        let line = lines.into_iter().next().unwrap();
        thread::spawn(|| line.run());
        for id in 0..4 {
            let asker = TcpStream::connect(address).unwrap();
            for more in 0..4 {
                send(&asker, &question(id * 4 + more), later()).unwrap();
                let answer = receive(&asker, later()).unwrap();
                assert_eq!((answer.len(), answer[1], answer[59_999]), (60_000, id * 4 + more, 7));
            }
        }
    }

    #[test]
    fn askers_do_not_wait_for_each_other() {
        let (address, lines) = lines(&[resolver(600)]);
        lines.into_iter().for_each(|line| drop(thread::spawn(|| line.run())));
        // They say nothing, and keep a line each.
        let _silent: Vec<TcpStream> = (1..LINES).map(|_| TcpStream::connect(address).unwrap()).collect();
        let asker = TcpStream::connect(address).unwrap();
        send(&asker, &question(3), later()).unwrap();
        assert_eq!(receive(&asker, later()).unwrap().len(), 600);
    }

    #[test]
    fn where_nobody_answers_that_is_the_answer() {
        // One refuses, one gives the question back.
        let refuses = "127.0.0.1:1".parse().unwrap();
        let odd = TcpListener::bind("127.0.0.1:0").unwrap();
        let others = odd.local_addr().unwrap();
        thread::spawn(move || {
            for stream in odd.incoming() {
                let stream = stream.unwrap();
                let answer = receive(&stream, later()).unwrap();
                send(&stream, &answer, later()).unwrap();
            }
        });
        let (address, lines) = lines(&[refuses, others]);
        lines.into_iter().for_each(|line| drop(thread::spawn(|| line.run())));
        let asker = TcpStream::connect(address).unwrap();
        send(&asker, &question(9), later()).unwrap();
        let answer = receive(&asker, later()).unwrap();
        assert_eq!(
            (answer[1], answer[2] & RESPONSE, answer[3] & 0x0f),
            (9, RESPONSE, super::super::SERVFAIL)
        );
        // A message without a header is none.
        send(&asker, &[1, 2, 3], later()).unwrap();
        assert!(receive(&asker, later()).is_err());
    }
}
