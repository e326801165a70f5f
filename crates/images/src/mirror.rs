//! Programs that show a request as it has arrived: what an ingress or a service has done to it.

use std::env;
use std::fmt::Write;
use std::process::ExitCode;

use hyper::StatusCode;
use jiff::Timestamp;

use crate::flags::{Flags, Kind};
use crate::server::{Signals, Visit, serve, text};
use crate::{Error, hello, listen, names};

/// `registry.k8s.io/echoserver`, in the form of version 1.10; `client_address` and `real path` are what
/// the documentation's chapter on source addresses looks for.
pub(crate) fn echoserver(args: &[String]) -> Result<ExitCode, Error> {
    run(args, 8080, echoserver_text)
}

/// `kicbase/echo-server`, as `jmalloc/echo-server`.
pub(crate) fn echo_server(args: &[String]) -> Result<ExitCode, Error> {
    run(args, 8080, echo_server_text)
}

/// `traefik/whoami`.
pub(crate) fn whoami(args: &[String]) -> Result<ExitCode, Error> {
    run(args, 80, whoami_text)
}

/// `nginxdemos/hello:plain-text`.
pub(crate) fn nginx_hello(args: &[String]) -> Result<ExitCode, Error> {
    run(args, 80, nginx_hello_text)
}

fn run(args: &[String], default: u16, show: fn(&str, &Visit) -> String) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("port", Kind::Value)])?;
    flags.no_more()?;
    let port = hello::port(flags.value("port", default)?)?;
    let host = names::host();
    let site = move |visit: &Visit| text(StatusCode::OK, show(&host, visit));
    serve(listen::any(port), site, true, Signals::Graceful)
}

/// `$name: value` lines, in the order of the names.
fn headers(visit: &Visit, prefix: &str, between: &str) -> String {
    let all = visit.head.headers.iter();
    let mut lines: Vec<String> = all
        .map(|(name, value)| {
            format!("{prefix}{name}{between}{}\n", String::from_utf8_lossy(value.as_bytes()))
        })
        .collect();
    lines.sort();
    lines.concat()
}

fn host_header(visit: &Visit) -> String {
    let host = visit.head.headers.get(hyper::header::HOST);
    host.map_or_else(
        || visit.client.local.to_string(),
        |host| String::from_utf8_lossy(host.as_bytes()).into_owned(),
    )
}

fn echoserver_text(host: &str, visit: &Visit) -> String {
    let known = [
        ("node name", "NODE_NAME"),
        ("pod name", "POD_NAME"),
        ("pod namespace", "POD_NAMESPACE"),
        ("pod IP", "POD_IP"),
    ];
    let pod: String = known
        .iter()
        .filter_map(|(what, variable)| Some(format!("\t{what}:\t{}\n", env::var(variable).ok()?)))
        .collect();
    let pod = if pod.is_empty() { "\t-no pod information available-\n".into() } else { pod };
    let head = &visit.head;
    let body = String::from_utf8_lossy(&visit.body);
    let body = if body.is_empty() { "-no body in request-".into() } else { body };
    let version = format!("{:?}", head.version);
    format!(
        "\n\nHostname: {host}\n\nPod Information:\n{pod}\nServer values:\n\tserver_version=topo: {}\n\n\
         Request Information:\n\tclient_address={}\n\tmethod={}\n\treal path={}\n\tquery={}\n\
         \trequest_version={}\n\trequest_scheme=http\n\trequest_uri=http://{}:{}{}\n\n\
         Request Headers:\n{}\nRequest Body:\n\t{body}\n\n",
        env!("CARGO_PKG_VERSION"),
        visit.client.remote.ip(),
        head.method,
        head.uri,
        head.uri.query().unwrap_or_default(),
        version.trim_start_matches("HTTP/"),
        host_header(visit).split(':').next().unwrap_or_default(),
        visit.client.local.port(),
        head.uri.path(),
        headers(visit, "\t", "="),
    )
}

fn echo_server_text(host: &str, visit: &Visit) -> String {
    let head = &visit.head;
    let body = String::from_utf8_lossy(&visit.body);
    format!(
        "Request served by {host}\n\n{} {} {:?}\n\n{}\n{body}",
        head.method,
        head.uri,
        head.version,
        headers(visit, "", ": "),
    )
}

fn whoami_text(host: &str, visit: &Visit) -> String {
    let mut text = format!("Hostname: {host}\n");
    for address in names::addresses() {
        let _ = writeln!(text, "IP: {address}");
    }
    let head = &visit.head;
    let _ = writeln!(text, "RemoteAddr: {}", visit.client.remote);
    let _ = writeln!(text, "{} {} {:?}", head.method, head.uri, head.version);
    text + &headers(visit, "", ": ") + "\n"
}

fn nginx_hello_text(host: &str, visit: &Visit) -> String {
    format!(
        "Server address: {}\nServer name: {host}\nDate: {}\nURI: {}\n",
        visit.client.local,
        Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000"),
        visit.head.uri,
    )
}
