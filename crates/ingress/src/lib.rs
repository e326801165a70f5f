//! Ingress: nginx on a worker, and who tells it what to do.
//!
//! ```text
//! Ingress, IngressClass, Service, EndpointSlice, Secret ─┐
//! Gateway, HTTPRoute, ReferenceGrant ────────────────────┼─ plan ── model ── render ── nginx.conf ── apply
//! NodeIngress (by hand) ─────────────────────────────────┘    └── problems: events, statuses, the board
//! ```
//!
//! - [`plan`]: from objects to routes, and what is wrong with the objects; [`model`]: routes, upstreams and
//!   how requests are handled; [`render`]: the text. All of that is pure;
//! - [`apply`]: nginx as it is run, and replaced without a request being lost;
//! - [`show`]: a table of routes for people;
//! - [`run`]: the controller of a node, which keeps one what the other says.
//!
//! A bad object affects itself alone: what can be seen to be wrong is left out of the plan; what only nginx
//! sees is found by the line of which it complains, and then left out.

pub mod apply;
pub mod error;
mod gather;
mod metrics;
pub mod model;
pub mod plan;
mod reconcile;
pub mod render;
#[cfg(test)]
mod sample;
pub mod show;
mod sources;
mod status;
mod tell;
mod text;

pub use error::{Error, Refusal};
pub use plan::{Cluster, Except, Plan, Problem, Settings};
pub use reconcile::{COMPONENT, Options, run};
