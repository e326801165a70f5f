//! The connection to a shim.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::State;
use crate::error::{Error, Result};
use crate::protocol::{ContainerState, Event, Outcome, Process, Request, encode, take_lines};

/// A shim answers at once, but for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said to the shim, and who waits for an answer.
type Message = (Request, Option<(u64, oneshot::Sender<Outcome>)>);

/// A connection, and the task that serves it.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    requests: Requests,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Hears the shim's first word, and keeps listening.
    pub(super) async fn open(name: &str, socket: std::os::unix::net::UnixStream) -> Result<Self> {
        let failed = |e| Error::file("talk to the shim of", name, e);
        socket.set_nonblocking(true).map_err(failed)?;
        let mut shim = Shim { socket: UnixStream::from_std(socket).map_err(failed)?, buffer: Vec::new() };
        let first = tokio::time::timeout(PATIENCE, shim.events()).await;
        let events = first.map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
        let mut state = State { alive: true, containers: BTreeMap::new() };
        let mut events = events.into_iter();
        match events.next() {
            Some(Event::Hello { error: None, containers }) => {
                for container in containers {
                    state.containers.entry(container.name.clone()).or_default().push(container);
                }
            }
            Some(Event::Hello { error: Some(message), .. }) => {
                return Err(Error::Setup { name: name.into(), message });
            }
            _ => return Err(Error::Ended(name.into())),
        }
        let state = watch::Sender::new(state);
        let (sender, receiver) = mpsc::unbounded_channel();
        let requests = Requests { name: name.into(), sender, next: Arc::default() };
        let receiver_of_state = state.subscribe();
        let task = tokio::spawn(async move {
            let mut waiting = HashMap::new();
            for event in events {
                take(event, &state, &mut waiting);
            }
            serve(shim, receiver, &state, waiting).await;
            state.send_modify(|state| state.alive = false);
        });
        Ok(Self { state: receiver_of_state, requests, task })
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    pub(super) fn send(&self, request: Request) {
        // Whoever has ended shows that in the state.
        let _ = self.requests.sender.send((request, None));
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    name: Arc<str>,
    sender: mpsc::UnboundedSender<Message>,
    next: Arc<AtomicU64>,
}

impl Requests {
    pub(super) async fn run(&self, container: &str, process: Process, limit: Duration) -> Result<Outcome> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (sender, receiver) = oneshot::channel();
        let ended = || Error::Ended(self.name.to_string());
        let request = Request::Run { id, container: container.into(), process, limit_ms };
        self.sender.send((request, Some((id, sender)))).map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())
    }
}

/// The shim's end.
struct Shim {
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl Shim {
    /// The next events, at least one; none when the shim has ended. May be dropped at any time.
    async fn events(&mut self) -> std::io::Result<Vec<Event>> {
        loop {
            let events = take_lines(&mut self.buffer).map_err(std::io::Error::from)?;
            if !events.is_empty() || self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Ok(events);
            }
        }
    }
}

async fn serve(
    mut shim: Shim,
    mut requests: mpsc::UnboundedReceiver<Message>,
    state: &watch::Sender<State>,
    mut waiting: HashMap<u64, oneshot::Sender<Outcome>>,
) {
    loop {
        tokio::select! {
            events = shim.events() => match events {
                Ok(events) if !events.is_empty() => {
                    for event in events {
                        take(event, state, &mut waiting);
                    }
                }
                _ => return,
            },
            Some((request, asker)) = requests.recv() => {
                waiting.extend(asker);
                if shim.socket.write_all(&encode(&request)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn take(event: Event, state: &watch::Sender<State>, waiting: &mut HashMap<u64, oneshot::Sender<Outcome>>) {
    match event {
        Event::Container(container) => state.send_modify(|state| record(state, container)),
        Event::Ran { id, outcome } => {
            if let Some(asker) = waiting.remove(&id) {
                // He may have given up.
                let _ = asker.send(outcome);
            }
        }
        Event::Hello { .. } | Event::Namespaces { .. } => {}
    }
}

/// As the shim records it.
fn record(state: &mut State, container: ContainerState) {
    let runs = state.containers.entry(container.name.clone()).or_default();
    runs.retain(|run| run.attempt != container.attempt);
    runs.push(container);
    if runs.len() > 2 {
        runs.remove(0);
    }
}
