//! Where the components of a process write down how they are.

use tokio::sync::watch;

use crate::report::{ComponentKind, ComponentStatus, WorkerReport};

/// A shared board: components write, one task passes changes on.
#[derive(Debug, Clone)]
pub struct Health {
    board: watch::Sender<WorkerReport>,
}

impl Default for Health {
    fn default() -> Self {
        Self { board: watch::Sender::new(WorkerReport::default()) }
    }
}

impl Health {
    /// Announces a component that is not ready yet. All are announced before any is started, so that
    /// the process is not called ready too early.
    pub fn announce(&self, name: &str, kind: ComponentKind, version: &str) {
        let status =
            ComponentStatus { kind, version: version.into(), ready: false, message: "starting".into() };
        self.board.send_modify(|report| {
            report.components.insert(name.into(), status);
        });
    }

    /// Says how an announced component is now; saying the same again wakes nobody.
    pub fn set(&self, name: &str, ready: bool, message: &str) {
        self.board.send_if_modified(|report| match report.components.get_mut(name) {
            Some(status) if status.ready != ready || status.message != message => {
                status.ready = ready;
                status.message = message.into();
                true
            }
            _ => false,
        });
    }

    /// The board as it is and as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<WorkerReport> {
        self.board.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_all_that_were_announced() {
        let health = Health::default();
        let mut board = health.watch();
        assert!(!board.borrow().ready(), "an empty board is not ready");
        health.announce("kubelet", ComponentKind::Builtin, "1");
        health.announce("flannel", ComponentKind::Real, "2");
        health.set("kubelet", true, "");
        assert!(!board.borrow_and_update().ready());
        health.set("flannel", true, "");
        assert!(board.has_changed().unwrap());
        assert!(board.borrow_and_update().ready());
        health.set("flannel", true, "");
        assert!(!board.has_changed().unwrap(), "no change, no wake-up");
        health.set("stranger", true, "");
        assert!(!board.has_changed().unwrap());
    }
}
