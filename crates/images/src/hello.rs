//! Programs that answer a text: `hashicorp/http-echo`, and the samples that say hello.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use hyper::StatusCode;

use crate::flags::{Flags, Kind};
use crate::server::{Signals, Visit, answer, serve, text};
use crate::{Error, echo, listen, names};

/// `http-echo -text=hello -listen=:5678 -status-code=200`
/// (<https://github.com/hashicorp/http-echo>). The text may be in `ECHO_TEXT`, too.
pub(crate) fn http_echo(args: &[String]) -> Result<ExitCode, Error> {
    let known = [("listen", Kind::Value), ("text", Kind::Value), ("status-code", Kind::Value)];
    let flags = Flags::parse(args, &known)?;
    flags.no_more()?;
    let address = address(flags.text("listen").unwrap_or(":5678"))?;
    let words = flags.text("text").map(str::to_owned).or_else(|| env::var("ECHO_TEXT").ok());
    let words = words.filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| Error::Usage("flag --text is missing: what is to be answered".into()))?;
    let body = echo::line(&words);
    let status = echo::status(flags.value("status-code", 200)?)?;
    let site = move |visit: &Visit| match visit.path() {
        "/health" => answer(StatusCode::OK, "application/json", "{\"status\":\"ok\"}\n"),
        _ => text(status, body.clone()),
    };
    serve(address, site, true, Signals::Graceful)
}

/// `hello [--port N] TEXT`: answers TEXT, where `$(HOSTNAME)` is the pod's name. The variable `PORT`
/// wins over the flag, as in the sample programs.
pub(crate) fn hello(args: &[String]) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("port", Kind::Value)])?;
    let words = flags.rest.join(" ").replace("$(HOSTNAME)", &names::host());
    let body = echo::line(&words);
    let site = move |_: &Visit| text(StatusCode::OK, body.clone());
    serve(listen::any(port(flags.value("port", 8080)?)?), site, true, Signals::Graceful)
}

/// The port of the variable `PORT`, or else `default`.
pub(crate) fn port(default: u16) -> Result<u16, Error> {
    match env::var("PORT") {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|e| Error::Usage(format!("variable PORT: {text:?}: {e}")))
        }
        _ => Ok(default),
    }
}

/// An address as Go writes it: `:5678`, `127.0.0.1:5678`, `[::1]:5678`.
fn address(text: &str) -> Result<SocketAddr, Error> {
    let wrong = |why: String| Error::Usage(format!("flag --listen: {text:?}: {why}"));
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| wrong("the port behind a colon is missing".into()))?;
    let port: u16 = port.parse().map_err(|e| wrong(format!("port {port:?}: {e}")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Ok(listen::any(port));
    }
    let host: IpAddr = host.parse().map_err(|e| wrong(format!("address {host:?}: {e}")))?;
    Ok(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_go_writes_them() {
        assert_eq!(address(":5678").unwrap().to_string(), "[::]:5678");
        assert_eq!(address("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["5678", ":http", "localhost:80", ""] {
            let error = address(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("flag --listen: {wrong:?}: ")), "{error}");
        }
    }
}
