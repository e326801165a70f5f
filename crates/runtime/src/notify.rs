//! Telling the supervisor how one is, by the protocol of `sd_notify(3)`.
//!
//! etcd speaks it as it is; our own processes add their report as JSON in a field of their own
//! (names that begin with `X_` are free for that).

use std::env;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::health::Health;
use crate::report::{ComponentKind, ComponentStatus, WorkerReport};

const REPORT: &str = "X_KNETSIM_REPORT=";

/// The environment variable that names the supervisor's socket.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// The sending end.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    path: PathBuf,
}

/// What a message said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notice {
    /// `READY=1`, or the report says so.
    pub ready: bool,
    /// `STATUS=…`.
    pub status: Option<String>,
    /// The report of one of our own.
    pub report: Option<WorkerReport>,
}

impl Notifier {
    /// The supervisor's socket from the environment; none when the process runs alone.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn from_env() -> std::io::Result<Option<Self>> {
        let Some(path) = env::var_os(SOCKET) else { return Ok(None) };
        Ok(Some(Self { socket: UnixDatagram::unbound()?, path: path.into() }))
    }

    /// Sends a report.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn report(&self, report: &WorkerReport) -> std::io::Result<()> {
        let ready = if report.ready() { "READY=1\n" } else { "" };
        let json = serde_json::to_string(report)?;
        self.socket.send_to(format!("{ready}{REPORT}{json}").as_bytes(), &self.path)?;
        Ok(())
    }

    /// Says that the process is ready, and nothing more.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn ready(&self) -> std::io::Result<()> {
        self.socket.send_to(b"READY=1", &self.path)?;
        Ok(())
    }
}

/// Passes every change of a board on to the supervisor, if there is one, until dropped.
pub async fn follow(health: Health, notifier: Option<Notifier>) {
    let mut board = health.watch();
    let mut told = WorkerReport::default();
    loop {
        let report = board.borrow_and_update().clone();
        log(&told, &report);
        told.clone_from(&report);
        if let Some(notifier) = &notifier
            && let Err(error) = notifier.report(&report)
        {
            tracing::warn!(%error, "the supervisor did not take a report");
        }
        if board.changed().await.is_err() {
            return;
        }
    }
}

/// A line for each component that has changed.
fn log(before: &WorkerReport, now: &WorkerReport) {
    for (name, status) in &now.components {
        let old = before.components.get(name);
        if old == Some(status) {
            continue;
        }
        let text = words(name, status, old.is_none());
        if status.hint.is_none() && status.warnings.is_empty() {
            tracing::info!("{text}");
        } else {
            tracing::warn!("{text}");
        }
    }
}

/// How a component is, in words; at `first` also what it is.
fn words(name: &str, status: &ComponentStatus, first: bool) -> String {
    let kind = match (status.kind, first) {
        (_, false) => "",
        (ComponentKind::Real, true) => " (real)",
        (ComponentKind::Builtin, true) => " (ours)",
    };
    let why = if first { status.why.as_str() } else { "" };
    let ready = if status.ready { "ready" } else { "not ready" };
    let parts = [why, &status.message].into_iter().chain(status.hint.as_deref());
    let parts = parts.chain(status.warnings.iter().map(String::as_str)).filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.collect();
    match parts.as_slice() {
        [] => format!("{name}{kind} is {ready}"),
        parts => format!("{name}{kind} is {ready}: {}", parts.join("; ")),
    }
}

impl Notice {
    /// Reads a message; what it does not know it passes over, as the protocol wants.
    #[must_use]
    pub fn parse(message: &[u8]) -> Self {
        let mut notice = Self::default();
        for line in String::from_utf8_lossy(message).lines() {
            if line == "READY=1" {
                notice.ready = true;
            } else if let Some(status) = line.strip_prefix("STATUS=") {
                notice.status = Some(status.into());
            } else if let Some(json) = line.strip_prefix(REPORT) {
                notice.report = serde_json::from_str(json).ok();
            }
        }
        notice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_in_words() {
        let mut status = ComponentStatus::starting(ComponentKind::Builtin, "1");
        status.why = "no flanneld in PATH".into();
        assert_eq!(
            words("flannel", &status, true),
            "flannel (ours) is not ready: no flanneld in PATH; starting"
        );
        assert_eq!(words("flannel", &status, false), "flannel is not ready: starting");
        status.ready = true;
        status.message = String::new();
        assert_eq!(words("flannel", &status, false), "flannel is ready");
        status.warnings = vec!["one".into(), "two".into()];
        assert_eq!(words("flannel", &status, false), "flannel is ready: one; two");
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier { socket: UnixDatagram::unbound().unwrap(), path };
        let mut report = WorkerReport { pod_cidr: Some("11.10.0.0/20".into()), ..WorkerReport::default() };
        let message = "line one\nREADY=1".to_owned();
        let status = ComponentStatus { message, ..ComponentStatus::starting(ComponentKind::Real, "1") };
        report.components.insert("flannel".into(), status);
        notifier.report(&report).unwrap();
        let mut buffer = [0; 4096];
        let n = supervisor.recv(&mut buffer).unwrap();
        let notice = Notice::parse(&buffer[..n]);
        assert_eq!(notice, Notice { ready: false, status: None, report: Some(report) });
    }

    #[test]
    fn reads_what_etcd_sends_and_passes_over_the_rest() {
        assert!(Notice::parse(b"READY=1").ready);
        let notice = Notice::parse(b"WATCHDOG=1\nSTATUS=loading\nX_KNETSIM_REPORT={broken\n\xff");
        assert_eq!(notice, Notice { ready: false, status: Some("loading".into()), report: None });
    }
}
