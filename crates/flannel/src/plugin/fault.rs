//! Errors as a CNI plugin tells them.

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

/// Well-known error codes (CNI specification, section "Error").
pub(super) mod code {
    pub(in super::super) const VERSION: u32 = 1;
    pub(in super::super) const CONTAINER: u32 = 3;
    pub(in super::super) const ENVIRONMENT: u32 = 4;
    pub(in super::super) const IO: u32 = 5;
    pub(in super::super) const DECODING: u32 = 6;
    pub(in super::super) const NETWORK: u32 = 7;
    /// Not in the specification, but in every plugin (`ErrInvalidNetNS` of `pkg/types/types.go`).
    pub(in super::super) const NAMESPACE: u32 = 8;
    /// All that has no code of its own (`ErrInternal`).
    pub(in super::super) const INTERNAL: u32 = 999;
}

/// Names of interfaces are shorter than 16 bytes (`IFNAMSIZ`).
const IFNAME: usize = 15;

/// An error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub(super) code: u32,
    pub(super) msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) details: String,
}

impl Fault {
    pub(super) fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    pub(super) fn internal(msg: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, msg)
    }

    /// As it stands on the standard output.
    pub(super) fn to_json(&self) -> String {
        // Strings and a number: nothing in it can fail.
        pretty(self).unwrap_or_default()
    }
}

/// JSON laid out for reading, as all plugins print it.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `ValidateContainerID` of `pkg/utils/utils.go`.
pub(super) fn check_container(id: &str) -> Result<(), Fault> {
    match id {
        "" => Err(Fault::new(code::CONTAINER, "CNI_CONTAINERID is missing")),
        id if is_name(id) => Ok(()),
        id => {
            let fault = Fault::new(
                code::ENVIRONMENT,
                "CNI_CONTAINERID is no container ID: letters, figures and _.- after the first",
            );
            Err(Fault { details: id.into(), ..fault })
        }
    }
}

/// `ValidateNetworkName` of `pkg/utils/utils.go`.
pub(super) fn check_network(name: &str) -> Result<(), Fault> {
    match name {
        "" => Err(Fault::new(code::NETWORK, "the network config has no name")),
        name if is_name(name) => Ok(()),
        name => {
            let fault = Fault::new(
                code::NETWORK,
                "the name in the network config is none: letters, figures and _.- after the first",
            );
            Err(Fault { details: name.into(), ..fault })
        }
    }
}

/// `ValidateInterfaceName` of `pkg/utils/utils.go`.
pub(super) fn check_ifname(name: &str) -> Result<(), Fault> {
    let why = match name {
        "" => "CNI_IFNAME is empty",
        "." | ".." => "CNI_IFNAME is . or ..",
        name if name.len() > IFNAME => "CNI_IFNAME is longer than 15 bytes",
        name if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            "CNI_IFNAME has a slash, a colon or a space"
        }
        _ => return Ok(()),
    };
    Err(Fault { details: name.into(), ..Fault::new(code::ENVIRONMENT, why) })
}

/// `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`: it may become the name of a file, then.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
