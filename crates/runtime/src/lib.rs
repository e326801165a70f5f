//! What every long-running process of a lab needs: readiness, how to tell it, and back-off.
//!
//! - [`report`]: what a worker's agent says of its components;
//! - [`health`]: where components write that down, and who waits for it;
//! - [`notify`]: the `sd_notify(3)` protocol, both ends of its text;
//! - [`backoff`]: when to try again; [`queue`]: what is still to be looked at;
//! - [`chain()`]: an error in one line.
//! - [`backoff`]: when to try again;
//! - [`chain()`]: an error in one line;
//! - [`crilog`]: the format of containers' logs, both directions.

pub mod backoff;
mod chain;
pub mod crilog;
pub mod health;
pub mod notify;
pub mod queue;
pub mod report;

pub use backoff::Backoff;
pub use chain::chain;
pub use health::Health;
pub use notify::{Notice, Notifier};
pub use queue::Queue;
pub use report::{ComponentKind, ComponentStatus, WorkerReport};
