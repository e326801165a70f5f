//! Real plugins in real namespaces: Debian's, cnitool's view of them, and the one of the guide.

// Helpers of tests are tests, too; the lint sees only functions marked as such.
#![allow(clippy::unwrap_used)]

mod cnitool;
mod faults;
mod guide;
mod lab;
mod plugins;
