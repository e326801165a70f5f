//! How long a frame takes from one device to another, by sending one.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::segment::VNET_HEADER;
use super::socket::{MAX_FRAME, PacketSocket, Received};
use crate::error::{Error, Result};
use crate::ns::NetNs;

/// The nearest bridge's address (IEEE 802.1Q, table 8-1): no bridge forwards it, so a probe stays on its link.
const TO: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e];
/// A locally administered address, of nobody.
const FROM: [u8; 6] = [0x02, 0x6b, 0x6e, 0x65, 0x74, 0x73];
/// Local experimental ethertype 1 (IEEE 802, clause 9.2.4).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// The least that an Ethernet frame has, without its checksum.
const LENGTH: usize = 60;

/// A device in a namespace.
pub type Place<'a> = (&'a NetNs, &'a str);

/// Sends a frame, `copies` times at once, out of `from`'s device and waits at most `limit` until one of them
/// arrives at `to`'s; gives the time it took, or none when all were lost.
///
/// # Errors
/// When a device is not there.
pub fn crossing_time(
    from: Place<'_>,
    to: Place<'_>,
    copies: usize,
    limit: Duration,
) -> Result<Option<Duration>> {
    let sender = from.0.run(|| PacketSocket::open(from.1))?;
    let receiver = to.0.run(|| PacketSocket::open(to.1))?;
    let began = Instant::now();
    // Unlike any other probe's, of this process or another.
    let nonce =
        (u64::from(std::process::id()) << 32) ^ began.elapsed().as_nanos() as u64 ^ &raw const sender as u64;
    let frame = frame(nonce);
    for _ in 0..copies {
        // What a full queue drops is lost as on any link.
        sender.send(&frame)?;
    }
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        match receiver.receive(&mut buffer)? {
            Received::Frame(range)
                if buffer[range.clone()][VNET_HEADER..].starts_with(&frame[VNET_HEADER..]) =>
            {
                return Ok(Some(began.elapsed()));
            }
            Received::Frame(_) | Received::Lost => continue,
            Received::Down => return Ok(None),
            Received::Nothing => {}
        }
        let Some(left) = limit.checked_sub(began.elapsed()) else { return Ok(None) };
        let mut fds = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(Error::sys("wait for a probe", e)),
        }
    }
}

fn frame(nonce: u64) -> Vec<u8> {
    let mut frame = vec![0; VNET_HEADER];
    frame.extend(TO);
    frame.extend(FROM);
    frame.extend(ETHERTYPE);
    frame.extend(nonce.to_be_bytes());
    frame.resize(VNET_HEADER + LENGTH, 0);
    frame
}
