//! What is in a pod's volumes.
//!
//! [`plan`] decides it, from the pod, the ConfigMaps and Secrets that it refers to, and what its
//! containers may be told; [`atomic`] brings a folder to that, all files at one moment. When a ConfigMap
//! changes, both are done again, and a volume that has not changed is not written.
//!
//! Here are `emptyDir`, `configMap`, `secret`, `downwardAPI` and `projected`. A projected
//! `serviceAccountToken` is refused, for there is nobody to show it to.
//!
//! Sources: kubernetes `pkg/volume/{configmap,secret,downwardapi,projected}/`, the texts of
//! `pkg/volume/util/operationexecutor/operation_generator.go`.

pub mod atomic;
mod error;

use std::collections::BTreeMap;

use api::quantity::Amount;
use api::types::ByteString;
use api::types::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Secret, Volume, VolumeProjection,
};

use crate::environment::{Context, container_resource, metadata_field};

pub use error::{MountError, REASON};

use error::Why;

/// `-rw-r--r--`
const MODE: i32 = 0o644;

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// A folder that the containers share, empty at first.
    EmptyDir {
        /// In memory, not on the disk.
        memory: bool,
        /// At most so many bytes.
        limit: Option<u64>,
    },
    /// Files that are only read.
    Files(Payload),
}

/// Files of a volume by their path in it.
pub type Payload = BTreeMap<String, Projection>;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// What is in it.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// What a volume of the pod is made of.
///
/// # Errors
/// What it refers to is not there, unless that is optional.
pub fn plan(volume: &Volume, context: &Context<'_>) -> Result<Plan, MountError> {
    contents(volume, context).map_err(|why| MountError::new(&volume.name, &why))
}

fn contents(volume: &Volume, context: &Context<'_>) -> Result<Plan, Why> {
    if let Some(one) = &volume.empty_dir {
        return empty_dir(one);
    }
    let sources = context.sources;
    let payload = if let Some(one) = &volume.config_map {
        let found = sources.config_maps.get(&one.name);
        let of = Of { name: &one.name, items: &one.items, optional: one.optional, mode: one.default_mode };
        config_map(&of, found.map(AsRef::as_ref))?
    } else if let Some(one) = &volume.secret {
        let name = one.secret_name.as_deref().unwrap_or_default();
        let of = Of { name, items: &one.items, optional: one.optional, mode: one.default_mode };
        secret(&of, sources.secrets.get(name).map(AsRef::as_ref))?
    } else if let Some(one) = &volume.downward_api {
        downward(one.items.as_deref().unwrap_or_default(), one.default_mode, context)?
    } else if let Some(one) = &volume.projected {
        projected(one.sources.as_deref().unwrap_or_default(), one.default_mode, context)?
    } else {
        return Err(Why::Unsupported);
    };
    for path in payload.keys() {
        atomic::check_path(path)?;
    }
    Ok(Plan::Files(payload))
}

fn empty_dir(source: &EmptyDirVolumeSource) -> Result<Plan, Why> {
    let memory = match source.medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => return Err(Why::Medium(other.into())),
    };
    let limit = source.size_limit.as_ref().map(Amount::parse).transpose().map_err(|_| Why::SizeLimit)?;
    // No limit at all is what 0 means.
    let limit = limit.and_then(|limit| u64::try_from(limit.units()).ok()).filter(|limit| *limit > 0);
    Ok(Plan::EmptyDir { memory, limit })
}

/// What is wanted of a ConfigMap or Secret.
struct Of<'a> {
    name: &'a str,
    items: &'a Option<Vec<KeyToPath>>,
    optional: Option<bool>,
    mode: Option<i32>,
}

fn config_map(of: &Of<'_>, found: Option<&ConfigMap>) -> Result<Payload, Why> {
    let Some(found) = present(of, found, "configmap")? else { return Ok(Payload::new()) };
    let text = found.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = found.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    files(of, &text.chain(binary).collect(), "config")
}

fn secret(of: &Of<'_>, found: Option<&Secret>) -> Result<Payload, Why> {
    let Some(found) = present(of, found, "secret")? else { return Ok(Payload::new()) };
    let data = found.data.iter().flatten().map(|(key, ByteString(value))| (key.as_str(), value.as_slice()));
    files(of, &data.collect(), "secret")
}

fn present<'a, T>(of: &Of<'_>, found: Option<&'a T>, kind: &'static str) -> Result<Option<&'a T>, Why> {
    if found.is_none() && of.optional != Some(true) {
        return Err(Why::NotFound { kind, name: of.name.into() });
    }
    Ok(found)
}

/// All that is in `data`, or what `items` say of it.
fn files(of: &Of<'_>, data: &BTreeMap<&str, &[u8]>, kind: &'static str) -> Result<Payload, Why> {
    let items = of.items.as_deref().unwrap_or_default();
    let file =
        |data: &[u8], mode: Option<i32>| Projection { data: data.to_vec(), mode: bits(mode.or(of.mode)) };
    if items.is_empty() {
        return Ok(data.iter().map(|(key, value)| ((*key).to_owned(), file(value, None))).collect());
    }
    let mut payload = Payload::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => {
                payload.insert(atomic::clean(&item.path), file(value, item.mode));
            }
            None if of.optional == Some(true) => {}
            None => return Err(Why::NoKey { kind, key: item.key.clone() }),
        }
    }
    Ok(payload)
}

fn downward(
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
    context: &Context<'_>,
) -> Result<Payload, Why> {
    let (mut payload, mut wrong) = (Payload::new(), Vec::new());
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            metadata_field(&field.field_path, &context.pod.metadata)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))
        } else if let Some(resource) = &item.resource_field_ref {
            container_resource(resource, context.pod, None, context.allocatable)
                .map_err(|error| error.to_string())
        } else {
            Ok(String::new())
        };
        match text {
            Ok(text) => {
                let mode = bits(item.mode.or(default_mode));
                payload.insert(atomic::clean(&item.path), Projection { data: text.into_bytes(), mode });
            }
            Err(error) => wrong.push(Why::Other(error)),
        }
    }
    Why::unless_empty(wrong, payload)
}

/// All sources in one; where two have the same path, the later one's file.
fn projected(sources: &[VolumeProjection], mode: Option<i32>, context: &Context<'_>) -> Result<Payload, Why> {
    let (mut all, mut wrong) = (Payload::new(), Vec::new());
    for source in sources {
        let payload = if let Some(one) = &source.secret {
            let of = Of { name: &one.name, items: &one.items, optional: one.optional, mode };
            secret(&of, context.sources.secrets.get(&one.name).map(AsRef::as_ref))
        } else if let Some(one) = &source.config_map {
            let of = Of { name: &one.name, items: &one.items, optional: one.optional, mode };
            config_map(&of, context.sources.config_maps.get(&one.name).map(AsRef::as_ref))
        } else if let Some(one) = &source.downward_api {
            downward(one.items.as_deref().unwrap_or_default(), mode, context)
        } else {
            Err(Why::Projection)
        };
        match payload {
            Ok(payload) => all.extend(payload),
            Err(why) => wrong.push(why),
        }
    }
    Why::unless_empty(wrong, all)
}

fn bits(mode: Option<i32>) -> u32 {
    u32::try_from(mode.unwrap_or(MODE)).unwrap_or_default() & 0o777
}

#[cfg(test)]
mod tests;
