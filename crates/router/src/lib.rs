//! A router of Skupper's kind: TCP services cross between sites over AMQP 1.0, and a real `skrouterd` takes it for
//! an interior neighbour.
//!
//! ```text
//! TCP client ── service ── pipe ── engine ── driver ══ AMQP ══ driver ── engine ── pipe ── service ── TCP server
//!                                     │  core: addresses, ways; control: neighbours; management
//! ```
//!
//! - `driver`, `engine`: a connection's socket and its protocol; [`amqp`] the codec; `sasl`, `tls` what goes before;
//! - `pipe`: one delivery, from whoever takes its bytes in to whoever passes them on, without a copy between;
//! - `blocks`: memory to read into, used again and again;
//! - `core`: which address is where, and the way there; [`control`] what routers tell one another;
//! - `service`: TCP ports and servers; `endpoint`: AMQP ports and connections that are kept;
//! - [`management`], [`metrics`]: what it is told and tells while it runs.
//!
//! A router is one thread. Nothing on the way of a byte is locked or allocated anew; what a stream holds is bounded
//! by the window of its session and by that of the stream. Differences to `skrouterd`: edge and inter-network roles,
//! TLS of TCP services, link routes and VanFlow are not there; frames of up to 64 KB are offered where the
//! configuration leaves `maxFrameSize` at its default.

mod address;
pub mod amqp;
mod blocks;
pub mod control;
mod core;
pub mod distribution;
mod driver;
mod endpoint;
mod engine;
mod http;
mod io;
mod live;
mod mailbox;
pub mod management;
pub mod message;
pub mod metrics;
mod pipe;
mod run;
mod sasl;
mod service;
mod tls;

pub use run::{Error, run, run_file};
