//! What nginx is to do, as [`plan`](crate::plan) decides it and [`render`](crate::render) writes it down.
//! Ingresses, Gateways and ingresses by hand end in the same model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnetwork::IpNetwork;

/// An object that is served, or that has a problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its kind, as `Ingress`.
    pub kind: &'static str,
    /// Its namespace; empty for a kind without.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// The object of that kind and name.
    #[must_use]
    pub fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// Everything that nginx is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// By port and host.
    pub servers: BTreeMap<(u16, Host), Server>,
    /// Groups of endpoints by their names, as `default.web.80`.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Shares of requests that locations count.
    pub limits: BTreeMap<String, Limit>,
    /// Certificates, keys and passwords by their paths, relative to the configuration's folder.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Model {
    /// What takes a request to a port for a host and a path, as nginx decides it: the host first, then the
    /// path. None where nobody does. Regular expressions are passed over; what they mean only nginx knows.
    #[must_use]
    pub fn find(&self, port: u16, host: &str, path: &str) -> Option<(&Host, Option<&Path>, &Location)> {
        let host = host.to_ascii_lowercase();
        let of_port = self.servers.iter().filter(|((at, _), _)| *at == port);
        let takes = of_port.filter(|((_, own), _)| own.takes(&host)).map(|((_, own), server)| (own, server));
        // Of two suffixes that match, one is the end of the other.
        let (own, server) = takes.max_by_key(|(own, _)| match own {
            Host::Any => (0, 0),
            Host::Label(rest) => (1, rest.len()),
            Host::Suffix(rest) => (2, rest.len()),
            Host::Name(_) => (3, 0),
        })?;
        let found =
            server.locations.iter().filter_map(|(own, location)| Some((own.takes(path)?, own, location)));
        match found.max_by_key(|(rank, ..)| *rank) {
            Some((_, path, location)) => Some((own, Some(path), location)),
            None => Some((own, None, server.otherwise.as_ref()?)),
        }
    }
}

/// Which requests a server takes, by their host. In this order more than one may match, and the first
/// of `Name`, the longest `Suffix`, `Label` and `Any` counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Those that no other server of the port takes.
    Any,
    /// One name.
    Name(String),
    /// Every name that ends with a dot and this (Gateway API's `*.example.com`).
    Suffix(String),
    /// Every name with a single label before a dot and this (Ingress's `*.example.com`).
    Label(String),
}

impl Host {
    /// Whether it takes requests for this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => own == name,
            Self::Suffix(rest) => name.strip_suffix(rest).is_some_and(|n| n.len() > 1 && n.ends_with('.')),
            Self::Label(rest) => {
                let label = name.strip_suffix(rest).and_then(|name| name.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Suffix(name) | Self::Label(name) => write!(f, "*.{name}"),
        }
    }
}

/// What a port does for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Its certificate, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Whose host it is.
    pub owners: BTreeSet<Owner>,
    /// What it does for which path.
    pub locations: BTreeMap<Path, Location>,
    /// What it does for the others; 404 if nothing is said.
    pub otherwise: Option<Location>,
}

/// A server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The secret.
    pub secret: Owner,
    /// The file of the certificate, one of the model's.
    pub certificate: String,
    /// The file of its key.
    pub key: String,
}

/// Which requests a location takes, by their path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// This very path. Comes before everything else.
    Exact(String),
    /// A regular expression at the beginning of the path, in any case of letters. Comes before prefixes;
    /// among several the longest.
    Regex(String),
    /// This path and what is below it, without a slash at its end; empty for all paths. Of several, the
    /// longest counts.
    Prefix(String),
    /// Every path that begins with these letters, as nginx has it.
    Beginning(String),
}

impl Path {
    /// Whether it takes a path, and how it ranks among others that do.
    fn takes(&self, path: &str) -> Option<(bool, usize)> {
        match self {
            Self::Exact(own) => (own == path).then_some((true, 0)),
            Self::Prefix(own) => {
                let rest = path.strip_prefix(own.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then_some((false, own.len()))
            }
            Self::Beginning(own) => path.starts_with(own.as_str()).then_some((false, own.len())),
            Self::Regex(_) => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "Exact {path}"),
            Self::Regex(path) => write!(f, "Regex {path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("Prefix /"),
            Self::Prefix(path) => write!(f, "Prefix {path}"),
            Self::Beginning(path) => f.write_str(path),
        }
    }
}

/// What is done for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The first whose conditions a request meets; 404 if none.
    pub cases: Vec<Case>,
}

/// What is done under conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Who says so.
    pub owner: Owner,
    /// All have to be met.
    pub when: Vec<Condition>,
    /// What is done with the request.
    pub action: Action,
    /// And how.
    pub policy: Policy,
}

/// What a request has to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// What is looked at.
    pub subject: Subject,
    /// What it has to be.
    pub test: Test,
}

/// What of a request is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A header by its name, of letters, digits and dashes.
    Header(String),
    /// A cookie by its name.
    Cookie(String),
    /// A parameter of the query by its name.
    Query(String),
    /// The method.
    Method,
}

/// What something has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// This text.
    Is(String),
    /// A text in which this regular expression is found.
    Matches(String),
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is passed on.
    Proxy {
        /// To whom.
        to: Choice,
        /// By which protocol.
        protocol: Protocol,
    },
    /// It is answered with a status.
    Answer {
        /// The status.
        status: u16,
        /// Why, for people who read the file.
        why: String,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307, 308.
        status: u16,
        /// Where.
        to: Redirect,
    },
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To an address as it is.
    Url(String),
    /// To another form of the same address.
    Parts {
        /// `http` or `https`; none for that of the request.
        scheme: Option<String>,
        /// Another host; none for that of the request.
        host: Option<String>,
        /// The port, where it is not the scheme's own.
        port: Option<u16>,
        /// The path.
        path: RedirectPath,
    },
}

/// The path to which a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// That of the request, with its query.
    Same,
    /// Another, with the request's query.
    Full(String),
    /// The request's, with another beginning, and its query: the beginning, and what stands in its place.
    Prefix(String, String),
}

/// By which protocol requests are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// HTTP/1.1, and what it is upgraded to, as web sockets.
    #[default]
    Http,
    /// The same over TLS.
    Https,
    /// gRPC.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
}

/// To whom a request is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// To an upstream of the model.
    Upstream(String),
    /// To an address, as `100.64.11.1:8000`.
    Address(String),
    /// To a name and port that the resolver finds.
    Name(String),
    /// To nobody, because of this backend; the request is answered with a status.
    Nobody(u16, String),
    /// By chance, by weights.
    Split(Vec<(u32, Choice)>),
    /// The first whose test is met.
    Match {
        /// What is looked at.
        on: Subject,
        /// The tests.
        arms: Vec<(Test, Choice)>,
        /// If none is.
        otherwise: Box<Choice>,
    },
}

/// A group of endpoints that share requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What it is, for people who read the file.
    pub about: String,
    /// In the order of their addresses.
    pub endpoints: Vec<Endpoint>,
    /// How they share.
    pub balance: Balance,
    /// Whether connections are kept for further requests.
    pub keepalive: bool,
    /// After so many failures in a row …
    pub max_fails: u32,
    /// … within so many seconds an endpoint is left alone for as long; none for no end to trying.
    pub fail_timeout: u32,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// As `11.10.0.2:8000`.
    pub address: String,
    /// The pod, as `default/web-1`, if it is one.
    pub pod: Option<String>,
}

/// How endpoints share requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// To the one with the fewest requests under way.
    LeastConnections,
    /// By the client's address.
    ClientAddress,
    /// By a cookie that the client is given.
    Cookie(String),
    /// By a variable of nginx, as `request_uri`.
    Variable(String),
}

/// Requests that may come in, by the address of the client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// As many a second or a minute.
    Rate {
        /// How many.
        requests: u32,
        /// Whether a minute, else a second.
        minute: bool,
        /// Clients that are not counted.
        except: Vec<IpNetwork>,
    },
    /// As many connections at a time.
    Connections {
        /// Clients that are not counted.
        except: Vec<IpNetwork>,
    },
}

/// How requests are handled. What is not said is nginx's way, or what stands at the beginning of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The path that is passed on.
    pub rewrite: Option<Rewrite>,
    /// The most bytes of a body; 0 for no limit.
    pub body_size: Option<u64>,
    /// Milliseconds to wait for a connection to an endpoint.
    pub connect_timeout: Option<u32>,
    /// Milliseconds to wait between two reads from an endpoint.
    pub read_timeout: Option<u32>,
    /// Milliseconds to wait between two writes to an endpoint.
    pub send_timeout: Option<u32>,
    /// When another endpoint is tried, in nginx's words.
    pub next_upstream: Option<Vec<&'static str>>,
    /// How many endpoints are tried at most.
    pub next_tries: Option<u32>,
    /// Milliseconds after which no other is tried.
    pub next_timeout: Option<u32>,
    /// Whether answers are held until the client takes them.
    pub buffering: Option<bool>,
    /// Whether requests are read whole before they are passed on.
    pub request_buffering: Option<bool>,
    /// Bytes a second to a client, and after how many bytes.
    pub bandwidth: Option<(u64, u64)>,
    /// Limits of rates, and how many requests are let through beyond at once.
    pub rates: Vec<(String, u32)>,
    /// Limits of connections, and how many there may be.
    pub connections: Vec<(String, u32)>,
    /// Who may come in; empty for all.
    pub allow: Vec<IpNetwork>,
    /// Who may not.
    pub deny: Vec<IpNetwork>,
    /// Who has to say who he is.
    pub auth: Option<Auth>,
    /// Who may ask from other sites.
    pub cors: Option<Cors>,
    /// The cookie that binds a client to an endpoint.
    pub cookie: Option<Cookie>,
    /// The host that endpoints are told, in the place of that which was asked for.
    pub host: Option<String>,
    /// Headers of requests, on their way to endpoints.
    pub request_headers: Headers,
    /// Headers of answers, on their way back.
    pub response_headers: Headers,
    /// Statuses whose answers come from elsewhere.
    pub errors: Option<ErrorPages>,
    /// Upstreams that get a copy.
    pub mirrors: Vec<String>,
    /// Not in the access log.
    pub silent: bool,
}

/// Another path in the place of a request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// This one, whatever it was.
    Full(String),
    /// Another beginning: what, and by what.
    Prefix(String, String),
    /// What a regular expression, in any case of letters, found; `$1` to `$9` are its groups.
    Regex(String, String),
}

/// Basic authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// What the user is told.
    pub realm: String,
    /// The passwords, one of the model's files.
    pub file: String,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Who may ask: origins, perhaps with a `*` in the place of a label; `*` for all.
    pub origins: Vec<String>,
    /// Methods, as a header has them.
    pub methods: String,
    /// Headers that requests may have.
    pub headers: String,
    /// Headers of answers that may be read.
    pub expose: Option<String>,
    /// Whether cookies are sent.
    pub credentials: bool,
    /// Seconds for which a client may remember this.
    pub max_age: u32,
}

/// A cookie that binds a client to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its attributes, as `Path=/; HttpOnly`.
    pub attributes: String,
}

/// Changes of headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// In the place of what was there.
    pub set: BTreeMap<String, String>,
    /// Beside what was there.
    pub add: Vec<(String, String)>,
    /// Away with it.
    pub remove: BTreeSet<String>,
}

impl Headers {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Answers that come from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPages {
    /// The statuses.
    pub statuses: BTreeSet<u16>,
    /// The upstream that answers.
    pub upstream: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_names_as_the_specifications_say() {
        let table = [
            // The table of Kubernetes' documentation of Ingress.
            (Host::Label("foo.com".into()), "bar.foo.com", true),
            (Host::Label("foo.com".into()), "baz.bar.foo.com", false),
            (Host::Label("foo.com".into()), "foo.com", false),
            (Host::Label("foo.com".into()), ".foo.com", false),
            // Gateway API, `Hostname`.
            (Host::Suffix("example.com".into()), "test.example.com", true),
            (Host::Suffix("example.com".into()), "foo.test.example.com", true),
            (Host::Suffix("example.com".into()), "example.com", false),
            (Host::Suffix("example.com".into()), "badexample.com", false),
            (Host::Name("a.b".into()), "a.b", true),
            (Host::Name("a.b".into()), "b.b", false),
            (Host::Any, "a", true),
        ];
        for (host, name, takes) in table {
            assert_eq!(host.takes(name), takes, "{host:?} {name}");
        }
    }
}
