//! The entities that a router runs by, each with its own type.
//!
//! What is not modelled by a field is kept in `more`, so that reading and writing loses nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Attributes that no field stands for, by name.
pub type More = BTreeMap<String, Value>;

/// The router itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Its name in the network; skrouterd makes one up where there is none.
    pub id: Option<String>,
    /// Whom it links with.
    pub mode: Mode,
    /// How often it greets its neighbours.
    pub hello_interval: Duration,
    /// How long a neighbour may be silent.
    pub hello_max_age: Duration,
    /// How often it tells all routers that it is there.
    pub ra_interval: Duration,
    /// The same while the network changes.
    pub ra_interval_flux: Duration,
    /// How long another router's link state holds without news.
    pub remote_ls_max_age: Duration,
    /// How long a router that cannot be reached is remembered.
    pub unreachable_holdoff: Duration,
    /// Threads that move messages.
    pub worker_threads: u32,
    /// Connections to a neighbour for streams; None: as the router sees fit.
    pub data_connection_count: Option<u32>,
    /// How addresses are distributed that no address entity speaks of.
    pub default_distribution: Distribution,
    /// Any text; Skupper keeps the site's id there.
    pub metadata: Option<String>,
    /// The rest.
    pub more: More,
}

/// Whom a router links with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody.
    #[default]
    Standalone,
    /// Other interior routers, and edge routers that come to it.
    Interior,
    /// One interior router.
    Edge,
}

/// How a message finds one of an address's consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// A copy to every consumer.
    Multicast,
    /// To the nearest.
    Closest,
    /// To the one with the least to do, weighed with its distance.
    #[default]
    Balanced,
    /// To nobody: senders are refused.
    Unavailable,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// AMQP clients, management, and the web page.
    #[default]
    Normal,
    /// Interior routers of the same network.
    InterRouter,
    /// Message brokers.
    RouteContainer,
    /// Edge routers.
    Edge,
    /// Edge routers among themselves.
    InterEdge,
    /// Routers of other networks.
    InterNetwork,
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SslProfile {
    /// What listeners and connectors call it.
    pub name: String,
    /// Whom to believe: PEM.
    pub ca_cert_file: Option<PathBuf>,
    /// What to show: PEM, the whole chain.
    pub cert_file: Option<PathBuf>,
    /// Its key: PEM.
    pub private_key_file: Option<PathBuf>,
    /// The number of these credentials: higher ones replace them.
    pub ordinal: u64,
    /// Connections with credentials of lower numbers are ended.
    pub oldest_valid_ordinal: u64,
    /// The rest.
    pub more: More,
}

/// Where others connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address to listen on; empty: every one.
    pub host: String,
    /// The port; 0: any free one.
    pub port: u16,
    /// What for.
    pub role: Role,
    /// The cost of a link over it.
    pub cost: u32,
    /// Certificates; None: no TLS.
    pub ssl_profile: Option<String>,
    /// SASL mechanisms offered; empty: what the router has.
    pub sasl_mechanisms: Vec<String>,
    /// Whether who does not prove who it is is refused.
    pub authenticate_peer: bool,
    /// Whether who speaks no TLS is refused.
    pub require_ssl: bool,
    /// The largest frame taken, in bytes.
    pub max_frame_size: u32,
    /// How much a session may send ahead, in frames; None: as the router sees fit.
    pub max_session_frames: Option<u32>,
    /// How long a connection may be silent; zero: for ever.
    pub idle_timeout: Duration,
    /// Messages that a link may send ahead; None: as the router sees fit.
    pub link_capacity: Option<u32>,
    /// Whether it speaks HTTP instead of AMQP.
    pub http: bool,
    /// Over HTTP: whether `/healthz` answers.
    pub healthz: bool,
    /// Over HTTP: whether `/metrics` answers.
    pub metrics: bool,
    /// The rest.
    pub more: More,
}

/// Whom the router connects to.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// The other's host.
    pub host: String,
    /// The other's port.
    pub port: u16,
    /// What for.
    pub role: Role,
    /// The cost of the link.
    pub cost: u32,
    /// Certificates; None: no TLS.
    pub ssl_profile: Option<String>,
    /// SASL mechanisms to choose from; empty: what the router has.
    pub sasl_mechanisms: Vec<String>,
    /// Whether the other's certificate must bear the host's name.
    pub verify_hostname: bool,
    /// The largest frame taken, in bytes.
    pub max_frame_size: u32,
    /// How much a session may send ahead, in frames; None: as the router sees fit.
    pub max_session_frames: Option<u32>,
    /// How long a connection may be silent; zero: for ever.
    pub idle_timeout: Duration,
    /// Messages that a link may send ahead; None: as the router sees fit.
    pub link_capacity: Option<u32>,
    /// The rest.
    pub more: More,
}

/// A TCP port whose connections lead to an address.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpListener {
    /// Its name.
    pub name: String,
    /// Where its connections lead; empty where `multiAddressStrategy` (in `more`) chooses.
    pub address: String,
    /// The address to listen on; empty: every one.
    pub host: String,
    /// The port; 0: any free one.
    pub port: u16,
    /// Certificates; None: no TLS.
    pub ssl_profile: Option<String>,
    /// Whether who shows no certificate is refused.
    pub authenticate_peer: bool,
    /// The rest.
    pub more: More,
}

/// A TCP server that serves an address.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpConnector {
    /// Its name.
    pub name: String,
    /// What it serves.
    pub address: String,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Certificates; None: no TLS.
    pub ssl_profile: Option<String>,
    /// Whether the server's certificate must bear the host's name.
    pub verify_hostname: bool,
    /// The rest.
    pub more: More,
}

/// How addresses of a form are distributed.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// Which addresses.
    pub pattern: Pattern,
    /// How.
    pub distribution: Distribution,
    /// 0 to 9, the more urgent the higher; None: as the message says.
    pub priority: Option<u8>,
    /// The rest.
    pub more: More,
}

/// Which addresses an [`Address`] speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The address itself and what follows it after a `.` or `/`.
    Prefix(String),
    /// By segments between `.` or `/`: `*` is one of any name, `#` any number of them.
    Pattern(String),
}

/// Reads a word of the schema and writes it again.
macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word of the configuration.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words!(Mode: Standalone = "standalone", Interior = "interior", Edge = "edge");
words!(Distribution: Multicast = "multicast", Closest = "closest", Balanced = "balanced", Unavailable = "unavailable");
words!(Role: Normal = "normal", InterRouter = "inter-router", RouteContainer = "route-container", Edge = "edge",
       InterEdge = "inter-edge", InterNetwork = "inter-network");
