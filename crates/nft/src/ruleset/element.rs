//! Elements of maps.

use std::fmt;

use super::{Bytes, Change, LARGEST, Table};
use crate::encode::Encoder;
use crate::message::Attributes;

const TABLE: u16 = 1;
const MAP: u16 = 2;
const ELEMENTS: u16 = 3;
/// Each element is one of a list (`NFTA_LIST_ELEM`).
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const USERDATA: u16 = 6;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// Room for the names and headers of a message, and for more than the padding at its end.
const SPARE: usize = 1024;

/// More elements fill a message, or nearly.
const MANY: usize = 256;

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is dropped.
    Drop,
    /// It goes on in a chain.
    Goto(Box<str>),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Verdict {
    fn encode(&self, out: &mut Encoder) {
        out.nest(VERDICT, |inner| match self {
            Self::Drop => {
                inner.u32(VERDICT_CODE, libc::NF_DROP as u32);
            }
            Self::Goto(chain) => {
                inner.bytes(VERDICT_CODE, &libc::NFT_GOTO.to_be_bytes()).string(VERDICT_CHAIN, chain);
            }
        });
    }

    fn decode(verdict: Attributes<'_>) -> Option<Self> {
        match verdict.u32(VERDICT_CODE)?.cast_signed() {
            libc::NF_DROP => Some(Self::Drop),
            libc::NFT_GOTO => Some(Self::Goto(verdict.string(VERDICT_CHAIN)?.into())),
            _ => None,
        }
    }
}

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing, in a set.
    Nothing,
    /// A value.
    Data(Bytes),
    /// Where to go.
    Verdict(Verdict),
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// What is looked up.
    pub key: Bytes,
    /// What is found.
    pub value: Value,
    /// Shown in a listing; at most [`COMMENT`](super::COMMENT) bytes, without quotes.
    pub comment: Box<str>,
}

impl Element {
    fn encode(&self, out: &mut Encoder) {
        out.nest(ELEMENT, |inner| {
            encode_key(&self.key, inner);
            match &self.value {
                Value::Nothing => {}
                Value::Data(data) => {
                    inner.nest(DATA, |value| {
                        value.bytes(VALUE, data);
                    });
                }
                Value::Verdict(verdict) => {
                    inner.nest(DATA, |value| verdict.encode(value));
                }
            }
            if !self.comment.is_empty() {
                inner.user_data(USERDATA, &self.comment);
            }
        });
    }

    /// An element as the kernel describes it.
    pub(super) fn decode(element: Attributes<'_>) -> Option<Self> {
        let key = Bytes::read(element.nest(KEY).get(VALUE)?)?;
        let data = element.nest(DATA);
        let value = match (data.get(VALUE), data.get(VERDICT)) {
            (Some(value), _) => Value::Data(Bytes::read(value)?),
            (None, Some(verdict)) => Value::Verdict(Verdict::decode(Attributes(verdict))?),
            (None, None) => Value::Nothing,
        };
        let comment = super::read::comment(element.get(USERDATA).unwrap_or_default()).into();
        Some(Self { key, value, comment })
    }
}

fn encode_key(key: &[u8], out: &mut Encoder) {
    out.nest(KEY, |inner| {
        inner.bytes(VALUE, key);
    });
}

/// Adds elements; none of the keys may be there. As many messages as it takes.
pub fn add_elements<'a>(
    table: &Table,
    map: &str,
    elements: impl IntoIterator<Item = &'a Element>,
) -> impl Iterator<Item = Change> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    messages(table, map, libc::NFT_MSG_NEWSETELEM, flags, elements, |element, out| element.encode(out))
}

/// Deletes elements by their keys, all of which must be there.
pub fn delete_elements<'a>(
    table: &Table,
    map: &str,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Change> {
    messages(table, map, libc::NFT_MSG_DELSETELEM, 0, keys, |key, out| {
        out.nest(ELEMENT, |inner| encode_key(key, inner));
    })
}

fn messages<T>(
    table: &Table,
    map: &str,
    kind: i32,
    flags: i32,
    items: impl IntoIterator<Item = T>,
    encode: impl Fn(&T, &mut Encoder),
) -> impl Iterator<Item = Change> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        items.peek()?;
        let many = items.size_hint().1.is_some_and(|count| count > MANY);
        let mut body = if many { Encoder::with_room(LARGEST) } else { Encoder::default() };
        body.string(TABLE, &table.name).string(MAP, map).nest(ELEMENTS, |list| {
            while let Some(item) = items.peek() {
                let before = list.len();
                encode(item, list);
                if list.len() > LARGEST - SPARE && before > SPARE {
                    list.truncate(before);
                    break;
                }
                items.next();
            }
        });
        Some(Change::new(kind, flags, table.family, body))
    })
}
