//! What time it is, by the clock on the wall, as objects have it.

use std::fmt;
use std::sync::Arc;

use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::types::jiff::Timestamp;

/// A clock. Tests have one that stands still or jumps.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Timestamp::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl Clock {
    /// A clock that follows tokio's, so that it can be paused with it.
    #[cfg(test)]
    pub(crate) fn with_tokio() -> Self {
        let (start, began) = (Timestamp::now(), tokio::time::Instant::now());
        Self(Arc::new(move || start + began.elapsed()))
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Now, in whole seconds, as objects have it.
    pub(crate) fn time(&self) -> Time {
        whole(self.now())
    }
}

/// The second in which something happened.
pub(crate) fn whole(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}
