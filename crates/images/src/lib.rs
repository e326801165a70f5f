//! Images without pictures: no container images are pulled in a lab. A container runs a command from
//! the machine's files, and this crate says which.
//!
//! ```text
//! image: nginx:1.25 ──► Table::resolve ──► Image ──► Image::command ──► topo image nginx …
//!                        conf/images.yaml                                 │
//!                        + the topology file's `images:`                  ▼
//!                                                        program::main: what stands in for it
//! ```
//!
//! - [`Table`], [`Image`]: the table, the names of images, Kubernetes' rules for commands;
//! - [`program`]: the programs behind the entries, the hidden verb `topo image NAME ARGUMENTS…`;
//! - [`echo`]: the public verb `topo echo`, a little web server that answers one text.
//!
//! The programs are small on purpose: pods are started by the thousand. All are single-threaded.

mod access_log;
mod agnhost;
mod datagrams;
mod duration;
pub mod echo;
mod error;
mod fetch;
mod files;
mod flags;
mod frontend;
mod hello;
mod image;
mod listen;
mod mirror;
mod names;
mod nginx;
mod pause;
pub mod program;
mod reference;
mod server;
mod table;

pub use error::Error;
pub use image::{Image, Missing, PATH, TOPO, with_program};
pub use reference::InvalidReference;
pub use table::{BUILTIN, Table, TableError, Unknown};
