//! Gateway API: gateways, routes of HTTP, and who may refer to what.
//!
//! Source: gateway-api `apis/v1/{gatewayclass,gateway,httproute,shared,object_reference,referencegrant}_types.go`.
//! Statuses stay JSON: several controllers write into one, each with fields of its own. Fields that are
//! not here are read over, so whoever changes an object has to change the document and not this.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::custom::custom_kind;

/// The group of all kinds here.
pub const GROUP: &str = "gateway.networking.k8s.io";

custom_kind! {
    /// Which controller serves gateways of a class.
    GatewayClass: "gateway.networking.k8s.io" "v1" "gatewayclasses" ClusterResourceScope,
    spec: GatewayClassSpec, status: Value
}

custom_kind! {
    /// Where traffic comes in.
    Gateway: "gateway.networking.k8s.io" "v1" "gateways" NamespaceResourceScope,
    spec: GatewaySpec, status: Value
}

custom_kind! {
    /// Where requests of HTTP go.
    HTTPRoute: "gateway.networking.k8s.io" "v1" "httproutes" NamespaceResourceScope,
    spec: HTTPRouteSpec, status: Value
}

custom_kind! {
    /// Who may refer to objects of its namespace from others.
    ReferenceGrant: "gateway.networking.k8s.io" "v1beta1" "referencegrants" NamespaceResourceScope,
    spec: ReferenceGrantSpec
}

/// Parts of documents: every field may be left out, and those that are empty are not written.
macro_rules! parts {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty, )* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }
    )*};
}

parts! {
    /// What a class is to be.
    GatewayClassSpec {
        /// As `example.net/gateway-controller`.
        controller_name: String,
    }

    /// What a gateway is to be.
    GatewaySpec {
        /// Its class.
        gateway_class_name: String,
        /// Where it listens.
        listeners: Vec<Listener>,
    }

    /// A port and a host of a gateway.
    Listener {
        /// Its name, which no other listener of the gateway has.
        name: String,
        /// A host, perhaps with `*.` in the place of its first labels; all if none.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// The port.
        port: i32,
        /// `HTTP`, `HTTPS`, `TLS`, `TCP` or `UDP`.
        protocol: String,
        /// For `HTTPS` and `TLS`.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<ListenerTls>,
        /// Which routes may attach.
        #[serde(skip_serializing_if = "Option::is_none")]
        allowed_routes: Option<AllowedRoutes>,
    }

    /// How a listener speaks TLS.
    ListenerTls {
        /// `Terminate` or `Passthrough`; the first if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        /// Secrets.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        certificate_refs: Vec<ObjectRef>,
        /// What an implementation has beside.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        options: BTreeMap<String, String>,
    }

    /// A reference to an object.
    ObjectRef {
        /// Its group; empty for the core group.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Its kind.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Its namespace; that of who refers to it if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        name: String,
    }

    /// Which routes may attach to a listener.
    AllowedRoutes {
        /// From where.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespaces: Option<RouteNamespaces>,
        /// Of which kinds; those that the protocol has if none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        kinds: Vec<GroupKind>,
    }

    /// From which namespaces routes may attach.
    RouteNamespaces {
        /// `Same`, `All`, `Selector` or `None`; the first if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// For `Selector`.
        #[serde(skip_serializing_if = "Option::is_none")]
        selector: Option<LabelSelector>,
    }

    /// A kind.
    GroupKind {
        /// Its group; Gateway API's if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Its name.
        kind: String,
    }

    /// What a route is to be.
    #[allow(clippy::upper_case_acronyms)]
    HTTPRouteSpec {
        /// Where it attaches.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parent_refs: Vec<ParentRef>,
        /// For which hosts; for those of the listener if none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        hostnames: Vec<String>,
        /// What is done with which requests.
        #[serde(skip_serializing_if = "Option::is_none")]
        rules: Option<Vec<HTTPRouteRule>>,
    }

    /// Where a route attaches.
    ParentRef {
        /// The group; Gateway API's if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// The kind; `Gateway` if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// The namespace; the route's own if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// The name.
        name: String,
        /// A listener's name; all listeners if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        section_name: Option<String>,
        /// A listener's port.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<i32>,
    }

    /// What is done with which requests.
    HTTPRouteRule {
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// One of them has to be met; every request if none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        matches: Vec<HTTPRouteMatch>,
        /// What is changed on the way.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        filters: Vec<HTTPRouteFilter>,
        /// To whom requests go.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        backend_refs: Vec<HTTPBackendRef>,
        /// How long is waited.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeouts: Option<HTTPRouteTimeouts>,
    }

    /// What a request has to have; all of it.
    HTTPRouteMatch {
        /// The path; below `/` if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<TypedValue>,
        /// Headers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<NamedMatch>,
        /// Parameters of the query.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        query_params: Vec<NamedMatch>,
        /// The method.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    }

    /// A path and how it is compared.
    TypedValue {
        /// `Exact`, `PathPrefix` or `RegularExpression`; the second if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        r#type: Option<String>,
        /// The path.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    }

    /// A header or a parameter and how it is compared.
    NamedMatch {
        /// `Exact` or `RegularExpression`; the first if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        r#type: Option<String>,
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }

    /// What is changed on the way: the field that belongs to the type.
    HTTPRouteFilter {
        /// As `RequestHeaderModifier`.
        r#type: String,
        /// Headers of requests.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_header_modifier: Option<HTTPHeaderFilter>,
        /// Headers of answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        response_header_modifier: Option<HTTPHeaderFilter>,
        /// A copy for another backend.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_mirror: Option<HTTPRequestMirror>,
        /// Elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_redirect: Option<HTTPRequestRedirect>,
        /// Another path or host.
        #[serde(rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
        url_rewrite: Option<HTTPUrlRewrite>,
        /// Who may ask from other sites.
        #[serde(skip_serializing_if = "Option::is_none")]
        cors: Option<HTTPCors>,
    }

    /// Changes of headers.
    HTTPHeaderFilter {
        /// In the place of what was there.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        set: Vec<HTTPHeader>,
        /// Beside what was there.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        add: Vec<HTTPHeader>,
        /// Away with them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remove: Vec<String>,
    }

    /// A header.
    HTTPHeader {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }

    /// A copy of requests.
    HTTPRequestMirror {
        /// Who gets it.
        backend_ref: BackendRef,
        /// How many percent; all if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<i32>,
        /// The same as a fraction.
        #[serde(skip_serializing_if = "Option::is_none")]
        fraction: Option<Value>,
    }

    /// Where a client is sent.
    HTTPRequestRedirect {
        /// `http` or `https`; that of the request if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        scheme: Option<String>,
        /// Another host.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// Another path.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<HTTPPathModifier>,
        /// Another port.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<i32>,
        /// 302 if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        status_code: Option<i32>,
    }

    /// Another path in the place of a request's.
    HTTPPathModifier {
        /// `ReplaceFullPath` or `ReplacePrefixMatch`.
        r#type: String,
        /// For the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        replace_full_path: Option<String>,
        /// For the second.
        #[serde(skip_serializing_if = "Option::is_none")]
        replace_prefix_match: Option<String>,
    }

    /// What backends see in the place of what was asked for.
    HTTPUrlRewrite {
        /// Another host.
        #[serde(skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// Another path.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<HTTPPathModifier>,
    }

    /// Cross-origin resource sharing.
    HTTPCors {
        /// Origins.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        allow_origins: Vec<String>,
        /// Whether cookies are sent.
        #[serde(skip_serializing_if = "Option::is_none")]
        allow_credentials: Option<bool>,
        /// Methods.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        allow_methods: Vec<String>,
        /// Headers of requests.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        allow_headers: Vec<String>,
        /// Headers of answers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        expose_headers: Vec<String>,
        /// Seconds; 5 if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_age: Option<i32>,
    }

    /// How long is waited, as Go writes durations.
    HTTPRouteTimeouts {
        /// For the whole answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        /// For a backend's.
        #[serde(skip_serializing_if = "Option::is_none")]
        backend_request: Option<String>,
    }

    /// A backend.
    BackendRef {
        /// Its group; empty for the core group.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        /// Its kind; `Service` if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Its namespace; that of the route if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// A service's port.
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<i32>,
    }

    /// A backend and its share.
    HTTPBackendRef {
        /// The backend.
        #[serde(flatten)]
        backend: BackendRef,
        /// Its share, of the sum of all; 1 if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<i32>,
        /// What is changed for this one alone.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        filters: Vec<HTTPRouteFilter>,
    }

    /// Who may refer to what.
    ReferenceGrantSpec {
        /// Who.
        from: Vec<GrantFrom>,
        /// To what.
        to: Vec<GrantTo>,
    }

    /// Who may refer.
    GrantFrom {
        /// The group.
        group: String,
        /// The kind.
        kind: String,
        /// The namespace.
        namespace: String,
    }

    /// To what.
    GrantTo {
        /// The group; empty for the core group.
        group: String,
        /// The kind.
        kind: String,
        /// One object; all if nothing is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    }
}
