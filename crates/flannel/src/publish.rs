//! The network's configuration in etcd, where every worker's daemon finds it.
//!
//! With the real flannel somebody puts it there by hand (flannel `Documentation/configuration.md`); in a lab
//! the control plane does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Health, chain};
use serde_json::Value;
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::follow::{Follower, Mirror};
use crate::store::{Etcd, Registry};

/// The component's name in `topo status`.
pub const CONFIG_COMPONENT: &str = "flannel-config";
const KEY: &str = "config";

/// What is to be published, and where.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// Where the cluster's etcd listens, as `http://10.1.0.1:2379`.
    pub etcd: Vec<String>,
    /// What the network's keys begin with; [`crate::PREFIX`] is flannel's own.
    pub prefix: String,
    /// The configuration, JSON.
    pub config: String,
    /// A file that is there once the configuration was published. It has to go with the lab: as long as it is
    /// there, another configuration in etcd is somebody's wish, and stays.
    pub marker: PathBuf,
}

/// Puts the configuration into etcd, and again whenever it is missing, until dropped. Another one that is
/// there from an earlier lab is replaced, one that came later is not. `health` hears how it goes.
pub async fn publish(options: PublishOptions, health: Health) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        match Etcd::connect(&options.etcd, &options.prefix).await {
            Ok(registry) => return keep(registry, &options.config, &options.marker, &health).await,
            Err(error) => health.set(CONFIG_COMPONENT, false, &chain(&error)),
        }
        sleep(backoff.after(Duration::ZERO)).await;
    }
}

/// Ends when the network has a configuration; until then `told` hears why not.
pub async fn wait_for_config(etcd: &[String], prefix: &str, mut told: impl FnMut(&str)) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let registry = loop {
        match Etcd::connect(etcd, prefix).await {
            Ok(registry) => break registry,
            Err(error) => told(&chain(&error)),
        }
        sleep(backoff.after(Duration::ZERO)).await;
    };
    let key = registry.full(KEY);
    let mut follower = Follower::start(Arc::new(registry));
    let there = follower.mirror.wait_for(|mirror| {
        match &mirror.trouble {
            Some(trouble) => told(trouble),
            None if mirror.listed > 0 && mirror.config.is_none() => told(&format!("waiting for {key}")),
            None => {}
        }
        mirror.config.is_some()
    });
    // The follower goes on for as long as it is held.
    let _ = there.await;
}

async fn keep<R: Registry>(registry: R, config: &str, marker: &Path, health: &Health) {
    let registry = Arc::new(registry);
    let mut follower = Follower::start(Arc::clone(&registry));
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        let mirror = follower.mirror.borrow_and_update().clone();
        let outcome = reconcile(&*registry, &mirror, config, marker).await;
        match &outcome {
            Ok(message) => health.set(CONFIG_COMPONENT, mirror.listed > 0, message),
            Err(error) => health.set(CONFIG_COMPONENT, false, &chain(error)),
        }
        let changed = follower.mirror.changed();
        if outcome.is_ok() {
            backoff.reset();
            if changed.await.is_err() {
                return;
            }
        } else {
            // Again when something changes, or after a while.
            let _ = tokio::time::timeout(backoff.after(Duration::ZERO), changed).await;
        }
    }
}

/// Writes if it has to; says what there is.
async fn reconcile<R: Registry>(
    registry: &R,
    mirror: &Mirror,
    config: &str,
    marker: &Path,
) -> Result<String> {
    if mirror.listed == 0 {
        return Ok(mirror.trouble.clone().unwrap_or_else(|| "waiting for etcd".into()));
    }
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let there = mirror.config.as_deref();
    let same = there.is_some_and(|there| json(there) == json(config.as_bytes()));
    if same || there.is_some() && marker.exists() {
        mark(marker)?;
        let key = registry.full(KEY);
        let note = if same { "" } else { "; not the topology file's: changed since the lab began" };
        return Ok(format!("{key}{note}"));
    }
    registry.put(KEY, config, None).await?;
    mark(marker)?;
    tracing::info!(key = registry.full(KEY), config, "published");
    Ok(registry.full(KEY))
}

fn mark(marker: &Path) -> Result<()> {
    if marker.exists() {
        return Ok(());
    }
    let folder = marker.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).and_then(|()| fs::write(marker, "")).map_err(|source| Error::File {
        what: "write",
        path: marker.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;
    use runtime::ComponentKind;

    const CONFIG: &str = r#"{"Network":"11.0.0.0/8","Backend":{"Type":"vxlan"}}"#;
    const OTHER: &str = r#"{"Network":"12.0.0.0/8","Backend":{"Type":"vxlan"}}"#;

    /// Runs it until the key is as `wanted`.
    async fn until(store: &Memory, marker: &Path, wanted: &str) {
        let health = Health::default();
        health.announce(CONFIG_COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let published = async {
            board.wait_for(runtime::WorkerReport::ready).await.unwrap();
            while value(store).await.as_deref() != Some(wanted) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = keep(store.clone(), CONFIG, marker, &health) => unreachable!(),
            done = tokio::time::timeout(Duration::from_secs(60), published) => done.unwrap(),
        }
    }

    async fn value(store: &Memory) -> Option<String> {
        let listing = store.list().await.unwrap();
        let entry = listing.entries.into_iter().find(|entry| entry.key == KEY)?;
        Some(String::from_utf8(entry.value).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_written_and_what_is_right_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (store, marker) = (Memory::default(), folder.path().join("C0/published"));
        until(&store, &marker, CONFIG).await;
        let revision = store.list().await.unwrap().revision;
        until(&store, &marker, CONFIG).await;
        assert_eq!(store.list().await.unwrap().revision, revision, "written again");
        store.remove(KEY);
        until(&store, &marker, CONFIG).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_lab_left_is_replaced_and_what_somebody_wrote_since_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (store, marker) = (Memory::default(), folder.path().join("published"));
        store.write(KEY, OTHER);
        until(&store, &marker, CONFIG).await;
        store.write(KEY, OTHER);
        until(&store, &marker, OTHER).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_order_of_keys_and_blanks_are_no_difference() {
        let folder = tempfile::tempdir().unwrap();
        let store = Memory::default();
        let spaced = r#"{ "Backend": {"Type": "vxlan"}, "Network": "11.0.0.0/8" }"#;
        store.write(KEY, spaced);
        until(&store, &folder.path().join("published"), spaced).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_etcd_that_comes_late_is_told_and_served() {
        let folder = tempfile::tempdir().unwrap();
        let store = Memory::default();
        store.set_away(true);
        let health = Health::default();
        health.announce(CONFIG_COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let (store2, marker) = (store.clone(), folder.path().join("published"));
        let task = tokio::spawn(async move { keep(store2, CONFIG, &marker, &health).await });
        board
            .wait_for(|report| report.components[CONFIG_COMPONENT].message.contains("does not answer"))
            .await
            .unwrap();
        store.set_away(false);
        board.wait_for(runtime::WorkerReport::ready).await.unwrap();
        assert_eq!(value(&store).await.as_deref(), Some(CONFIG));
        task.abort();
    }
}
