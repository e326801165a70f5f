//! Node ports: one bitmap for all of them.
//!
//! Source: kubernetes `pkg/registry/core/service/allocator/{bitmap,storage/storage}.go`: a `RangeAllocation`
//! with the bits as a number, the highest byte first.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use api::KindInfo;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Allocator, chance, dynamic, lower_part};
use crate::error::{Error, Result};
use crate::typed::Store;

/// Not a kind that users see.
static RANGES: KindInfo = KindInfo {
    group: "",
    version: "v1",
    kind: "RangeAllocation",
    plural: "rangeallocations",
    short: &[],
    namespaced: false,
    folder: "ranges",
};

const NAME: &str = "servicenodeports";

/// The range of the bitmap that is there.
pub(super) async fn range(store: &Store) -> Result<Option<RangeInclusive<u16>>> {
    let found = store.get_raw(&RANGES, "", NAME).await?;
    Ok(found.as_ref().and_then(range_of))
}

fn range_of(object: &Value) -> Option<RangeInclusive<u16>> {
    let (first, last) = object.get("range")?.as_str()?.split_once('-')?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

impl Allocator {
    /// Writes the range, if another one stands there; ports outside of it are no longer noted.
    pub(super) async fn publish_ports(&self) -> Result<()> {
        loop {
            let found = self.store.get_raw(&RANGES, "", NAME).await?;
            if found.as_ref().and_then(range_of).as_ref() == Some(&self.node_ports) {
                return Ok(());
            }
            let taken = found.as_ref().map(|found| self.read(found)).unwrap_or_default();
            match self.write(found, &taken).await {
                Err(Error::Conflict { .. } | Error::Exists { .. } | Error::NotFound { .. }) => {}
                result => return result,
            }
        }
    }

    /// The ports that are taken.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn taken_ports(&self) -> Result<BTreeSet<u16>> {
        let found = self.store.get_raw(&RANGES, "", NAME).await?;
        Ok(found.map(|found| self.read(&found)).unwrap_or_default())
    }

    /// Notes that ports are taken, whoever has them; says whether one of them was not noted.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn note_ports(&self, ports: &BTreeSet<u16>) -> Result<bool> {
        let note = |taken: &mut BTreeSet<u16>| {
            let before = taken.len();
            taken.extend(ports.iter().filter(|port| self.node_ports.contains(port)));
            Ok::<_, ()>(taken.len() > before)
        };
        Ok(self.change(note).await? == Ok(true))
    }

    /// Gives ports back.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn release_ports(&self, ports: &BTreeSet<u16>) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let release = |taken: &mut BTreeSet<u16>| {
            taken.retain(|port| !ports.contains(port));
            Ok::<_, ()>(())
        };
        self.change(release).await.map(|_| ())
    }

    /// Takes these and as many more, which are given; or none. An error names the one that is taken, or none if
    /// there are not enough.
    pub(super) async fn take_ports(
        &self,
        wanted: &BTreeSet<u16>,
        more: usize,
    ) -> Result<std::result::Result<Vec<u16>, Option<u16>>> {
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        let size = if last < first { 0 } else { u32::from(last - first) + 1 };
        let lower = lower_part(size, 32, 128);
        let take = |taken: &mut BTreeSet<u16>| {
            if let Some(port) = wanted.iter().find(|port| taken.contains(port)) {
                return Err(Some(*port));
            }
            taken.extend(wanted);
            let numbers =
                dynamic(size, lower, chance()).filter_map(|at| Some(first + u16::try_from(at).ok()?));
            let free: Vec<u16> = numbers.filter(|port| !taken.contains(port)).take(more).collect();
            if free.len() < more {
                return Err(None);
            }
            taken.extend(&free);
            Ok(free)
        };
        self.change(take).await
    }

    /// Changes the bitmap, unless it is refused or stays as it is.
    async fn change<T, E>(
        &self,
        mut change: impl FnMut(&mut BTreeSet<u16>) -> std::result::Result<T, E>,
    ) -> Result<std::result::Result<T, E>> {
        loop {
            let found = self.store.get_raw(&RANGES, "", NAME).await?;
            let before = found.as_ref().map(|found| self.read(found)).unwrap_or_default();
            let mut after = before.clone();
            let result = change(&mut after);
            if result.is_err() || after == before {
                return Ok(result);
            }
            let written = self.write(found, &after).await;
            match written {
                Ok(()) => return Ok(result),
                // Another was faster.
                Err(Error::Conflict { .. } | Error::Exists { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn write(&self, found: Option<Value>, taken: &BTreeSet<u16>) -> Result<()> {
        let mut object = self.show(taken);
        match found {
            Some(found) => {
                object["metadata"] = found["metadata"].clone();
                self.store.update_raw(&RANGES, &mut object).await
            }
            None => self.store.create_raw(&RANGES, &mut object).await,
        }
    }

    /// One of another range, from before it was changed, counts from its own first port.
    fn read(&self, object: &Value) -> BTreeSet<u16> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let first = range_of(object).map_or(*self.node_ports.start(), |range| *range.start());
        let bytes = STANDARD.decode(text("data")).unwrap_or_default();
        let bits = bytes.iter().rev().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        let ports = bits.enumerate().filter(|(_, set)| *set);
        let ports = ports.filter_map(|(at, _)| first.checked_add(u16::try_from(at).ok()?));
        ports.filter(|port| self.node_ports.contains(port)).collect()
    }

    fn show(&self, taken: &BTreeSet<u16>) -> Value {
        let (first, last) = (self.node_ports.start(), self.node_ports.end());
        let mut bytes = Vec::new();
        for at in taken.iter().filter_map(|port| port.checked_sub(*first)).map(usize::from) {
            if bytes.len() <= at / 8 {
                bytes.resize(at / 8 + 1, 0u8);
            }
            bytes[at / 8] |= 1 << (at % 8);
        }
        bytes.reverse();
        json!({
            "kind": RANGES.kind, "apiVersion": RANGES.version, "metadata": {"name": NAME},
            "range": format!("{first}-{last}"), "data": STANDARD.encode(bytes),
        })
    }
}
