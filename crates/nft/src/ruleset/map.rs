//! Declarations of maps and sets.

use super::field::{Fields, put};
use super::rule::expression;
use super::{Change, Field, Table, put_user_data};
use crate::encode::{Encoder, NESTED, covers, raw};
use crate::message::Attributes;

// Attributes of sets; maps are sets to the kernel.
pub(super) const TABLE: u16 = 1;
pub(super) const NAME: u16 = 2;
pub(super) const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LENGTH: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LENGTH: u16 = 7;
const DESCRIPTION: u16 = 9;
const ID: u16 = 10;
const USERDATA: u16 = 13;
const EXPRESSION: u16 = 17;
const SIZE: u16 = 1;

/// The type of verdicts, and what a verdict takes (`NFT_DATA_VERDICT`, `struct nft_verdict`).
const VERDICT: u32 = 0xffff_ff00;
const VERDICT_LENGTH: u32 = 16;

/// What there is for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing: it is a set.
    Nothing,
    /// A value.
    Value(&'static [Field]),
    /// Where to go, or what to do with the packet.
    Verdict,
    /// A value that rules put in, and that goes when its time is up.
    Dynamic(&'static [Field]),
}

/// A map, or a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Its name.
    pub name: &'static str,
    /// What is looked up.
    pub key: &'static [Field],
    /// What is found.
    pub contents: Contents,
    /// Whether each element counts the packets that found it.
    pub counted: bool,
    /// Elements that it takes, if it does not take any number. The kernel makes such a map as large as that at once,
    /// while others are hashed anew as they grow (`nft_hash` and `nft_rhash` of net/netfilter/nft_set_hash.c).
    pub size: Option<u32>,
    /// Shown in a listing.
    pub comment: &'static str,
}

impl Map {
    fn flags(&self) -> u32 {
        let flags = match self.contents {
            Contents::Nothing => 0,
            Contents::Value(_) | Contents::Verdict => libc::NFT_SET_MAP,
            Contents::Dynamic(..) => libc::NFT_SET_MAP | libc::NFT_SET_TIMEOUT | libc::NFT_SET_EVAL,
        };
        flags as u32
    }

    /// Whether rules put the elements in.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        matches!(self.contents, Contents::Dynamic(..))
    }

    /// What the kernel needs to know, but for the names.
    fn declaration(&self, table: &Table) -> Encoder {
        let mut body = Encoder::default();
        let key = Fields(self.key, table.family);
        body.u32(FLAGS, self.flags()).u32(KEY_TYPE, key.data_type()).u32(KEY_LENGTH, key.length());
        match self.contents {
            Contents::Nothing => {}
            Contents::Verdict => {
                body.u32(DATA_TYPE, VERDICT).u32(DATA_LENGTH, VERDICT_LENGTH);
            }
            Contents::Value(value) | Contents::Dynamic(value) => {
                let value = Fields(value, table.family);
                body.u32(DATA_TYPE, value.data_type()).u32(DATA_LENGTH, value.length());
            }
        }
        if let Some(size) = self.size {
            body.nest(DESCRIPTION, |inner| {
                inner.u32(SIZE, size);
            });
        }
        body.bytes(USERDATA, &self.user_data(table));
        body
    }

    /// For listings: byte orders, types, comment.
    fn user_data(&self, table: &Table) -> Vec<u8> {
        let key = Fields(self.key, table.family);
        let mut out = Vec::new();
        put(&mut out, 0, &key.byte_order().to_ne_bytes());
        match self.contents {
            Contents::Nothing => put(&mut out, 3, &key.type_of()),
            // No type of a verdict is written down: older versions of nft do not know it. So there is none of
            // the key, either.
            Contents::Verdict => put(&mut out, 1, &[0; 4]),
            Contents::Value(value) | Contents::Dynamic(value) => {
                let value = Fields(value, table.family);
                put(&mut out, 1, &value.byte_order().to_ne_bytes());
                put(&mut out, 3, &key.type_of());
                put(&mut out, 4, &value.type_of());
            }
        }
        if !self.comment.is_empty() {
            put_user_data(&mut out, 7, self.comment);
        }
        out
    }

    /// Whether the kernel's description of a set is this one, whether or not elements count.
    pub(super) fn is(&self, table: &Table, theirs: &[u8]) -> bool {
        /// `NFT_SET_EXPR`
        const EXPRESSIONS: u32 = 0x100;
        let plain = |flags: u32| flags & !EXPRESSIONS;
        let ours = self.declaration(table).finish();
        // The kernel may set a flag of its own for what elements carry.
        let flags = Attributes(theirs).u32(FLAGS).unwrap_or(0);
        let same_flags = plain(flags) == plain(self.flags());
        let rest = raw(&ours).filter(|(kind, _)| *kind != FLAGS).all(|(kind, value)| {
            let other = Attributes(theirs).get(kind & !NESTED);
            match kind {
                USERDATA => other.is_some_and(|other| covers_user_data(value, other)),
                _ if kind & NESTED != 0 => other.is_some_and(|other| covers(value, other)),
                _ => other == Some(value),
            }
        });
        same_flags && rest && size(theirs) == self.size
    }
}

/// The elements that a set takes, as the kernel describes it.
pub(super) fn size(theirs: &[u8]) -> Option<u32> {
    Attributes(theirs).nest(DESCRIPTION).u32(SIZE)
}

/// Whether `theirs` has all of `ours`; each version of `nft` has its own additions.
fn covers_user_data(ours: &[u8], theirs: &[u8]) -> bool {
    let theirs: Vec<_> = user_data(theirs).collect();
    user_data(ours).all(|entry| theirs.contains(&entry))
}

pub(super) fn user_data(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, length, rest @ ..] = bytes else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        bytes = rest;
        Some((*kind, value))
    })
}

impl Table {
    /// Adds a map; there must be none of the name. `id` is one that no other map of the transaction has.
    #[must_use]
    pub fn add_map(&self, map: &Map, id: u32) -> Change {
        let mut body = Encoder::default();
        body.string(TABLE, &self.name).string(NAME, map.name).u32(ID, id);
        body.append(map.declaration(self).as_slice());
        if map.counted {
            let mut counter = Encoder::default();
            expression(&mut counter, "counter", |data| {
                data.u64(1, 0).u64(2, 0);
            });
            // The expression without the frame that makes it one of a list.
            body.nest(EXPRESSION, |inner| {
                inner.append(&counter.as_slice()[4..]);
            });
        }
        Change::new(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE | libc::NLM_F_EXCL, self.family, body)
    }

    /// Deletes a map with its elements; no rule may use it.
    #[must_use]
    pub fn delete_map(&self, name: &str) -> Change {
        let mut body = Encoder::default();
        body.string(TABLE, &self.name).string(NAME, name);
        Change::new(libc::NFT_MSG_DELSET, 0, self.family, body)
    }
}
