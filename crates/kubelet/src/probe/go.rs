//! Go's way to write what users of Kubernetes know from events.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// As `1s`, `1m30s` (`time.Duration.String`, for whole seconds).
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// As `connection refused`.
pub(super) fn io_error(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_errors() {
        let table = [(1, "1s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s"), (0, "0s")];
        for (seconds, text) in table {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        let error = io::Error::from_raw_os_error(nix::libc::ECONNREFUSED);
        assert_eq!(io_error(&error), "connection refused");
        assert_eq!(io_error(&io::Error::other("x")), "x");
    }
}
