//! The controller with a real nginx, in namespaces of the tests' own, with real requests.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod annotations;
mod by_hand;
mod examples;
mod gateways;
mod load;
mod matching;
mod nasty;
mod operation;
mod site;
