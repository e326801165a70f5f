//! Names that need no server (`hosts(5)`).

use std::net::IpAddr;

use super::{End, Trace};

/// What a file like `/etc/hosts` says of a name. Programs read it before they ask anybody (`files dns` in
/// `nsswitch.conf(5)`), and ask nobody if it has the name.
#[must_use]
pub fn in_hosts(hosts: &str, name: &str) -> Option<Trace> {
    let mut addresses = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    (!addresses.is_empty()).then(|| Trace { name: name.into(), tries: vec![], end: End::Hosts(addresses) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_file() {
        let hosts = "127.0.0.1\tlocalhost\n# 10.0.0.1 off\n10.0.0.3 C0w1 # C0w9\n10.0.0.4 C0w2 two\n\
                     ::1 localhost ip6-localhost\nnonsense x\n10.0.0.5\n127.0.0.1 localhost\n";
        let found = |name: &str| in_hosts(hosts, name).map(|trace| trace.to_string());
        let said = |text: &str| Some(format!("{text}: /etc/hosts says so, nobody is asked"));
        assert_eq!(found("c0W1"), said("c0W1 is 10.0.0.3"));
        assert_eq!(found("two"), said("two is 10.0.0.4"));
        assert_eq!(found("localhost"), said("localhost is 127.0.0.1, ::1"));
        for name in ["off", "C0w9", "x", "10.0.0.5", "C0w1.", ""] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
