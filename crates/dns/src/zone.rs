//! The cluster's zone: which records its objects make, and the answer to a question.
//!
//! ```text
//! objects ── put, delete ──► Index ── answer(name, type) ──► Answer
//!  (objects.rs)             (index.rs)  (question.rs: what a name stands for; answer.rs, service.rs: its records)
//! ```
//!
//! Sources: kubernetes/dns `docs/specification.md` 1.1.0; where it leaves a choice, what `CoreDNS` does with
//! the configuration that kubeadm gives it (`pods insecure`, no wildcards, `plugin/kubernetes`). Three
//! things are different, because DNS wants them so:
//! - a name that has nothing but names below it (`_tcp.web.shop.svc.cluster.local`) exists (RFC 8020);
//! - a name that has an SRV record only, or a TXT record only, has no addresses but exists;
//! - an `ExternalName` is an alias for every type, and stays in the answer if it leads nowhere (RFC 1034
//!   section 4.3.2, RFC 6604).

use std::net::IpAddr;

use hickory_proto::rr::Name;

mod answer;
mod entry;
mod index;
mod objects;
mod question;
mod records;
mod service;

pub use answer::{Answer, Inside, Realm};
pub use index::{BadZone, Index};
pub use objects::{Conditions, Endpoint, EndpointSlice, Namespace, Port, SERVICE_NAME, Service, ServiceSpec};

/// Seconds that the zone's records may be kept.
pub const TTL: u32 = 5;
/// Seconds that the version may be kept, as in the specification's example.
pub const VERSION_TTL: u32 = 28_800;
/// The version of the specification.
pub const VERSION: &str = "1.1.0";

/// The address that a name stands for below `in-addr.arpa` or `ip6.arpa`, whoever has it.
pub(crate) fn reverse(name: &Name) -> Option<IpAddr> {
    question::reverse(&question::text(name))
}

#[cfg(test)]
mod tests;
