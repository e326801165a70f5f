//! What skrouterd refuses beside the form of values: limits, references, clashes, roles.
//!
//! Sources: upstream `src/adaptors/amqp/server_config.c`, `src/tls/tls.c`, `src/adaptors/tcp/tcp_adaptor.c`,
//! `python/skupper_router_internal/management/{schema,qdrouter,agent}.py`. What it takes and then cannot use
//! (a port that is none, a router without threads, an address without a pattern) is refused here as well.

use super::entity::{Entity, Problem};
use super::schema::EntityType;

/// The highest value of AMQP's and proton's signed fields.
const MOST: i64 = i32::MAX as i64;
/// The smallest maximum frame size that AMQP allows (part 2, 2.7.1).
const SMALLEST_FRAME: i64 = 512;
const SECONDS: &[&str] = &[
    "helloIntervalSeconds",
    "helloMaxAgeSeconds",
    "raIntervalSeconds",
    "raIntervalFluxSeconds",
    "remoteLsMaxAgeSeconds",
    "unreachableHoldoffSeconds",
    "idleTimeoutSeconds",
    "initialHandshakeTimeoutSeconds",
];
/// Connection properties that the router itself sends.
const RESERVED_PROPERTIES: &[&str] =
    &["product", "version", "failover-server-list", "network-host", "port", "scheme", "hostname"];

/// Whether the entity can be, whatever else there is.
///
/// # Errors
/// The first thing that is wrong.
pub fn alone(entity: &Entity) -> Result<(), Problem> {
    for name in SECONDS {
        within(entity, name, 0, MOST, false)?;
    }
    match entity.kind.short_name() {
        "router" => router(entity),
        "listener" | "connector" => {
            within(entity, "cost", 1, MOST, false)?;
            within(entity, "maxFrameSize", SMALLEST_FRAME, MOST, true)?;
            within(entity, "maxSessions", 1, 32768, true)?;
            within(entity, "maxSessionFrames", 2, MOST, true)?;
            port(entity)?;
            failover(entity)?;
            open_properties(entity)
        }
        "tcpListener" => {
            port(entity)?;
            let many = entity.text("multiAddressStrategy").is_some_and(|strategy| strategy != "none");
            match (given(entity, "address"), many) {
                (true, false) | (false, true) => Ok(()),
                (false, false) => Err(Problem::of("address", "\"address\" is missing: what it leads to")),
                (true, true) => {
                    Err(Problem::of("address", "\"address\" and \"multiAddressStrategy\" exclude each other"))
                }
            }
        }
        "tcpConnector" => {
            port(entity)?;
            match given(entity, "address") {
                true => Ok(()),
                false => Err(Problem::of("address", "\"address\" is missing: what it serves")),
            }
        }
        "sslProfile" => {
            within(entity, "ordinal", 0, i64::MAX, false)?;
            within(entity, "oldestValidOrdinal", 0, i64::MAX, false)?;
            match entity.integer("ordinal").unwrap_or(0) < entity.integer("oldestValidOrdinal").unwrap_or(0) {
                true => Err(Problem::of("ordinal", "\"ordinal\" must not be below \"oldestValidOrdinal\"")),
                false => Ok(()),
            }
        }
        "address" => {
            within(entity, "priority", 0, 9, false)?;
            match (given(entity, "prefix"), given(entity, "pattern")) {
                (true, true) => Err(Problem::of("pattern", "\"prefix\" and \"pattern\" exclude each other")),
                (false, false) => Err(Problem::new("\"prefix\" or \"pattern\" is missing")),
                _ => Ok(()),
            }
        }
        "log" => log_level(entity),
        "policy" => within(entity, "maxConnections", 0, i64::MAX, false),
        _ => Ok(()),
    }
}

/// Whether the entity can be among the others: no clash, what it refers to is there, its role fits.
///
/// # Errors
/// The first thing that is wrong.
pub fn among<'a>(entity: &Entity, others: impl Iterator<Item = &'a Entity> + Clone) -> Result<(), Problem> {
    clash(entity, others.clone())?;
    refers(entity, others)
}

/// Whether another entity stands in this one's way.
///
/// # Errors
/// Which one, and why.
pub fn clash<'a>(entity: &Entity, others: impl Iterator<Item = &'a Entity>) -> Result<(), Problem> {
    for other in others {
        let other_kind = other.kind.short_name();
        if entity.kind.is_singleton() && entity.kind == other.kind {
            return Err(Problem::new(format!("there is a {other_kind} already, and there can be but one")));
        }
        if entity.identity() == other.identity() {
            return Err(Problem::new(format!("\"{}\" is there already", entity.identity())));
        }
        if entity.name() == other.name() {
            let name = entity.name();
            return Err(Problem::of("name", format!("the name \"{name}\" is taken by a {other_kind}")));
        }
    }
    Ok(())
}

/// Whether what the entity refers to is among the others, and fits.
///
/// # Errors
/// The first thing that is wrong.
pub fn refers<'a>(entity: &Entity, others: impl Iterator<Item = &'a Entity> + Clone) -> Result<(), Problem> {
    let find = |kind: &str, name: &str| {
        others.clone().find(|other| other.kind.short_name() == kind && other.name() == name)
    };
    let router = others.clone().find(|other| other.kind.short_name() == "router");
    role(entity, router.and_then(|router| router.text("mode")).unwrap_or("standalone"))?;
    let absent = |attribute: &str, kind: &str, name: &str| {
        Problem::of(attribute, format!("there is no {kind} of the name \"{name}\""))
    };
    if let Some(name) = entity.text("sslProfile") {
        let profile = find("sslProfile", name).ok_or_else(|| absent("sslProfile", "sslProfile", name))?;
        tls(entity, profile)?;
    }
    if let Some(name) = entity.text("proxyProfile") {
        find("proxyProfile", name).ok_or_else(|| absent("proxyProfile", "proxyProfile", name))?;
    }
    if entity.kind.short_name() == "listenerAddress" {
        let name = entity.text("listener").unwrap_or_default();
        let listener = find("tcpListener", name).ok_or_else(|| absent("listener", "tcpListener", name))?;
        if listener.text("multiAddressStrategy").is_none_or(|strategy| strategy == "none") {
            let what =
                format!("the tcpListener \"{name}\" has no \"multiAddressStrategy\", hence one address");
            return Err(Problem::of("listener", what));
        }
    }
    Ok(())
}

/// A port by number or by service name; only the names of the protocols that the router speaks are known, so
/// that the answer does not depend on the machine.
#[must_use]
pub fn port_number(port: &str) -> Option<u16> {
    match port {
        "amqp" => Some(5672),
        "amqps" => Some(5671),
        "http" => Some(80),
        "https" => Some(443),
        number => number.parse().ok(),
    }
}

fn given(entity: &Entity, attribute: &str) -> bool {
    entity.text(attribute).is_some_and(|text| !text.is_empty())
}

fn within(entity: &Entity, name: &str, least: i64, most: i64, zero_is_default: bool) -> Result<(), Problem> {
    match entity.integer(name) {
        Some(0) if zero_is_default => Ok(()),
        Some(number) if number < least || number > most => {
            Err(Problem::of(name, format!("\"{name}\" must be between {least} and {most}, and is {number}")))
        }
        _ => Ok(()),
    }
}

fn port(entity: &Entity) -> Result<(), Problem> {
    let Some(port) = entity.text("port") else {
        return Err(Problem::of("port", "\"port\" is missing"));
    };
    match port_number(port) {
        Some(0) if entity.kind.short_name().ends_with("onnector") => {
            Err(Problem::of("port", "\"port\" is 0, which nobody listens on"))
        }
        Some(_) => Ok(()),
        None => Err(Problem::of(
            "port",
            format!("\"port\" must be a number up to 65535, amqp, amqps, http or https, and is \"{port}\""),
        )),
    }
}

fn router(entity: &Entity) -> Result<(), Problem> {
    within(entity, "workerThreads", 1, 1024, false)?;
    let Some(id) = entity.text("id") else { return Ok(()) };
    // Unicode's C and Z categories: control, format, separators.
    let bad = id.chars().find(|c| "|$".contains(*c) || c.is_whitespace() || c.is_control());
    match bad {
        _ if id.is_empty() => Err(Problem::of("id", "\"id\" is empty: leave it out, or name the router")),
        Some(bad) => Err(Problem::of(
            "id",
            format!("\"id\" has {bad:?} in it: space, control characters, | and $ are not allowed"),
        )),
        None => Ok(()),
    }
}

/// A role that the router's mode cannot have.
fn role(entity: &Entity, mode: &str) -> Result<(), Problem> {
    let kind = entity.kind.short_name();
    if !matches!(kind, "listener" | "connector") {
        return Ok(());
    }
    let role = entity.text("role").unwrap_or_default();
    let allowed = match (mode, role) {
        ("standalone", "inter-router" | "edge") | ("edge", "inter-router") => false,
        ("edge", "edge") => kind == "connector",
        _ => true,
    };
    match allowed {
        true => Ok(()),
        false => Err(Problem::of(
            "role",
            format!("a {kind} of role {role} needs a router of mode interior, and this one is {mode}"),
        )),
    }
}

fn tls(entity: &Entity, profile: &Entity) -> Result<(), Problem> {
    let has = |attribute: &str| profile.attributes.contains_key(attribute);
    let kind = entity.kind.short_name();
    let listens = matches!(kind, "listener" | "tcpListener");
    let asks = match kind {
        "listener" => entity.text("saslMechanisms").is_some_and(|mechanisms| mechanisms.contains("EXTERNAL")),
        _ => entity.is("authenticatePeer"),
    };
    let missing = if listens && !has("certFile") {
        Some(("certFile", "to show to those who connect"))
    } else if listens && asks && !has("caCertFile") {
        Some(("caCertFile", "to check those who connect"))
    } else if !listens && !has("caCertFile") {
        Some(("caCertFile", "to check whom it connects to"))
    } else if has("certFile") && !has("privateKeyFile") {
        Some(("privateKeyFile", "for its certFile"))
    } else {
        None
    };
    match missing {
        Some((attribute, why)) => Err(Problem::of(
            "sslProfile",
            format!(
                "the sslProfile \"{}\" has no \"{attribute}\", which a {kind} needs {why}",
                profile.name()
            ),
        )),
        None => Ok(()),
    }
}

fn failover(entity: &Entity) -> Result<(), Problem> {
    let Some(urls) = entity.text("failoverUrls") else { return Ok(()) };
    let hostless = urls.split(',').map(str::trim).find(|url| {
        let host = url.split_once("://").map_or(*url, |(_, rest)| rest);
        host.split(':').next().is_none_or(str::is_empty)
    });
    match hostless {
        Some(url) => {
            Err(Problem::of("failoverUrls", format!("\"failoverUrls\" has \"{url}\", which names no host")))
        }
        None => Ok(()),
    }
}

fn open_properties(entity: &Entity) -> Result<(), Problem> {
    let properties = entity.attributes.get("openProperties").and_then(serde_json::Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else { return Ok(()) };
    let reserved = |key: &&String| {
        RESERVED_PROPERTIES.contains(&key.as_str()) || key.starts_with("qd.") || key.starts_with("x-opt-qd.")
    };
    if let Some(key) = properties.keys().find(reserved) {
        let what = format!("\"openProperties\" has \"{key}\", which the router itself sends");
        return Err(Problem::of("openProperties", what));
    }
    match entity.text("role") {
        Some(role @ ("inter-router" | "edge")) => {
            Err(Problem::of("openProperties", format!("\"openProperties\" cannot go with role {role}")))
        }
        _ => Ok(()),
    }
}

fn log_level(entity: &Entity) -> Result<(), Problem> {
    // "trace" is upstream's older name for debug; names may be cut short.
    const LEVELS: &[&str] = &["none", "default", "trace", "debug", "info", "warning", "error", "critical"];
    let Some(enable) = entity.text("enable") else { return Ok(()) };
    let known = |level: &str| {
        let level = level.strip_suffix('+').unwrap_or(level).to_lowercase();
        LEVELS.iter().any(|known| known.starts_with(&level))
    };
    match enable.split([',', ';', ' ']).filter(|level| !level.is_empty()).find(|level| !known(level)) {
        Some(level) => Err(Problem::of(
            "enable",
            format!(
                "\"enable\" has \"{level}\": the levels are {}, with + for those above too",
                LEVELS.join(", ")
            ),
        )),
        None => Ok(()),
    }
}

/// Attributes that are still taken and no longer mean anything.
#[must_use]
pub fn deprecated(kind: &EntityType, attribute: &str) -> Option<&'static str> {
    match (kind.short_name(), attribute) {
        ("router", "vanId") => Some("use tenantId of the entity network"),
        ("tcpListener" | "tcpConnector", "siteId") => Some("it has no effect"),
        _ => None,
    }
}
