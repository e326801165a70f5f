//! Locations: a path of a server.

use std::collections::BTreeSet;

use super::choice::{self, Target};
use super::policy::{self, Variables};
use super::writer::Writer;
use super::{Names, head};
use crate::model::{Action, Case, Choice, Location, Owner, Path, Protocol, Redirect, RedirectPath, Server};
use crate::text::{Part, Word, literal};

/// A status that nobody else gives, by which a location jumps to one of its cases.
const JUMP: u32 = 418;

/// A path with everything of it that stands outside of its server.
#[derive(Debug)]
pub(super) struct Place<'a> {
    path: Path,
    owner: Option<&'a Owner>,
    cases: Vec<Prepared<'a>>,
    jump: Option<Jump>,
}

/// How a location comes to the one that does the work.
#[derive(Debug)]
enum Jump {
    /// It is the only one.
    To(String),
    /// This variable has its name.
    By(String),
}

#[derive(Debug)]
struct Prepared<'a> {
    case: &'a Case,
    /// The name of its location, and what names of other locations begin with.
    name: String,
    target: Option<Target>,
    /// The variable that has what follows a prefix, for a redirect.
    rest: Option<String>,
    variables: Variables,
}

impl<'a> Place<'a> {
    /// Writes the maps that it needs.
    pub(super) fn prepare(
        out: &mut Writer,
        names: &mut Names,
        about: &str,
        path: Path,
        location: &'a Location,
    ) -> Self {
        let owner = location.cases.first().map(|case| &case.owner);
        let cases: Vec<_> =
            location.cases.iter().map(|case| Prepared::new(out, names, about, case)).collect();
        let simple = matches!(location.cases.as_slice(), [case] if case.when.is_empty());
        out.owned_by(owner);
        // From a path with a slash at its end that is passed on, nginx makes another one without, which
        // redirects to the first; not from one that jumps.
        let slash = matches!(&path, Path::Exact(path) if path.len() > 1 && path.ends_with('/'));
        let jump = match cases.first() {
            Some(only) if simple => slash.then(|| Jump::To(only.name.clone())),
            _ => {
                let cases: Vec<_> =
                    cases.iter().map(|one| (one.case.when.as_slice(), one.name.clone())).collect();
                Some(Jump::By(choice::first_of(out, names, about, &cases, "nowhere")))
            }
        };
        Self { path, owner, cases, jump }
    }

    /// Writes its locations.
    pub(super) fn write(&self, out: &mut Writer, server: &Server) {
        out.owned_by(self.owner);
        for words in self.words(server) {
            out.gap();
            if let Some(owner) = self.owner {
                out.comment(&format!("{owner}: {}", self.path));
            }
            out.open("location", words);
            match (&self.jump, self.cases.first()) {
                (Some(jump), _) => {
                    let name = match jump {
                        Jump::To(name) => Part::Text(name),
                        Jump::By(variable) => Part::Variable(variable),
                    };
                    out.put("error_page", [JUMP.into(), "=".into(), Word::of(&[Part::Text("@"), name])]);
                    out.put("return", [JUMP.into()]);
                }
                (None, Some(one)) => one.body(out),
                (None, None) => out.put("return", [404u32.into()]),
            }
            out.close();
        }
        for one in &self.cases {
            out.owned_by(Some(&one.case.owner));
            if self.jump.is_some() {
                out.gap();
                out.comment(&format!("{}: {}{}", one.case.owner, self.path, shown(one.case)));
                out.open("location", [Word::text(&format!("@{}", one.name))]);
                one.body(out);
                out.close();
            }
            policy::helpers(out, &one.name, one.case);
        }
    }

    /// What stands behind `location`, once or twice.
    fn words(&self, server: &Server) -> Vec<Vec<Word>> {
        match &self.path {
            Path::Exact(path) => vec![vec!["=".into(), Word::text(path)]],
            Path::Regex(pattern) => vec![vec!["~*".into(), Word::text(&format!("^{pattern}"))]],
            Path::Beginning(path) => vec![vec![Word::text(path)]],
            Path::Prefix(path) if path.is_empty() => vec![vec!["/".into()]],
            Path::Prefix(path) => {
                let below = vec![Word::text(&format!("{path}/"))];
                let taken = server.locations.contains_key(&Path::Exact(path.clone()));
                let itself = (!taken).then(|| vec!["=".into(), Word::text(path)]);
                itself.into_iter().chain([below]).collect()
            }
        }
    }
}

/// Whether any of these places jumps, so that there has to be a place for those that meet no condition.
pub(super) fn any_jumps(places: &[Place<'_>]) -> bool {
    places.iter().any(|place| matches!(place.jump, Some(Jump::By(_))))
}

fn shown(case: &Case) -> String {
    use crate::model::{Subject, Test};
    let shown = case.when.iter().map(|condition| {
        let what = match &condition.subject {
            Subject::Header(name) => format!("header {name}"),
            Subject::Cookie(name) => format!("cookie {name}"),
            Subject::Query(name) => format!("query {name}"),
            Subject::Method => "method".to_owned(),
        };
        match &condition.test {
            Test::Is(text) => format!("{what} is {text}"),
            Test::Matches(pattern) => format!("{what} matches {pattern}"),
        }
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() { String::new() } else { format!(", if {}", shown.join(" and ")) }
}

impl<'a> Prepared<'a> {
    fn new(out: &mut Writer, names: &mut Names, about: &str, case: &'a Case) -> Self {
        out.owned_by(Some(&case.owner));
        let name = names.take("at", about);
        let target = match &case.action {
            Action::Proxy { to, .. } => Some(choice::choose(out, names, about, to)),
            _ => None,
        };
        let rest = match &case.action {
            Action::Redirect { to: Redirect::Parts { path: RedirectPath::Prefix(from, _), .. }, .. } => {
                Some(rest_of_path(out, names, about, from))
            }
            _ => None,
        };
        let variables = Variables::prepare(out, names, about, &case.policy);
        Self { case, name, target, rest, variables }
    }

    fn body(&self, out: &mut Writer) {
        out.put("set", [Word::variable("route"), Word::value(&self.case.owner.to_string())]);
        policy::access(out, &self.name, self.case, &self.variables);
        match &self.case.action {
            Action::Proxy { to, protocol } => self.proxy(out, to, *protocol),
            Action::Answer { status, why } => {
                out.comment(why);
                out.put("return", [u32::from(*status).into()]);
            }
            Action::Redirect { status, to } => {
                redirect(out, *status, to, self.rest.as_deref().unwrap_or_default());
            }
        }
    }

    fn proxy(&self, out: &mut Writer, to: &Choice, protocol: Protocol) {
        let target = match &self.target {
            Some(Target::Nobody(status)) => {
                out.comment("No endpoint is ready");
                return out.put("return", [u32::from(*status).into()]);
            }
            Some(Target::Fixed(name)) => Part::Text(name),
            Some(Target::Variable(name)) => {
                let mut statuses = BTreeSet::new();
                nobodies(to, &mut statuses);
                for status in statuses {
                    out.open("if", [Word::condition(name, &choice::nobody(status))]);
                    out.put("return", [u32::from(status).into()]);
                    out.close();
                }
                Part::Variable(name)
            }
            None => return,
        };
        policy::passing(out, &self.name, self.case, protocol, &self.variables);
        let scheme = match protocol {
            Protocol::Http => "http://",
            Protocol::Https => "https://",
            Protocol::Grpc => "grpc://",
            Protocol::Grpcs => "grpcs://",
        };
        let pass = if head::is_grpc(protocol) { "grpc_pass" } else { "proxy_pass" };
        out.put(pass, [Word::of(&[Part::Text(scheme), target])]);
    }
}

/// With which statuses a choice may end at nobody.
fn nobodies(choice: &Choice, statuses: &mut BTreeSet<u16>) {
    match choice {
        Choice::Nobody(status, _) => drop(statuses.insert(*status)),
        Choice::Split(parts) => parts.iter().for_each(|(_, choice)| nobodies(choice, statuses)),
        Choice::Match { arms, otherwise, .. } => {
            nobodies(otherwise, statuses);
            arms.iter().for_each(|(_, choice)| nobodies(choice, statuses));
        }
        Choice::Upstream(_) | Choice::Address(_) | Choice::Name(_) => {}
    }
}

/// What follows a prefix of the path as the client has written it. Never the path as nginx has decoded it:
/// in an answer's header it could be more than one line.
fn rest_of_path(out: &mut Writer, names: &mut Names, about: &str, from: &str) -> String {
    let variable = names.take("rest", about);
    let pattern = format!("~^{}/*(?<rest>[^?]*)", literal(from.trim_end_matches('/')));
    out.open("map", [Word::variable("request_uri"), Word::variable(&variable)]);
    out.entry("default".into(), Word::text(""));
    out.entry(Word::text(&pattern), Word::variable("rest"));
    out.close();
    variable
}

fn redirect(out: &mut Writer, status: u16, to: &Redirect, rest: &str) {
    let status = u32::from(status).into();
    let (scheme, host, port, path) = match to {
        Redirect::Url(url) => return out.put("return", [status, Word::value(url)]),
        Redirect::Parts { scheme, host, port, path } => (scheme, host, port, path),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut parts = vec![
        scheme.as_deref().map_or(Part::Variable("scheme"), Part::Text),
        Part::Text("://"),
        host.as_deref().map_or(Part::Variable("host"), Part::Text),
        Part::Text(&port),
    ];
    match path {
        RedirectPath::Same => parts.push(Part::Variable("request_uri")),
        RedirectPath::Full(path) => {
            parts.extend([Part::Text(path), Part::Variable("is_args"), Part::Variable("args")]);
        }
        RedirectPath::Prefix(_, to) => {
            parts.extend([Part::Text(to.trim_end_matches('/')), Part::Text("/"), Part::Variable(rest)]);
            parts.extend([Part::Variable("is_args"), Part::Variable("args")]);
        }
    }
    out.put("return", [status, Word::of(&parts)]);
}

/// The regular expression for a path below `from`, and what stands in its place: `to` and the rest.
///
/// (Gateway API `HTTPPathModifier`: `/foo` by `/xyz` makes `/foo/bar` `/xyz/bar`, and by `/` it makes `/bar`.)
pub(super) fn prefix<'t>(from: &str, to: &'t str) -> (String, Vec<Part<'t>>) {
    let (from, to) = (literal(from.trim_end_matches('/')), to.trim_end_matches('/'));
    if to.is_empty() {
        return (format!("(?s)^{from}/*(.*)$"), vec![Part::Text("/"), Part::Variable("1")]);
    }
    (format!("(?s)^{from}(/.*)?$"), vec![Part::Text(to), Part::Variable("1")])
}
