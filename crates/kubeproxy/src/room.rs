//! How many elements maps have, and how many they take.
//!
//! A map that takes any number is hashed anew each time it has doubled: more than half of what a large load costs the
//! kernel. One that says how many it takes is made as large as that at once. So the maps of a table that begins with many
//! services say it, with room for twice of what they begin with; if that is not enough, the table is made anew.

use std::collections::BTreeMap;

use crate::chains::Structure;
use crate::ops::Op;

/// What a map takes that says so, by name.
pub(crate) type Sizes = BTreeMap<String, u32>;

/// Maps with fewer elements may grow as they like.
const SMALL: usize = 1000;

/// Elements of maps.
#[derive(Debug, Default)]
pub(crate) struct Room {
    has: BTreeMap<&'static str, usize>,
    takes: Sizes,
    exceeded: bool,
}

impl Room {
    /// That of a table that is there.
    pub(crate) fn of_table(takes: Sizes) -> Self {
        Self { takes, ..Self::default() }
    }

    /// Adds elements to a map.
    pub(crate) fn add(&mut self, map: &'static str, count: usize) {
        let has = self.has.entry(map).or_default();
        *has += count;
        self.exceeded |= self.takes.get(map).is_some_and(|takes| *has > *takes as usize);
    }

    /// Takes note of operations: what is added is there before what is deleted has gone.
    pub(crate) fn follow(&mut self, ops: &[Op]) {
        for op in ops {
            if let Op::Add(map, _) = op {
                self.add(map.name, 1);
            }
        }
        for op in ops {
            if let Op::Delete(map, _) = op {
                let has = self.has.entry(map.name).or_default();
                *has = has.saturating_sub(1);
            }
        }
    }

    /// How many elements a map has.
    #[cfg(test)]
    pub(crate) fn has(&self, map: &str) -> usize {
        self.has.get(map).copied().unwrap_or_default()
    }

    /// Whether some map has, or had for a moment, more than it takes.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// Says for all maps what they are to take, as for a new table.
    pub(crate) fn make(&mut self) {
        let large = self.has.iter().filter(|(_, has)| **has > SMALL);
        let takes = |has: usize| u32::try_from((2 * has).next_power_of_two()).ok();
        self.takes = large.filter_map(|(map, has)| Some(((*map).to_owned(), takes(*has)?))).collect();
        self.exceeded = false;
    }

    /// Has the maps of a structure say it.
    pub(crate) fn tell(&self, structure: &mut Structure) {
        for map in structure.maps.values_mut().filter(|map| !map.is_dynamic()) {
            map.size = self.takes.get(map.name).copied();
        }
    }
}
