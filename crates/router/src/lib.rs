//! A router of Skupper's kind: TCP services cross between sites over AMQP 1.0.

mod address;
pub mod amqp;
pub mod control;
mod core;
pub mod distribution;
mod driver;
mod endpoint;
mod engine;
mod http;
mod io;
mod live;
mod mailbox;
pub mod management;
pub mod message;
pub mod metrics;
mod pipe;
mod run;
mod sasl;
mod service;
mod tls;

pub use run::{Error, run, run_file};
