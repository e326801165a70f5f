//! The store on a real etcd, and its twin beside it.
//!
//! Each test has a network namespace of its own, with Debian's `etcd` in it, so that all run at once and
//! none needs a free port. They need `CAP_SYS_ADMIN`: see `testkit`.

// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod objects;
mod outages;
mod server;
