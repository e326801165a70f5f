//! A little cluster: a store in memory, a controller with nginx, and pods that are servers in this process,
//! all in one network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use api::admit::{self, Stamp};
use api::kinds;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{Options, Settings};
use net::Links;
use runtime::{ComponentKind, ComponentStatus, Health};
use serde_json::{Value, json};
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const NODE: &str = "C0w1";

/// Runs a test in a namespace of its own.
pub(crate) fn at_site(test: impl AsyncFnOnce(&mut Site) + Send) {
    let ns = testkit::netns();
    let in_namespace = || {
        ns.enter().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut site = Site::new().await;
            test(&mut site).await;
        });
    };
    // More of a stack than threads of namespaces have: the controller's futures are large.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, in_namespace);
        thread.unwrap().join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) health: Health,
    links: Links,
    addresses: BTreeSet<Ipv4Addr>,
    pods: BTreeMap<String, Pod>,
    controller: JoinSet<()>,
    made: i64,
}

struct Pod {
    address: Ipv4Addr,
    server: JoinSet<()>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The pod that answered.
    pub(crate) fn pod(&self) -> &str {
        self.field("pod").unwrap_or_default()
    }

    /// A line of what a pod tells of the request: `path`, `method`, or a header's name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Site {
    async fn new() -> Self {
        let health = Health::default();
        health.announce(ingress::COMPONENT, ComponentKind::Real, "1");
        Self {
            store: Store::memory(),
            folder: tempfile::tempdir().unwrap(),
            health,
            links: Links::open().unwrap(),
            addresses: BTreeSet::new(),
            pods: BTreeMap::new(),
            controller: JoinSet::new(),
            made: 0,
        }
    }

    pub(crate) fn options(&self) -> Options {
        let folder = self.folder.path().join("ingress");
        Options { stay: false, ..Options::new(Settings::new(NODE), IpAddr::from([10, 0, 0, 3]), folder) }
    }

    /// Starts the controller.
    pub(crate) fn start(&mut self) {
        let options = self.options();
        self.start_with(options);
    }

    pub(crate) fn start_with(&mut self, options: Options) {
        let (store, health) = (self.store.clone(), self.health.clone());
        // On this very thread: in the namespace.
        self.controller.spawn(ingress::run(options, store, health));
    }

    /// Stores objects as the API server would; those that are there are changed.
    pub(crate) async fn apply(&mut self, documents: &str) {
        for text in documents.split("\n---\n") {
            self.put(serde_yaml::from_str(text).unwrap()).await;
        }
    }

    pub(crate) async fn put(&mut self, mut document: Value) {
        let info = kinds::of(&document).unwrap();
        if info.namespaced && document["metadata"]["namespace"].is_null() {
            document["metadata"]["namespace"] = "default".into();
        }
        let text = |key: &str| document["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        loop {
            let old = self.store.get_raw(info, &namespace, &name).await.unwrap();
            let Some(old) = old else { break };
            let mut object = admit::update_any(info, &document, &old).unwrap();
            match self.store.update_raw(info, &mut object).await {
                Err(store::Error::Conflict { .. }) => continue,
                result => return result.unwrap(),
            }
        }
        self.made += 1;
        let now = api::types::jiff::Timestamp::from_second(1_700_000_000 + self.made).unwrap();
        let now = api::types::apimachinery::pkg::apis::meta::v1::Time(now);
        let stamp = Stamp { uid: store::new_uid(), now };
        let mut object = admit::create_any(info, &document, &stamp).unwrap_or_else(|e| panic!("{e}"));
        self.store.create_raw(info, &mut object).await.unwrap();
    }

    pub(crate) async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let info = kinds::by_name(kind).unwrap();
        self.store.delete_raw(info, namespace, name, None).await.unwrap();
    }

    pub(crate) async fn get_object(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let info = kinds::by_name(kind).unwrap();
        self.store.get_raw(info, namespace, name).await.unwrap().unwrap()
    }

    /// The events of an object, as `reason: message`.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let events = self.store.list::<api::types::api::core::v1::Event>(None).await.unwrap();
        let of = events.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        of.map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }

    /// A pod that answers with its name and what it was asked.
    pub(crate) async fn pod(&mut self, name: &str, address: [u8; 4]) {
        let address = self.address(address).await;
        let listener = TcpListener::bind(SocketAddr::from((address, 8000))).await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, name.to_owned()));
        self.pods.insert(name.into(), Pod { address, server });
    }

    /// A pod that speaks HTTP/2 without TLS, as gRPC has it.
    pub(crate) async fn grpc_pod(&mut self, name: &str, address: [u8; 4]) {
        let address = self.address(address).await;
        let listener = TcpListener::bind(SocketAddr::from((address, 8000))).await.unwrap();
        let (pod, mut server) = (name.to_owned(), JoinSet::new());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let pod = pod.clone();
                connections.spawn(async move {
                    let answer = service_fn(move |request| {
                        let pod = pod.clone();
                        async move { answer(&pod, request).await }
                    });
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        self.pods.insert(name.into(), Pod { address, server });
    }

    async fn address(&mut self, address: [u8; 4]) -> Ipv4Addr {
        let address = Ipv4Addr::from(address);
        if self.addresses.insert(address) {
            let lo = self.links.get("lo").await.unwrap().index;
            let network = ipnetwork::Ipv4Network::new(address, 32).unwrap();
            self.links.add_address(lo, network).await.unwrap();
        }
        address
    }

    /// A pod is gone at once, with all of its connections.
    pub(crate) async fn kill_pod(&mut self, name: &str) {
        self.pods.remove(name).unwrap().server.shutdown().await;
    }

    /// A service with a port `http`, and these pods behind it, all ready.
    pub(crate) async fn service(&mut self, name: &str, port: u16, pods: &[&str]) {
        self.service_in("default", name, port, pods).await;
    }

    pub(crate) async fn service_in(&mut self, namespace: &str, name: &str, port: u16, pods: &[&str]) {
        self.service_of(namespace, name, "None", port, pods).await;
    }

    /// A service with an address of its own.
    pub(crate) async fn service_at(&mut self, name: &str, address: &str, port: u16, pods: &[&str]) {
        self.service_of("default", name, address, port, pods).await;
    }

    async fn service_of(&mut self, namespace: &str, name: &str, address: &str, port: u16, pods: &[&str]) {
        self.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "clusterIPs": [address],
                     "ports": [{"port": port, "name": "http", "targetPort": 8000}]},
        }))
        .await;
        let endpoint = |pod: &&str| {
            let address = self.pods[*pod].address.to_string();
            json!({"addresses": [address], "conditions": {"ready": true},
                   "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod}})
        };
        let endpoints: Vec<_> = pods.iter().map(endpoint).collect();
        self.put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-abcde"), "namespace": namespace,
                         "labels": {"kubernetes.io/service-name": name}},
            "endpoints": endpoints, "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        }))
        .await;
    }

    /// A secret with a certificate of `tests/tls`.
    pub(crate) async fn secret(&mut self, name: &str, certificate: &str, key: &str) {
        let read = |file: &str| std::fs::read(tls_file(file)).unwrap();
        let encode = |data: Vec<u8>| serde_json::to_value(api::types::ByteString(data)).unwrap();
        self.put(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
            "data": {"tls.crt": encode(read(certificate)), "tls.key": encode(read(key))},
        }))
        .await;
    }

    /// How the component is.
    pub(crate) fn board(&self) -> ComponentStatus {
        self.health.watch().borrow().components[ingress::COMPONENT].clone()
    }

    pub(crate) async fn until<T, F: Future<Output = Result<T, String>>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
    ) -> T {
        until(what, &mut look, || format!("{:?}", self.board())).await
    }

    /// Waits until a request is answered by one of these pods.
    pub(crate) async fn until_from(&self, host: &str, path: &str, pods: &[&str]) -> Answer {
        self.until(&format!("{host}{path} from {pods:?}"), || async {
            match get(host, path).await {
                Ok(answer) if pods.contains(&answer.pod()) => Ok(answer),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    pub(crate) async fn until_status(&self, host: &str, path: &str, status: u16) -> Answer {
        self.until(&format!("{host}{path} has status {status}"), || async {
            match get(host, path).await {
                Ok(answer) if answer.status == status => Ok(answer),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }
}

async fn until<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    look: &mut impl FnMut() -> F,
    more: impl Fn() -> String,
) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(state) if began.elapsed() > LIMIT => panic!("{what}: in the end {state}\n{}", more()),
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn serve(listener: TcpListener, name: String) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let name = name.clone();
        connections.spawn(async move {
            let answer = service_fn(|request| answer(&name, request));
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), answer).with_upgrades().await;
        });
    }
}

/// Says back what it hears, over what the connection was upgraded to.
fn upgrade(request: Request<Incoming>) -> Response<Full<Bytes>> {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let response =
        Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    response.body(Full::default()).unwrap()
}

async fn answer(pod: &str, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key("upgrade") {
        return Ok(upgrade(request));
    }
    let (head, body) = request.into_parts();
    if let Some(milliseconds) = head.uri.path().strip_prefix("/delay/") {
        sleep(Duration::from_millis(milliseconds.parse().unwrap())).await;
    }
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("pod={pod}\nmethod={}\npath={path}\nbody={}\n", head.method, body.len());
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}={}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if let Some(status) = head.uri.path().strip_prefix("/status/") {
        *response.status_mut() = status.parse().unwrap();
    }
    response.headers_mut().insert("x-pod", pod.parse().unwrap());
    Ok(response)
}

/// Asks port 80 of this host.
pub(crate) async fn get(host: &str, path: &str) -> Result<Answer, String> {
    send(80, Request::get(path).header("host", host).body(Full::default()).unwrap()).await
}

/// Asks another port.
pub(crate) async fn get_at(port: u16, path: &str) -> Result<Answer, String> {
    send(port, Request::get(path).header("host", "localhost").body(Full::default()).unwrap()).await
}

/// Sends a request over a connection of its own.
pub(crate) async fn send(port: u16, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    Connection::open(port).await?.send(request).await
}

/// A connection that is kept.
pub(crate) struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|e| e.to_string())?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.sender.send_request(request).await.map_err(|e| format!("{e:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
        let mut headers = BTreeMap::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers
                .entry(name.to_string())
                .and_modify(|all: &mut String| {
                    all.push_str(", ");
                    all.push_str(&value);
                })
                .or_insert(value);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: head.status.as_u16(), headers, body })
    }
}

fn tls_file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// A request with headers.
pub(crate) async fn ask(host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(80, request.body(Full::default()).unwrap()).await.unwrap()
}

/// Asks port 443 of this host, trusting a certificate of `tests/tls`; what curl says if that fails.
pub(crate) async fn https(host: &str, path: &str, trusted: &str) -> Result<String, String> {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
        .arg(tls_file(trusted))
        .args(["--resolve", &format!("{host}:443:127.0.0.1"), &format!("https://{host}{path}")])
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
