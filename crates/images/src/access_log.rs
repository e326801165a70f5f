//! A line for each request, in the form of nginx and httpd (`combined`).

use std::io::{self, Write};

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use jiff::Timestamp;

use crate::server::{Answer, Client};

/// Writes the line to standard output. That it cannot be written is nothing that could be told.
pub(crate) fn write(client: Client, head: &Parts, answer: &Answer) {
    let _ = writeln!(io::stdout(), "{}", line(client, head, answer, Timestamp::now()));
}

fn line(client: Client, head: &Parts, answer: &Answer, now: Timestamp) -> String {
    format!(
        "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\"",
        client.remote.ip(),
        now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        head.method,
        head.uri,
        head.version,
        answer.status().as_u16(),
        length(answer),
        header(&head.headers, &REFERER),
        header(&head.headers, &USER_AGENT),
    )
}

fn length<B: hyper::body::Body>(answer: &Response<B>) -> u64 {
    if answer.status() == StatusCode::NOT_MODIFIED {
        return 0;
    }
    let named = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    named.or_else(|| answer.body().size_hint().exact()).unwrap_or(0)
}

/// A header's value, with nothing in it that could end the line or the quotes.
fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    match headers.get(name) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).escape_debug().to_string(),
        None => "-".into(),
    }
}
