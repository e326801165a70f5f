//! Skupper's kinds: sites, the links between them, and which services cross.
//!
//! Source: skupper 2 `pkg/apis/skupper/v2alpha1/types.go` and `config/crd/bases`. Objects of these kinds are
//! what `topo skupper` writes and reads; `topo apply` takes the examples of Skupper's documentation.

mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::custom::custom_kind;

pub use status::{
    AccessGrantStatus, AccessTokenStatus, ConnectorStatus, Endpoint, LinkRecord, LinkStatus, ListenerStatus,
    PodDetails, ServiceRecord,
};
pub use status::{
    Common, Controller, Named, SiteRecord, SiteStatus, State, configured, matched, operational, processed,
    ready, redeemed, resolved, running,
};

/// The group of all kinds here.
pub const GROUP: &str = "skupper.io";

/// Of a Connector: the sites (by cluster or site name, commas between them) that may consume its address;
/// all if it is not there. Ours, not upstream's.
pub const CONSUMERS: &str = "knetsim.dev/consumers";

/// Of a Site: the routing keys (commas between them, `*` at the end of one stands for the rest) that may be
/// consumed there; all if it is not there. Ours, not upstream's.
pub const MAY_CONSUME: &str = "knetsim.dev/may-consume";

custom_kind! {
    /// A place in the network: a namespace's router.
    Site: "skupper.io" "v2alpha1" "sites" NamespaceResourceScope,
    spec: SiteSpec, status: SiteStatus
}

custom_kind! {
    /// A way from this site to another.
    Link: "skupper.io" "v2alpha1" "links" NamespaceResourceScope,
    spec: LinkSpec, status: LinkStatus
}

custom_kind! {
    /// Permission to make links to this site.
    AccessGrant: "skupper.io" "v2alpha1" "accessgrants" NamespaceResourceScope,
    spec: AccessGrantSpec, status: AccessGrantStatus
}

custom_kind! {
    /// What is exchanged for a link to the site that has granted it.
    AccessToken: "skupper.io" "v2alpha1" "accesstokens" NamespaceResourceScope,
    spec: AccessTokenSpec, status: AccessTokenStatus
}

custom_kind! {
    /// Where clients of this site reach connectors with the same routing key, wherever they are.
    Listener: "skupper.io" "v2alpha1" "listeners" NamespaceResourceScope,
    spec: ListenerSpec, status: ListenerStatus
}

custom_kind! {
    /// Servers of this site that listeners with the same routing key reach, wherever they are.
    Connector: "skupper.io" "v2alpha1" "connectors" NamespaceResourceScope,
    spec: ConnectorSpec, status: ConnectorStatus
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
            $(
                $(#[$field_doc])*
                #[serde(skip_serializing_if = "crate::skupper::is_default")]
                pub $field: $type,
            )*
        }
    )*};
}

pub(crate) use parts;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Further settings; which there are depends on the kind.
pub type Settings = BTreeMap<String, String>;

parts! {
    /// What a site is to be.
    SiteSpec {
        /// The service account of the router's pods; there are none here.
        service_account: String,
        /// Whether other sites may link to this one: empty or `none`, `default`, `route`, `loadbalancer`,
        /// `nodeport`, `ingress`, `ingress-nginx`. Here all that allow it are the worker's own address.
        link_access: String,
        /// The secret with the CA; `skupper-site-ca` if empty.
        default_issuer: String,
        /// Whether it is an edge site, which takes in no links.
        edge: bool,
        /// Whether there are two routers; here there is one.
        ha: bool,
        /// Further settings.
        settings: Settings,
    }

    /// What a link is to be.
    LinkSpec {
        /// Where the other site takes in links.
        endpoints: Vec<Endpoint>,
        /// The secret with the client's certificate, its key and the other site's CA.
        tls_credentials: String,
        /// What it costs to go this way; 1 if nothing is said.
        cost: i32,
        /// Further settings.
        settings: Settings,
    }

    /// What is granted.
    AccessGrantSpec {
        /// How often it may be redeemed.
        redemptions_allowed: i32,
        /// For how long, as `15m`.
        expiration_window: String,
        /// The secret code; one is made if it is empty.
        code: String,
        /// The secret with the CA that signs; the site's if empty.
        issuer: String,
        /// Further settings.
        settings: Settings,
    }

    /// What is to be redeemed.
    AccessTokenSpec {
        /// Where.
        url: String,
        /// The secret code.
        code: String,
        /// The CA of who answers there, PEM.
        ca: String,
        /// What the link is to cost.
        link_cost: i32,
        /// Further settings.
        settings: Settings,
    }

    /// What a listener is to be.
    ListenerSpec {
        /// What it has in common with its connectors.
        routing_key: String,
        /// The name of the Service that clients use.
        host: String,
        /// Its port.
        port: i32,
        /// The secret for TLS towards clients.
        tls_credentials: String,
        /// `tcp`.
        r#type: String,
        /// What to make of the traffic: `auto`, `none`, `http1`, `http2`.
        observer: String,
        /// Whether each pod is to have a Service of its own.
        expose_pods_by_name: bool,
        /// Further settings.
        settings: Settings,
    }

    /// What a connector is to be.
    ConnectorSpec {
        /// What it has in common with its listeners.
        routing_key: String,
        /// Where the server is, or
        host: String,
        /// which pods it is, as `app=backend`.
        selector: String,
        /// The server's port.
        port: i32,
        /// The secret for TLS towards the server.
        tls_credentials: String,
        /// Whether to show a certificate to the server.
        use_client_cert: bool,
        /// Whether the server's certificate has to have its name.
        verify_hostname: bool,
        /// `tcp`.
        r#type: String,
        /// Whether each pod is to have a routing key of its own.
        expose_pods_by_name: bool,
        /// Whether pods that are not ready serve, too.
        include_not_ready_pods: bool,
        /// Further settings.
        settings: Settings,
    }
}

impl SiteSpec {
    /// Whether other sites may link to it.
    #[must_use]
    pub fn takes_links(&self) -> bool {
        !self.edge && self.takes_links_but_for_edge()
    }

    pub(crate) fn takes_links_but_for_edge(&self) -> bool {
        !self.link_access.is_empty() && self.link_access != "none"
    }

    /// The secret with its CA.
    #[must_use]
    pub fn issuer(&self) -> &str {
        if self.default_issuer.is_empty() { "skupper-site-ca" } else { &self.default_issuer }
    }
}

impl LinkSpec {
    /// The endpoint for a role: `inter-router` or `edge`.
    #[must_use]
    pub fn endpoint(&self, role: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == role)
    }
}

/// A time in Go's words, as `15m`, `1h30m`, `2.5s`, `100ms` (Go `time.ParseDuration`, without signs and what
/// is below milliseconds).
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let table = [("15m", 900_000), ("1h30m", 5_400_000), ("2.5s", 2500), ("100ms", 100)];
        for (text, milliseconds) in table {
            assert_eq!(duration(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        for text in ["", "15", "m", "1d", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
