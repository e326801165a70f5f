//! A router of Skupper's kind: TCP services cross between sites over AMQP 1.0.
pub mod amqp;
pub mod control;
pub mod distribution;
pub mod management;
pub mod message;
pub mod metrics;
