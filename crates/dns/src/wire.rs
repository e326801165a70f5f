//! Packets: reading a question, writing a reply.
//!
//! Sources: RFC 1035 section 4 (messages), RFC 6891 (EDNS0), RFC 2181 section 9 (truncation), RFC 9619 (one
//! question a query).

use hickory_proto::ProtoError;
use hickory_proto::op::{
    Edns, EmitAndCount, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::{DNSClass, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

/// The length of a header.
pub(crate) const HEADER: usize = 12;
/// What a UDP packet may hold for one who does not say otherwise.
const UDP_LEAST: u16 = 512;
/// What crosses every link unfragmented (DNS flag day 2020).
pub(crate) const UDP_MOST: u16 = 1232;
/// What a TCP message may hold.
const TCP_MOST: u16 = u16::MAX;
/// An OPT record without options.
const OPT: u16 = 11;

/// How a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What a packet is.
#[derive(Debug)]
pub(crate) enum Packet {
    /// Not a query: an answer to it could go round in circles.
    Noise,
    /// A query that is refused as it stands.
    Bad(Reply),
    /// A question.
    Request(Request),
}

/// A question of class IN.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    metadata: Metadata,
    pub(crate) query: Query,
    edns: Option<Edns>,
    pub(crate) transport: Transport,
}

/// A reply to write.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) metadata: Metadata,
    query: Option<Query>,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
    edns: Option<Edns>,
    limit: u16,
}

/// Reads a packet.
pub(crate) fn read(packet: &[u8], transport: Transport) -> Packet {
    let Some(header) = packet.first_chunk::<HEADER>() else { return Packet::Noise };
    let [id_high, id_low, flags, _, questions_high, questions_low, ..] = *header;
    if flags & 0x80 != 0 {
        return Packet::Noise;
    }
    let op_code = OpCode::from_u8(flags >> 3 & 0x0f);
    let mut metadata = Metadata::new(u16::from_be_bytes([id_high, id_low]), MessageType::Response, op_code);
    metadata.recursion_desired = flags & 1 != 0;
    let bad = |code| Packet::Bad(Reply::bare(metadata, code, transport));
    if op_code != OpCode::Query {
        return bad(ResponseCode::NotImp);
    }
    // Before anything is allocated for them.
    if [questions_high, questions_low] != [0, 1] {
        return bad(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(packet) else { return bad(ResponseCode::FormErr) };
    let Some(query) = message.queries.pop() else { return bad(ResponseCode::FormErr) };
    let class = query.query_class();
    let metadata = Metadata::response_from_request(&message.metadata);
    let request = Request { metadata, query, edns: message.edns, transport };
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Packet::Bad(request.reply(ResponseCode::BADVERS));
    }
    if class != DNSClass::IN {
        return Packet::Bad(request.reply(ResponseCode::Refused));
    }
    Packet::Request(request)
}

impl Request {
    /// The number that its reply bears too.
    pub(crate) fn id(&self) -> u16 {
        self.metadata.id
    }

    /// Whether the server shall ask others.
    pub(crate) fn wants_recursion(&self) -> bool {
        self.metadata.recursion_desired
    }

    /// Whether signatures shall be in the reply.
    pub(crate) fn wants_signatures(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
    }

    /// Whether signatures need not be checked.
    pub(crate) fn checks_itself(&self) -> bool {
        self.metadata.checking_disabled
    }

    /// The bytes that the reply may have.
    pub(crate) fn limit(&self) -> u16 {
        match (self.transport, &self.edns) {
            (Transport::Tcp, _) => TCP_MOST,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_LEAST, UDP_MOST),
            (Transport::Udp, None) => UDP_LEAST,
        }
    }

    /// A reply without records.
    pub(crate) fn reply(&self, code: ResponseCode) -> Reply {
        let mut metadata = self.metadata;
        metadata.response_code = code;
        let edns = self.edns.as_ref().map(|_| {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MOST);
            edns.set_dnssec_ok(self.wants_signatures());
            edns
        });
        Reply { query: Some(self.query.clone()), edns, limit: self.limit(), ..Reply::empty(metadata) }
    }
}

impl Reply {
    fn empty(metadata: Metadata) -> Self {
        Self {
            metadata,
            query: None,
            answers: vec![],
            authorities: vec![],
            additionals: vec![],
            edns: None,
            limit: UDP_LEAST,
        }
    }

    /// A header and nothing else.
    fn bare(mut metadata: Metadata, code: ResponseCode, transport: Transport) -> Self {
        metadata.response_code = code;
        let limit = if transport == Transport::Tcp { TCP_MOST } else { UDP_LEAST };
        Self { limit, ..Self::empty(metadata) }
    }

    /// Writes the reply to `out`: as much of it as is allowed, and the truncation bit if records that were
    /// asked for had to be left out. Those that are only helpful go without a word.
    ///
    /// Of records that cannot be written nothing is; then it says that the server failed. Gives the code
    /// that it bears.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> ResponseCode {
        out.clear();
        let Err(error) = self.try_write(out) else { return self.metadata.response_code };
        tracing::warn!(%error, "a reply cannot be written");
        out.clear();
        let bare = Self::bare(self.metadata, ResponseCode::ServFail, Transport::Udp);
        if bare.try_write(out).is_err() {
            out.clear();
        }
        ResponseCode::ServFail
    }

    fn try_write(&self, out: &mut Vec<u8>) -> Result<(), ProtoError> {
        let code = self.metadata.response_code;
        let mut encoder = BinEncoder::new(out);
        encoder.set_max_size(if self.edns.is_some() { self.limit - OPT } else { self.limit });
        let mut last = Last { records: &self.additionals, edns: self.edns.clone(), limit: self.limit };
        if let Some(edns) = &mut last.edns {
            edns.set_rcode_high(code.high());
        }
        // The rest of the code is in OPT.
        let mut metadata = self.metadata;
        metadata.response_code = ResponseCode::from_low(code.low());
        emit_message_parts(
            &metadata,
            &mut self.query.iter(),
            &mut self.answers.iter(),
            &mut self.authorities.iter(),
            &mut last,
            None,
            None,
            &mut encoder,
        )?;
        Ok(())
    }
}

/// The additional section: what fits, and OPT for certain.
struct Last<'a> {
    records: &'a [Record],
    edns: Option<Edns>,
    limit: u16,
}

impl EmitAndCount for Last<'_> {
    fn emit(&mut self, encoder: &mut BinEncoder<'_>) -> Result<usize, ProtoError> {
        let count = match encoder.emit_all(self.records.iter()) {
            Ok(count) | Err(ProtoError::NotAllRecordsWritten { count, .. }) => count,
            Err(error) => return Err(error),
        };
        let Some(edns) = &self.edns else { return Ok(count) };
        encoder.set_max_size(self.limit);
        edns.emit(encoder)?;
        Ok(count + 1)
    }
}

#[cfg(test)]
mod tests;
