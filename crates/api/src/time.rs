//! Kubernetes' two kinds of time stamp.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
// The same crate that k8s-openapi shows, with its clock.
use jiff::{Timestamp, Unit};

/// Now, in whole seconds, as in `creationTimestamp`.
#[must_use]
pub fn now() -> Time {
    Time(rounded(Unit::Second))
}

/// Now, in microseconds, as in a Lease's `renewTime`.
#[must_use]
pub fn micro_now() -> MicroTime {
    MicroTime(rounded(Unit::Microsecond))
}

fn rounded(unit: Unit) -> Timestamp {
    let now = Timestamp::now();
    // Fails only at the end of time.
    now.round(unit).unwrap_or(now)
}
