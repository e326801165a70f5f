//! What control gives out.

use std::collections::{BTreeMap, BTreeSet};

use serde_amqp::Value;

/// One inter-router connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A message to send.
    Send {
        /// Where to: the message's `to`.
        to: String,
        /// The links that it leaves by; never empty.
        links: Vec<LinkId>,
        /// The application property `opcode`.
        opcode: &'static str,
        /// The body, an amqp-value.
        body: Value,
    },
    /// The whole table, when it has changed.
    Routes(Routes),
    /// For the log.
    Notice(Notice),
}

/// Something that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A neighbour is heard and hears this router.
    NeighbourUp(String),
    /// A neighbour is no longer heard, or its last link is gone.
    NeighbourLost(String),
    /// A router came back with a new instance.
    Restarted(String),
    /// Another router has this one's id.
    SameId,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeighbourUp(id) => write!(f, "neighbour {id} is up"),
            Self::NeighbourLost(id) => write!(f, "neighbour {id} is lost"),
            Self::Restarted(id) => write!(f, "router {id} has restarted"),
            Self::SameId => f.write_str("another router has the id of this one: give it another"),
        }
    }
}

/// Who can be reached, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Every router that can be reached, by id.
    pub nodes: BTreeMap<String, Node>,
    /// Every address with consumers elsewhere, and on which of the routers.
    pub addresses: BTreeMap<String, BTreeSet<String>>,
}

/// The way to another router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The link that it begins with.
    pub link: LinkId,
    /// The neighbour at the link's other end.
    pub next_hop: String,
    /// What the way costs.
    pub cost: u64,
    /// A message to all that these routers sent goes on over `link`.
    pub valid_origins: BTreeSet<String>,
    /// Its neighbours, as it says.
    pub peers: BTreeSet<String>,
    /// The number of its start.
    pub instance: i64,
}

impl Routes {
    /// The links over which a message to all goes on: from this router itself, or from another one (`origin`).
    #[must_use]
    pub fn to_all(&self, origin: Option<&str>) -> BTreeSet<LinkId> {
        let counts = |node: &&Node| origin.is_none_or(|origin| node.valid_origins.contains(origin));
        self.nodes.values().filter(counts).map(|node| node.link).collect()
    }
}
