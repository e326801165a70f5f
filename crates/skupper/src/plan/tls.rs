//! Certificates that a router needs: secrets of the namespace, and the files that they become.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::router_config::SslProfile;
use api::types::ByteString;

use super::Context;

/// The secret with the certificate that a site shows to others (skupper `internal/kube/site`).
pub const SERVER: &str = "skupper-site-server";
/// The secret with a site's CA.
pub const CA: &str = "skupper-site-ca";

/// The profile of a secret (skupper `internal/site`).
pub(crate) fn profile_name(secret: &str) -> String {
    format!("{secret}-profile")
}

/// A secret that is a router's `sslProfile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The secret's name.
    pub secret: String,
    /// Where its files go.
    pub folder: PathBuf,
    /// File names and what is in them: `ca.crt`, `tls.crt`, `tls.key`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Grows with every change of the secret.
    pub ordinal: u64,
}

/// Those of a site.
pub(crate) struct Profiles<'a> {
    context: &'a Context<'a>,
    needed: BTreeMap<String, Profile>,
}

impl<'a> Profiles<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Self {
        Self { context, needed: BTreeMap::new() }
    }

    /// Needs a secret as a profile.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn need(&mut self, name: &str) -> Result<(), String> {
        if self.needed.contains_key(name) {
            return Ok(());
        }
        let namespace = self.context.namespace;
        let Some(secret) = self.context.inputs.secret(namespace, name) else {
            return Err(format!("secret \"{name}\" is not there"));
        };
        let mut files = BTreeMap::new();
        for (key, ByteString(data)) in secret.data.iter().flatten() {
            if ["ca.crt", "tls.crt", "tls.key"].contains(&key.as_str()) && !data.is_empty() {
                files.insert(key.clone(), data.clone());
            }
        }
        if files.is_empty() {
            return Err(format!("secret \"{name}\" has neither ca.crt nor tls.crt"));
        }
        if files.contains_key("tls.crt") != files.contains_key("tls.key") {
            return Err(format!("secret \"{name}\" must have both tls.crt and tls.key, or neither"));
        }
        let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
        let folder = self.context.place.site_folder(namespace).join("certs").join(name);
        let profile =
            Profile { secret: name.into(), folder, files, ordinal: version.parse().unwrap_or_default() };
        self.needed.insert(name.into(), profile);
        Ok(())
    }

    /// As the router's entities.
    pub(crate) fn entities(&self) -> Vec<SslProfile> {
        let entity = |profile: &Profile| {
            let file = |key: &str| profile.files.contains_key(key).then(|| profile.folder.join(key));
            SslProfile {
                name: profile_name(&profile.secret),
                ca_cert_file: file("ca.crt"),
                cert_file: file("tls.crt"),
                private_key_file: file("tls.key"),
                ordinal: profile.ordinal,
                ..SslProfile::default()
            }
        };
        self.needed.values().map(entity).collect()
    }

    /// With their files.
    pub(crate) fn files(self) -> Vec<Profile> {
        self.needed.into_values().collect()
    }
}
