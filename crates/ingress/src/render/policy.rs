//! How requests of a location are handled.

use super::choice;
use super::writer::Writer;
use super::{Names, head, location};
use crate::model::{Case, Cookie, Cors, Policy, Protocol, Rewrite};
use crate::text::{Part, Word, literal};

/// Variables whose maps stand before the server.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// The origin that is allowed, empty if it is not.
    origin: Option<String>,
    /// The cookie that a client is given, empty if it has one.
    cookie: Option<String>,
    /// Headers with the values of the request and one more.
    added: Vec<(String, String)>,
}

impl Variables {
    pub(super) fn prepare(out: &mut Writer, names: &mut Names, about: &str, policy: &Policy) -> Self {
        let origin = policy.cors.as_ref().map(|cors| origins(out, names, about, cors));
        let mut added: Vec<(String, String)> = Vec::new();
        for (name, value) in &policy.request_headers.add {
            let variable = names.take("added", about);
            let before = match added.iter().rfind(|(other, _)| other.eq_ignore_ascii_case(name)) {
                Some((_, variable)) => variable.clone(),
                None => format!("http_{}", name.to_ascii_lowercase().replace('-', "_")),
            };
            out.open("map", [Word::variable(&before), Word::variable(&variable)]);
            out.entry("default".into(), {
                Word::of(&[Part::Variable(&before), Part::Text(", "), Part::Text(value)])
            });
            out.entry(Word::text(""), Word::value(value));
            out.close();
            added.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            added.push((name.clone(), variable));
        }
        let cookie = policy.cookie.as_ref().map(|cookie| given(out, names, about, cookie));
        Self { origin, cookie, added }
    }
}

fn given(out: &mut Writer, names: &mut Names, about: &str, cookie: &Cookie) -> String {
    let variable = names.take("given", about);
    out.open("map", [Word::variable(&choice::new_cookie(&cookie.name)), Word::variable(&variable)]);
    let (name, attributes) = (format!("{}=", cookie.name), format!("; {}", cookie.attributes));
    let value = [Part::Text(&name), Part::Variable("request_id"), Part::Text(&attributes)];
    out.entry("default".into(), Word::of(&value));
    out.entry(Word::text(""), Word::text(""));
    out.close();
    variable
}

fn origins(out: &mut Writer, names: &mut Names, about: &str, cors: &Cors) -> String {
    let variable = names.take("origin", about);
    out.open("map", [Word::variable("http_origin"), Word::variable(&variable)]);
    if cors.origins.iter().any(|origin| origin == "*") {
        // With credentials a browser takes no star.
        let all = if cors.credentials { Word::variable("http_origin") } else { "*".into() };
        out.entry("default".into(), all);
    } else {
        out.entry("default".into(), Word::text(""));
        for origin in &cors.origins {
            let pattern = literal(origin).replace("\\*", "[^/.]+");
            out.entry(Word::text(&format!("~*^{pattern}$")), Word::variable("http_origin"));
        }
    }
    out.close();
    variable
}

/// Who may come in, how fast, and what answers carry; for every kind of location.
pub(super) fn access(out: &mut Writer, name: &str, case: &Case, variables: &Variables) {
    let policy = &case.policy;
    if policy.silent {
        out.put("access_log", ["off".into()]);
    }
    for network in &policy.deny {
        out.put("deny", [Word::text(&network.to_string())]);
    }
    for network in &policy.allow {
        out.put("allow", [Word::text(&network.to_string())]);
    }
    if !policy.allow.is_empty() {
        out.put("deny", ["all".into()]);
    }
    if let Some(auth) = &policy.auth {
        out.put("auth_basic", [Word::value(&auth.realm)]);
        out.put("auth_basic_user_file", [Word::text(&auth.file)]);
    }
    for (limit, burst) in &policy.rates {
        let (zone, burst) = (format!("zone={}", choice::zone(limit)), format!("burst={burst}"));
        out.put("limit_req", [Word::text(&zone), Word::text(&burst), "nodelay".into()]);
    }
    for (limit, most) in &policy.connections {
        out.put("limit_conn", [Word::text(&choice::zone(limit)), (*most).into()]);
    }
    if let Some((rate, after)) = policy.bandwidth {
        out.put("limit_rate", [rate.into()]);
        out.put("limit_rate_after", [after.into()]);
    }
    if let Some(size) = policy.body_size {
        out.put("client_max_body_size", [size.into()]);
    }
    answers(out, policy, variables);
    if let (Some(cors), Some(_)) = (&policy.cors, &variables.origin) {
        out.open("if", [Word::condition("request_method", "OPTIONS")]);
        answers(out, policy, variables);
        out.put("add_header", ["Access-Control-Max-Age".into(), cors.max_age.into()]);
        out.put("return", [204u32.into()]);
        out.close();
    }
    for (i, _) in policy.mirrors.iter().enumerate() {
        out.put("mirror", [Word::text(&mirror(name, i))]);
    }
    match &policy.rewrite {
        None => {}
        Some(Rewrite::Full(path)) => {
            out.put("rewrite", ["^".into(), Word::value(path), "break".into()]);
        }
        Some(Rewrite::Prefix(from, to)) => {
            let (pattern, to) = location::prefix(from, to);
            out.put("rewrite", [Word::text(&pattern), Word::of(&to), "break".into()]);
        }
        Some(Rewrite::Regex(pattern, to)) => {
            let pattern = Word::text(&format!("(?i)^{pattern}"));
            out.put("rewrite", [pattern, Word::of(&groups(to)), "break".into()]);
        }
    }
}

/// Headers of answers.
fn answers(out: &mut Writer, policy: &Policy, variables: &Variables) {
    if let Some(cookie) = &variables.cookie {
        // Empty, and so not there, for who has one already.
        out.put("add_header", ["Set-Cookie".into(), Word::variable(cookie)]);
    }
    if let (Some(cors), Some(origin)) = (&policy.cors, &variables.origin) {
        let mut header = |name: &'static str, value: Word| {
            out.put("add_header", [name.into(), value, "always".into()]);
        };
        header("Access-Control-Allow-Origin", Word::variable(origin));
        header("Access-Control-Allow-Methods", Word::value(&cors.methods));
        header("Access-Control-Allow-Headers", Word::value(&cors.headers));
        if cors.credentials {
            header("Access-Control-Allow-Credentials", "true".into());
        }
        if let Some(expose) = &cors.expose {
            header("Access-Control-Expose-Headers", Word::value(expose));
        }
        if cors.origins.iter().all(|origin| origin != "*") || cors.credentials {
            header("Vary", "Origin".into());
        }
    }
    let headers = &policy.response_headers;
    let set = headers.set.iter();
    for (name, value) in set.chain(headers.add.iter().map(|(name, value)| (name, value))) {
        out.put("add_header", [Word::text(name), Word::value(value), "always".into()]);
    }
}

/// What is said to endpoints, and how long they are waited for.
pub(super) fn passing(out: &mut Writer, name: &str, case: &Case, protocol: Protocol, variables: &Variables) {
    let (policy, grpc) = (&case.policy, head::is_grpc(protocol));
    let either = |proxy: &'static str, of_grpc: &'static str| if grpc { of_grpc } else { proxy };
    let time = |milliseconds: u32| match milliseconds % 1000 {
        0 => Word::text(&format!("{}s", milliseconds / 1000)),
        _ => Word::text(&format!("{milliseconds}ms")),
    };
    let times = [
        (either("proxy_connect_timeout", "grpc_connect_timeout"), policy.connect_timeout),
        (either("proxy_read_timeout", "grpc_read_timeout"), policy.read_timeout),
        (either("proxy_send_timeout", "grpc_send_timeout"), policy.send_timeout),
        (either("proxy_next_upstream_timeout", "grpc_next_upstream_timeout"), policy.next_timeout),
    ];
    for (directive, limit) in times {
        limit.into_iter().for_each(|limit| out.put(directive, [time(limit)]));
    }
    if let Some(when) = &policy.next_upstream {
        let words = when.iter().map(|word| Word::plain(word));
        out.put(either("proxy_next_upstream", "grpc_next_upstream"), words);
    }
    if let Some(tries) = policy.next_tries {
        out.put(either("proxy_next_upstream_tries", "grpc_next_upstream_tries"), [tries.into()]);
    }
    let on = |on: bool| Word::plain(if on { "on" } else { "off" });
    if let Some(buffering) = policy.buffering.filter(|_| !grpc) {
        out.put("proxy_buffering", [on(buffering)]);
    }
    if let Some(buffering) = policy.request_buffering.filter(|_| !grpc) {
        out.put("proxy_request_buffering", [on(buffering)]);
    }
    let headers = &policy.response_headers;
    for header in headers.set.keys().chain(&headers.remove) {
        out.put(either("proxy_hide_header", "grpc_hide_header"), [Word::text(header)]);
    }
    request_headers(out, policy, variables, grpc);
    if protocol == Protocol::Https {
        out.put("proxy_ssl_server_name", ["on".into()]);
    }
    if let Some(errors) = &policy.errors {
        out.put(either("proxy_intercept_errors", "grpc_intercept_errors"), ["on".into()]);
        out.put("recursive_error_pages", ["on".into()]);
        for status in &errors.statuses {
            let page = Word::text(&format!("@{}", error_page(name, *status)));
            out.put("error_page", [u32::from(*status).into(), "=".into(), page]);
        }
    }
}

/// A location that sets a header has to repeat those that are for all.
fn request_headers(out: &mut Writer, policy: &Policy, variables: &Variables, grpc: bool) {
    let headers = &policy.request_headers;
    let own = policy.host.is_some() || policy.auth.is_some() || !headers.is_empty();
    if !own {
        return;
    }
    let directive = if grpc { "grpc_set_header" } else { "proxy_set_header" };
    let changed = |name: &str| {
        let same = |other: &String| other.eq_ignore_ascii_case(name);
        headers.set.keys().any(same)
            || headers.remove.iter().any(same)
            || variables.added.iter().any(|(other, _)| same(other))
            || (name == "Host" && policy.host.is_some())
    };
    for (name, variable) in head::HEADERS.iter().filter(|(name, _)| !changed(name)) {
        if !(grpc && ["Connection", "Upgrade"].contains(name)) {
            out.put(directive, [Word::text(name), Word::variable(variable)]);
        }
    }
    if let Some(host) = &policy.host {
        out.put(directive, ["Host".into(), Word::value(host)]);
    }
    if policy.auth.is_some() {
        // The password was for this proxy.
        out.put(directive, ["Authorization".into(), Word::text("")]);
    }
    for (name, value) in &headers.set {
        out.put(directive, [Word::text(name), Word::value(value)]);
    }
    for name in &headers.remove {
        out.put(directive, [Word::text(name), Word::text("")]);
    }
    for (name, variable) in &variables.added {
        out.put(directive, [Word::text(name), Word::variable(variable)]);
    }
}

/// Locations beside that of a case: for error pages and copies.
pub(super) fn helpers(out: &mut Writer, name: &str, case: &Case) {
    let policy = &case.policy;
    if let Some(errors) = &policy.errors {
        for status in &errors.statuses {
            out.gap();
            out.comment(&format!("{}: the page of status {status}", case.owner));
            out.open("location", [Word::text(&format!("@{}", error_page(name, *status)))]);
            for (header, variable) in head::HEADERS {
                out.put("proxy_set_header", [Word::text(header), Word::variable(variable)]);
            }
            out.put("proxy_set_header", ["X-Code".into(), u32::from(*status).into()]);
            out.put("proxy_set_header", ["X-Format".into(), Word::variable("http_accept")]);
            out.put("proxy_set_header", ["X-Original-URI".into(), Word::variable("request_uri")]);
            out.put("proxy_set_header", ["X-Namespace".into(), Word::value(&case.owner.namespace)]);
            out.put("proxy_set_header", ["X-Ingress-Name".into(), Word::value(&case.owner.name)]);
            out.put("rewrite", ["^".into(), "/".into(), "break".into()]);
            out.put("proxy_pass", [Word::of(&[Part::Text("http://"), Part::Text(&errors.upstream)])]);
            out.close();
        }
    }
    for (i, upstream) in policy.mirrors.iter().enumerate() {
        out.gap();
        out.comment(&format!("{}: a copy of each request", case.owner));
        out.open("location", ["=".into(), Word::text(&mirror(name, i))]);
        out.put("internal", []);
        out.put("access_log", ["off".into()]);
        let to = [Part::Text("http://"), Part::Text(upstream), Part::Variable("request_uri")];
        out.put("proxy_pass", [Word::of(&to)]);
        out.close();
    }
}

fn error_page(name: &str, status: u16) -> String {
    format!("{name}-{status}")
}

/// A path that no request from outside has: nginx would have decoded it.
fn mirror(name: &str, index: usize) -> String {
    format!("/%/{name}/{index}")
}

/// A replacement of a user: `$1` to `$9` are groups, and every other `$` is one.
fn groups(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        let is_group = dollar.as_bytes().get(1).is_some_and(|b| (b'1'..=b'9').contains(b));
        let end = if is_group { 2 } else { 1 };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let piece = &dollar[..end];
        parts.push(if is_group { Part::Variable(&piece[1..]) } else { Part::Text(piece) });
        rest = &dollar[end..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}
