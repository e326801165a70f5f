//! Routers in namespaces of their own, and TCP across them.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use api::router_config::Config;
use net::NetNs;
use testkit::wait_for;

const LIMIT: Duration = Duration::from_secs(60);

/// A router that ends when dropped.
enum Router {
    Ours(Option<tokio::sync::oneshot::Sender<()>>, Option<JoinHandle<()>>),
    Real(Child, #[expect(dead_code, reason = "its configuration, kept while it runs")] tempfile::TempDir),
}

impl Router {
    fn ours(ns: &Arc<NetNs>, config: &str) -> Self {
        let (config, _) = Config::parse("test", config).unwrap();
        let ns = Arc::clone(ns);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            inside(&ns, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        ended = router::run(config) => { ended.unwrap(); }
                        _ = stopped => {}
                    }
                });
            });
        });
        Self::Ours(Some(stop), Some(thread))
    }

    fn real(skrouterd: &Path, ns: &Arc<NetNs>, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("router.json");
        std::fs::write(&file, config).unwrap();
        let child = inside(ns, || {
            let mut command = Command::new(skrouterd);
            command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        });
        Self::Real(child, folder)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        match self {
            Self::Ours(stop, thread) => {
                drop(stop.take());
                if let Some(thread) = thread.take() {
                    thread.join().unwrap();
                }
            }
            Self::Real(child, _) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

fn inside<T: Send>(ns: &NetNs, f: impl FnOnce() -> T + Send) -> T {
    ns.run(|| -> Result<T, net::Error> { Ok(f()) }).unwrap()
}

/// A server that answers all it got, once the client has said all.
fn echo(ns: &NetNs, port: u16) {
    let listener = inside(ns, || TcpListener::bind(("127.0.0.1", port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                // A client that was lost is none that this test is about.
                if stream.read_to_end(&mut all).is_ok() {
                    let _ = stream.write_all(&all);
                }
            });
        }
    });
}

fn connect(ns: &NetNs, port: u16) -> std::io::Result<TcpStream> {
    inside(ns, || TcpStream::connect(("127.0.0.1", port)))
}

fn until_open(ns: &NetNs, port: u16) {
    wait_for("the port is open", LIMIT, || connect(ns, port).map_err(|e| e.to_string()));
}

/// Says `bytes` to a port, and what came back; `Err` when it is not there.
fn ask(ns: &NetNs, port: u16, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(ns, port)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // An error shows in what comes back.
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Ok(all)
    })
}

fn until_served(ns: &NetNs, port: u16) {
    wait_for("the service answers", LIMIT, || match ask(ns, port, b"hello") {
        Ok(answer) if answer == b"hello" => Ok(()),
        other => Err(format!("port {port}: {other:?}")),
    });
}

fn until_refused(ns: &NetNs, port: u16) {
    wait_for("the port is closed", LIMIT, || match connect(ns, port) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Bytes that no luck makes right.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let words = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x.to_le_bytes()
    });
    words.flatten().take(n).collect()
}

const LEFT: &str = r#"[
    ["router", {"id": "left", "mode": "interior"}],
    ["listener", {"name": "in", "host": "127.0.0.1", "port": 5001, "role": "inter-router"}],
    ["listener", {"name": "clients", "host": "127.0.0.1", "port": 5672, "role": "normal"}],
    ["listener", {"name": "web", "host": "127.0.0.1", "port": 9000, "role": "normal", "http": true}],
    ["tcpConnector", {"name": "here", "address": "left-echo", "host": "127.0.0.1", "port": 7000}],
    ["tcpListener", {"name": "far", "address": "right-echo", "host": "127.0.0.1", "port": 8001}]]"#;
const RIGHT: &str = r#"[
    ["router", {"id": "right", "mode": "interior"}],
    ["connector", {"name": "out", "host": "127.0.0.1", "port": 5001, "role": "inter-router"}],
    ["tcpConnector", {"name": "here", "address": "right-echo", "host": "127.0.0.1", "port": 7000}],
    ["tcpListener", {"name": "far", "address": "left-echo", "host": "127.0.0.1", "port": 8002}]]"#;
const MIDDLE: &str = r#"[
    ["router", {"id": "middle", "mode": "interior"}],
    ["connector", {"name": "out", "host": "127.0.0.1", "port": 5001, "role": "inter-router"}],
    ["listener", {"name": "in", "host": "127.0.0.1", "port": 5002, "role": "inter-router"}]]"#;

fn space() -> Arc<NetNs> {
    let ns = Arc::new(testkit::netns());
    echo(&ns, 7000);
    ns
}

/// `each` is how much more each of 20 clients at once says than the one before it, in bytes.
fn both_ways(ns: &NetNs, each: usize) {
    let big = noise(5_000_000);
    for port in [8001, 8002] {
        until_served(ns, port);
        assert!(ask(ns, port, &big).unwrap() == big, "port {port}: other bytes came back");
    }
    std::thread::scope(|scope| {
        for client in 0..20_usize {
            let part = &big[client * 1000..client * each + 5000];
            let port = if client % 2 == 0 { 8001 } else { 8002 };
            scope.spawn(move || assert!(ask(ns, port, part).unwrap() == part, "client {client}"));
        }
    });
}

#[test]
fn tcp_crosses_two_routers_both_ways() {
    let ns = space();
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    both_ways(&ns, 90_000);
}

#[test]
fn tcp_crosses_three_routers_in_a_row_both_ways() {
    let ns = space();
    let _left = Router::ours(&ns, LEFT);
    let _middle = Router::ours(&ns, MIDDLE);
    let _right = Router::ours(&ns, &RIGHT.replace("5001", "5002"));
    both_ways(&ns, 90_000);
}

/// With ever larger streams at once skrouterd loses some between routers of its own, too.
const AMONG_REAL_ONES: usize = 2000;

fn skrouterd() -> Option<PathBuf> {
    let named = std::env::var_os("KNETSIM_SKROUTERD").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("skrouterd")).find(|file| file.exists())
    });
    if found.is_none() {
        println!("NOT TESTED: no skrouterd (name one by KNETSIM_SKROUTERD)");
    }
    found
}

#[test]
fn ours_and_the_real_one_are_neighbours_whoever_connects() {
    let Some(real) = skrouterd() else { return };
    for ours_listens in [true, false] {
        let ns = space();
        let make = |ours: bool, config| {
            if ours { Router::ours(&ns, config) } else { Router::real(&real, &ns, config) }
        };
        let left = make(ours_listens, LEFT);
        until_open(&ns, 5001);
        let right = make(!ours_listens, RIGHT);
        both_ways(&ns, AMONG_REAL_ONES);
        drop((left, right));
    }
}

#[test]
fn ours_and_real_ones_stand_in_a_row() {
    let Some(real) = skrouterd() else { return };
    let right = RIGHT.replace("5001", "5002");
    for ours_in_the_middle in [true, false] {
        let ns = space();
        let make = |ours: bool, config| {
            if ours { Router::ours(&ns, config) } else { Router::real(&real, &ns, config) }
        };
        let first = make(!ours_in_the_middle, LEFT);
        until_open(&ns, 5001);
        let second = make(ours_in_the_middle, MIDDLE);
        until_open(&ns, 5002);
        let third = make(!ours_in_the_middle, &right);
        both_ways(&ns, AMONG_REAL_ONES);
        drop((first, second, third));
    }
}

#[test]
fn a_port_is_closed_while_nobody_serves_its_address() {
    let ns = space();
    let _left = Router::ours(&ns, LEFT);
    until_refused(&ns, 8001);
    let right = Router::ours(&ns, RIGHT);
    until_served(&ns, 8001);
    drop(right);
    until_refused(&ns, 8001);
    let _right = Router::ours(&ns, RIGHT);
    until_served(&ns, 8001);
}

#[test]
fn a_server_that_is_down_ends_its_clients_cleanly() {
    let ns = Arc::new(testkit::netns());
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    until_open(&ns, 8001);
    // An end, not a reset.
    assert_eq!(ask(&ns, 8001, b"hello").unwrap(), b"");
    echo(&ns, 7000);
    until_served(&ns, 8001);
}

#[test]
fn a_port_in_use_is_tried_again() {
    let ns = space();
    let taken = inside(&ns, || TcpListener::bind(("127.0.0.1", 8001)).unwrap());
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    until_served(&ns, 8002);
    drop(taken);
    until_served(&ns, 8001);
}

#[test]
fn garbage_on_the_amqp_port_harms_nobody_else() {
    let ns = space();
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    until_served(&ns, 8001);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"AMQP\x00\x01\x00\x00\xff\xff\xff\xff\x02\x00\x00\x00",
        b"AMQP\x00\x01\x00\x00\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x14\x45",
        b"AMQP\x03\x01\x00\x00\x00\x00\x00\x03",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    ] {
        for port in [5001, 5672] {
            let mut stream = connect(&ns, port).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            stream.write_all(garbage).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // However it ends, it ends.
            let ended = stream.read_to_end(&mut Vec::new());
            assert!(!matches!(&ended, Err(e) if e.kind() == ErrorKind::WouldBlock), "{garbage:?} on {port}");
        }
    }
    until_served(&ns, 8001);
}

fn web(ns: &NetNs, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = inside(ns, || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9000")?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    answer.unwrap_or_else(|e| e.to_string())
}

/// Bytes that clients sent to the left router's listener, by its metrics.
fn bytes_in(ns: &NetNs) -> Option<u64> {
    let text = web(ns, "/metrics");
    let wanted = r#"qdr_tcp_bytes_total{kind="listener",address="right-echo",name="far",direction="in"}"#;
    text.lines().find(|line| line.starts_with(wanted))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_server_that_never_reads_stops_its_client_and_holds_little() {
    let ns = Arc::new(testkit::netns());
    // It listens, and the kernel accepts; nobody ever reads.
    let server = inside(&ns, || TcpListener::bind(("127.0.0.1", 7000)).unwrap());
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    until_open(&ns, 8001);
    let mut client = connect(&ns, 8001).unwrap();
    client.set_nonblocking(true).unwrap();
    let block = noise(65536);
    let mut last = (0, 0);
    let mut same = 0;
    let stalled = wait_for("the client is stopped", LIMIT, || {
        let mut written = last.0;
        while let Ok(n) = client.write(&block) {
            written += n;
        }
        let read = bytes_in(&ns).unwrap_or(0);
        same = if last == (written, read) && read > 0 { same + 1 } else { 0 };
        last = (written, read);
        if same > 50 { Ok(read) } else { Err(format!("{written} written, {read} read")) }
    });
    // What the server's socket holds is acknowledged; the window's megabyte comes on top.
    assert!(stalled < 24 << 20, "{stalled} bytes were taken in");
    drop(server);
}

#[test]
fn health_and_metrics_tell_of_each_service() {
    let ns = space();
    let _left = Router::ours(&ns, LEFT);
    let _right = Router::ours(&ns, RIGHT);
    until_served(&ns, 8001);
    let before = bytes_in(&ns).unwrap();
    assert_eq!(ask(&ns, 8001, &noise(12_345)).unwrap().len(), 12_345);
    assert_eq!(bytes_in(&ns).unwrap() - before, 12_345);
    assert!(web(&ns, "/healthz").starts_with("HTTP/1.1 200 "));
}
