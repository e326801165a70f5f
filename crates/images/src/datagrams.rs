//! A server that answers datagrams.

use std::io::{self, Write};
use std::net::SocketAddr;

use tokio::net::UdpSocket;

/// The largest datagram that is read, in bytes.
const LARGEST: usize = 2048;

/// Answers each datagram, for ever; `answer` is given what came and from whom.
pub(crate) async fn serve(socket: UdpSocket, answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>>) {
    let mut buffer = [0; LARGEST];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // A client that has gone away: the kernel tells it with the next datagram.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(e) => {
                let _ = writeln!(io::stderr(), "receive a datagram: {e}");
                return;
            }
        };
        let client = SocketAddr::new(from.ip().to_canonical(), from.port());
        if let Some(answer) = answer(&buffer[..length], client) {
            // Datagrams may get lost.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
