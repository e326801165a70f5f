//! Asking resolvers, one after the other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Key, cache};
use crate::wire::UDP_MOST;

/// How long one resolver may take before the next is asked.
const TURN: Duration = Duration::from_millis(2000);
/// What of this asking again by TCP may take.
const BY_TCP: Duration = Duration::from_millis(1600);

/// Some resolvers send more than they are asked for.
const RECEIVED_MOST: usize = 4096;

/// Resolvers, of which the last good one is asked first.
#[derive(Debug)]
pub(super) struct Upstreams {
    servers: Box<[SocketAddr]>,
    first: AtomicUsize,
}

impl Upstreams {
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.into(), first: AtomicUsize::new(0) }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The first answer that is one, ready to be kept; or the first that says why there is none.
    pub(super) async fn ask(&self, key: &Key) -> Option<Vec<u8>> {
        let first = self.first.load(Ordering::Relaxed);
        let mut refusal = None;
        // Twice, for a packet may be lost.
        for turn in 0..self.servers.len() * 2 {
            let at = (first + turn) % self.servers.len();
            let server = self.servers[at];
            match timeout(TURN, exchange(server, key)).await {
                Ok(Ok(mut message)) => {
                    cache::prepare(&mut message);
                    let answer = message.to_vec().ok();
                    if matches!(message.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
                        self.first.store(at, Ordering::Relaxed);
                        return answer;
                    }
                    refusal = refusal.or(answer);
                    if turn + 1 >= self.servers.len() {
                        break;
                    }
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver cannot be asked"),
                Err(_) => tracing::debug!(%server, "a resolver does not answer"),
            }
            self.turn_away(at);
        }
        refusal
    }

    /// The next question goes to the next one first, unless another task has turned away already.
    fn turn_away(&self, at: usize) {
        let next = (at + 1) % self.servers.len();
        let _ = self.first.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// One question, by UDP and if the answer is too long, by TCP.
async fn exchange(server: SocketAddr, key: &Key) -> std::io::Result<Message> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    let mut query = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.metadata.checking_disabled = key.unchecked;
    query.add_query(Query::query(key.name.clone(), key.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MOST);
    edns.set_dnssec_ok(key.signatures);
    query.set_edns(edns);
    let packet = query.to_vec().map_err(std::io::Error::other)?;
    let answer = by_udp(server, &packet, &query).await?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let whole = timeout(BY_TCP, by_tcp(server, &packet, &query)).await;
    match whole.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(whole) if whole.metadata.response_code == answer.metadata.response_code => Ok(whole),
        // Some resolvers can be asked by UDP only. A part of the records is better than none.
        _ if !answer.answers.is_empty() => Ok(answer),
        whole => whole,
    }
}

async fn by_udp(server: SocketAddr, packet: &[u8], query: &Message) -> std::io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; RECEIVED_MOST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anybody may send; only the one who was asked knows the number and the port.
        if let Some(answer) = accept(&buffer[..length], query) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, packet: &[u8], query: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(std::io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(packet);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    accept(&answer, query).ok_or_else(|| std::io::Error::other("not the answer to the question"))
}

/// The message, if it is the answer to the question.
fn accept(packet: &[u8], query: &Message) -> Option<Message> {
    let message = Message::from_vec(packet).ok()?;
    let matches = message.metadata.message_type == MessageType::Response
        && message.metadata.id == query.metadata.id
        && message.metadata.op_code == OpCode::Query
        && message.queries == query.queries;
    matches.then_some(message)
}
