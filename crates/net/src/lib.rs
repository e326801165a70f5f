//! Namespaces, links, routes and packets: everything that knetsim asks of the kernel but nftables.
//!
//! The crate has no idea of clusters or labs. It offers the pieces that those are made of:
//!
//! - [`ns`]: network namespaces: make, open, bind to a name, run code inside;
//! - [`links`]: links, addresses and routes of one namespace, over rtnetlink;
//! - [`arp`]: telling a network where an address is now;
//! - [`events`]: word of links that come, change and go;
//! - [`vxlan`], [`neighbours`], [`batch`]: the devices and entries that overlays are made of, many at once;
//! - [`mac`], [`loopback`]: Ethernet addresses; the link that every namespace has;
//! - [`tc`]: links that are slow, late or lossy;
//! - [`sandbox`]: a process in new user, mount, pid and network namespaces, its ids mapped;
//! - [`process`]: children that join namespaces before their first instruction;
//! - [`ids`]: user namespaces with a single id;
//! - [`mount`]: the few mounts a lab needs;
//! - [`delay`]: a wire that delays frames, where the kernel has no netem;
//! - [`ping`], [`throughput`]: what the programs `ping` and `iperf` measure.
//!
//! Unsafe code stands only here and in `nft`, module by module, each block with its reason.

pub mod arp;
pub mod batch;
pub mod delay;
pub mod error;
pub mod events;
pub mod ids;
pub mod links;
pub mod loopback;
pub mod mac;
pub mod mount;
pub mod neighbours;
pub mod ns;
pub mod passing;
pub mod ping;
pub mod process;
pub mod sandbox;
pub mod tc;
pub mod throughput;
pub mod vxlan;

pub use error::{Error, Result};
pub use links::Links;
pub use mac::Mac;
pub use ns::NetNs;
