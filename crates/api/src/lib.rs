//! The Kubernetes types in use, where the API server keeps their objects in etcd, and what it does with
//! an object before it stores it.
//!
//! - [`kinds`]: the kinds in use, found by every name that a user of kubectl types; [`keys`]: their keys;
//! - [`admit`]: from a document to an object that may be stored: [`decode`] strictly, set [`default`]s,
//!   [`validate`], refuse in the API server's words;
//! - [`gateway`]: Gateway API;
//! - [`node_ingress`]: reverse proxies by hand, a kind of our own;
//! - [`virtual_ip`]: the one kind that is our own;
//! - [`names`]: which names, labels and ports are well-formed; [`selector`]: label and field selectors;
//! - [`scheduling`]: taints, and which nodes pods want; [`resolv`]: a pod's `resolv.conf`;
//! - [`virtual_ip`]: the one kind that is our own; [`skupper`]: sites and what crosses between them;
//! - [`names`]: which names, labels and ports are well-formed; [`selector`]: label and field selectors;
//! - [`resolv`]: a pod's `resolv.conf`; [`router_config`]: a skupper router's configuration file;
//! - [`field`]: errors that name the field; [`quantity`]: amounts of resources; [`time`]: time stamps.
//!
//! No I/O: what depends on the clock or on chance is handed in.
//!
//! Texts are those of Kubernetes 1.33, the version of the types, except that a compound value is shown
//! as JSON (as from 1.34 on) and not in Go's syntax.

pub mod admit;
mod custom;
pub mod decode;
pub mod default;
pub mod field;
pub mod gateway;
pub mod keys;
pub mod kinds;
pub mod names;
pub mod node_ingress;
pub mod quantity;
pub mod resolv;
pub mod router_config;
pub mod scheduling;
pub mod selector;
pub mod skupper;
pub mod time;
pub mod validate;
pub mod virtual_ip;

pub use admit::{Rejection, Rules};
pub use field::{FieldError, Invalid};
pub use k8s_openapi as types;
pub use keys::Kind;
pub use kinds::KindInfo;
pub use node_ingress::{NodeIngress, NodeIngressPath, NodeIngressSpec, NodeIngressStatus};
pub use selector::{FieldSelector, Selector};
pub use virtual_ip::{VirtualIP, VirtualIPSpec};
