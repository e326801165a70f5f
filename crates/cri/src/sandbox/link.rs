//! The connection to a shim.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::process::Process as ShimProcess;
use super::{PATIENCE, Places, State};
use crate::error::{Error, Result};
use crate::protocol::{ContainerState, Event, LONGEST, Outcome, Process, Request, encode, take_lines};

/// How long a connection that broke is left alone.
const AGAIN: Duration = Duration::from_millis(100);

/// What is said to the shim, and who waits for an answer.
type Message = (Request, Option<(u64, oneshot::Sender<Outcome>)>);

type Waiting = HashMap<u64, oneshot::Sender<Outcome>>;

/// A connection on which the shim's first word was heard.
pub(super) struct Greeting {
    shim: Shim,
    containers: Vec<ContainerState>,
    /// What it said right after.
    events: std::vec::IntoIter<Event>,
}

/// Hears the shim's first word.
pub(super) async fn greet(
    name: &str,
    socket: std::os::unix::net::UnixStream,
    limit: Duration,
) -> Result<Greeting> {
    let failed = |e| Error::file("talk to the shim of", name, e);
    socket.set_nonblocking(true).map_err(failed)?;
    let mut shim = Shim { socket: UnixStream::from_std(socket).map_err(failed)?, buffer: Vec::new() };
    let first = tokio::time::timeout(limit, shim.events()).await;
    let events = first.map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    let mut events = events.into_iter();
    match events.next() {
        Some(Event::Hello { error: None, containers }) => Ok(Greeting { shim, containers, events }),
        Some(Event::Hello { error: Some(message), .. }) => Err(Error::Setup { name: name.into(), message }),
        _ => Err(Error::Ended(name.into())),
    }
}

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
    /// Keeps listening, on another connection if this one breaks, until the shim has ended.
    pub(super) fn keep(name: &str, greeting: Greeting, process: ShimProcess, places: Places) -> Self {
        let state = watch::Sender::new(State { alive: true, containers: BTreeMap::new() });
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let seen = state.subscribe();
        let requests = Requests { name: name.into(), sender, next: Arc::default(), state: seen.clone() };
        let name = name.to_owned();
        let mut waiting = Waiting::new();
        let shim = resume(greeting, &state, &mut waiting);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = process.ended() => {}
                () = converse(&name, &places, shim, &mut receiver, &state, &mut waiting) => {}
            }
            // Before those who wait are told that nothing comes.
            state.send_modify(|state| state.alive = false);
        });
        Self { state: seen, requests, task }
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

/// Takes over what the shim said on a new connection.
fn resume(greeting: Greeting, state: &watch::Sender<State>, waiting: &mut Waiting) -> Shim {
    let Greeting { shim, containers, events } = greeting;
    state.send_modify(|state| {
        state.containers.clear();
        for container in containers {
            state.containers.entry(container.name.clone()).or_default().push(container);
        }
    });
    for event in events {
        take(event, state, waiting);
    }
    shim
}

/// Talks to the shim for ever: a connection that breaks says nothing of the pod.
async fn converse(
    name: &str,
    places: &Places,
    mut shim: Shim,
    requests: &mut mpsc::UnboundedReceiver<Message>,
    state: &watch::Sender<State>,
    waiting: &mut Waiting,
) {
    loop {
        serve(&mut shim, requests, state, waiting).await;
        // The shim ends the commands of who leaves.
        waiting.clear();
        shim = loop {
            tokio::time::sleep(AGAIN).await;
            let Ok((socket, _)) = places.connect() else { continue };
            if let Ok(greeting) = greet(name, socket, PATIENCE).await {
                break resume(greeting, state, waiting);
            }
        };
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    name: Arc<str>,
    sender: mpsc::UnboundedSender<Message>,
    next: Arc<AtomicU64>,
    state: watch::Receiver<State>,
}

impl Requests {
    pub(super) async fn run(&self, container: &str, process: Process, limit: Duration) -> Result<Outcome> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (sender, receiver) = oneshot::channel();
        let ended = || match self.state.borrow().alive {
            true => Error::Lost(self.name.to_string()),
            false => Error::Ended(self.name.to_string()),
        };
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

/// Serves a connection until it breaks.
async fn serve(
    shim: &mut Shim,
    requests: &mut mpsc::UnboundedReceiver<Message>,
    state: &watch::Sender<State>,
    waiting: &mut Waiting,
) {
    loop {
        tokio::select! {
            events = shim.events() => match events {
                Ok(events) if !events.is_empty() => {
                    for event in events {
                        take(event, state, waiting);
                    }
                }
                _ => return,
            },
            Some((request, asker)) = requests.recv() => {
                waiting.extend(asker);
                let Some(line) = sayable(request, waiting) else { continue };
                if shim.socket.write_all(&line).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A request as the shim hears it; of one that is too long, that it is.
fn sayable(request: Request, waiting: &mut Waiting) -> Option<Vec<u8>> {
    let line = encode(&request);
    if line.len() <= LONGEST {
        return Some(line);
    }
    // As the kernel says of too many arguments (execve(2), E2BIG) and runc repeats.
    let message = |process: &Process| {
        format!("exec: {:?}: argument list too long", process.argv.first().map_or("", String::as_str))
    };
    match request {
        Request::Start { container, attempt, process, .. } => {
            let message = message(&process);
            Some(encode(&Request::Refuse { container, attempt, message }))
        }
        Request::Run { id, process, .. } => {
            let asker = waiting.remove(&id)?;
            // He may have given up.
            let _ = asker.send(Outcome::NotStarted { message: message(&process) });
            None
        }
        _ => None,
    }
}

fn take(event: Event, state: &watch::Sender<State>, waiting: &mut Waiting) {
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
