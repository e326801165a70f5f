//! A server under load, in a process and on a processor of its own: `cargo bench -p dns --bench load`.
//!
//! In a namespace: etcd with a thousand services and their slices, the server that reads them, and a loader
//! on the other processors. Prints the queries a second that the server answers, by the clock and by the
//! processor time that it used; how long answers take at half of that; how soon a changed endpoint is
//! answered; and its memory, once more with ten thousand services.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::types::api::core::v1::{Namespace, Service};
use api::types::api::discovery::v1::EndpointSlice;
use dns::Options;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use runtime::Health;
use serde_json::json;
use store::Store;
use tokio::task::JoinSet;

const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
const ETCD: &str = "http://127.0.0.1:2379";
/// This binary as the server.
const SERVE: &str = "--serve";
/// Queries that are under way at once when the most is asked for.
const WINDOW: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        return serve();
    }
    // Otherwise, as from `cargo test --benches`, it only has to be seen that it runs.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let ns = testkit::netns();
    let run = || {
        for services in if short { [10, 20] } else { [1_000, 10_000] } {
            measure(services, short);
        }
    };
    // A thread of a namespace has a small stack; one that it starts is in the same namespace.
    let large = || std::thread::Builder::new().stack_size(8 << 20);
    let started =
        || Ok::<_, net::Error>(std::thread::scope(|scope| large().spawn_scoped(scope, run).unwrap().join()));
    ns.run(started).unwrap().unwrap();
}

fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { listen: vec![DNS], http: vec![], ..Options::new("cluster.local") };
    runtime.block_on(async {
        let store = Store::etcd(&[ETCD.into()]).await.unwrap();
        dns::run(options, store, Health::default()).await.unwrap();
    });
}

/// A child that ends with this process.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child(command: &mut Command) -> Guard {
    Guard(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn measure(services: usize, short: bool) {
    let data = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let _etcd =
        child(
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "etcd", "--data-dir"])
                .arg(data.path())
                .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]),
        );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(fill(services));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().unwrap()).arg(SERVE);
    let server = child(&mut command);
    let pid = Pid::from_raw(server.0.id().try_into().unwrap());
    pin(pid, |cpu| cpu == 0);
    pin(Pid::from_raw(0), |cpu| cpu != 0);
    let mut load = Load::new(services);
    load.wait_until_ready();
    println!("{services} services:");
    println!("  memory after reading them: {}", memory(pid));
    let time = if short { Duration::from_millis(20) } else { Duration::from_secs(5) };
    load.most(time);
    let before = processor_time(pid);
    let (answered, took) = load.most(time);
    let used = processor_time(pid) - before;
    let by_clock = answered as f64 / took.as_secs_f64();
    let by_processor = answered as f64 / used.as_secs_f64().max(0.01);
    println!("  at most {by_clock:.0} queries/s by the clock, {by_processor:.0} a second of processor time");
    for rate in [25_000.0, by_clock / 2.0] {
        let mut times = load.at(rate, time);
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        println!(
            "  at {rate:.0} queries/s: half within {:.0} us, 99 % within {:.0} us, 99.9 % within {:.0} us",
            at(0.5),
            at(0.99),
            at(0.999)
        );
    }
    let mut times: Vec<_> =
        (0..if short { 2 } else { 50 }).map(|n| runtime.block_on(change(&store, &mut load, n))).collect();
    times.sort();
    let (half, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("  a changed endpoint is answered after {half:.1?}, at worst {worst:.1?}");
    println!("  memory after that: {}", memory(pid));
}

fn pin(pid: Pid, wanted: impl Fn(usize) -> bool) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    for cpu in (0..count).filter(|cpu| count == 1 || wanted(*cpu)) {
        set.set(cpu).unwrap();
    }
    // Where only other processors may be used, the kernel's choice is as good.
    let _ = sched_setaffinity(pid, &set);
}

fn object<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn name(n: usize) -> String {
    format!("service-{n}")
}

async fn fill(services: usize) -> Store {
    let store = Store::etcd(&[ETCD.into()]).await.unwrap();
    let began = Instant::now();
    loop {
        let mut namespace: Namespace = object(json!({"metadata": {"name": "default"}}));
        match store.create(&mut namespace).await {
            Ok(()) => break,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut tasks = JoinSet::new();
    for n in 0..services {
        let store = store.clone();
        tasks.spawn(async move {
            let mut service: Service = object(json!({
                "metadata": {
                    "name": name(n), "namespace": "default", "uid": format!("00000000-0000-0000-0000-{n:012}"),
                    "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": name(n)},
                },
                "spec": {
                    "type": "ClusterIP", "clusterIP": cluster_ip(n), "clusterIPs": [cluster_ip(n)],
                    "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                    "internalTrafficPolicy": "Cluster", "selector": {"app": name(n)},
                    "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8000}],
                },
                "status": {"loadBalancer": {}},
            }));
            store.create(&mut service).await.unwrap();
            let mut slice = slice(n, 1);
            store.create(&mut slice).await.unwrap();
        });
        if tasks.len() >= 64 {
            tasks.join_next().await.unwrap().unwrap();
        }
    }
    tasks.join_all().await;
    let mut headless: Service = object(json!({
        "metadata": {"name": "headless", "namespace": "default"}, "spec": {"clusterIP": "None", "clusterIPs": ["None"]},
    }));
    store.create(&mut headless).await.unwrap();
    store
}

fn cluster_ip(n: usize) -> String {
    format!("100.64.{}.{}", n / 250, n % 250 + 1)
}

fn slice(n: usize, first: u8) -> EndpointSlice {
    let endpoint = |k: u8| {
        json!({
            "addresses": [format!("11.{}.{}.{k}", n / 250, n % 250)], "nodeName": "C0w1",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("pod-{n}-{k}")},
        })
    };
    object(json!({
        "metadata": {
            "name": format!("{}-abcde", name(n)), "namespace": "default",
            "labels": {"kubernetes.io/service-name": name(n)},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8000}],
        "endpoints": [endpoint(first), endpoint(first + 1)],
    }))
}

/// Changes the endpoint of a headless service; how long until that is the answer.
async fn change(store: &Store, load: &mut Load, n: usize) -> Duration {
    let address = format!("11.200.{}.{}", n / 200, n % 200 + 1);
    let mut slice: EndpointSlice = object(json!({
        "metadata": {
            "name": "headless-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "headless"},
        },
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
    }));
    match store.get::<EndpointSlice>("default", "headless-1").await.unwrap() {
        None => store.create(&mut slice).await.unwrap(),
        Some(there) => {
            slice.metadata.resource_version = there.metadata.resource_version;
            store.update(&mut slice).await.unwrap();
        }
    }
    // From when it is stored.
    let began = Instant::now();
    while load.lookup("headless") != [address.as_str()] {
        assert!(began.elapsed() < PATIENCE, "{address} is not answered");
    }
    began.elapsed()
}

struct Load {
    socket: UdpSocket,
    packets: Vec<Vec<u8>>,
    next: usize,
}

impl Load {
    fn new(services: usize) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(DNS).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // As a pod asks: the address, and the one of the other family; now and then for nothing.
        let packets = (0..services)
            // In an order that is none.
            .map(|n| n * 7919 % services)
            .flat_map(|n| [(name(n), RecordType::A), (name(n), RecordType::AAAA)])
            .chain((0..services / 10 + 1).map(|n| (format!("nothing-{n}"), RecordType::A)))
            .map(|(name, kind)| packet(&name, kind))
            .collect();
        Self { socket, packets, next: 0 }
    }

    fn lookup(&mut self, name: &str) -> Vec<String> {
        self.socket.send(&packet(name, RecordType::A)).unwrap();
        let mut buffer = [0; 1500];
        let Ok(length) = self.socket.recv(&mut buffer) else { return vec![] };
        let message = Message::from_vec(&buffer[..length]).unwrap();
        message.answers.iter().map(|record| record.data.to_string()).collect()
    }

    fn wait_until_ready(&mut self) {
        let began = Instant::now();
        while self.lookup(&name(1)) != [cluster_ip(1)] {
            assert!(began.elapsed() < PATIENCE, "the server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send(&mut self) {
        let packet = &self.packets[self.next];
        self.next = (self.next + 1) % self.packets.len();
        // A refusal of the system shows as an answer that is missing.
        let _ = self.socket.send(packet);
    }

    /// As many queries as the server takes: a new one for each answer.
    fn most(&mut self, time: Duration) -> (usize, Duration) {
        let mut buffer = [0; 1500];
        let (mut answered, began) = (0, Instant::now());
        for _ in 0..WINDOW {
            self.send();
        }
        while began.elapsed() < time {
            match self.socket.recv(&mut buffer) {
                Ok(_) => {
                    answered += 1;
                    self.send();
                }
                // Some were lost.
                Err(_) => (0..WINDOW).for_each(|_| self.send()),
            }
        }
        let took = began.elapsed();
        while self.socket.recv(&mut buffer).is_ok() {}
        (answered, took)
    }

    /// So many queries a second, whatever the answers do; how long each took.
    fn at(&mut self, rate: f64, time: Duration) -> Vec<Duration> {
        let count = (rate * time.as_secs_f64()) as usize;
        let mut sent: Vec<Instant> = Vec::with_capacity(count);
        let mut times = Vec::with_capacity(count);
        let mut buffer = [0; 1500];
        self.socket.set_nonblocking(true).unwrap();
        let began = Instant::now();
        let mut last = began;
        while (times.len() < count) && last.elapsed() < Duration::from_secs(1) {
            let due = began + Duration::from_secs_f64(sent.len() as f64 / rate);
            if sent.len() < count && Instant::now() >= due {
                // The number tells which one an answer is for; more than 65,536 are never under way.
                let id = (sent.len() as u16).to_be_bytes();
                self.packets[self.next][..2].copy_from_slice(&id);
                // From when it should have been sent: who waits before asking waits too.
                sent.push(due);
                self.send();
            }
            while let Ok(length) = self.socket.recv(&mut buffer) {
                assert!(length > 12);
                last = Instant::now();
                let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                let newest = sent.len() - 1;
                let at = newest - (newest.wrapping_sub(id) & 0xffff);
                times.push(last.saturating_duration_since(sent[at]));
            }
        }
        self.socket.set_nonblocking(false).unwrap();
        println!("  {} of {} answered", times.len(), sent.len());
        times
    }
}

fn packet(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.default.svc.cluster.local.")).unwrap();
    message.add_query(Query::query(name, kind));
    message.to_vec().unwrap()
}

/// Of all of a process's threads.
fn processor_time(pid: Pid) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn memory(pid: Pid) -> String {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kilobytes.unwrap_or(f64::NAN) / 1024.0
    };
    format!(
        "{:.1} MiB, {:.1} of it its own; at most {:.1}",
        line(&status, "VmRSS:"),
        line(&rollup, "Private_Dirty:"),
        line(&status, "VmHWM:")
    )
}
