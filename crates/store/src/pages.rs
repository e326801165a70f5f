//! Objects a page at a time, for those who keep less of them than the whole.

use std::marker::PhantomData;

use crate::backend::Backend;
use crate::encoding::decode;
use crate::error::Result;
use crate::typed::{Object, Store};

/// The objects of a kind, a page at a time, all as of one revision.
#[derive(Debug)]
pub struct Pages<K> {
    backend: Backend,
    prefix: String,
    from: Option<String>,
    revision: i64,
    over: bool,
    kind: PhantomData<fn() -> K>,
}

impl Store {
    /// Every object of a kind, in the order of the keys; of one namespace, or of all.
    #[must_use]
    pub fn pages<K: Object>(&self, namespace: Option<&str>) -> Pages<K> {
        Pages {
            backend: self.0.clone(),
            prefix: K::INFO.prefix(namespace),
            from: None,
            revision: 0,
            over: false,
            kind: PhantomData,
        }
    }
}

impl<K: Object> Pages<K> {
    /// The next page; none after the last. What is stored but is no such object is an error in its place.
    ///
    /// # Errors
    /// When etcd is away, or the revision of the first page is no longer known. Then one has to begin anew.
    pub async fn next(&mut self) -> Result<Option<Vec<Result<K>>>> {
        if self.over {
            return Ok(None);
        }
        let page = self.backend.page(&self.prefix, self.from.as_deref(), self.revision).await?;
        self.revision = page.revision;
        self.over = page.next.is_none();
        self.from = page.next;
        Ok(Some(page.entries.iter().map(decode).collect()))
    }

    /// From here on a watch tells what changes; 0 before the first page.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }
}
