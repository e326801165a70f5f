//! Controllers.
mod claim;
pub mod clock;
mod cluster;
mod driver;
mod endpoint_slice;
mod error;
#[cfg(test)]
mod fake;
mod meta;
mod pods;
mod replica_set;
mod view;
mod writer;

pub use error::{Error, Result};
