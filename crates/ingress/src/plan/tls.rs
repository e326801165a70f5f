//! Certificates.

use api::types::api::core::v1::Secret;
use store::ObjectName;

use super::Cluster;
use super::draft::Draft;
use crate::model::{Owner, Tls};

/// The certificate of a secret, whose files become the model's.
///
/// # Errors
/// What is wrong with the secret.
pub(super) fn certificate(
    cluster: &Cluster,
    namespace: &str,
    secret: &str,
    draft: &mut Draft<'_>,
) -> Result<Tls, String> {
    let name = ObjectName::new(namespace, secret);
    let object = cluster.secrets.get(&name).ok_or_else(|| format!("secret {name} does not exist"))?;
    let owner = Owner::new("Secret", namespace, secret);
    if draft.is_excepted(&owner) {
        return Err(format!("nginx refuses the certificate in secret {name}"));
    }
    let certificate = pem(object, &name, "tls.crt", "CERTIFICATE")?;
    let key = pem(object, &name, "tls.key", "PRIVATE KEY")?;
    let path = format!("tls/{namespace}.{secret}");
    let tls = Tls { secret: owner, certificate: format!("{path}.crt"), key: format!("{path}.key") };
    draft.model.files.insert(tls.certificate.clone(), certificate);
    draft.model.files.insert(tls.key.clone(), key);
    Ok(tls)
}

fn pem(secret: &Secret, name: &ObjectName, key: &str, label: &str) -> Result<Vec<u8>, String> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let data = data.map(|data| data.0.clone()).ok_or_else(|| format!("secret {name} has no {key}"))?;
    let text = String::from_utf8_lossy(&data);
    let is_pem = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(label));
    if is_pem {
        Ok(data)
    } else {
        Err(format!("secret {name}: {key} is no PEM of a {}", label.to_lowercase()))
    }
}
