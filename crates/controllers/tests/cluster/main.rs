//! Controllers and scheduler together on a real etcd, with kubelets that say at once that pods are ready.
//!
//! Each test has a network namespace of its own, with Debian's `etcd` in it. They need `CAP_SYS_ADMIN`: see
//! `testkit`.

// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../../../store/tests/store/server.rs"]
mod server;

mod guide;
mod lab;
mod outages;
