//! A namespace that does not say that nobody listens.
//!
//! Where no socket takes a packet, the kernel tells its sender by ICMP; a resolver then gives up at once, where
//! it would have waited and asked again. A namespace outlives its processes for a moment, and its rules live as
//! long as it does: so a server that is killed is silent until its address is gone.
//!
//! ```text
//! table ip silence {
//!     chain output {
//!         type filter hook output priority filter; policy accept;
//!         meta l4proto icmp icmp type destination-unreachable counter drop comment "…"
//!     }
//! }
//! ```

use std::ffi::CString;

use nftnl::expr::{Cmp, CmpOp, Counter, Icmpv6HeaderField, Meta, Payload, TransportHeaderField, Verdict};
use nftnl::{Chain, ChainType, Hook, Policy, ProtoFamily, Rule, Table};

use crate::error::{Error, Result};
use crate::socket::Socket;
use crate::transaction::Transaction;

const TABLE: &str = "silence";
const CHAIN: &str = "output";
/// Priority `filter`.
const PRIORITY: i32 = 0;
/// RFC 792.
const UNREACHABLE: u8 = 3;

/// Has the calling thread's network namespace tell nobody by ICMP that something cannot be reached in it; again
/// is the same as once. `comment` is what a listing says of it, at most 125 bytes without quotes.
///
/// # Errors
/// What the kernel says ([`Error::Refused`]), as for one without `CAP_NET_ADMIN`.
pub fn keep_silence(comment: &str) -> Result<()> {
    let text = |text: &str| {
        CString::new(text).map_err(|_| Error::Invalid(format!("name with a zero byte: {text:?}")))
    };
    let table = Table::new(text(TABLE)?, ProtoFamily::Ipv4);
    let mut chain = Chain::new(text(CHAIN)?, &table);
    chain.set_type(ChainType::Filter);
    chain.set_hook(Hook::Out, PRIORITY);
    chain.set_policy(Policy::Accept);
    let mut rule = Rule::new(&chain);
    rule.add_expr(&Meta::L4Proto);
    rule.add_expr(&Cmp::new(CmpOp::Eq, libc::IPPROTO_ICMP as u8));
    // The first byte behind the IP header in both versions.
    rule.add_expr(&Payload::Transport(TransportHeaderField::Icmpv6(Icmpv6HeaderField::Type)));
    rule.add_expr(&Cmp::new(CmpOp::Eq, UNREACHABLE));
    rule.add_expr(&Counter);
    rule.add_expr(&Verdict::Drop);
    rule.set_comment(text(comment)?).map_err(|e| Error::Invalid(format!("comment {comment}: {e}")))?;
    let mut transaction = Transaction::new();
    // To delete what is not there is an error, so it is made first.
    transaction.add(&table);
    transaction.delete(&table);
    transaction.add(&table);
    transaction.add(&chain);
    transaction.add(&rule);
    Socket::open()?.run(&transaction.seal())
}
