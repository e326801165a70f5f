//! What a container is started with: its environment, command line and working directory.
//!
//! All of it is decided here, from the pod, the ConfigMaps and Secrets that it refers to
//! ([`References::of`] says which) and the services that it may know. Nothing is read or written.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go` (`makeEnvironmentVariables`),
//! `pkg/kubelet/container/helpers.go` (`ExpandContainerCommandAndArgs`); for what an image adds,
//! containerd `internal/cri/server/container_create.go`.

mod amounts;
mod error;
mod expansion;
mod fields;
mod references;
mod services;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::types::api::core::v1::{
    ConfigMap, Container, EnvFromSource, EnvVar, EnvVarSource, Pod, Secret, Service,
};
use api::types::apimachinery::pkg::api::resource::Quantity;
use api::{field, names};

pub(crate) use amounts::container_resource;
pub use error::{ConfigError, REASON};
pub use expansion::expand;
pub(crate) use fields::metadata_field;
pub use references::References;
pub use services::service_variables;

use error::Object;

/// Where programs are looked for if nothing else is said (containerd `pkg/oci`, `defaultUnixEnv`).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The ConfigMaps and Secrets of a pod's namespace, by name. What is not here does not exist.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The ConfigMaps.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// The Secrets.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// What a container may be told of its pod and of the world.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The pod as it is stored.
    pub pod: &'a Pod,
    /// The pod's addresses, the first one first; none while it has no network.
    pub pod_ips: &'a [String],
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// What the node has to give (`status.allocatable`): the limit of a container without one.
    pub allocatable: &'a BTreeMap<String, Quantity>,
    /// ConfigMaps and Secrets.
    pub sources: &'a Sources,
    /// Services of at least the pod's namespace, and `kubernetes` of namespace `default`.
    pub services: &'a [Arc<Service>],
}

impl Context<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// The environment that the kubelet asks for; the image's comes below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Values by name.
    pub vars: BTreeMap<String, String>,
    /// Keys that cannot be names of variables, in the words of the kubelet's warning with the reason
    /// [`INVALID_NAMES`].
    pub skipped: Vec<String>,
}

/// Reason of the event that says which keys were skipped.
pub const INVALID_NAMES: &str = "InvalidEnvironmentVariableNames";

/// What an image says of the containers that are made of it (OCI image configuration, `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, unless the container has its own; the whole command line if there is no
    /// entrypoint.
    pub cmd: Vec<String>,
    /// Variables, unless the container has its own of that name.
    pub env: BTreeMap<String, String>,
    /// Where it is started; empty for `/`.
    pub working_dir: PathBuf,
}

/// Everything that `execve(2)` wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Values by name.
    pub env: BTreeMap<String, String>,
    /// Where it is started.
    pub working_dir: PathBuf,
    /// As [`Environment::skipped`].
    pub skipped: Vec<String>,
}

/// How a container is started, whose host is called `hostname`.
///
/// # Errors
/// What the container refers to is not there, or there is no command.
pub fn invocation(
    container: &Container,
    image: &Image,
    hostname: &str,
    context: &Context<'_>,
) -> Result<Invocation, ConfigError> {
    let Environment { vars, skipped } = environment(container, context)?;
    let argv = command_line(container, image, &vars)?;
    let mut env = BTreeMap::from([("PATH".into(), PATH.into()), ("HOSTNAME".into(), hostname.into())]);
    env.extend(image.env.clone());
    env.extend(vars);
    let own = container.working_dir.as_deref().filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let image_dir = || Some(image.working_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
    let working_dir = own.or_else(image_dir).unwrap_or_else(|| "/".into());
    Ok(Invocation { argv, env, working_dir, skipped })
}

/// The variables of a container, without those of its image.
///
/// Later ones of `envFrom` win over earlier ones, those of `env` over both, and all over those that tell
/// of services. `$(NAME)` means what was declared before, or a service's variable.
///
/// # Errors
/// What it refers to is not there, unless that is optional.
pub fn environment(container: &Container, context: &Context<'_>) -> Result<Environment, ConfigError> {
    let links = context.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let of_services = service_variables(context.services, context.namespace(), links);
    let mut environment = Environment::default();
    for from in container.env_from.iter().flatten() {
        env_from(from, context, &mut environment)?;
    }
    let vars = &mut environment.vars;
    for var in container.env.iter().flatten() {
        let lookup = |name: &str| vars.get(name).or_else(|| of_services.get(name)).cloned();
        if let Some(value) = value(var, container, context, lookup)? {
            vars.insert(var.name.clone(), value);
        }
    }
    for (name, value) in of_services {
        vars.entry(name).or_insert(value);
    }
    match vars.iter().find(|(_, value)| value.contains('\0')) {
        Some((name, _)) => Err(ConfigError::Nul(name.clone())),
        None => Ok(environment),
    }
}

/// A container's program and arguments. `command` stands for the image's entrypoint and cmd, `args` for
/// its cmd.
///
/// # Errors
/// Neither the container nor the image has a command.
pub fn command_line(
    container: &Container,
    image: &Image,
    vars: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let (mut argv, mut args) = command_and_args(container, vars);
    if argv.is_empty() {
        argv.clone_from(&image.entrypoint);
        if args.is_empty() {
            args.clone_from(&image.cmd);
        }
    }
    argv.append(&mut args);
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(ConfigError::NulArgument);
    }
    if argv.is_empty() { Err(ConfigError::NoCommand) } else { Ok(argv) }
}

/// A container's own `command` and `args`, with values in place of `$(NAME)`.
#[must_use]
pub fn command_and_args(
    container: &Container,
    vars: &BTreeMap<String, String>,
) -> (Vec<String>, Vec<String>) {
    let expanded = |words: &Option<Vec<String>>| {
        let words = words.iter().flatten();
        words.map(|word| expand(word, |name| vars.get(name).cloned())).collect()
    };
    (expanded(&container.command), expanded(&container.args))
}

/// The command of an exec probe or a hook: `$(NAME)` means the plain `value` of the container's variable,
/// and nothing of what was looked up (`ExpandContainerCommandOnlyStatic`).
#[must_use]
pub fn static_command(command: &[String], container: &Container) -> Vec<String> {
    let vars: BTreeMap<&str, &str> = container
        .env
        .iter()
        .flatten()
        .map(|var| (var.name.as_str(), var.value.as_deref().unwrap_or_default()))
        .collect();
    command.iter().map(|word| expand(word, |name| vars.get(name).map(|&value| value.into()))).collect()
}

/// Adds a whole ConfigMap or Secret.
fn env_from(
    from: &EnvFromSource,
    context: &Context<'_>,
    environment: &mut Environment,
) -> Result<(), ConfigError> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let (object, data) = if let Some(one) = &from.config_map_ref {
        let object = Object::config_map(context, &one.name);
        let Some(found) = object.optional(context.sources.config_maps.get(&one.name), one.optional)? else {
            return Ok(());
        };
        (object, found.data.clone().unwrap_or_default())
    } else if let Some(one) = &from.secret_ref {
        let object = Object::secret(context, &one.name);
        let Some(found) = object.optional(context.sources.secrets.get(&one.name), one.optional)? else {
            return Ok(());
        };
        let data = found.data.iter().flatten();
        let texts = data.map(|(key, value)| Ok((key.clone(), object.text(key, &value.0)?)));
        (object.clone(), texts.collect::<Result<_, ConfigError>>()?)
    } else {
        return Ok(());
    };
    let named = data.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value));
    let (good, bad): (BTreeMap<_, _>, BTreeMap<_, _>) =
        named.partition(|(name, _)| names::env_name(name).is_empty());
    environment.vars.extend(good);
    if !bad.is_empty() {
        let keys: Vec<_> = bad.into_keys().collect();
        environment.skipped.push(format!(
            "Keys [{}] from the EnvFrom {} {}/{} were skipped since they are considered invalid environment \
             variable names.",
            keys.join(", "),
            object.in_events(),
            object.namespace,
            object.name
        ));
    }
    Ok(())
}

/// The value of one variable; none if what it comes from is optional and not there.
fn value(
    var: &EnvVar,
    container: &Container,
    context: &Context<'_>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, ConfigError> {
    match (var.value.as_deref().filter(|value| !value.is_empty()), &var.value_from) {
        (Some(value), _) => Ok(Some(expand(value, lookup))),
        (None, Some(from)) => value_from(from, container, context),
        (None, None) => Ok(Some(String::new())),
    }
}

fn value_from(
    from: &EnvVarSource,
    container: &Container,
    context: &Context<'_>,
) -> Result<Option<String>, ConfigError> {
    if let Some(one) = &from.field_ref {
        return fields::pod_field(&one.field_path, context).map(Some);
    }
    if let Some(one) = &from.resource_field_ref {
        return container_resource(one, context.pod, Some(container), context.allocatable).map(Some);
    }
    if let Some(one) = &from.config_map_key_ref {
        let object = Object::config_map(context, &one.name);
        let found = object.optional(context.sources.config_maps.get(&one.name), one.optional)?;
        let Some(found) = found else { return Ok(None) };
        let value = found.data.as_ref().and_then(|data| data.get(&one.key));
        return object.key(&one.key, value, one.optional).map(|value| value.cloned());
    }
    if let Some(one) = &from.secret_key_ref {
        let object = Object::secret(context, &one.name);
        let found = object.optional(context.sources.secrets.get(&one.name), one.optional)?;
        let Some(found) = found else { return Ok(None) };
        let value = found.data.as_ref().and_then(|data| data.get(&one.key));
        let value = object.key(&one.key, value, one.optional)?;
        return value.map(|value| object.text(&one.key, &value.0)).transpose();
    }
    Ok(Some(String::new()))
}

/// Text in double quotes, as Go writes it.
fn quoted(text: &str) -> String {
    field::quoted(text)
}

#[cfg(test)]
mod tests;
