//! `topo echo`: a little web server that answers one text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;

use crate::server::{Answer, Server, Signals, Site, Visit, block_on, text, told_to_end};
use crate::{Error, listen, names};

/// What `topo echo` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// TCP port; 0 lets the kernel choose one, which is then told.
    pub port: u16,
    /// Status of every answer, 200 to 599.
    pub status: u16,
    /// The answer, to which a line end is added; none answers who the pod and the client are.
    pub text: Option<String>,
    /// Whether each request is a line on standard output.
    pub log: bool,
}

/// Serves until it is told to end by SIGTERM or SIGINT; requests under way are finished.
///
/// # Errors
/// When the port cannot be had, or the status is none.
pub fn run(options: &Options) -> Result<ExitCode, Error> {
    let status = status(options.status)?;
    block_on(async {
        let end = told_to_end(Signals::Graceful)?;
        let listener = listen::tcp(listen::any(options.port))?;
        let port = listener.local_addr().map_or(options.port, |address| address.port());
        if options.port == 0 || io::stderr().is_terminal() {
            let _ = writeln!(io::stderr(), "answers on port {port}");
        }
        let site = match &options.text {
            Some(text) => Echo::Text { status, body: line(text) },
            None => Echo::Names { status, host: names::host() },
        };
        Ok(Server { listener, site: Arc::new(site), log: options.log }.run(end).await)
    })
}

/// A status that ends a request.
pub(crate) fn status(number: u16) -> Result<StatusCode, Error> {
    StatusCode::from_u16(number)
        .ok()
        .filter(|_| (200..600).contains(&number))
        .ok_or_else(|| Error::Usage(format!("status {number}: answers have one of 200 to 599")))
}

/// A text with a line end.
pub(crate) fn line(text: &str) -> Bytes {
    format!("{text}\n").into()
}

enum Echo {
    Text { status: StatusCode, body: Bytes },
    Names { status: StatusCode, host: String },
}

impl Site for Echo {
    async fn answer(&self, visit: &Visit) -> Answer {
        match self {
            Self::Text { status, body } => text(*status, body.clone()),
            Self::Names { status, host } => text(*status, who(host, visit)),
        }
    }
}

/// Who answers whom. The addresses are asked for each time: a pod can get another.
fn who(host: &str, visit: &Visit) -> String {
    let mut text = format!("name: {host}\naddresses:");
    for address in names::addresses() {
        let _ = write!(text, " {address}");
    }
    let _ = write!(text, "\nclient: {}\n", visit.client.remote);
    text
}
