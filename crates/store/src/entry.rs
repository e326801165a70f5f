//! Keys, values and revisions, as both backends give them.

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// Of its last change.
    pub(crate) revision: i64,
    /// Of the change that made it; another one for a key that was deleted and made again.
    pub(crate) created: i64,
}

/// All entries below a prefix, as of one revision, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    pub(crate) revision: i64,
}

/// Some of the entries below a prefix, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// As of which all of them are.
    pub(crate) revision: i64,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<String>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// The key has a new value.
    Put(Entry),
    /// The key is gone.
    Deleted {
        key: String,
        revision: i64,
        /// What it was; unknown if that has been compacted.
        before: Option<Entry>,
    },
    /// Nothing has changed up to this revision.
    Progress(i64),
}

impl Update {
    /// The revision up to which everything has been told with it.
    pub(crate) fn revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Deleted { revision, .. } | Self::Progress(revision) => *revision,
        }
    }
}

/// How a conditional change went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Done(T),
    /// The key is there with another revision than expected.
    Differs,
    /// The key is not there.
    Missing,
}
