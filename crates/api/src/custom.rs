//! What the types of custom resources have in common.

use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::Resource;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word that stands in every document of the kind `K`: what `W` says.
pub(crate) struct Word<K, W>(PhantomData<fn() -> (K, W)>);

/// Which word.
pub(crate) trait Says<K> {
    /// The word.
    const WORD: &'static str;
}

/// `apiVersion`.
#[derive(Debug)]
pub(crate) struct Version;

/// `kind`.
#[derive(Debug)]
pub(crate) struct Name;

impl<K: Resource> Says<K> for Version {
    const WORD: &'static str = K::API_VERSION;
}

impl<K: Resource> Says<K> for Name {
    const WORD: &'static str = K::KIND;
}

impl<K, W> Clone for Word<K, W> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<K, W> Default for Word<K, W> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K, W> PartialEq for Word<K, W> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<K, W: Says<K>> fmt::Debug for Word<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::WORD)
    }
}

impl<K, W: Says<K>> Serialize for Word<K, W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(W::WORD)
    }
}

impl<'de, K, W: Says<K>> Deserialize<'de> for Word<K, W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &W::WORD);
        (text == W::WORD).then_some(Self::default()).ok_or_else(wrong)
    }
}

/// A kind of its own: `metadata`, `spec` and, where a type is given, `status`.
macro_rules! custom_kind {
    (
        $(#[$doc:meta])*
        $name:ident: $group:literal $version:literal $plural:literal $scope:ident,
        spec: $spec:ty $(, status: $status:ty)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            #[serde(rename = "apiVersion", default)]
            version: crate::custom::Word<Self, crate::custom::Version>,
            #[serde(default)]
            kind: crate::custom::Word<Self, crate::custom::Name>,
            /// Its name, and what else every object has.
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What it is to be.
            #[serde(default)]
            pub spec: $spec,
            $(
                /// How it is.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub status: Option<$status>,
            )?
        }

        impl $name {
            /// One that is to be stored; `namespace` is empty for a kind without namespaces.
            #[must_use]
            pub fn new(namespace: &str, name: &str, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.namespace = Some(namespace).filter(|n| !n.is_empty()).map(str::to_owned);
                object.metadata.name = Some(name.into());
                object
            }
        }

        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = stringify!($name);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::$scope;
        }

        impl k8s_openapi::Metadata for $name {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use custom_kind;
