//! Probes: whether a container has started, is ready, and lives.
//!
//! - [`Prober`] runs the probes of one running container, a task each, and shows the result as a
//!   [`ProbeState`] that can be waited for;
//! - [`tally`] decides what a result means after those before it (pure);
//! - [`action`] reads what a probe does from the container (pure); `http`, `tcp`, `grpc` and [`exec`] do it.
//!
//! The caller is in the network namespace of the node, from where pods can be reached.
//!
//! Sources: kubernetes `pkg/kubelet/prober/` (when and what then), `pkg/probe/` (how), and the texts of both.

pub mod action;
mod dial;
pub mod exec;
mod go;
mod grpc;
mod http;
mod prober;
pub mod tally;
mod target;

use std::fmt;

pub use action::Action;
pub use exec::{Exec, ExecFuture, ExecOutput};
pub use prober::{Before, ProbeEvent, Prober, Subject};
pub use tally::{Failed, ProbeState};

/// Programs that are probed see who asks.
const USER_AGENT: &str = "kube-probe/1.33";
/// More of an answer or of a command's output is not read.
const MOST_OUTPUT: usize = 10 * 1024;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Whether the container has started; until then the others wait.
    Startup,
    /// Whether it may be sent traffic.
    Readiness,
    /// Whether it has to be restarted.
    Liveness,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        })
    }
}

/// What came of probing once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// As good as success, but somebody should know.
    Warning(String),
    /// It is not well, with the reason.
    Failure(String),
    /// Nothing could be learnt, with the reason; it counts neither way.
    Error(String),
}
