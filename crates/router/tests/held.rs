//! A connection that is held while the link between its routers is cut.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use api::router_config::Config;
use ipnetwork::Ipv4Network;
use net::links::VethEnd;
use net::{Error, Links, NetNs};
use testkit::{in_ns, netns, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
/// As long as a router waits by default for a sign of life (`idleTimeoutSeconds`). The claim is one about time, so this
/// is real time; it passes beside the other tests.
const CUT: Duration = Duration::from_secs(16);

fn inside<T: Send>(ns: &NetNs, f: impl FnOnce() -> T + Send) -> T {
    ns.run(|| -> Result<T, Error> { Ok(f()) }).unwrap()
}

/// A namespace with `eth0` on the bridge `t0` of `switch`.
fn node(switch: &NetNs, port: &str, host: u8) -> NetNs {
    let ns = netns();
    let (near, far) = (VethEnd { name: port, alias: "" }, VethEnd { name: "eth0", alias: "" });
    in_ns(switch, async {
        let links = Links::open()?;
        let bridge = links.get("t0").await?.index;
        links.add_veth(near, Some(bridge), far, Some(&ns), 1500).await
    })
    .unwrap();
    in_ns(&ns, async {
        let links = Links::open()?;
        let own = Ipv4Network::new(Ipv4Addr::new(10, 9, 0, host), 24).unwrap();
        links.add_address(links.get("eth0").await?.index, own).await?;
        links.set_up("eth0", true).await
    })
    .unwrap();
    ns
}

/// A router in a namespace, until the test's process ends.
fn router(ns: &NetNs, config: &str) {
    let (config, _) = Config::parse("test", config).unwrap();
    inside(ns, || {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(router::run(config)).unwrap();
        });
    });
}

/// Answers each byte at once.
fn echo(ns: &NetNs) {
    let listener = inside(ns, || TcpListener::bind("127.0.0.1:7000").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

fn connect(ns: &NetNs) -> Result<TcpStream, String> {
    let stream = inside(ns, || TcpStream::connect("127.0.0.1:8001")).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    Ok(stream)
}

fn ask(stream: &mut TcpStream, byte: u8) -> Result<(), String> {
    let mut answer = [0];
    stream.write_all(&[byte]).and_then(|()| stream.read_exact(&mut answer)).map_err(|e| e.to_string())?;
    if answer == [byte] { Ok(()) } else { Err(format!("{answer:?}")) }
}

#[test]
fn one_that_says_nothing_outlives_a_cut() {
    let switch = netns();
    in_ns(&switch, async { Links::open()?.add_bridge("t0", 1500).await }).unwrap();
    let (left, right) = (node(&switch, "left", 1), node(&switch, "right", 2));
    router(
        &left,
        r#"[["router", {"id": "left", "mode": "interior"}],
            ["listener", {"host": "10.9.0.1", "port": 5001, "role": "inter-router"}],
            ["tcpListener", {"address": "echo", "host": "127.0.0.1", "port": 8001}]]"#,
    );
    router(
        &right,
        r#"[["router", {"id": "right", "mode": "interior"}],
            ["connector", {"host": "10.9.0.1", "port": 5001, "role": "inter-router"}],
            ["tcpConnector", {"address": "echo", "host": "127.0.0.1", "port": 7000}]]"#,
    );
    echo(&right);
    let mut held = wait_for("the service", LIMIT, || connect(&left));
    ask(&mut held, 1).unwrap();

    // The routers' own ends stay up, as with a cut somewhere in between.
    in_ns(&switch, async { Links::open()?.set_up("t0", false).await }).unwrap();
    let cut = Instant::now();
    wait_for("the port is closed", LIMIT, || match connect(&left) {
        Ok(_) => Err("open".to_owned()),
        Err(_) => Ok(()),
    });
    std::thread::sleep(CUT.saturating_sub(cut.elapsed()));
    in_ns(&switch, async { Links::open()?.set_up("t0", true).await }).unwrap();

    let mut new = wait_for("the service again", LIMIT, || connect(&left));
    ask(&mut new, 2).unwrap();
    ask(&mut held, 3).unwrap();
}
