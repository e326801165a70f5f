//! Clients that ask all the time, and count what fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::task::JoinSet;

use super::site::{Answer, Connection};

pub(crate) struct Load {
    end: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    /// Clients that keep their connections as long as they may, each with one request at a time.
    pub(crate) fn start(clients: usize, host: &str, path: &str) -> Self {
        let mut load = Self { end: Arc::default(), done: Arc::default(), clients: JoinSet::new() };
        for _ in 0..clients {
            let (end, done) = (load.end.clone(), load.done.clone());
            let (host, path) = (host.to_owned(), path.to_owned());
            load.clients.spawn(async move { ask(&host, &path, &end, &done).await });
        }
        load
    }

    /// As many requests have been answered.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends, and gives what failed.
    pub(crate) async fn end(mut self) -> Vec<String> {
        self.end.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        while let Some(errors) = self.clients.join_next().await {
            failed.extend(errors.unwrap());
        }
        failed
    }
}

async fn ask(host: &str, path: &str, end: &AtomicBool, done: &AtomicU64) -> Vec<String> {
    let mut failed = Vec::new();
    let mut connection = None;
    while !end.load(Ordering::Relaxed) {
        let request = Request::get(path).header("host", host).body(Full::<Bytes>::default()).unwrap();
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(80).await {
                Ok(open) => open,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            },
        };
        match open.send(request).await {
            Ok(Answer { status: 200, headers, .. }) => {
                done.fetch_add(1, Ordering::Relaxed);
                // A client goes on with its connection unless it was told not to.
                if headers.get("connection").is_none_or(|value| value != "close") {
                    connection = Some(open);
                }
            }
            other => failed.push(format!("{other:?}")),
        }
    }
    failed
}
