//! A pod's volumes: what is in them, written before its containers start, and again when that changes.
//!
//! Sources: kubernetes `pkg/kubelet/volumemanager/`, `pkg/kubelet/kubelet_pods.go` (`makeMounts`),
//! `pkg/volume/hostpath/host_path.go`.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::types::api::core::v1::{Container, Volume, VolumeMount};
use api::types::jiff::Timestamp;
use cri::{Files, Kind, Mount, Sandbox, Source};
use runtime::chain;

use super::{Life, WARNING, all, now};
use crate::environment::{Context, expand};
use crate::volumes::{self, Plan, REASON, atomic};

/// How often what a ConfigMap or Secret says is looked at again, in microseconds (kubelet: up to a minute
/// and more).
const PERIOD: i64 = 10_000_000;

/// What is known of a pod's volumes.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// By name; none until all of them could be planned.
    plans: Option<BTreeMap<String, Plan>>,
    /// Whether what is planned is in the sandbox.
    written: bool,
    /// When to look again: microseconds since 1970.
    due: i64,
    /// The pod's own labels and annotations at the last look, which may be in a volume.
    told: Told,
    /// Why there are none.
    pub(super) trouble: Option<String>,
}

type Told = (Option<BTreeMap<String, String>>, Option<BTreeMap<String, String>>);

impl Volumes {
    /// The next sandbox has none yet.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// When they are to be looked at again, if they may change: microseconds since 1970.
    pub(super) fn due(&self) -> Option<i64> {
        let changes = self.plans.iter().flat_map(BTreeMap::values).any(|plan| matches!(plan, Plan::Files(_)));
        changes.then_some(self.due)
    }
}

impl Life {
    /// Finds out what is to be in the volumes, if that may have changed. Gives when to try again if there
    /// is no telling.
    pub(super) async fn plan_volumes(&mut self) -> Option<i64> {
        let meta = &self.pod.metadata;
        let told = (meta.labels.clone(), meta.annotations.clone());
        let volumes = &self.volumes;
        let fresh = match &volumes.plans {
            Some(_) => volumes.due().is_none_or(|due| due > now()) && volumes.told == told,
            None => volumes.due > now(),
        };
        if fresh {
            return self.volumes.plans.is_none().then_some(self.volumes.due);
        }
        let planned = self.planned().await;
        self.volumes.told = told;
        match planned {
            Ok(plans) => {
                self.volumes.written &= self.volumes.plans.as_ref() == Some(&plans);
                self.volumes.plans = Some(plans);
                self.volumes.due = now() + PERIOD;
                self.volumes.trouble = None;
                None
            }
            Err(messages) => self.no_volumes(&messages),
        }
    }

    /// Tells why; what containers have already, they keep.
    fn no_volumes(&mut self, messages: &[String]) -> Option<i64> {
        for message in messages {
            self.tell(WARNING, REASON, message);
        }
        let delay = self.volume_retry.after(Duration::ZERO);
        self.volumes.due = now() + i64::try_from(delay.as_micros()).unwrap_or(PERIOD);
        if self.volumes.plans.is_some() {
            return None;
        }
        self.volumes.trouble = Some(messages.join("; "));
        Some(self.volumes.due)
    }

    async fn planned(&mut self) -> Result<BTreeMap<String, Plan>, Vec<String>> {
        let spec = self.spec();
        let wanted: Vec<&Volume> =
            spec.volumes.iter().flatten().filter(|one| one.host_path.is_none()).collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let sources = self.sources().await.map_err(|refusal| vec![refusal.message])?;
        let context = Context {
            pod: &self.pod,
            pod_ips: &[],
            host_ips: &[],
            allocatable: &BTreeMap::new(),
            sources: &sources,
            services: &[],
        };
        let (mut plans, mut wrong) = (BTreeMap::new(), Vec::new());
        for volume in wanted {
            match volumes::plan(volume, &context) {
                Ok(plan) => drop(plans.insert(volume.name.clone(), plan)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() { Ok(plans) } else { Err(wrong) }
    }

    /// Brings the sandbox's volumes to what is planned. Gives when to try again if that fails.
    pub(super) fn write_volumes(&mut self) -> Option<i64> {
        if self.volumes.written {
            return None;
        }
        let (Some(sandbox), Some(plans)) = (&self.sandbox, &self.volumes.plans) else { return None };
        let wrong = plans.iter().filter_map(|(name, plan)| {
            let failed = |why| format!("MountVolume.SetUp failed for volume {name:?} : {why}");
            write(sandbox, name, plan).err().map(failed)
        });
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() {
            self.volumes.written = true;
            self.volume_retry.reset();
            return None;
        }
        let again = self.no_volumes(&wrong);
        Some(again.unwrap_or(self.volumes.due))
    }

    /// What a container sees, whose environment is `env`.
    pub(super) fn files(&self, container: &Container, env: &[(String, String)]) -> Result<Files, String> {
        let spec = self.spec();
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            // The API server has seen to it that there is one.
            let volume = volume.ok_or_else(|| format!("volume {:?} is not there", mount.name))?;
            mounts.push(self.mount(mount, volume, env)?);
        }
        mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
        let security = container.security_context.as_ref();
        let read_only_root =
            security.and_then(|security| security.read_only_root_filesystem).unwrap_or(false);
        Ok(Files { mounts, read_only_root })
    }

    fn mount(&self, mount: &VolumeMount, volume: &Volume, env: &[(String, String)]) -> Result<Mount, String> {
        let path = part(mount, env)?;
        let read_only = mount.read_only.unwrap_or(false);
        let target = absolute(&mount.mount_path);
        if let Some(host) = &volume.host_path {
            let path = Path::new(&host.path).join(path);
            let create = match host.type_.as_deref().unwrap_or_default() {
                "DirectoryOrCreate" => Some(Kind::Folder),
                "FileOrCreate" => Some(Kind::File),
                _ => None,
            };
            let source = Source::Host { path: path.to_string_lossy().into_owned(), create };
            return Ok(Mount { source, target, read_only });
        }
        let plan = self.volumes.plans.as_ref().and_then(|plans| plans.get(&volume.name));
        let (limit, files) = match plan {
            Some(Plan::EmptyDir { limit, .. }) => (*limit, false),
            _ => (None, true),
        };
        // What the kubelet writes, nobody else does (KEP-1847 and kubernetes 1.9.6).
        Ok(Mount {
            source: Source::Volume { name: volume.name.clone(), path, limit },
            target,
            read_only: read_only || files,
        })
    }
}

/// Where the pod's containers have volumes.
pub(super) fn mount_points(spec: &api::types::api::core::v1::PodSpec) -> Vec<PathBuf> {
    let mounts = all(spec).flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.map(|mount| absolute(&mount.mount_path).into()).collect()
}

/// As the kubelet: from the root, if nothing else is said.
fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/').trim_end_matches('/'))
}

/// What of the volume is mounted; empty for all of it.
fn part(mount: &VolumeMount, env: &[(String, String)]) -> Result<String, String> {
    let value = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => path.clone(),
        (_, Some(path)) => expand(path, value),
        _ => return Ok(String::new()),
    };
    let wrong = path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains("$(");
    if wrong { Err(format!("invalid subPath {path:?}")) } else { Ok(path) }
}

fn write(sandbox: &Sandbox, name: &str, plan: &Plan) -> Result<(), String> {
    let folder = sandbox.volume(name);
    match plan {
        Plan::Files(payload) => {
            atomic::write(&folder, payload, Timestamp::now()).map(drop).map_err(|e| chain(&e))
        }
        // For everybody, whoever a container runs as (kubernetes `pkg/volume/emptydir`, `perm`).
        Plan::EmptyDir { .. } => fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o777)))
            .map_err(|e| format!("make {}: {e}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mount(json: serde_json::Value) -> VolumeMount {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_part_of_a_volume_may_be_named_by_the_environment() {
        let env = [("POD".to_owned(), "web-0".to_owned())];
        let of = |json: serde_json::Value| part(&mount(json), &env);
        assert_eq!(of(json!({"name": "v", "mountPath": "/a"})).unwrap(), "");
        assert_eq!(of(json!({"name": "v", "mountPath": "/a", "subPath": "x/y"})).unwrap(), "x/y");
        assert_eq!(
            of(json!({"name": "v", "mountPath": "/a", "subPathExpr": "$(POD)/l"})).unwrap(),
            "web-0/l"
        );
        for wrong in ["$(NO)", "../x", "/x", "a/../../x"] {
            assert!(of(json!({"name": "v", "mountPath": "/a", "subPathExpr": wrong})).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_container_counts_for_the_mount_points() {
        let container = |name: &str, path: &str| json!({"name": name, "image": "x", "volumeMounts": [{"name": "v", "mountPath": path}]});
        let spec = json!({
            "initContainers": [container("i", "/init/")], "containers": [container("a", "data"), container("b", "/b")],
        });
        let points = mount_points(&serde_json::from_value(spec).unwrap());
        assert_eq!(points, ["/init", "/data", "/b"].map(PathBuf::from));
    }
}
