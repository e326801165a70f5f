//! Where the components of a process write down how they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::report::{ComponentKind, ComponentStatus, WorkerReport};

/// What is wrong with the parts of a component, by their names; nothing if all is well.
type Parts = BTreeMap<String, Option<String>>;

/// A shared board: components write, one task passes changes on.
#[derive(Debug, Clone)]
pub struct Health {
    board: watch::Sender<WorkerReport>,
    /// By component.
    parts: Arc<Mutex<BTreeMap<String, Parts>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { board: watch::Sender::new(WorkerReport::default()), parts: Arc::default() }
    }
}

impl Health {
    /// Announces a component that is not ready yet. All are announced before any is started, so that
    /// the process is not called ready too early.
    pub fn announce(&self, name: &str, kind: ComponentKind, version: &str) {
        self.announce_because(name, kind, version, "");
    }

    /// As [`Health::announce`], and why it is of this kind.
    pub fn announce_because(&self, name: &str, kind: ComponentKind, version: &str, why: &str) {
        let status = ComponentStatus { why: why.into(), ..ComponentStatus::starting(kind, version) };
        self.board.send_modify(|report| {
            report.components.insert(name.into(), status);
        });
    }

    /// Says what an announced component turned out to be: its version, and why it is of its kind.
    pub fn identify(&self, name: &str, version: &str, why: &str) {
        self.board.send_if_modified(|report| {
            let Some(status) = report.components.get_mut(name) else { return false };
            let differs = status.version != version || status.why != why;
            status.version = version.into();
            status.why = why.into();
            differs
        });
    }

    /// Says how an announced component is now; saying the same again wakes nobody.
    pub fn set(&self, name: &str, ready: bool, message: &str) {
        self.tell(name, ready, message, None, &[]);
    }

    /// Says how a part of a component is, of which each speaks for itself: the component is ready when all
    /// parts are that have spoken, and says what is wrong with each of those that are not.
    pub fn set_part(&self, name: &str, part: &str, ready: bool, message: &str) {
        let mut all = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = all.entry(name.into()).or_default();
        parts.insert(part.into(), (!ready).then(|| message.to_owned()));
        let wrong: Vec<&str> = parts.values().flatten().map(String::as_str).collect();
        let joined = if wrong.is_empty() { message.to_owned() } else { wrong.join("; ") };
        self.set(name, wrong.is_empty(), &joined);
    }

    /// Says that a component cannot do its work until somebody does what `hint` says. It may go on trying.
    pub fn stuck(&self, name: &str, message: &str, hint: &str) {
        self.tell(name, false, message, Some(hint), &[]);
    }

    /// Says that a component does its work, and what is wrong nevertheless.
    pub fn warn(&self, name: &str, message: &str, warnings: &[String]) {
        self.tell(name, true, message, None, warnings);
    }

    fn tell(&self, name: &str, ready: bool, message: &str, hint: Option<&str>, warnings: &[String]) {
        self.board.send_if_modified(|report| {
            let Some(status) = report.components.get_mut(name) else { return false };
            let same = status.ready == ready
                && status.message == message
                && status.hint.as_deref() == hint
                && status.warnings == warnings;
            if !same {
                status.ready = ready;
                status.message = message.into();
                status.hint = hint.map(Into::into);
                status.warnings = warnings.to_vec();
            }
            !same
        });
    }

    /// Says which share of the pod network the worker has, as `11.10.0.0/20`.
    pub fn set_pod_cidr(&self, pod_cidr: Option<String>) {
        self.board.send_if_modified(|report| {
            let differs = report.pod_cidr != pod_cidr;
            report.pod_cidr = pod_cidr;
            differs
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

    #[test]
    fn a_hint_and_warnings_stand_until_the_component_says_otherwise() {
        let health = Health::default();
        health.announce_because("flannel", ComponentKind::Builtin, "1", "no flanneld in PATH");
        let status = || health.watch().borrow().components["flannel"].clone();
        health.stuck("flannel", "no vxlan", "load it");
        assert_eq!((status().ready, status().hint.as_deref()), (false, Some("load it")));
        health.warn("flannel", "works", &["slowly".into()]);
        assert_eq!((status().ready, status().hint, status().warnings), (true, None, vec!["slowly".into()]));
        health.set("flannel", true, "works");
        assert_eq!((status().warnings.len(), status().why.as_str()), (0, "no flanneld in PATH"));
    }

    #[test]
    fn what_a_component_is_may_be_found_out_late() {
        let health = Health::default();
        health.announce("ingress", ComponentKind::Real, "");
        health.set("ingress", true, "nothing to serve");
        let mut board = health.watch();
        health.identify("ingress", "nginx 1.22.1", "found /usr/sbin/nginx");
        let status = board.borrow_and_update().components["ingress"].clone();
        assert_eq!((status.version.as_str(), status.why.as_str()), ("nginx 1.22.1", "found /usr/sbin/nginx"));
        assert!(status.ready && status.message == "nothing to serve");
        health.identify("ingress", "nginx 1.22.1", "found /usr/sbin/nginx");
        assert!(!board.has_changed().unwrap(), "nothing new");
    }

    #[test]
    fn no_part_hides_what_is_wrong_with_another() {
        let health = Health::default();
        health.announce("kubelet", ComponentKind::Builtin, "1");
        let said = || {
            let board = health.watch().borrow().clone();
            (board.components["kubelet"].ready, board.components["kubelet"].message.clone())
        };
        health.set_part("kubelet", "node", true, "");
        assert_eq!(said(), (true, String::new()), "the other has not spoken yet");
        health.set_part("kubelet", "pods", false, "no folder");
        health.set_part("kubelet", "node", true, "");
        assert_eq!(said(), (false, "no folder".into()));
        health.set_part("kubelet", "node", false, "no etcd");
        assert_eq!(said(), (false, "no etcd; no folder".into()));
        health.set_part("kubelet", "pods", true, "");
        assert_eq!(said(), (false, "no etcd".into()));
        health.set_part("kubelet", "node", true, "");
        assert_eq!(said(), (true, String::new()));
    }

    #[test]
    fn the_pod_cidr_wakes_once() {
        let health = Health::default();
        let mut board = health.watch();
        health.set_pod_cidr(Some("11.10.0.0/20".into()));
        assert_eq!(board.borrow_and_update().pod_cidr.as_deref(), Some("11.10.0.0/20"));
        health.set_pod_cidr(Some("11.10.0.0/20".into()));
        assert!(!board.has_changed().unwrap());
    }
}
