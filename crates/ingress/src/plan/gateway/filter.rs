//! Filters of rules: what is changed on the way.

use api::gateway::{
    HTTPCors, HTTPHeaderFilter, HTTPPathModifier, HTTPRequestMirror, HTTPRequestRedirect, HTTPRouteRule,
    HTTPUrlRewrite,
};

use super::backend;
use crate::model::{
    Action, Choice, Cors, Headers, Owner, Path, Policy, Protocol, Redirect, RedirectPath, Rewrite,
};
use crate::plan::Cluster;
use crate::plan::backend::Backends;
use crate::plan::draft::Draft;
use crate::text;

/// What is done with requests of a rule, and how.
///
/// # Errors
/// What of its filters cannot be done; then none of it may be.
pub(super) fn apply(
    cluster: &Cluster,
    backends: &Backends<'_>,
    rule: &HTTPRouteRule,
    path: &Path,
    to: Choice,
    owner: &Owner,
    draft: &mut Draft<'_>,
) -> Result<(Action, Policy), String> {
    let mut policy = Policy::default();
    let mut action = Action::Proxy { to, protocol: Protocol::Http };
    let own = rule.backend_refs.iter().flat_map(|reference| &reference.filters);
    if rule.backend_refs.len() > 1 && own.clone().next().is_some() {
        return Err("filters of one backend among several are not supported".into());
    }
    for filter in rule.filters.iter().chain(own) {
        match filter.r#type.as_str() {
            "RequestHeaderModifier" => {
                headers(filter.request_header_modifier.as_ref(), &mut policy.request_headers)?;
            }
            "ResponseHeaderModifier" => {
                headers(filter.response_header_modifier.as_ref(), &mut policy.response_headers)?;
            }
            "RequestRedirect" => {
                action = redirect(&filter.request_redirect.clone().unwrap_or_default(), path)?;
            }
            "URLRewrite" => rewrite(&filter.url_rewrite.clone().unwrap_or_default(), path, &mut policy)?,
            "RequestMirror" => {
                let mirror = filter.request_mirror.clone().unwrap_or_default();
                policy.mirrors.extend(self::mirror(cluster, backends, &mirror, owner, draft)?);
            }
            "CORS" => policy.cors = Some(cors(&filter.cors.clone().unwrap_or_default())?),
            other => return Err(format!("filter {other:?} is not supported")),
        }
    }
    if let Some(timeouts) = &rule.timeouts {
        let one = timeouts.backend_request.as_ref().or(timeouts.request.as_ref());
        // Zero is for ever, which nginx does not know.
        policy.read_timeout = one.map(|text| duration(text)).transpose()?.filter(|time| *time > 0);
    }
    Ok((action, policy))
}

fn headers(filter: Option<&HTTPHeaderFilter>, headers: &mut Headers) -> Result<(), String> {
    let Some(filter) = filter else { return Ok(()) };
    for header in filter.set.iter().chain(&filter.add) {
        let name = name(&header.name)?;
        if let Some(why) = text::refusal(&header.value) {
            return Err(format!("header {name}: {why}"));
        }
    }
    let pair = |header: &api::gateway::HTTPHeader| (header.name.clone(), header.value.clone());
    headers.set.extend(filter.set.iter().map(pair));
    headers.add.extend(filter.add.iter().map(pair));
    for header in &filter.remove {
        headers.remove.insert(name(header)?.into());
    }
    Ok(())
}

/// A header's name, as nginx can have it in a variable.
fn name(name: &str) -> Result<&str, String> {
    let is_good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_good {
        Ok(name)
    } else {
        Err(format!("header {name:?}: only letters, digits and dashes are supported"))
    }
}

fn host(name: Option<&String>) -> Result<Option<String>, String> {
    match name {
        Some(name) if !api::names::dns_subdomain(name).is_empty() => Err(format!("host {name:?} is none")),
        name => Ok(name.cloned()),
    }
}

fn redirect(filter: &HTTPRequestRedirect, path: &Path) -> Result<Action, String> {
    const CODES: &[i32] = &[301, 302, 303, 307, 308];
    let status = filter.status_code.unwrap_or(302);
    let status = CODES.contains(&status).then(|| u16::try_from(status).ok()).flatten();
    let status = status.ok_or_else(|| format!("a redirect with status {:?}", filter.status_code))?;
    let scheme = filter.scheme.clone();
    if scheme.as_deref().is_some_and(|scheme| !["http", "https"].contains(&scheme)) {
        return Err(format!("a redirect to scheme {scheme:?}"));
    }
    let port = filter.port.map(|port| u16::try_from(port).map_err(|_| format!("{port} is no port")));
    let port = port.transpose()?;
    // The schemes' own ports are left away.
    let usual = match scheme.as_deref() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let path = match &filter.path {
        None => RedirectPath::Same,
        Some(modifier) => match modified(modifier, path)? {
            Rewrite::Full(path) => RedirectPath::Full(path),
            Rewrite::Prefix(from, to) => RedirectPath::Prefix(from, to),
            Rewrite::Regex(..) => return Err("a redirect by a regular expression".into()),
        },
    };
    let port = port.filter(|port| Some(*port) != usual);
    let to = Redirect::Parts { scheme, host: host(filter.hostname.as_ref())?, port, path };
    Ok(Action::Redirect { status, to })
}

fn rewrite(filter: &HTTPUrlRewrite, path: &Path, policy: &mut Policy) -> Result<(), String> {
    if let Some(host) = host(filter.hostname.as_ref())? {
        policy.host = Some(host);
    }
    policy.rewrite = filter.path.as_ref().map(|modifier| modified(modifier, path)).transpose()?;
    Ok(())
}

fn modified(modifier: &HTTPPathModifier, path: &Path) -> Result<Rewrite, String> {
    let good = |text: &Option<String>| {
        let text = text.clone().unwrap_or_default();
        match text::refusal(&text) {
            Some(why) => Err(format!("path {text:?}: {why}")),
            None if !text.is_empty() && !text.starts_with('/') => {
                Err(format!("path {text:?}: it has to begin with /"))
            }
            None => Ok(text),
        }
    };
    match (modifier.r#type.as_str(), path) {
        ("ReplaceFullPath", _) => {
            let path = good(&modifier.replace_full_path)?;
            Ok(Rewrite::Full(if path.is_empty() { "/".into() } else { path }))
        }
        ("ReplacePrefixMatch", Path::Prefix(from)) => {
            Ok(Rewrite::Prefix(from.clone(), good(&modifier.replace_prefix_match)?))
        }
        ("ReplacePrefixMatch", _) => Err("the prefix of a path that is not matched by one".into()),
        (other, _) => Err(format!("a path's change {other:?} is not supported")),
    }
}

fn mirror(
    cluster: &Cluster,
    backends: &Backends<'_>,
    filter: &HTTPRequestMirror,
    owner: &Owner,
    draft: &mut Draft<'_>,
) -> Result<Option<String>, String> {
    if filter.percent.is_some_and(|percent| percent != 100) || filter.fraction.is_some() {
        return Err("copies of a share of the requests are not supported".into());
    }
    match backend::one(cluster, backends, &filter.backend_ref, owner, draft) {
        Ok(Choice::Upstream(name)) => Ok(Some(name)),
        Ok(_) => Ok(None),
        Err((_, message)) => Err(message),
    }
}

fn cors(filter: &HTTPCors) -> Result<Cors, String> {
    let origins =
        if filter.allow_origins.is_empty() { vec!["*".into()] } else { filter.allow_origins.clone() };
    let all = [&origins, &filter.allow_methods, &filter.allow_headers, &filter.expose_headers];
    if let Some(why) = all.into_iter().flatten().find_map(|text| text::refusal(&text.repeat(2))) {
        return Err(format!("CORS: {why}"));
    }
    let list = |words: &[String], usual: &str| {
        if words.is_empty() { usual.to_owned() } else { words.join(", ") }
    };
    Ok(Cors {
        origins,
        methods: list(&filter.allow_methods, "GET, HEAD, POST"),
        headers: list(&filter.allow_headers, ""),
        expose: Some(filter.expose_headers.join(", ")).filter(|headers| !headers.is_empty()),
        credentials: filter.allow_credentials.unwrap_or(false),
        max_age: filter.max_age.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(5),
    })
}

/// Milliseconds of a duration as `1h30m`, `500ms` (GEP-2257).
fn duration(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no duration");
    let (mut rest, mut sum) = (text, 0u32);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, more) = rest.split_at(digits);
        let letters = more.find(|c: char| c.is_ascii_digit()).unwrap_or(more.len());
        let (unit, more) = more.split_at(letters);
        let factor = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let part =
            number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = more;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table =
            [("0s", Some(0)), ("1h30m", Some(5_400_000)), ("500ms", Some(500)), ("10", None), ("", None)];
        for (text, milliseconds) in table.into_iter().chain([("5x", None), ("s", None), ("99999h", None)]) {
            assert_eq!(duration(text).ok(), milliseconds, "{text}");
        }
    }
}
