//! How much one TCP stream carries: what `iperf A B` measures in Mininet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::error::{Error, Result};
use crate::ns::NetNs;

/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long nothing may arrive before the stream is given up.
const STALL: Duration = Duration::from_secs(5);

/// Bytes in a read or write, as many as iperf takes.
const BLOCK: usize = 128 * 1024;

/// What one stream carried, from both ends' view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// What the client's kernel took while the client was sending, buffers included.
    pub client_bits_per_second: f64,
    /// What arrived, from the connection to the end of the stream: the better figure.
    pub server_bits_per_second: f64,
}

/// Sends over one TCP stream from `client_ns` to address `server` of `server_ns`, as fast as it
/// goes, for `duration`.
///
/// The server listens on all addresses of its namespace, on a port that the kernel chooses. What
/// is in the client's buffer at the end is still carried, and counted at the server: on a slow
/// line the call takes longer than `duration`.
///
/// # Errors
/// When no connection comes about within 5 seconds, when nothing arrives for 5 seconds, and when
/// the connection breaks; the error names both addresses.
pub fn measure(
    server_ns: &NetNs,
    client_ns: &NetNs,
    server: Ipv4Addr,
    duration: Duration,
) -> Result<Throughput> {
    let listener = server_ns.run(|| {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
            .map_err(|e| Error::sys(format!("listen for {server}"), e))
    })?;
    let port = listener.local_addr().map_err(|e| Error::sys("read the server's port", e))?.port();
    let to = SocketAddrV4::new(server, port);
    let client = client_ns.run(|| {
        TcpStream::connect_timeout(&to.into(), CONNECT)
            .map_err(|e| Error::sys(format!("connect from {} to {to}", source_for(to)), e))
    })?;
    let from = client.local_addr().map_err(|e| Error::sys("read the client's address", e))?;
    let stream = Stream { name: format!("stream from {from} to {to}") };
    let accepted = accept(&listener).map_err(|e| stream.failed("accept", e))?;
    drop(listener);
    stream.measure(client, accepted, duration)
}

/// A stream's name, for errors.
#[derive(Debug)]
struct Stream {
    name: String,
}

impl Stream {
    fn failed(&self, what: &str, source: impl Into<io::Error>) -> Error {
        Error::sys(format!("{what} {}", self.name), source)
    }

    fn measure(&self, client: TcpStream, server: TcpStream, duration: Duration) -> Result<Throughput> {
        // An end that gives up must not leave a connection behind that goes on trying, and keeps
        // the namespace alive: closing resets it. An end that read or wrote all has nothing to lose.
        for end in [&client, &server] {
            let now = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(end, sockopt::Linger, &now).map_err(|e| self.failed("prepare", e))?;
        }
        thread::scope(|scope| {
            let server = thread::Builder::new()
                .name("throughput".into())
                .stack_size(128 * 1024)
                .spawn_scoped(scope, || receive(server))
                .map_err(|e| Error::sys("start the server's thread", e))?;
            let sent = send(&client, duration);
            if sent.is_err() {
                // Or else the server would wait for its own time-out.
                drop(client);
            }
            let received = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Throughput {
                client_bits_per_second: sent.map_err(|e| self.failed("send on", e))?,
                server_bits_per_second: received.map_err(|e| self.failed("receive on", e))?,
            })
        })
    }
}

/// The address that the calling thread's namespace would use towards `to`, for an error.
fn source_for(to: SocketAddrV4) -> String {
    // Connecting a UDP socket sends nothing: it only looks up the route.
    let source = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
    source.map_or_else(|_| "a client without a route".into(), |address| address.ip().to_string())
}

/// Takes the connection that the client already sees as made.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let deadline = Instant::now() + CONNECT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => return listener.accept().map(|(stream, _)| stream),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Sends for `duration` and ends the stream: bits that the kernel took in a second.
fn send(mut stream: &TcpStream, duration: Duration) -> io::Result<f64> {
    let block = vec![0x5a; BLOCK];
    let mut bytes = 0;
    let start = Instant::now();
    loop {
        let left = duration.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(&block) {
            Ok(written) => bytes += written,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    let rate = bits_per_second(bytes, start.elapsed());
    stream.shutdown(Shutdown::Write)?;
    Ok(rate)
}

/// Reads to the stream's end: bits that arrived in a second.
fn receive(mut stream: TcpStream) -> io::Result<f64> {
    stream.set_read_timeout(Some(STALL))?;
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    let start = Instant::now();
    loop {
        match stream.read(&mut block) {
            Ok(0) => return Ok(bits_per_second(bytes, start.elapsed())),
            Ok(read) => bytes += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("nothing arrived for {STALL:?}")));
            }
            Err(e) => return Err(e),
        }
    }
}

fn bits_per_second(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64().max(f64::EPSILON)
}
