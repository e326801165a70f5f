//! Static virtual IPs, a kind of our own.
//!
//! ```yaml
//! apiVersion: knetsim.dev/v1
//! kind: VirtualIP
//! metadata: {name: 100.64.10.1, namespace: default}
//! spec: {address: 100.64.10.1, pods: [c2, c3]}
//! ```
//!
//! New flows to the address, of every protocol, go to the pods in turn, whether or not they are there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address that stands for pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualIP {
    #[serde(rename = "apiVersion", default)]
    version: Version,
    #[serde(default)]
    kind: Name,
    /// Its name and namespace; the pods are of the same namespace.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it is to be.
    #[serde(default)]
    pub spec: VirtualIPSpec,
}

/// What a virtual IP is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualIPSpec {
    /// The address.
    pub address: String,
    /// Pods by name; where they are is looked up, and the last address of a deleted one is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Addresses as they are, beside those of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

impl VirtualIP {
    /// One that is to be stored.
    #[must_use]
    pub fn new(namespace: &str, name: &str, spec: VirtualIPSpec) -> Self {
        let metadata =
            ObjectMeta { namespace: Some(namespace.into()), name: Some(name.into()), ..Default::default() };
        Self { metadata, spec, ..Self::default() }
    }
}

/// Words that stand in every document of the kind.
macro_rules! constants {
    ($($id:ident = $text:expr;)*) => {$(
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        struct $id;

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let wrong = || serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &$text);
                (text == $text).then_some(Self).ok_or_else(wrong)
            }
        }
    )*};
}

constants! {
    Version = VirtualIP::API_VERSION;
    Name = VirtualIP::KIND;
}

impl Resource for VirtualIP {
    const API_VERSION: &'static str = "knetsim.dev/v1";
    const GROUP: &'static str = "knetsim.dev";
    const KIND: &'static str = "VirtualIP";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "virtualips";
    type Scope = NamespaceResourceScope;
}

impl Metadata for VirtualIP {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
