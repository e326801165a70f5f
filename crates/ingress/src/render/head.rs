//! What is for all servers.

use std::collections::{BTreeMap, BTreeSet};

use super::writer::Writer;
use super::{CONTROL, METRICS, Setup, choice, has_name};
use crate::model::{Action, Balance, Case, Host, Limit, Model, Protocol};
use crate::text::{DOLLAR, Word};

/// Headers that endpoints get with every request, and the variables that have their values.
pub(super) const HEADERS: &[(&str, &str)] = &[
    ("Host", "http_host"),
    ("Connection", "connection_upgrade"),
    ("Upgrade", "http_upgrade"),
    ("X-Request-ID", "request_id"),
    ("X-Real-IP", "remote_addr"),
    ("X-Forwarded-For", "remote_addr"),
    ("X-Forwarded-Host", "http_host"),
    ("X-Forwarded-Port", "server_port"),
    ("X-Forwarded-Proto", "scheme"),
];

/// One line a request, in JSON; nginx quotes what variables hold.
const LOG: &str = concat!(
    r#"'{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method","scheme":"$scheme","#,
    r#""host":"$host","uri":"$request_uri","status":$status,"bytes":$body_bytes_sent,"#,
    r#""seconds":$request_time,"route":"$route","service":"$proxy_host","endpoint":"$upstream_addr","#,
    r#""endpoint_status":"$upstream_status","endpoint_seconds":"$upstream_response_time","pod":"$pod","#,
    r#""request_id":"$request_id"}'"#
);

pub(super) fn main(out: &mut Writer, setup: &Setup) {
    out.comment("Made by knetsim from the cluster's objects: change those, this file is written anew.");
    if setup.superuser {
        // In a user namespace there may be no other user.
        out.put("user", ["root".into()]);
    }
    out.put("daemon", ["off".into()]);
    out.put("worker_processes", [setup.processes.into()]);
    out.put("worker_shutdown_timeout", ["60s".into()]);
    out.put("pid", ["nginx.pid".into()]);
    out.put("error_log", ["stderr".into(), "warn".into()]);
    out.gap();
    out.open("events", []);
    out.put("worker_connections", [setup.connections.into()]);
    out.close();
    out.gap();
}

pub(super) fn http(out: &mut Writer, model: &Model, setup: &Setup) {
    // nginx wants to know these before the first map.
    sizes(out, model);
    out.gap();
    log(out, model, setup);
    out.gap();
    clients(out, model, setup);
    out.gap();
    endpoints(out, model);
    if let Some(resolver) = setup.resolver.filter(|_| cases(model).any(needs_resolver)) {
        let resolver = match resolver {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        out.put("resolver", [Word::text(&resolver), "valid=5s".into(), "ipv6=off".into()]);
    }
    out.gap();
    control(out, setup);
}

fn log(out: &mut Writer, model: &Model, setup: &Setup) {
    out.put("log_format", ["knetsim".into(), "escape=json".into(), LOG.into()]);
    let words = [Word::text(&setup.access_log), "knetsim".into(), "buffer=32k".into(), "flush=100ms".into()];
    out.put("access_log", words);
    // A request that no location of an object has taken has no route.
    out.put("uninitialized_variable_warn", ["off".into()]);
    out.gap();
    out.comment("Which pod has answered: the last of those that were asked. Mostly it is one, found without a pattern");
    out.open("map", [Word::variable("upstream_addr"), Word::variable("last_endpoint")]);
    out.entry(Word::text("~[ ,](?<last>[^ ,]+)$"), Word::variable("last"));
    out.close();
    let endpoints = model.upstreams.values().flat_map(|upstream| &upstream.endpoints);
    let pods: BTreeMap<_, _> =
        endpoints.filter_map(|endpoint| Some((&endpoint.address, endpoint.pod.as_ref()?))).collect();
    for (looked_at, pod, otherwise) in
        [("last_endpoint", "last_pod", Word::text("")), ("upstream_addr", "pod", Word::variable("last_pod"))]
    {
        out.open("map", [Word::variable(looked_at), Word::variable(pod)]);
        out.entry("default".into(), otherwise);
        for (address, pod) in &pods {
            out.entry(Word::text(address), Word::value(pod));
        }
        out.close();
    }
}

fn clients(out: &mut Writer, model: &Model, setup: &Setup) {
    out.put("server_tokens", ["off".into()]);
    out.put("default_type", ["text/plain".into()]);
    out.put("absolute_redirect", ["off".into()]);
    out.put("client_body_temp_path", ["client_body".into()]);
    out.put("proxy_temp_path", ["proxy".into()]);
    out.put("fastcgi_temp_path", ["fastcgi".into()]);
    out.put("uwsgi_temp_path", ["uwsgi".into()]);
    out.put("scgi_temp_path", ["scgi".into()]);
    // So that those who keep their connections soon meet the next configuration.
    if setup.version >= (1, 19, 10) {
        out.put("keepalive_time", [Word::text(&format!("{}ms", setup.keep))]);
    }
    out.put("keepalive_requests", [if setup.version >= (1, 19, 10) { 100_000u32 } else { 100 }.into()]);
    if model.servers.values().any(|server| server.tls.is_some()) {
        out.put("ssl_protocols", ["TLSv1.2".into(), "TLSv1.3".into()]);
        out.put("ssl_session_cache", ["shared:tls:1m".into()]);
    }
}

fn endpoints(out: &mut Writer, model: &Model) {
    out.comment("What is told to endpoints");
    out.open("map", [Word::variable("http_upgrade"), Word::variable("connection_upgrade")]);
    out.entry("default".into(), "upgrade".into());
    out.entry(Word::text(""), Word::text(""));
    out.close();
    out.put("proxy_http_version", ["1.1".into()]);
    for (name, variable) in HEADERS {
        out.put("proxy_set_header", [Word::text(name), Word::variable(variable)]);
    }
    if cases(model).any(|case| protocol(case).is_some_and(is_grpc)) {
        for (name, variable) in HEADERS.iter().filter(|(name, _)| !["Connection", "Upgrade"].contains(name)) {
            out.put("grpc_set_header", [Word::text(name), Word::variable(variable)]);
        }
    }
    out.put("proxy_connect_timeout", ["5s".into()]);
    out.put("proxy_next_upstream_tries", [3u32.into()]);
    out.open("geo", [Word::variable(DOLLAR)]);
    out.entry("default".into(), Word::plain("\"$\""));
    out.close();
    let of_upstreams = model.upstreams.values().filter_map(|upstream| match &upstream.balance {
        Balance::Cookie(name) => Some(name),
        _ => None,
    });
    let of_cases = cases(model).filter_map(|case| Some(&case.policy.cookie.as_ref()?.name));
    let cookies: BTreeSet<_> = of_upstreams.chain(of_cases).collect();
    for cookie in cookies {
        choice::cookie(out, cookie);
    }
}

/// Room for names; nginx asks for it when it is too little.
fn sizes(out: &mut Writer, model: &Model) {
    let hosts = model.servers.keys().filter(|(_, host)| *host != Host::Any).count();
    let endpoints: usize = model.upstreams.values().map(|upstream| upstream.endpoints.len()).sum();
    let places: usize = model.servers.values().map(|server| server.locations.len()).sum();
    let room = |count: usize, least: usize| -> Word {
        u64::try_from((2 * count).next_power_of_two().max(least)).unwrap_or(u64::MAX).into()
    };
    out.put("server_names_hash_max_size", [room(hosts, 512)]);
    out.put("server_names_hash_bucket_size", [512u32.into()]);
    out.put("map_hash_max_size", [room(endpoints, 2048)]);
    out.put("map_hash_bucket_size", [512u32.into()]);
    out.put("variables_hash_max_size", [room(4 * places, 2048)]);
    out.put("variables_hash_bucket_size", [512u32.into()]);
}

fn control(out: &mut Writer, setup: &Setup) {
    out.comment("How this nginx is, for who watches over it");
    out.open("server", []);
    out.put("listen", [Word::text(&format!("unix:{CONTROL}"))]);
    out.put("access_log", ["off".into()]);
    // The log wants it to be there even if no location of an object is.
    out.put("set", [Word::variable("route"), Word::text("")]);
    out.open("location", ["/".into()]);
    out.put("stub_status", []);
    out.close();
    out.close();
    let Some(port) = setup.metrics_port else { return };
    out.gap();
    out.comment("Figures, for Prometheus");
    out.open("server", []);
    out.put("listen", [port.into(), "default_server".into()]);
    out.put("access_log", ["off".into()]);
    out.open("location", ["=".into(), "/metrics".into()]);
    out.put("proxy_pass", [Word::text(&format!("http://unix:{METRICS}:/"))]);
    out.close();
    out.open("location", ["=".into(), "/healthz".into()]);
    out.put("return", [200u32.into(), Word::plain("\"ok\\n\"")]);
    out.close();
    out.open("location", ["/".into()]);
    out.put("return", [404u32.into()]);
    out.close();
    out.close();
}

pub(super) fn limits(out: &mut Writer, model: &Model) {
    for (name, limit) in &model.limits {
        out.gap();
        out.comment("Clients that are counted");
        let (Limit::Rate { except, .. } | Limit::Connections { except }) = limit;
        let id = choice::hex(name);
        let (client, free) = (format!("client_{id}"), format!("free_{id}"));
        if !except.is_empty() {
            out.open("geo", [Word::variable(&free)]);
            out.entry("default".into(), 0u32.into());
            except.iter().for_each(|network| out.entry(Word::text(&network.to_string()), 1u32.into()));
            out.close();
            out.open("map", [Word::variable(&free), Word::variable(&client)]);
            out.entry("default".into(), Word::variable("binary_remote_addr"));
            out.entry(1u32.into(), Word::text(""));
            out.close();
        }
        let client = if except.is_empty() { "binary_remote_addr".to_owned() } else { client };
        match limit {
            Limit::Rate { requests, minute, .. } => {
                let rate = format!("rate={requests}r/{}", if *minute { "m" } else { "s" });
                let zone = Word::text(&format!("zone={}:5m", choice::zone(name)));
                out.put("limit_req_zone", [Word::variable(&client), zone, Word::text(&rate)]);
            }
            Limit::Connections { .. } => {
                let zone = Word::text(&format!("zone={}:5m", choice::zone(name)));
                out.put("limit_conn_zone", [Word::variable(&client), zone]);
            }
        }
    }
}

fn cases(model: &Model) -> impl Iterator<Item = &Case> {
    let locations = model.servers.values().flat_map(|s| s.locations.values().chain(&s.otherwise));
    locations.flat_map(|location| &location.cases)
}

fn protocol(case: &Case) -> Option<Protocol> {
    match &case.action {
        Action::Proxy { protocol, .. } => Some(*protocol),
        _ => None,
    }
}

pub(super) fn is_grpc(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Grpc | Protocol::Grpcs)
}

fn needs_resolver(case: &Case) -> bool {
    matches!(&case.action, Action::Proxy { to, .. } if has_name(to))
}
