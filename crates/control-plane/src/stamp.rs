//! What new objects get from the clock and from chance.

use api::admit::Stamp;
use api::time;

/// A new UUID, and now.
pub(crate) fn stamp() -> Stamp {
    Stamp { uid: uuid::Uuid::new_v4().to_string(), now: time::now() }
}
