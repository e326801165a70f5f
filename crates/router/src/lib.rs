//! A router of Skupper's kind: TCP services cross between sites over AMQP 1.0.

mod address;
pub mod amqp;
pub mod control;
mod core;
mod driver;
mod endpoint;
mod engine;
mod io;
mod mailbox;
pub mod message;
mod pipe;
mod run;
mod sasl;
mod service;
mod tls;

pub use run::{Error, run, run_file};
pub mod distribution;
pub mod management;
pub mod message;
pub mod metrics;
