//! Packets through services: a client behind one cable of a worker, a server behind another.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use net::links::VethEnd;
use net::{Error, Links, NetNs};
use testkit::{in_ns, netns};

use crate::load::{Timed, proxy};
use crate::objects::{Known, known, planned, source};
use crate::{compare, median_and_p99, row};
use kubeproxy::proxy::Proxy;

const CLIENT: Ipv4Addr = Ipv4Addr::new(11, 9, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(11, 10, 0, 2);
/// Of service number 0, whose first endpoint is the server.
const SERVICE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

struct Lab {
    client: NetNs,
    server: NetNs,
    _worker: NetNs,
    _proxy: Proxy<Timed>,
}

fn end(worker: &NetNs, name: &str, address: Ipv4Addr) -> NetNs {
    let ns = netns();
    let gateway = Ipv4Addr::from(u32::from(address) - 1);
    in_ns(worker, async {
        let links = Links::open()?;
        let (near, far) = (VethEnd { name, alias: "" }, VethEnd { name: "eth0", alias: "" });
        links.add_veth(near, None, far, Some(&ns), 1500).await?;
        links.set_up(name, true).await?;
        links.add_address(links.get(name).await?.index, Ipv4Network::new(gateway, 24).unwrap()).await
    })
    .unwrap();
    in_ns(&ns, async {
        let links = Links::open()?;
        let index = links.get("eth0").await?.index;
        links.add_address(index, Ipv4Network::new(address, 24).unwrap()).await?;
        links.set_up("eth0", true).await?;
        links.add_route("0.0.0.0/0".parse().unwrap(), Some(gateway), index).await
    })
    .unwrap();
    ns
}

/// A worker with so many services; that of number 0 has one endpoint, the server.
fn lab(services: u32) -> Lab {
    let worker = netns();
    worker
        .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| Error::sys("forward", e)))
        .unwrap();
    let (client, server) = (end(&worker, "c", CLIENT), end(&worker, "s", SERVER));
    let mut proxy = proxy(&worker);
    let others: Vec<Known> = (1..services).map(|n| known(n, 0..3)).collect();
    let first = (source(0), planned(&known(0, 0..1)));
    proxy.load((1..).zip(&others).map(|(n, known)| (source(n), planned(known))).chain([first])).unwrap();
    Lab { client, server, _worker: worker, _proxy: proxy }
}

/// Answers each connection with what it asks, one after the other, until there is one that asks nothing.
fn serve(server: &NetNs) -> std::thread::JoinHandle<()> {
    let listen = || TcpListener::bind((SERVER, 8080)).map_err(|e| Error::sys("listen", e));
    let listener = server.run(listen).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((mut stream, _)) = listener.accept() {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => stream.write_all(&buffer[..length]).unwrap(),
            }
        }
    })
}

fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap()
}

/// A connection, a request, its answer, the end: how long the connection took, and all of it.
fn request(to: SocketAddr) -> (Duration, Duration) {
    let began = Instant::now();
    let mut stream = connect(to);
    let connected = began.elapsed();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = [0; 64];
    assert!(stream.read(&mut answer).unwrap() > 0);
    (connected, began.elapsed())
}

pub(crate) fn first_packet(short: bool) {
    let (few, many, rounds) = if short { (10, 100, 10) } else { (10, 30_000, 4000) };
    let labs = [lab(few), lab(many)];
    let servers: Vec<_> = labs.iter().map(|lab| serve(&lab.server)).collect();
    let to = SocketAddr::from((SERVICE, 80));
    let mut times = [Vec::new(), Vec::new()];
    // In turn, so that both see the same of what else the machine does.
    for _ in 0..rounds / 50 {
        for (lab, times) in labs.iter().zip(&mut times) {
            let all = || Ok::<_, Error>((0..50).map(|_| request(to).0).collect::<Vec<_>>());
            times.extend(lab.client.run(all).unwrap());
        }
    }
    for lab in &labs {
        drop(lab.client.run(|| Ok::<_, Error>(connect(to))));
    }
    servers.into_iter().for_each(|server| server.join().unwrap());
    let [few_times, many_times] = times.map(median_and_p99);
    compare(
        &format!("TCP handshake through one of {many} services, median; of {few}"),
        many_times.0,
        few_times.0,
    );
    compare(&format!("the same, p99; of {few}"), many_times.1, few_times.1);
}

/// Both ways in turn, each first in every other pair, so that both see the same of what else the machine does: the middle
/// of each, and the middle of the pairs' ratios.
fn in_pairs(pairs: u32, mut measure: impl FnMut(SocketAddr) -> f64) -> (f64, f64, f64) {
    let (through, straight) = (SocketAddr::from((SERVICE, 80)), SocketAddr::from((SERVER, 8080)));
    let (mut ours, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (a, b) = if pair % 2 == 0 {
            let a = measure(through);
            (a, measure(straight))
        } else {
            let b = measure(straight);
            (measure(through), b)
        };
        ours.push(a);
        other.push(b);
        ratios.push(a / b);
    }
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (middle(&mut ours), middle(&mut other), middle(&mut ratios))
}

pub(crate) fn throughput(short: bool) {
    let (services, pairs, time) =
        if short { (10, 1, Duration::from_millis(100)) } else { (10_000, 21, Duration::from_millis(500)) };
    let lab = lab(services);
    let (through, straight, ratio) = in_pairs(pairs, |to| stream(&lab, to, time));
    let gigabits = |bits: f64| format!("{:.1} Gbit/s", bits / 1e9);
    let what =
        format!("one TCP stream through one of {services} services; straight to the pod ({pairs} pairs)");
    row(&what, gigabits(through), Some(gigabits(straight)), Some(ratio));

    // So few in each that most pairs are over before anybody else has had a turn.
    const BLOCK: u32 = 30;
    let blocks = if short { 2 } else { 300 };
    let server = serve(&lab.server);
    let (through, straight, ratio) = in_pairs(blocks, |to| {
        let all = || {
            let began = Instant::now();
            for _ in 0..BLOCK {
                request(to);
            }
            Ok::<_, Error>(f64::from(BLOCK) / began.elapsed().as_secs_f64())
        };
        lab.client.run(all).unwrap()
    });
    drop(lab.client.run(|| Ok::<_, Error>(connect(SocketAddr::from((SERVER, 8080))))));
    server.join().unwrap();
    row(
        &format!("requests a second, a connection each, through the service; straight ({blocks} pairs)"),
        format!("{through:.0} /s"),
        Some(format!("{straight:.0} /s")),
        Some(ratio),
    );
}

/// Bits a second that arrive.
fn stream(lab: &Lab, to: SocketAddr, time: Duration) -> f64 {
    let listen = || TcpListener::bind((SERVER, 8080)).map_err(|e| Error::sys("listen", e));
    let listener = lab.server.run(listen).unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut buffer, mut total, began) = (vec![0; 128 * 1024], 0, Instant::now());
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            total += length;
        }
        total as f64 * 8.0 / began.elapsed().as_secs_f64()
    });
    let send = || {
        let (mut stream, block, began) = (connect(to), vec![0; 128 * 1024], Instant::now());
        while began.elapsed() < time {
            stream.write_all(&block).unwrap();
        }
        Ok::<_, Error>(())
    };
    lab.client.run(send).unwrap();
    receiver.join().unwrap()
}
