//! A sandbox's network: what CNI does for it.

use std::path::Path;

use api::types::api::core::v1::Pod;
use cni::{Attachment, NetworkList};
use cri::SandboxSpec;
use serde_json::{Map, Value, json};

use crate::pods::Shared;

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

/// The addresses of a sandbox that was attached before, by another agent perhaps.
pub(crate) fn attached(shared: &Shared, spec: &SandboxSpec) -> Option<Vec<String>> {
    let attachments = shared.cni.attachments().ok()?;
    let mine = attachments.into_iter().find(|cached| cached.attachment.container_id == spec.id)?;
    let network = network(&shared.options.net_dir).ok()?;
    let result = shared.cni.cached_result(&network, &spec.id, INTERFACE).ok().flatten()?;
    let ips: Vec<String> = result.ips_of(INTERFACE).map(|ip| ip.address.ip().to_string()).collect();
    (mine.network == network.name() && !ips.is_empty()).then_some(ips)
}

/// Detaches a sandbox; without a namespace, because that is gone already.
pub(crate) async fn detach(shared: &Shared, spec: &SandboxSpec, netns: Option<&Path>) -> Result<(), Error> {
    if spec.host_network {
        return Ok(());
    }
    let network = network(&shared.options.net_dir)?;
    let attachment = Attachment { netns: netns.map(Into::into), args: arguments(spec), ..named(spec) };
    let _turn = shared.plugins.acquire().await;
    Ok(shared.cni.del(&network, &attachment).await?)
}

/// Whether the network's plugins clean up by the namespace being gone: they need it only to find what
/// `ipMasq` has put elsewhere. Letting it go first is three times cheaper than having plugins take it apart.
pub(crate) fn may_go_first(shared: &Shared) -> bool {
    network(&shared.options.net_dir).is_ok_and(|network| {
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
