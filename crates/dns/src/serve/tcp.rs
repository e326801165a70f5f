//! Questions by TCP (RFC 7766): several on a connection, answered as they are ready.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::server::{Server, Verdict};
use crate::wire::{HEADER, Transport};

/// Connections at once; further ones wait to be taken.
pub(super) const CONNECTIONS: usize = 256;
/// How long a connection may be without a whole question, and a reply without being taken.
const IDLE: Duration = Duration::from_secs(10);
/// More than any question has. Of a longer one only the header is read, and it is the last.
const LONGEST: usize = 4096;
/// Questions of a connection that others are being asked.
const UNDER_WAY: usize = 32;

pub(super) fn open(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard one sets SO_REUSEADDR: a server that is started again needs its port at once.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Never ends.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let server = server.clone();
                connections.spawn(async move {
                    // However a connection ends, it ends for its peer only.
                    let _ = converse(stream, peer, &server).await;
                    drop(place);
                });
            }
            // Out of descriptors, for instance: a moment later it may be better.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until its peer is done or silent.
async fn converse(mut stream: TcpStream, peer: SocketAddr, server: &Arc<Server>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut reply) = (Vec::with_capacity(512), Vec::with_capacity(512));
    let mut under_way: JoinSet<Vec<u8>> = JoinSet::new();
    let mut deadline = Instant::now() + IDLE;
    loop {
        while let Some(packet) = take(&mut buffer) {
            deadline = Instant::now() + IDLE;
            match server.respond(&packet.bytes, Transport::Tcp, peer, &mut reply) {
                Verdict::Silence => {}
                Verdict::Reply => send(&mut stream, &reply).await?,
                Verdict::Later(later) => {
                    let server = server.clone();
                    under_way.spawn(async move {
                        let mut reply = Vec::new();
                        server.finish(*later, &mut reply).await;
                        reply
                    });
                }
            }
            if packet.cut {
                return Ok(());
            }
            while under_way.len() >= UNDER_WAY {
                if let Some(Ok(reply)) = under_way.join_next().await {
                    send(&mut stream, &reply).await?;
                }
            }
        }
        tokio::select! {
            read = timeout_at(deadline, stream.read_buf(&mut buffer)) => match read {
                // The peer has said all, but may wait for answers still.
                Ok(Ok(0)) => break,
                Ok(read) => { read?; }
                Err(_) if under_way.is_empty() => return Ok(()),
                Err(_) => deadline = Instant::now() + IDLE,
            },
            Some(done) = under_way.join_next() => {
                if let Ok(reply) = done {
                    send(&mut stream, &reply).await?;
                }
            }
        }
    }
    while let Some(done) = under_way.join_next().await {
        if let Ok(reply) = done {
            send(&mut stream, &reply).await?;
        }
    }
    Ok(())
}

struct Framed {
    bytes: Vec<u8>,
    /// Whether it is but the beginning of a message that is too long.
    cut: bool,
}

/// The first message of a buffer, without its length before it.
fn take(buffer: &mut Vec<u8>) -> Option<Framed> {
    let length = usize::from(u16::from_be_bytes(*buffer.first_chunk()?));
    let cut = length > LONGEST;
    let rest = &buffer[2..];
    let bytes = rest.get(..if cut { HEADER } else { length })?.to_vec();
    buffer.drain(..2 + bytes.len());
    Some(Framed { bytes, cut })
}

async fn send(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let Ok(length) = u16::try_from(reply.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut framed = Vec::with_capacity(2 + reply.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(reply);
    timeout(IDLE, stream.write_all(&framed)).await?
}
