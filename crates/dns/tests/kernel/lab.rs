//! A server, and what asks it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use api::types::api::core::v1::{Namespace, Service};
use api::types::api::discovery::v1::EndpointSlice;
use dns::Options;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use runtime::{ComponentKind, Health};
use serde::Deserialize;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No condition takes longer, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
pub(crate) const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9153);
const CLUSTER: &str = include_str!("../../src/zone/tests/cluster.yaml");

/// Runs a test in a network namespace of its own.
pub(crate) fn alone<T: Send>(test: impl Future<Output = T> + Send) -> T {
    let ns = testkit::netns();
    // A thread of a namespace has a small stack; one that it starts is in the same namespace.
    let test = Box::pin(test);
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    };
    ns.run(|| {
        thread::scope(|scope| {
            let large = thread::Builder::new().stack_size(8 << 20);
            let thread = large.spawn_scoped(scope, run).unwrap();
            Ok::<_, net::Error>(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
    .unwrap()
}

/// Waits for something, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// A running server.
pub(crate) struct Server {
    pub(crate) health: Health,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn options() -> Options {
    Options {
        listen: vec![DNS],
        http: vec![HTTP],
        name_servers: vec!["100.64.0.10".parse().unwrap()],
        ..Options::new("cluster.local")
    }
}

impl Server {
    /// Starts one, which may not be ready yet.
    pub(crate) fn start(store: &Store, options: Options) -> Self {
        let health = Health::default();
        health.announce(dns::COMPONENT, ComponentKind::Builtin, "0");
        let (store, told) = (store.clone(), health.clone());
        let task = tokio::spawn(async move { dns::run(options, store, told).await.unwrap() });
        Self { health, task }
    }

    /// One that knows the store.
    pub(crate) async fn ready(store: &Store, options: Options) -> Self {
        let server = Self::start(store, options);
        server.until(|ready, _| ready).await;
        server
    }

    /// Waits for what it says of itself.
    pub(crate) async fn until(&self, wanted: impl Fn(bool, &str) -> bool) -> String {
        let mut board = self.health.watch();
        let report = board.wait_for(|report| {
            let status = &report.components[dns::COMPONENT];
            wanted(status.ready, &status.message)
        });
        soon("the server says so", report).await.unwrap().components[dns::COMPONENT].message.clone()
    }
}

#[derive(Deserialize)]
struct Cluster {
    namespaces: Vec<Namespace>,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
}

/// Stores the cluster of the tables of questions.
pub(crate) async fn fill(store: &Store) {
    let Cluster { namespaces, services, slices } = serde_yaml::from_str(CLUSTER).unwrap();
    for mut object in namespaces {
        store.create(&mut object).await.unwrap();
    }
    for mut object in services {
        store.create(&mut object).await.unwrap();
    }
    for mut object in slices {
        store.create(&mut object).await.unwrap();
    }
}

/// The cluster of the tables, and a server that knows it.
pub(crate) async fn cluster(options: Options) -> (Store, Server) {
    let store = Store::memory();
    fill(&store).await;
    let server = Server::ready(&store, options).await;
    (store, server)
}

pub(crate) fn service(yaml: &str) -> Service {
    serde_yaml::from_str(yaml).unwrap()
}

pub(crate) fn slice(yaml: &str) -> EndpointSlice {
    serde_yaml::from_str(yaml).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    let labels = text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    Name::from_labels(labels).unwrap()
}

pub(crate) fn query(id: u16, text: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), kind));
    message
}

/// Asks by UDP, from a socket of its own.
pub(crate) async fn udp(message: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(DNS).await.unwrap();
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let length = soon("an answer by UDP", socket.recv(&mut buffer)).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

pub(crate) async fn send(stream: &mut TcpStream, message: &Message) {
    let packet = message.to_vec().unwrap();
    stream.write_u16(packet.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&packet).await.unwrap();
}

pub(crate) async fn receive(stream: &mut TcpStream) -> Message {
    let length = soon("an answer by TCP", stream.read_u16()).await.unwrap();
    let mut packet = vec![0; length.into()];
    stream.read_exact(&mut packet).await.unwrap();
    Message::from_vec(&packet).unwrap()
}

/// Asks by TCP, on a connection of its own.
pub(crate) async fn tcp(message: &Message) -> Message {
    let mut stream = TcpStream::connect(DNS).await.unwrap();
    send(&mut stream, message).await;
    receive(&mut stream).await
}

/// The addresses of a name, or the code of the answer; in order.
pub(crate) async fn lookup(text: &str) -> String {
    let answer = udp(&query(1, text, RecordType::A)).await;
    let mut data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    if data.is_empty() { format!("{:?}", answer.metadata.response_code) } else { data.join(" ") }
}

/// Repeats a look-up until it gives that.
pub(crate) async fn until(text: &str, expected: &str) {
    let same = async {
        while lookup(text).await != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(&format!("{text} is {expected}"), same).await;
}

/// Fetches a page: its status and text.
pub(crate) async fn get(path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(HTTP).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    soon("a page", stream.read_to_string(&mut text)).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
