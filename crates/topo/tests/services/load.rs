//! Clients that ask a service without a pause, from a worker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use net::NetNs;

/// No answer takes longer, unless it is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By answer.
    pub(crate) answers: BTreeMap<String, usize>,
    pub(crate) failures: Vec<String>,
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// In the network namespace of a process: some clients that connect anew for each request, and as many
    /// that keep their connection as long as the server does.
    pub(crate) fn start(process: i64, service: &str, each: usize) -> Self {
        let service: SocketAddr = service.parse().unwrap();
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |keep: bool| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let ns = NetNs::open(format!("/proc/{process}/ns/net")).unwrap();
            std::thread::spawn(move || {
                let all = ns.run(|| Ok::<_, net::Error>(ask_on(service, keep, &stop, &answered)));
                all.unwrap()
            })
        };
        let clients = (0..2 * each).map(|number| client(number % 2 == 0)).collect();
        Self { stop, answered, clients }
    }

    /// How many answers there have been.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let one = client.join().unwrap();
            all.failures.extend(one.failures);
            for (answer, count) in one.answers {
                *all.answers.entry(answer).or_default() += count;
            }
        }
        all
    }
}

fn ask_on(service: SocketAddr, keep: bool, stop: &AtomicBool, answered: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        match ask(service, connection.take(), keep) {
            Ok((answer, kept)) => {
                answered.fetch_add(1, Ordering::Relaxed);
                *tally.answers.entry(answer).or_default() += 1;
                connection = kept;
            }
            Err(why) => tally.failures.push(why),
        }
    }
    tally
}

/// One request; gives the answer's body, and the connection if it is to be used again.
fn ask(
    service: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
    keep: bool,
) -> Result<(String, Option<BufReader<TcpStream>>), String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut connection = match kept {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect_timeout(&service, PATIENCE).map_err(said("connect"))?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(said("set up"))?;
            stream.set_nodelay(true).map_err(said("set up"))?;
            BufReader::new(stream)
        }
    };
    let wish = if keep { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: web\r\nConnection: {wish}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).map_err(said("send"))?;
    let (mut length, mut again, mut status) = (0, keep, String::new());
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).map_err(said("read"))?;
        let line = line.to_ascii_lowercase();
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(|_| line.clone())?,
            Some(("connection", value)) => again &= value != "close",
            Some(_) => {}
            None if line.starts_with("http/1.1 ") => status = line,
            None if line == "\r\n" => break,
            None => return Err(format!("no answer but {line:?}")),
        }
    }
    if !status.starts_with("http/1.1 200 ") {
        return Err(status);
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).map_err(said("read the body"))?;
    Ok((String::from_utf8_lossy(&body).trim().to_owned(), again.then_some(connection)))
}
