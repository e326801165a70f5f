//! From etcd to the kernel: latency, what an agent keeps in memory, and a storm of changes.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::kinds;
use kubeproxy::objects::EndpointSlice;
use kubeproxy::{Networks, Options};
use net::{Error, NetNs};
use nft::Socket;
use nft::ruleset::{Family, Table, Value, live_elements};
use runtime::{ComponentKind, Health, WorkerReport};
use store::{Event, Store};
use testkit::netns;

use crate::objects::{networks, pod_ip, service, slice};
use crate::{median_and_p99, row, shown};

/// The argument with which the bench is an agent, in a process of its own.
pub(crate) const AGENT: &str = "--agent";
const ENDPOINTS: u32 = 3;

/// An etcd on loopback of a namespace of its own.
struct Etcd {
    ns: NetNs,
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    fn start() -> Self {
        let (ns, folder) = (netns(), tempfile::tempdir().unwrap());
        let (url, peer) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
        let spawn = || {
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(folder.path());
            command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
            command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
            command.args([
                "--initial-cluster",
                &format!("default={peer}"),
                "--quota-backend-bytes",
                "8589934592",
            ]);
            command.args(["--heartbeat-interval", "10", "--election-timeout", "50"]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|e| Error::sys("start etcd", e))
        };
        let child = ns.run(spawn).unwrap();
        Self { child, url: url.into(), ns, _folder: folder }
    }

    /// Runs a future where etcd can be reached.
    fn block_on<T: Send>(&self, future: impl AsyncFnOnce(Store) -> T + Send) -> T {
        let url = self.url.clone();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.ns.enter().unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let store = Store::etcd(&[url]).await.unwrap();
                    // Until it has started.
                    while store.list_raw(&kinds::NODES, None).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    future(store).await
                })
            });
            thread.join().unwrap()
        })
    }

    fn fill(&self, services: u32, endpoints: u32) {
        self.block_on(async |store: Store| {
            let put = async |n: u32| {
                store.create_raw(&kinds::SERVICES, &mut service(n)).await.unwrap();
                store.create_raw(&kinds::ENDPOINT_SLICES, &mut slice(n, 0..endpoints)).await.unwrap();
            };
            for from in (0..services).step_by(8) {
                let (a, b, c, d) = (from, from + 2, from + 4, from + 6);
                let pair = async |n: u32| {
                    for n in (n..n + 2).filter(|n| *n < services) {
                        put(n).await;
                    }
                };
                tokio::join!(pair(a), pair(b), pair(c), pair(d));
            }
        });
    }

    fn socket(&self) -> Socket {
        self.ns.run(|| Ok::<_, Error>(Socket::open())).unwrap().unwrap()
    }
}

fn options() -> Options {
    let Networks { pods, services } = networks();
    Options::new("w1", "10.0.0.3".parse().unwrap(), pods, services)
}

/// A proxy, until it is dropped.
struct Agent {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Agent {
    fn start(etcd: &Etcd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, url, ns) = (Arc::clone(&stop), etcd.url.clone(), etcd.ns.try_clone().unwrap());
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = Arc::clone(&ready);
        let thread = std::thread::spawn(move || {
            ns.enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                run(&url, &is_ready, async {
                    while !ended.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                })
                .await;
            });
        });
        while !ready.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { stop, thread: Some(thread) }
    }
}

async fn run(url: &str, ready: &AtomicBool, until: impl Future<Output = ()>) {
    let store = Store::etcd(&[url.to_owned()]).await.unwrap();
    let health = Health::default();
    health.announce(kubeproxy::COMPONENT, ComponentKind::Builtin, "0");
    let mut board = health.watch();
    let told = async {
        board.wait_for(WorkerReport::ready).await.unwrap();
        ready.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = kubeproxy::run(options(), store, health) => {}
        () = told => {}
        () = until => {}
    }
}

/// The agent of a process of its own: says what it keeps in memory.
pub(crate) fn agent(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ready = AtomicBool::new(false);
    runtime.block_on(run(url, &ready, async {
        while !ready.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What is done right after the first sync.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let private = rollup.lines().filter(|line| line.starts_with("Private"));
        let kib: u64 =
            private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum();
        println!("{kib}");
    }));
}

pub(crate) fn memory(short: bool) {
    let services = if short { 20 } else { 10_000 };
    let etcd = Etcd::start();
    etcd.fill(services, ENDPOINTS);
    let measure = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Ok::<_, Error>(command.args([AGENT, &etcd.url]).output().unwrap())
    };
    let output = etcd.ns.run(measure).unwrap();
    assert!(output.status.success(), "{output:?}");
    let kib: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let what =
        format!("private memory of a process that runs the proxy for {services} services x {ENDPOINTS}");
    row(&what, format!("{:.1} MiB", kib / 1024.0), None, None);
}

pub(crate) fn latency(short: bool) {
    let (services, rounds) = if short { (20, 5) } else { (10_000, 2000) };
    let etcd = Etcd::start();
    etcd.fill(services, ENDPOINTS);
    let _agent = Agent::start(&etcd);
    // Whoever else watches hears of it at this time, and the rules are others from that time on.
    let heard = Arc::new(Mutex::new(Vec::new()));
    let stop = AtomicBool::new(false);
    let mut socket = etcd.socket();
    let (mut above, mut whole, mut watch) = (Vec::new(), Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            etcd.block_on(async |store: Store| {
                let from = store.list_as_of::<EndpointSlice>(None).await.unwrap().revision;
                let mut watch = store.watch::<EndpointSlice>(None, from).await.unwrap();
                heard.lock().unwrap().push(Instant::now());
                while !stop.load(Ordering::Relaxed) {
                    let next = tokio::time::timeout(Duration::from_millis(100), watch.next()).await;
                    if let Ok(Ok(Event::Modified(_))) = next {
                        heard.lock().unwrap().push(Instant::now());
                    }
                }
            });
        });
        while heard.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        for round in 0..rounds {
            let n = round % services;
            let generation = socket.generation().unwrap();
            let known = heard.lock().unwrap().len();
            let mut changed = slice(n, 1 + round / services..4 + round / services);
            let written = etcd.block_on(async |store: Store| {
                let written = Instant::now();
                store.put_raw(&kinds::ENDPOINT_SLICES, &mut changed).await.unwrap();
                written
            });
            let began = Instant::now();
            while socket.generation().unwrap() == generation {
                assert!(began.elapsed() < Duration::from_secs(10), "no change of the rules");
                std::thread::yield_now();
            }
            let ruled = Instant::now();
            while heard.lock().unwrap().len() == known {
                std::thread::yield_now();
            }
            let heard = *heard.lock().unwrap().last().unwrap();
            above.push(ruled.saturating_duration_since(heard));
            whole.push(ruled - written);
            watch.push(heard - written);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (above, whole, watch) = (median_and_p99(above), median_and_p99(whole), median_and_p99(watch));
    let what = format!("from the write in etcd to the rule among {services} services, median; to a watcher");
    row(&what, shown(whole.0), Some(shown(watch.0)), None);
    row("the same, p99; to a watcher", shown(whole.1), Some(shown(watch.1)), None);
    row("the rule after the watcher heard of it: median; p99", shown(above.0), Some(shown(above.1)), None);
}

/// Endpoints of the storm's services.
const MANY: u32 = 10;
/// What an endpoint's number becomes when it is replaced.
const REPLACED: u32 = 1_000_000;

/// The endpoints of a service of which the first so many were replaced.
fn replaced(count: u32) -> impl Iterator<Item = u32> {
    (0..MANY).map(move |k| if k < count { REPLACED + k } else { k })
}

/// How many endpoints the rules have, and how many of those are replaced ones.
fn ruled(socket: &mut Socket, table: &Table) -> (u32, u32) {
    let (mut all, mut new) = (0, 0);
    let first = pod_ip(REPLACED);
    live_elements(socket, table, "service-endpoints", |live| {
        let Value::Data(data) = live.element.value else { return };
        all += 1;
        new += u32::from(std::net::Ipv4Addr::from(*data.first_chunk::<4>().unwrap()) >= first);
    })
    .unwrap();
    (all, new)
}

/// Every endpoint is replaced by another one.
pub(crate) fn churn(short: bool) {
    let (services, rate) = if short { (20, 100_u32) } else { (10_000, 1000) };
    let count = services * MANY;
    let etcd = Etcd::start();
    etcd.fill(services, MANY);
    let _agent = Agent::start(&etcd);
    let (mut socket, mut watching) = (etcd.socket(), etcd.socket());
    let table = Table::new(Family::Ip, "kube-proxy");
    let generation = socket.generation().unwrap();
    let (made, behind) = (AtomicU32::new(0), AtomicU32::new(0));
    let began = Instant::now();
    let last = std::thread::scope(|scope| {
        scope.spawn(|| {
            // What is written and not yet a rule, ten times in all.
            for tenth in 1..10 {
                while made.load(Ordering::Relaxed) < count / 10 * tenth {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let written = made.load(Ordering::Relaxed);
                let (_, new) = ruled(&mut watching, &table);
                behind.fetch_max(written.saturating_sub(new), Ordering::Relaxed);
            }
        });
        etcd.block_on(async |store: Store| {
            // Several at once: one after the other they would be as many as etcd has answers.
            let mut ticks = tokio::time::interval(Duration::from_micros(4_000_000 / u64::from(rate)));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            for first in (0..count).step_by(4) {
                ticks.tick().await;
                let put = async |change: u32| {
                    let mut changed = slice(change % services, replaced(change / services + 1));
                    store.put_raw(&kinds::ENDPOINT_SLICES, &mut changed).await.unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                };
                tokio::join!(put(first), put(first + 1), put(first + 2), put(first + 3));
            }
            Instant::now()
        })
    });
    let written = last - began;
    loop {
        let (all, new) = ruled(&mut socket, &table);
        assert!(last.elapsed() < Duration::from_secs(60), "{new} of {all} endpoints are new, of {count}");
        if (all, new) == (count, count) {
            break;
        }
    }
    let lag = last.elapsed();
    let transactions = socket.generation().unwrap() - generation;
    let what =
        format!("{count} endpoints replaced at {rate} a second: written in; all rules right after that");
    row(&what, shown(written), Some(shown(lag)), None);
    row("written and not yet a rule, at most of nine looks", behind.into_inner(), None, None);
    row("transactions for them", transactions, None, None);
}
