//! The runtime: operations on networks, each a sequence of plugins (specification, section 3).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::cache::{Cache, Cached};
use crate::config::{ConfigError, NetworkList, Plugin};
use crate::error::{Error, Result};
use crate::exec::PluginExec;
use crate::failure::{Code, Reason};
use crate::locks::Locks;
use crate::request::{self, Attachment, Command};
use crate::result::AddResult;
use crate::version::PluginVersions;

mod call;

/// How long a plugin may take when nobody says otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The runtime side of CNI: calls the plugins of networks in the right order and remembers what they
/// did.
///
/// One value serves many tasks. It keeps the operations of a container apart, and GC of a network apart
/// from everything else in that network; other values and processes it knows nothing of. An operation
/// that is dropped kills the plugin that runs; nothing is undone, so that a DEL is due after an ADD.
#[derive(Debug)]
pub struct Cni<E> {
    exec: E,
    plugin_path: Vec<PathBuf>,
    cache: Cache,
    limit: Duration,
    locks: Locks,
}

/// An ADD that stopped.
struct Stopped {
    error: Error,
    /// How many plugins may have done something; none when there is no container to clean up.
    reached: Option<usize>,
}

impl<E: PluginExec> Cni<E> {
    /// A runtime that looks for plugins in the folders of `plugin_path`, remembers attachments below
    /// `cache_dir` (cnitool: `/var/lib/cni`), and grants `time_limit` to each plugin's run, see
    /// [`TIME_LIMIT`].
    pub fn new(
        exec: E,
        plugin_path: Vec<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        time_limit: Duration,
    ) -> Self {
        let (cache, locks) = (Cache::new(cache_dir.into()), Locks::default());
        Self { exec, plugin_path, cache, limit: time_limit, locks }
    }

    /// What runs the plugins.
    pub const fn exec(&self) -> &E {
        &self.exec
    }

    /// Attaches a container: ADD of every plugin in the order of the list, each with the result of the
    /// one before. The result of the last is kept for CHECK and DEL.
    ///
    /// When a plugin fails, or the result cannot be kept, what has been done is rolled back by DEL of
    /// every plugin in reverse, past those that fail. There is no need for it when a plugin is not there:
    /// then none is called; nor when the first one says that there is no container (code 3).
    ///
    /// # Errors
    /// [`Error::Attached`] when the container has an interface of that name already; what stopped the
    /// ADD; [`Error::RollBack`] around that when the roll-back failed, too.
    pub async fn add(&self, network: &NetworkList, attachment: &Attachment) -> Result<AddResult> {
        attachment.validate(true)?;
        let _turn = self.locks.turn(network.name(), &attachment.container_id).await;
        self.refuse_second(network, attachment)?;
        match self.add_all(network, attachment).await {
            Ok(result) => Ok(result),
            Err(Stopped { error, reached: None }) => Err(error),
            Err(Stopped { error, reached: Some(n) }) => {
                Err(self.roll_back(network, attachment, error, n).await)
            }
        }
    }

    /// Detaches a container: DEL of every plugin in reverse order, each with the result that the ADD
    /// ended with, and with its arguments. Then the result is forgotten.
    ///
    /// Detaching what is not attached is no mistake; plugins are called all the same. The namespace may
    /// be gone: name none then.
    ///
    /// # Errors
    /// The first plugin's that fails; those after it are not called, and the result is kept, so that DEL
    /// can be tried again.
    pub async fn del(&self, network: &NetworkList, attachment: &Attachment) -> Result<()> {
        attachment.validate(false)?;
        let _turn = self.locks.turn(network.name(), &attachment.container_id).await;
        self.del_all(network, attachment).await
    }

    /// Asks every plugin, in the order of the list, whether an attachment is as ADD left it. Plugins get
    /// the result and the arguments of the ADD. Nothing is asked where `disableCheck` is set.
    ///
    /// # Errors
    /// [`Error::TooOld`] below 0.4.0; [`Error::NotAttached`] when it is not there; the first
    /// plugin's that finds a fault.
    pub async fn check(&self, network: &NetworkList, attachment: &Attachment) -> Result<()> {
        attachment.validate(true)?;
        if network.disable_check() {
            return Ok(());
        }
        let (name, version) = (network.name(), network.version());
        if !version.has_check() {
            return Err(Error::TooOld { network: name.into(), command: Command::Check, version });
        }
        let Attachment { container_id, ifname, .. } = attachment;
        let _turn = self.locks.turn(name, container_id).await;
        let Some(cached) = self.cache.get(name, container_id, ifname)? else {
            let (container, ifname) = (container_id.clone(), ifname.clone());
            return Err(Error::NotAttached { network: name.into(), container, ifname });
        };
        let previous = cached.result(version)?;
        let attachment = as_added(attachment, &cached);
        for plugin in network.plugins() {
            self.attachment_call(Command::Check, network, plugin, &attachment, Some(&previous)).await?;
        }
        Ok(())
    }

    /// Cleans up: DEL of every attachment of the network that is cached and not among `valid` (container
    /// and interface), then, from 1.1.0 on, GC of every plugin with those that are valid. Nothing is done
    /// where `disableGC` is set.
    ///
    /// An attachment that was made after the call began counts as valid: the caller cannot have known
    /// it. ADD, DEL and CHECK in the network wait meanwhile.
    ///
    /// # Errors
    /// [`Error::Gc`] with everything that failed; nothing is left out because something else failed.
    pub async fn gc(&self, network: &NetworkList, valid: &[(String, String)]) -> Result<()> {
        if network.disable_gc() {
            return Ok(());
        }
        let known: BTreeSet<(String, String)> = self.names(network)?.into_iter().collect();
        let _whole = self.locks.whole(network.name()).await;
        let mut kept = valid.to_vec();
        let mut failures = Vec::new();
        for cached in self.cache.list()? {
            let name = (cached.attachment.container_id.clone(), cached.attachment.ifname.clone());
            if cached.network != network.name() || kept.contains(&name) {
                continue;
            }
            if !known.contains(&name) {
                kept.push(name);
                continue;
            }
            let _container = self.locks.container(&name.0).await;
            failures.extend(self.del_all(network, &cached.attachment).await.err());
        }
        if network.version().has_gc_and_status() {
            for plugin in network.plugins() {
                let config = request::gc_config(network, plugin, &kept);
                failures.extend(self.network_call(Command::Gc, network, plugin, config).await.err());
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::Gc { network: network.name().into(), failures })
    }

    /// Asks every plugin, in the order of the list, whether ADD would work. Below 1.1.0 there is no such
    /// question, and the answer is yes.
    ///
    /// # Errors
    /// The first plugin's that says no, see [`Error::code`]: 50 and 51 are made for this.
    pub async fn status(&self, network: &NetworkList) -> Result<()> {
        if !network.version().has_gc_and_status() {
            return Ok(());
        }
        for plugin in network.plugins() {
            let config = request::status_config(network, plugin);
            self.network_call(Command::Status, network, plugin, config).await?;
        }
        Ok(())
    }

    /// Asks a plugin, by its type, which versions of the specification it speaks.
    ///
    /// # Errors
    /// When it is not there or does not tell.
    pub async fn version(&self, plugin: &str) -> Result<PluginVersions> {
        self.ask_versions(None, plugin).await
    }

    /// The network, spoken to in the highest version that its configuration names and all its plugins
    /// speak. The specification leaves it to the runtime whether to ask; without, the highest that is
    /// named is used.
    ///
    /// # Errors
    /// When a plugin is not there or does not tell; [`Error::NoCommonVersion`].
    pub async fn negotiate(&self, network: &NetworkList) -> Result<NetworkList> {
        let mut common = network.versions().clone();
        let kinds: BTreeSet<&str> = network.plugins().iter().map(Plugin::kind).collect();
        for plugin in kinds {
            let versions = self.ask_versions(Some(network.name()), plugin).await?;
            let wanted = common.iter().copied().collect();
            common.retain(|version| versions.speaks(*version));
            if common.is_empty() {
                let (network, plugin) = (network.name().into(), plugin.into());
                return Err(Error::NoCommonVersion {
                    network,
                    plugin,
                    wanted,
                    supported: versions.supported,
                });
            }
        }
        Ok(common.last().map_or_else(|| network.clone(), |version| network.with_version(*version)))
    }

    /// What is remembered of an attachment.
    ///
    /// # Errors
    /// When its file cannot be read or holds something else.
    pub fn cached(&self, network: &str, container_id: &str, ifname: &str) -> Result<Option<Cached>> {
        self.cache.get(network, container_id, ifname)
    }

    /// The result of an attachment's ADD, in the network's version.
    ///
    /// # Errors
    /// When its file cannot be read or holds something else.
    pub fn cached_result(
        &self,
        network: &NetworkList,
        container_id: &str,
        ifname: &str,
    ) -> Result<Option<AddResult>> {
        let cached = self.cached(network.name(), container_id, ifname)?;
        cached.map(|cached| cached.result(network.version())).transpose()
    }

    /// All attachments that are remembered, of all networks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn attachments(&self) -> Result<Vec<Cached>> {
        self.cache.list()
    }

    /// Container and interface of the network's attachments.
    fn names(&self, network: &NetworkList) -> Result<Vec<(String, String)>> {
        let of_network = self.cache.list()?.into_iter().filter(|cached| cached.network == network.name());
        Ok(of_network.map(|cached| (cached.attachment.container_id, cached.attachment.ifname)).collect())
    }

    fn refuse_second(&self, network: &NetworkList, attachment: &Attachment) -> Result<()> {
        let Attachment { container_id, ifname, .. } = attachment;
        let same = |a: &Cached| a.attachment.container_id == *container_id && a.attachment.ifname == *ifname;
        if let Some(first) = self.cache.list()?.into_iter().find(same) {
            let Attachment { container_id: container, ifname, .. } = first.attachment;
            return Err(Error::Attached { network: first.network, container, ifname });
        }
        self.cache.refuse_clash(network.name(), container_id, ifname)
    }

    async fn add_all(&self, network: &NetworkList, attachment: &Attachment) -> Result<AddResult, Stopped> {
        let nothing = |error| Stopped { error, reached: None };
        // All of them before the first is run: half an attachment would only have to be undone.
        for plugin in network.plugins() {
            self.find(Some(network.name()), plugin.kind()).map_err(nothing)?;
        }
        let mut result: Option<AddResult> = None;
        for (i, plugin) in network.plugins().iter().enumerate() {
            match self.add_one(network, plugin, attachment, result.as_ref()).await {
                Ok(added) => result = Some(added),
                Err(error) if i == 0 && error.code() == Some(Code::UnknownContainer) => {
                    return Err(nothing(error));
                }
                Err(error) => {
                    let reached = Some(if refused(&error) { i } else { i + 1 });
                    return Err(Stopped { error, reached });
                }
            }
        }
        let result = result.ok_or_else(|| nothing(ConfigError::one("plugins: empty").into()))?;
        let reached = Some(network.plugins().len());
        self.cache.put(network, attachment, &result).map_err(|error| Stopped { error, reached })?;
        Ok(result)
    }

    /// DEL after a failed ADD. There is no final result to pass on, and a plugin that fails must not keep
    /// the others from cleaning up. What a plugin says that has done nothing is of no interest: what was
    /// wrong with its ADD is often wrong with its DEL.
    async fn roll_back(
        &self,
        network: &NetworkList,
        attachment: &Attachment,
        error: Error,
        reached: usize,
    ) -> Error {
        let mut failures = Vec::new();
        for (i, plugin) in network.plugins().iter().enumerate().rev() {
            let done = self.attachment_call(Command::Del, network, plugin, attachment, None).await;
            failures.extend(done.err().filter(|_| i < reached));
        }
        if failures.is_empty() {
            return error;
        }
        Error::RollBack { container: attachment.container_id.clone(), add: Box::new(error), failures }
    }

    async fn del_all(&self, network: &NetworkList, attachment: &Attachment) -> Result<()> {
        let Attachment { container_id, ifname, .. } = attachment;
        // DEL does what it can: a cached result that is unreadable or cannot be converted is as good as
        // none, which plugins must put up with, and its file goes with the attachment.
        let cached = self.cache.get(network.name(), container_id, ifname).ok().flatten();
        let previous = cached.as_ref().and_then(|cached| cached.result(network.version()).ok());
        let previous = previous.filter(|_| network.version().has_check());
        let as_added = cached.as_ref().map(|cached| as_added(attachment, cached));
        let attachment = as_added.as_ref().unwrap_or(attachment);
        for plugin in network.plugins().iter().rev() {
            self.attachment_call(Command::Del, network, plugin, attachment, previous.as_ref()).await?;
        }
        self.cache.remove(network.name(), container_id, ifname)
    }
}

/// Whether a plugin has surely done nothing: it did not run, or does not speak the version.
fn refused(error: &Error) -> bool {
    let unstarted = error.failure().is_some_and(|failure| matches!(failure.reason, Reason::Start(_)));
    unstarted || error.code() == Some(Code::IncompatibleVersion)
}

/// The caller's attachment with the arguments of its ADD: they must be the same (section 2, "CHECK").
fn as_added(attachment: &Attachment, cached: &Cached) -> Attachment {
    let Attachment { args, capability_args, .. } = cached.attachment.clone();
    Attachment { args, capability_args, ..attachment.clone() }
}

#[cfg(test)]
mod tests;
