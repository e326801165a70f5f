//! One HTTP request to somebody else.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The largest answer that is taken, in bytes.
const LARGEST: usize = 1 << 20;

/// `GET http://host:port/path`, over a connection of its own, within `limit`.
pub(crate) async fn get(host: &str, port: u16, path: &str, limit: Duration) -> io::Result<Response<Bytes>> {
    let exchange = exchange(host, port, path);
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))
    })
}

async fn exchange(host: &str, port: u16, path: &str) -> io::Result<Response<Bytes>> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let request = Request::get(path).header(HOST, authority).header(CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection has to be driven for the answer to come.
    let ((), answer) = tokio::join!(async { drop(connection.await) }, answer);
    answer
}
