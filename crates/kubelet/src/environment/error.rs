//! What keeps a container from being configured, in the kubelet's words.

use super::{Context, quoted};

/// Reason in the status of a container that waits because of a [`ConfigError`].
pub const REASON: &str = "CreateContainerConfigError";

/// Why a container cannot be configured.
///
/// Once what it names is there, it can be: the kubelet tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such ConfigMap or Secret.
    #[error("{kind} {} not found", quoted(name))]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there, but not with that key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Secret's value cannot be a variable.
    #[error("value of key {key} in Secret {namespace}/{name} is not UTF-8, as environment variables are")]
    NotText {
        /// The key.
        key: String,
        /// Where the Secret is.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// No field of a pod that can be told.
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    /// No resource that can be told.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// What should be an amount is none.
    #[error("{resource} of container {container} is not a quantity: {}", quoted(amount))]
    Amount {
        /// As `limits.cpu`.
        resource: String,
        /// Of which container.
        container: String,
        /// What is there.
        amount: String,
    },
    /// No container of that name.
    #[error("container {0} not found")]
    NoContainer(String),
    /// A value that ends early for `execve(2)`.
    #[error("environment variable {0} contains a NUL byte")]
    Nul(String),
    /// An argument that ends early for `execve(2)`.
    #[error("the command line contains a NUL byte")]
    NulArgument,
    /// Neither the container nor its image says what to run.
    #[error("no command specified")]
    NoCommand,
}

/// A ConfigMap or Secret that is referred to, as messages name it.
#[derive(Debug, Clone)]
pub(super) struct Object {
    kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ConfigMap,
    Secret,
}

impl Object {
    pub(super) fn config_map(context: &Context<'_>, name: &str) -> Self {
        Self { kind: Kind::ConfigMap, namespace: context.namespace().into(), name: name.into() }
    }

    pub(super) fn secret(context: &Context<'_>, name: &str) -> Self {
        Self { kind: Kind::Secret, namespace: context.namespace().into(), name: name.into() }
    }

    /// As the kubelet's events name the kind.
    pub(super) fn in_events(&self) -> &'static str {
        match self.kind {
            Kind::ConfigMap => "configMap",
            Kind::Secret => "secret",
        }
    }

    /// What was found, if it may be missing.
    pub(super) fn optional<'a, T>(
        &self,
        found: Option<&'a T>,
        optional: Option<bool>,
    ) -> Result<Option<&'a T>, ConfigError> {
        if found.is_none() && optional != Some(true) {
            let kind = match self.kind {
                Kind::ConfigMap => "configmap",
                Kind::Secret => "secret",
            };
            return Err(ConfigError::NotFound { kind, name: self.name.clone() });
        }
        Ok(found)
    }

    /// The value of a key, if it may be missing.
    pub(super) fn key<'a, T>(
        &self,
        key: &str,
        value: Option<&'a T>,
        optional: Option<bool>,
    ) -> Result<Option<&'a T>, ConfigError> {
        if value.is_none() && optional != Some(true) {
            let kind = match self.kind {
                Kind::ConfigMap => "ConfigMap",
                Kind::Secret => "Secret",
            };
            let (namespace, name) = (self.namespace.clone(), self.name.clone());
            return Err(ConfigError::NoKey { key: key.into(), kind, namespace, name });
        }
        Ok(value)
    }

    /// A Secret's value as text.
    pub(super) fn text(&self, key: &str, value: &[u8]) -> Result<String, ConfigError> {
        String::from_utf8(value.to_vec()).map_err(|_| ConfigError::NotText {
            key: key.into(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        })
    }
}
