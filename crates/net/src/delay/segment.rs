//! Large segments inside tunnels, cut into frames as a network card would cut them.
//!
//! A `virtio_net_hdr` of ten bytes can say "TCP over IPv4, to be cut at 1398 bytes", but not that
//! the TCP header is the one inside a VXLAN packet: the kernel hands such a frame out, and drops
//! it when it gets it back. So it is cut here: headers copied to each part, their lengths, numbers
//! and checksums made right. The innermost checksum stays for the kernel to fill in, as it is for
//! every other frame.

/// Bytes of a `virtio_net_hdr` (`linux/virtio_net.h`; in a packet socket in native byte order):
/// flags, kind of segment, header length, segment size, start and offset of the checksum.
pub(super) const VNET_HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_ECN`, a flag beside the kind.
const ECN: u8 = 0x80;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const TCP4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const TCP6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const UDP: u8 = 5;

/// Geneve's UDP port (RFC 8926); another port is taken for VXLAN (RFC 7348), which has several.
const PORT_GENEVE: u16 = 6081;

/// A header whose fields depend on what follows, and where it starts in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Ipv4(usize),
    Ipv6(usize),
    /// Not the innermost: that one's checksum is left to the kernel.
    Udp(usize),
}

/// What comes next in a packet.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Ethernet,
    Ipv4,
    Ipv6,
    Udp,
    Other,
}

impl Protocol {
    fn of_ethernet(ethertype: u16) -> Self {
        match ethertype {
            0x0800 => Self::Ipv4,
            0x86dd => Self::Ipv6,
            // Ethernet in something (RFC 1701).
            0x6558 => Self::Ethernet,
            _ => Self::Other,
        }
    }

    fn of_ip(protocol: u8) -> Self {
        match i32::from(protocol) {
            libc::IPPROTO_IPIP => Self::Ipv4,
            libc::IPPROTO_IPV6 => Self::Ipv6,
            libc::IPPROTO_UDP => Self::Udp,
            _ => Self::Other,
        }
    }
}

/// A `virtio_net_hdr`, as far as it matters here.
#[derive(Debug)]
struct Offload {
    kind: u8,
    /// Payload bytes in a part.
    size: usize,
    /// Where the innermost transport header starts in the frame.
    transport: usize,
    /// Where its checksum stands in it.
    checksum: usize,
}

impl Offload {
    /// The header of a segment that is still to be cut; `None` of any other frame.
    fn of(header: &[u8]) -> Option<Self> {
        let kind = *header.get(1)? & !ECN;
        let segment = matches!(kind, TCP4 | TCP6 | UDP) && header[0] & NEEDS_CHECKSUM != 0;
        let field = |at| native16(header, at).map(usize::from);
        segment.then_some(())?;
        Some(Self { kind, size: field(4)?, transport: field(6)?, checksum: field(8)? })
    }
}

/// Moves the start of the checksum when `by` bytes have been put before it.
pub(super) fn shift_checksum(header: &mut [u8], by: u16) {
    if header[0] & NEEDS_CHECKSUM != 0
        && let Some(start) = native16(header, 6)
    {
        header[6..8].copy_from_slice(&start.wrapping_add(by).to_ne_bytes());
    }
}

/// Whether a frame, with its `virtio_net_hdr`, is a segment that the kernel would not take back.
pub(super) fn is_tunnelled(frame: &[u8]) -> bool {
    let Some((header, packet)) = frame.split_at_checked(VNET_HEADER) else { return false };
    let Some(offload) = Offload::of(header) else { return false };
    // A way that is not known here is left to the kernel.
    headers(packet, offload.transport).is_some_and(|headers| headers.len() > 1)
}

/// Cuts a frame, and gives each part with its `virtio_net_hdr` to `emit`; `None` when it cannot be
/// understood.
pub(super) fn split(frame: &[u8], mut emit: impl FnMut(&[u8])) -> Option<()> {
    let (header, packet) = frame.split_at_checked(VNET_HEADER)?;
    let offload = Offload::of(header)?;
    let headers = headers(packet, offload.transport)?;
    let transport_len = match offload.kind {
        UDP => 8,
        _ => usize::from(packet.get(offload.transport + 12)? >> 4) * 4,
    };
    let (before, payload) = packet.split_at_checked(offload.transport + transport_len)?;
    if offload.size == 0 || offload.checksum + 2 > transport_len {
        return None;
    }
    let count = payload.len().div_ceil(offload.size);
    let mut part = Vec::with_capacity(VNET_HEADER + before.len() + offload.size);
    for (number, data) in payload.chunks(offload.size).enumerate() {
        part.clear();
        // Still to be summed, no longer to be cut.
        part.extend_from_slice(&[NEEDS_CHECKSUM, 0, 0, 0, 0, 0]);
        part.extend_from_slice(&header[6..]);
        part.extend_from_slice(before);
        part.extend_from_slice(data);
        fix(&mut part[VNET_HEADER..], &offload, &headers, number, number + 1 == count)?;
        emit(&part);
    }
    Some(())
}

/// The headers before the transport header at `transport`, outermost first; `None` when the way
/// there is not known.
fn headers(packet: &[u8], transport: usize) -> Option<Vec<Header>> {
    let mut headers = Vec::with_capacity(3);
    let (mut at, mut next) = (0, Protocol::Ethernet);
    while at < transport {
        (at, next) = match next {
            Protocol::Ethernet => ethernet(packet, at)?,
            Protocol::Ipv4 => {
                headers.push(Header::Ipv4(at));
                // The length counts words of four bytes, and no header has less than five.
                let words = usize::from(packet.get(at)? & 15).max(5);
                (at + words * 4, Protocol::of_ip(*packet.get(at + 9)?))
            }
            Protocol::Ipv6 => {
                headers.push(Header::Ipv6(at));
                (at + 40, Protocol::of_ip(*packet.get(at + 6)?))
            }
            Protocol::Udp => {
                headers.push(Header::Udp(at));
                tunnel(packet, at)?
            }
            Protocol::Other => return None,
        };
    }
    let known = at == transport && matches!(headers.last(), Some(Header::Ipv4(_) | Header::Ipv6(_)));
    known.then_some(headers)
}

/// What follows an Ethernet header, with its tags, and where.
fn ethernet(packet: &[u8], at: usize) -> Option<(usize, Protocol)> {
    let mut at = at + 12;
    while matches!(be16(packet, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    Some((at + 2, Protocol::of_ethernet(be16(packet, at)?)))
}

/// What is in the tunnel whose UDP header starts at `udp`, and where.
fn tunnel(packet: &[u8], udp: usize) -> Option<(usize, Protocol)> {
    let at = udp + 8;
    if be16(packet, udp + 2)? != PORT_GENEVE {
        return Some((at + 8, Protocol::Ethernet));
    }
    let options = usize::from(packet.get(at)? & 0x3f) * 4;
    Some((at + 8 + options, Protocol::of_ethernet(be16(packet, at + 2)?)))
}

/// Makes the headers of part `number` right.
fn fix(packet: &mut [u8], offload: &Offload, headers: &[Header], number: usize, last: bool) -> Option<()> {
    let transport = offload.transport;
    match offload.kind {
        UDP => set_be16(packet, transport + 4, (packet.len() - transport) as u16)?,
        _ => fix_tcp(&mut packet[transport..], number * offload.size, number == 0, last)?,
    }
    // The kernel finds the sum of the pseudo header in the field, and adds the rest (RFC 9293).
    let protocol = if offload.kind == UDP { libc::IPPROTO_UDP } else { libc::IPPROTO_TCP };
    let inner = pseudo_header(packet, headers.last()?, protocol, transport)?;
    set_be16(packet, transport + offload.checksum, fold(inner))?;
    // From the inside out: an outer checksum covers the inner headers.
    for (index, header) in headers.iter().enumerate().rev() {
        match *header {
            Header::Ipv4(at) => fix_ipv4(packet, at, number)?,
            Header::Ipv6(at) => set_be16(packet, at + 4, (packet.len() - at - 40) as u16)?,
            Header::Udp(at) => {
                set_be16(packet, at + 4, (packet.len() - at) as u16)?;
                // No checksum at all is what most tunnels over IPv4 have (RFC 768, RFC 7348).
                if be16(packet, at + 6)? != 0 {
                    set_be16(packet, at + 6, 0)?;
                    let outer =
                        pseudo_header(packet, headers.get(index.checked_sub(1)?)?, libc::IPPROTO_UDP, at)?;
                    // Once the inner checksum is filled in, all that it covers sums up to the
                    // complement of what stands in its field now.
                    let covered = u64::from(!fold(inner));
                    let checksum = !fold(outer + sum(packet.get(at..transport)?) + covered);
                    set_be16(packet, at + 6, if checksum == 0 { 0xffff } else { checksum })?;
                }
            }
        }
    }
    Some(())
}

/// Sequence number and flags (RFC 9293): a segment ends, or is pushed, where the whole did; the
/// window was reduced once (RFC 3168).
fn fix_tcp(tcp: &mut [u8], offset: usize, first: bool, last: bool) -> Option<()> {
    const FIN: u8 = 0x01;
    const PSH: u8 = 0x08;
    const CWR: u8 = 0x80;
    let sequence = tcp.get_mut(4..8)?;
    let number = u32::from_be_bytes(sequence.try_into().ok()?).wrapping_add(offset as u32);
    sequence.copy_from_slice(&number.to_be_bytes());
    let flags = tcp.get_mut(13)?;
    *flags &= if last { !0 } else { !(FIN | PSH) } & if first { !0 } else { !CWR };
    Some(())
}

/// Length, identification and checksum (RFC 791).
fn fix_ipv4(packet: &mut [u8], at: usize, number: usize) -> Option<()> {
    let identification = be16(packet, at + 4)?.wrapping_add(number as u16);
    set_be16(packet, at + 2, (packet.len() - at) as u16)?;
    set_be16(packet, at + 4, identification)?;
    set_be16(packet, at + 10, 0)?;
    let len = usize::from(packet.get(at)? & 15) * 4;
    let checksum = !fold(sum(packet.get(at..at + len)?));
    set_be16(packet, at + 10, checksum)
}

/// The sum of the pseudo header of what starts at `at` and ends with the packet.
fn pseudo_header(packet: &[u8], ip: &Header, protocol: libc::c_int, at: usize) -> Option<u64> {
    let addresses = match *ip {
        Header::Ipv4(ip) => packet.get(ip + 12..ip + 20)?,
        Header::Ipv6(ip) => packet.get(ip + 8..ip + 40)?,
        Header::Udp(_) => return None,
    };
    Some(sum(addresses) + protocol as u64 + (packet.len() - at) as u64)
}

/// The sum of 16-bit words of the internet checksum (RFC 1071), not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | word.get(1).copied().map_or(0, u64::from)).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn set_be16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

fn native16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
