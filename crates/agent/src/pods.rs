//! What the kubelet needs to run pods.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use images::Table;
use ipnetwork::Ipv4Network;
use tokio::sync::watch;

use crate::plugins::CniFiles;
use crate::{Error, Options};

/// The cluster's domain.
const ZONE: &str = "cluster.local";

/// The kubelet's options; `lease` is the node's share of the pod network.
pub(crate) fn options(
    options: &Options,
    files: CniFiles,
    lease: watch::Receiver<Option<Ipv4Network>>,
) -> Result<kubelet::Options, Error> {
    Ok(kubelet::Options {
        cluster: options.cluster.clone(),
        node: options.node.clone(),
        address: options.address,
        runtime: cri::Options {
            folder: sandboxes(&options.folder),
            netns: "/run/netns".into(),
            etc_netns: "/etc/netns".into(),
            logs: options.logs.clone(),
            hidden: state_folder(&options.logs).map(Path::to_owned).into_iter().collect(),
        },
        plugin_path: files.plugin_path,
        net_dir: files.net_dir,
        cache_dir: files.cache_dir,
        images: images(&options.images)?,
        cluster_dns: topology::dns_address(options.service_network)
            .filter(|_| options.dns)
            .into_iter()
            .map(IpAddr::V4)
            .collect(),
        zone: ZONE.into(),
        lease,
    })
}

fn images(file: &Path) -> Result<Table, Error> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Error::System { what: "read the images", source })?;
    Ok(Table::builtin()?.with(Table::parse(&text, &file.to_string_lossy())?))
}

/// The lab's state, which no pod should see: the logs are in its `logs/pods/<cluster>`.
fn state_folder(logs: &Path) -> Option<&Path> {
    logs.ancestors().nth(3).filter(|folder| folder.join("logs").is_dir())
}

/// The sandboxes of all workers are in one folder, beside the workers' own: whoever enters a pod knows its
/// name and not its worker.
fn sandboxes(folder: &Path) -> PathBuf {
    folder.with_file_name("pods")
}
