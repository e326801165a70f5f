//! One call of one plugin, and what its end means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Cni;
use crate::config::{NetworkList, Plugin};
use crate::error::{Error, Result};
use crate::exec::{Call, ExecError, Output, PluginExec};
use crate::failure::{Failure, PluginError, Reason};
use crate::request::{self, Attachment, Command};
use crate::result::AddResult;
use crate::version::PluginVersions;

/// Whom a call goes to.
#[derive(Clone, Copy)]
struct Target<'a> {
    network: Option<&'a str>,
    plugin: &'a str,
    path: &'a Path,
    command: Command,
}

impl<E: PluginExec> Cni<E> {
    pub(super) fn find(&self, network: Option<&str>, plugin: &str) -> Result<PathBuf> {
        self.exec.find(plugin, &self.plugin_path).ok_or_else(|| Error::NoPlugin {
            network: network.map(String::from),
            plugin: plugin.into(),
            path: self.plugin_path.clone(),
        })
    }

    pub(super) async fn add_one(
        &self,
        network: &NetworkList,
        plugin: &Plugin,
        attachment: &Attachment,
        previous: Option<&AddResult>,
    ) -> Result<AddResult> {
        let path = self.find(Some(network.name()), plugin.kind())?;
        let target = Target::of(network, plugin, &path, Command::Add);
        let config = request::attachment_config(network, plugin, previous, &attachment.capability_args);
        let environment = request::environment(Command::Add, Some(attachment), &self.plugin_path)?;
        let output = self.call(target, environment, config).await?;
        // Whatever version the plugin answered in, the next one gets the network's.
        AddResult::parse(&output.stdout, network.version())
            .map(|result| result.convert(network.version()))
            .map_err(|why| target.bad_output(why, &output))
    }

    /// CHECK or DEL: the answer is that there is no error.
    pub(super) async fn attachment_call(
        &self,
        command: Command,
        network: &NetworkList,
        plugin: &Plugin,
        attachment: &Attachment,
        previous: Option<&AddResult>,
    ) -> Result<()> {
        let path = self.find(Some(network.name()), plugin.kind())?;
        let config = request::attachment_config(network, plugin, previous, &attachment.capability_args);
        let environment = request::environment(command, Some(attachment), &self.plugin_path)?;
        self.call(Target::of(network, plugin, &path, command), environment, config).await.map(drop)
    }

    /// GC or STATUS: the answer is that there is no error.
    pub(super) async fn network_call(
        &self,
        command: Command,
        network: &NetworkList,
        plugin: &Plugin,
        config: Vec<u8>,
    ) -> Result<()> {
        let path = self.find(Some(network.name()), plugin.kind())?;
        let environment = request::environment(command, None, &self.plugin_path)?;
        self.call(Target::of(network, plugin, &path, command), environment, config).await.map(drop)
    }

    pub(super) async fn ask_versions(&self, network: Option<&str>, plugin: &str) -> Result<PluginVersions> {
        let path = self.find(network, plugin)?;
        let target = Target { network, plugin, path: &path, command: Command::Version };
        let environment = request::environment(Command::Version, None, &self.plugin_path)?;
        let output = self.call(target, environment, request::version_config()).await?;
        PluginVersions::parse(&output.stdout).map_err(|why| target.bad_output(why, &output))
    }

    async fn call(
        &self,
        target: Target<'_>,
        environment: BTreeMap<&'static str, OsString>,
        stdin: Vec<u8>,
    ) -> Result<Output> {
        let limit = self.limit;
        let call = Call { path: target.path.into(), environment, stdin, limit };
        let output = match self.exec.run(&call).await {
            Ok(output) => output,
            Err(ExecError::Start(e)) => return Err(target.failure(Reason::Start(e), &[])),
            Err(ExecError::Pipe(e)) => return Err(target.failure(Reason::Pipe(e), &[])),
            Err(ExecError::TimedOut { ended, stderr }) => {
                return Err(target.failure(Reason::TimedOut { limit, ended }, &stderr));
            }
        };
        if output.status.success() {
            return Ok(output);
        }
        let status = output.status;
        let reason = match PluginError::parse(&output.stdout) {
            Some(error) => Reason::Answer { status, error },
            None => Reason::Exit { status, stdout: lossy(&output.stdout) },
        };
        Err(target.failure(reason, &output.stderr))
    }
}

impl<'a> Target<'a> {
    fn of(network: &'a NetworkList, plugin: &'a Plugin, path: &'a Path, command: Command) -> Self {
        Self { network: Some(network.name()), plugin: plugin.kind(), path, command }
    }

    fn failure(self, reason: Reason, stderr: &[u8]) -> Error {
        Failure {
            network: self.network.map(String::from),
            plugin: self.plugin.into(),
            path: self.path.into(),
            command: self.command,
            reason,
            stderr: lossy(stderr),
        }
        .into()
    }

    fn bad_output(self, why: String, output: &Output) -> Error {
        self.failure(Reason::Output { why, stdout: lossy(&output.stdout) }, &output.stderr)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
