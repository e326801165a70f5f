//! The rules of a service in words, with what they have counted: from the table itself, as the kernel has it.
//!
//! What is counted are connections, or for datagrams flows: only the first packet of each comes by. A count begins anew
//! when the frontend's number of endpoints changes, or another endpoint takes the place of one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use nft::ruleset::{Bytes, Element, Family, Value};
use serde::Serialize;

use crate::apply::Netlink;
use crate::chains;
use crate::error::Result;
use crate::frontend::{Audience, Frontend, Masquerade, Place, Protocol};
use crate::layout::{self, KINDS, Kind, MASQUERADE, Meaning, Role};

/// What the table does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// By what they are for, as `default/web:http`.
    pub services: BTreeMap<String, Vec<ShownFrontend>>,
    /// What was done to connections that nobody serves.
    pub counts: Counts,
}

/// Connections that nobody serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// TCP connections that were reset: services without endpoints, ports without service.
    pub reset: u64,
    /// Other packets that were refused for the same reasons.
    pub refused: u64,
    /// Packets to addresses of the service network that no service has.
    pub dropped: u64,
}

/// Where a service is, and what becomes of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownFrontend {
    /// As `100.64.3.7:80/tcp` or `node port 30080/tcp`.
    pub at: String,
    /// Whether it is for clients outside of the pod network only.
    pub outside: bool,
    /// What becomes of a connection.
    pub outcome: Outcome,
    /// Connections to it.
    pub connections: u64,
    /// Where they go.
    pub endpoints: Vec<ShownEndpoint>,
}

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// There are no endpoints.
    Refused,
    /// There are endpoints, but none on this worker.
    Dropped,
    /// They go to an endpoint.
    #[serde(rename_all = "camelCase")]
    Balanced {
        /// For how many seconds a client stays with its endpoint.
        affinity: Option<u32>,
        /// Whose connections seem to come from the worker.
        masquerade: Masquerade,
        /// One after the other, and not at random.
        in_turn: bool,
    },
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port; none where all ports stay as they are.
    pub port: Option<u16>,
    /// As `default/web-7f9c`; empty if only the address is known.
    pub name: String,
    /// Connections that went there.
    pub connections: u64,
    /// Clients that stay with it, where clients do.
    pub clients: Option<usize>,
}

/// The rules of the calling thread's namespace: of one service, as `web`, `default/web` or `default/web:http`, or of all.
/// Nothing if there is no table.
///
/// # Errors
/// [`Error::Foreign`](crate::Error::Foreign) if the table is somebody else's; otherwise the kernel's.
pub fn show(family: Family, service: Option<&str>) -> Result<Shown> {
    let mut kernel = Netlink::open(family, "")?;
    let Some(live) = kernel.live()? else { return Ok(Shown::default()) };
    let counted = |chain: &str, nth: usize| {
        let rules = live.chains.get(chain).map(|chain| &chain.rules[..]).unwrap_or_default();
        rules.iter().filter_map(nft::ruleset::LiveRule::packets).nth(nth).unwrap_or(0)
    };
    let counts = Counts {
        reset: counted(chains::REFUSE, 0),
        refused: counted(chains::REFUSE, 1),
        dropped: counted(chains::SERVICES, 0),
    };
    let mut shown = Shown { services: BTreeMap::new(), counts };
    for kind in KINDS {
        let mut read = |role| match kind.map(role) {
            Some(map) if live.maps.contains_key(map.name) => elements(&mut kernel, map.name),
            _ => Ok(Map::new()),
        };
        let maps = Maps {
            kind,
            endpoints: read(Role::Endpoints)?,
            choices: read(Role::Choices)?,
            chosen: read(Role::Chosen)?,
            clients: clients(&read(Role::Clients)?),
        };
        for (key, (element, packets)) in read(Role::Frontends)? {
            let owner = element.comment.to_string();
            if service.is_some_and(|service| !is_called(&owner, service)) {
                continue;
            }
            if let Some(frontend) = maps.frontend(&key, &element, packets) {
                shown.services.entry(owner).or_default().push(frontend);
            }
        }
    }
    Ok(shown)
}

/// Whether somebody means `default/web:http`.
fn is_called(owner: &str, wanted: &str) -> bool {
    let service = owner.split(':').next().unwrap_or_default();
    let plain = |name: &str| name.split_once('/').map_or(name, |(_, name)| name).to_owned();
    [owner.to_owned(), service.to_owned(), plain(owner), plain(service)].iter().any(|name| name == wanted)
}

type Map = BTreeMap<Bytes, (Element, u64)>;

fn elements(kernel: &mut Netlink, map: &str) -> Result<Map> {
    let mut elements = Map::new();
    kernel.each_element(map, |live| {
        elements.insert(live.element.key, (live.element, live.packets.unwrap_or(0)));
    })?;
    Ok(elements)
}

/// How many clients stay with each number of a frontend. The client's address is the first of its key.
fn clients(map: &Map) -> BTreeMap<Vec<u8>, usize> {
    let mut count = BTreeMap::new();
    for (element, _) in map.values() {
        if let Value::Data(number) = &element.value {
            *count.entry([&element.key[..], number].concat()).or_default() += 1;
        }
    }
    count
}

/// The maps of a kind.
struct Maps {
    kind: Kind,
    endpoints: Map,
    choices: Map,
    chosen: Map,
    /// By the key of the map with the number behind it.
    clients: BTreeMap<Vec<u8>, usize>,
}

impl Maps {
    fn frontend(&self, key: &Bytes, element: &Element, connections: u64) -> Option<ShownFrontend> {
        let frontend = place(self.kind, key)?;
        let mark = number(&element.value)?;
        let (outcome, endpoints) = match layout::meaning(mark) {
            Meaning::Reject => (Outcome::Refused, vec![]),
            Meaning::Drop => (Outcome::Dropped, vec![]),
            Meaning::Balance { count, affinity, masquerade } => {
                let in_turn = self.kind == Kind::Virtual;
                let endpoints = (0..count).filter_map(|index| match affinity {
                    None => self.endpoint(key, index),
                    Some(_) => self.chosen(key, index),
                });
                (Outcome::Balanced { affinity, masquerade, in_turn }, endpoints.collect())
            }
        };
        let outside = frontend.audience == Audience::Outside;
        Some(ShownFrontend { at: frontend.place.to_string(), outside, outcome, connections, endpoints })
    }

    fn endpoint(&self, frontend: &Bytes, index: u32) -> Option<ShownEndpoint> {
        let (element, connections) = self.endpoints.get(&frontend.number(index))?;
        shown(element, *connections, None)
    }

    /// The endpoint of a client that stays: with and without masquerading it has two elements.
    fn chosen(&self, frontend: &Bytes, index: u32) -> Option<ShownEndpoint> {
        let (choice, _) = self.choices.get(&frontend.number(index))?;
        let chosen = number(&choice.value)?;
        let both = [chosen, chosen | MASQUERADE].map(|number| frontend.number(number));
        let (element, _) = self.chosen.get(&both[0])?;
        let connections = both.iter().filter_map(|key| self.chosen.get(key)).map(|(_, n)| n).sum();
        let staying = |key: &Bytes| -> usize {
            self.clients.iter().filter(|(client, _)| client.ends_with(key)).map(|(_, count)| count).sum()
        };
        shown(element, connections, Some(both.iter().map(staying).sum()))
    }
}

fn number(value: &Value) -> Option<u32> {
    let Value::Data(data) = value else { return None };
    Some(u32::from_ne_bytes(*data.first_chunk()?))
}

/// The frontend of a key.
fn place(kind: Kind, key: &[u8]) -> Option<Frontend> {
    let port = |key: &[u8]| -> Option<(Protocol, u16)> {
        let protocol = Protocol::from_number(*key.first()?)?;
        Some((protocol, u16::from_be_bytes(*key.get(4..)?.first_chunk()?)))
    };
    let address = |length: usize| -> Option<IpAddr> {
        match length {
            4 => Some(IpAddr::from(*key.first_chunk::<4>()?)),
            16 => Some(IpAddr::from(*key.first_chunk::<16>()?)),
            _ => None,
        }
    };
    Some(match kind {
        Kind::Virtual => Frontend::new(Place::Virtual(address(key.len())?)),
        Kind::Service | Kind::OutsideService => {
            let length = key.len().checked_sub(8)?;
            let (protocol, port) = port(key.get(length..)?)?;
            let place = Place::Address(address(length)?, protocol, port);
            if kind == Kind::Service { Frontend::new(place) } else { Frontend::outside(place) }
        }
        Kind::NodePort | Kind::OutsideNodePort => {
            let (protocol, port) = port(key)?;
            let place = Place::NodePort(protocol, port);
            if kind == Kind::NodePort { Frontend::new(place) } else { Frontend::outside(place) }
        }
    })
}

/// An endpoint; its name stands in the comment: `default/web:http -> default/web-7f9c/11.10.0.5`.
fn shown(element: &Element, connections: u64, clients: Option<usize>) -> Option<ShownEndpoint> {
    let (address, port) = crate::proxy::end(&element.value)?;
    let name = element.comment.split_once(" -> ").map_or("", |(_, name)| name);
    let name = name.strip_suffix(&format!("/{address}")).unwrap_or_default().to_owned();
    Some(ShownEndpoint { address, port: (port > 0).then_some(port), name, connections, clients })
}

/// As `1 connection`, `2 connections`.
struct Count<'a>(u64, &'a str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

impl ShownEndpoint {
    fn at(&self) -> String {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).to_string(),
            None => self.address.to_string(),
        }
    }
}

/// An endpoint among others, with as many columns for its name.
struct Row<'a>(&'a ShownEndpoint, usize);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(endpoint, width) = self;
        let connections = Count(endpoint.connections, "connection");
        write!(f, "{:<21}  {:<width$}  {connections}", endpoint.at(), endpoint.name)?;
        if let Some(clients) = endpoint.clients {
            write!(f, ", {}", Count(clients as u64, "client"))?;
        }
        Ok(())
    }
}

impl fmt::Display for ShownFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = if self.outside { ", for clients outside of the pod network" } else { "" };
        write!(f, "  {}{whom}: {}; ", self.at, Count(self.connections, "connection"))?;
        match self.outcome {
            Outcome::Refused => return writeln!(f, "refused, for there are no endpoints"),
            Outcome::Dropped => {
                return writeln!(f, "dropped, for there are endpoints, but none on this worker");
            }
            Outcome::Balanced { affinity: Some(seconds), .. } => {
                write!(f, "a client stays with its endpoint for {}", Count(seconds.into(), "second"))?;
            }
            Outcome::Balanced { in_turn: true, .. } => write!(f, "the endpoints take turns")?,
            Outcome::Balanced { .. } => write!(f, "one of the endpoints is drawn")?,
        }
        if let Outcome::Balanced { masquerade, .. } = self.outcome {
            f.write_str(match masquerade {
                Masquerade::Never => ", which sees the client's address",
                Masquerade::Outside => ", which sees the address of a client in the pod network",
                Masquerade::Always => ", which sees an address of this worker",
            })?;
        }
        writeln!(f)?;
        let width = self.endpoints.iter().map(|endpoint| endpoint.name.len()).max().unwrap_or(0);
        self.endpoints.iter().try_for_each(|endpoint| writeln!(f, "    {}", Row(endpoint, width)))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (owner, frontends) in &self.services {
            writeln!(f, "{owner}")?;
            frontends.iter().try_for_each(|frontend| write!(f, "{frontend}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no endpoint or no such port: {} reset, {} refused; no such address: {} dropped",
            Count(self.reset, "connection"),
            Count(self.refused, "other packet"),
            Count(self.dropped, "packet")
        )
    }
}
