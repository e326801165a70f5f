//! What every router has, whatever crosses.

use std::time::Duration;

use api::router_config::{Address, Config, Distribution, Entity, Listener, Mode, Pattern, Role, Router};

use api::router_config::schema::EntityType;

use super::ports::Ports;

/// As upstream's sites have it.
pub(super) const SESSION_FRAMES: u32 = 640;

/// Who may link to a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    None,
    /// Whoever comes: for two routers on one machine.
    Plain,
    /// Who has a certificate of the CA of this profile.
    Tls(String),
}

/// The router itself, its management on the worker's loopback, health and metrics, and where other routers
/// come in.
#[must_use]
pub fn base(id: &str, metadata: &str, ports: Ports, access: &Access, edge: bool) -> Config {
    let mut config = Config::of_router(Router {
        id: Some(id.into()),
        mode: if edge { Mode::Edge } else { Mode::Interior },
        hello_max_age: Duration::from_secs(3),
        // Locality first, then cost; balanced would spread by load over all of them.
        default_distribution: Distribution::Closest,
        metadata: Some(metadata.into()),
        ..Router::default()
    });
    config.listeners.push(Listener {
        name: "amqp".into(),
        // By number: by name some resolvers know only the IPv6 one.
        host: "127.0.0.1".into(),
        port: ports.amqp,
        ..Listener::default()
    });
    if *access != Access::None {
        let coming = |name: &str, role, port| Listener {
            name: name.into(),
            port,
            role,
            ssl_profile: match access {
                Access::Tls(profile) => Some(profile.clone()),
                _ => None,
            },
            sasl_mechanisms: match access {
                Access::Tls(_) => vec!["EXTERNAL".into()],
                _ => Vec::new(),
            },
            authenticate_peer: matches!(access, Access::Tls(_)),
            require_ssl: matches!(access, Access::Tls(_)),
            max_session_frames: Some(SESSION_FRAMES),
            ..Listener::default()
        };
        config.listeners.push(coming("interior-listener", Role::InterRouter, ports.inter_router));
        config.listeners.push(coming("edge-listener", Role::Edge, ports.edge));
    }
    config.listeners.push(Listener {
        name: format!("@{}", ports.http),
        port: ports.http,
        http: true,
        healthz: true,
        metrics: true,
        ..Listener::default()
    });
    config.addresses.push(Address {
        name: "mc".into(),
        pattern: Pattern::Prefix("mc".into()),
        distribution: Distribution::Multicast,
        priority: None,
        more: Default::default(),
    });
    config
}

/// A `log` entity for all modules, as `warning+`; none where the router would not take it.
pub(super) fn log(level: &str) -> Option<Entity> {
    let attributes = [("module", "DEFAULT"), ("enable", level)];
    let given = attributes.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    Entity::new(EntityType::find("log")?, &given, 0).ok()
}
