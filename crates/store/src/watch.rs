//! What changes from a revision on.

use api::KindInfo;

use crate::backend::BackendWatch;
use crate::encoding::nameless;
use crate::entry::{Entry, Update};
use crate::error::Result;

/// A change of an object. Each change is told once, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// There is a new object.
    Added(T),
    /// An object was changed; this is the new one.
    Modified(T),
    /// An object is gone.
    Deleted {
        /// As it last was, with its last `resourceVersion`; no more than its name where that is no longer
        /// known.
        object: T,
        /// Of the deletion.
        revision: i64,
    },
    /// Nothing has changed up to this revision; from here on one could watch again.
    Bookmark(i64),
}

/// An open watch.
#[derive(Debug)]
pub struct Watch<T> {
    backend: BackendWatch,
    info: &'static KindInfo,
    decode: fn(&Entry) -> Result<T>,
}

impl<T> Watch<T> {
    pub(crate) fn new(
        backend: BackendWatch,
        info: &'static KindInfo,
        decode: fn(&Entry) -> Result<T>,
    ) -> Self {
        Self { backend, info, decode }
    }

    /// Waits for the next change. May be dropped at any time without losing one.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) tells of an object that is none, and the watch goes on. All
    /// others end it: [`Error::Compacted`](crate::Error::Compacted) when the changes are no longer known,
    /// others when etcd is away.
    pub async fn next(&mut self) -> Result<Event<T>> {
        Ok(match self.backend.next().await? {
            Update::Put(entry) if entry.created == entry.revision => Event::Added((self.decode)(&entry)?),
            Update::Put(entry) => Event::Modified((self.decode)(&entry)?),
            Update::Deleted { key, revision, before } => {
                let before = before.unwrap_or_else(|| nameless(self.info, &key, revision));
                Event::Deleted { object: (self.decode)(&before)?, revision }
            }
            Update::Progress(revision) => Event::Bookmark(revision),
        })
    }
}
