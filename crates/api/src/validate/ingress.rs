//! Ingresses and their classes.
//!
//! Source: kubernetes `pkg/apis/networking/validation/validation.go`.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressServiceBackend, IngressSpec,
};
use serde_json::Value;

use super::{IMMUTABLE, meta};
use crate::field::{Errors, Path};
use crate::{kinds, names};

/// How the class was named before there was a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

/// (`ValidateIngressCreate`)
pub(crate) fn ingress(ingress: &Ingress, errors: &mut Errors) {
    meta::object_meta(&ingress.metadata, &kinds::INGRESSES, errors);
    let spec = ingress.spec.clone().unwrap_or_default();
    let by_annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    if let (Some(class), Some(_)) = (by_annotation, &spec.ingress_class_name) {
        let at = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.invalid(&at, class, "can not be set when the class field is also set");
    }
    self::spec(&spec, &Path::new("spec"), errors);
}

/// (`ValidateIngressUpdate`)
pub(crate) fn ingress_update(new: &Ingress, old: &Ingress, errors: &mut Errors) {
    ingress(new, errors);
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
}

/// (`ValidateIngressSpec`)
fn spec(spec: &IngressSpec, path: &Path, errors: &mut Errors) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        errors.invalid(path, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = &spec.default_backend {
        self::backend(backend, &path.child("defaultBackend"), errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = path.child("rules").index(i);
        if let Some(host) = rule.host.as_deref().filter(|host| !host.is_empty()) {
            if names::ip(host).is_empty() {
                errors.invalid(&at.child("host"), host, "must be a DNS name, not an IP address");
            }
            self::host(host, &at.child("host"), errors);
        }
        let Some(http) = &rule.http else { continue };
        let at = at.child("http").child("paths");
        if http.paths.is_empty() {
            errors.required(&at, "");
        }
        http.paths.iter().enumerate().for_each(|(i, one)| self::path(one, &at.index(i), errors));
    }
    for (i, tls) in spec.tls.iter().flatten().enumerate() {
        for (j, host) in tls.hosts.iter().flatten().enumerate() {
            self::host(host, &path.child("tls").index(i).child("hosts").index(j), errors);
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        errors.invalid_each(&path.child("ingressClassName"), class, names::dns_subdomain(class));
    }
}

fn host(host: &str, path: &Path, errors: &mut Errors) {
    let wrong = if host.contains('*') { names::wildcard(host) } else { names::dns_subdomain(host) };
    errors.invalid_each(path, host, wrong);
}

/// (`validateHTTPIngressPath`)
fn path(path: &HTTPIngressPath, at: &Path, errors: &mut Errors) {
    let text = path.path.as_deref().unwrap_or_default();
    match path.path_type.as_str() {
        "" => errors.required(&at.child("pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => absolute_path(text, &at.child("path"), errors),
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&at.child("path"), text, "must be an absolute path");
            }
        }
        other => errors.not_supported(&at.child("pathType"), other, PATH_TYPES),
    }
    backend(&path.backend, &at.child("backend"), errors);
}

/// A path that requests can have, as it is written in them.
pub(super) fn absolute_path(text: &str, at: &Path, errors: &mut Errors) {
    if !text.starts_with('/') {
        errors.invalid(at, text, "must be an absolute path");
    }
    for sequence in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|s| text.contains(s)) {
        errors.invalid(at, text, &format!("must not contain '{sequence}'"));
    }
    for suffix in ["/..", "/."].into_iter().filter(|s| text.ends_with(s)) {
        errors.invalid(at, text, &format!("cannot end with '{suffix}'"));
    }
}

/// (`validateIngressBackend`)
fn backend(backend: &IngressBackend, path: &Path, errors: &mut Errors) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
        (None, Some(service)) => self::service(service, path, errors),
        (Some(resource), None) => {
            let at = path.child("resource");
            for (field, value) in [("kind", &resource.kind), ("name", &resource.name)] {
                if value.is_empty() {
                    errors.required(&at.child(field), "");
                }
            }
        }
    }
}

fn service(service: &IngressServiceBackend, path: &Path, errors: &mut Errors) {
    let at = path.child("service");
    match service.name.as_str() {
        "" => errors.required(&at.child("name"), ""),
        name => errors.invalid_each(&at.child("name"), name, names::dns_1035_label(name)),
    }
    let port = service.port.clone().unwrap_or_default();
    let name = port.name.as_deref().filter(|name| !name.is_empty());
    let number = port.number.filter(|number| *number != 0);
    match (name, number) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both port name & port number"),
        (Some(name), None) => {
            errors.invalid_each(&at.child("port").child("name"), name, names::port_name(name));
        }
        (None, Some(number)) => {
            errors.invalid_each(&at.child("port").child("number"), number, names::port_number(number));
        }
        (None, None) => errors.required(path, "port name or number is required"),
    }
}

/// (`ValidateIngressClass`)
pub(crate) fn class(class: &IngressClass, errors: &mut Errors) {
    const MOST: usize = 250;
    meta::object_meta(&class.metadata, &kinds::INGRESS_CLASSES, errors);
    let at = Path::new("spec").child("controller");
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref()).unwrap_or_default();
    if controller.is_empty() {
        return errors.required(&at, "");
    }
    if controller.len() > MOST {
        errors.too_long(&at, MOST);
    }
    errors.invalid_each(&at, controller, names::domain_prefixed_path(controller));
}

/// (`ValidateIngressClassUpdate`)
pub(crate) fn class_update(new: &IngressClass, old: &IngressClass, errors: &mut Errors) {
    class(new, errors);
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
    if controller(new) != controller(old) {
        errors.invalid(&Path::new("spec").child("controller"), controller(new), IMMUTABLE);
    }
}
