//! Networks as flannel reads them: as Go's `net.ParseCIDR` does, which wants a prefix length and drops
//! what it leaves of the address.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network};

/// The IPv4 network that contains `text`, an address and a prefix length as `11.10.16.1/20`.
#[must_use]
pub(crate) fn parse_v4(text: &str) -> Option<Ipv4Network> {
    match parse(text)? {
        IpNetwork::V4(network) => Some(network),
        IpNetwork::V6(_) => None,
    }
}

/// The network that contains `text`, an address and a prefix length.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<IpNetwork> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let network = IpNetwork::new(address.parse::<IpAddr>().ok()?, prefix.parse().ok()?).ok()?;
    IpNetwork::new(network.network(), network.prefix()).ok()
}

/// Whether two networks have an address in common.
#[must_use]
pub(crate) fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        assert_eq!(parse_v4("11.10.16.1/20").unwrap().to_string(), "11.10.16.0/20");
        assert_eq!(parse_v4("11.0.0.0/8").unwrap().to_string(), "11.0.0.0/8");
        assert_eq!(parse("fd00::1/64").unwrap().to_string(), "fd00::/64");
        for wrong in [
            "",
            "11.0.0.0",
            "11.0.0.0/",
            "11.0.0.0/33",
            "11.0.0.0/255.0.0.0",
            "011.0.0.0/8",
            "11.0.0.0/+8",
            "a/8",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse_v4("fd00::/64"), None);
    }

    #[test]
    fn networks_overlap_when_one_is_within_the_other() {
        let net = |text| parse_v4(text).unwrap();
        assert!(overlap(net("11.10.0.0/20"), net("11.10.8.0/24")));
        assert!(overlap(net("11.10.8.0/24"), net("11.10.0.0/20")));
        assert!(!overlap(net("11.10.0.0/20"), net("11.10.16.0/20")));
    }
}
