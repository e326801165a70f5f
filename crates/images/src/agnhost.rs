//! `registry.k8s.io/e2e-test-images/agnhost`: what Kubernetes' own tests and many of its tutorials run.
//!
//! Source: kubernetes `test/images/agnhost/`, the folder of each subcommand. What is not here says so.

mod connect;
mod netexec;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, LOCATION};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::flags::{Flags, Kind};
use crate::server::{Answer, Server, Signals, Visit, answer, block_on, serve, text, told_to_end};
use crate::{Error, datagrams, listen, names, pause};

/// For how long `liveness` is healthy.
const HEALTHY: Duration = Duration::from_secs(10);

const SUBCOMMANDS: &str = "connect, liveness, netexec, pause, porter, serve-hostname";

pub(crate) fn run(args: &[String]) -> Result<ExitCode, Error> {
    let Some((name, args)) = args.split_first() else {
        return Err(Error::Usage(format!("a subcommand is missing; there are {SUBCOMMANDS}")));
    };
    match name.as_str() {
        "connect" => connect::run(args),
        "liveness" => liveness(args),
        "netexec" => netexec::run(args),
        "pause" => pause::run(),
        "porter" => porter(args),
        "serve-hostname" => serve_hostname(args),
        _ => Err(Error::Usage(format!("no subcommand {name:?} here; there are {SUBCOMMANDS}"))),
    }
}

/// `liveness`: `/healthz` is 200 for ten seconds, then 500: the documentation's example of a probe that
/// fails. `/started` tells the age, `/redirect?loc=` redirects.
fn liveness(args: &[String]) -> Result<ExitCode, Error> {
    // `/server` of the older image has flags of its logging library.
    let flags = Flags::parse(args, &[("v", Kind::Value), ("logtostderr", Kind::Switch)])?;
    flags.no_more()?;
    let started = Instant::now();
    let site = move |visit: &Visit| {
        let age = started.elapsed();
        match visit.path() {
            "/started" => text(StatusCode::OK, format!("{age:?}")),
            "/healthz" => health(age),
            "/redirect" => redirect(&visit.query("loc").unwrap_or_default(), StatusCode::FOUND),
            _ => not_found(),
        }
    };
    serve(listen::any(8080), site, true, Signals::Graceful)
}

fn health(age: Duration) -> Answer {
    if age > HEALTHY {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("error: {}", age.as_secs_f64()));
    }
    text(StatusCode::OK, "ok")
}

/// An answer that sends the client elsewhere, or says why it cannot.
fn redirect(location: &str, status: StatusCode) -> Answer {
    match HeaderValue::from_str(location) {
        Ok(value) => {
            let mut answer = text(status, Bytes::new());
            answer.headers_mut().insert(LOCATION, value);
            answer
        }
        Err(_) => text(StatusCode::BAD_REQUEST, format!("invalid redirect: {location:?}\n")),
    }
}

fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// `serve-hostname`: the pod's name, over HTTP, or with nothing around it over TCP or UDP.
fn serve_hostname(args: &[String]) -> Result<ExitCode, Error> {
    let known = [
        ("http", Kind::Switch),
        ("tcp", Kind::Switch),
        ("udp", Kind::Switch),
        ("close", Kind::Switch),
        ("port", Kind::Value),
    ];
    let flags = Flags::parse(args, &known)?;
    flags.no_more()?;
    let (tcp, udp) = (flags.value("tcp", false)?, flags.value("udp", false)?);
    let http = flags.value("http", true)?;
    if http && (tcp || udp) {
        return Err(Error::Usage("--tcp and --udp go with --http=false only".into()));
    }
    let close = flags.value("close", false)?;
    let address = listen::any(flags.value("port", 9376)?);
    let host = names::host();
    if http {
        let site = move |_: &Visit| {
            let mut answer = text(StatusCode::OK, host.clone());
            if close {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        };
        return serve(address, site, true, Signals::Graceful);
    }
    block_on(async {
        let end = told_to_end(Signals::Graceful)?;
        let mut servers = JoinSet::new();
        if tcp {
            servers.spawn(tell(listen::tcp(address)?, host.clone()));
        }
        if udp {
            let answer = move |_: &[u8], _| Some(host.clone().into_bytes());
            servers.spawn(datagrams::serve(listen::udp(address)?, answer));
        }
        end.await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Tells everybody who connects the same, and closes.
async fn tell(listener: TcpListener, words: String) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let words = words.clone();
                tokio::spawn(async move {
                    let _ = stream.write_all(words.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
            Err(e) => {
                let _ = writeln!(io::stderr(), "accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// `porter`: for each variable `SERVE_PORT_9001=text` (or `SERVE_TCP_PORT_…`) an HTTP server, for each
/// `SERVE_UDP_PORT_…` one of datagrams, that answers the text.
fn porter(args: &[String]) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("json-response", Kind::Switch)])?;
    flags.no_more()?;
    let json = flags.value("json-response", false)?;
    let wanted =
        wanted(env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }))?;
    block_on(async {
        let end = told_to_end(Signals::Graceful)?;
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let mut servers = JoinSet::new();
        let mut sinks = JoinSet::new();
        for (protocol, port, words) in wanted {
            let address = listen::any(port);
            if protocol == listen::Protocol::Udp {
                let answer = move |_: &[u8], _| Some(words.clone().into_bytes());
                sinks.spawn(datagrams::serve(listen::udp(address)?, answer));
                continue;
            }
            let site = move |visit: &Visit| porter_answer(json, visit, &words);
            let server = Server { listener: listen::tcp(address)?, site: Arc::new(site), log: true };
            let mut stopping = stopping.clone();
            servers.spawn(server.run(async move { stopping.changed().await.is_ok() }));
        }
        end.await;
        let _ = stop.send(true);
        servers.join_all().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn porter_answer(json: bool, visit: &Visit, words: &str) -> Answer {
    if !json {
        return text(StatusCode::OK, words.to_owned());
    }
    let body = serde_json::json!({"Method": visit.head.method.as_str(), "Body": words});
    answer(StatusCode::OK, "application/json", body.to_string())
}

/// What `porter`'s variables want.
fn wanted(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Vec<(listen::Protocol, u16, String)>, Error> {
    let mut wanted = Vec::new();
    for (name, value) in variables {
        let tcp = name.strip_prefix("SERVE_PORT_").or_else(|| name.strip_prefix("SERVE_TCP_PORT_"));
        let udp = name.strip_prefix("SERVE_UDP_PORT_");
        if name.starts_with("SERVE_TLS_PORT_") || name.starts_with("SERVE_SCTP_PORT_") {
            return Err(Error::Usage(format!("variable {name}: porter has neither TLS nor SCTP here")));
        }
        let (protocol, port) = match (tcp, udp) {
            (Some(port), _) => (listen::Protocol::Tcp, port),
            (None, Some(port)) => (listen::Protocol::Udp, port),
            (None, None) => continue,
        };
        let port = port.parse().map_err(|e| Error::Usage(format!("variable {name}: port {port:?}: {e}")))?;
        wanted.push((protocol, port, value));
    }
    if wanted.is_empty() {
        return Err(Error::Usage(
            "porter serves what variables as SERVE_PORT_9001 say, and there are none".into(),
        ));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Protocol::{Tcp, Udp};

    fn wanted_by(variables: &[(&str, &str)]) -> Result<Vec<(listen::Protocol, u16, String)>, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        wanted(variables).map_err(|e| e.to_string())
    }

    #[test]
    fn liveness_is_healthy_for_ten_seconds() {
        assert_eq!(health(Duration::from_secs(10)).status(), 200);
        assert_eq!(health(Duration::from_millis(10_001)).status(), 500);
    }

    #[test]
    fn porters_variables() {
        let variables =
            [("SERVE_PORT_80", "a=b"), ("PATH", "/"), ("SERVE_TCP_PORT_81", "c"), ("SERVE_UDP_PORT_53", "d")];
        let expected = [(Tcp, 80, "a=b".into()), (Tcp, 81, "c".into()), (Udp, 53, "d".into())];
        assert_eq!(wanted_by(&variables).unwrap(), expected);
        for wrong in ["SERVE_PORT_x", "SERVE_TLS_PORT_443", "SERVE_SCTP_PORT_1", "SERVE_UDP_PORT_70000"] {
            let error = wanted_by(&[(wrong, "")]).unwrap_err();
            assert!(error.starts_with(&format!("variable {wrong}: ")), "{error}");
        }
        assert!(wanted_by(&[]).is_err());
    }
}
