//! What a router says: how its links and listeners are, and what all others of the network have.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Management;
use crate::error::Result;
use crate::network::{LinkEnd, Metadata, Network, RouterView, TcpEnd};
use crate::ops::Attributes;

/// A router and its network as of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The router's id.
    pub id: String,
    /// All routers, this one too.
    pub network: Network,
}

/// Asks a router, and through it all others.
///
/// # Errors
/// When it does not answer. That another one does not is no error: it is left out.
pub async fn observe(router: &mut impl Management, before: &Network) -> Result<Observation> {
    let own = view(router, None).await?;
    let id = own.0;
    let mut routers = BTreeMap::from([(id.clone(), own.1)]);
    for node in router.query(None, "router.node").await? {
        let other = text(&node, "id");
        if other.is_empty() || other == id {
            continue;
        }
        // One that is known and does not answer now is known on: the router that it goes through says when
        // it is gone.
        match view(router, Some(&other)).await {
            Ok((_, view)) => drop(routers.insert(other, view)),
            Err(error) => {
                tracing::debug!(%error, "router {other} does not answer");
                routers.insert(other.clone(), before.routers.get(&other).cloned().unwrap_or_default());
            }
        }
    }
    Ok(Observation { id, network: Network { routers } })
}

async fn view(router: &mut impl Management, of: Option<&str>) -> Result<(String, RouterView)> {
    let own = router.query(of, "router").await?;
    let (id, metadata) = own.first().map(|one| (text(one, "id"), text(one, "metadata"))).unwrap_or_default();
    let connections = router.query(of, "connection").await?;
    let mut listeners: Vec<TcpEnd> = router.query(of, "tcpListener").await?.iter().map(end).collect();
    let mut connectors: Vec<TcpEnd> = router.query(of, "tcpConnector").await?.iter().map(end).collect();
    listeners.sort();
    connectors.sort();
    let links = router.query(of, "connector").await?;
    let links = links.iter().map(|link| self::link(link, &connections)).collect();
    let is_router = |one: &&Attributes| {
        let role = text(one, "role");
        text(one, "dir") == "in"
            && (role == "inter-router" || role == "edge")
            && text(one, "operStatus") != "closing"
    };
    let mut incoming: Vec<String> =
        connections.iter().filter(is_router).map(|one| text(one, "container")).collect();
    incoming.sort();
    incoming.dedup();
    let site = Metadata::of(&metadata);
    Ok((id, RouterView { site, listeners, connectors, links, incoming }))
}

fn end(entity: &Attributes) -> TcpEnd {
    TcpEnd {
        name: text(entity, "name"),
        address: text(entity, "address"),
        up: text(entity, "operStatus") == "up",
    }
}

/// A connector's words (skupper-router `src/connection_manager.c`, `connectionStatus` and `connectionMsg`).
fn link(connector: &Attributes, connections: &[Attributes]) -> LinkEnd {
    let operational = text(connector, "connectionStatus") == "SUCCESS";
    let to = format!("{}:{}", text(connector, "host"), text(connector, "port"));
    let peer = connections.iter().find(|one| text(one, "dir") == "out" && text(one, "host") == to);
    LinkEnd {
        name: text(connector, "name"),
        peer: peer.map(|one| text(one, "container")).filter(|_| operational).unwrap_or_default(),
        operational,
        message: if operational { String::new() } else { text(connector, "connectionMsg") },
        cost: connector.get("cost").and_then(Value::as_i64).unwrap_or(1),
    }
}

fn text(entity: &Attributes, key: &str) -> String {
    match entity.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
