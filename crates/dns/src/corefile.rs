//! The part of a Corefile that this server follows: what is logged, and who is asked for other names.
//!
//! ```text
//! .:53 {
//!     log . { class denial error }      or plain `log`
//!     forward . /etc/resolv.conf 192.0.2.53
//!     cache 30
//! }
//! ```
//!
//! The plugins of kubeadm's own Corefile are what this server does anyway; they may stand there. Whatever else
//! is asked for is told, never passed over in silence.
//!
//! Sources: `CoreDNS` `man corefile(5)`, plugin `log`, plugin `forward`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;

use crate::zone::TTL;

/// The port of a resolver that is named by its address alone.
const PORT: u16 = 53;
/// What the server does without being told so, as kubeadm's Corefile has it.
const BUILT_IN: [&str; 8] =
    ["errors", "health", "ready", "prometheus", "cache", "loop", "reload", "loadbalance"];

/// A server, a plugin, its own block.
const DEEPEST: usize = 3;

/// What a Corefile says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corefile {
    /// Which answers are logged.
    pub log: Classes,
    /// Who is asked for other names, in that order.
    pub forward: Vec<Upstream>,
    /// What is not followed, and why; a line each.
    pub warnings: Vec<String>,
}

/// One who is asked for other names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// A resolver.
    Address(SocketAddr),
    /// The resolvers that a `resolv.conf(5)` names.
    File(String),
}

/// Classes of answers, as plugin `log` has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Those with records.
    pub const SUCCESS: Self = Self(1);
    /// Those that there is no such name, or nothing of that type.
    pub const DENIAL: Self = Self(2);
    /// Failures and refusals.
    pub const ERROR: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "success" => Self::SUCCESS,
            "denial" => Self::DENIAL,
            "error" => Self::ERROR,
            "all" => Self::ALL,
            _ => return None,
        })
    }

    /// The class of an answer.
    #[must_use]
    pub fn of(code: ResponseCode, records: bool) -> Self {
        match code {
            ResponseCode::NoError if records => Self::SUCCESS,
            ResponseCode::NoError | ResponseCode::NXDomain => Self::DENIAL,
            _ => Self::ERROR,
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of those is among these.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// As a number, to be kept in an atomic.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(Self::SUCCESS, "success"), (Self::DENIAL, "denial"), (Self::ERROR, "error")];
        let names: Vec<&str> =
            all.iter().filter(|(class, _)| self.has(*class)).map(|(_, name)| *name).collect();
        let names = names.join(" ");
        f.write_str(if self.0 == 0 { "none" } else { &names })
    }
}

/// A Corefile that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Corefile line {line}: {why}")]
pub struct BadCorefile {
    line: usize,
    why: String,
}

/// A directive: its words, and the directives between its braces.
#[derive(Debug)]
struct Directive<'a> {
    line: usize,
    words: Vec<&'a str>,
    block: Vec<Directive<'a>>,
}

impl Corefile {
    /// Reads a Corefile.
    ///
    /// # Errors
    /// Braces that do not match, and directives of plugins that are followed and make no sense.
    pub fn parse(text: &str) -> Result<Self, BadCorefile> {
        let servers = block(&mut tokens(text).into_iter(), None, 0)?;
        let mut corefile = Self::default();
        let mut served = false;
        for server in &servers {
            let root = server.words.iter().any(|word| matches!(word.trim_end_matches(','), "." | ".:53"));
            if root && !served {
                served = true;
                for plugin in &server.block {
                    corefile.plugin(plugin)?;
                }
            } else {
                corefile.warn(server, "only one server is followed, that of `.:53`");
            }
        }
        if !served {
            return Err(BadCorefile { line: 1, why: "there is no server `.:53 { … }`".into() });
        }
        Ok(corefile)
    }

    fn warn(&mut self, directive: &Directive<'_>, why: &str) {
        let words = directive.words.join(" ");
        self.warnings.push(format!("Corefile line {}: {words}: {why}", directive.line));
    }

    fn plugin(&mut self, plugin: &Directive<'_>) -> Result<(), BadCorefile> {
        match plugin.words.as_slice() {
            ["log", rest @ ..] => self.log(plugin, rest),
            ["forward", rest @ ..] => self.forward(plugin, rest),
            ["kubernetes", ..] => {
                self.kubernetes(plugin);
                Ok(())
            }
            [name, ..] if BUILT_IN.contains(name) => Ok(()),
            _ => {
                self.warn(plugin, "this server does not have that plugin, and goes on without");
                Ok(())
            }
        }
    }

    /// What it would change is told; what it says that is so anyway is not.
    fn kubernetes(&mut self, plugin: &Directive<'_>) {
        for directive in &plugin.block {
            match directive.words.as_slice() {
                ["pods", "insecure"] | ["fallthrough", ..] => {}
                ["ttl", seconds] if *seconds == TTL.to_string() => {}
                ["ttl", ..] => self.warn(directive, &format!("records of the cluster have a TTL of {TTL} s")),
                _ => self.warn(directive, "this server does not do that"),
            }
        }
    }

    fn log(&mut self, plugin: &Directive<'_>, rest: &[&str]) -> Result<(), BadCorefile> {
        if let Some(other) = rest.iter().find(|word| **word != ".") {
            return Err(plugin.bad(format!("only `log` and `log .` are known, not of {other} alone")));
        }
        let mut classes = Classes::NONE;
        for directive in &plugin.block {
            let ["class", words @ ..] = directive.words.as_slice() else {
                return Err(directive.bad("only `class` is known here".into()));
            };
            for word in words {
                let known = Classes::parse(word);
                let class = known.ok_or_else(|| {
                    directive.bad(format!("{word} is no class: success, denial, error, all"))
                })?;
                classes = classes.and(class);
            }
        }
        let all = plugin.block.is_empty();
        self.log = self.log.and(if all { Classes::ALL } else { classes });
        Ok(())
    }

    fn forward(&mut self, plugin: &Directive<'_>, rest: &[&str]) -> Result<(), BadCorefile> {
        let [".", to @ ..] = rest else {
            return Err(plugin.bad("only `forward . TO…` is known".into()));
        };
        if to.is_empty() {
            return Err(plugin.bad("nobody is named to whom to forward".into()));
        }
        for to in to {
            let upstream = upstream(to).ok_or_else(|| {
                plugin.bad(format!("{to} is neither an address nor the absolute path of a resolv.conf"))
            })?;
            self.forward.push(upstream);
        }
        Ok(())
    }
}

impl Directive<'_> {
    fn bad(&self, why: String) -> BadCorefile {
        BadCorefile { line: self.line, why }
    }
}

/// `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`, with `dns://` before it or not; or a path.
fn upstream(to: &str) -> Option<Upstream> {
    if to.starts_with('/') {
        return Some(Upstream::File(to.into()));
    }
    let to = to.strip_prefix("dns://").unwrap_or(to);
    let bare = to.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    bare.or_else(|| to.parse().ok()).map(Upstream::Address)
}

/// The words of a file with the numbers of their lines; a line's end is an empty word.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        tokens.extend(words.map(|word| (number + 1, word)));
        tokens.push((number + 1, ""));
    }
    tokens
}

/// Directives up to the brace that ends them; `open` is the line of the one that begins them.
fn block<'a>(
    tokens: &mut std::vec::IntoIter<(usize, &'a str)>,
    open: Option<usize>,
    depth: usize,
) -> Result<Vec<Directive<'a>>, BadCorefile> {
    let mut directives = Vec::new();
    let mut words = Vec::new();
    while let Some((line, word)) = tokens.next() {
        let mut end = |words: &mut Vec<&'a str>, block| {
            if !words.is_empty() {
                directives.push(Directive { line, words: std::mem::take(words), block });
            }
        };
        match word {
            "" => end(&mut words, vec![]),
            "}" => {
                end(&mut words, vec![]);
                if open.is_none() {
                    return Err(BadCorefile { line, why: "a brace is closed that is not open".into() });
                }
                return Ok(directives);
            }
            "{" if words.is_empty() => {
                return Err(BadCorefile { line, why: "nothing is before the brace".into() });
            }
            "{" => {
                // A file of braces alone must not fill the stack.
                if depth == DEEPEST {
                    return Err(BadCorefile { line, why: "braces within braces within braces".into() });
                }
                let inner = block(tokens, Some(line), depth + 1)?;
                end(&mut words, inner);
            }
            word => words.push(word),
        }
    }
    match open {
        Some(line) => Err(BadCorefile { line, why: "this brace is not closed".into() }),
        None => {
            if let [first, ..] = words.as_slice() {
                return Err(BadCorefile { line: 1, why: format!("{first}: a block `{{ … }}` is missing") });
            }
            Ok(directives)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As kubeadm's.
    const KUBEADM: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 5
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
";

    #[test]
    fn kubeadms_own_is_followed_without_a_word() {
        let read = Corefile::parse(KUBEADM).unwrap();
        let file = Upstream::File("/etc/resolv.conf".into());
        assert_eq!(read, Corefile { forward: vec![file], ..Corefile::default() });
        let logged = KUBEADM.replace("errors", "errors\n    log # each");
        assert_eq!(Corefile::parse(&logged).unwrap(), Corefile { log: Classes::ALL, ..read });
    }

    #[test]
    fn classes_and_resolvers() {
        let read = Corefile::parse(
            "# first\n.:53 {\nlog . {\nclass denial error\n}\nforward . 192.0.2.1 192.0.2.2:5353 dns://[::1]:54 \
             2001:db8::1\n}",
        );
        let read = read.unwrap();
        assert_eq!(read.log, Classes::DENIAL.and(Classes::ERROR));
        assert!(!read.log.has(Classes::SUCCESS));
        assert_eq!((read.log.to_string(), Classes::NONE.to_string()), ("denial error".into(), "none".into()));
        let addresses = ["192.0.2.1:53", "192.0.2.2:5353", "[::1]:54", "[2001:db8::1]:53"];
        assert_eq!(read.forward, addresses.map(|text| Upstream::Address(text.parse().unwrap())));
    }

    #[test]
    fn what_is_not_followed_is_told() {
        let read = Corefile::parse(".:53 {\n kubernetes cluster.local {\n ttl 30\n pods verified\n }\n hosts {\n 192.0.2.1 a\n }\n}\nexample.com:53 {\n whoami\n}\n").unwrap();
        assert_eq!(
            read.warnings,
            [
                "Corefile line 3: ttl 30: records of the cluster have a TTL of 5 s",
                "Corefile line 4: pods verified: this server does not do that",
                "Corefile line 6: hosts: this server does not have that plugin, and goes on without",
                "Corefile line 10: example.com:53: only one server is followed, that of `.:53`",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read() {
        let deep = "{ a ".repeat(100_000);
        for (text, error) in [
            ("", "Corefile line 1: there is no server `.:53 { … }`"),
            ("example.com {\n}", "Corefile line 1: there is no server `.:53 { … }`"),
            (".:53 {\n log\n", "Corefile line 1: this brace is not closed"),
            (".:53 {\n}\n}", "Corefile line 3: a brace is closed that is not open"),
            ("{\n}", "Corefile line 1: nothing is before the brace"),
            (
                ".:53 {\n\n log example.com\n}",
                "Corefile line 3: only `log` and `log .` are known, not of example.com alone",
            ),
            (
                ".:53 {\n log {\n class all none\n }\n}",
                "Corefile line 3: none is no class: success, denial, error, all",
            ),
            (".:53 {\n log {\n format x\n }\n}", "Corefile line 3: only `class` is known here"),
            (".:53 {\n forward .\n}", "Corefile line 2: nobody is named to whom to forward"),
            (".:53 {\n forward example.com 192.0.2.1\n}", "Corefile line 2: only `forward . TO…` is known"),
            (
                ".:53 {\n forward . tls://192.0.2.1\n}",
                "Corefile line 2: tls://192.0.2.1 is neither an address nor the absolute path of a resolv.conf",
            ),
            (&format!(".:53 {deep}"), "Corefile line 1: braces within braces within braces"),
        ] {
            assert_eq!(Corefile::parse(text).unwrap_err().to_string(), error, "{text:.60}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "([.:{}# \n]|log|forward|class|53){0,60}") {
            // It may be wrong, but it ends.
            let _ = Corefile::parse(&text);
        }
    }
}
