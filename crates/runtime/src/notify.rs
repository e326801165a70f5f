//! Telling the supervisor how one is, by the protocol of `sd_notify(3)`.
//!
//! etcd speaks it as it is; our own processes add their report as JSON in a field of their own
//! (names that begin with `X_` are free for that).

use std::env;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::health::Health;
use crate::report::WorkerReport;

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
    loop {
        let report = board.borrow_and_update().clone();
        let ready = report.ready();
        tracing::info!(ready, ?report, "status");
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
    use crate::report::{ComponentKind, ComponentStatus};

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
