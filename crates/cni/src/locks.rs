//! Who may run at the same time (specification, section 3, "Lifecycle & Ordering"): containers in
//! parallel, the operations of one container one after the other, GC of a network alone in it.
//!
//! A network is always locked before a container, and GC holds no more than one container at a time,
//! so nobody waits in a circle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Debug, Default)]
pub(crate) struct Locks {
    networks: Keyed<RwLock<()>>,
    containers: Keyed<tokio::sync::Mutex<()>>,
}

/// The right to work on a container in a network.
#[derive(Debug)]
pub(crate) struct Turn {
    _network: OwnedRwLockReadGuard<()>,
    _container: OwnedMutexGuard<()>,
}

impl Locks {
    /// Waits for GC of the network, and for whatever else is done to the container.
    pub(crate) async fn turn(&self, network: &str, container: &str) -> Turn {
        let _network = self.networks.get(network).read_owned().await;
        Turn { _network, _container: self.container(container).await }
    }

    /// Waits for all that is going on in the network, and keeps the next ones out.
    pub(crate) async fn whole(&self, network: &str) -> OwnedRwLockWriteGuard<()> {
        self.networks.get(network).write_owned().await
    }

    /// Waits for whatever else is done to the container, in any network.
    pub(crate) async fn container(&self, container: &str) -> OwnedMutexGuard<()> {
        self.containers.get(container).lock_owned().await
    }
}

/// A lock a name, as long as someone has or wants it.
#[derive(Debug, Default)]
struct Keyed<L>(Mutex<BTreeMap<String, Weak<L>>>);

impl<L: Default> Keyed<L> {
    fn get(&self, key: &str) -> Arc<L> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(L::default());
        locks.insert(key.into(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_forgotten_with_its_last_user() {
        let locks = Locks::default();
        let turn = locks.turn("n", "c").await;
        assert_eq!(locks.containers.0.lock().unwrap().len(), 1);
        drop(turn);
        drop(locks.turn("n", "d").await);
        let containers = locks.containers.0.lock().unwrap();
        assert_eq!(containers.keys().collect::<Vec<_>>(), ["d"]);
    }
}
