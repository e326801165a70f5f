//! The daemon against the real kernel and a real etcd, alone and together with the real flanneld.
//!
//! Each test makes its own little cluster of namespaces. What needs the real daemon takes it from
//! `KNETSIM_FLANNELD` or `PATH`, and says so where there is none.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod lab;
mod monitor;
mod ours;
mod real;
