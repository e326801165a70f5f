//! TCP connections to a container, and the probe that is content with one.
//!
//! Source: kubernetes `pkg/probe/tcp/tcp.go`; texts are those of Go's `net`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::{Outcome, go};

/// Whether a connection can be opened.
pub(super) async fn probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    match dial(host, port, Instant::now() + timeout).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(error.text),
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct DialError {
    pub(super) text: String,
    /// The deadline has passed.
    pub(super) timed_out: bool,
}

/// Connects to the first address of `host` that lets one.
pub(super) async fn dial(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
    let failed = |text| DialError { text, timed_out: false };
    let addresses: Vec<SocketAddr> = if let Ok(ip) = host.parse::<IpAddr>() {
        vec![(ip, port).into()]
    } else {
        match timeout_at(deadline, lookup_host((host, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) => return Err(failed(format!("dial tcp: lookup {host}: no such host"))),
            Err(_) => {
                return Err(DialError {
                    text: format!("dial tcp: lookup {host}: i/o timeout"),
                    timed_out: true,
                });
            }
        }
    };
    let mut last = failed(format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        last = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed(format!("dial tcp {address}: connect: {}", go::io_error(&error))),
            Err(_) => {
                return Err(DialError { text: format!("dial tcp {address}: i/o timeout"), timed_out: true });
            }
        };
    }
    Err(last)
}
