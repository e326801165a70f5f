//! The cluster's sites, on its first worker: which program is their router.

use runtime::{ComponentKind, Health};
use skupper::inputs::Place;
use skupper::router::Program;
use skupper::{COMPONENT, ROUTER_COMPONENT};
use store::Store;

use crate::Options;
use crate::choice::{Decision, Part, decide};

const ROUTER: Part = Part {
    program: "skrouterd",
    absent: "no skrouterd in PATH, nor does KNETSIM_SKROUTERD name one",
    key: "router",
};

/// Decided and announced, not yet started.
#[derive(Debug)]
pub(crate) struct Sites(skupper::Options);

impl Sites {
    /// Decides which router it is and announces it; none on a worker without sites.
    pub(crate) fn announce(options: &Options, health: &Health) -> Option<Self> {
        let choice = options.router?;
        health.announce(COMPONENT, ComponentKind::Builtin, env!("CARGO_PKG_VERSION"));
        let announce =
            |kind, version: &str, why: &str| health.announce_because(ROUTER_COMPONENT, kind, version, why);
        let program = match decide(choice, ROUTER, Program::find, |_| Vec::new()) {
            Decision::Real(real) => {
                let why = format!("found {}", real.path.display());
                announce(ComponentKind::Real, &real.version, &why);
                Some(real)
            }
            Decision::Builtin { why } => {
                announce(ComponentKind::Builtin, env!("CARGO_PKG_VERSION"), &why);
                Some(Program::builtin())
            }
            Decision::Impossible { message, hint } => {
                announce(ComponentKind::Real, "", "");
                health.stuck(ROUTER_COMPONENT, &message, &hint);
                None
            }
        };
        let place = Place {
            cluster: options.cluster.clone(),
            node: options.node.clone(),
            address: options.address,
            folder: options.folder.join("skupper"),
        };
        Some(Self(skupper::Options { place, program, lifetime: skupper::certs::LIFETIME }))
    }

    /// Runs them until dropped.
    pub(crate) async fn run(self, store: Store, health: Health) {
        skupper::run(self.0, store, health).await;
    }
}
