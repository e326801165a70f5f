//! The program of a pod's first container: it waits.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use crate::Error;

/// Waits for SIGTERM or SIGINT, as Kubernetes' own (`build/pause/linux/pause.c`); without a runtime, so
/// that it is tiny.
pub(crate) fn run() -> Result<ExitCode, Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    let failed = |what: &'static str| move |e: nix::Error| Error::io(what)(e.into());
    signals.thread_block().map_err(failed("block signals"))?;
    signals.wait().map_err(failed("wait for a signal"))?;
    Ok(ExitCode::SUCCESS)
}
