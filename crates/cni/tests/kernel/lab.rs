//! A host with plugins, and containers.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{AddResult, Attachment, Cni, NetworkList, ProcessExec, TIME_LIMIT};
use net::ping::ping_all;
use net::{Links, NetNs};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{in_ns, netns};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A network namespace in which plugins run, and a folder for all that they write.
pub(crate) struct Lab {
    pub(crate) host: NetNs,
    pub(crate) folder: TempDir,
    pub(crate) cni: Cni<ProcessExec>,
}

/// A container's namespace, and the way in which plugins find it.
pub(crate) struct Container {
    pub(crate) ns: NetNs,
    pub(crate) path: PathBuf,
    pub(crate) attachment: Attachment,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        let path = vec![folder.path().join("plugins"), debian()];
        let cni = Cni::new(ProcessExec::new(), path, folder.path().join("cache"), TIME_LIMIT);
        Self { host: netns(), folder, cni }
    }

    /// A plugin in shell.
    pub(crate) fn plugin(&self, name: &str, text: &str) {
        let path = self.folder.path().join("plugins").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Debian's bridge with host-local, and more plugins after it.
    pub(crate) fn bridge(&self, version: &str, more: &[Value]) -> NetworkList {
        let mut plugins = vec![json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.path().join("ipam"),
                "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        })];
        plugins.extend_from_slice(more);
        list(&json!({"cniVersion": version, "name": "dbnet", "plugins": plugins}))
    }

    /// Runs one of the runtime's operations on the host.
    pub(crate) fn on_host<T: Send>(&self, operation: impl Future<Output = T> + Send) -> T {
        in_ns(&self.host, operation)
    }

    pub(crate) fn add(&self, network: &NetworkList, container: &Container) -> AddResult {
        self.on_host(self.cni.add(network, &container.attachment)).unwrap()
    }

    pub(crate) fn del(&self, network: &NetworkList, container: &Container) {
        self.on_host(self.cni.del(network, &container.attachment)).unwrap();
    }

    /// Addresses that host-local has given away.
    pub(crate) fn leases(&self, network: &str) -> BTreeSet<Ipv4Addr> {
        let folder = self.folder.path().join("ipam").join(network);
        let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect()
    }

    /// The host's links of a kind, as `veth`.
    pub(crate) fn links(&self, kind: &str) -> usize {
        let links = self.on_host(async { Links::open()?.list().await }).unwrap();
        links.iter().filter(|link| link.kind.as_deref() == Some(kind)).count()
    }
}

impl Container {
    pub(crate) fn new() -> Self {
        Self::of(netns())
    }

    pub(crate) fn of(ns: NetNs) -> Self {
        // No mount is needed: a descriptor of this process is a path, too.
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd()));
        let attachment = Attachment {
            container_id: cni::tool::container_id(&path),
            netns: Some(path.clone()),
            ifname: "eth0".into(),
            ..Attachment::default()
        };
        Self { ns, path, attachment }
    }

    pub(crate) fn ping(&self, to: Ipv4Addr) {
        let times = self.ns.run(|| ping_all(&[to], LIMIT)).unwrap();
        assert!(times[0].is_some(), "no answer from {to}");
    }

    pub(crate) fn has_link(&self, name: &str) -> bool {
        in_ns(&self.ns, async { Links::open()?.list().await }).unwrap().iter().any(|link| link.name == name)
    }
}

/// The container's address.
pub(crate) fn address(result: &AddResult) -> Ipv4Addr {
    match result.ips_of("eth0").next().map(|ip| ip.address.ip()) {
        Some(std::net::IpAddr::V4(ip)) => ip,
        other => panic!("no address of eth0 but {other:?} in {}", result.pretty()),
    }
}

pub(crate) fn list(value: &Value) -> NetworkList {
    NetworkList::parse(value.to_string().as_bytes()).unwrap()
}

/// The folder of the plugins that others make.
pub(crate) fn debian() -> PathBuf {
    let needed = ["bridge", "host-local", "loopback", "portmap"];
    let has_all = |folder: &&str| needed.iter().all(|plugin| Path::new(folder).join(plugin).is_file());
    match cni::tool::PLUGINS.into_iter().find(has_all) {
        Some(folder) => folder.into(),
        None => panic!(
            "this test runs the CNI plugins {}: apt-get install containernetworking-plugins",
            needed.join(", ")
        ),
    }
}
