//! Which other objects a pod cannot start without reading.

use std::collections::BTreeSet;

use api::types::api::core::v1::{Container, Pod, Volume};

/// Names of the ConfigMaps and Secrets, of the pod's own namespace, that a pod refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// The ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// The Secrets.
    pub secrets: BTreeSet<String>,
}

impl References {
    /// What the pod's containers and volumes refer to, be it optional or not.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let mut all = Self::default();
        let Some(spec) = &pod.spec else { return all };
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            all.container(container);
        }
        for volume in spec.volumes.iter().flatten() {
            all.volume(volume);
        }
        all
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }

    fn container(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            self.config_maps.extend(from.config_map_ref.as_ref().map(|one| one.name.clone()));
            self.secrets.extend(from.secret_ref.as_ref().map(|one| one.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
            self.config_maps.extend(from.config_map_key_ref.as_ref().map(|one| one.name.clone()));
            self.secrets.extend(from.secret_key_ref.as_ref().map(|one| one.name.clone()));
        }
    }

    fn volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.as_ref().map(|one| one.name.clone()));
        self.secrets.extend(volume.secret.as_ref().and_then(|one| one.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|one| one.sources.iter().flatten());
        for source in projected {
            self.config_maps.extend(source.config_map.as_ref().map(|one| one.name.clone()));
            self.secrets.extend(source.secret.as_ref().map(|one| one.name.clone()));
        }
    }
}
