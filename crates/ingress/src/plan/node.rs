//! Ingresses by hand.

use std::net::SocketAddr;

use super::Cluster;
use super::draft::{Draft, always};
use crate::model::{Action, Choice, Host, Owner, Path, Policy, Protocol};
use crate::text;

pub(super) const KIND: &str = "NodeIngress";

pub(super) fn plan(cluster: &Cluster, draft: &mut Draft<'_>) {
    let mut ours: Vec<_> =
        cluster.node_ingresses.values().filter(|one| one.spec.node == draft.settings.node).collect();
    ours.sort_by_key(|one| (one.metadata.creation_timestamp.as_ref().map(|t| t.0), &one.metadata.name));
    for proxy in ours {
        let owner = Owner::new(KIND, "", proxy.metadata.name.as_deref().unwrap_or_default());
        draft.claim(&owner);
        if draft.is_excepted(&owner) {
            continue;
        }
        let Ok(port) = u16::try_from(proxy.spec.port) else {
            draft.problem(&owner, "InvalidPort", format!("{} is no port", proxy.spec.port));
            continue;
        };
        let settings = draft.settings;
        if [settings.http_port, settings.https_port].contains(&port) {
            let message = format!("port {port} is that of Ingresses; take another");
            draft.problem(&owner, "PortConflict", message);
            continue;
        }
        let mut of_port = draft.model.servers.iter().filter(|((at, _), _)| *at == port);
        let holder = of_port.find_map(|(_, server)| server.owners.first());
        if let Some(holder) = holder.cloned() {
            draft.problem(&owner, "PortConflict", format!("port {port} is that of {holder}"));
            continue;
        }
        draft.server(port, &Host::Any, &owner);
        for one in &proxy.spec.paths {
            let relative = (!one.path.starts_with('/')).then_some("it has to begin with /");
            let refusal = text::refusal(&one.path).or(relative);
            let Ok(backend) = one.backend.parse::<SocketAddr>() else {
                let message = format!("{:?} is no address and port", one.backend);
                draft.problem(&owner, "InvalidBackend", message);
                continue;
            };
            if let Some(why) = refusal {
                draft.problem(&owner, "InvalidPath", format!("path {:?}: {why}", one.path));
                continue;
            }
            let to = Choice::Address(backend.to_string());
            let action = Action::Proxy { to, protocol: Protocol::Http };
            draft.locate(
                port,
                &Host::Any,
                Path::Beginning(one.path.clone()),
                always(&owner, action, Policy::default()),
            );
        }
    }
}
