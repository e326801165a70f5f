//! A cluster for a test: two workers with pods, a node outside, a store in memory.
//!
//! ```text
//!          outside 10.1.0.1      w1 10.0.0.3 ── cni0 11.10.0.1/20 ── pods 11.10.0.2 …
//!               └──── underlay ──── w2 10.0.0.4 ── cni0 11.10.16.1/20 ── pods 11.10.16.2 …
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use api::admit::{self, Stamp};
use api::kinds;
use ipnetwork::Ipv4Network;
use kubeproxy::Options;
use net::links::VethEnd;
use net::{Error, Links, NetNs};
use runtime::{ComponentKind, Health, WorkerReport};
use serde_json::{Value, json};
use store::Store;
use testkit::{in_ns, netns, wait_for};
use tokio::io::AsyncWriteExt;
use tokio::sync::{oneshot, watch};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// For what is answered at once, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
pub(crate) const OUTSIDE: &str = "10.1.0.1";
pub(crate) const W1: &str = "10.0.0.3";
pub(crate) const W2: &str = "10.0.0.4";

/// Runs a program in a namespace; gives what it prints.
pub(crate) fn output(ns: &NetNs, program: &str, arguments: &[&str]) -> String {
    let output = ns.run(|| Ok::<_, Error>(Command::new(program).args(arguments).output().unwrap())).unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) struct Lab {
    pub(crate) store: Store,
    pub(crate) w1: Worker,
    pub(crate) w2: Worker,
    pub(crate) outside: NetNs,
    servers: tokio::runtime::Runtime,
    stamps: AtomicU32,
    _underlay: NetNs,
}

pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) ns: NetNs,
    pub(crate) address: Ipv4Addr,
    pods: Ipv4Network,
    count: u32,
    proxy: Option<Proxy>,
}

struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    board: watch::Receiver<WorkerReport>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ns: NetNs,
    pub(crate) address: Ipv4Addr,
    pub(crate) node: &'static str,
}

impl Lab {
    /// With a proxy on both workers.
    pub(crate) fn new() -> Self {
        let mut lab = Self::without_proxies();
        lab.start_proxies();
        lab
    }

    pub(crate) fn without_proxies() -> Self {
        let underlay = netns();
        let bridge = in_ns(&underlay, async {
            let links = Links::open()?;
            links.add_bridge("t0", 1500).await?;
            Ok::<_, Error>(links.get("t0").await?.index)
        })
        .unwrap();
        let node = |port: &str, address: &str| node(&underlay, bridge, port, address.parse().unwrap());
        let worker = |name, address: &str, pods: &str| {
            let ns = node(name, address);
            write(&ns, "net/ipv4/ip_forward", "1");
            Worker {
                name,
                address: address.parse().unwrap(),
                pods: pods.parse().unwrap(),
                ns,
                count: 1,
                proxy: None,
            }
        };
        let (w1, w2) = (worker("w1", W1, "11.10.0.0/20"), worker("w2", W2, "11.10.16.0/20"));
        let outside = node("outside", OUTSIDE);
        w1.bridge();
        w2.bridge();
        route(&w1.ns, w2.pods, w2.address);
        route(&w2.ns, w1.pods, w1.address);
        // A process of a worker needs a way to the services, for the rules see only what has one.
        let anywhere = "0.0.0.0/0".parse().unwrap();
        route(&w1.ns, anywhere, OUTSIDE.parse().unwrap());
        route(&w2.ns, anywhere, OUTSIDE.parse().unwrap());
        route(&outside, "100.64.0.0/16".parse().unwrap(), w1.address);
        route(&outside, "192.0.2.0/24".parse().unwrap(), w1.address);
        let servers =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stamps = AtomicU32::new(0);
        Self { store: Store::memory(), w1, w2, outside, servers, stamps, _underlay: underlay }
    }

    pub(crate) fn start_proxies(&mut self) {
        self.w1.start_proxy(&self.store);
        self.w2.start_proxy(&self.store);
    }

    /// A pod that answers on TCP and UDP port 8080 with its name and the client's address.
    pub(crate) fn pod(&mut self, worker: u8, name: &str) -> Pod {
        let pod = match worker {
            1 => self.w1.pod(name),
            _ => self.w2.pod(name),
        };
        self.serve(&pod.ns, SocketAddr::new(pod.address.into(), 8080), name);
        pod
    }

    fn serve(&self, ns: &NetNs, at: SocketAddr, name: &str) {
        let bind = || {
            let tcp = std::net::TcpListener::bind(at).map_err(|e| Error::sys("bind", e))?;
            let udp = UdpSocket::bind(at).map_err(|e| Error::sys("bind", e))?;
            tcp.set_nonblocking(true).and_then(|()| udp.set_nonblocking(true)).unwrap();
            Ok::<_, Error>((tcp, udp))
        };
        let (tcp, udp) = ns.run(bind).unwrap();
        let (name, again) = (name.to_owned(), name.to_owned());
        self.servers.spawn(async move {
            let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
            loop {
                let Ok((mut stream, from)) = tcp.accept().await else { continue };
                let answer = format!("{name} {}", from.ip());
                tokio::spawn(async move {
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        self.servers.spawn(async move {
            let udp = tokio::net::UdpSocket::from_std(udp).unwrap();
            let mut buffer = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut buffer).await {
                let _ = udp.send_to(format!("{again} {}", from.ip()).as_bytes(), from).await;
            }
        });
    }

    /// Lets a pod say back on TCP port 8081 whatever is said to it.
    pub(crate) fn echo(&self, pod: &Pod) {
        let at = (pod.address, 8081);
        let bind = || {
            let listener = std::net::TcpListener::bind(at).map_err(|e| Error::sys("bind", e))?;
            listener.set_nonblocking(true).unwrap();
            Ok::<_, Error>(listener)
        };
        let listener = pod.ns.run(bind).unwrap();
        self.servers.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
    }

    /// Stores a document, as if it had come through the API server.
    pub(crate) fn apply(&self, mut document: Value) {
        let info = kinds::of(&document).unwrap();
        let text = |document: &Value, field: &str| document["metadata"][field].as_str().unwrap().to_owned();
        if info.namespaced {
            document["metadata"]["namespace"] = "default".into();
        }
        let name = text(&document, "name");
        let number = self.stamps.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp { uid: format!("0190a7b8-1234-7abc-8def-{number:012}"), now: api::time::now() };
        self.servers.block_on(async {
            let status = document.get("status").cloned();
            match self.store.get_raw(info, "default", &name).await.unwrap() {
                Some(old) => {
                    let mut new = admit::update_any(info, &document, &old).unwrap_or_else(|e| panic!("{e}"));
                    if let Some(status) = status {
                        new["status"] = status;
                    }
                    self.store.update_raw(info, &mut new).await.unwrap();
                }
                None => {
                    let mut new =
                        admit::create_any(info, &document, &stamp).unwrap_or_else(|e| panic!("{e}"));
                    if let Some(status) = status {
                        new["status"] = status;
                    }
                    self.store.create_raw(info, &mut new).await.unwrap();
                }
            }
        });
    }

    /// Waits for something of the store.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.servers.block_on(future)
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let info = kinds::by_name(kind).unwrap();
        self.servers.block_on(self.store.delete_raw(info, "default", name, None)).unwrap();
    }

    /// A service of port 80 with its slice, both as given by their `spec` and endpoints.
    pub(crate) fn service(&self, name: &str, spec: Value, pods: &[&Pod]) {
        let mut spec = spec;
        if spec["ports"].is_null() {
            spec["ports"] = json!([{"port": 80, "targetPort": 8080}]);
        }
        let document =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        self.apply(document);
        self.endpoints(name, pods);
    }

    /// The pods behind a service, all of them ready, for each port on 8080.
    pub(crate) fn endpoints(&self, name: &str, pods: &[&Pod]) {
        self.slice(name, pods.iter().map(|pod| endpoint(pod)).collect());
    }

    pub(crate) fn slice(&self, name: &str, endpoints: Vec<Value>) {
        self.slice_on(name, 8080, endpoints);
    }

    /// The same with another port of the pods.
    pub(crate) fn slice_on(&self, name: &str, number: u16, endpoints: Vec<Value>) {
        let service =
            self.servers.block_on(self.store.get_raw(&kinds::SERVICES, "default", name)).unwrap().unwrap();
        let ports = service["spec"]["ports"].as_array().unwrap().iter();
        let ports: Vec<_> = ports
            .map(|port| json!({"name": port["name"].as_str().unwrap_or_default(), "port": number, "protocol": port["protocol"]}))
            .collect();
        self.apply(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-abcde"), "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }));
    }
}

/// Service number `n` and its slice, as they are stored.
pub(crate) fn numbered(n: u32, endpoints: u32) -> (Value, Value) {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 1)) + n);
    let name = format!("svc-{n}");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        },
    });
    let endpoint = |k: u32| {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(11, 10, 0, 2)) + n * endpoints + k);
        json!({
            "addresses": [ip], "nodeName": format!("w{}", k + 1),
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("{name}-{k}")},
        })
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{name}-x"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
    });
    (service, slice)
}

/// A pod as a slice has it.
pub(crate) fn endpoint(pod: &Pod) -> Value {
    json!({
        "addresses": [pod.address.to_string()], "nodeName": pod.node,
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": pod.name},
    })
}

fn write(ns: &NetNs, path: &str, text: &str) {
    ns.run(|| std::fs::write(format!("/proc/sys/{path}"), text).map_err(|e| Error::sys(path, e))).unwrap();
}

fn route(ns: &NetNs, to: Ipv4Network, via: Ipv4Addr) {
    in_ns(ns, async {
        let links = Links::open()?;
        let index = links.get("eth0").await?.index;
        links.add_route(to, Some(via), index).await
    })
    .unwrap();
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

impl Worker {
    fn nth(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pods.network()) + n)
    }

    fn bridge(&self) {
        in_ns(&self.ns, async {
            let links = Links::open()?;
            links.add_bridge("cni0", 1500).await?;
            let bridge = links.get("cni0").await?.index;
            links.add_address(bridge, Ipv4Network::new(self.nth(1), self.pods.prefix()).unwrap()).await
        })
        .unwrap();
    }

    fn pod(&mut self, name: &str) -> Pod {
        self.count += 1;
        let address = self.nth(self.count);
        let ns = netns();
        in_ns(&self.ns, async {
            let links = Links::open()?;
            let bridge = links.get("cni0").await?.index;
            let near = VethEnd { name, alias: "" };
            let far = VethEnd { name: "eth0", alias: "" };
            links.add_veth(near, Some(bridge), far, Some(&ns), 1500).await
        })
        .unwrap();
        // What comes from a port has to get back there, as with the plugin's `hairpinMode`.
        output(&self.ns, "bridge", &["link", "set", "dev", name, "hairpin", "on"]);
        in_ns(&ns, async {
            let links = Links::open()?;
            let index = links.get("eth0").await?.index;
            links.add_address(index, Ipv4Network::new(address, self.pods.prefix()).unwrap()).await?;
            links.set_up("eth0", true).await?;
            links.add_route("0.0.0.0/0".parse().unwrap(), Some(self.nth(1)), index).await
        })
        .unwrap();
        Pod { name: name.into(), ns, address, node: self.name }
    }

    /// The address of `cni0`.
    pub(crate) fn gateway(&self) -> String {
        self.nth(1).to_string()
    }

    pub(crate) fn start_proxy(&mut self, store: &Store) {
        self.start_proxy_with(store, Duration::from_secs(60));
    }

    pub(crate) fn start_proxy_with(&mut self, store: &Store, resync: Duration) {
        self.launch(store, resync);
        self.wait_until(true, "");
    }

    /// One that has a reason not to be ready.
    pub(crate) fn start_proxy_unready(&mut self, store: &Store) {
        self.launch(store, Duration::from_secs(60));
    }

    fn launch(&mut self, store: &Store, resync: Duration) {
        let health = Health::default();
        health.announce(kubeproxy::COMPONENT, ComponentKind::Builtin, "0");
        let board = health.watch();
        let (stop, stopped) = oneshot::channel();
        let (pods, services) = ("11.0.0.0/8".parse().unwrap(), "100.64.0.0/16".parse().unwrap());
        let options = Options { resync, ..Options::new(self.name, self.address.into(), pods, services) };
        let (ns, store) = (self.ns.try_clone().unwrap(), store.clone());
        let thread = std::thread::spawn(move || {
            ns.enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = kubeproxy::run(options, store, health) => {}
                    _ = stopped => {}
                }
            });
        });
        self.proxy = Some(Proxy { stop: Some(stop), thread: Some(thread), board });
    }

    pub(crate) fn stop_proxy(&mut self) {
        self.proxy = None;
    }

    /// What the proxy says of itself.
    pub(crate) fn said(&self) -> (bool, String) {
        let board = self.proxy.as_ref().unwrap().board.borrow();
        let status = &board.components[kubeproxy::COMPONENT];
        (status.ready, status.message.clone())
    }

    pub(crate) fn wait_until(&self, ready: bool, message: &str) {
        wait_for(&format!("{}: {message}", self.name), LIMIT, || match self.said() {
            (is, said) if is == ready && said.contains(message) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// The table, as nft lists it.
    pub(crate) fn listing(&self) -> String {
        output(&self.ns, "nft", &["list", "table", "ip", "kube-proxy"])
    }

    /// Waits until the table says something, or does not.
    pub(crate) fn wait_for_listing(&self, text: &str, there: bool) {
        wait_for(&format!("{}: {text} is {there}", self.name), LIMIT, || {
            // Before the first sync there is no table.
            let listing = output(&self.ns, "nft", &["list", "ruleset"]);
            if listing.contains(text) == there { Ok(()) } else { Err(listing) }
        });
    }
}

fn address(at: &str) -> SocketAddr {
    at.parse().unwrap()
}

/// Connects; gives what the server says.
pub(crate) fn tcp(ns: &NetNs, at: &str) -> Result<String, std::io::ErrorKind> {
    tcp_many(ns, at, 1).pop().unwrap()
}

/// Connects so many times, one after the other, up to the first that fails.
pub(crate) fn tcp_many(ns: &NetNs, at: &str, count: usize) -> Vec<Result<String, std::io::ErrorKind>> {
    let to = address(at);
    let once = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let many = || {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(once().map_err(|e: std::io::Error| e.kind()));
            if answers.last().is_some_and(Result::is_err) {
                break;
            }
        }
        Ok::<_, Error>(answers)
    };
    ns.run(many).unwrap()
}

/// A connection to who says everything back.
pub(crate) fn talk(ns: &NetNs, at: &str) -> TcpStream {
    let to = address(at);
    let connect = || TcpStream::connect_timeout(&to, LIMIT).map_err(|e| Error::sys("connect", e));
    let stream = ns.run(connect).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Says something; gives as much of an answer.
pub(crate) fn say(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Who answers how often.
pub(crate) fn counts(answers: Vec<Result<String, std::io::ErrorKind>>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let text = answer.unwrap();
        let name = text.split(' ').next().unwrap().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// A socket that has a peer.
pub(crate) fn udp(ns: &NetNs, at: &str) -> UdpSocket {
    let to = address(at);
    let socket = ns
        .run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(to).unwrap();
            Ok::<_, Error>(socket)
        })
        .unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks; gives what is answered.
pub(crate) fn ask(socket: &UdpSocket) -> Result<String, std::io::ErrorKind> {
    let mut buffer = [0; 64];
    let answer = socket.send(b"?").and_then(|_| socket.recv(&mut buffer));
    answer.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()).map_err(|e| e.kind())
}

/// Whether a ping is answered.
pub(crate) fn ping(ns: &NetNs, to: &str) -> bool {
    let to: Ipv4Addr = to.parse().unwrap();
    ns.run(|| net::ping::ping_all(&[to], Duration::from_millis(500))).unwrap()[0].is_some()
}

/// The address of an answer's client.
pub(crate) fn client(answer: &str) -> IpAddr {
    answer.rsplit(' ').next().unwrap().parse().unwrap()
}
