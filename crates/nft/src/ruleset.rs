//! Tables with chains, maps and their elements, as this crate writes and reads them.
//!
//! The crate `nftnl` has no maps, no keys of several fields, no comments of tables, chains and elements, and
//! no way to read. Here all of that is encoded as netlink attributes (`linux/netfilter/nf_tables.h`), which is
//! also how it is compared with what the kernel has; batches are made by `nftnl` as always.
//!
//! What a listing by `nft` needs beside what the kernel needs goes along as user data: comments, and the
//! types of maps, without which marks are shown with their bytes swapped (`libnftnl/udata.h`, nftables
//! `src/mnl.c`, `src/netlink.c`).

mod element;
mod field;
mod map;
mod read;
mod rule;

use std::fmt;

use crate::encode::Encoder;
use crate::message::{FAMILY_HEADER, HEADER};

pub use element::{Element, Value, Verdict, add_elements, delete_elements};
pub use field::{Bytes, Family, Field, Network};
pub use map::{Contents, Map};
pub(crate) use read::comment;
pub use read::{Live, LiveChain, LiveElement, LiveMap, LiveRule, live_elements};
pub use rule::Rule;

// Attributes of tables and chains.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USERDATA: u16 = 6;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const CHAIN_USERDATA: u16 = 12;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// Longest comment that `nft` takes (`NFTNL_UDATA_COMMENT_MAXLEN`, with the zero byte at its end).
pub const COMMENT: usize = 127;

/// One change of a ruleset: a message of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    kind: u16,
    flags: u16,
    family: Family,
    body: Vec<u8>,
}

impl Change {
    fn new(kind: i32, flags: i32, family: Family, body: Encoder) -> Self {
        Self {
            kind: (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16,
            flags: flags as u16,
            family,
            body: body.finish(),
        }
    }

    /// Bytes that it adds to a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        HEADER + FAMILY_HEADER + self.body.len()
    }

    pub(crate) fn encode(&self, seq: u32, out: &mut Vec<u8>) {
        out.extend((self.size() as u32).to_ne_bytes());
        out.extend(self.kind.to_ne_bytes());
        out.extend((self.flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        out.extend(seq.to_ne_bytes());
        out.extend([0; 4]); // port: the kernel knows it
        out.extend([self.family.number(), libc::NFNETLINK_V0 as u8, 0, 0]);
        out.extend(&self.body);
    }
}

/// Largest message: the length of an attribute has 16 bits.
const LARGEST: usize = u16::MAX as usize;

/// A table by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} {}", self.family, self.name)
    }
}

impl Table {
    /// The table of a family.
    #[must_use]
    pub fn new(family: Family, name: &str) -> Self {
        Self { family, name: name.into() }
    }

    /// Adds the table, if there is none of the name.
    #[must_use]
    pub fn add(&self, comment: &str) -> Change {
        let mut body = Encoder::default();
        body.string(TABLE_NAME, &self.name).u32(TABLE_FLAGS, 0).user_data(TABLE_USERDATA, comment);
        Change::new(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, self.family, body)
    }

    /// Deletes the table with all that is in it.
    #[must_use]
    pub fn delete(&self) -> Change {
        let mut body = Encoder::default();
        body.string(TABLE_NAME, &self.name);
        Change::new(libc::NFT_MSG_DELTABLE, 0, self.family, body)
    }

    /// Adds a chain, without its rules.
    #[must_use]
    pub fn add_chain(&self, chain: &Chain) -> Change {
        let mut body = Encoder::default();
        body.string(CHAIN_TABLE, &self.name).string(CHAIN_NAME, &chain.name);
        if let Some(hook) = chain.hook {
            body.nest(CHAIN_HOOK, |inner| {
                inner.u32(HOOK_NUMBER, hook.at.number()).bytes(HOOK_PRIORITY, &hook.priority.to_be_bytes());
            });
            body.u32(CHAIN_POLICY, libc::NF_ACCEPT as u32).string(CHAIN_TYPE, "nat");
        }
        body.user_data(CHAIN_USERDATA, &chain.comment);
        Change::new(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE | libc::NLM_F_EXCL, self.family, body)
    }

    /// Deletes a chain; there must be nothing that leads to it.
    #[must_use]
    pub fn delete_chain(&self, name: &str) -> Change {
        let mut body = Encoder::default();
        body.string(CHAIN_TABLE, &self.name).string(CHAIN_NAME, name);
        Change::new(libc::NFT_MSG_DELCHAIN, 0, self.family, body)
    }

    /// Adds a rule at the end of a chain.
    #[must_use]
    pub fn add_rule(&self, chain: &str, rule: &Rule) -> Change {
        let mut body = Encoder::default();
        body.string(RULE_TABLE, &self.name).string(RULE_CHAIN, chain);
        body.nest(RULE_EXPRESSIONS, |inner| {
            inner.append(rule.expressions());
        });
        if !rule.comment().is_empty() {
            body.user_data(RULE_USERDATA, rule.comment());
        }
        Change::new(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, self.family, body)
    }

    /// Deletes every rule of a chain.
    #[must_use]
    pub fn flush_chain(&self, chain: &str) -> Change {
        let mut body = Encoder::default();
        body.string(RULE_TABLE, &self.name).string(RULE_CHAIN, chain);
        Change::new(libc::NFT_MSG_DELRULE, 0, self.family, body)
    }
}

/// Where a base chain of type `nat` sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// When they arrive.
    Prerouting,
    /// When a process of the namespace sends them.
    Output,
    /// When they leave.
    Postrouting,
}

impl At {
    fn number(self) -> u32 {
        match self {
            Self::Prerouting => libc::NF_INET_PRE_ROUTING as u32,
            Self::Output => libc::NF_INET_LOCAL_OUT as u32,
            Self::Postrouting => libc::NF_INET_POST_ROUTING as u32,
        }
    }
}

/// Makes a chain a base chain, of type `nat`: it sees the first packet of each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Where.
    pub at: At,
    /// Lower ones come first; `dstnat` is -100, `srcnat` 100.
    pub priority: i32,
}

/// A chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Whether packets come to it from the kernel.
    pub hook: Option<Hook>,
    /// Shown in a listing; at most [`COMMENT`] bytes, without quotes.
    pub comment: String,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// User data of other types: type, length, text, zero byte.
fn put_user_data(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.extend([kind, (text.len() + 1) as u8]);
    out.extend(text.as_bytes());
    out.push(0);
}
