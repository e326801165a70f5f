//! Services and what stands behind them, as users meet them: whole labs, real packets.
#![allow(missing_docs, clippy::unwrap_used)]

mod drain;
mod guide;
mod lab;
mod leaders;
mod load;
mod nodes;
mod refusals;
mod rollouts;
