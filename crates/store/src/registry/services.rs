//! Services get their addresses and node ports before they are stored, as from the API server, so that whoever
//! stores one sees them at once and is refused at once. Where the control plane has not published its ranges
//! yet they are stored without; it completes them.
//!
//! Source: kubernetes `pkg/registry/core/service/storage/{storage,alloc}.go`.

use api::kinds::SERVICES;
use api::types::api::core::v1::Service;
use api::{KindInfo, Rejection};
use serde_json::Value;

use super::{Error, Result};
use crate::allocator::{Allocated, AllocationError, Allocator};
use crate::error::Error as StoreError;
use crate::typed::Store;

/// What was taken for a service that is about to be stored.
pub(super) struct Taken {
    allocator: Allocator,
    service: Service,
    allocated: Allocated,
}

/// Takes for a service what it lacks and writes it into the document; `old` is what is stored of it.
pub(super) async fn take(
    store: &Store,
    info: &KindInfo,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Taken>> {
    let Some(mut service) = read(info, object) else { return Ok(None) };
    let Some(allocator) = Allocator::of_cluster(store).await? else { return Ok(None) };
    let old = old.and_then(|old| read(info, old));
    let allocated = allocator.allocate(&mut service, old.as_ref()).await?;
    if let Ok(complete) = serde_json::to_value(&service) {
        *object = complete;
    }
    Ok(Some(Taken { allocator, service, allocated }))
}

/// Gives it back, for the service could not be stored. What cannot be given back is found by those who repair.
pub(super) async fn give_back(taken: Option<Taken>) {
    if let Some(Taken { allocator, service, allocated }) = taken {
        let _ = allocator.give_back(&service, allocated).await;
    }
}

/// Releases what a service had and has no more. What cannot be released is found by those who repair.
pub(super) async fn release(store: &Store, info: &KindInfo, old: &Value, new: Option<&Value>) {
    let Some(old) = read(info, old) else { return };
    let new = new.and_then(|new| read(info, new));
    if let Ok(Some(allocator)) = Allocator::of_cluster(store).await {
        let _ = allocator.release(&old, new.as_ref()).await;
    }
}

fn read(info: &KindInfo, object: &Value) -> Option<Service> {
    if *info == SERVICES { serde_json::from_value(object.clone()).ok() } else { None }
}

impl From<AllocationError> for Error {
    fn from(error: AllocationError) -> Self {
        match error {
            AllocationError::Refused(invalid) => Rejection::Invalid(invalid).into(),
            AllocationError::Store(error) => StoreError::into(error),
            full @ AllocationError::Full { .. } => Self::Internal(full.to_string()),
        }
    }
}
