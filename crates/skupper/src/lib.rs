//! Multi-cluster services by Skupper's model: sites, links, listeners and connectors, and the router of each
//! site.
//!
//! ```text
//! objects ── plan ── the site's Config, Services, verdicts
//!                      │ file and certificates        │ AMQP management
//!                      ▼                              ▼
//!                    router process ◄── ops ◄── plan of what differs
//!                      │
//! statuses ◄── what the router, and all others behind it, say
//! ```
//!
//! - [`plan`]: what a site's router is to be told, and what is wrong with each object. Pure;
//! - [`ops`]: what it takes to bring a router there. Pure; [`manage`]: doing so by AMQP management;
//! - [`router`]: the process, real or ours; [`site`]: the task that keeps one as it should be;
//! - [`network`]: what all routers of the network say of themselves;
//! - [`certs`]: each site's CA and what it signs; [`grants`]: where tokens are redeemed; [`redeem`]: who does;
//! - [`services`]: a Service for every listener; [`status`]: how the objects say they are;
//! - [`solo`]: two routers on one machine, as files to read; [`born`]: sites that are linked from a lab's begin;
//! - [`reconcile`]: the loop; [`graph`]: sites, links and addresses as text and as a picture.

pub mod born;
pub mod certs;
mod error;
mod files;
pub mod grants;
pub mod graph;
pub mod inputs;
pub mod manage;
pub mod network;
pub mod ops;
pub mod plan;
pub mod reconcile;
pub mod redeem;
pub mod router;
pub mod services;
pub mod site;
pub mod solo;
pub mod status;

pub use error::{Error, Result};

pub use reconcile::{COMPONENT, Options, ROUTER_COMPONENT, run};
