//! The bodies of the messages between interior routers.
//!
//! Sources: upstream `python/skupper_router_internal/router/data.py` (HELLO, RA, LSR, LSU) and
//! `src/router_core/modules/mobile_sync/mobile.c` (MAR, MAU). The former have keys of type string and their
//! numbers as int where they fit; the latter have keys of type symbol and their numbers as long.

use std::collections::BTreeMap;

use api::router_config::Distribution;
use serde_amqp::Value;
use serde_amqp::primitives::{OrderedMap, Symbol};
use thiserror::Error;

/// The protocol version of HELLO, RA, LSR and LSU.
const VERSION: i64 = 1;
/// The protocol version of MAR and MAU.
const MOBILE_VERSION: i64 = 2;
/// The one area that there is.
const AREA: &str = "0";

/// Where HELLO goes: to whoever is at the other end of the link.
pub(super) const TO_NEIGHBOUR: &str = "amqp:/_local/qdhello";
/// Where RA goes.
pub(super) const TO_ALL: &str = "amqp:/_topo/0/all/qdrouter";
/// Where a MAU about changes goes.
pub(super) const MOBILE_TO_ALL: &str = "_topo/0/all/qdrouter.ma";

/// Where LSR, LSU and an RA for one router go.
pub(super) fn to_router(id: &str) -> String {
    format!("amqp:/_topo/{AREA}/{id}/qdrouter")
}

/// Where MAR and MAU for one router go.
pub(super) fn mobile_to_router(id: &str) -> String {
    format!("amqp:/_topo/{AREA}/{id}/qdrouter.ma")
}

/// What a router says to routers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// To neighbours: I am here, and these I hear.
    Hello { id: String, instance: i64, seen: Vec<String> },
    /// To all: how far my link state and my addresses have got.
    Ra { id: String, instance: i64, ls_seq: i64, mobile_seq: i64 },
    /// To one: tell me your link state.
    Lsr { id: String },
    /// To one: my link state.
    Lsu { id: String, instance: i64, ls_seq: i64, peers: BTreeMap<String, u32> },
    /// To one: tell me your addresses, I have those of this sequence.
    Mar { id: String, have_seq: i64 },
    /// To one or all: my addresses.
    Mau { id: String, mobile_seq: i64, change: Change },
}

/// What a MAU says about addresses; an address is its hash key, class and name: `Msvc1`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// These are all.
    Exist(BTreeMap<String, Option<Distribution>>),
    /// These came and went since the last one.
    Differ { add: BTreeMap<String, Option<Distribution>>, del: Vec<String> },
}

/// Why a control message is of no use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A body that is no map, or lacks a field, or has it of another type.
    #[error("{opcode}: no proper \"{field}\"")]
    Field {
        /// The kind of message.
        opcode: &'static str,
        /// The field.
        field: &'static str,
    },
    /// An opcode that nobody knows.
    #[error("unknown opcode \"{0}\"")]
    Opcode(String),
    /// From a router of a later protocol.
    #[error("{opcode} from {id} of protocol version {version}, which is not known here")]
    Version {
        /// The kind of message.
        opcode: &'static str,
        /// Who sent it.
        id: String,
        /// Its version.
        version: i64,
    },
    /// More routers than a network may have.
    #[error("router {0} is one too many: a network has at most {max}", max = super::MOST_ROUTERS)]
    TooMany(String),
}

impl Message {
    /// The word in the application property `opcode`.
    pub(super) fn opcode(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "HELLO",
            Self::Ra { .. } => "RA",
            Self::Lsr { .. } => "LSR",
            Self::Lsu { .. } => "LSU",
            Self::Mar { .. } => "MAR",
            Self::Mau { .. } => "MAU",
        }
    }

    /// The body.
    pub(super) fn encode(&self) -> Value {
        match self {
            Self::Hello { id, instance, seen } => Fields::strings(id)
                .with("instance", int(*instance))
                .with("seen", list(seen.iter().map(|id| text(id))))
                .value(),
            Self::Ra { id, instance, ls_seq, mobile_seq } => Fields::strings(id)
                .with("instance", int(*instance))
                .with("ls_seq", int(*ls_seq))
                .with("mobile_seq", int(*mobile_seq))
                .value(),
            Self::Lsr { id } => Fields::strings(id).value(),
            Self::Lsu { id, instance, ls_seq, peers } => {
                let peers = peers.iter().map(|(id, cost)| (text(id), int(i64::from(*cost))));
                let state = Fields { map: OrderedMap::new(), symbols: false }
                    .with("id", text(id))
                    .with("area", text(AREA))
                    .with("ls_seq", int(*ls_seq))
                    .with("peers", Value::Map(peers.collect()));
                Fields::strings(id)
                    .with("instance", int(*instance))
                    .with("ls_seq", int(*ls_seq))
                    .with("ls", state.value())
                    .value()
            }
            Self::Mar { id, have_seq } => {
                Fields::symbols(id).with("have_seq", Value::Long(*have_seq)).value()
            }
            Self::Mau { id, mobile_seq, change } => {
                let fields = Fields::symbols(id).with("mobile_seq", Value::Long(*mobile_seq));
                let described = |addresses: &BTreeMap<String, Option<Distribution>>| {
                    list(addresses.iter().map(|(key, distribution)| describe(key, *distribution)))
                };
                match change {
                    Change::Exist(all) => fields.with("exist", described(all)).value(),
                    Change::Differ { add, del } => fields
                        .with("add", described(add))
                        .with("del", list(del.iter().map(|key| list([text(key)]))))
                        .value(),
                }
            }
        }
    }

    /// Reads a body, whatever types its sender chose for keys and numbers.
    pub(super) fn decode(opcode: &str, body: &Value) -> Result<Self, Error> {
        let opcode = ["HELLO", "RA", "LSR", "LSU", "MAR", "MAU"]
            .into_iter()
            .find(|known| *known == opcode)
            .ok_or_else(|| Error::Opcode(opcode.to_owned()))?;
        let body = Body { opcode, map: as_map(body).ok_or(Error::Field { opcode, field: "body" })? };
        let id = body.text("id")?;
        let version = body.maybe_number("pv")?.unwrap_or_default();
        if version > if matches!(opcode, "MAR" | "MAU") { MOBILE_VERSION } else { VERSION } {
            return Err(Error::Version { opcode, id, version });
        }
        let instance = body.maybe_number("instance")?.unwrap_or_default();
        Ok(match opcode {
            "HELLO" => {
                let seen = body.list("seen")?.iter().map(|one| as_text(one).map(str::to_owned));
                let seen: Option<_> = seen.collect();
                Self::Hello { id, instance, seen: seen.ok_or(body.wrong("seen"))? }
            }
            "RA" => Self::Ra {
                id,
                instance,
                ls_seq: body.number("ls_seq")?,
                mobile_seq: body.number("mobile_seq")?,
            },
            "LSR" => Self::Lsr { id },
            "LSU" => {
                let state = body.get("ls").and_then(as_map).ok_or(body.wrong("ls"))?;
                let state = Body { opcode, map: state };
                let peers = state.get("peers").and_then(as_map).ok_or(body.wrong("peers"))?;
                let peers = peers.iter().map(|(id, cost)| {
                    // A cost below 1 would make the shortest way depend on the order of looking.
                    let cost = u32::try_from(as_number(cost)?).ok().filter(|cost| *cost > 0)?;
                    Some((as_text(id)?.to_owned(), cost))
                });
                let peers: Option<_> = peers.collect();
                let ls_seq = state.number("ls_seq")?;
                Self::Lsu { id, instance, ls_seq, peers: peers.ok_or(body.wrong("peers"))? }
            }
            "MAR" => Self::Mar { id, have_seq: body.number("have_seq")? },
            _ => Self::Mau { id, mobile_seq: body.number("mobile_seq")?, change: body.change()? },
        })
    }
}

/// The fields of a body, in the order in which upstream writes them.
struct Fields {
    map: OrderedMap<Value, Value>,
    symbols: bool,
}

impl Fields {
    fn strings(id: &str) -> Self {
        let fields = Self { map: OrderedMap::new(), symbols: false };
        fields.with("id", text(id)).with("pv", int(VERSION)).with("area", text(AREA))
    }

    fn symbols(id: &str) -> Self {
        let fields = Self { map: OrderedMap::new(), symbols: true };
        fields.with("id", text(id)).with("pv", Value::Long(MOBILE_VERSION)).with("area", text(AREA))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        let name = if self.symbols { Value::Symbol(Symbol::from(name)) } else { text(name) };
        self.map.insert(name, value);
        self
    }

    fn value(self) -> Value {
        Value::Map(self.map)
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

/// As upstream's Python writes numbers (`qd_py_to_composed`).
fn int(number: i64) -> Value {
    i32::try_from(number).map_or(Value::Long(number), Value::Int)
}

/// An address of a MAU: hash key, treatment, number of links that send to it.
fn describe(key: &str, distribution: Option<Distribution>) -> Value {
    let treatment = match distribution.unwrap_or_default() {
        Distribution::Multicast => 1,
        Distribution::Closest => 2,
        Distribution::Balanced => 3,
        Distribution::Unavailable => 4,
    };
    list([text(key), Value::Int(treatment), Value::Int(0)])
}

/// A body on its way in.
struct Body<'a> {
    opcode: &'static str,
    map: &'a OrderedMap<Value, Value>,
}

impl Body<'_> {
    fn wrong(&self, field: &'static str) -> Error {
        Error::Field { opcode: self.opcode, field }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.map.iter().find(|(key, _)| as_text(key) == Some(name)).map(|(_, value)| value)
    }

    fn text(&self, name: &'static str) -> Result<String, Error> {
        self.get(name).and_then(as_text).map(str::to_owned).ok_or(self.wrong(name))
    }

    fn number(&self, name: &'static str) -> Result<i64, Error> {
        self.get(name).and_then(as_number).ok_or(self.wrong(name))
    }

    fn maybe_number(&self, name: &'static str) -> Result<Option<i64>, Error> {
        self.get(name).map(|value| as_number(value).ok_or(self.wrong(name))).transpose()
    }

    fn list(&self, name: &'static str) -> Result<&[Value], Error> {
        self.get(name).and_then(as_list).ok_or(self.wrong(name))
    }

    /// Either `exist`, or both `add` and `del`.
    fn change(&self) -> Result<Change, Error> {
        let has = |name| self.get(name).is_some();
        match (has("exist"), has("add"), has("del")) {
            (true, false, false) => Ok(Change::Exist(self.addresses("exist")?.into_iter().collect())),
            (false, true, true) => Ok(Change::Differ {
                add: self.addresses("add")?.into_iter().collect(),
                del: self.addresses("del")?.into_iter().map(|(key, _)| key).collect(),
            }),
            _ => Err(self.wrong("exist")),
        }
    }

    fn addresses(&self, name: &'static str) -> Result<Vec<(String, Option<Distribution>)>, Error> {
        let described = self.list(name)?.iter().map(|one| {
            let one = as_list(one)?;
            let distribution = one.get(1).and_then(as_number).and_then(|treatment| match treatment {
                0 | 1 => Some(Distribution::Multicast),
                2 => Some(Distribution::Closest),
                3 => Some(Distribution::Balanced),
                4 => Some(Distribution::Unavailable),
                _ => None,
            });
            Some((as_text(one.first()?)?.to_owned(), distribution))
        });
        described.collect::<Option<_>>().ok_or(self.wrong(name))
    }
}

fn as_map(value: &Value) -> Option<&OrderedMap<Value, Value>> {
    match value {
        Value::Map(map) => Some(map),
        _ => None,
    }
}

fn as_list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(list) => Some(list),
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<i64> {
    match value {
        Value::Ubyte(number) => Some((*number).into()),
        Value::Ushort(number) => Some((*number).into()),
        Value::Uint(number) => Some((*number).into()),
        Value::Ulong(number) => i64::try_from(*number).ok(),
        Value::Byte(number) => Some((*number).into()),
        Value::Short(number) => Some((*number).into()),
        Value::Int(number) => Some((*number).into()),
        Value::Long(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
