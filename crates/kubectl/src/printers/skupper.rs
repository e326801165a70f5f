//! Skupper's kinds.
//!
//! Source: skupper 2 `config/crd/bases` (`additionalPrinterColumns`).

use serde_json::Value;

use super::Printer;
use crate::object::name;

/// A printer whose cells are what stands at these places of the object.
macro_rules! places {
    ($($printer:ident: [$($column:literal $place:literal),* $(,)?])*) => {$(
        pub(super) const $printer: Printer = Printer {
            columns: &["NAME", $($column),*],
            wide: &[],
            cells: |object, _| Some(vec![name(object).into(), $(at(object, $place)),*]),
        };
    )*};
}

places! {
    SITES: [
        "STATUS" "/status/status", "SITES IN NETWORK" "/status/sitesInNetwork", "MESSAGE" "/status/message",
    ]
    LINKS: [
        "STATUS" "/status/status", "REMOTE SITE" "/status/remoteSiteName", "MESSAGE" "/status/message",
    ]
    ACCESS_GRANTS: [
        "REDEMPTIONS ALLOWED" "/spec/redemptionsAllowed", "REDEMPTIONS MADE" "/status/redemptions",
        "EXPIRATION" "/status/expirationTime", "STATUS" "/status/status", "MESSAGE" "/status/message",
    ]
    ACCESS_TOKENS: [
        "URL" "/spec/url", "REDEEMED" "/status/redeemed", "STATUS" "/status/status",
        "MESSAGE" "/status/message",
    ]
    LISTENERS: [
        "ROUTING KEY" "/spec/routingKey", "PORT" "/spec/port", "HOST" "/spec/host",
        "STATUS" "/status/status", "HAS MATCHING CONNECTOR" "/status/hasMatchingConnector",
        "MESSAGE" "/status/message",
    ]
    CONNECTORS: [
        "ROUTING KEY" "/spec/routingKey", "PORT" "/spec/port", "HOST" "/spec/host",
        "SELECTOR" "/spec/selector", "STATUS" "/status/status",
        "HAS MATCHING LISTENER" "/status/hasMatchingListener", "MESSAGE" "/status/message",
    ]
}

/// As a custom resource's columns are: empty where nothing is.
fn at(object: &Value, place: &str) -> String {
    match object.pointer(place) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.lines().next().unwrap_or_default().into(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::printers::{Options, table};
    use serde_json::json;

    #[test]
    fn columns_are_those_of_the_crds() {
        let listener = json!({
            "metadata": {"name": "backend", "namespace": "west"},
            "spec": {"routingKey": "backend", "port": 8080, "host": "east-backend"},
            "status": {"status": "Ready", "hasMatchingConnector": true, "message": "OK"},
        });
        let found = table(&api::kinds::LISTENERS, &[listener], &Options::default(), &api::time::now());
        assert_eq!(
            found.header.join("|"),
            "NAME|ROUTING KEY|PORT|HOST|STATUS|HAS MATCHING CONNECTOR|MESSAGE"
        );
        assert_eq!(found.rows[0].join("|"), "backend|backend|8080|east-backend|Ready|true|OK");
        let site = json!({"metadata": {"name": "west"}});
        let found = table(&api::kinds::SITES, &[site], &Options::default(), &api::time::now());
        assert_eq!(found.rows[0].join("|"), "west|||");
    }
}
