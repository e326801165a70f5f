//! Throw-away networks for tests.
//!
//! Tests of the kernel run in namespaces that they make themselves, never on the host's own
//! network, each test in its own, so that all can run at once. They need `CAP_SYS_ADMIN`: run them
//! as root, or inside `unshare --user --map-root-user --net --mount`. Without it they fail; they do not skip.

pub mod topo;

use std::future::Future;
use std::time::{Duration, Instant};

use net::{Links, NetNs};

/// A new network namespace whose loopback is up.
///
/// # Panics
/// Without the privilege to make one.
#[must_use]
pub fn netns() -> NetNs {
    let ns = match NetNs::create() {
        Ok(ns) => ns,
        Err(e) => panic!(
            "this test makes network namespaces: run it as root or inside `unshare -Urnm`: {e}: {:?}",
            e.errno()
        ),
    };
    in_ns(&ns, async { Links::open()?.set_up("lo", true).await }).unwrap_or_else(|e| panic!("{e}"));
    ns
}

/// Runs a future inside `ns`, on a thread and a runtime of its own.
///
/// # Panics
/// When the namespace cannot be entered.
pub fn in_ns<T: Send>(ns: &NetNs, future: impl Future<Output = T> + Send) -> T {
    ns.run(|| -> Result<T, net::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|e| panic!("runtime: {e}"));
        Ok(runtime.block_on(future))
    })
    .unwrap_or_else(|e| panic!("{e}"))
}

/// Polls `condition` until it gives a value; its `Err` is the last state seen.
///
/// # Panics
/// After `limit`, with the last state seen.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {state}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
