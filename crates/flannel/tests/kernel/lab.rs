//! A cluster for a test: an underlay, an etcd, workers, pods.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flannel::Options;
use flannel::real::Flanneld;
use ipnetwork::Ipv4Network;
use net::links::VethEnd;
use net::{Error, Links, NetNs};
use runtime::{ComponentKind, Health, WorkerReport};
use tempfile::TempDir;
use testkit::{in_ns, netns, wait_for};
use tokio::sync::{oneshot, watch};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const CONFIG: &str = include_str!("../../../../conf/flannel-network-config.json");
const ETCD: &str = "http://10.1.0.1:2379";

/// Prefix of the network's keys.
pub(crate) const PREFIX: &str = flannel::PREFIX;

/// Runs a program in a namespace; gives its output.
pub(crate) fn output(ns: &NetNs, program: &str, arguments: &[&str]) -> String {
    let output = ns.run(|| Ok::<_, Error>(Command::new(program).args(arguments).output())).unwrap();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
pub(crate) fn json(ns: &NetNs, program: &str, arguments: &[&str]) -> serde_json::Value {
    let text = output(ns, program, arguments);
    serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).unwrap()
}

/// Starts a program in a namespace; it ends with the thread that started it.
pub(crate) fn spawn(ns: &NetNs, command: &mut Command) -> Child {
    net::process::join_before_exec(command, vec![Arc::new(ns.as_fd().try_clone_to_owned().unwrap())]);
    net::process::die_with_parent(command);
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// An underlay, 10.0.0.0/8, with an etcd, 10.1.0.1.
pub(crate) struct Cluster {
    underlay: NetNs,
    bridge: u32,
    pub(crate) etcd: Etcd,
}

pub(crate) struct Etcd {
    ns: NetNs,
    folder: TempDir,
    child: Child,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Cluster {
    /// With a network's configuration.
    pub(crate) fn new(config: &str) -> Self {
        let underlay = netns();
        let bridge = in_ns(&underlay, async {
            let links = Links::open()?;
            links.add_bridge("t0", 1500).await?;
            Ok::<_, Error>(links.get("t0").await?.index)
        })
        .unwrap();
        let ns = node(&underlay, bridge, "etcd", Ipv4Addr::new(10, 1, 0, 1));
        let folder = tempfile::tempdir().unwrap();
        let child = start_etcd(&ns, &folder);
        let cluster = Self { underlay, bridge, etcd: Etcd { ns, folder, child } };
        cluster.etcd.put("config", config);
        cluster
    }

    /// Cuts the cable to etcd, or mends it: nobody is told.
    pub(crate) fn set_etcd_link(&self, up: bool) {
        in_ns(&self.underlay, async { Links::open()?.set_up("etcd", up).await }).unwrap();
    }

    /// Worker number `n`, 10.0.0.`n + 2`, on which nothing runs yet.
    pub(crate) fn worker(&self, n: u8) -> Worker {
        let address = Ipv4Addr::new(10, 0, 0, n + 2);
        let name = format!("w{n}");
        let ns = node(&self.underlay, self.bridge, &name, address);
        ns.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|e| Error::sys("ip_forward", e)))
            .unwrap();
        Worker { name, ns, address, folder: Arc::new(tempfile::tempdir().unwrap()), daemon: None }
    }
}

/// A namespace with `eth0` at the underlay.
fn node(underlay: &NetNs, bridge: u32, port: &str, address: Ipv4Addr) -> NetNs {
    let ns = netns();
    let near = VethEnd { name: port, alias: "" };
    let far = VethEnd { name: "eth0", alias: "" };
    in_ns(underlay, async { Links::open()?.add_veth(near, Some(bridge), far, Some(&ns), 1500).await })
        .unwrap();
    in_ns(&ns, async {
        let links = Links::open()?;
        links.add_address(links.get("eth0").await?.index, Ipv4Network::new(address, 8).unwrap()).await?;
        links.set_up("eth0", true).await
    })
    .unwrap();
    ns
}

fn start_etcd(ns: &NetNs, folder: &TempDir) -> Child {
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let data = folder.path().join("data");
    let peer = "http://127.0.0.1:2380";
    let mut command = Command::new("etcd");
    command
        .env("ETCD_LOGGER", "zap")
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(["--heartbeat-interval", "10", "--election-timeout", "50"])
        .stdout(Stdio::null())
        .stderr(log);
    spawn(ns, &mut command)
}

impl Etcd {
    /// Asks etcd until it answers.
    fn ask<T: Send>(
        &self,
        what: &str,
        ask: impl AsyncFn(&mut etcd_client::Client) -> Result<T, etcd_client::Error> + Sync,
    ) -> T {
        wait_for(what, LIMIT, || {
            let answer = self.ns.run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                Ok::<_, Error>(runtime.block_on(async {
                    let options = etcd_client::ConnectOptions::new()
                        .with_timeout(Duration::from_secs(1))
                        .with_connect_timeout(Duration::from_millis(200));
                    ask(&mut etcd_client::Client::connect([ETCD], Some(options)).await?).await
                }))
            });
            answer.unwrap().map_err(|e| e.to_string())
        })
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        self.ask("put", async |client| client.put(format!("{PREFIX}/{key}"), value, None).await.map(|_| ()));
    }

    pub(crate) fn delete(&self, key: &str) {
        self.ask("delete", async |client| client.delete(format!("{PREFIX}/{key}"), None).await.map(|_| ()));
    }

    /// All leases: names of keys, values and the seconds that they were granted for.
    pub(crate) fn leases(&self) -> Vec<(String, String, i64)> {
        let prefix = format!("{PREFIX}/subnets/");
        self.ask("leases", async |client| {
            let options = etcd_client::GetOptions::new().with_prefix();
            let answer = client.get(prefix.as_str(), Some(options)).await?;
            let mut leases = Vec::new();
            for kv in answer.kvs() {
                let ttl = match kv.lease() {
                    0 => 0,
                    id => client.lease_time_to_live(id, None).await?.granted_ttl(),
                };
                let name = kv.key_str()?.trim_start_matches(&prefix).to_owned();
                leases.push((name, kv.value_str()?.to_owned(), ttl));
            }
            Ok(leases)
        })
    }

    /// The lease of a worker: name of the key, value.
    pub(crate) fn lease_of(&self, address: Ipv4Addr) -> Option<(String, String)> {
        let bears = format!("\"PublicIP\":\"{address}\"");
        let lease = self.leases().into_iter().find(|(_, value, _)| value.contains(&bears));
        lease.map(|(name, value, _)| (name, value))
    }

    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }

    pub(crate) fn start(&mut self) {
        self.child = start_etcd(&self.ns, &self.folder);
    }

    /// Starts it without anything that was in it.
    pub(crate) fn start_empty(&mut self) {
        fs::remove_dir_all(self.folder.path().join("data")).unwrap();
        self.start();
    }
}

pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) ns: NetNs,
    pub(crate) address: Ipv4Addr,
    pub(crate) folder: Arc<TempDir>,
    daemon: Option<Daemon>,
}

enum Daemon {
    Ours {
        board: watch::Receiver<WorkerReport>,
        lease: Lease,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
    },
    Real(Child),
}

type Lease = watch::Receiver<Option<Ipv4Network>>;

impl Drop for Daemon {
    fn drop(&mut self) {
        match self {
            Self::Ours { stop, thread, .. } => {
                drop(stop.take());
                // Its panic is told already.
                let _ = thread.take().map(JoinHandle::join);
            }
            Self::Real(child) => end(child),
        }
    }
}

impl Worker {
    pub(crate) fn options(&self) -> Options {
        Options {
            node: self.name.clone(),
            etcd: vec![ETCD.into()],
            prefix: PREFIX.into(),
            address: self.address,
            subnet_file: self.subnet_file(),
            ip_masq: false,
        }
    }

    pub(crate) fn subnet_file(&self) -> PathBuf {
        self.folder.path().join("flannel-subnet.env")
    }

    /// Starts ours.
    pub(crate) fn start(&mut self) {
        self.start_with(self.options());
    }

    pub(crate) fn start_with(&mut self, options: Options) {
        let health = Health::default();
        health.announce(flannel::COMPONENT, ComponentKind::Builtin, "0");
        let board = health.watch();
        let (sender, lease) = watch::channel(None);
        let (stop, stopped) = oneshot::channel::<()>();
        let ns = self.ns.try_clone().unwrap();
        let thread = thread::spawn(move || {
            ns.enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = flannel::run(options, health, sender) => {}
                    _ = stopped => {}
                }
            });
        });
        self.daemon = None;
        self.daemon = Some(Daemon::Ours { board, lease, stop: Some(stop), thread: Some(thread) });
    }

    /// Starts the real one.
    pub(crate) fn start_real(&mut self, flanneld: &Flanneld) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(&flanneld.path);
        command.args(Flanneld::arguments(&self.options())).stdout(Stdio::null()).stderr(log);
        self.daemon = None;
        self.daemon = Some(Daemon::Real(spawn(&self.ns, &mut command)));
    }

    /// Ends the daemon, whatever it is.
    pub(crate) fn stop(&mut self) {
        self.daemon = None;
    }

    /// What ours says of itself.
    pub(crate) fn said(&self) -> (bool, String) {
        let Some(Daemon::Ours { board, .. }) = &self.daemon else { panic!("not ours") };
        let report = board.borrow();
        let status = &report.components[flannel::COMPONENT];
        (status.ready, status.message.clone())
    }

    pub(crate) fn wait_until(&self, ready: bool, message: &str) {
        wait_for(&format!("{}: {message}", self.name), LIMIT, || match self.said() {
            (is, said) if is == ready && said.contains(message) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// The subnet, once the daemon is through.
    pub(crate) fn subnet(&self) -> Ipv4Network {
        wait_for(&format!("{}: a subnet", self.name), LIMIT, || match &self.daemon {
            Some(Daemon::Ours { lease, .. }) => lease.borrow().ok_or_else(|| format!("{:?}", self.said())),
            _ => {
                let text = fs::read_to_string(self.subnet_file()).map_err(|e| {
                    let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                    format!("{e}: {log}")
                })?;
                flannel::subnet_env::Previous::parse(&text).subnet.ok_or(text)
            }
        })
    }

    /// The routes of peers, as `ip route` shows them.
    pub(crate) fn routes(&self) -> Vec<String> {
        let all = output(&self.ns, "ip", &["-4", "route", "show"]);
        all.lines().filter(|line| line.contains(" via ")).map(|line| line.trim().to_owned()).collect()
    }

    pub(crate) fn forwarding(&self) -> Vec<String> {
        let all = output(&self.ns, "bridge", &["fdb", "show", "dev", "flannel.100"]);
        all.lines().map(|line| line.trim().to_owned()).collect()
    }

    pub(crate) fn neighbours(&self) -> Vec<String> {
        let all = output(&self.ns, "ip", &["-4", "neigh", "show", "dev", "flannel.100"]);
        all.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Waits until there are so many peers, with all that each needs.
    pub(crate) fn wait_for_peers(&self, count: usize) {
        self.subnet();
        wait_for(&format!("{}: {count} peers", self.name), LIMIT, || {
            let seen = (self.neighbours(), self.forwarding(), self.routes());
            let counts = (seen.0.len(), seen.1.len(), seen.2.len());
            if counts == (count, count, count) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    pub(crate) fn mac(&self) -> String {
        let link = json(&self.ns, "ip", &["-j", "link", "show", "flannel.100"]);
        link[0]["address"].as_str().unwrap().to_owned()
    }

    /// A pod on `cni0`, with the subnet's second address; the bridge has the first.
    pub(crate) fn pod(&self) -> Pod {
        let subnet = self.subnet();
        let nth = |n: u32| Ipv4Addr::from(u32::from(subnet.network()) + n);
        let ns = netns();
        in_ns(&self.ns, async {
            let links = Links::open()?;
            links.add_bridge("cni0", 1450).await?;
            let bridge = links.get("cni0").await?.index;
            links.add_address(bridge, Ipv4Network::new(nth(1), subnet.prefix()).unwrap()).await?;
            let near = VethEnd { name: "pod0", alias: "" };
            let far = VethEnd { name: "eth0", alias: "" };
            links.add_veth(near, Some(bridge), far, Some(&ns), 1450).await
        })
        .unwrap();
        let address = nth(2);
        in_ns(&ns, async {
            let links = Links::open()?;
            let index = links.get("eth0").await?.index;
            links.add_address(index, Ipv4Network::new(address, subnet.prefix()).unwrap()).await?;
            links.set_up("eth0", true).await?;
            links.add_route("0.0.0.0/0".parse().unwrap(), Some(nth(1)), index).await
        })
        .unwrap();
        Pod { ns, address }
    }
}

pub(crate) struct Pod {
    pub(crate) ns: NetNs,
    pub(crate) address: Ipv4Addr,
}

impl Pod {
    /// Waits until the other one answers.
    pub(crate) fn wait_for_ping(&self, other: Ipv4Addr) {
        wait_for(&format!("{} pings {other}", self.address), LIMIT, || {
            match self.ns.run(|| net::ping::ping_all(&[other], Duration::from_millis(200))).unwrap()[..] {
                [Some(_)] => Ok(()),
                _ => Err("no answer".into()),
            }
        });
    }

    /// Sends `bytes` to the other one over TCP.
    pub(crate) fn transfer(&self, other: &Self, bytes: usize) {
        let listener = other
            .ns
            .run(|| TcpListener::bind((other.address, 0)).map_err(|e| Error::sys("bind", e)))
            .unwrap();
        let to = listener.local_addr().unwrap();
        let receiver = thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            (from.ip(), got)
        });
        let connect =
            || TcpStream::connect_timeout(&to, LIMIT).map_err(|e| Error::sys(format!("connect to {to}"), e));
        let mut stream = self.ns.run(connect).unwrap();
        let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        stream.write_all(&sent).unwrap();
        drop(stream);
        let (from, got) = receiver.join().unwrap();
        assert_eq!(from, self.address, "nobody on the way changed the address");
        assert!(got == sent, "sent {} bytes, got {} or others", sent.len(), got.len());
    }

    /// Begins to ping the other one, a hundred times a second.
    pub(crate) fn ping(&self, other: Ipv4Addr) -> Pings {
        let ns = self.ns.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            ns.run(|| {
                let (mut sent, mut lost) = (0, 0);
                while !stopped.load(Ordering::Relaxed) {
                    let answers = net::ping::ping_all(&[other], Duration::from_secs(1))?;
                    sent += 1;
                    lost += usize::from(answers[0].is_none());
                    thread::sleep(Duration::from_millis(10));
                }
                Ok::<_, Error>((sent, lost))
            })
            .unwrap()
        });
        Pings { stop, thread }
    }
}

/// Pings that go on.
pub(crate) struct Pings {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

impl Pings {
    /// Ends them; how many were sent, and how many lost.
    pub(crate) fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
