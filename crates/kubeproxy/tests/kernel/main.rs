//! The proxy against the real kernel, with packets.
#![allow(missing_docs, clippy::unwrap_used)]

mod balancers;
mod faults;
mod lab;
mod loads;
mod policies;
mod races;
mod services;
mod virtual_ips;
