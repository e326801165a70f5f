//! Frames and performatives (specification part 2, sections 2.3 and 2.7).

use bytes::{BufMut, BytesMut};
use fe2o3_amqp_types::performatives::{Attach, Begin, Close, Detach, End, Open};
use serde_amqp::serde::Serialize;

use super::Error;
use super::primitive::{Reader, put_bool, put_uint, put_ulong};

/// The header's size, in bytes; none of ours is longer.
pub const HEADER: usize = 8;
/// The frame type of AMQP.
pub const AMQP: u8 = 0;
/// The frame type of SASL.
pub const SASL: u8 = 1;
/// The protocol header that begins AMQP 1.0.0.
pub const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// The protocol header that begins SASL.
pub const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The whole frame's size in bytes, header included.
    pub size: usize,
    /// Where its body begins.
    pub body: usize,
    /// [`AMQP`] or [`SASL`].
    pub kind: u8,
    /// The channel; the session it belongs to.
    pub channel: u16,
}

impl Header {
    /// Reads a header; `None` when fewer than eight bytes are there.
    ///
    /// # Errors
    /// Sizes that contradict one another.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some(&[a, b, c, d, doff, kind, ch, cl]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let size = u32::from_be_bytes([a, b, c, d]);
        let body = usize::from(doff) * 4;
        if doff < 2 || (size as usize) < body {
            return Err(Error::Header { size, doff });
        }
        Ok(Some(Self { size: size as usize, body, kind, channel: u16::from_be_bytes([ch, cl]) }))
    }
}

/// A performative, decoded.
#[derive(Debug)]
pub enum Performative {
    /// Begins a connection.
    Open(Box<Open>),
    /// Begins a session.
    Begin(Box<Begin>),
    /// Attaches a link.
    Attach(Box<Attach>),
    /// Windows and credit.
    Flow(Flow),
    /// Bytes of a delivery follow.
    Transfer(Transfer),
    /// What became of deliveries.
    Disposition(Disposition),
    /// Detaches a link.
    Detach(Box<Detach>),
    /// Ends a session.
    End(Box<End>),
    /// Ends the connection.
    Close(Box<Close>),
}

/// `flow` (2.7.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// The id that the sender of this flow expects next.
    pub next_incoming_id: Option<u32>,
    /// How many frames it can take.
    pub incoming_window: u32,
    /// The id that it will give next.
    pub next_outgoing_id: u32,
    /// How many frames it may send.
    pub outgoing_window: u32,
    /// The link, when this is about one.
    pub handle: Option<u32>,
    /// The link's delivery count.
    pub delivery_count: Option<u32>,
    /// The link's credit, in deliveries.
    pub link_credit: Option<u32>,
    /// Use the credit up or give it back.
    pub drain: bool,
    /// An answer is wanted.
    pub echo: bool,
}

/// `transfer` (2.7.5), without its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// The delivery's number in the session; on its first frame.
    pub delivery_id: Option<u32>,
    /// Nobody waits for an outcome.
    pub settled: bool,
    /// More frames of this delivery follow.
    pub more: bool,
    /// The delivery is broken off.
    pub aborted: bool,
}

/// `disposition` (2.7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposition {
    /// True from the receiver of the deliveries.
    pub receiver: bool,
    /// The first delivery's number.
    pub first: u32,
    /// The last one's.
    pub last: u32,
    /// The deliveries are forgotten.
    pub settled: bool,
    /// What became of them.
    pub state: Option<State>,
}

/// A delivery's state (specification part 3, section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way: so many bytes of it were passed on.
    Received(u64),
    /// Its outcome.
    Outcome(Outcome),
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Accepted,
    /// It was wrong.
    Rejected,
    /// It was not looked at.
    Released,
    /// It failed on the way.
    Modified,
}

/// Reads a frame's body; gives the performative and where its payload begins.
///
/// # Errors
/// What is wrong with it.
pub fn parse(body: &[u8]) -> Result<(Performative, usize), Error> {
    let mut reader = Reader::new(body);
    let code = reader.descriptor()?;
    match code {
        0x13 => Ok((Performative::Flow(flow(&mut reader)?), reader.pos())),
        0x14 => Ok((Performative::Transfer(transfer(&mut reader)?), reader.pos())),
        0x15 => Ok((Performative::Disposition(disposition(&mut reader)?), reader.pos())),
        _ => {
            // Sizes and depth are checked before the general decoder sees it: it recurses and allocates as it is told.
            reader.skip()?;
            let whole = &body[..reader.pos()];
            let performative = match code {
                0x10 => Performative::Open(decode(whole)?),
                0x11 => Performative::Begin(decode(whole)?),
                0x12 => Performative::Attach(decode(whole)?),
                0x16 => Performative::Detach(decode(whole)?),
                0x17 => Performative::End(decode(whole)?),
                0x18 => Performative::Close(decode(whole)?),
                other => return Err(Error::Descriptor(other)),
            };
            Ok((performative, reader.pos()))
        }
    }
}

fn decode<T: serde_amqp::serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Box<T>, Error> {
    serde_amqp::from_slice(bytes).map(Box::new).map_err(|_| Error::Performative)
}

/// Reads a list field by field; fields beyond its end are absent.
struct Fields<'a> {
    inside: Reader<'a>,
    left: u32,
}

impl<'a> Fields<'a> {
    fn new(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (inside, left) = reader.list()?;
        Ok(Self { inside, left })
    }

    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.inside.null()? { Ok(None) } else { read(&mut self.inside).map(Some) }
    }

    fn skip(&mut self) -> Result<(), Error> {
        self.next(Reader::skip).map(drop)
    }
}

fn flow(reader: &mut Reader<'_>) -> Result<Flow, Error> {
    let mut f = Fields::new(reader)?;
    let next_incoming_id = f.next(Reader::uint)?;
    let incoming_window = f.next(Reader::uint)?.ok_or(Error::Missing("incoming-window"))?;
    let next_outgoing_id = f.next(Reader::uint)?.ok_or(Error::Missing("next-outgoing-id"))?;
    let outgoing_window = f.next(Reader::uint)?.ok_or(Error::Missing("outgoing-window"))?;
    let handle = f.next(Reader::uint)?;
    let delivery_count = f.next(Reader::uint)?;
    let link_credit = f.next(Reader::uint)?;
    f.skip()?;
    let drain = f.next(Reader::boolean)?.unwrap_or(false);
    let echo = f.next(Reader::boolean)?.unwrap_or(false);
    Ok(Flow {
        next_incoming_id,
        incoming_window,
        next_outgoing_id,
        outgoing_window,
        handle,
        delivery_count,
        link_credit,
        drain,
        echo,
    })
}

fn transfer(reader: &mut Reader<'_>) -> Result<Transfer, Error> {
    let mut f = Fields::new(reader)?;
    let handle = f.next(Reader::uint)?.ok_or(Error::Missing("handle"))?;
    let delivery_id = f.next(Reader::uint)?;
    f.skip()?; // delivery-tag
    f.skip()?; // message-format
    let settled = f.next(Reader::boolean)?.unwrap_or(false);
    let more = f.next(Reader::boolean)?.unwrap_or(false);
    f.skip()?; // rcv-settle-mode
    f.skip()?; // state
    f.skip()?; // resume
    let aborted = f.next(Reader::boolean)?.unwrap_or(false);
    Ok(Transfer { handle, delivery_id, settled, more, aborted })
}

fn disposition(reader: &mut Reader<'_>) -> Result<Disposition, Error> {
    let mut f = Fields::new(reader)?;
    let receiver = f.next(Reader::boolean)?.ok_or(Error::Missing("role"))?;
    let first = f.next(Reader::uint)?.ok_or(Error::Missing("first"))?;
    let last = f.next(Reader::uint)?.unwrap_or(first);
    let settled = f.next(Reader::boolean)?.unwrap_or(false);
    let state = f.next(state)?.flatten();
    Ok(Disposition { receiver, first, last, settled, state })
}

fn state(reader: &mut Reader<'_>) -> Result<Option<State>, Error> {
    let code = reader.descriptor()?;
    let mut f = Fields::new(reader)?;
    Ok(match code {
        0x23 => {
            f.skip()?; // section-number
            Some(State::Received(f.next(Reader::ulong)?.unwrap_or(0)))
        }
        0x24 => Some(State::Outcome(Outcome::Accepted)),
        0x25 => Some(State::Outcome(Outcome::Rejected)),
        0x26 => Some(State::Outcome(Outcome::Released)),
        0x27 => Some(State::Outcome(Outcome::Modified)),
        _ => None,
    })
}

/// Appends a frame whose body `write` writes.
#[expect(clippy::cast_possible_truncation, reason = "frames that are made here are small")]
pub fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(channel);
    write(out);
    let size = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a frame with a performative that `serde_amqp` codes.
///
/// # Errors
/// What `serde_amqp` cannot code.
pub fn put_performative(
    out: &mut BytesMut,
    kind: u8,
    channel: u16,
    performative: &impl Serialize,
) -> Result<(), Error> {
    let body = serde_amqp::to_vec(performative).map_err(|_| Error::Performative)?;
    put_frame(out, kind, channel, |out| out.put_slice(&body));
    Ok(())
}

/// Appends an empty frame: it says that the connection is alive (2.4.5).
pub fn put_empty(out: &mut BytesMut) {
    out.put_slice(&[0, 0, 0, 8, 2, AMQP, 0, 0]);
}

/// Appends a list with one byte of size: `write` gives back how many fields it wrote.
#[expect(clippy::cast_possible_truncation, reason = "the lists below stay under 100 bytes")]
fn put_list8(out: &mut BytesMut, code: u8, write: impl FnOnce(&mut BytesMut) -> u8) {
    out.put_slice(&[0x00, 0x53, code, 0xc0, 0, 0]);
    let at = out.len();
    let count = write(out);
    out[at - 1] = count;
    out[at - 2] = (out.len() - at + 1) as u8;
}

/// Appends a `flow` frame.
pub fn put_flow(out: &mut BytesMut, channel: u16, flow: &Flow) {
    let null_or = |out: &mut BytesMut, value: Option<u32>| match value {
        Some(value) => put_uint(out, value),
        None => out.put_u8(0x40),
    };
    put_frame(out, AMQP, channel, |out| {
        put_list8(out, 0x13, |out| {
            null_or(out, flow.next_incoming_id);
            put_uint(out, flow.incoming_window);
            put_uint(out, flow.next_outgoing_id);
            put_uint(out, flow.outgoing_window);
            if flow.handle.is_none() {
                return 4;
            }
            null_or(out, flow.handle);
            null_or(out, flow.delivery_count);
            null_or(out, flow.link_credit);
            out.put_u8(0x40);
            put_bool(out, flow.drain);
            9
        });
    });
}

/// Appends the frame header and performative of a transfer whose payload of `payload` bytes follows elsewhere.
///
/// The first frame of a delivery carries its number and tag; so do ours all, as those of skrouterd (proton).
#[expect(clippy::cast_possible_truncation, reason = "frames are cut to the peer's maximum, which is an u32")]
pub fn put_transfer(out: &mut BytesMut, channel: u16, transfer: &Transfer, tag: u64, payload: usize) {
    let at = out.len();
    put_frame(out, AMQP, channel, |out| {
        put_list8(out, 0x14, |out| {
            put_uint(out, transfer.handle);
            match transfer.delivery_id {
                Some(id) => put_uint(out, id),
                None => out.put_u8(0x40),
            }
            out.put_slice(&[0xa0, 8]);
            out.put_u64_le(tag);
            put_uint(out, 0);
            if !transfer.settled && !transfer.more && !transfer.aborted {
                return 4;
            }
            put_bool(out, transfer.settled);
            put_bool(out, transfer.more);
            if !transfer.aborted {
                return 6;
            }
            out.put_slice(&[0x40, 0x40, 0x40, 0x41]);
            10
        });
    });
    let size = (out.len() - at + payload) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a `disposition` frame about one delivery.
pub fn put_disposition(out: &mut BytesMut, channel: u16, disposition: &Disposition) {
    put_frame(out, AMQP, channel, |out| {
        put_list8(out, 0x15, |out| {
            put_bool(out, disposition.receiver);
            put_uint(out, disposition.first);
            put_uint(out, disposition.last);
            put_bool(out, disposition.settled);
            match disposition.state {
                None => 4,
                Some(State::Received(offset)) => {
                    put_list8(out, 0x23, |out| {
                        put_uint(out, 0);
                        put_ulong(out, offset);
                        2
                    });
                    5
                }
                Some(State::Outcome(outcome)) => {
                    let code = match outcome {
                        Outcome::Accepted => 0x24,
                        Outcome::Rejected => 0x25,
                        Outcome::Released => 0x26,
                        Outcome::Modified => 0x27,
                    };
                    out.put_slice(&[0x00, 0x53, code, 0x45]);
                    5
                }
            }
        });
    });
}
