//! Configurations in service: nginx as it is run and replaced without a request being lost.
//!
//! ```text
//! folder ── new sockets ── nginx starts ── answers ── new connections go to it ── … ── QUIT
//!            (SO_REUSEPORT)                          (SO_ATTACH_REUSEPORT_CBPF)
//! ```
//!
//! A reload by HUP closes idle connections at once, and with them requests that are just on their way. So
//! every configuration is a *generation*, an nginx of its own with listening sockets of its own beside those
//! of the one before. The kernel is told which of the sockets gets new connections; the old nginx keeps its
//! connections, closes each with an answer when it is [`Setup::keep`](crate::render::Setup::keep) old, and is
//! told to quit when none is left that could be hit. A generation that does not start has changed nothing: nginx reads
//! its configuration then as `nginx -t` would, and is asked only once.
//!
//! The sockets are this process's: while nginx is started anew after an accident, connections wait.

mod generation;
mod listeners;
mod nginx;
mod process;

use std::future::Future;

pub use generation::Generations;
pub use nginx::Nginx;

use crate::error::Result;
use crate::render::Rendered;

/// Who serves configurations.
pub trait Proxy {
    /// Brings a configuration into service in the place of the one before. If it fails, that one goes on.
    ///
    /// # Errors
    /// What is wrong with the configuration, or the system.
    fn apply(&mut self, config: &Rendered) -> impl Future<Output = Result<()>>;

    /// Ends service. What is under way is finished.
    fn stop(&mut self) -> impl Future<Output = ()>;

    /// Looks after what serves, until something happened that people should hear of: why it ended, and
    /// that it serves again. May be dropped at any time.
    fn tend(&mut self) -> impl Future<Output = String>;

    /// Lets it write its logs into new files, if the old ones have been renamed.
    fn reopen_logs(&self);

    /// How many are still there beside the one that serves.
    fn retiring(&self) -> usize;
}
