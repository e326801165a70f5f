//! Starting containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};
use cri::{Phase, Process};
use nix::sys::signal::Signal;
use store::{Error as StoreError, Store};

use super::{Life, NORMAL, WARNING, after_seconds, all, now};
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

/// What came of the hook of a container that was started.
#[derive(Debug)]
pub(super) struct Posted {
    name: String,
    attempt: u32,
    outcome: Result<(), String>,
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
        self.processes.insert(name.to_owned(), process.clone());
        let image = container.image.as_deref().unwrap_or_default();
        let present = format!("Container image {image:?} already present on machine");
        self.tell_of(name, NORMAL, "Pulled", &present);
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

    /// The container's own hook, in a task: a pod may have to end meanwhile. Until it has succeeded the
    /// container is neither started nor ready.
    async fn after_start(&mut self, container: &Container, attempt: u32) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return };
        let name = container.name.clone();
        if let Some(notes) = self.notes.get_mut(&name) {
            (notes.started, notes.ready) = (false, false);
        }
        self.posting.insert(name.clone(), attempt);
        match self.hook(container, hook).await {
            Ok(hook) => {
                self.posts.spawn(async move {
                    let outcome = hook.run(Duration::MAX).await;
                    Posted { name, attempt, outcome }
                });
            }
            Err(why) => self.after_post(Posted { name, attempt, outcome: Err(why) }).await,
        }
    }

    /// Goes on with a container whose hook has run; without its success it must not live on.
    pub(super) async fn after_post(&mut self, posted: Posted) {
        let Posted { name, attempt, outcome } = posted;
        if self.posting.get(&name) != Some(&attempt) {
            return;
        }
        self.posting.remove(&name);
        let spec = self.spec();
        let container = all(&spec).find(|container| container.name == name);
        if let (Some(container), Some(notes)) = (container, self.notes.get_mut(&name)) {
            notes.started = container.startup_probe.is_none();
            notes.ready = container.readiness_probe.is_none();
        }
        if let Err(why) = outcome {
            self.tell_of(&name, WARNING, "FailedPostStartHook", &format!("PostStartHook failed: {why}"));
            self.tell_of(&name, NORMAL, "Killing", "FailedPostStartHook");
            self.begin_end(&name, attempt, after_seconds(now(), self.grace()), Vec::new()).await;
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
        if reason == environment::REASON {
            self.tell_of(name, WARNING, "Failed", &format!("Error: {message}"));
            return;
        }
        // As a kubelet's image manager, which tells of the pull, and the one who wanted it.
        self.tell_of(name, WARNING, "Failed", &message);
        self.tell_of(name, WARNING, "Failed", &format!("Error: {reason}"));
        if reason == "ErrImagePull" {
            let spec = self.spec();
            let container = all(&spec).find(|container| container.name == name);
            let image = container.and_then(|container| container.image.as_deref()).unwrap_or_default();
            self.tell_of(name, NORMAL, "BackOff", &format!("Back-off pulling image {image:?}"));
        }
    }

    pub(super) async fn process(&mut self, container: &Container) -> Result<Process, Refusal> {
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

    fn image(&self, container: &Container) -> Result<images::Image, Refusal> {
        let name = container.image.as_deref().unwrap_or_default();
        let failed = |reason, why: String| Refusal {
            reason,
            message: format!("Failed to pull image {name:?}: {why}"),
        };
        let found = self.shared.options.images.resolve(name);
        let image = found.map_err(|e| failed(e.reason(), runtime::chain(&e)))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        image.check(&path).map_err(|e| failed("ErrImagePull", format!("image {name:?} {e}")))?;
        Ok(image.clone())
    }

    /// The signal that asks a container to end.
    pub(super) fn stop_signal(&self, container: &Container) -> Signal {
        let image = self.shared.options.images.resolve(container.image.as_deref().unwrap_or_default());
        image.map_or(Signal::SIGTERM, images::Image::stop_signal)
    }

    /// The ConfigMaps and Secrets that the pod refers to, those that there are; those that there were, if
    /// the store is away.
    pub(super) async fn sources(&mut self) -> Result<Sources, Refusal> {
        match read_sources(&self.shared.store, &self.pod).await {
            Ok(sources) => Ok(self.sources.insert(sources).clone()),
            Err(error) => self.sources.clone().ok_or_else(|| unread(error)),
        }
    }

    async fn services(&mut self) -> Result<Vec<Arc<Service>>, Refusal> {
        match read_services(&self.shared.store, &self.pod).await {
            Ok(services) => Ok(self.services.insert(services).clone()),
            Err(error) => self.services.clone().ok_or_else(|| unread(error)),
        }
    }
}

async fn read_sources(store: &Store, pod: &Pod) -> Result<Sources, StoreError> {
    let References { config_maps, secrets } = References::of(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut sources = Sources::default();
    for name in config_maps {
        let found: Option<ConfigMap> = store.get(namespace, &name).await?;
        sources.config_maps.extend(found.map(|object| (name, Arc::new(object))));
    }
    for name in secrets {
        let found: Option<Secret> = store.get(namespace, &name).await?;
        sources.secrets.extend(found.map(|object| (name, Arc::new(object))));
    }
    Ok(sources)
}

async fn read_services(store: &Store, pod: &Pod) -> Result<Vec<Arc<Service>>, StoreError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut services: Vec<Service> = store.list(Some(namespace)).await?;
    if namespace != "default" {
        services.extend(store.get("default", "kubernetes").await?);
    }
    Ok(services.into_iter().map(Arc::new).collect())
}

fn unread(error: StoreError) -> Refusal {
    Refusal { reason: environment::REASON, message: runtime::chain(&error) }
}
