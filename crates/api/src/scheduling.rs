//! Which nodes a pod may be on, and which it would rather be on, by what both say: the part that the scheduler
//! and others who place pods or drive them away have to agree on.

pub mod node_affinity;
pub mod taints;
