//! `subnet.env` as the plugin reads it (`loadFlannelSubnetEnv` of cni-plugin `flannel.go`): several
//! networks, and IPv6 ones, which the real daemon can write.

use std::path::Path;

use ipnetwork::IpNetwork;

use super::fault::Fault;
use crate::cidr;

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubnetEnv {
    /// The pod networks, IPv4 before IPv6, each once.
    pub(super) networks: Vec<IpNetwork>,
    /// The worker's parts of them.
    pub(super) subnets: Vec<IpNetwork>,
    pub(super) mtu: u32,
    pub(super) ip_masq: bool,
}

impl SubnetEnv {
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let at = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Fault::internal(format!(
                "read {at}: {e}; flannel writes it once the node has a lease: see its log"
            ))
        })?;
        Self::parse(&text).map_err(|why| Fault::internal(format!("{at} {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut v4, mut v6) = ((Vec::new(), None), (Vec::new(), None));
        let (mut mtu, mut ip_masq) = (None, None);
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            let wrong = || format!("has a strange {name}: {value:?}");
            match name {
                "FLANNEL_NETWORK" => v4.0 = networks(value).ok_or_else(wrong)?,
                "FLANNEL_SUBNET" => v4.1 = Some(cidr::parse(value).ok_or_else(wrong)?),
                "FLANNEL_IPV6_NETWORK" => v6.0 = networks(value).ok_or_else(wrong)?,
                "FLANNEL_IPV6_SUBNET" => v6.1 = Some(cidr::parse(value).ok_or_else(wrong)?),
                "FLANNEL_MTU" => mtu = Some(value.parse().map_err(|_| wrong())?),
                "FLANNEL_IPMASQ" => ip_masq = Some(value == "true"),
                _ => {}
            }
        }
        let networks = [v4.0, v6.0].concat();
        let subnets: Vec<IpNetwork> = [v4.1, v6.1].into_iter().flatten().collect();
        let missing: Vec<&str> = [
            (networks.is_empty(), "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK"),
            (subnets.is_empty(), "FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET"),
            (mtu.is_none(), "FLANNEL_MTU"),
            (ip_masq.is_none(), "FLANNEL_IPMASQ"),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        match (mtu, ip_masq) {
            (Some(mtu), Some(ip_masq)) if missing.is_empty() => Ok(Self { networks, subnets, mtu, ip_masq }),
            _ => Err(format!("is missing {}", missing.join(", "))),
        }
    }
}

/// Networks between commas, each once.
fn networks(value: &str) -> Option<Vec<IpNetwork>> {
    let mut networks = Vec::new();
    for part in value.split(',') {
        let network = cidr::parse(part)?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Some(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "FLANNEL_NETWORK=11.0.0.0/8\nFLANNEL_SUBNET=11.10.16.1/20\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

    fn text(networks: &[IpNetwork]) -> Vec<String> {
        networks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_what_the_daemon_writes() {
        let env = SubnetEnv::parse(GOOD).unwrap();
        assert_eq!(
            (text(&env.networks), text(&env.subnets)),
            (vec!["11.0.0.0/8".into()], vec!["11.10.16.0/20".into()])
        );
        assert_eq!((env.mtu, env.ip_masq), (1450, false));
    }

    #[test]
    fn reads_several_networks_and_ipv6_ones() {
        let more =
            "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nOTHER=1\nnonsense\n";
        let env = SubnetEnv::parse(
            &format!("{GOOD}{more}").replace("11.0.0.0/8", "11.0.0.0/8,12.0.0.0/8,11.0.0.1/8"),
        )
        .unwrap();
        assert_eq!(text(&env.networks), ["11.0.0.0/8", "12.0.0.0/8", "fd00::/48"]);
        assert_eq!(text(&env.subnets), ["11.10.16.0/20", "fd00:0:0:1::/64"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let why = |text: &str| SubnetEnv::parse(text).unwrap_err();
        assert_eq!(
            why(""),
            "is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, \
             FLANNEL_IPMASQ"
        );
        assert_eq!(why(&GOOD.replace("FLANNEL_MTU=1450\n", "")), "is missing FLANNEL_MTU");
        assert_eq!(why(&GOOD.replace("1450", "-1")), r#"has a strange FLANNEL_MTU: "-1""#);
        assert_eq!(
            why(&GOOD.replace("11.0.0.0/8", "11.0.0.0/8,")),
            r#"has a strange FLANNEL_NETWORK: "11.0.0.0/8,""#
        );
        let fault = SubnetEnv::read(Path::new("/nowhere/subnet.env")).unwrap_err();
        assert!(fault.msg.starts_with("read /nowhere/subnet.env: No such file"), "{}", fault.msg);
    }
}
