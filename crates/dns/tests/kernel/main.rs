//! The server in a network namespace, asked with packets; beside it a store in memory, or a real etcd, and
//! resolvers of others that do as the test wants.
//!
//! Each test has a namespace of its own. They need `CAP_SYS_ADMIN`: see `testkit`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod etcd;
mod forward;
mod lab;
mod packets;
mod serve;
mod trace;
