//! Rules of routes: which requests, and what is done with them.

use api::gateway::{HTTPRoute, HTTPRouteMatch, HTTPRouteRule, NamedMatch};

use super::status::Found;
use super::{Entry, backend, filter, holds};
use crate::model::{Condition, Host, Owner, Path, Subject, Test};
use crate::plan::Cluster;
use crate::plan::backend::Backends;
use crate::plan::draft::Draft;
use crate::text;

/// What a route asks for, before it is known on which hosts.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) entries: Vec<Entry>,
    /// Whether its references lead anywhere.
    pub(super) resolved: Found,
    /// Why some of its rules are left out.
    pub(super) partial: Option<Found>,
}

pub(super) fn read(
    cluster: &Cluster,
    backends: &Backends<'_>,
    route: &HTTPRoute,
    owner: &Owner,
    age: usize,
    draft: &mut Draft<'_>,
) -> Rules {
    let mut rules =
        Rules { entries: Vec::new(), resolved: holds("ResolvedRefs", "ResolvedRefs"), partial: None };
    // A route without rules leads everything nowhere.
    let everything = [HTTPRouteRule::default()];
    for (i, rule) in route.spec.rules.as_deref().unwrap_or(&everything).iter().enumerate() {
        let to = backend::choose(cluster, backends, rule, owner, &mut rules.resolved, draft);
        let any = [HTTPRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &any } else { rule.matches.as_slice() };
        for (j, one) in matches.iter().enumerate() {
            let entry = path(one).and_then(|path| {
                let (action, policy) =
                    filter::apply(cluster, backends, rule, &path, to.clone(), owner, draft)?;
                let when = conditions(one)?;
                let (host, order) = (Host::Any, (age, i, j));
                Ok(Entry { host, path, when, action, policy, owner: owner.clone(), order })
            });
            match entry {
                Ok(entry) => rules.entries.push(entry),
                Err(why) => {
                    let message = format!("rule {i} is left out: {why}");
                    rules.partial.get_or_insert(Found {
                        kind: "PartiallyInvalid",
                        holds: true,
                        reason: "UnsupportedValue",
                        message,
                        good: false,
                    });
                }
            }
        }
    }
    rules
}

fn path(one: &HTTPRouteMatch) -> Result<Path, String> {
    let path = one.path.clone().unwrap_or_default();
    let value = path.value.as_deref().unwrap_or("/");
    let kind = path.r#type.as_deref().unwrap_or("PathPrefix");
    let why = text::refusal(value).or((!value.starts_with('/')).then_some("it has to begin with /"));
    if let Some(why) = why {
        return Err(format!("path {value:?}: {why}"));
    }
    match kind {
        "Exact" => Ok(Path::Exact(value.into())),
        "PathPrefix" => Ok(Path::Prefix(value.trim_end_matches('/').into())),
        "RegularExpression" => match text::refusal_of_pattern(value) {
            Some(why) => Err(format!("path {value:?}: {why}")),
            None => Ok(Path::Regex(value.into())),
        },
        other => Err(format!("a path's type {other:?} is not supported")),
    }
}

fn conditions(one: &HTTPRouteMatch) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for header in &one.headers {
        let name = header.name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("header {name:?}: nginx knows names of letters, digits and dashes alone"));
        }
        // Of several for one name the first counts.
        if !seen.contains(&name) {
            conditions.push(Condition { subject: Subject::Header(name.clone()), test: test(header)? });
            seen.push(name);
        }
    }
    for query in &one.query_params {
        if let Some(why) = text::refusal(&query.name) {
            return Err(format!("query parameter {:?}: {why}", query.name));
        }
        conditions.push(Condition { subject: Subject::Query(query.name.clone()), test: test(query)? });
    }
    if let Some(method) = &one.method {
        if !method.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(format!("method {method:?} is none"));
        }
        conditions.push(Condition { subject: Subject::Method, test: Test::Is(method.clone()) });
    }
    Ok(conditions)
}

fn test(one: &NamedMatch) -> Result<Test, String> {
    // As a regular expression it may become twice as long.
    if let Some(why) = text::refusal(&one.value.repeat(2)) {
        return Err(format!("value of {:?}: {why}", one.name));
    }
    match one.r#type.as_deref().unwrap_or("Exact") {
        "Exact" => Ok(Test::Is(one.value.clone())),
        "RegularExpression" => match text::refusal_of_pattern(&one.value) {
            Some(why) => Err(format!("value of {:?}: {why}", one.name)),
            None => Ok(Test::Matches(one.value.clone())),
        },
        other => Err(format!("the type {other:?} of a match is not supported")),
    }
}
