//! Defaults of the smaller kinds.

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::text;

pub(crate) fn namespace(namespace: &mut Namespace) {
    if let Some(name) = namespace.metadata.name.clone() {
        let labels = namespace.metadata.labels.get_or_insert_default();
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    text(&mut namespace.status.get_or_insert_default().phase, "Active");
}

pub(crate) fn secret(secret: &mut Secret) {
    text(&mut secret.type_, "Opaque");
    // Write-only: it is stored among the data (kubernetes `pkg/apis/core/v1/conversion.go`).
    for (key, value) in secret.string_data.take().into_iter().flatten() {
        let value = k8s_openapi::ByteString(value.into_bytes());
        secret.data.get_or_insert_default().insert(key, value);
    }
}

pub(crate) fn endpoints(endpoints: &mut Endpoints) {
    let subsets = endpoints.subsets.iter_mut().flatten();
    for port in subsets.flat_map(|subset| subset.ports.iter_mut().flatten()) {
        text(&mut port.protocol, "TCP");
    }
}

pub(crate) fn endpoint_slice(slice: &mut EndpointSlice) {
    for port in slice.ports.iter_mut().flatten() {
        port.name.get_or_insert_default();
        text(&mut port.protocol, "TCP");
    }
}
