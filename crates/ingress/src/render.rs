//! nginx's configuration, written from the model: the same model, the same text.
//!
//! Each server, location and upstream has a comment that names its object, and for each line it is known
//! whose it is, so that what nginx says of a line can be said of an object. Text of users gets in only as a
//! `Word`. Paths are relative to the folder of the file, so the text does not depend on where it is.

mod choice;
mod head;
mod location;
mod policy;
mod server;
mod writer;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Choice, Model, Owner};
use crate::text::Word;

use choice::Names;
use writer::Writer;

/// nginx's version, as `(1, 22, 1)`.
pub type Version = (u32, u32, u32);

/// What the file depends on beside the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The version of nginx.
    pub version: Version,
    /// Whether nginx runs as root, and would become another user.
    pub superuser: bool,
    /// How many processes share the work.
    pub processes: u16,
    /// How many connections a process may have.
    pub connections: u32,
    /// Milliseconds after which a client's connection is closed with the next answer: for so long a client
    /// that keeps its connection may see what was before a change.
    pub keep: u32,
    /// Where `/metrics` and `/healthz` are; nowhere if none.
    pub metrics_port: Option<u16>,
    /// Where a line for each request is written, absolute or seen from the configuration's folder.
    pub access_log: String,
    /// The cluster's DNS server.
    pub resolver: Option<IpAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            version: (1, 22, 1),
            superuser: false,
            processes: 1,
            connections: 1024,
            keep: 1000,
            metrics_port: None,
            access_log: ACCESS_LOG.into(),
            resolver: None,
        }
    }
}

/// The socket, in the configuration's folder, over which nginx says how it is.
pub const CONTROL: &str = "control.sock";
/// The access log, seen from the configuration's folder.
pub const ACCESS_LOG: &str = "../access.log";
/// The socket at which `/metrics` is answered, seen from there.
pub const METRICS: &str = "../metrics.sock";

/// A configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text of `nginx.conf`.
    pub text: String,
    /// Other files, by their paths relative to it.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The ports on which it listens, on all addresses.
    pub ports: Vec<u16>,
    lines: Vec<Option<usize>>,
    owners: Vec<Owner>,
    /// The secrets of files.
    secrets: BTreeMap<String, Owner>,
}

impl Rendered {
    /// The object that a line, counted from 1, belongs to.
    #[must_use]
    pub fn owner_of_line(&self, line: usize) -> Option<&Owner> {
        let index = self.lines.get(line.checked_sub(1)?)?;
        self.owners.get((*index)?)
    }

    /// The object that a file comes from.
    #[must_use]
    pub fn owner_of_file(&self, path: &str) -> Option<&Owner> {
        self.secrets.get(path)
    }
}

/// Writes the configuration of a model.
#[must_use]
pub fn render(model: &Model, setup: &Setup) -> Rendered {
    // A port that objects want is theirs.
    let wanted = |port: &u16| model.servers.keys().any(|(at, _)| at == port);
    let metrics_port = setup.metrics_port.filter(|port| !wanted(port));
    let setup = &Setup { metrics_port, ..setup.clone() };
    let mut out = Writer::default();
    let mut names = Names::default();
    head::main(&mut out, setup);
    out.open("http", []);
    head::http(&mut out, model, setup);
    upstreams(&mut out, model);
    head::limits(&mut out, model);
    let mut ports: Vec<u16> = model.servers.keys().map(|(port, _)| *port).chain(setup.metrics_port).collect();
    ports.dedup();
    for ((port, host), server) in &model.servers {
        server::write(&mut out, &mut names, *port, host, server, model, setup);
    }
    out.close();
    let secrets = model.servers.values().filter_map(|server| server.tls.as_ref());
    let secrets = secrets.flat_map(|tls| {
        [(tls.certificate.clone(), tls.secret.clone()), (tls.key.clone(), tls.secret.clone())]
    });
    let secrets = secrets.collect();
    let (text, lines, owners) = out.finish();
    Rendered { text, files: model.files.clone(), ports, lines, owners, secrets }
}

fn upstreams(out: &mut Writer, model: &Model) {
    use crate::model::Balance;
    for (name, upstream) in &model.upstreams {
        out.gap();
        out.comment(&upstream.about);
        out.open("upstream", [Word::text(name)]);
        match &upstream.balance {
            Balance::RoundRobin => {}
            Balance::LeastConnections => out.put("least_conn", []),
            Balance::ClientAddress => out.put("ip_hash", []),
            Balance::Cookie(cookie) => {
                out.put("hash", [Word::variable(&choice::cookie_key(cookie)), "consistent".into()]);
            }
            Balance::Variable(name) => out.put("hash", [Word::variable(name), "consistent".into()]),
        }
        for endpoint in &upstream.endpoints {
            let mut words = vec![Word::text(&endpoint.address)];
            if (upstream.max_fails, upstream.fail_timeout) != (1, 10) {
                words.push(Word::text(&format!("max_fails={}", upstream.max_fails)));
                words.push(Word::text(&format!("fail_timeout={}s", upstream.fail_timeout)));
            }
            out.put_with_comment("server", words, endpoint.pod.as_deref().unwrap_or_default());
        }
        if upstream.keepalive {
            out.put("keepalive", [kept(upstream.endpoints.len()).into()]);
        }
        out.close();
    }
}

/// How many idle connections to endpoints are kept. nginx takes an endpoint first and then looks for a connection
/// to it: with fewer than there are requests at a time for each endpoint, it closes those that it is about to need,
/// and opening one costs more than passing a request on.
fn kept(endpoints: usize) -> u32 {
    const EACH: usize = 32;
    const MOST: usize = 320;
    u32::try_from((EACH * endpoints).clamp(EACH, MOST)).unwrap_or_default()
}

/// Whether a choice, or a part of it, is a name that the resolver has to find.
fn has_name(choice: &Choice) -> bool {
    match choice {
        Choice::Name(_) => true,
        Choice::Upstream(_) | Choice::Address(_) | Choice::Nobody(..) => false,
        Choice::Split(parts) => parts.iter().any(|(_, choice)| has_name(choice)),
        Choice::Match { arms, otherwise, .. } => {
            has_name(otherwise) || arms.iter().any(|(_, choice)| has_name(choice))
        }
    }
}

#[cfg(test)]
mod tests;
