//! nftables transactions, over netlink.
//!
//! Objects come from the crate `nftnl`, and from [`expr`] what it lacks. A [`Transaction`] collects
//! them, [`Transaction::seal`] makes a [`Batch`] of them, which is plain bytes, and [`Socket::run`]
//! has the kernel take the batch whole or not at all. A batch is the same for every namespace: make
//! it once, run it in many.
//!
//! - [`ruleset`]: tables with chains, maps, elements and comments: written, read, compared;
//! - [`conntrack`]: connections that the kernel tracks: listed and forgotten;
//! - [`loss`]: links that lose packets, where the kernel has no `netem`;
//! - [`silence`]: a namespace that does not say that nobody listens.
//!
//! The only unsafe code is where libnftnl is called by hand: for expressions ([`expr`]), and to write its messages
//! ([`Transaction`]).

pub mod conntrack;
mod encode;
pub mod error;
pub mod expr;
pub mod loss;
mod message;
pub mod ruleset;
pub mod silence;
pub mod socket;
pub mod transaction;

pub use error::{Error, Result};
pub use socket::Socket;
pub use transaction::{Batch, Transaction};
