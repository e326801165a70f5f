//! The delay line between two hosts, in the kernel: `a` - `middle` - `b`, where `middle` has the
//! line's two devices.

// Reading and writing raw frames has no safe wrapper in nix.
#![allow(unsafe_code)]
// Helpers of tests are tests, too; the lint sees only functions marked as such.
#![allow(clippy::unwrap_used)]

use std::io::{PipeWriter, Read, Write, pipe};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use net::delay::{Counters, DelayLine};
use net::links::VethEnd;
use net::ping::ping_all;
use net::{Error, Links, NetNs};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rtnetlink::LinkVxlan;
use testkit::{in_ns, netns, wait_for};

const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const LIMIT: Duration = Duration::from_secs(20);

/// Two hosts, and a line between them that is running until it is dropped.
struct Lab {
    a: NetNs,
    b: NetNs,
    middle: NetNs,
    counters: Counters,
    stop: Option<PipeWriter>,
    line: Option<JoinHandle<Result<(), Error>>>,
}

impl Lab {
    fn new(delay: Duration) -> Self {
        let (a, b, middle) = (netns(), netns(), netns());
        attach(&middle, "a", &a, A);
        attach(&middle, "b", &b, B);
        let mut line = middle.run(|| DelayLine::open("a", "b", delay)).unwrap();
        let counters = line.counters();
        let (stopped, stop) = pipe().unwrap();
        // On any thread: the sockets stay in the namespace where they were opened.
        let line = Some(thread::spawn(move || line.run(Some(stopped.as_fd()))));
        Self { a, b, middle, counters, stop: Some(stop), line }
    }

    fn ping(&self, target: Ipv4Addr, timeout: Duration) -> Option<Duration> {
        self.a.run(|| ping_all(&[target], timeout)).unwrap()[0]
    }

    /// Waits for an answer, and so for addresses to be resolved.
    fn reach(&self, target: Ipv4Addr) {
        wait_for("the line passes frames", LIMIT, || {
            self.ping(target, Duration::from_millis(200)).ok_or_else(|| format!("{:?}", self.counters))
        });
    }

    fn set_up(&self, device: &str, up: bool) {
        in_ns(&self.middle, async { Links::open()?.set_up(device, up).await }).unwrap();
    }

    /// Ends the line, or waits until it has ended itself.
    fn end(&mut self, stop: bool) -> Result<(), Error> {
        if stop {
            self.stop = None;
        }
        let line = self.line.take().unwrap();
        wait_for("the line ends", LIMIT, || line.is_finished().then_some(()).ok_or("running".into()));
        line.join().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}

/// A veth pair from `device` in `middle` to `eth0` of a host.
fn attach(middle: &NetNs, device: &str, host: &NetNs, address: Ipv4Addr) {
    let (port, peer) = (VethEnd { name: device, alias: "" }, VethEnd { name: "eth0", alias: "" });
    in_ns(middle, async { Links::open()?.add_veth(port, None, peer, Some(host), 1500).await }).unwrap();
    in_ns(host, async {
        let links = Links::open()?;
        links.set_up("eth0", true).await?;
        let network = ipnetwork::Ipv4Network::new(address, 24).unwrap();
        links.add_address(links.get("eth0").await?.index, network).await
    })
    .unwrap();
}

/// A VXLAN device on a host's `eth0`.
fn attach_vxlan(host: &NetNs, id: u32, address: Ipv4Addr, remote: Ipv4Addr, checksum: bool) {
    let name = format!("vx{id}");
    in_ns(host, async {
        let links = Links::open()?;
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        let connection = tokio::spawn(connection);
        let link = LinkVxlan::new(&name, id)
            .dev(links.get("eth0").await?.index)
            .remote(remote)
            .port(8472)
            .udp_csum(checksum)
            .mtu(1450)
            .up();
        handle.link().add(link.build()).execute().await.unwrap();
        connection.abort();
        let network = ipnetwork::Ipv4Network::new(address, 24).unwrap();
        links.add_address(links.get(&name).await?.index, network).await
    })
    .unwrap();
}

/// Sends `len` bytes by TCP from `from` to `address` of `to`, and sees that the same bytes arrive.
fn transfer(from: &NetNs, to: &NetNs, address: Ipv4Addr, len: usize) {
    // A prime, so that the pattern stays out of step with all that has a power of two.
    let mut state = 1_u64;
    let pattern: Vec<u8> = (0..1_000_003)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let listener = to.run(|| TcpListener::bind((address, 0)).map_err(|e| Error::sys("bind", e))).unwrap();
    let server = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream =
                from.run(|| TcpStream::connect(server).map_err(|e| Error::sys("connect", e))).unwrap();
            let mut left = len;
            while left > 0 {
                let part = left.min(pattern.len());
                stream.write_all(&pattern[..part]).unwrap();
                left -= part;
            }
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut block = vec![0; 256 * 1024];
        let mut at = 0;
        loop {
            let read = stream.read(&mut block).unwrap();
            if read == 0 {
                break;
            }
            let start = at % pattern.len();
            let first = read.min(pattern.len() - start);
            assert!(block[..first] == pattern[start..start + first], "bytes from {at} differ");
            assert!(block[first..read] == pattern[..read - first], "bytes after {at} differ");
            at += read;
        }
        assert_eq!(at, len);
    });
}

#[test]
fn a_round_trip_takes_twice_the_delay() {
    let lab = Lab::new(Duration::from_millis(10));
    lab.reach(B);
    let fastest = (0..10).filter_map(|_| lab.ping(B, LIMIT)).min().unwrap();
    assert!((Duration::from_millis(20)..Duration::from_millis(30)).contains(&fastest), "{fastest:?}");
}

#[test]
fn datagrams_arrive_in_order_and_none_is_lost() {
    let lab = Lab::new(Duration::from_millis(10));
    lab.reach(B);
    let receiver = lab.b.run(|| UdpSocket::bind((B, 0)).map_err(|e| Error::sys("bind", e))).unwrap();
    setsockopt(&receiver, sockopt::RcvBuf, &(1 << 20)).unwrap();
    receiver.set_read_timeout(Some(LIMIT)).unwrap();
    let to = receiver.local_addr().unwrap();
    let sender = lab.a.run(|| UdpSocket::bind((A, 0)).map_err(|e| Error::sys("bind", e))).unwrap();
    for number in 0..500_u32 {
        // Of all lengths, and some in fragments.
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.resize(4 + number as usize * 5, 0x5a);
        sender.send_to(&datagram, to).unwrap();
    }
    let mut datagram = [0; 4096];
    for number in 0..500_u32 {
        let len = receiver.recv(&mut datagram).unwrap();
        assert_eq!((&datagram[..4], len), (&number.to_be_bytes()[..], 4 + number as usize * 5));
    }
    assert_eq!(lab.counters.a_to_b().dropped, 0);
}

#[test]
fn a_bulk_transfer_is_intact_and_crosses_in_large_segments() {
    let lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    transfer(&lab.a, &lab.b, B, 64 << 20);
    let counts = lab.counters.a_to_b();
    // Some 5000 segments, not 46000 packets of 1448 bytes.
    assert!(counts.forwarded < 20_000, "{counts:?}");
}

#[test]
fn segments_inside_a_tunnel_are_cut_and_arrive() {
    let lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    for (id, checksum) in [(1, false), (2, true)] {
        let [a, b] = [1, 2].map(|host| Ipv4Addr::new(10, 10, id as u8, host));
        attach_vxlan(&lab.a, id, a, B, checksum);
        attach_vxlan(&lab.b, id, b, A, checksum);
        lab.reach(b);
        let before = lab.counters.a_to_b();
        transfer(&lab.a, &lab.b, b, 4 << 20);
        let after = lab.counters.a_to_b();
        assert_eq!(after.dropped, before.dropped);
        // Not one segment after another, each sent again because the large one was lost.
        assert!(after.forwarded - before.forwarded >= (4 << 20) / 1398, "{before:?} {after:?}");
    }
}

#[test]
fn a_vlan_tag_stays_in_its_frame() {
    let lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    // The kernel takes the outer tag out of a frame at each arrival, and tells it apart from it.
    // Had the line lost it, the second host would find the inner tag missing, too.
    let mut frame = [[0xff; 6], [0x02, 0, 0, 0, 0, 1]].concat();
    frame.extend([0x88, 0xa8, 0x60, 0x05, 0x81, 0x00, 0x00, 0x07, 0x88, 0xb5]);
    frame.resize(100, 0x5a);
    let hear = || {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .map_err(|e| Error::sys("open packet socket", e))
    };
    let receiver = lab.b.run(hear).unwrap();
    setsockopt(&receiver, sockopt::ReceiveTimeout, &TimeVal::new(20, 0)).unwrap();
    let sender = lab.a.run(hear).unwrap();
    let index = in_ns(&lab.a, async { Links::open()?.get("eth0").await }).unwrap().index;
    // SAFETY: zeroes are a valid address of any family.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    let len = size_of_val(&address) as u32;
    // SAFETY: the pointer leads to `len` readable bytes.
    let bound = unsafe { libc::bind(sender.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!(bound, 0);
    send(sender.as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
    let mut buffer = [0; 2048];
    loop {
        let len = recv(receiver.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        if buffer[6..12] == frame[6..12] {
            assert_eq!(buffer[12..len], frame[16..]);
            break;
        }
    }
}

#[test]
fn a_frame_beyond_the_far_mtu_is_dropped_and_counted() {
    let lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    in_ns(&lab.middle, async { Links::open()?.set_mtu("b", 1000).await }).unwrap();
    let sender = lab.a.run(|| UdpSocket::bind((A, 0)).map_err(|e| Error::sys("bind", e))).unwrap();
    sender.send_to(&[0; 1400], (B, 9)).unwrap();
    wait_for("the drop is counted", LIMIT, || {
        let counts = lab.counters.a_to_b();
        (counts.dropped == 1).then_some(()).ok_or(format!("{counts:?}"))
    });
    lab.reach(B);
}

#[test]
fn the_line_goes_on_when_its_devices_were_down() {
    let lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    for device in ["a", "b"] {
        lab.set_up(device, false);
        assert_eq!(lab.ping(B, Duration::from_millis(50)), None);
        lab.set_up(device, true);
        lab.reach(B);
    }
}

#[test]
fn the_line_stops_when_told_to() {
    let mut lab = Lab::new(Duration::from_secs(1000));
    // With frames on it, too.
    assert_eq!(lab.ping(B, Duration::from_millis(50)), None);
    let start = Instant::now();
    lab.end(true).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_line_ends_when_a_device_is_deleted() {
    let mut lab = Lab::new(Duration::from_millis(1));
    lab.reach(B);
    in_ns(&lab.middle, async { Links::open()?.delete("b").await }).unwrap();
    assert!(matches!(lab.end(false).unwrap_err(), Error::NoLink(name) if name == "b"));
}

#[test]
fn a_missing_device_is_named() {
    let error = netns().run(|| DelayLine::open("no-such", "lo", Duration::ZERO)).unwrap_err();
    assert_eq!(error.to_string(), "link no-such not found");
}
