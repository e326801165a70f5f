//! The scheduler: gives each pod that has no node the one where it fits best.
//!
//! ```text
//! reflectors ─┬─ Cache: nodes, with what runs there and what was just placed there ─┐
//!             └─ PodQueue: pods without a node ── place (filters, scores) ──────────┴─ bind, or say why not
//! ```
//!
//! - `plan`: where a pod goes, pure: taints and node affinity ([`api::scheduling`]), `fit` (resources, ports),
//!   `spread` (topology spread constraints), `inter_pod` (affinity between pods);
//! - `queue`: who is next, and who waits for what; `run`: the loop;
//! - [`Picture`]: the same placing without a store.
//!
//! Filters, scores, weights and words are those of kube-scheduler's default profile in Kubernetes 1.33. Pods
//! that name a node, or another scheduler, are left alone.

mod application;
mod cache;
mod fit;
mod inter_pod;
mod node;
mod picture;
mod plan;
mod pod;
mod queue;
mod resources;
mod run;
mod spread;
#[cfg(test)]
mod tests;

use runtime::Health;
use store::Store;
use store::leader::{Candidate, Standing};

use run::Scheduler;

pub use picture::Picture;
pub use plan::Unplaced;

/// The component's name in `topo status`.
pub const COMPONENT: &str = "scheduler";
/// The lease that says which scheduler of a cluster works.
pub const LEASE: &str = "kube-scheduler";

/// Runs the scheduler until dropped; `health` hears how it goes. Of several of a cluster one works, the others
/// wait; they are told apart by their `identity`.
pub async fn run(identity: &str, store: Store, health: Health) {
    let candidate = Candidate::new(&store, LEASE, identity);
    let tell = |standing: &Standing| match standing {
        Standing::Leads => health.set(COMPONENT, false, "reading the cluster"),
        Standing::Waits(other) => health.set(COMPONENT, true, &format!("{other} leads")),
        Standing::Trouble(why) => health.set(COMPONENT, false, why),
    };
    candidate.run(|| lead(store.clone(), health.clone()), tell).await;
}

async fn lead(store: Store, health: Health) {
    let scheduler = Scheduler::new(&store);
    let mut status = scheduler.status();
    let tell = async {
        loop {
            let now = status.borrow_and_update().clone();
            match now.error {
                Some(why) => health.set(COMPONENT, false, &why),
                None => health.set(COMPONENT, now.synced, ""),
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    };
    let work = async {
        scheduler.synced().await;
        scheduler.run().await;
    };
    tokio::select! {
        () = tell => {}
        () = work => {}
    }
}
