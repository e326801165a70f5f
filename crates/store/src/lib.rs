//! Kubernetes objects in etcd, as the API server keeps them: JSON under `/registry`, and
//! `resourceVersion` is the revision of the object's last change (`mod_revision`).
//!
//! - [`Store`]: get, list, compare-and-swap, delete and watch, by type or, for the command line, by the
//!   table of kinds;
//! - [`Watch`]: what changes from a revision on;
//! - [`Reflector`]: a local copy of a kind's objects that stays true whatever happens to etcd;
//! - [`allocator`]: addresses and ports of services;
//! - [`events`]: what a component tells of an object; [`leader`]: one of several does the work; [`new_uid`].
//! - [`registry`]: creating, changing and deleting as the API server does it.
//!
//! A store is a cluster's etcd, or a twin in memory for tests; both pass the same contract suite
//! (`tests/store/contract.rs`).
//!
//! ```text
//! typed, untyped ── Store ── Backend ── Etcd     (etcd.rs, etcd/watch.rs: failover, time limits)
//! Watch ────────────┘            └──── Memory    (memory.rs: keys, revisions and a log)
//! Reflector: list, watch, and on any trouble list again and compare
//! ```

pub mod allocator;
mod backend;
mod encoding;
mod entry;
mod error;
mod etcd;
pub mod events;
pub mod leader;
mod memory;
mod pages;
mod reflector;
pub mod registry;
mod typed;
mod uid;
mod untyped;
mod watch;

pub use error::{Cause, Error, Result};
pub use pages::Pages;
pub use reflector::{Change, Changes, ObjectName, Objects, Reflector, Status};
pub use typed::{List, Object, Store};
pub use uid::new_uid;
pub use watch::{Event, Watch};
