//! `agnhost netexec`: a web server with an end for everything that a test of the network asks.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{not_found, redirect};
use crate::duration::GoDuration;
use crate::flags::{Flags, Kind};
use crate::server::{Answer, Server, Signals, Site, Visit, block_on, text, told_to_end};
use crate::{Error, datagrams, fetch, listen, names};

/// How long somebody who is dialled may take.
const DIAL: Duration = Duration::from_secs(5);
/// How often one request may dial.
const TRIES: u32 = 1000;

pub(super) fn run(args: &[String]) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("http-port", Kind::Value), ("udp-port", Kind::Value)])?;
    flags.no_more()?;
    let http = listen::any(flags.value("http-port", 8080)?);
    // -1 is none.
    let udp = match flags.text("udp-port") {
        Some("-1") => None,
        _ => Some(listen::any(flags.value("udp-port", 8081)?)),
    };
    let host = names::host();
    let exit = Arc::new(Exit::default());
    block_on(async {
        let signal = told_to_end(Signals::Graceful)?;
        let mut sinks = JoinSet::new();
        if let Some(udp) = udp {
            let host = host.clone();
            let answer = move |asked: &[u8], client| answer_datagram(&host, asked, client);
            sinks.spawn(datagrams::serve(listen::udp(udp)?, answer));
        }
        let site = Arc::new(Netexec { host, exit: exit.clone() });
        let server = Server { listener: listen::tcp(http)?, site, log: true };
        let end = async {
            tokio::select! {
                graceful = signal => graceful,
                () = exit.asked.notified() => true,
            }
        };
        server.run(end).await;
        Ok(ExitCode::from(exit.code.load(Ordering::Relaxed)))
    })
}

/// The words that are answered; others are not.
fn answer_datagram(host: &str, asked: &[u8], client: SocketAddr) -> Option<Vec<u8>> {
    let asked = String::from_utf8_lossy(asked);
    let asked = asked.trim();
    let (word, rest) = asked.split_once(' ').unwrap_or((asked, ""));
    match word.to_ascii_lowercase().as_str() {
        "hostname" => Some(host.into()),
        "clientip" => Some(client.to_string().into()),
        "echo" => Some(rest.into()),
        _ => {
            let _ = writeln!(io::stderr(), "datagram from {client}: unknown command {asked:?}");
            None
        }
    }
}

/// A client's wish that this program end.
#[derive(Debug, Default)]
struct Exit {
    asked: Notify,
    code: AtomicU8,
}

struct Netexec {
    host: String,
    exit: Arc<Exit>,
}

impl Site for Netexec {
    async fn answer(&self, visit: &Visit) -> Answer {
        let ok = |words: String| text(StatusCode::OK, words);
        match visit.path() {
            "/" => ok(format!("NOW: {}", Timestamp::now())),
            "/clientip" => ok(visit.client.remote.to_string()),
            "/hostname" | "/hostName" => ok(self.host.clone()),
            "/healthz" => ok(String::new()),
            "/echo" => echo(visit),
            "/header" => header(visit),
            "/redirect" => {
                let status = code(visit, StatusCode::FOUND);
                status.map_or_else(refused, |status| {
                    redirect(&visit.query("location").unwrap_or_default(), status)
                })
            }
            "/dial" => dial(visit).await.unwrap_or_else(refused),
            "/exit" => self.leave(visit).unwrap_or_else(refused),
            "/shutdown" => std::process::exit(0),
            "/shell" | "/upload" => text(StatusCode::NOT_IMPLEMENTED, "netexec has no such end here\n"),
            _ => not_found(),
        }
    }
}

impl Netexec {
    /// `/exit?code=&timeout=&wait=`: without a timeout at once, else when requests under way are done.
    fn leave(&self, visit: &Visit) -> Result<Answer, String> {
        let time = |name: &str| match visit.query(name) {
            Some(text) if !text.is_empty() => text.parse::<GoDuration>().map_err(|_| {
                format!("argument '{name}' must be a valid golang duration or empty, got {text:?}\n")
            }),
            _ => Ok(GoDuration::default()),
        };
        let (wait, timeout) = (time("wait")?.0, time("timeout")?.0);
        let code: u8 = match visit.query("code") {
            Some(text) if !text.is_empty() => {
                text.parse().ok().filter(|code| *code < 128).ok_or_else(|| {
                    format!("argument 'code' must be an integer [0-127] or empty, got {text:?}\n")
                })?
            }
            _ => 0,
        };
        if wait.is_zero() && timeout.is_zero() {
            std::process::exit(code.into());
        }
        let exit = self.exit.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if timeout.is_zero() {
                std::process::exit(code.into());
            }
            exit.code.store(code, Ordering::Relaxed);
            exit.asked.notify_one();
            tokio::time::sleep(timeout).await;
            std::process::exit(code.into());
        });
        Ok(text(StatusCode::OK, ""))
    }
}

fn refused(why: String) -> Answer {
    text(StatusCode::BAD_REQUEST, why)
}

/// The status that a client wishes for.
fn code(visit: &Visit, default: StatusCode) -> Result<StatusCode, String> {
    let Some(text) = visit.query("code").filter(|text| !text.is_empty()) else { return Ok(default) };
    let code = text.parse().ok().filter(|code| (200..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| format!("argument 'code' must be an integer or empty, got {text:?}\n"))
}

fn echo(visit: &Visit) -> Answer {
    match code(visit, StatusCode::OK) {
        Ok(status) => text(status, visit.query("msg").unwrap_or_default()),
        Err(why) => refused(why),
    }
}

/// `/header?key=`: what the request had in that header.
fn header(visit: &Visit) -> Answer {
    let value = visit.query("key").and_then(|key| visit.head.headers.get(key.as_str()));
    text(StatusCode::OK, value.map(|value| value.as_bytes().to_vec()).unwrap_or_default())
}

/// `/dial?host=&port=&request=&protocol=&tries=`: asks another, as often as is wished, and gives all
/// answers and failures as JSON.
async fn dial(visit: &Visit) -> Result<Answer, String> {
    let argument = |name: &str| visit.query(name).unwrap_or_default();
    let (host, request) = (argument("host"), argument("request"));
    if request.is_empty() {
        return Err("request parameter not specified\n".into());
    }
    let port: u16 =
        argument("port").parse().map_err(|e| format!("host and/or port param are invalid. {e}\n"))?;
    let tries: u32 = match argument("tries").as_str() {
        "" => 1,
        tries => tries.parse().map_err(|e| format!("tries parameter is invalid. {e}\n"))?,
    };
    let udp = match argument("protocol").to_ascii_lowercase().as_str() {
        "" | "http" => false,
        "udp" => true,
        other => return Err(format!("unsupported protocol. {other}\n")),
    };
    let (mut responses, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..tries.min(TRIES) {
        let response = if udp {
            dial_udp(&host, port, &request).await
        } else {
            let path = format!("/{}", request.trim_start_matches('/'));
            fetch::get(&host, port, &path, DIAL).await.map(|response| response.into_body().to_vec())
        };
        match response {
            Ok(response) => responses.push(String::from_utf8_lossy(&response).into_owned()),
            Err(e) => errors.push(e.to_string()),
        }
    }
    let mut output = serde_json::Map::new();
    for (name, list) in [("responses", responses), ("errors", errors)] {
        if !list.is_empty() {
            output.insert(name.into(), list.into());
        }
    }
    Ok(text(StatusCode::OK, serde_json::Value::Object(output).to_string()))
}

async fn dial_udp(host: &str, port: u16, request: &str) -> io::Result<Vec<u8>> {
    let Some(address) = tokio::net::lookup_host((host, port)).await?.next() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    };
    let any: SocketAddr = if address.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(request.as_bytes()).await?;
    let mut buffer = vec![0; 2048];
    let received = tokio::time::timeout(DIAL, socket.recv(&mut buffer));
    let length = received.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    buffer.truncate(length);
    Ok(buffer)
}
