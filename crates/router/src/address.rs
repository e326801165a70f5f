//! Addresses, as they stand in messages (`src/iterator.c` of skupper-router).

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// Something of this router itself: `_local/x`, `_topo/0/us/x`.
    Local(&'a str),
    /// Something of another router: `_topo/0/id/x`.
    Router(&'a str),
    /// All routers: `_topo/0/all/x`.
    All,
    /// An address that anybody may serve.
    Mobile(&'a str),
}

/// Where `address` leads, seen from the router `id`. Scheme and host are of no meaning.
pub(crate) fn destination<'a>(address: &'a str, id: &str) -> Destination<'a> {
    let path = match address.split_once(':') {
        Some(("amqp" | "amqps", rest)) => rest,
        _ => address,
    };
    let path = match path.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => path.strip_prefix('/').unwrap_or(path),
    };
    if let Some(name) = path.strip_prefix("_local/") {
        return Destination::Local(name);
    }
    let mut parts = path.splitn(4, '/');
    if let (Some("_topo"), Some(_area), Some(router), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    {
        return match router {
            "all" => Destination::All,
            router if router == id => Destination::Local(name),
            router => Destination::Router(router),
        };
    }
    Destination::Mobile(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_somewhere() {
        let cases = [
            ("amqp:/_local/qdhello", Destination::Local("qdhello")),
            ("amqp:/_topo/0/A/qdrouter.ma", Destination::Local("qdrouter.ma")),
            ("_topo/0/all/qdrouter.ma", Destination::All),
            ("amqp:/_topo/0/B/temp.x/y", Destination::Router("B")),
            ("svc1", Destination::Mobile("svc1")),
            ("amqp:/svc1", Destination::Mobile("svc1")),
            ("amqp://host:5672/a/b", Destination::Mobile("a/b")),
            ("host:8080", Destination::Mobile("host:8080")),
            ("_topo/0", Destination::Mobile("_topo/0")),
        ];
        for (address, expected) in cases {
            assert_eq!(destination(address, "A"), expected, "{address}");
        }
    }
}
