//! Probes that ask a gRPC server for its health.
//!
//! The protocol is three fields large, so its messages are written and read here: `Check` of
//! `grpc.health.v1.Health` over HTTP/2, `HealthCheckRequest { string service = 1; }`,
//! `HealthCheckResponse { ServingStatus status = 1; }`.
//!
//! Sources: kubernetes `pkg/probe/grpc/grpc.go`; grpc `doc/health-checking.md`, `doc/PROTOCOL-HTTP2.md`.

mod message;

use std::time::Duration;

use h2::RecvStream;
use h2::client;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT as AGENT};
use hyper::{Method, Request};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::dial::dial;
use super::target::Target;
use super::{MOST_OUTPUT, Outcome, USER_AGENT, go};

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Status codes of gRPC (grpc `doc/statuscodes.md`), by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNIMPLEMENTED: usize = 12;
const UNAVAILABLE: usize = 14;
const INTERNAL: usize = 13;
const UNKNOWN: usize = 2;

/// An answer that is none.
struct Status {
    code: usize,
    message: String,
}

/// Asks once.
pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    let authority = Target::new("http", host, port, "").authority();
    let limit = go::duration(timeout);
    let stream = match dial(host, port, deadline).await {
        Ok(stream) => stream,
        Err(error) if error.timed_out => {
            return Outcome::Failure(format!(
                "timeout: failed to connect service \"{authority}\" within {limit}: {}",
                error.text
            ));
        }
        Err(error) => {
            let text = error.text;
            return Outcome::Failure(format!("error: failed to connect service at \"{authority}\": {text}"));
        }
    };
    let Ok(answer) = timeout_at(deadline, call(stream, &authority, service)).await else {
        return Outcome::Failure(format!("timeout: health rpc did not complete within {limit}"));
    };
    match answer {
        Ok(1) => Outcome::Success,
        Ok(status) => {
            let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let at = usize::try_from(status).ok().and_then(|at| names.get(at).copied());
            let name = at.map_or(status.to_string(), str::to_owned);
            Outcome::Failure(format!("service unhealthy (responded with \"{name}\")"))
        }
        Err(Status { code: UNIMPLEMENTED, message }) => Outcome::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Err(Status { code, message }) => {
            let code = CODES.get(code).map_or_else(|| format!("Code({code})"), |name| (*name).to_owned());
            Outcome::Failure(format!(
                "error: health rpc probe failed: rpc error: code = {code} desc = {message}"
            ))
        }
    }
}

/// The status that the server gives for the service.
async fn call(stream: TcpStream, authority: &str, service: &str) -> Result<u64, Status> {
    let broken = |error: h2::Error| Status { code: UNAVAILABLE, message: error.to_string() };
    let (sender, connection) = client::handshake(stream).await.map_err(broken)?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(broken)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{authority}{METHOD}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(AGENT, USER_AGENT)
            .body(())
            .map_err(|error| Status { code: INTERNAL, message: error.to_string() })?;
        let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
        body.send_data(message::framed(service), true).map_err(broken)?;
        let (head, body) = response.await.map_err(broken)?.into_parts();
        if head.headers.contains_key("grpc-status") {
            // An error without a message has no body either.
            return Err(status(&head.headers).unwrap_or(Status { code: INTERNAL, message: String::new() }));
        }
        if !head.status.is_success() {
            let code = if head.status.as_u16() == 404 { UNIMPLEMENTED } else { UNKNOWN };
            let message = format!("unexpected HTTP status code received from server: {}", head.status);
            return Err(Status { code, message });
        }
        read(body).await
    };
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = drive => never,
    }
}

/// The message and what follows it.
async fn read(mut body: RecvStream) -> Result<u64, Status> {
    let broken = |error: h2::Error| Status { code: UNAVAILABLE, message: error.to_string() };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        // Without room given back a server might wait; there is always room for what is read here.
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MOST_OUTPUT {
            return Err(Status { code: 8, message: "received message larger than max".into() });
        }
    }
    let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
    match status(&trailers) {
        Some(status) => Err(status),
        None => message::serving(&bytes).ok_or_else(|| Status {
            code: INTERNAL,
            message: "failed to unmarshal the received message".into(),
        }),
    }
}

/// `grpc-status` and `grpc-message`, unless all is well.
fn status(headers: &HeaderMap) -> Option<Status> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let code = text("grpc-status").map_or(Some(UNKNOWN), |code| code.parse().ok()).unwrap_or(UNKNOWN);
    let message = text("grpc-message").map(|message| unescaped(&message)).unwrap_or_default();
    (code != 0).then_some(Status { code, message })
}

/// `%20` and the like (PROTOCOL-HTTP2, `Percent-Encoded`).
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_unescaped() {
        assert_eq!(unescaped("no%20such %C3%A9 100% %zz"), "no such é 100% %zz");
    }
}
