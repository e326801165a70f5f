//! `agnhost connect HOST:PORT`: whether a connection comes about; what network policies are tested with.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket, lookup_host};

use crate::Error;
use crate::duration::GoDuration;
use crate::flags::{Flags, Kind};
use crate::server::block_on;

/// Ends with 0, or with 1 and one word on standard error: TIMEOUT, REFUSED, DNS or OTHER
/// (`test/images/agnhost/connect/connect.go`).
pub(super) fn run(args: &[String]) -> Result<ExitCode, Error> {
    let flags = Flags::parse(args, &[("timeout", Kind::Value), ("protocol", Kind::Value)])?;
    let limit = flags.value("timeout", GoDuration::default())?.0;
    let [target] = flags.rest.as_slice() else {
        return Err(Error::Usage("connect takes one HOST:PORT".into()));
    };
    let udp = match flags.text("protocol").unwrap_or("tcp") {
        "tcp" => false,
        "udp" => true,
        other => return Err(Error::Usage(format!("flag --protocol: {other:?}: there are tcp and udp"))),
    };
    let outcome = block_on(async { Ok(within(limit, attempt(target, udp)).await) })?;
    Ok(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(word) => {
            let _ = writeln!(io::stderr(), "{word}");
            ExitCode::FAILURE
        }
    })
}

/// No time at all is any time, as in Go.
async fn within(limit: Duration, attempt: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    if limit.is_zero() {
        return attempt.await;
    }
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err("TIMEOUT".into()))
}

async fn attempt(target: &str, udp: bool) -> Result<(), String> {
    let mut addresses = lookup_host(target).await.map_err(|e| format!("DNS: {e}"))?;
    let address = addresses.next().ok_or_else(|| format!("DNS: {target} has no address"))?;
    let attempt = if udp { exchange(address).await } else { TcpStream::connect(address).await.map(drop) };
    attempt.map_err(|e| match e.kind() {
        io::ErrorKind::TimedOut => "TIMEOUT".into(),
        io::ErrorKind::ConnectionRefused => "REFUSED".into(),
        _ => format!("OTHER: {e}"),
    })
}

/// A datagram and its answer.
async fn exchange(address: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = if address.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(b"hostname").await?;
    socket.recv(&mut [0; 64]).await.map(drop)
}
