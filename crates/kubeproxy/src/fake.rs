//! A table in memory that refuses what the kernel would refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nft::conntrack::Flow;
use nft::ruleset::{Bytes, Chain, Element, Map, Value, Verdict};

use crate::apply::Kernel;
use crate::chains::Structure;
use crate::error::{Error, Result};
use crate::ops::{Elements, Observed, Op, Standing};

/// A table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) maps: BTreeMap<String, (Map, Elements)>,
    pub(crate) chains: BTreeMap<String, Chain>,
}

/// The kernel.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) table: Option<Table>,
    pub(crate) generation: u32,
    /// The table is somebody else's.
    pub(crate) foreign: bool,
    /// The next transactions fail with this error.
    pub(crate) fails: Option<i32>,
    /// What was written.
    pub(crate) written: Vec<Op>,
}

fn refused(op: &Op, errno: i32) -> Error {
    let source = io::Error::from_raw_os_error(errno);
    let what = format!("{op:?}");
    Error::Kernel { what: "change the rules", source: nft::Error::Refused { what, position: None, source } }
}

impl Table {
    fn apply(&mut self, op: &Op) -> Result<(), i32> {
        match op {
            Op::AddMap(map) => {
                let there = self.maps.insert(map.name.into(), (*map, Elements::new()));
                there.map_or(Ok(()), |_| Err(libc::EEXIST))
            }
            Op::AddChain(chain) => {
                assert!(chain.rules.is_empty(), "they are set later");
                let there = self.chains.insert(chain.name.clone(), chain.clone());
                there.map_or(Ok(()), |_| Err(libc::EEXIST))
            }
            Op::SetRules(name, rules) => {
                let found = |(chains, maps): (Vec<String>, Vec<String>)| {
                    chains.iter().all(|chain| self.chains.contains_key(chain))
                        && maps.iter().all(|map| self.maps.contains_key(map))
                };
                if !rules.iter().all(|rule| found(rule.leads_to())) {
                    return Err(libc::ENOENT);
                }
                self.chains.get_mut(name).ok_or(libc::ENOENT)?.rules.clone_from(rules);
                Ok(())
            }
            Op::Flush(name) => {
                self.chains.get_mut(name).ok_or(libc::ENOENT)?.rules.clear();
                Ok(())
            }
            Op::DeleteChain(name) => {
                if self.leads(name) {
                    return Err(libc::EBUSY);
                }
                let chain = self.chains.remove(name).ok_or(libc::ENOENT)?;
                if chain.rules.is_empty() { Ok(()) } else { Err(libc::EBUSY) }
            }
            Op::DeleteMap(name) => {
                let used = |chain: &Chain| chain.rules.iter().any(|rule| rule.leads_to().1.contains(name));
                if self.chains.values().any(used) {
                    return Err(libc::EBUSY);
                }
                self.maps.remove(name).map(|_| ()).ok_or(libc::ENOENT)
            }
            Op::Add(map, element) => self.add(map, element),
            Op::Replace(map, element) => {
                self.delete(map, &element.key)?;
                self.add(map, element)
            }
            Op::Delete(map, key) => self.delete(map, key),
            Op::AddTable | Op::DeleteTable => Err(libc::EINVAL),
        }
    }

    /// Whether anything leads to a chain.
    fn leads(&self, chain: &str) -> bool {
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        let verdicts = self.maps.values().flat_map(|(_, elements)| elements.values());
        let goto = Value::Verdict(Verdict::Goto(chain.into()));
        rules.into_iter().any(|rule| rule.leads_to().0.iter().any(|name| name == chain))
            || verdicts.into_iter().any(|element| element.value == goto)
    }

    fn add(&mut self, map: &Map, element: &Element) -> Result<(), i32> {
        if let Value::Verdict(Verdict::Goto(chain)) = &element.value
            && !self.chains.contains_key(&**chain)
        {
            return Err(libc::ENOENT);
        }
        let (map, elements) = self.maps.get_mut(map.name).ok_or(libc::ENOENT)?;
        if map.size.is_some_and(|size| elements.len() >= size as usize) {
            return Err(libc::ENFILE);
        }
        let there = elements.insert(element.key, element.clone());
        there.map_or(Ok(()), |_| Err(libc::EEXIST))
    }

    fn delete(&mut self, map: &Map, key: &[u8]) -> Result<(), i32> {
        let (_, elements) = self.maps.get_mut(map.name).ok_or(libc::ENOENT)?;
        elements.remove(key).map(|_| ()).ok_or(libc::ENOENT)
    }

    /// Whether every lookup finds what it leads to: each mark has a chain, and each frontend as many endpoints as its
    /// mark says.
    pub(crate) fn is_sound(&self) -> Result<(), String> {
        use crate::layout::{self, KINDS, Meaning, Role};
        let elements = |kind: layout::Kind, role| {
            kind.map(role).and_then(|map| self.maps.get(map.name)).map(|(_, elements)| elements)
        };
        let mark = |element: &Element| match &element.value {
            Value::Data(data) => u32::from_ne_bytes(data[..4].try_into().unwrap()),
            other => panic!("{other:?}"),
        };
        let with = |key: &Bytes, number: u32| key.number(number);
        for kind in KINDS {
            for (key, element) in elements(kind, Role::Frontends).into_iter().flatten() {
                let mark = mark(element);
                for balancer in layout::balancers(mark) {
                    let chains = elements(kind, Role::Balancers).unwrap();
                    let found = chains.contains_key(&with(&Bytes::default(), balancer));
                    found.then_some(()).ok_or(format!("{}: no chain for {mark:#x}", element.comment))?;
                }
                let Meaning::Balance { count, affinity, .. } = layout::meaning(mark) else { continue };
                let role = if affinity.is_some() { Role::Choices } else { Role::Endpoints };
                for index in 0..count {
                    let found = elements(kind, role).and_then(|elements| elements.get(&with(key, index)));
                    let missing = || format!("{}: no endpoint {index}", element.comment);
                    let found = found.ok_or_else(missing)?;
                    if affinity.is_none() {
                        continue;
                    }
                    let Value::Data(number) = &found.value else { panic!("{found:?}") };
                    for balancer in layout::balancers(mark) {
                        let number = u32::from_ne_bytes(number[..4].try_into().unwrap());
                        let chosen = with(key, number | balancer & layout::MASQUERADE);
                        elements(kind, Role::Chosen).unwrap().get(&chosen).ok_or_else(missing)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Kernel for Fake {
    fn observe(&mut self, wanted: &Structure) -> Result<Option<Observed>> {
        if self.foreign {
            return Err(Error::Foreign { table: "ip kube-proxy".into(), comment: String::new() });
        }
        let Some(table) = &self.table else { return Ok(None) };
        let map = |(name, (map, _)): (&String, &(Map, Elements))| {
            // Whether elements count does not matter.
            let is = |wanted: &Map| Map { counted: map.counted, ..*wanted } == *map;
            let same = wanted.maps.get(name.as_str()).is_some_and(is);
            (name.clone(), if same { Standing::Same } else { Standing::Other })
        };
        let chain = |(name, chain): (&String, &Chain)| {
            let standing = match wanted.chains.get(name) {
                Some(wanted) if wanted == chain => Standing::Same,
                Some(wanted) if (wanted.hook, &wanted.comment) == (chain.hook, &chain.comment) => {
                    Standing::OtherRules
                }
                _ => Standing::Other,
            };
            (name.clone(), standing)
        };
        Ok(Some(Observed {
            maps: table.maps.iter().map(map).collect(),
            chains: table.chains.iter().map(chain).collect(),
            sizes: table.maps.iter().filter_map(|(name, (map, _))| Some((name.clone(), map.size?))).collect(),
        }))
    }

    fn elements(&mut self, map: &str) -> Result<Elements> {
        let found = self.table.as_ref().and_then(|table| table.maps.get(map));
        Ok(found.map(|(_, elements)| elements.clone()).unwrap_or_default())
    }

    fn commit(&mut self, ops: &[Op]) -> Result<u32> {
        assert!(!ops.is_empty(), "nothing is written where nothing changes");
        if let Some(errno) = self.fails {
            return Err(refused(&ops[0], errno));
        }
        let mut table = self.table.clone();
        for op in ops {
            let result = match (op, &mut table) {
                (Op::AddTable, None) => {
                    table = Some(Table::default());
                    Ok(())
                }
                (Op::DeleteTable, Some(_)) => {
                    table = None;
                    Ok(())
                }
                (Op::AddTable, Some(_)) => Err(libc::EEXIST),
                (_, None) => Err(libc::ENOENT),
                (op, Some(table)) => table.apply(op),
            };
            result.map_err(|errno| refused(op, errno))?;
        }
        self.table = table;
        self.written.extend(ops.iter().cloned());
        self.generation += 1;
        Ok(1)
    }

    fn generation(&mut self) -> Result<u32> {
        Ok(self.generation)
    }

    fn flows(&mut self, _: u8) -> Result<Vec<Flow>> {
        Ok(Vec::new())
    }

    fn forget(&mut self, _: &Flow) -> Result<()> {
        Ok(())
    }
}

impl Fake {
    /// The chains that hold no packets up.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.table.iter().flat_map(|table| table.chains.keys().cloned()).collect()
    }
}
