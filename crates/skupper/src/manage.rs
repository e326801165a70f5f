//! A router's management, by which everything about it is changed and asked while it runs.

mod amqp;
mod observe;

use std::future::Future;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::ops::{Attributes, LIVE, Observed, Op};

pub use amqp::Amqp;
pub use observe::{Observation, observe};

/// What a router's management can do (`docs/man` of skupper-router, AMQP Management 1.0).
pub trait Management: Send {
    /// The entities of a type, of this router or, by its id, of another in the network.
    fn query(
        &mut self,
        router: Option<&str>,
        kind: &str,
    ) -> impl Future<Output = Result<Vec<Attributes>>> + Send;

    /// Makes an entity.
    fn create(
        &mut self,
        kind: &str,
        name: &str,
        attributes: &Map<String, Value>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Changes an entity.
    fn update(
        &mut self,
        kind: &str,
        name: &str,
        attributes: &Map<String, Value>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes an entity away.
    fn delete(&mut self, kind: &str, name: &str) -> impl Future<Output = Result<()>> + Send;
}

/// What a router has that can be changed.
///
/// # Errors
/// When it does not answer.
pub async fn entities(router: &mut impl Management) -> Result<Observed> {
    let mut observed = Observed::default();
    for kind in LIVE {
        observed.add(kind, router.query(None, kind).await?);
    }
    Ok(observed)
}

/// Does what is to be done; goes on with the rest where the router refuses one. Gives what it refused.
///
/// # Errors
/// When it does not answer.
pub async fn apply(router: &mut impl Management, ops: &[Op]) -> Result<Vec<crate::Error>> {
    let mut refusals = Vec::new();
    for op in ops {
        let done = match op {
            Op::Create { kind, name, attributes } => router.create(kind, name, attributes).await,
            Op::Update { kind, name, attributes } => router.update(kind, name, attributes).await,
            Op::Delete { kind, name } => router.delete(kind, name).await,
        };
        match done {
            Ok(()) => tracing::info!("router: {op}"),
            Err(refused @ crate::Error::Refused { .. }) => refusals.push(refused),
            Err(error) => return Err(error),
        }
    }
    Ok(refusals)
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
