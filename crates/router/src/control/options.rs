//! What a router is, and how long it waits.

use std::time::Duration;

use api::router_config::Router;

/// What a router is, and its times.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in the network.
    pub id: String,
    /// Another number at each start: others forget what the one before told them. Upstream takes seconds since
    /// 1970; milliseconds tell apart two starts within a second.
    pub instance: u64,
    /// Time between two HELLOs.
    pub hello_interval: Duration,
    /// Silence after which a neighbour is gone.
    pub hello_max_age: Duration,
    /// Time between two RAs.
    pub ra_interval: Duration,
    /// The same while the network changes.
    pub ra_interval_flux: Duration,
    /// Silence after which another router's link state is forgotten.
    pub remote_ls_max_age: Duration,
    /// How long the addresses of a router that cannot be reached are remembered.
    pub unreachable_holdoff: Duration,
}

impl Options {
    /// Upstream's times.
    #[must_use]
    pub fn new(id: &str, instance: u64) -> Self {
        Self {
            id: id.to_owned(),
            instance,
            hello_interval: Duration::from_secs(1),
            hello_max_age: Duration::from_secs(3),
            ra_interval: Duration::from_secs(30),
            ra_interval_flux: Duration::from_secs(4),
            remote_ls_max_age: Duration::from_secs(60),
            unreachable_holdoff: Duration::from_secs(1),
        }
    }

    /// The times of a configuration.
    #[must_use]
    pub fn configured(router: &Router, id: &str, instance: u64) -> Self {
        Self {
            // Without a pause it would talk without end.
            hello_interval: router.hello_interval.max(Duration::from_millis(100)),
            hello_max_age: router.hello_max_age,
            ra_interval: router.ra_interval.max(Duration::from_secs(1)),
            ra_interval_flux: router.ra_interval_flux.max(Duration::from_secs(1)),
            remote_ls_max_age: router.remote_ls_max_age,
            unreachable_holdoff: router.unreachable_holdoff,
            ..Self::new(id, instance)
        }
    }
}
