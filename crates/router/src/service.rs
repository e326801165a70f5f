//! The TCP side: ports that lead to addresses, and servers behind addresses (`src/adaptors/tcp/tcp_adaptor.c`).

mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::stream::Stream;
use crate::amqp::frame::Outcome;
use crate::amqp::section::{Annotations, Head, NO_Q2, OCTETS, STREAMING, put_stream};
use crate::core::{Core, Origin};
use crate::endpoint::bind;
use crate::pipe::{Pipe, Wake};

/// A port that is in use is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// A server that does not answer is given up.
const CONNECT: Duration = Duration::from_secs(5);

/// What is counted of a service.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) opened: Cell<u64>,
    pub(crate) closed: Cell<u64>,
    /// Connections that never carried anything: nobody served the address, or the server did not answer.
    pub(crate) failed: Cell<u64>,
    /// Bytes read from TCP.
    pub(crate) bytes_in: Cell<u64>,
    /// Bytes written to TCP.
    pub(crate) bytes_out: Cell<u64>,
}

fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

/// Where a TCP client waits for the stream from its server.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pipe: RefCell<Option<Rc<Pipe>>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    pub(crate) fn arrive(&self, pipe: &Rc<Pipe>) {
        let mut slot = self.pipe.borrow_mut();
        if slot.is_some() {
            // A second answer is nobody's.
            pipe.settle(Outcome::Rejected);
            return;
        }
        *slot = Some(Rc::clone(pipe));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A `tcpListener` or `tcpConnector`.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) counters: Counters,
    /// Streams on their way to this server.
    pub(crate) outstanding: Rc<Cell<u32>>,
    /// The port is open; listeners only.
    pub(crate) listening: Cell<bool>,
    /// Why it is not.
    pub(crate) trouble: RefCell<Option<String>>,
    core: Rc<Core>,
    /// Its connections; they end with it.
    streams: RefCell<JoinSet<()>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new(core: Rc<Core>, name: String, address: String, host: String, port: u16) -> Rc<Self> {
        Rc::new(Self {
            name,
            address,
            host,
            port,
            counters: Counters::default(),
            outstanding: Rc::default(),
            listening: Cell::new(false),
            trouble: RefCell::default(),
            core,
            streams: RefCell::default(),
        })
    }

    /// Ends all of its connections.
    pub(crate) fn end(&self) {
        self.streams.borrow_mut().abort_all();
    }

    fn spawn(&self, stream: impl Future<Output = ()> + 'static) {
        let mut streams = self.streams.borrow_mut();
        while streams.try_join_next().is_some() {}
        streams.spawn_local(stream);
    }

    // Listener.

    /// Listens while the address is served anywhere; runs until dropped.
    pub(crate) async fn listen(self: Rc<Self>) {
        loop {
            self.until_served(true).await;
            let socket = match bind(&self.host, self.port).await {
                Ok(socket) => socket,
                Err(error) => {
                    let trouble = format!("cannot listen on {}:{}: {error}", self.host, self.port);
                    if self.trouble.replace(Some(trouble.clone())).as_ref() != Some(&trouble) {
                        tracing::warn!(name = self.name, address = self.address, "{trouble}; trying again");
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            tracing::info!(
                name = self.name,
                address = self.address,
                "listening on {}:{}",
                self.host,
                self.port
            );
            *self.trouble.borrow_mut() = None;
            self.listening.set(true);
            tokio::select! {
                () = self.until_served(false) => {}
                () = self.accept(&socket) => {}
            }
            self.listening.set(false);
            tracing::info!(
                name = self.name,
                address = self.address,
                "nobody serves the address: port closed"
            );
        }
    }

    async fn until_served(&self, served: bool) {
        loop {
            // Registered before the look, so that no change between is missed.
            let changed = self.core.addresses_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.core.is_served(&self.address) == served {
                return;
            }
            changed.await;
        }
    }

    async fn accept(self: &Rc<Self>, socket: &TcpListener) {
        loop {
            match socket.accept().await {
                Ok((io, _)) => self.accepted(io),
                // Out of files, most likely: the clients wait in the backlog.
                Err(error) => {
                    tracing::warn!(name = self.name, %error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accepted(self: &Rc<Self>, io: TcpStream) {
        add(&self.counters.opened, 1);
        let waiting = Rc::new(Waiting::default());
        let (reply_to, reply_name) = self.core.reply_to_client(&waiting);
        let out = Pipe::new();
        let mut stream = Stream::new(io, Rc::clone(self), Rc::clone(&out));
        stream.wait_for(waiting, reply_name);
        self.route(&self.address, Some(reply_to), &out);
        self.spawn(stream.run());
    }

    /// Sends a stream that begins here on its way.
    fn route(&self, to: &str, reply_to: Option<String>, pipe: &Rc<Pipe>) {
        let mut bytes = BytesMut::with_capacity(192);
        put_stream(&mut bytes, to, reply_to.as_deref());
        let head = Head {
            annotations: Some(Annotations { flags: STREAMING | NO_Q2, ..Annotations::default() }),
            to: Some(to.to_owned()),
            reply_to,
            content_type: Some(OCTETS.to_owned()),
            body: bytes.len(),
            ..Head::default()
        };
        if let Some(outcome) = self.core.route(Origin::SELF, &head, bytes.freeze(), pipe) {
            pipe.settle(outcome);
        }
    }

    // Connector.

    /// Connects a stream from a client with the server.
    pub(crate) fn connect(self: &Rc<Self>, reply_to: Option<String>, from_client: &Rc<Pipe>) {
        let service = Rc::clone(self);
        let guard = Unanswered(Rc::clone(from_client));
        self.spawn(async move {
            let io = match service.dial().await {
                Ok(io) => io,
                Err(error) => {
                    add(&service.counters.failed, 1);
                    *service.trouble.borrow_mut() =
                        Some(format!("cannot connect to {}:{}: {error}", service.host, service.port));
                    tracing::debug!(name = service.name, %error, "the server does not answer");
                    return;
                }
            };
            *service.trouble.borrow_mut() = None;
            add(&service.counters.opened, 1);
            let (Some(reply_to), from_client) = (reply_to, guard.answer()) else { return };
            let to_client = Pipe::new();
            let mut stream = Stream::new(io, Rc::clone(&service), Rc::clone(&to_client));
            stream.answer(from_client);
            service.route(&reply_to, None, &to_client);
            stream.run().await;
        });
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(result) => result,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// A client's stream whose server has not answered: dropped, the client is told.
struct Unanswered(Rc<Pipe>);

impl Unanswered {
    fn answer(self) -> Rc<Pipe> {
        let pipe = Rc::clone(&self.0);
        std::mem::forget(self);
        pipe
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.set_consumer(Wake::None);
        self.0.settle(Outcome::Modified);
    }
}
