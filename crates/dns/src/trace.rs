//! What a program's look-up of a name costs: the resolver of the C library, step by step, with real
//! queries.
//!
//! A short name is tried with each search domain behind it until one answers, and each try is two
//! questions (A and AAAA) sent at once; that is why one name can cost many look-ups. Here the same
//! questions are asked, in the same order, and each is written down.
//!
//! Source: glibc 2.36, `resolv/res_query.c` (`__res_context_search`: search domains; `__res_context_query`:
//! what two answers mean together) and `resolv/res_send.c` (which server is asked, when, how long), as
//! `getaddrinfo(3)` uses them for both families. Before all that programs look into `/etc/hosts`: [`in_hosts`].
//! Not part of it: the variables `LOCALDOMAIN` and `RES_OPTIONS`.

mod ask;
mod hosts;
mod settings;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use ask::Pair;
pub use hosts::in_hosts;
pub use settings::Settings;

/// A look-up, step by step. Its `Display` is a table in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The name as it was asked for.
    pub name: String,
    /// The names that were tried, in order.
    pub tries: Vec<Try>,
    /// How it ended.
    pub end: End,
}

/// One name that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// With its final dot.
    pub name: String,
    /// Why this name.
    pub why: String,
    /// The queries for it, in the order in which they were sent.
    pub queries: Vec<Query>,
}

/// One query, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// `A` or `AAAA`.
    pub kind: RecordType,
    /// Who was asked.
    pub server: SocketAddr,
    /// Whether by TCP.
    pub tcp: bool,
    /// What was said.
    pub answer: Said,
    /// From sending it to the answer, or to giving up.
    pub took: Duration,
}

/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// There are records.
    Records {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The names that lead there, if it is an alias.
        aliases: Vec<String>,
    },
    /// The name is there, but has no record of this type.
    NoData,
    /// The name is not there.
    NoName,
    /// The server cannot or will not answer.
    Code(ResponseCode),
    /// The answer is too long for UDP.
    Truncated,
    /// Nothing, within the time that the resolver waits.
    Silence,
    /// The packet could not even be sent, or nobody listens there.
    Unreachable(String),
}

/// How a look-up ends, in the words of `getaddrinfo(3)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// These addresses.
    Found(Vec<IpAddr>),
    /// It is an address already; nobody is asked.
    Address(IpAddr),
    /// These addresses, by `/etc/hosts`; nobody is asked.
    Hosts(Vec<IpAddr>),
    /// `EAI_NONAME`.
    NoName,
    /// `EAI_NODATA`.
    NoData,
    /// `EAI_AGAIN`.
    Again,
    /// `EAI_FAIL`.
    Fail,
}

/// Bytes between two dots (RFC 1035 section 2.3.4).
const LABEL: usize = 63;

/// A name that cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name: {why}")]
pub struct BadName {
    name: String,
    why: String,
}

/// What the answers to both questions mean together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// Records, of which there may be none but aliases; that ends a search too.
    Found(Vec<IpAddr>),
    NoName,
    NoData,
    /// The server failed.
    Failed,
    /// Nobody answered.
    Silence,
    /// Nobody is there.
    Nobody,
    Fail,
}

/// Looks a name up as the C library would, by the settings of a `resolv.conf`, from the network namespace
/// of the calling thread.
///
/// # Errors
/// What cannot be a name.
pub async fn trace(settings: &Settings, name: &str) -> Result<Trace, BadName> {
    if let Ok(address) = name.parse() {
        return Ok(Trace { name: name.into(), tries: vec![], end: End::Address(address) });
    }
    full(name, "")?;
    let mut walk = Walk { settings, name, dots: name.matches('.').count(), tries: Vec::new() };
    let end = walk.run().await;
    Ok(Trace { name: name.into(), tries: walk.tries, end })
}

struct Walk<'a> {
    settings: &'a Settings,
    name: &'a str,
    dots: usize,
    tries: Vec<Try>,
}

impl Walk<'_> {
    async fn run(&mut self) -> End {
        if self.name.ends_with('.') {
            let why = "it ends in a dot, so nothing is appended".into();
            return self.attempt("", why).await.into();
        }
        let mut first = None;
        if self.dots >= self.settings.ndots {
            let why = format!("as it is first: {}", self.count());
            match self.attempt("", why).await {
                Meaning::Found(addresses) => return Meaning::Found(addresses).into(),
                meaning => first = Some(meaning),
            }
        }
        let searched = match self.search(first.is_some()).await {
            Ok(searched) => searched,
            Err(end) => return end,
        };
        let mut last = searched.stopped;
        let tld = self.dots > 0 || self.settings.searches.is_empty() || !self.settings.no_tld_query;
        if tld && first.is_none() && !searched.root {
            let alone = self.settings.searches.is_empty();
            let why = if alone { "there are no search domains" } else { "the name itself, last" };
            match self.attempt("", why.into()).await {
                Meaning::Found(addresses) => return Meaning::Found(addresses).into(),
                meaning => last = Some(meaning),
            }
        }
        match (first, last) {
            (Some(first), _) => first.into(),
            (None, _) if searched.no_data => End::NoData,
            (None, _) if searched.failed => End::Again,
            (None, last) => last.map_or(End::NoName, End::from),
        }
    }

    /// Tries each search domain. Where one ends the look-up, gives its end.
    async fn search(&mut self, tried: bool) -> Result<Searched, End> {
        let mut searched = Searched::default();
        let domains = &self.settings.searches;
        for (i, domain) in domains.iter().enumerate() {
            let domain = domain.trim_matches('.');
            searched.root |= domain.is_empty();
            let mut why = format!("search domain {} of {}", i + 1, domains.len());
            if i == 0 && !tried {
                why = format!("{why}, before the name itself: {}", self.count());
            }
            match self.attempt(domain, why).await {
                // Without a server there is no use in going on.
                end @ (Meaning::Found(_) | Meaning::Nobody) => return Err(end.into()),
                Meaning::NoName => {}
                Meaning::NoData => searched.no_data = true,
                Meaning::Failed => searched.failed = true,
                meaning => {
                    searched.stopped = Some(meaning);
                    break;
                }
            }
        }
        Ok(searched)
    }

    /// Asks for the name with a domain behind it.
    async fn attempt(&mut self, domain: &str, why: String) -> Meaning {
        let (name, queries, meaning) = match full(self.name, domain) {
            Ok(full) => {
                let Pair { queries, meaning } = ask::ask(self.settings, &full).await;
                (full.to_string(), queries, meaning)
            }
            Err(BadName { name, .. }) => (name, vec![], Meaning::Fail),
        };
        self.tries.push(Try { name, why, queries });
        meaning
    }

    fn count(&self) -> String {
        let dots = if self.dots == 1 { "1 dot".into() } else { format!("{} dots", self.dots) };
        format!("it has {dots} (ndots:{})", self.settings.ndots)
    }
}

/// How a walk along the search domains went that found nothing.
#[derive(Default)]
struct Searched {
    no_data: bool,
    failed: bool,
    /// The root was one of them.
    root: bool,
    /// What ended it before its end.
    stopped: Option<Meaning>,
}

impl From<Meaning> for End {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            // An alias that leads nowhere.
            Meaning::Found(addresses) if addresses.is_empty() => Self::NoData,
            Meaning::Found(addresses) => Self::Found(addresses),
            Meaning::NoName => Self::NoName,
            Meaning::NoData => Self::NoData,
            Meaning::Failed | Meaning::Silence | Meaning::Nobody => Self::Again,
            Meaning::Fail => Self::Fail,
        }
    }
}

/// A name with a domain behind it.
fn full(name: &str, domain: &str) -> Result<Name, BadName> {
    let text = match domain {
        "" => name.to_owned(),
        _ => format!("{name}.{domain}"),
    };
    let labels = text.strip_suffix('.').unwrap_or(&text);
    let bad = |why: String| BadName { name: text.clone(), why };
    for label in labels.split('.') {
        match label.len() {
            0 => return Err(bad("a part of it is empty".into())),
            1..=LABEL => {}
            long => return Err(bad(format!("a part of it has {long} bytes, {LABEL} at most are possible"))),
        }
    }
    Name::from_labels(labels.split('.').map(str::as_bytes)).map_err(|error| bad(error.to_string()))
}
