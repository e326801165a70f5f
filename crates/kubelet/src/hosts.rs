//! A pod's host name, and its `/etc/hosts`.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go` (`GeneratePodHostNameAndDomain`,
//! `managedHostsFileContent`, `nodeHostsFileContent`), `pkg/kubelet/util/util_linux.go`
//! (`GetNodenameForKernel`).

use std::fmt::Write as _;

use api::types::api::core::v1::{HostAlias, Pod, PodSpec};

/// What the kernel takes is 64 bytes; Kubernetes leaves one of them.
const MOST_HOSTNAME: usize = 63;
/// `__NEW_UTS_LEN`.
const MOST_NODENAME: usize = 64;

/// What a pod is called within itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// Without dots, unless the pod's own name has some.
    pub hostname: String,
    /// As `web.default.svc.cluster.local`, if the pod has a subdomain.
    pub domain: Option<String>,
    /// The kernel is to know the whole name (`setHostnameAsFQDN`).
    as_fqdn: bool,
}

/// The whole name does not fit into the kernel. The pod is not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to construct FQDN from Pod hostname and cluster domain, FQDN {fqdn} is too long ({MOST_NODENAME} \
     characters is the max, {} characters requested)",
    fqdn.len()
)]
pub struct TooLong {
    /// The whole name.
    pub fqdn: String,
}

impl HostName {
    /// The name of a pod that has a network of its own, in a cluster whose domain is as `cluster.local`.
    ///
    /// It is `spec.hostname`, or else the pod's name, at most 63 characters of it.
    #[must_use]
    pub fn of(pod: &Pod, cluster_domain: &str) -> Self {
        let spec = pod.spec.as_ref();
        let set = |field: fn(&PodSpec) -> &Option<String>| {
            spec.and_then(|spec| field(spec).as_deref()).filter(|value| !value.is_empty())
        };
        let name = set(|spec| &spec.hostname).or(pod.metadata.name.as_deref()).unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let domain = set(|spec| &spec.subdomain)
            .map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
        let as_fqdn = spec.and_then(|spec| spec.set_hostname_as_fqdn).unwrap_or(false);
        Self { hostname: truncated(name), domain, as_fqdn }
    }

    /// With the domain, if there is one.
    #[must_use]
    pub fn fqdn(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}.{domain}", self.hostname),
            None => self.hostname.clone(),
        }
    }

    /// What `sethostname(2)` is to be told.
    ///
    /// # Errors
    /// It is to be the whole name, which is too long.
    pub fn nodename(&self) -> Result<String, TooLong> {
        if !self.as_fqdn {
            return Ok(self.hostname.clone());
        }
        let fqdn = self.fqdn();
        if fqdn.len() > MOST_NODENAME { Err(TooLong { fqdn }) } else { Ok(fqdn) }
    }
}

/// At most 63 characters, the last of which is neither dash nor dot.
fn truncated(name: &str) -> String {
    if name.len() <= MOST_HOSTNAME {
        return name.into();
    }
    let cut: String = name.chars().take(MOST_HOSTNAME).collect();
    cut.trim_end_matches(['-', '.']).into()
}

/// The file of a pod that has the addresses `pod_ips`.
#[must_use]
pub fn managed(pod: &Pod, name: &HostName, pod_ips: &[String]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let hostname = &name.hostname;
    for ip in pod_ips {
        // Writing to a text cannot fail.
        let _ = match &name.domain {
            Some(domain) => writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}"),
            None => writeln!(text, "{ip}\t{hostname}"),
        };
    }
    text + &of_aliases(pod)
}

/// The file of a pod on the network of its node, whose own file has the content `node_hosts`.
#[must_use]
pub fn of_host_network(pod: &Pod, node_hosts: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}{}", of_aliases(pod))
}

fn of_aliases(pod: &Pod) -> String {
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let line = |alias: &HostAlias| {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        format!("{}\t{}\n", alias.ip, names.join("\t"))
    };
    let lines: String = aliases.iter().map(line).collect();
    format!("\n# Entries added by HostAliases.\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    fn name(pod: &Pod) -> HostName {
        HostName::of(pod, "cluster.local")
    }

    #[test]
    fn a_pod_is_called_as_it_says_or_by_its_name() {
        let plain = name(&pod("web-0", json!({})));
        assert_eq!((plain.fqdn().as_str(), plain.domain), ("web-0", None));
        let own = name(&pod("web-0", json!({"hostname": "db", "subdomain": "data"})));
        assert_eq!(own.hostname, "db");
        assert_eq!(own.fqdn(), "db.data.shop.svc.cluster.local");
        assert_eq!(own.nodename().unwrap(), "db");
        // A subdomain is enough for a domain, and empty is as good as absent.
        let named = name(&pod("web-0", json!({"hostname": "", "subdomain": "data"})));
        assert_eq!(named.fqdn(), "web-0.data.shop.svc.cluster.local");
        assert_eq!(name(&pod("web-0", json!({"subdomain": ""}))).domain, None);
    }

    #[test]
    fn the_kernel_may_know_the_whole_name_if_it_fits() {
        let fqdn = json!({"subdomain": "data", "setHostnameAsFQDN": true});
        assert_eq!(name(&pod("a", fqdn.clone())).nodename().unwrap(), "a.data.shop.svc.cluster.local");
        let without = name(&pod("a", json!({"setHostnameAsFQDN": true})));
        assert_eq!(without.nodename().unwrap(), "a");
        let fits = "a".repeat(64 - ".data.shop.svc.cluster.local".len());
        assert_eq!(name(&pod(&fits, fqdn.clone())).nodename().unwrap().len(), 64);
        let long = name(&pod(&(fits + "a"), fqdn)).nodename().unwrap_err().to_string();
        assert!(long.ends_with("is too long (64 characters is the max, 65 characters requested)"), "{long}");
    }

    #[test]
    fn long_names_are_cut() {
        let table = [
            ("a".repeat(63), 63),
            ("a".repeat(64), 63),
            // It may not end in a dash or a dot.
            ("a".repeat(61) + "-.b", 61),
            ("a".repeat(62) + "-b", 62),
        ];
        for (long, length) in table {
            assert_eq!(name(&pod(&long, json!({}))).hostname, "a".repeat(length));
        }
    }

    #[test]
    fn files_are_as_the_kubelets() {
        let ips = ["11.10.0.5".to_owned(), "fd00::5".to_owned()];
        let aliases = json!([
            {"ip": "127.0.0.1", "hostnames": ["foo.local", "bar.local"]}, {"ip": "10.1.2.3", "hostnames": ["foo.remote"]},
        ]);
        let plain = pod("web-0", json!({}));
        let full = pod("web-0", json!({"hostname": "db", "subdomain": "data", "hostAliases": aliases}));
        insta::assert_snapshot!(
            [
                managed(&plain, &name(&plain), &ips[..1]),
                managed(&full, &name(&full), &ips),
                managed(&plain, &name(&plain), &[]),
                of_host_network(&full, "127.0.0.1\tlocalhost\n"),
                of_host_network(&plain, "127.0.0.1\tlocalhost\n"),
            ]
            .join("---\n")
        );
    }
}
