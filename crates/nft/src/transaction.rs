//! Objects collected into a batch.

use std::fmt;

use nftnl::{MsgType, NlMsg};

use crate::message::{FAMILY_HEADER, HEADER, Message, messages};
use crate::ruleset::Change;

/// Where the flags stand in a message's header (`struct nlmsghdr`).
const FLAGS: usize = 6;

/// Messages that open and close a batch (`linux/netfilter/nfnetlink.h`).
const BEGIN: i32 = libc::NFNL_MSG_BATCH_BEGIN;
const END: i32 = libc::NFNL_MSG_BATCH_END;

/// Changes that the kernel is to make all at once.
pub struct Transaction {
    /// All messages so far, the one that opens the batch first: the kernel takes each sendmsg for a batch of its own.
    bytes: Vec<u8>,
    length: usize,
    /// Where the last object begins.
    last: usize,
    /// Where nftnl writes.
    scratch: Vec<u8>,
}

impl Default for Transaction {
    fn default() -> Self {
        let mut bytes = Vec::new();
        frame(BEGIN, 0, &mut bytes);
        Self { bytes, length: 0, last: 0, scratch: Vec::new() }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction of {} messages", self.length)
    }
}

impl Transaction {
    /// A transaction that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that does nothing yet, with room for so many bytes: what is too small is copied as it grows.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        let mut new = Self::default();
        new.bytes.reserve(bytes);
        new
    }

    /// Adds an object. A table or chain that is there already stays, with what is in it; a rule goes to
    /// the end of its chain; a set must be new.
    pub fn add(&mut self, object: &impl NlMsg) {
        self.put(object, MsgType::Add);
    }

    /// Deletes an object, a table with all that is in it. What is missing is an error: add it first.
    pub fn delete(&mut self, object: &impl NlMsg) {
        self.put(object, MsgType::Del);
    }

    /// Adds a change as it is, whether it adds or deletes.
    pub fn push(&mut self, change: &Change) {
        let seq = self.begin_object();
        change.encode(seq, &mut self.bytes);
    }

    /// Notes that an object follows; gives its sequence number.
    fn begin_object(&mut self) -> u32 {
        self.length += 1;
        self.last = self.bytes.len();
        self.length as u32
    }

    #[allow(unsafe_code)]
    fn put(&mut self, object: &impl NlMsg, kind: MsgType) {
        let seq = self.begin_object();
        self.scratch.clear();
        self.scratch.resize(nftnl::nft_nlmsg_maxsize() as usize, 0);
        // SAFETY: the buffer has room for the largest message there is, as the trait wants.
        unsafe { object.write(self.scratch.as_mut_ptr().cast(), seq, kind) };
        // What was written says itself how long it is.
        let written = messages(&self.scratch).next().map_or(0, |message| HEADER + message.payload.len());
        self.bytes.extend(self.scratch.get(..written).unwrap_or_default());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// How many messages it has: the position of the next one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The finished batch.
    #[must_use]
    pub fn seal(mut self) -> Batch {
        acknowledge_last(&mut self.bytes, self.last);
        frame(END, self.length as u32 + 1, &mut self.bytes);
        Batch { bytes: self.bytes, length: self.length }
    }
}

/// A message that opens or closes a batch.
fn frame(kind: i32, seq: u32, out: &mut Vec<u8>) {
    out.extend(((HEADER + FAMILY_HEADER) as u32).to_ne_bytes());
    out.extend((kind as u16).to_ne_bytes());
    out.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend([0; 4]); // port: the kernel knows it
    out.extend([libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8]);
    // For which part of netfilter it is.
    out.extend((libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes());
}

/// Asks for one acknowledgement, of the last object.
///
/// nftnl asks for one each, and thousands overflow the socket. One is enough: the kernel answers only
/// after the commit (`nfnetlink_rcv_batch` of net/netfilter/nfnetlink.c). Of the last object, and not
/// of the message that closes the batch: for that there are answers only since Linux 6.10.
fn acknowledge_last(bytes: &mut [u8], last: usize) {
    const ACK: u16 = libc::NLM_F_ACK as u16;
    let mut at = 0;
    while let Some(message) = bytes.get(at..).and_then(|rest| messages(rest).next()) {
        let flags = if at == last && last > 0 { message.flags | ACK } else { message.flags & !ACK };
        let length = (HEADER + message.payload.len()).next_multiple_of(4);
        bytes[at + FLAGS..at + FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
        at += length;
    }
}

/// A finished transaction: bytes, the same for every namespace and every run.
#[derive(Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    length: usize,
}

impl Batch {
    /// The bytes of all messages, those that open and close the batch included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What each message does, as `add chain netdev loss ingress-eth0`.
    pub fn steps(&self) -> impl Iterator<Item = String> {
        self.objects().map(|m| m.describe())
    }

    /// The message that has a sequence number: its position, and what it does. One without a position
    /// opens or closes the batch, and stands for the whole.
    pub(crate) fn find(&self, seq: u32) -> (Option<usize>, String) {
        match self.objects().enumerate().find(|(_, m)| m.seq == seq) {
            Some((position, message)) => (Some(position), message.describe()),
            None => (None, "run nftables batch".into()),
        }
    }

    fn objects(&self) -> impl Iterator<Item = Message<'_>> {
        messages(&self.bytes).filter(|m| m.nftables().is_some())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use nftnl::{Chain, ProtoFamily, Table};

    use super::*;

    #[test]
    fn one_acknowledgement_is_asked_for_whatever_the_number_of_pages() {
        let table = Table::new(c"t", ProtoFamily::Ipv4);
        for chains in [0, 1, 10_000] {
            let mut transaction = Transaction::new();
            transaction.add(&table);
            for n in 0..chains {
                transaction.add(&Chain::new(CString::new(format!("c{n}")).unwrap(), &table));
            }
            let batch = transaction.seal();
            let asked: Vec<_> =
                messages(batch.bytes()).filter(|m| m.flags & libc::NLM_F_ACK as u16 != 0).collect();
            assert_eq!(asked.len(), 1);
            assert_eq!(batch.find(asked[0].seq).0, Some(chains), "it is the last object");
            assert_eq!(batch.steps().count(), chains + 1);
            // Nothing between the messages was lost or added.
            let total: usize = messages(batch.bytes()).map(|m| HEADER + m.payload.len()).sum();
            assert_eq!(total, batch.bytes().len());
        }
    }

    #[test]
    fn an_empty_transaction_is_known_as_such() {
        assert!(Transaction::new().is_empty());
        assert!(Transaction::new().seal().is_empty());
    }

    #[test]
    fn sequence_numbers_lead_back_to_objects() {
        let table = Table::new(c"t", ProtoFamily::NetDev);
        let mut transaction = Transaction::new();
        transaction.add(&table);
        transaction.add(&Chain::new(c"c", &table));
        transaction.delete(&table);
        let batch = transaction.seal();
        let seqs: Vec<u32> = messages(batch.bytes()).map(|m| m.seq).collect();
        let found: Vec<_> = seqs.iter().map(|&seq| batch.find(seq)).collect();
        let whole = (None, "run nftables batch".to_string());
        assert_eq!(
            found,
            [
                whole.clone(),
                (Some(0), "add table netdev t".into()),
                (Some(1), "add chain netdev t c".into()),
                (Some(2), "delete table netdev t".into()),
                whole
            ]
        );
        assert_eq!(
            format!("{batch:?}"),
            r#"["add table netdev t", "add chain netdev t c", "delete table netdev t"]"#
        );
    }
}
