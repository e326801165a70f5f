//! Watching etcd: one stream for each watch, which never hangs unnoticed.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, timeout_at};

use super::{Etcd, PATIENCE, end_of, entry, revision_of};
use crate::entry::Update;
use crate::error::{Error, Result};

/// After so long a silence etcd is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(3);

/// An open watch.
pub(crate) struct EtcdWatch {
    etcd: Etcd,
    /// The member on which it is open.
    member: usize,
    stream: WatchStream,
    /// The revision from which on it was opened.
    after: i64,
    updates: VecDeque<Update>,
    /// Until then something should have been heard.
    deadline: Instant,
    /// Whether etcd was asked.
    asked: bool,
}

impl std::fmt::Debug for EtcdWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdWatch")
            .field("etcd", &self.etcd)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl EtcdWatch {
    /// Without `after`, from now on: etcd serves such a watch at once. One that begins in the past, be it by
    /// one change of another key, waits for the next round of its laggards, which comes every 100 ms (etcd
    /// `server/mvcc/watchable_store.go`, `syncWatchersLoop`).
    pub(super) async fn open(etcd: Etcd, prefix: &str, mut after: Option<i64>) -> Result<Self> {
        let (member, client) = etcd.member();
        let mut options = WatchOptions::new()
            .with_range(end_of(prefix))
            .with_prev_key()
            .with_progress_notify()
            // So that many changes at once stay below the largest message.
            .with_fragment();
        if let Some(after) = after {
            options = options.with_start_revision(after + 1);
        }
        let opened = etcd.within(client.watch_client().watch(prefix, Some(options))).await;
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                etcd.give_up(member, &error).await;
                return Err(error);
            }
        };
        let deadline = Instant::now() + PATIENCE;
        let updates = VecDeque::new();
        let mut watch =
            Self { etcd, member, stream, after: after.unwrap_or(0), updates, deadline, asked: true };
        let created = watch.hear().await?;
        let current = revision_of(created.header());
        watch.take(&created)?;
        let after = *after.get_or_insert(current);
        watch.after = after;
        if current < after {
            // It would wait until the numbers come round again.
            return Err(Error::Ahead { revision: after, current });
        }
        Ok(watch)
    }

    /// The next change.
    pub(crate) async fn next(&mut self) -> Result<Update> {
        loop {
            if let Some(update) = self.updates.pop_front() {
                return Ok(update);
            }
            let response = self.hear().await?;
            self.take(&response)?;
        }
    }

    /// The next message, which may be the answer to a question. May be dropped at any time.
    async fn hear(&mut self) -> Result<WatchResponse> {
        loop {
            match timeout_at(self.deadline, self.stream.message()).await {
                Ok(Ok(Some(response))) => {
                    self.asked = false;
                    self.deadline = Instant::now() + SILENCE;
                    return Ok(response);
                }
                Ok(Ok(None)) => return Err(self.ended("the watch was closed").await),
                Ok(Err(error)) => {
                    let error = self.etcd.failed(error);
                    self.etcd.give_up(self.member, &error).await;
                    return Err(error);
                }
                Err(_) if self.asked => {
                    let error = self.etcd.silent();
                    self.etcd.give_up(self.member, &error).await;
                    return Err(error);
                }
                Err(_) => {
                    self.asked = true;
                    self.deadline = Instant::now() + PATIENCE;
                    // Full or closed channels show at the deadline, or with the next message.
                    let _ = timeout_at(self.deadline, self.stream.request_progress()).await;
                }
            }
        }
    }

    async fn ended(&self, why: &str) -> Error {
        let error = self.etcd.failed(etcd_client::Error::WatchError(why.into()));
        self.etcd.give_up(self.member, &error).await;
        error
    }

    fn take(&mut self, response: &WatchResponse) -> Result<()> {
        if response.compact_revision() > 0 {
            return Err(Error::Compacted { revision: self.after, oldest: response.compact_revision() });
        }
        if response.canceled() {
            return Err(self.etcd.failed(etcd_client::Error::WatchError(response.cancel_reason().into())));
        }
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            self.updates.push_back(match event.event_type() {
                EventType::Put => Update::Put(entry(kv)),
                EventType::Delete => Update::Deleted {
                    key: String::from_utf8_lossy(kv.key()).into_owned(),
                    revision: kv.mod_revision(),
                    before: event.prev_kv().map(entry),
                },
            });
        }
        // The answer to a question has watch -1, and in etcd 3.4 its revision may run ahead of events that
        // are still to come (etcd #15220); only what comes by itself is true of this watch.
        let by_itself = response.watch_id() >= 0 && !response.created() && response.events().is_empty();
        if by_itself {
            self.updates.push_back(Update::Progress(revision_of(response.header())));
        }
        Ok(())
    }
}
