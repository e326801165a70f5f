//! A pod's `resolv.conf(5)`, as the kubelet makes it.
//!
//! Sources: kubernetes `pkg/kubelet/network/dns/dns.go` and, for the text, containerd's
//! `internal/cri/server/podsandbox/sandbox_run_linux.go` (`parseDNSOptions`). Limits: kubernetes
//! `pkg/apis/core/validation/validation.go` (`MaxDNSNameservers` and those behind it, KEP-2595).

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{PodDNSConfigOption, PodSpec};

use crate::names::SUBDOMAIN_MAX;

/// The most name servers of a pod; glibc reads no more (`MAXNS`).
pub const NAMESERVERS_MAX: usize = 3;
/// The most search domains of a pod.
pub const SEARCHES_MAX: usize = 32;
/// The most characters of a pod's search domains, with the spaces between them.
pub const SEARCH_CHARS_MAX: usize = 2048;

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Addresses, in the order in which they are asked.
    pub nameservers: Vec<String>,
    /// What is appended to short names, in that order.
    pub searches: Vec<String>,
    /// As `ndots:5`.
    pub options: Vec<String>,
}

/// What a cluster's pods are told of its DNS (the kubelet's `clusterDNS`, `clusterDomain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterDns<'a> {
    /// The addresses of its DNS service; none where there is no such service.
    pub addresses: &'a [IpAddr],
    /// As `cluster.local`; may be empty.
    pub zone: &'a str,
}

/// A pod's file, and what there is to say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodResolv {
    /// The file; [`ResolvConf`]'s `Display` is its text.
    pub conf: ResolvConf,
    /// What was left out or replaced; the kubelet tells each as an event of the pod
    /// (`DNSConfigForming`, `MissingClusterDNS`).
    pub warnings: Vec<String>,
}

enum Base {
    Cluster,
    Node,
    Empty,
}

/// The `resolv.conf` of a pod in `namespace`; `node` is the text of its node's own, none where the node
/// has none.
///
/// By `dnsPolicy`: `ClusterFirst` (also if nothing is said) has the cluster's DNS and search domains, the
/// node's search domains behind them and `ndots:5`; on the host's network that is so only with
/// `ClusterFirstWithHostNet`; `Default` is the node's file; `None` is empty. To each of them `dnsConfig`
/// is added, and of all no more is left than the limits allow.
///
/// Different from the kubelet: a line of the node's file that says nothing is a warning, not a reason
/// not to start the pod; and options stay in their order, where the kubelet's come in any.
#[must_use]
pub fn for_pod(spec: &PodSpec, namespace: &str, cluster: ClusterDns<'_>, node: Option<&str>) -> PodResolv {
    let mut warnings = Vec::new();
    let node_conf = node.map(|text| ResolvConf::parse(text, &mut warnings));
    let mut conf = match base(spec, cluster, &mut warnings) {
        Base::Cluster => ResolvConf {
            nameservers: cluster.addresses.iter().map(IpAddr::to_string).collect(),
            searches: cluster_searches(namespace, cluster.zone, node_conf.unwrap_or_default().searches),
            options: vec!["ndots:5".into()],
        },
        // Without any file a resolver asks its own machine; a search domain `.` keeps it from
        // guessing one by the machine's name.
        Base::Node => node_conf.unwrap_or_else(|| ResolvConf {
            nameservers: vec!["127.0.0.1".into()],
            searches: vec![".".into()],
            options: vec![],
        }),
        Base::Empty => ResolvConf::default(),
    };
    if let Some(own) = &spec.dns_config {
        conf.nameservers.extend(own.nameservers.iter().flatten().cloned());
        conf.searches.extend(own.searches.iter().flatten().cloned());
        omit_duplicates(&mut conf.nameservers);
        omit_duplicates(&mut conf.searches);
        conf.options = merge(&conf.options, own.options.as_deref().unwrap_or_default());
    }
    limit_nameservers(&mut conf.nameservers, &mut warnings);
    limit_searches(&mut conf.searches, &mut warnings);
    PodResolv { conf, warnings }
}

/// (`getPodDNSType`)
fn base(spec: &PodSpec, cluster: ClusterDns<'_>, warnings: &mut Vec<String>) -> Base {
    let on_host = spec.host_network == Some(true);
    match spec.dns_policy.as_deref() {
        Some("None") => return Base::Empty,
        Some("Default") => return Base::Node,
        Some("ClusterFirst") | None if on_host => return Base::Node,
        _ => {}
    }
    if cluster.addresses.is_empty() {
        warnings.push("there is no cluster DNS: policy \"Default\" instead of \"ClusterFirst\"".into());
        return Base::Node;
    }
    Base::Cluster
}

/// (`generateSearchesForDNSClusterFirst`)
fn cluster_searches(namespace: &str, zone: &str, node: Vec<String>) -> Vec<String> {
    if zone.is_empty() {
        return node;
    }
    let mut searches = vec![format!("{namespace}.svc.{zone}"), format!("svc.{zone}"), zone.to_owned()];
    searches.extend(node);
    omit_duplicates(&mut searches);
    searches
}

fn omit_duplicates(values: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
}

/// A pod's option takes the place of one of that name (`mergeDNSOptions`).
fn merge(existing: &[String], own: &[PodDNSConfigOption]) -> Vec<String> {
    let existing = existing.iter().map(|option| match option.split_once(':') {
        Some((name, value)) => (name, value),
        None => (option.as_str(), ""),
    });
    let own = own.iter().map(|option| {
        (option.name.as_deref().unwrap_or_default(), option.value.as_deref().unwrap_or_default())
    });
    let mut merged: Vec<(&str, &str)> = Vec::new();
    for (name, value) in existing.chain(own) {
        match merged.iter_mut().find(|(there, _)| *there == name) {
            Some(there) => there.1 = value,
            None => merged.push((name, value)),
        }
    }
    let shown = |(name, value): (&str, &str)| {
        if value.is_empty() { name.to_owned() } else { format!("{name}:{value}") }
    };
    merged.into_iter().map(shown).collect()
}

/// (`formDNSNameserversFitsLimits`)
fn limit_nameservers(nameservers: &mut Vec<String>, warnings: &mut Vec<String>) {
    if nameservers.len() > NAMESERVERS_MAX {
        nameservers.truncate(NAMESERVERS_MAX);
        warnings.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line \
             is: {}",
            nameservers.join(" ")
        ));
    }
}

/// (`formDNSSearchFitsLimits`)
fn limit_searches(searches: &mut Vec<String>, warnings: &mut Vec<String>) {
    let before = searches.len();
    searches.truncate(SEARCHES_MAX);
    // glibc 2.28 aborts at a longer one.
    searches.retain(|search| search.len() <= SUBDOMAIN_MAX);
    let mut chars = searches.iter().map(|search| search.len() + 1).sum::<usize>().saturating_sub(1);
    while chars > SEARCH_CHARS_MAX {
        let Some(last) = searches.pop() else { break };
        chars = chars.saturating_sub(last.len() + 1);
    }
    if searches.len() < before {
        warnings.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: \
             {}",
            searches.join(" ")
        ));
    }
}

impl ResolvConf {
    /// Reads a file as the kubelet does (`parseResolvConf`): name servers accumulate, of search lines and
    /// of options lines the last one wins, and what is not known is passed over.
    #[must_use]
    pub fn parse(text: &str, warnings: &mut Vec<String>) -> Self {
        let mut conf = Self::default();
        for (number, line) in text.lines().enumerate() {
            // A comment: its first word is none of those that follow.
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => match words.next() {
                    Some(address) => conf.nameservers.push(address.into()),
                    None => {
                        warnings.push(format!("resolv.conf line {}: nameserver list is empty", number + 1))
                    }
                },
                Some("search") => {
                    // One domain with and without a final dot is one; the root stays what it is.
                    let plain = |word: &str| match word {
                        "." => word.to_owned(),
                        _ => word.strip_suffix('.').unwrap_or(word).to_owned(),
                    };
                    conf.searches = words.map(plain).collect();
                }
                Some("options") => conf.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        conf
    }
}

/// The text of the file; empty if there is nothing to say.
impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "# by DHCP\nnameserver 192.0.2.53\nsearch example.com.\noptions edns0 ndots:1\n";

    fn resolv(spec: &str, node: Option<&str>) -> PodResolv {
        let spec = serde_json::from_str(&format!(r#"{{"containers": [], {spec}}}"#)).unwrap();
        let addresses = ["100.64.0.10".parse().unwrap()];
        for_pod(&spec, "shop", ClusterDns { addresses: &addresses, zone: "cluster.local" }, node)
    }

    #[test]
    fn each_policy_with_and_without_the_hosts_network() {
        let mut all = String::new();
        for spec in [
            r#""hostNetwork": false"#,
            r#""dnsPolicy": "ClusterFirst""#,
            r#""dnsPolicy": "ClusterFirst", "hostNetwork": true"#,
            r#""dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true"#,
            r#""dnsPolicy": "Default""#,
            r#""dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}"#,
            r#""dnsPolicy": "ClusterFirst", "dnsConfig": {"nameservers": ["192.0.2.1", "100.64.0.10"],
                "searches": ["svc.cluster.local", "my.domain"],
                "options": [{"name": "ndots", "value": "3"}, {"name": "debug"}]}"#,
            r#""dnsPolicy": "Default", "dnsConfig": {"searches": ["my.domain"],
                "options": [{"name": "edns0"}, {"name": "attempts", "value": "1"}]}"#,
        ] {
            for (node, text) in [("a node", Some(NODE)), ("a node without resolv.conf", None)] {
                let PodResolv { conf, warnings } = resolv(spec, text);
                assert_eq!(warnings, [""; 0], "{spec}");
                all += &format!("{spec} on {node}:\n{conf}\n");
            }
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn without_cluster_dns_the_nodes_file_serves_and_the_pod_is_warned() {
        let spec = PodSpec { dns_policy: Some("ClusterFirst".into()), ..PodSpec::default() };
        let none = ClusterDns { addresses: &[], zone: "cluster.local" };
        let PodResolv { conf, warnings } = for_pod(&spec, "shop", none, Some("nameserver 192.0.2.53"));
        assert_eq!(conf.to_string(), "nameserver 192.0.2.53\n");
        assert_eq!(warnings, ["there is no cluster DNS: policy \"Default\" instead of \"ClusterFirst\""]);
    }

    #[test]
    fn reads_what_the_kubelet_reads() {
        let parse = |text: &str| {
            let mut warnings = Vec::new();
            let ResolvConf { nameservers, searches, options } = ResolvConf::parse(text, &mut warnings);
            format!("{nameservers:?} {searches:?} {options:?} {warnings:?}").replace('"', "")
        };
        for (text, conf) in [
            ("", "[] [] [] []"),
            ("\t\n\t", "[] [] [] []"),
            (" #comment\n;comment\n#nameserver 1.2.3.4", "[] [] [] []"),
            ("#comment\nnameserver\nsearch", "[] [] [] [resolv.conf line 2: nameserver list is empty]"),
            ("\tnameserver \t 1.2.3.4 #comment\nnameserver 5.6.7.8", "[1.2.3.4, 5.6.7.8] [] [] []"),
            ("search foo. bar .", "[] [foo, bar, .] [] []"),
            ("search foo\nsearch bar", "[] [bar] [] []"),
            ("options ndots:1\noptions ndots:5 attempts:3\r\n", "[] [] [ndots:5, attempts:3] []"),
            ("domain example.com\nsortlist 1.2.3.0\nnameservers 1.2.3.4", "[] [] [] []"),
        ] {
            assert_eq!(parse(text), conf, "{text:?}");
        }
    }

    #[test]
    fn no_more_than_the_resolver_can_take() {
        let limited = |mut searches: Vec<String>| {
            let mut warnings = Vec::new();
            limit_searches(&mut searches, &mut warnings);
            (searches, warnings.len())
        };
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(limited(many(32)), (many(32), 0));
        assert_eq!(limited(many(33)), (many(32), 1));
        // 16 of 127 and the 15 spaces between are 2047.
        let mut wide = vec!["a".repeat(127); 15];
        wide.push("a".repeat(128));
        assert_eq!(limited(wide.clone()), (wide.clone(), 0));
        let more = [wide.clone(), vec!["b".into()]].concat();
        assert_eq!(limited(more), (wide, 1));
        let long = vec!["a".to_owned(), "b".repeat(254), "c".repeat(253)];
        assert_eq!(limited(long), (vec!["a".to_owned(), "c".repeat(253)], 1));

        let mut servers = many(4);
        let mut warnings = Vec::new();
        limit_nameservers(&mut servers, &mut warnings);
        assert_eq!(servers, many(3));
        assert_eq!(
            warnings,
            [
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line \
              is: 0 1 2"
            ]
        );
    }
}
