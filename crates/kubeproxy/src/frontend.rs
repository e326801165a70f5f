//! What clients connect to, and what becomes of a connection: the desired state, piece by piece.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The one that connects.
    Tcp,
    /// Datagrams.
    Udp,
    /// Streams of messages.
    Sctp,
}

impl Protocol {
    /// As in the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// As an object names it; nothing said is TCP.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Who is answered by a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Everyone for whom there is no other.
    Everyone,
    /// Clients outside of the pod network, where `externalTrafficPolicy` is `Local`.
    Outside,
}

/// Where a frontend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A port of an address.
    Address(IpAddr, Protocol, u16),
    /// A port of every address of the worker.
    NodePort(Protocol, u16),
    /// All of an address, whatever the protocol.
    Virtual(IpAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address), protocol, port) => write!(f, "{address}:{port}/{protocol}"),
            Self::Address(IpAddr::V6(address), protocol, port) => write!(f, "[{address}]:{port}/{protocol}"),
            Self::NodePort(protocol, port) => write!(f, "node port {port}/{protocol}"),
            Self::Virtual(address) => write!(f, "{address}"),
        }
    }
}

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// For whom.
    pub audience: Audience,
    /// Where.
    pub place: Place,
}

impl Frontend {
    /// One for everyone.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { audience: Audience::Everyone, place }
    }

    /// One for clients outside of the pod network.
    #[must_use]
    pub fn outside(place: Place) -> Self {
        Self { audience: Audience::Outside, place }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.audience {
            Audience::Everyone => write!(f, "{}", self.place),
            Audience::Outside => write!(f, "{} from outside", self.place),
        }
    }
}

/// Where connections end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 where all ports stay as they are.
    pub port: u16,
    /// Whether it is on this worker.
    pub local: bool,
    /// As `default/web-7f9c`; empty if only the address is known.
    pub name: Arc<str>,
}

/// What becomes of a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// It is refused: a TCP reset, or ICMP port unreachable.
    Reject,
    /// It is dropped: there are endpoints, but none here.
    Drop,
    /// It goes to one of these. The places of endpoints that stay do not change.
    Backends(Vec<Backend>),
}

impl Target {
    /// The endpoints; none if there are none.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        match self {
            Self::Reject | Self::Drop => &[],
            Self::Backends(backends) => backends,
        }
    }
}

/// Whose connections seem to come from the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Masquerade {
    /// Nobody's: an endpoint on this worker sees the client.
    Never,
    /// Those of clients outside of the pod network: answers to them would take another way.
    Outside,
    /// Everyone's: the worker that has the endpoint may be another than the client's.
    Always,
}

/// What there is at a frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Whose it is, as `default/web:http`.
    pub owner: Arc<str>,
    /// Where connections go.
    pub target: Target,
    /// Whose source address changes.
    pub masquerade: Masquerade,
    /// For how many seconds a client stays with its endpoint, if it does.
    pub affinity: Option<u32>,
}
