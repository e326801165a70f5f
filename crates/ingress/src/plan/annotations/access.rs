//! Who may come in, and how often.

use ipnetwork::IpNetwork;
use store::ObjectName;

use super::Wishes;
use super::reader::Reader;
use crate::model::{Auth, Cors, Limit};
use crate::plan::Cluster;

pub(super) fn read(reader: &mut Reader<'_, '_>, cluster: &Cluster, wishes: &mut Wishes) {
    limits(reader, wishes);
    for name in ["whitelist-source-range", "allowlist-source-range"] {
        networks(reader, name, &mut wishes.policy.allow);
    }
    networks(reader, "denylist-source-range", &mut wishes.policy.deny);
    wishes.policy.auth = auth(reader, cluster);
    wishes.policy.cors = cors(reader);
}

fn networks(reader: &mut Reader<'_, '_>, name: &str, to: &mut Vec<IpNetwork>) {
    match reader.networks(name) {
        None => {}
        Some(Ok(networks)) => to.extend(networks),
        Some(Err(why)) => reader.close(name, why),
    }
}

fn limits(reader: &mut Reader<'_, '_>, wishes: &mut Wishes) {
    const MOST: u32 = 1_000_000;
    let per_second = reader.number("limit-rps", 1, MOST);
    let per_minute = reader.number("limit-rpm", 1, MOST);
    let connections = reader.number("limit-connections", 1, MOST);
    let burst = reader.number("limit-burst-multiplier", 1, 1000).unwrap_or(5);
    let mut except = Vec::new();
    for name in ["limit-whitelist", "limit-allowlist"] {
        match reader.networks(name) {
            None => {}
            Some(Ok(networks)) => except.extend(networks),
            Some(Err(why)) => reader.wrong(name, why),
        }
    }
    let name = |what: &str| format!("{}.{}.{what}", reader.owner.namespace, reader.owner.name);
    let names = [name("rps"), name("rpm"), name("connections")];
    let [second, minute, at_once] = names;
    for (name, requests, is_minute) in [(second, per_second, false), (minute, per_minute, true)] {
        let Some(requests) = requests else { continue };
        let limit = Limit::Rate { requests, minute: is_minute, except: except.clone() };
        reader.draft.model.limits.insert(name.clone(), limit);
        wishes.policy.rates.push((name, requests.saturating_mul(burst)));
    }
    if let Some(most) = connections {
        reader.draft.model.limits.insert(at_once.clone(), Limit::Connections { except });
        wishes.policy.connections.push((at_once, most));
    }
}

/// Basic authentication by a secret.
fn auth(reader: &mut Reader<'_, '_>, cluster: &Cluster) -> Option<Auth> {
    let is_realm = |text: &str| !text.contains(['"', '\\']);
    let realm = reader.text_if("auth-realm", is_realm, "may not have quotes and backslashes");
    let realm = realm.unwrap_or_else(|| "Authentication Required".into());
    let kind = reader.text("auth-secret-type").unwrap_or_else(|| "auth-file".into());
    let secret = reader.text("auth-secret");
    match reader.text("auth-type").as_deref() {
        None if secret.is_none() => return None,
        Some("basic") => {}
        _ => {
            reader.close("auth-type", "must be basic");
            return None;
        }
    }
    let secret = secret.unwrap_or_default();
    let (namespace, name) = secret.split_once('/').unwrap_or((&reader.owner.namespace, &secret));
    if namespace != reader.owner.namespace {
        reader.close("auth-secret", "must be a secret of the same namespace");
        return None;
    }
    match passwords(cluster, &ObjectName::new(namespace, name), &kind) {
        Ok(passwords) => {
            let file = format!("auth/{namespace}.{name}.{kind}");
            reader.draft.model.files.insert(file.clone(), passwords);
            Some(Auth { realm, file })
        }
        Err(why) => {
            reader.close("auth-secret", why);
            None
        }
    }
}

/// The lines of a file as `htpasswd` writes it: users and the hashes of their passwords.
fn passwords(cluster: &Cluster, name: &ObjectName, kind: &str) -> Result<Vec<u8>, String> {
    let secret = cluster.secrets.get(name).ok_or_else(|| format!("secret {name} does not exist"))?;
    let data = secret.data.clone().unwrap_or_default();
    let text = match kind {
        "auth-file" => {
            let file = data.get("auth").ok_or_else(|| format!("secret {name} has no auth"))?;
            String::from_utf8_lossy(&file.0).into_owned()
        }
        "auth-map" => {
            let line = |(user, hash): (&String, &api::types::ByteString)| {
                format!("{user}:{}\n", String::from_utf8_lossy(&hash.0).trim())
            };
            data.iter().map(line).collect()
        }
        other => return Err(format!("auth-secret-type must be auth-file or auth-map and not {other:?}")),
    };
    if text.lines().any(|line| line.contains(':')) {
        return Ok(text.into_bytes());
    }
    Err(format!("secret {name} has no user and password"))
}

fn cors(reader: &mut Reader<'_, '_>) -> Option<Cors> {
    const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
    const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,\
                           Content-Type,Range,Authorization";
    let is_list = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_, *".contains(&b));
    let why = "must be names with commas between them";
    let methods = reader.text_if("cors-allow-methods", is_list, why);
    let headers = reader.text_if("cors-allow-headers", is_list, why);
    let expose = reader.text_if("cors-expose-headers", is_list, why);
    let credentials = reader.boolean("cors-allow-credentials").unwrap_or(true);
    let max_age = reader.number("cors-max-age", 0, u32::MAX).unwrap_or(1_728_000);
    let origins = reader.list("cors-allow-origin");
    let is_origin = |origin: &String| origin == "*" || origin.contains("://");
    if origins.iter().flatten().any(|origin| !is_origin(origin)) {
        reader
            .wrong("cors-allow-origin", "must be origins, as https://example.com, with commas between them");
        return None;
    }
    let enabled = reader.boolean("enable-cors").unwrap_or(false);
    enabled.then(|| Cors {
        origins: origins.unwrap_or_else(|| vec!["*".into()]),
        methods: methods.unwrap_or_else(|| METHODS.into()),
        headers: headers.unwrap_or_else(|| HEADERS.into()),
        expose,
        credentials,
        max_age,
    })
}
