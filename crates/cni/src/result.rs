//! Results of ADD, in every version (specification, section 5, "ADD Success").
//!
//! A result keeps its JSON as the plugin printed it, with fields that nobody here knows; the typed
//! view is read from it. Converting changes only what differs between the versions.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::version::Version;

/// What an attachment has made: the result of an ADD.
#[derive(Debug, Clone, PartialEq)]
pub struct AddResult {
    version: Version,
    raw: Map<String, Value>,
    typed: Typed,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Typed {
    #[serde(default, deserialize_with = "nullable")]
    interfaces: Vec<Interface>,
    #[serde(default, deserialize_with = "nullable")]
    ips: Vec<Ip>,
    #[serde(default, deserialize_with = "nullable")]
    routes: Vec<Route>,
    #[serde(default, deserialize_with = "nullable")]
    dns: Dns,
}

/// An interface, of the container or of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(default, deserialize_with = "nullable")]
    pub mac: String,
    /// Its MTU; from 1.1.0 on.
    pub mtu: Option<u32>,
    /// The network namespace that it is in; empty for the host's.
    #[serde(default, deserialize_with = "nullable")]
    pub sandbox: String,
    /// A socket that belongs to it; from 1.1.0 on.
    pub socket_path: Option<String>,
    /// The PCI device that belongs to it; from 1.1.0 on.
    #[serde(rename = "pciID")]
    pub pci_id: Option<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ip {
    /// Address and prefix.
    #[serde(deserialize_with = "network")]
    pub address: IpNetwork,
    /// The subnet's default gateway.
    #[serde(default, deserialize_with = "address")]
    pub gateway: Option<IpAddr>,
    /// Which of the result's interfaces has it, counted from nought.
    #[serde(default, deserialize_with = "index")]
    pub interface: Option<usize>,
}

/// A route of the container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(deserialize_with = "network")]
    pub dst: IpNetwork,
    /// The next hop; without one a gateway of `ips` may be meant.
    #[serde(default, deserialize_with = "address")]
    pub gw: Option<IpAddr>,
    /// MTU of the path; from 1.1.0 on, as all below.
    pub mtu: Option<u32>,
    /// TCP segment size to advertise.
    pub advmss: Option<u32>,
    /// Lower wins.
    pub priority: Option<u32>,
    /// The kernel's number of the table.
    pub table: Option<u32>,
    /// The kernel's number of the scope.
    pub scope: Option<u32>,
}

/// Name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Dns {
    /// Name servers, the most wanted first.
    #[serde(default, deserialize_with = "nullable")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(default, deserialize_with = "nullable")]
    pub domain: String,
    /// Domains to search.
    #[serde(default, deserialize_with = "nullable")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(default, deserialize_with = "nullable")]
    pub options: Vec<String>,
}

impl AddResult {
    /// The version that the result is in.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Interfaces, of the container and of the host.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.typed.interfaces
    }

    /// Addresses.
    #[must_use]
    pub fn ips(&self) -> &[Ip] {
        &self.typed.ips
    }

    /// Routes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.typed.routes
    }

    /// Name resolution.
    #[must_use]
    pub const fn dns(&self) -> &Dns {
        &self.typed.dns
    }

    /// The JSON, with every field that the plugins gave.
    #[must_use]
    pub const fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The addresses of an interface inside the container. An address that names no interface counts,
    /// too: IPAM plugins do not know one.
    pub fn ips_of<'a>(&'a self, ifname: &'a str) -> impl Iterator<Item = &'a Ip> {
        self.typed.ips.iter().filter(move |ip| match ip.interface.and_then(|i| self.interfaces().get(i)) {
            Some(interface) => interface.name == ifname && !interface.sandbox.is_empty(),
            None => ip.interface.is_none(),
        })
    }

    /// The JSON as cnitool prints it: keys in order, four blanks a step, no line end.
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut text = Vec::new();
        let step = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, step);
        let written = self.raw.serialize(&mut writer);
        debug_assert!(written.is_ok(), "maps with string keys can be written");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads what a plugin printed. A result that does not name its version has the network's: old
    /// plugins leave it out.
    pub(crate) fn parse(stdout: &[u8], network: Version) -> Result<Self, String> {
        match serde_json::from_slice(stdout).map_err(|e| e.to_string())? {
            Value::Object(raw) => Self::from_map(raw, network),
            _ => Err("no JSON object".into()),
        }
    }

    /// As [`AddResult::parse`], of JSON that is read already.
    pub(crate) fn from_map(mut raw: Map<String, Value>, network: Version) -> Result<Self, String> {
        let version = match raw.get("cniVersion") {
            None | Some(Value::Null) => network,
            Some(Value::String(text)) if text.is_empty() => network,
            Some(Value::String(text)) => text.parse().map_err(|e| format!("cniVersion: {e}"))?,
            Some(other) => return Err(format!("cniVersion: {other} is no text")),
        };
        raw.insert("cniVersion".into(), version.as_str().into());
        // An empty one says nothing; the Go library leaves it out, too.
        if raw.get("dns").is_some_and(|dns| dns.as_object().is_some_and(Map::is_empty)) {
            raw.remove("dns");
        }
        let typed =
            serde_path_to_error::deserialize(Value::Object(raw.clone())).map_err(|e| e.to_string())?;
        Ok(Self { version, raw, typed })
    }

    /// The same result in another version. Fields that the other version does not have are lost:
    /// `ips[].version` from 1.0.0 on, an interface's `mtu`, `socketPath` and `pciID` before. Other
    /// fields stay.
    #[must_use]
    pub fn convert(&self, to: Version) -> Self {
        let mut result = self.clone();
        if to == self.version {
            return result;
        }
        result.version = to;
        result.raw.insert("cniVersion".into(), to.as_str().into());
        if to >= Version::V1_0_0 {
            for ip in objects(&mut result.raw, "ips") {
                ip.remove("version");
            }
            return result;
        }
        for (ip, typed) in objects(&mut result.raw, "ips").zip(&self.typed.ips) {
            let family = if typed.address.is_ipv4() { "4" } else { "6" };
            ip.insert("version".into(), family.into());
        }
        for interface in objects(&mut result.raw, "interfaces") {
            for field in ["mtu", "socketPath", "pciID"] {
                interface.remove(field);
            }
        }
        for interface in &mut result.typed.interfaces {
            (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
        }
        result
    }
}

fn objects<'a>(
    raw: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    raw.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Go programs write `null` for what is empty.
fn nullable<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn network<'de, D: Deserializer<'de>>(from: D) -> Result<IpNetwork, D::Error> {
    let text = String::deserialize(from)?;
    if !text.contains('/') {
        return Err(D::Error::custom(format!("{text:?} has no prefix length")));
    }
    text.parse().map_err(|_| D::Error::custom(format!("{text:?} is no address with a prefix length")))
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(from)? {
        Some(text) if !text.is_empty() => {
            text.parse().map(Some).map_err(|_| D::Error::custom(format!("{text:?} is no address")))
        }
        _ => Ok(None),
    }
}

/// A negative number means none.
fn index<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    Ok(Option::<i64>::deserialize(from)?.and_then(|index| usize::try_from(index).ok()))
}

#[cfg(test)]
mod tests;
