//! The metadata of all objects of a kind, as they change; for kinds that have no type here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::KindInfo;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::Backoff;
use store::{Error, Event, ObjectName, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::view::Source;

/// What has become of an object.
#[derive(Debug)]
pub(crate) enum News {
    There(Box<ObjectMeta>),
    Gone(ObjectName, String),
}

/// A kind's objects.
#[derive(Debug)]
pub(crate) struct Feed {
    info: &'static KindInfo,
    news: mpsc::UnboundedReceiver<News>,
    /// The uids of those that are there, as far as was looked.
    there: BTreeMap<ObjectName, String>,
    revision: i64,
    told: Arc<AtomicI64>,
    wake: watch::Sender<()>,
    synced: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    pub(crate) fn start(store: &Store, info: &'static KindInfo) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let (wake, told, (is_synced, synced)) =
            (watch::Sender::new(()), Arc::new(AtomicI64::new(0)), watch::channel(false));
        let follower = Follower {
            store: store.clone(),
            info,
            sender,
            told: told.clone(),
            wake: wake.clone(),
            synced: is_synced,
            there: BTreeMap::new(),
        };
        let task = tokio::spawn(follower.run());
        Self { info, news, there: BTreeMap::new(), revision: 0, told, wake, synced, task }
    }

    /// What has happened since the last call.
    pub(crate) fn drain(&mut self) -> Vec<News> {
        // Before the news: all up to it have been told.
        let revision = self.told.load(Ordering::Acquire);
        let mut all = Vec::new();
        while let Ok(news) = self.news.try_recv() {
            match &news {
                News::There(meta) => {
                    self.there.insert(ObjectName::of(meta), meta.uid.clone().unwrap_or_default());
                }
                News::Gone(name, _) => drop(self.there.remove(name)),
            }
            all.push(news);
        }
        self.revision = revision;
        all
    }
}

impl Source for Feed {
    fn info(&self) -> &'static KindInfo {
        self.info
    }

    fn revision(&self) -> i64 {
        self.revision
    }

    fn has(&self, name: &ObjectName, uid: &str) -> bool {
        self.there.get(name).is_some_and(|there| there == uid)
    }

    fn wakes(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    fn synced(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut synced = self.synced.clone();
        // The sender ends with the feed.
        Box::pin(async move { drop(synced.wait_for(|synced| *synced).await) })
    }
}

/// Lists and watches, and after any trouble lists again and tells the differences.
struct Follower {
    store: Store,
    info: &'static KindInfo,
    sender: mpsc::UnboundedSender<News>,
    told: Arc<AtomicI64>,
    wake: watch::Sender<()>,
    synced: watch::Sender<bool>,
    there: BTreeMap<ObjectName, String>,
}

impl Follower {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let began = Instant::now();
            // Reflectors beside it tell what is the matter with etcd.
            let Err(_) = self.follow().await;
            tokio::time::sleep(backoff.after(began.elapsed())).await;
        }
    }

    async fn follow(&mut self) -> Result<Infallible, Error> {
        let list = self.store.list_metadata(self.info).await?;
        let names: BTreeSet<ObjectName> = list.items.iter().map(ObjectName::of).collect();
        let gone: Vec<_> = self.there.keys().filter(|name| !names.contains(name)).cloned().collect();
        gone.iter().for_each(|name| self.gone(name));
        list.items.into_iter().for_each(|meta| self.there(meta));
        self.reached(list.revision);
        self.synced.send_replace(true);
        let mut watch = self.store.watch_metadata(self.info, list.revision).await?;
        loop {
            match watch.next().await {
                Ok(Event::Added(meta) | Event::Modified(meta)) => {
                    let revision = meta.resource_version.as_deref().and_then(|version| version.parse().ok());
                    self.there(meta);
                    self.reached(revision.unwrap_or_default());
                }
                Ok(Event::Deleted { object, revision }) => {
                    self.gone(&ObjectName::of(&object));
                    self.reached(revision);
                }
                Ok(Event::Bookmark(revision)) => self.reached(revision),
                // No object: it has no owner.
                Err(Error::Invalid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn there(&mut self, meta: ObjectMeta) {
        let (name, uid) = (ObjectName::of(&meta), meta.uid.clone().unwrap_or_default());
        if self.there.get(&name).is_some_and(|old| *old != uid) {
            self.gone(&name);
        }
        self.there.insert(name, uid);
        // The receiver ends with the feed.
        let _ = self.sender.send(News::There(Box::new(meta)));
    }

    fn gone(&mut self, name: &ObjectName) {
        if let Some(uid) = self.there.remove(name) {
            let _ = self.sender.send(News::Gone(name.clone(), uid));
        }
    }

    fn reached(&self, revision: i64) {
        self.told.store(revision, Ordering::Release);
        self.wake.send_replace(());
    }
}
