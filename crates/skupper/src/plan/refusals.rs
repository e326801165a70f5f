//! What the router would refuse is found before it is told.

use api::router_config::{Config, Refused};

/// An entity that was taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TakenOut {
    /// Its type.
    pub(super) kind: &'static str,
    /// The object that it came from.
    pub(super) object: String,
    /// Why.
    pub(super) message: String,
}

/// Takes entities out until the rest would be taken.
pub(super) fn take_out(config: &mut Config) -> Vec<TakenOut> {
    let mut all = Vec::new();
    while let Err(refused) = config.entities() {
        let before = size(config);
        remove(config, &refused);
        // Else nobody's object is to blame, and what is wrong shows when the file is written.
        if size(config) == before {
            break;
        }
        let Refused { kind, name, problem } = refused;
        let object = name.split('/').nth(1).unwrap_or_default().to_owned();
        all.push(TakenOut {
            kind,
            object,
            message: format!("the router would refuse {kind} \"{name}\": {problem}"),
        });
    }
    all
}

fn size(config: &Config) -> usize {
    config.connectors.len() + config.tcp_listeners.len() + config.tcp_connectors.len()
}

/// The last one of that name: the first was there before.
fn remove(config: &mut Config, refused: &Refused) {
    fn last<T>(all: &mut Vec<T>, is: impl Fn(&T) -> bool) {
        if let Some(at) = all.iter().rposition(is) {
            all.remove(at);
        }
    }
    match refused.kind {
        "connector" => last(&mut config.connectors, |one| one.name == refused.name),
        "tcpListener" => last(&mut config.tcp_listeners, |one| one.name == refused.name),
        "tcpConnector" => last(&mut config.tcp_connectors, |one| one.name == refused.name),
        _ => {}
    }
}
