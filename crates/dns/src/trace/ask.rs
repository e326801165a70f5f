//! One name, asked for at one server after the other.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Meaning, Query, Said, Settings};

const PORT: u16 = 53;
/// What glibc says that it can take, with `edns0`.
const EDNS_PAYLOAD: u16 = 1200;

/// The queries for a name, and what the answers mean.
pub(super) struct Pair {
    pub(super) queries: Vec<Query>,
    pub(super) meaning: Meaning,
}

/// Asks for the addresses of a name until a server answers.
pub(super) async fn ask(settings: &Settings, name: &Name) -> Pair {
    let kinds = if settings.no_aaaa { &[RecordType::A][..] } else { &[RecordType::A, RecordType::AAAA] };
    let mut queries = Vec::new();
    let mut last: Vec<Said> = Vec::new();
    for _ in 0..settings.attempts.max(1) {
        for (i, server) in settings.nameservers.iter().enumerate() {
            let patience = patience(settings, i);
            let server = SocketAddr::new(*server, PORT);
            let asked = both(settings, server, name, kinds, patience).await;
            // What was too long for UDP has its place in the list, but is no answer.
            let answers = asked.iter().filter(|query| query.answer != Said::Truncated);
            last = answers.map(|query| query.answer.clone()).collect();
            queries.extend(asked);
            if last.iter().any(is_answer) {
                return Pair { queries, meaning: meaning(&last) };
            }
        }
    }
    Pair { queries, meaning: meaning(&last) }
}

/// How long the server at that place of the list has time (`send_dg`).
fn patience(settings: &Settings, place: usize) -> Duration {
    let all = u32::try_from(settings.nameservers.len()).unwrap_or(1).max(1);
    let time = settings.timeout * (1 << place.min(3));
    let time = if place > 0 { Duration::from_secs((time / all).as_secs()) } else { time };
    time.max(Duration::from_secs(1))
}

/// After one of these the next server is asked.
fn is_answer(said: &Said) -> bool {
    match said {
        Said::Records { .. } | Said::NoData | Said::NoName => true,
        Said::Code(code) => {
            !matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
        }
        Said::Truncated | Said::Silence | Said::Unreachable(_) => false,
    }
}

/// (`__res_context_query`)
fn meaning(said: &[Said]) -> Meaning {
    if said.iter().any(|said| matches!(said, Said::Records { .. })) {
        let addresses = said.iter().flat_map(|said| match said {
            Said::Records { addresses, .. } => addresses.as_slice(),
            _ => &[],
        });
        return Meaning::Found(addresses.copied().collect());
    }
    // Where one says that there is no record, the other has the word.
    let decisive = said.iter().find(|said| **said != Said::NoData).or(said.first());
    match decisive {
        Some(Said::NoData) => Meaning::NoData,
        Some(Said::NoName) => Meaning::NoName,
        Some(Said::Code(ResponseCode::ServFail)) => Meaning::Failed,
        Some(Said::Code(_)) => Meaning::Fail,
        Some(Said::Unreachable(_)) if said.iter().all(|said| matches!(said, Said::Unreachable(_))) => {
            Meaning::Nobody
        }
        _ => Meaning::Silence,
    }
}

/// All questions at once, by UDP from one socket; what is too long for it once more by TCP.
async fn both(
    settings: &Settings,
    server: SocketAddr,
    name: &Name,
    kinds: &[RecordType],
    patience: Duration,
) -> Vec<Query> {
    let questions: Vec<Message> = kinds.iter().map(|kind| question(settings, name, *kind)).collect();
    let mut queries = Vec::new();
    if !settings.use_vc {
        queries = by_udp(server, &questions, patience).await;
        if queries.iter().all(|query| query.answer != Said::Truncated) {
            return queries;
        }
    }
    for question in &questions {
        let began = Instant::now();
        let answer = match timeout(patience, by_tcp(server, question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Said::Unreachable(error.to_string()),
            Err(_) => Said::Silence,
        };
        let kind = question.queries[0].query_type();
        queries.push(Query { kind, server, tcp: true, answer, took: began.elapsed() });
    }
    queries
}

fn question(settings: &Settings, name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(hickory_proto::op::Query::query(name.clone(), kind));
    if settings.edns0 {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        message.set_edns(edns);
    }
    message
}

async fn by_udp(server: SocketAddr, questions: &[Message], patience: Duration) -> Vec<Query> {
    let began = Instant::now();
    let mut answers: Vec<Option<(Said, Duration)>> = vec![None; questions.len()];
    let exchange = async {
        let socket = UdpSocket::bind(any(server)).await?;
        socket.connect(server).await?;
        for question in questions {
            socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
        }
        let mut buffer = [0; 4096];
        while answers.iter().any(Option::is_none) {
            let length = socket.recv(&mut buffer).await?;
            let Ok(message) = Message::from_vec(&buffer[..length]) else { continue };
            if let Some(at) = questions.iter().position(|question| answers_to(&message, question)) {
                answers[at].get_or_insert_with(|| (read(&message), began.elapsed()));
            }
        }
        Ok::<_, io::Error>(())
    };
    let missing = match timeout(patience, exchange).await {
        Ok(Err(error)) => Said::Unreachable(error.to_string()),
        _ => Said::Silence,
    };
    let gave_up = began.elapsed();
    let query = |(question, answer): (&Message, Option<(Said, Duration)>)| {
        let (answer, took) = answer.unwrap_or_else(|| (missing.clone(), gave_up));
        Query { kind: question.queries[0].query_type(), server, tcp: false, answer, took }
    };
    questions.iter().zip(answers).map(query).collect()
}

async fn by_tcp(server: SocketAddr, question: &Message) -> io::Result<Said> {
    let mut stream = TcpStream::connect(server).await?;
    let packet = question.to_vec().map_err(io::Error::other)?;
    let mut framed = u16::try_from(packet.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend(packet);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    let message = Message::from_vec(&answer).map_err(io::Error::other)?;
    if !answers_to(&message, question) {
        return Err(io::Error::other("not the answer to the question"));
    }
    Ok(read(&message))
}

fn any(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn answers_to(message: &Message, question: &Message) -> bool {
    message.metadata.message_type == MessageType::Response
        && message.metadata.op_code == OpCode::Query
        && message.metadata.id == question.metadata.id
        && (message.queries == question.queries
            // One that could not read the question does not repeat it.
            || message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError)
}

fn read(message: &Message) -> Said {
    let (mut addresses, mut aliases) = (Vec::new(), Vec::new());
    for record in &message.answers {
        match &record.data {
            RData::A(address) => addresses.push(address.0.into()),
            RData::AAAA(address) => addresses.push(address.0.into()),
            RData::CNAME(target) => aliases.push(target.to_string()),
            _ => {}
        }
    }
    match message.metadata.response_code {
        _ if message.metadata.truncation => Said::Truncated,
        ResponseCode::NoError if message.answers.is_empty() => Said::NoData,
        ResponseCode::NoError => Said::Records { addresses, aliases },
        ResponseCode::NXDomain => Said::NoName,
        code => Said::Code(code),
    }
}
