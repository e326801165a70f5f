//! How requests are passed on.

use super::reader::Reader;
use crate::model::{Balance, Cookie, Policy, Protocol};
use crate::plan::backend::Manner;

/// When another endpoint is tried (<https://nginx.org/r/proxy_next_upstream>).
const NEXT: &[&str] = &[
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "off",
];

/// Which endpoints, and who of them.
pub(super) fn manner(reader: &mut Reader<'_, '_>) -> Manner {
    let mut manner = Manner::default();
    let by = reader.text_if(
        "upstream",
        |by| ["endpoints", "service"].contains(&by),
        "must be endpoints or service",
    );
    let service_upstream = reader.boolean("service-upstream").unwrap_or(false);
    manner.by_service = by.map_or(service_upstream, |by| by == "service");
    let balances = ["round_robin", "least_conn", "ip_hash"];
    let why = "must be round_robin, least_conn or ip_hash";
    match reader.text_if("load-balance", |how| balances.contains(&how), why).as_deref() {
        Some("least_conn") => manner.balance = Balance::LeastConnections,
        Some("ip_hash") => manner.balance = Balance::ClientAddress,
        _ => {}
    }
    let why = "must be a variable, as $request_uri, $remote_addr, $host, $http_…, $arg_… or $cookie_…";
    if let Some(variable) = reader.text_if("upstream-hash-by", is_variable, why) {
        manner.balance = Balance::Variable(variable.trim_start_matches('$').into());
    }
    if reader.text_if("affinity", |how| how == "cookie", "must be cookie").is_some() {
        manner.balance = Balance::Cookie(cookie_name(reader));
    }
    // Both are the same here: a client's endpoint follows from its cookie.
    let modes = |mode: &str| ["balanced", "persistent"].contains(&mode);
    let _ = reader.text_if("affinity-mode", modes, "must be balanced or persistent");
    manner.max_fails = reader.number("upstream-max-fails", 0, 1000).unwrap_or(manner.max_fails);
    manner.fail_timeout = reader.number("upstream-fail-timeout", 1, 86_400).unwrap_or(manner.fail_timeout);
    manner
}

fn cookie_name(reader: &mut Reader<'_, '_>) -> String {
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let name =
        reader.text_if("session-cookie-name", is_name, "must be of letters, digits, dashes and underscores");
    name.unwrap_or_else(|| "INGRESSCOOKIE".into())
}

fn is_variable(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let known = ["request_uri", "uri", "args", "host", "remote_addr", "http_host", "request_method"];
    let of = |prefix: &str| {
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    !text.contains('{') && (known.contains(&name) || ["http_", "arg_", "cookie_"].into_iter().any(of))
}

pub(super) fn protocol(reader: &mut Reader<'_, '_>) -> Protocol {
    let known = |text: &str| ["HTTP", "HTTPS", "GRPC", "GRPCS"].contains(&text.to_uppercase().as_str());
    let protocol = reader.text_if("backend-protocol", known, "must be HTTP, HTTPS, GRPC or GRPCS");
    match protocol.map(|protocol| protocol.to_uppercase()).as_deref() {
        Some("HTTPS") => Protocol::Https,
        Some("GRPC") => Protocol::Grpc,
        Some("GRPCS") => Protocol::Grpcs,
        _ => Protocol::Http,
    }
}

/// Statuses whose answers come from the default backend.
pub(super) fn errors(reader: &mut Reader<'_, '_>) -> Vec<u16> {
    let words = reader.list("custom-http-errors").unwrap_or_default();
    let statuses: Option<Vec<u16>> =
        words.iter().map(|word| word.parse().ok().filter(|status| (400..600).contains(status))).collect();
    statuses.unwrap_or_else(|| {
        reader.wrong("custom-http-errors", "must be statuses from 400 to 599 with commas between them");
        Vec::new()
    })
}

pub(super) fn read(reader: &mut Reader<'_, '_>, policy: &mut Policy) {
    policy.body_size = reader.size("proxy-body-size");
    policy.connect_timeout = reader.milliseconds("proxy-connect-timeout");
    policy.read_timeout = reader.milliseconds("proxy-read-timeout");
    policy.send_timeout = reader.milliseconds("proxy-send-timeout");
    policy.next_timeout = reader.milliseconds("proxy-next-upstream-timeout");
    policy.next_tries = reader.number("proxy-next-upstream-tries", 0, 1000);
    policy.buffering = reader.on_off("proxy-buffering");
    policy.request_buffering = reader.on_off("proxy-request-buffering");
    policy.silent = reader.boolean("enable-access-log") == Some(false);
    if let Some(words) = reader.text("proxy-next-upstream") {
        let word = |word: &str| NEXT.iter().copied().find(|known| *known == word);
        let words: Option<Vec<_>> = words.split([' ', ',']).filter(|w| !w.is_empty()).map(word).collect();
        match words.filter(|words| !words.is_empty()) {
            Some(words) => policy.next_upstream = Some(words),
            None => reader.wrong("proxy-next-upstream", format!("must be of {}", NEXT.join(" "))),
        }
    }
    let kilobytes = |count: u64| count << 10;
    const MOST: u64 = 1 << 30;
    let rate = reader.number("limit-rate", 0, MOST).filter(|rate| *rate > 0);
    let after = reader.number("limit-rate-after", 0, MOST).unwrap_or(0);
    policy.bandwidth = rate.map(|rate| (kilobytes(rate), kilobytes(after)));
    policy.host = reader.text("upstream-vhost");
    if let Some(prefix) = reader.text("x-forwarded-prefix") {
        policy.request_headers.set.insert("X-Forwarded-Prefix".into(), prefix);
    }
    policy.cookie = cookie(reader);
}

/// The attributes of the cookie that binds a client to an endpoint.
fn cookie(reader: &mut Reader<'_, '_>) -> Option<Cookie> {
    let is_attribute = |text: &str| !text.contains([';', ',', '"']);
    let why = "may not have semicolons, commas and quotes";
    let path = reader.text_if("session-cookie-path", is_attribute, why);
    let domain = reader.text_if("session-cookie-domain", is_attribute, why);
    let same_site = |text: &str| ["None", "Lax", "Strict"].contains(&text);
    let same_site = reader.text_if("session-cookie-samesite", same_site, "must be None, Lax or Strict");
    let secure = reader.boolean("session-cookie-secure").unwrap_or(false);
    let max_age = reader.number("session-cookie-max-age", 0, u32::MAX);
    // Said twice for old browsers; all know the one of seconds by now.
    let expires = reader.number("session-cookie-expires", 0, u32::MAX);
    if reader.text("affinity").as_deref() != Some("cookie") {
        return None;
    }
    let mut attributes = vec![format!("Path={}", path.unwrap_or_else(|| "/".into()))];
    attributes.extend(domain.map(|domain| format!("Domain={domain}")));
    attributes.extend(max_age.or(expires).map(|seconds| format!("Max-Age={seconds}")));
    attributes.extend(same_site.map(|site| format!("SameSite={site}")));
    attributes.extend(secure.then(|| "Secure".to_owned()));
    attributes.push("HttpOnly".into());
    Some(Cookie { name: cookie_name(reader), attributes: attributes.join("; ") })
}
