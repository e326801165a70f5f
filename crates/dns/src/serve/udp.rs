//! Questions by UDP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::server::{Server, Verdict};
use crate::wire::Transport;

/// Packets that may wait in the socket: some thousands, so that a burst or a moment without a processor
/// loses none. Without privilege the kernel gives no more than `net.core.rmem_max`.
const WAITING: usize = 4 << 20;
/// Packets that are answered before others have a turn.
const AT_A_TIME: usize = 64;
/// Questions to others that may be under way.
const UNDER_WAY: usize = 1000;
/// More than any question has; the rest of a longer packet is cut off, and it is answered as malformed.
const LONGEST: usize = 4096;

pub(super) fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // The first is for the privileged, and knows no bound.
    if setsockopt(&socket, sockopt::RcvBufForce, &WAITING).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &WAITING)?;
    }
    UdpSocket::from_std(socket)
}

/// Never ends.
pub(super) async fn serve(socket: UdpSocket, server: Arc<Server>) {
    let socket = Arc::new(socket);
    let (mut packet, mut reply) = (vec![0; LONGEST], Vec::with_capacity(1500));
    // With this task they end.
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = ready {
                    tracing::warn!(%error, "questions by UDP cannot be read");
                }
            }
            Some(_) = under_way.join_next() => {}
        }
        for _ in 0..AT_A_TIME {
            // What is wrong with a packet is of no concern to the next one.
            let (length, peer) = match socket.try_recv_from(&mut packet) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            match server.respond(&packet[..length], Transport::Udp, peer, &mut reply) {
                Verdict::Silence => {}
                Verdict::Reply => send(&socket, &reply, peer).await,
                Verdict::Later(later) => {
                    while under_way.try_join_next().is_some() {}
                    // Beyond that the one who asks will have to ask again.
                    if under_way.len() < UNDER_WAY {
                        let (socket, server) = (socket.clone(), server.clone());
                        under_way.spawn(async move {
                            let mut reply = Vec::new();
                            server.finish(*later, &mut reply).await;
                            send(&socket, &reply, peer).await;
                        });
                    }
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Sends a reply; one that cannot be sent is as lost as one that the network loses.
async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.try_send_to(reply, peer)
        && error.kind() == io::ErrorKind::WouldBlock
        && socket.writable().await.is_ok()
    {
        let _ = socket.try_send_to(reply, peer);
    }
}
