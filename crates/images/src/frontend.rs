//! `gcr.io/google-samples/hello-frontend`: hands everything on to the service `hello`.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;

use crate::flags::{Flags, Kind};
use crate::server::{Answer, Signals, Site, Visit, serve, text};
use crate::{Error, fetch, listen};

/// How long the backend may take, as nginx has it.
const LIMIT: Duration = Duration::from_secs(60);

/// The chapter "Connect a Frontend to a Backend Using Services": an nginx with `proxy_pass` there, GET
/// requests only here.
pub(crate) fn run(args: &[String]) -> Result<ExitCode, Error> {
    let known = [("port", Kind::Value), ("backend", Kind::Value), ("backend-port", Kind::Value)];
    let flags = Flags::parse(args, &known)?;
    flags.no_more()?;
    let backend = flags.text("backend").unwrap_or("hello").to_owned();
    let site = Frontend { backend, port: flags.value("backend-port", 80)? };
    serve(listen::any(flags.value("port", 80)?), site, true, Signals::Nginx)
}

struct Frontend {
    backend: String,
    port: u16,
}

impl Site for Frontend {
    async fn answer(&self, visit: &Visit) -> Answer {
        let path = visit.head.uri.path_and_query().map_or("/", |path| path.as_str());
        match fetch::get(&self.backend, self.port, path, LIMIT).await {
            Ok(response) => {
                let mut answer = text(response.status(), Bytes::new());
                if let Some(kind) = response.headers().get(CONTENT_TYPE) {
                    answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
                }
                *answer.body_mut() = Full::new(response.into_body());
                answer
            }
            Err(e) => text(
                StatusCode::BAD_GATEWAY,
                format!("502 Bad Gateway: {}:{}: {e}\n", self.backend, self.port),
            ),
        }
    }
}
