//! Operations as messages.

use nft::ruleset::{Change, Element, Table, add_elements, delete_elements};

use crate::ops::Op;

/// Elements that are taken out and put in again, in bytes about: both messages have to be in one transaction.
const REPLACED: usize = 48 * 1024;
/// Bytes of an element beside its key, its value and its comment, at most.
const ELEMENT: usize = 128;

/// Changes that have to be in one transaction.
pub(super) struct Unit {
    /// In words.
    pub(super) what: String,
    pub(super) changes: Vec<Change>,
}

impl Unit {
    /// Bytes that it adds to a batch.
    pub(super) fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }
}

/// The messages for operations; those for elements of the same map together, for it is the number of messages that
/// costs.
pub(super) fn units(table: &Table, comment: &str, ops: &[Op]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut maps = 0;
    for run in ops.chunk_by(alike) {
        let Some(first) = run.first() else { continue };
        let mut put = |what: String, changes| units.push(Unit { what, changes });
        match first {
            Op::Add(map, _) => {
                for change in add_elements(table, map.name, run.iter().filter_map(element)) {
                    put(format!("elements of map {}", map.name), vec![change]);
                }
            }
            Op::Delete(map, _) => {
                let keys =
                    run.iter().filter_map(|op| if let Op::Delete(_, key) = op { Some(&**key) } else { None });
                for change in delete_elements(table, map.name, keys) {
                    put(format!("elements of map {}", map.name), vec![change]);
                }
            }
            Op::Replace(map, _) => {
                for elements in parts(run.iter().filter_map(element)) {
                    let keys = elements.iter().map(|element| &*element.key);
                    let mut changes: Vec<_> = delete_elements(table, map.name, keys).collect();
                    changes.extend(add_elements(table, map.name, elements));
                    put(format!("elements of map {}", map.name), changes);
                }
            }
            other => {
                put(format!("{other:?}").chars().take(60).collect(), single(table, comment, other, &mut maps))
            }
        }
    }
    units
}

/// Whether two operations go into one message.
fn alike(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Add(a, _), Op::Add(b, _)) | (Op::Replace(a, _), Op::Replace(b, _)) => a.name == b.name,
        (Op::Delete(a, _), Op::Delete(b, _)) => a.name == b.name,
        _ => false,
    }
}

fn element(op: &Op) -> Option<&Element> {
    match op {
        Op::Add(_, element) | Op::Replace(_, element) => Some(element),
        _ => None,
    }
}

fn parts<'a>(elements: impl Iterator<Item = &'a Element>) -> Vec<Vec<&'a Element>> {
    let mut parts: Vec<Vec<&Element>> = Vec::new();
    let mut size = REPLACED;
    for element in elements {
        // A value is never longer than a key.
        let more = 2 * element.key.len() + element.comment.len() + ELEMENT;
        if size + more > REPLACED {
            parts.push(Vec::new());
            size = 0;
        }
        size += more;
        parts.last_mut().into_iter().for_each(|part| part.push(element));
    }
    parts
}

fn single(table: &Table, comment: &str, op: &Op, maps: &mut u32) -> Vec<Change> {
    match op {
        Op::DeleteTable => vec![table.delete()],
        Op::AddTable => vec![table.add(comment)],
        Op::AddMap(map) => {
            *maps += 1;
            vec![table.add_map(map, *maps)]
        }
        Op::AddChain(chain) => vec![table.add_chain(chain)],
        Op::SetRules(chain, rules) => {
            let mut changes = vec![table.flush_chain(chain)];
            changes.extend(rules.iter().map(|rule| table.add_rule(chain, rule)));
            changes
        }
        Op::Flush(chain) => vec![table.flush_chain(chain)],
        Op::DeleteChain(chain) => vec![table.delete_chain(chain)],
        Op::DeleteMap(map) => vec![table.delete_map(map)],
        Op::Add(..) | Op::Replace(..) | Op::Delete(..) => vec![],
    }
}
