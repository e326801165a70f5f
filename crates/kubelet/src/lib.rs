//! The kubelet's part for its node: a Node object that says what there is, and a Lease that says that
//! it is alive.
//!
//! [`node`] makes the objects (pure), [`register`] keeps them true in the store.

pub mod machine;
pub mod node;
pub mod register;

pub mod environment;
pub mod hosts;
pub mod logs;
pub mod probe;
pub mod volumes;

pub use machine::MachineInfo;
pub use node::NodeInfo;
pub use register::{COMPONENT, run};
