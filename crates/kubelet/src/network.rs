//! A sandbox's network: what CNI does for it.

use std::collections::BTreeSet;
use std::path::Path;

use api::types::api::core::v1::Pod;
use cni::{Attachment, Cached, NetworkList, Version};
use cri::SandboxSpec;
use serde_json::{Map, Value, json};

use crate::pods::{PLUGINS_AT_A_TIME, Shared};

/// The interface that a pod's address is on.
const INTERFACE: &str = "eth0";

/// What can keep a pod from its network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no network to attach to.
    #[error("no networks found in {folder}")]
    NoNetwork {
        /// Where the configurations are.
        folder: String,
    },
    /// No configuration is usable.
    #[error("no usable network in {folder}")]
    Unusable {
        /// Where the configurations are.
        folder: String,
        /// What is wrong with the first.
        #[source]
        source: cni::ConfigError,
    },
    /// A plugin failed, or could not be run.
    #[error(transparent)]
    Cni(#[from] cni::Error),
    /// What is remembered of the sandbox could not be removed.
    #[error(transparent)]
    Sandbox(#[from] cri::Error),
    /// The plugins gave no address.
    #[error("network {network} gave the pod no address on {INTERFACE}")]
    NoAddress {
        /// The network.
        network: String,
    },
}

/// Attaches a pod's sandbox; gives its addresses.
pub(crate) async fn attach(
    shared: &Shared,
    pod: &Pod,
    spec: &SandboxSpec,
    netns: &Path,
) -> Result<Vec<String>, Error> {
    let network = network(&shared.options.net_dir)?;
    let attachment = Attachment {
        netns: Some(netns.into()),
        args: arguments(spec),
        capability_args: capabilities(pod),
        ..named(spec)
    };
    // Closed only with the program.
    let _turn = shared.plugins.acquire().await;
    let result = shared.cni.add(&network, &attachment).await?;
    let ips: Vec<String> = result.ips_of(INTERFACE).map(|ip| ip.address.ip().to_string()).collect();
    if ips.is_empty() {
        return Err(Error::NoAddress { network: network.name().into() });
    }
    Ok(ips)
}

/// The addresses of a sandbox that was attached before, by another agent perhaps, and to a network that
/// was configured otherwise then.
pub(crate) fn attached(shared: &Shared, spec: &SandboxSpec) -> Option<Vec<String>> {
    let cached = remembered(shared, &spec.id)?;
    let version = cached.network_list().map_or(Version::LATEST, |network| network.version());
    let result = cached.result(version).ok()?;
    let ips: Vec<String> = result.ips_of(INTERFACE).map(|ip| ip.address.ip().to_string()).collect();
    (!ips.is_empty()).then_some(ips)
}

/// Detaches a sandbox from the network that it was attached to, as that was configured then; without a
/// namespace, because that is gone already.
pub(crate) async fn detach(shared: &Shared, spec: &SandboxSpec, netns: Option<&Path>) -> Result<(), Error> {
    if spec.host_network {
        return Ok(());
    }
    let network = network_of(shared, &spec.id)?;
    let attachment = Attachment { netns: netns.map(Into::into), args: arguments(spec), ..named(spec) };
    let _turn = shared.plugins.acquire().await;
    Ok(shared.cni.del(&network, &attachment).await?)
}

/// Gives back what a sandbox held that has ended, and forgets it.
pub(crate) async fn settle(shared: &Shared, spec: &SandboxSpec) -> Result<(), Error> {
    detach(shared, spec, None).await?;
    Ok(shared.runtime.settle(spec)?)
}

/// The attachments of pods that have no sandbox, not even one that has ended: `known` are the ids of those.
/// What others have attached, as by hand, is not the kubelet's.
pub(crate) fn strays(shared: &Shared, known: &BTreeSet<String>) -> Result<Vec<Cached>, Error> {
    let of_pod = |cached: &Cached| cached.attachment.args.iter().any(|(name, _)| name == "K8S_POD_UID");
    let mut all = shared.cni.attachments()?;
    all.retain(|cached| of_pod(cached) && !known.contains(&cached.attachment.container_id));
    Ok(all)
}

/// Gives back what a stray holds.
pub(crate) async fn detach_stray(shared: &Shared, stray: &Cached) -> Result<(), Error> {
    let network = network_of(shared, &stray.attachment.container_id)?;
    let attachment = Attachment { netns: None, ..stray.attachment.clone() };
    let _turn = shared.plugins.acquire().await;
    Ok(shared.cni.del(&network, &attachment).await?)
}

/// Has the plugins remove what they remember of whatever is not attached any more, if they can.
pub(crate) async fn collect(shared: &Shared) -> Result<(), Error> {
    let network = network(&shared.options.net_dir)?;
    // All turns: whatever is being attached meanwhile would not be known.
    let _turns = shared.plugins.acquire_many(PLUGINS_AT_A_TIME).await;
    let attachments = shared.cni.attachments()?.into_iter().map(|cached| cached.attachment);
    let valid: Vec<_> = attachments.map(|known| (known.container_id, known.ifname)).collect();
    Ok(shared.cni.gc(&network, &valid).await?)
}

/// What is remembered of a sandbox's attachment.
fn remembered(shared: &Shared, id: &str) -> Option<Cached> {
    let mut attachments = shared.cni.attachments().ok()?.into_iter();
    attachments.find(|cached| cached.attachment.container_id == id && cached.attachment.ifname == INTERFACE)
}

/// The network that a sandbox is attached to; if none is remembered, as the ADD was not finished, today's.
fn network_of(shared: &Shared, id: &str) -> Result<NetworkList, Error> {
    match remembered(shared, id).map(|cached| cached.network_list()) {
        Some(Ok(network)) => Ok(network),
        _ => network(&shared.options.net_dir),
    }
}

/// Whether the network's plugins clean up by the namespace being gone: they need it only to find what
/// `ipMasq` has put elsewhere. Letting it go first is three times cheaper than having plugins take it apart.
pub(crate) fn may_go_first(shared: &Shared, spec: &SandboxSpec) -> bool {
    network_of(shared, &spec.id).is_ok_and(|network| {
        network.plugins().iter().all(|plugin| {
            let masquerades = |config: &Map<String, Value>| config.get("ipMasq") == Some(&Value::Bool(true));
            let delegate = plugin.raw().get("delegate").and_then(Value::as_object);
            matches!(plugin.kind(), "flannel" | "bridge" | "portmap" | "ptp" | "macvlan" | "ipvlan")
                && !masquerades(plugin.raw())
                && !delegate.is_some_and(masquerades)
        })
    })
}

/// The first good network, as a kubelet's runtime takes it.
fn network(folder: &Path) -> Result<NetworkList, Error> {
    let text = || folder.display().to_string();
    let unusable = |source| Error::Unusable { folder: text(), source };
    let mut bad = None;
    for loaded in cni::config::load_all(folder).map_err(unusable)? {
        match loaded.list {
            Ok(network) => return Ok(network),
            Err(error) => bad = bad.or(Some(error)),
        }
    }
    Err(bad.map_or_else(|| Error::NoNetwork { folder: text() }, unusable))
}

fn named(spec: &SandboxSpec) -> Attachment {
    Attachment { container_id: spec.id.clone(), ifname: INTERFACE.into(), ..Attachment::default() }
}

/// As containerd passes them (`internal/cri/server/podsandbox/sandbox_run.go`, `cniNamespaceOpts`).
fn arguments(spec: &SandboxSpec) -> Vec<(String, String)> {
    [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &spec.namespace),
        ("K8S_POD_NAME", &spec.pod),
        ("K8S_POD_INFRA_CONTAINER_ID", &spec.id),
        ("K8S_POD_UID", &spec.uid),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The ports that the pod wants on its node.
fn capabilities(pod: &Pod) -> Map<String, Value> {
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|c| c.ports.iter().flatten());
    let mappings: Vec<Value> = ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            let host_ip = port.host_ip.clone().unwrap_or_default();
            Some(json!({
                "hostPort": host_port,
                "containerPort": port.container_port,
                "protocol": protocol,
                "hostIP": host_ip,
            }))
        })
        .collect();
    let mut capabilities = Map::new();
    if !mappings.is_empty() {
        capabilities.insert("portMappings".into(), mappings.into());
    }
    capabilities
}
