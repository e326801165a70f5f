//! What the probe tells: JSON, a line each.

use serde::{Deserialize, Serialize};

use super::check::Outcome;

/// The descriptor that the probe writes to.
pub(super) const WIRE: i32 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// A check begins: should nothing more be heard of it, it hangs or has killed the probe.
    Begun(String),
    Ended {
        name: String,
        result: Outcome,
        detail: String,
        /// What the kernel said.
        errno: Option<i32>,
    },
    /// Why some checks do not begin at all.
    Hindered(String),
    /// There is nothing more to come.
    Finished,
}
