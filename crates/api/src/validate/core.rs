//! Namespaces, ConfigMaps and Secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use serde_json::Value;

use super::{IMMUTABLE, meta};
use crate::field::{Errors, Path};
use crate::{kinds, names};

/// All data of a ConfigMap or a Secret (`MaxSecretSize`).
const DATA_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

/// (`ValidateNamespace`)
pub(crate) fn namespace(namespace: &Namespace, errors: &mut Errors) {
    meta::object_meta(&namespace.metadata, &kinds::NAMESPACES, errors);
}

/// (`ValidateConfigMap`)
pub(crate) fn config_map(config: &ConfigMap, errors: &mut Errors) {
    meta::object_meta(&config.metadata, &kinds::CONFIG_MAPS, errors);
    let mut size = 0;
    let binary = config.binary_data.clone().unwrap_or_default();
    for (key, value) in config.data.iter().flatten() {
        let at = Path::new("data").key(key);
        errors.invalid_each(&at, key, names::config_key(key));
        if binary.contains_key(key) {
            errors.invalid(&at, key, "duplicate of key present in binaryData");
        }
        size += value.len();
    }
    for (key, value) in &binary {
        errors.invalid_each(&Path::new("binaryData").key(key), key, names::config_key(key));
        size += value.0.len();
    }
    if size > DATA_MAX {
        errors.too_long(&Path::new(""), DATA_MAX);
    }
}

/// (`ValidateConfigMapUpdate`)
pub(crate) fn config_map_update(new: &ConfigMap, old: &ConfigMap, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    if old.immutable == Some(true) {
        let changed = [
            ("immutable", new.immutable != Some(true)),
            ("data", new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default()),
            (
                "binaryData",
                new.binary_data.clone().unwrap_or_default() != old.binary_data.clone().unwrap_or_default(),
            ),
        ];
        frozen(&changed, errors);
    }
    config_map(new, errors);
}

fn frozen(changed: &[(&str, bool)], errors: &mut Errors) {
    for (field, _) in changed.iter().filter(|(_, changed)| *changed) {
        errors.forbidden(&Path::new(field), FROZEN);
    }
}

/// (`ValidateSecret`)
pub(crate) fn secret(secret: &Secret, errors: &mut Errors) {
    meta::object_meta(&secret.metadata, &kinds::SECRETS, errors);
    let path = Path::new("data");
    let data = secret.data.clone().unwrap_or_default();
    for key in data.keys() {
        errors.invalid_each(&path.key(key), key, names::config_key(key));
    }
    if data.values().map(|value| value.0.len()).sum::<usize>() > DATA_MAX {
        errors.too_long(&path, DATA_MAX);
    }
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !data.contains_key(**key)) {
            errors.required(&path.key(key), "");
        }
    };
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/dockercfg" => {
            need(&[".dockercfg"]);
            json(data.get(".dockercfg"), &path.key(".dockercfg"), errors);
        }
        "kubernetes.io/dockerconfigjson" => {
            need(&[".dockerconfigjson"]);
            json(data.get(".dockerconfigjson"), &path.key(".dockerconfigjson"), errors);
        }
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            need(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" => need(&["ssh-privatekey"]),
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let named = secret.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(key));
            if !named {
                errors.required(&Path::new("metadata").child("annotations").key(key), "");
            }
        }
        _ => {}
    }
}

fn json(value: Option<&ByteString>, path: &Path, errors: &mut Errors) {
    let Some(value) = value else { return };
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&value.0) {
        errors.invalid(path, "<secret contents redacted>", &error.to_string());
    }
}

/// (`ValidateSecretUpdate`)
pub(crate) fn secret_update(new: &Secret, old: &Secret, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    if new.type_ != old.type_ {
        errors.invalid(&Path::new("type"), &new.type_, IMMUTABLE);
    }
    if old.immutable == Some(true) {
        let data = new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default();
        frozen(&[("immutable", new.immutable != Some(true)), ("data", data)], errors);
    }
    secret(new, errors);
}
