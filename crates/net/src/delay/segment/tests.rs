use super::*;

const TCP: u8 = 6;
const UDP_PROTOCOL: u8 = 17;

fn ethernet_header(ethertype: u16) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes()].concat()
}

/// A header whose lengths and checksum are rubbish: cutting must set them.
fn ipv4_header(protocol: u8, identification: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0xee, 0xee, 0, 0, 0x40, 0, 64, protocol, 0xee, 0xee];
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    header
}

fn ipv6_header(protocol: u8) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0xee, 0xee, protocol, 64];
    header.extend(0xfd..=0xff);
    header.resize(40, 7);
    header
}

fn udp_header(port: u16, checksum: u16) -> Vec<u8> {
    let [p0, p1] = port.to_be_bytes();
    let [c0, c1] = checksum.to_be_bytes();
    vec![0xc0, 1, p0, p1, 0xee, 0xee, c0, c1]
}

/// Sequence number, and all flags that matter: CWR, ACK, PSH, FIN.
fn tcp_header(sequence: u32) -> Vec<u8> {
    let mut header = vec![0x80, 0, 0, 80];
    header.extend(sequence.to_be_bytes());
    header.extend([0, 0, 0, 9, 0x60, 0x99, 1, 0, 0xee, 0xee, 0, 0, 1, 1, 1, 1]);
    header
}

/// The frame of `headers` and `payload`, to be cut every `size` bytes of what is behind the last.
fn segment(kind: u8, headers: &[Vec<u8>], payload: &[u8], size: u16) -> Vec<u8> {
    let (_, before) = headers.split_last().unwrap();
    let transport: usize = before.iter().map(Vec::len).sum();
    let mut frame = vec![NEEDS_CHECKSUM, kind];
    let checksum = if kind == UDP { 6 } else { 16 };
    for field in [0, size, transport as u16, checksum] {
        frame.extend(field.to_ne_bytes());
    }
    frame.extend(headers.concat());
    frame.extend(payload);
    frame
}

/// The parts without their `virtio_net_hdr`, the innermost checksum filled in as a card does.
fn cut(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let done = split(frame, |part| {
        assert_eq!(part[..2], [NEEDS_CHECKSUM, 0]);
        let field = |at| usize::from(native16(part, at).unwrap());
        let (start, offset) = (field(6), field(8));
        let mut packet = part[VNET_HEADER..].to_vec();
        let checksum = !fold(sum(&packet[start..]));
        set_be16(&mut packet, start + offset, checksum).unwrap();
        parts.push(packet);
    });
    assert_eq!(done, Some(()));
    parts
}

/// Sees that lengths and checksums are right from the IP header at `ip` on; gives the payload.
fn check_ip(packet: &[u8], ip: usize) -> usize {
    let (at, protocol, addresses) = if packet[ip] >> 4 == 4 {
        assert_eq!(usize::from(be16(packet, ip + 2).unwrap()), packet.len() - ip);
        assert_eq!(fold(sum(&packet[ip..ip + 20])), 0xffff);
        (ip + 20, packet[ip + 9], &packet[ip + 12..ip + 20])
    } else {
        assert_eq!(usize::from(be16(packet, ip + 4).unwrap()), packet.len() - ip - 40);
        (ip + 40, packet[ip + 6], &packet[ip + 8..ip + 40])
    };
    let rest = &packet[at..];
    let checked = match protocol {
        UDP_PROTOCOL => {
            assert_eq!(usize::from(be16(rest, 4).unwrap()), rest.len());
            be16(rest, 6).unwrap() != 0
        }
        protocol => protocol == TCP,
    };
    if checked {
        let pseudo = sum(addresses) + u64::from(protocol) + rest.len() as u64;
        assert_eq!(fold(pseudo + sum(rest)), 0xffff);
    }
    at
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn tcp_in_vxlan_is_cut_with_all_its_lengths_numbers_and_checksums() {
    let vxlan = vec![8, 0, 0, 0, 0, 0, 1, 0];
    let payload = payload(2501);
    for checksum in [0, 0x1234] {
        let headers = [
            ethernet_header(0x0800),
            ipv4_header(UDP_PROTOCOL, 0xffff),
            udp_header(8472, checksum),
            vxlan.clone(),
            ethernet_header(0x0800),
            ipv4_header(TCP, 40),
            tcp_header(u32::MAX - 500),
        ];
        let frame = segment(TCP4 | ECN, &headers, &payload, 1000);
        assert!(is_tunnelled(&frame));
        let parts = cut(&frame);
        let (outer, inner) = (14, 14 + 20 + 8 + 8 + 14);
        let mut seen: Vec<u8> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(check_ip(part, outer), outer + 20);
            assert_eq!(be16(part, outer + 26).unwrap() == 0, checksum == 0);
            let tcp = check_ip(part, inner);
            assert_eq!(be16(part, outer + 4), Some(0xffff_u16.wrapping_add(number as u16)));
            assert_eq!(be16(part, inner + 4), Some(40 + number as u16));
            let sequence = u32::from_be_bytes(part[tcp + 4..tcp + 8].try_into().unwrap());
            assert_eq!(sequence, (u32::MAX - 500).wrapping_add(number as u32 * 1000));
            seen.extend(&part[tcp + 24..]);
        }
        assert_eq!(seen, payload);
        let flags: Vec<u8> = parts.iter().map(|part| part[inner + 20 + 13]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1108, 1108, 609]);
    }
}

#[test]
fn tcp6_in_geneve_over_ipv6_with_tags_is_cut() {
    let mut outer = ethernet_header(0x8100);
    outer.extend([0, 5, 0x86, 0xdd]);
    // Two words of options, Ethernet inside.
    let geneve = vec![2, 0, 0x65, 0x58, 0, 0, 1, 0, 9, 9, 9, 9, 8, 8, 8, 8];
    let headers = [
        outer,
        ipv6_header(UDP_PROTOCOL),
        udp_header(PORT_GENEVE, 1),
        geneve,
        ethernet_header(0x86dd),
        ipv6_header(TCP),
        tcp_header(1),
    ];
    let frame = segment(TCP6, &headers, &payload(2000), 1000);
    assert!(is_tunnelled(&frame));
    let parts = cut(&frame);
    assert_eq!(parts.len(), 2);
    for part in parts {
        let udp = check_ip(&part, 18);
        check_ip(&part, udp + 8 + 16 + 14);
    }
}

#[test]
fn udp_in_ipip_is_cut() {
    let headers =
        [ethernet_header(0x0800), ipv4_header(4, 1), ipv4_header(UDP_PROTOCOL, 2), udp_header(443, 0x1111)];
    let frame = segment(UDP, &headers, &payload(300), 100);
    assert!(is_tunnelled(&frame));
    let parts = cut(&frame);
    assert_eq!(parts.len(), 3);
    for part in parts {
        let inner = check_ip(&part, 14);
        let udp = check_ip(&part, inner);
        assert_eq!(part.len() - udp, 108);
    }
}

#[test]
fn what_the_kernel_takes_back_is_left_whole() {
    let plain = [ethernet_header(0x0800), ipv4_header(TCP, 1), tcp_header(1)];
    assert!(!is_tunnelled(&segment(TCP4, &plain, &payload(3000), 1000)));
    let plain = [ethernet_header(0x86dd), ipv6_header(UDP_PROTOCOL), udp_header(443, 1)];
    assert!(!is_tunnelled(&segment(UDP, &plain, &payload(3000), 1000)));
    // One packet in a tunnel, its checksum still to be filled in.
    let headers = [
        ethernet_header(0x0800),
        ipv4_header(UDP_PROTOCOL, 1),
        udp_header(4789, 0),
        vec![8, 0, 0, 0, 0, 0, 1, 0],
        ethernet_header(0x0800),
        ipv4_header(TCP, 1),
        tcp_header(1),
    ];
    assert!(!is_tunnelled(&segment(0, &headers, &payload(10), 0)));
}

#[test]
fn frames_that_end_too_early_are_refused_and_do_no_harm() {
    let headers = [
        ethernet_header(0x0800),
        ipv4_header(UDP_PROTOCOL, 1),
        udp_header(PORT_GENEVE, 1),
        vec![0, 0, 0x65, 0x58, 0, 0, 1, 0],
        ethernet_header(0x0800),
        ipv4_header(TCP, 1),
        tcp_header(1),
    ];
    let frame = segment(TCP4, &headers, &[], 1000);
    for len in 0..frame.len() {
        is_tunnelled(&frame[..len]);
        assert_eq!(split(&frame[..len], |_| panic!("cut")), None, "{len} bytes");
    }
    let sizeless = segment(TCP4, &headers, &payload(10), 0);
    assert_eq!(split(&sizeless, |_| panic!("cut")), None);
}

#[test]
fn any_change_of_a_byte_does_no_harm() {
    let headers = [
        ethernet_header(0x0800),
        ipv4_header(UDP_PROTOCOL, 1),
        udp_header(8472, 1),
        vec![8, 0, 0, 0, 0, 0, 1, 0],
        ethernet_header(0x0800),
        ipv4_header(TCP, 1),
        tcp_header(1),
    ];
    let frame = segment(TCP4, &headers, &payload(100), 50);
    for at in 0..frame.len() {
        for value in 0..=255 {
            let mut frame = frame.clone();
            frame[at] = value;
            is_tunnelled(&frame);
            let _ = split(&frame, |_| {});
        }
    }
}

#[test]
fn a_tag_moves_the_start_of_a_checksum_only_where_there_is_one() {
    let mut header = [NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[6..8].copy_from_slice(&34_u16.to_ne_bytes());
    shift_checksum(&mut header, 4);
    assert_eq!(native16(&header, 6), Some(38));
    header[0] = 0;
    shift_checksum(&mut header, 4);
    assert_eq!(native16(&header, 6), Some(38));
}
