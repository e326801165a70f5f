//! Packets through services.

use crate::load::all;

pub(crate) fn first_packet(short: bool) {
    let _ = (short, all(0));
}
pub(crate) fn throughput(short: bool) {
    let _ = short;
}
