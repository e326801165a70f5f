//! From what routes ask for on a listener to servers and their locations.
//!
//! nginx looks for the host first and then for the path; the specification compares all that match by host,
//! path, method, headers, query and age, in that order. So every host of a listener gets a server, and every
//! path a location that has, in the specification's order, everything that could take a request there.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Entry;
use super::attach::covers;
use super::listener::Open;
use crate::model::{Case, Host, Location, Owner, Path, Subject};
use crate::plan::draft::Draft;

pub(super) fn serve(open: &Open<'_>, gateway: &Owner, draft: &mut Draft<'_>) {
    if !open.is_open() || draft.is_excepted(gateway) {
        return;
    }
    let mut hosts: BTreeSet<Host> = open.entries.iter().map(|entry| entry.host.clone()).collect();
    // Its own, so that no listener with a more general one gets its requests.
    hosts.insert(open.host.clone());
    for host in hosts {
        let server = draft.server(open.port, &host, gateway);
        if server.tls.is_none() {
            server.tls.clone_from(&open.tls);
        }
        let mut entries: Vec<&Entry> = open.entries.iter().filter(|one| covers(&one.host, &host)).collect();
        entries.sort_by_key(|entry| rank(entry));
        let paths: BTreeSet<&Path> = entries.iter().map(|entry| &entry.path).collect();
        for path in paths {
            let cases = cases(path, &entries);
            draft.place(open.port, &host, path.clone(), Location { cases });
        }
    }
}

/// What could take a request at a path, up to the first that takes every one.
fn cases(path: &Path, entries: &[&Entry]) -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in entries.iter().filter(|entry| reaches(&entry.path, path)) {
        cases.push(Case {
            owner: entry.owner.clone(),
            when: entry.when.clone(),
            action: entry.action.clone(),
            policy: entry.policy.clone(),
        });
        if entry.when.is_empty() {
            break;
        }
    }
    cases
}

/// Whether one path takes everything that the other, a location's, takes.
fn reaches(own: &Path, location: &Path) -> bool {
    match (own, location) {
        (Path::Prefix(own), Path::Exact(path) | Path::Prefix(path)) => {
            path.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        // What is below the root is everything.
        (Path::Prefix(own), Path::Regex(_)) => own.is_empty(),
        (own, location) => own == location,
    }
}

type Rank =
    (Reverse<(u8, usize)>, Reverse<(u8, usize)>, Reverse<(bool, usize, usize)>, (usize, usize, usize));

/// The specification's order (`HTTPRouteRule.matches`).
fn rank(entry: &Entry) -> Rank {
    let host = match &entry.host {
        Host::Name(name) => (2, name.len()),
        Host::Suffix(rest) | Host::Label(rest) => (1, rest.len()),
        Host::Any => (0, 0),
    };
    let path = match &entry.path {
        Path::Exact(path) => (2, path.len()),
        Path::Regex(pattern) => (1, pattern.len()),
        Path::Prefix(path) | Path::Beginning(path) => (0, path.len()),
    };
    let count = |is: fn(&Subject) -> bool| entry.when.iter().filter(|one| is(&one.subject)).count();
    let method = count(|subject| matches!(subject, Subject::Method)) > 0;
    let headers = count(|subject| matches!(subject, Subject::Header(_)));
    let query = count(|subject| matches!(subject, Subject::Query(_)));
    (Reverse(host), Reverse(path), Reverse((method, headers, query)), entry.order)
}
