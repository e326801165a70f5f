//! Probes that ask for a page.
//!
//! As the kubelet does it: the whole has one time limit, redirects are followed on the same host only and
//! at most nine times, a redirect elsewhere is success with a warning, at most 10 KiB of the answer are
//! read, connections are not kept. Not here: https.
//!
//! Sources: kubernetes `pkg/probe/http/http.go`; Go's `net/http/client.go` (what a redirected request
//! looks like) and its texts.

use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, REFERER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::action::HttpGet;
use super::dial::dial;
use super::target::Target;
use super::{MOST_OUTPUT, Outcome, go};

/// The request after so many is not made.
const MOST_REDIRECTS: usize = 10;

/// What came back.
struct Page {
    status: StatusCode,
    location: Option<String>,
    body: Vec<u8>,
}

/// Why nothing came back.
enum Fault {
    /// The server's, in Go's words.
    Failure(String),
    /// Nothing can be concluded.
    Error(String),
}

/// Asks once, and again where the answer says so.
pub(super) async fn get(get: &HttpGet, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    let (mut target, mut host, mut from) = (get.target.clone(), get.host.clone(), None::<Target>);
    let mut redirects = 0;
    loop {
        if target.scheme == "https" {
            return Outcome::Error(format!(
                "Get \"{target}\": HTTPS probes are not supported here; use scheme HTTP, tcpSocket or exec"
            ));
        }
        let page = match fetch(&target, host.as_deref(), from.as_ref(), &get.headers, deadline).await {
            Ok(page) => page,
            Err(Fault::Failure(text)) => return Outcome::Failure(format!("Get \"{target}\": {text}")),
            Err(Fault::Error(text)) => return Outcome::Error(text),
        };
        let followed = matches!(page.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(location) = page.location.as_deref().filter(|_| followed) else {
            return judge(&page);
        };
        let Some(next) = target.join(location) else {
            let shown = api::field::quoted(location);
            return Outcome::Failure(format!("Get \"{target}\": failed to parse Location header {shown}"));
        };
        if next.host != get.target.host {
            return judge(&page);
        }
        redirects += 1;
        if redirects >= MOST_REDIRECTS {
            return Outcome::Failure(format!("Get \"{next}\": stopped after {MOST_REDIRECTS} redirects"));
        }
        // A name of one's own goes along with a path only.
        if location.contains("://") || location.starts_with("//") {
            host = None;
        }
        from = Some(std::mem::replace(&mut target, next));
    }
}

fn judge(page: &Page) -> Outcome {
    match page.status.as_u16() {
        200..300 => Outcome::Success,
        300..400 => {
            let body = String::from_utf8_lossy(&page.body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        status => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn fetch(
    target: &Target,
    host: Option<&str>,
    from: Option<&Target>,
    headers: &[(String, String)],
    deadline: Instant,
) -> Result<Page, Fault> {
    let request = request(target, host, from, headers)?;
    let stream = dial(&target.host, target.port(), deadline).await.map_err(|error| {
        Fault::Failure(match error.timed_out {
            true => format!("{} (Client.Timeout exceeded while awaiting headers)", error.text),
            false => error.text,
        })
    })?;
    let ends = ends(&stream);
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::Failure(words(&error, &ends)))?;
    let exchange = async {
        let awaited = timeout_at(deadline, sender.send_request(request)).await;
        let response = match awaited {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Fault::Failure(words(&error, &ends))),
            Err(_) => {
                return Err(Fault::Failure(
                    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
                ));
            }
        };
        read(response, deadline, &ends).await
    };
    // The connection moves the bytes; what it has to say, the exchange hears.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        page = exchange => page,
        never = drive => never,
    }
}

fn request(
    target: &Target,
    host: Option<&str>,
    from: Option<&Target>,
    headers: &[(String, String)],
) -> Result<Request<Empty<Bytes>>, Fault> {
    let authority = target.authority();
    let mut all = hyper::HeaderMap::new();
    let value = |name: &str, value: &str| {
        HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Fault::Failure(format!("net/http: invalid header field value for \"{name}\"")))
    };
    all.insert(HOST, value("Host", host.unwrap_or(&authority))?);
    for (name, text) in headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Fault::Failure(format!("net/http: invalid header field name \"{name}\"")))?;
        all.append(key, value(name, text)?);
    }
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(from) = from
        && !all.contains_key(REFERER)
    {
        all.insert(REFERER, value("Referer", &from.to_string())?);
    }
    let mut request = Request::builder()
        .uri(target.path.as_str())
        .body(Empty::new())
        .map_err(|error| Fault::Error(error.to_string()))?;
    *request.headers_mut() = all;
    Ok(request)
}

/// Reads as much of the answer as is of interest.
async fn read(response: Response<Incoming>, deadline: Instant, ends: &str) -> Result<Page, Fault> {
    let (head, mut incoming) = response.into_parts();
    let location = head.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let mut body = Vec::new();
    while body.len() < MOST_OUTPUT && !incoming.is_end_stream() {
        let frame = timeout_at(deadline, incoming.frame()).await.map_err(|_| {
            let text =
                "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
            Fault::Error(text.into())
        })?;
        match frame {
            None => break,
            Some(Ok(frame)) => body.extend(frame.data_ref().into_iter().flatten()),
            Some(Err(error)) => return Err(Fault::Error(words(&error, ends))),
        }
    }
    body.truncate(MOST_OUTPUT);
    Ok(Page { status: head.status, location, body })
}

/// As `10.0.0.3:40000->11.10.0.5:80`.
fn ends(stream: &TcpStream) -> String {
    let shown = |address: std::io::Result<std::net::SocketAddr>| {
        address.map(|address| address.to_string()).unwrap_or_default()
    };
    format!("{}->{}", shown(stream.local_addr()), shown(stream.peer_addr()))
}

/// hyper's trouble in Go's words.
fn words(error: &hyper::Error, ends: &str) -> String {
    if error.is_incomplete_message() {
        return "EOF".into();
    }
    if error.is_parse() {
        return format!("net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}");
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause {
        Some(cause) if cause.kind() == ErrorKind::UnexpectedEof => "unexpected EOF".into(),
        Some(cause) => format!("read tcp {ends}: read: {}", go::io_error(cause)),
        None => runtime::chain(error),
    }
}
