//! Starting containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{ConfigMap, Container, Secret, Service};
use cri::{Phase, Process};
use nix::sys::signal::Signal;
use store::Error as StoreError;

use super::{Life, NORMAL, WARNING, all, now};
use crate::environment::{self, Context, Image, References, Sources};
use crate::plan::Blocked;

/// A container whose image or configuration is missing is looked at again after so many seconds, …
const FIRST_LOOK: i64 = 5;
/// … and at least that often (kubelet: 300; here nobody is spared by waiting).
const LAST_LOOK: i64 = 60;
/// A shim answers at once, but for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a container cannot be started: a reason as a status has it, and words.
pub(super) struct Refusal {
    reason: &'static str,
    pub(super) message: String,
}

impl Life {
    /// Starts a container, or notes why that cannot be.
    pub(super) async fn start(&mut self, name: &str, attempt: u32) {
        let spec = self.spec();
        let Some(container) = all(&spec).find(|container| container.name == name) else { return };
        let process = match self.process(container).await {
            Ok(process) => process,
            Err(refusal) => return self.block(name, refusal),
        };
        let files = match self.files(container, &process.env) {
            Ok(files) => files,
            Err(message) => return self.block(name, Refusal { reason: environment::REASON, message }),
        };
        if let Some(notes) = self.notes.get_mut(name) {
            notes.blocked = None;
            notes.started = container.startup_probe.is_none();
            notes.ready = container.readiness_probe.is_none();
        }
        let (Some(sandbox), Some(state)) = (&self.sandbox, &self.state) else { return };
        let mut state = state.clone();
        sandbox.start(name, attempt, process, files);
        let seen = state
            .wait_for(|state| !state.alive || state.last(name).is_some_and(|run| run.attempt == attempt));
        let phase = match tokio::time::timeout(PATIENCE, seen).await {
            Ok(Ok(state)) => state.last(name).map(|run| run.phase.clone()),
            // The sandbox has ended; the next look shows it.
            _ => None,
        };
        match phase {
            Some(Phase::Exited { message: Some(message), .. }) => {
                self.tell_of(name, WARNING, "Failed", &format!("Error: {message}"));
            }
            Some(_) => {
                self.tell_of(name, NORMAL, "Created", &format!("Created container: {name}"));
                self.tell_of(name, NORMAL, "Started", &format!("Started container {name}"));
                self.after_start(container, attempt).await;
            }
            None => {}
        }
    }

    /// The container's own hook; without its success the container must not live on.
    async fn after_start(&mut self, container: &Container, attempt: u32) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return };
        if let Err(why) = self.hook(container, hook, Duration::MAX).await {
            let name = &container.name;
            self.tell_of(name, WARNING, "FailedPostStartHook", &format!("PostStartHook failed: {why}"));
            self.tell_of(name, NORMAL, "Killing", "FailedPostStartHook");
            self.kill(container, attempt, self.grace());
        }
    }

    fn block(&mut self, name: &str, refusal: Refusal) {
        let Refusal { reason, message } = refusal;
        let notes = self.notes.entry(name.to_owned()).or_default();
        let tries = notes.blocked.as_ref().map_or(1, |blocked| blocked.tries + 1);
        let delay = (FIRST_LOOK << (tries - 1).min(10)).min(LAST_LOOK);
        // As the kubelet: the reason first, then that it is being backed off from.
        let shown = if reason == "ErrImagePull" && tries > 1 { "ImagePullBackOff" } else { reason };
        notes.blocked = Some(Blocked {
            until: now() + delay * 1_000_000,
            reason: shown.into(),
            message: message.clone(),
            tries,
        });
        self.tell_of(name, WARNING, "Failed", &message);
        self.tell_of(name, WARNING, "Failed", &format!("Error: {reason}"));
    }

    pub(super) async fn process(&self, container: &Container) -> Result<Process, Refusal> {
        let image = self.image(container)?;
        let sources = self.sources().await?;
        let services = self.services().await?;
        let ips = self.ips.clone().unwrap_or_default();
        let context = Context {
            pod: &self.pod,
            pod_ips: &ips,
            host_ips: &[self.address().to_owned()],
            allocatable: &BTreeMap::new(),
            sources: &sources,
            services: &services,
        };
        let hostname = self.sandbox.as_ref().map(|s| s.spec().hostname.clone()).unwrap_or_default();
        let of_image = Image {
            entrypoint: image.entrypoint.clone(),
            cmd: image.cmd.clone(),
            env: image.env.clone(),
            working_dir: image.working_dir.clone().unwrap_or_default().into(),
        };
        let made = environment::invocation(container, &of_image, &hostname, &context)
            .map_err(|error| Refusal { reason: environment::REASON, message: runtime::chain(&error) })?;
        for skipped in &made.skipped {
            self.tell(WARNING, environment::INVALID_NAMES, skipped);
        }
        let security = container.security_context.as_ref();
        let of_pod = self.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let id = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
        Ok(Process {
            argv: image.program(made.argv),
            env: made.env.into_iter().collect(),
            cwd: made.working_dir.to_string_lossy().into_owned(),
            user: id(security.and_then(|s| s.run_as_user).or(of_pod.and_then(|s| s.run_as_user))),
            group: id(security.and_then(|s| s.run_as_group).or(of_pod.and_then(|s| s.run_as_group))),
        })
    }

    fn image(&self, container: &Container) -> Result<&images::Image, Refusal> {
        let name = container.image.as_deref().unwrap_or_default();
        let failed = |reason, why: String| Refusal {
            reason,
            message: format!("Failed to pull image {name:?}: {why}"),
        };
        let found = self.shared.options.images.resolve(name);
        let image = found.map_err(|e| failed(e.reason(), runtime::chain(&e)))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        image.check(&path).map_err(|e| failed("ErrImagePull", format!("image {name:?} {e}")))?;
        Ok(image)
    }

    /// The signal that asks a container to end.
    pub(super) fn stop_signal(&self, container: &Container) -> Signal {
        let image = self.shared.options.images.resolve(container.image.as_deref().unwrap_or_default());
        image.map_or(Signal::SIGTERM, images::Image::stop_signal)
    }

    /// The ConfigMaps and Secrets that the pod refers to, those that there are.
    pub(super) async fn sources(&self) -> Result<Sources, Refusal> {
        let References { config_maps, secrets } = References::of(&self.pod);
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut sources = Sources::default();
        for name in config_maps {
            let found: Option<ConfigMap> = self.shared.store.get(namespace, &name).await.map_err(unread)?;
            sources.config_maps.extend(found.map(|object| (name, Arc::new(object))));
        }
        for name in secrets {
            let found: Option<Secret> = self.shared.store.get(namespace, &name).await.map_err(unread)?;
            sources.secrets.extend(found.map(|object| (name, Arc::new(object))));
        }
        Ok(sources)
    }

    async fn services(&self) -> Result<Vec<Arc<Service>>, Refusal> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut services: Vec<Service> = self.shared.store.list(Some(namespace)).await.map_err(unread)?;
        if namespace != "default" {
            services.extend(self.shared.store.get("default", "kubernetes").await.map_err(unread)?);
        }
        Ok(services.into_iter().map(Arc::new).collect())
    }
}

fn unread(error: StoreError) -> Refusal {
    Refusal { reason: environment::REASON, message: runtime::chain(&error) }
}
