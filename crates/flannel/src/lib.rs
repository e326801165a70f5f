//! flannel, ours: one worker's share of the pod network, and the way to everybody else's.
//!
//! A cluster may mix it with the real `flanneld`: both keep the same keys in etcd, make the same device
//! and entries and write the same `subnet.env`. What each part follows is named where it stands; the
//! files are those of flannel-io/flannel v0.28.9 and flannel-io/cni-plugin v1.9.1-flannel1.
//!
//! How it flows:
//!
//! - [`run`] is the daemon. It follows a cluster's keys (list, then watch), reads the network's
//!   configuration ([`config`]) and every worker's lease ([`lease`]), holds a lease of its own, and brings
//!   the kernel to what they say: `plan` compares (pure), `apply` writes, all peers in one batch. An event
//!   only wakes it, be it of etcd, of a link or of the clock; what there is decides.
//! - [`subnet_env`] is the file through which the CNI plugin learns of it.
//! - [`plugin`] is the CNI plugin, to be run under the name `flannel`.
//! - [`publish()`] puts the configuration there.
//! - [`real`] finds the real daemon and plugin, for those who prefer them.
//!
//! IPv4 only, backends `vxlan` (with `DirectRouting`) and `host-gw`.

mod apply;
mod cidr;
pub mod config;
mod daemon;
pub mod error;
#[cfg(test)]
mod fake;
mod fields;
mod follow;
mod hold;
pub mod lease;
mod masquerade;
mod plan;
pub mod plugin;
mod publish;
pub mod real;
mod store;
pub mod subnet_env;

pub use daemon::{COMPONENT, Options, PREFIX, run};
pub use error::{Error, Result};
pub use publish::{CONFIG_COMPONENT, PublishOptions, publish, wait_for_config};
