//! What a name stands for.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// A name within the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// The zone itself.
    Apex,
    /// `dns-version`.
    Version,
    /// `ns.dns`, the name server of the SOA record.
    NameServer,
    /// `svc`, `pod` and `dns`: they have names below them, and nothing else.
    Branch,
    /// `<ns>.svc` or `<ns>.pod`.
    Namespace(&'a str),
    /// `<address with dashes>.<ns>.pod`.
    Pod { namespace: &'a str, address: &'a str },
    /// `<service>.<ns>.svc` or below; the key is `<service>.<ns>`.
    Service { key: &'a str, part: Part<'a> },
    /// There is no such name, whatever the cluster has.
    Nothing,
}

/// A name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Itself,
    /// `<hostname>.…`
    Endpoint(&'a str),
    /// `_tcp.…`
    Protocol(Protocol),
    /// `_http._tcp.…`
    Port(&'a str, Protocol),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// By its name, in any case.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let all = [("tcp", Self::Tcp), ("udp", Self::Udp), ("sctp", Self::Sctp)];
        all.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, protocol)| protocol)
    }
}

/// A name as text: lower case, without the final dot. A byte that no name of the cluster has, as a dot
/// within a label, becomes a question mark, which none has either.
pub(super) fn text(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for label in name {
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(*byte),
            b'A'..=b'Z' => char::from(byte.to_ascii_lowercase()),
            _ => '?',
        }));
    }
    text
}

/// What is before the zone in a name; none if the name is not in it.
pub(super) fn below<'a>(text: &'a str, zone: &str) -> Option<&'a str> {
    match text.strip_suffix(zone)? {
        "" => Some(""),
        rest => rest.strip_suffix('.'),
    }
}

/// What stands below the zone.
pub(super) fn place(rest: &str) -> Place<'_> {
    let (rest, kind) = match rest.rsplit_once('.') {
        Some(split) => split,
        None => {
            return match rest {
                "" => Place::Apex,
                "dns-version" => Place::Version,
                "svc" | "pod" | "dns" => Place::Branch,
                _ => Place::Nothing,
            };
        }
    };
    match (rest.rsplit_once('.'), kind) {
        (None, "dns") if rest == "ns" => Place::NameServer,
        (None, "svc" | "pod") => Place::Namespace(rest),
        (Some((address, namespace)), "pod") if !address.contains('.') => Place::Pod { namespace, address },
        (Some((names, namespace)), "svc") => service(rest, names, namespace),
        _ => Place::Nothing,
    }
}

/// `rest` is `names`, a dot and `namespace`.
fn service<'a>(rest: &'a str, names: &'a str, namespace: &str) -> Place<'a> {
    let (parts, service) = names.rsplit_once('.').unwrap_or(("", names));
    let key = &rest[rest.len() - namespace.len() - 1 - service.len()..];
    let protocol = |label: &str| Protocol::parse(label.strip_prefix('_')?);
    let part = match parts.split_once('.') {
        None if parts.is_empty() => Some(Part::Itself),
        None if parts.starts_with('_') => protocol(parts).map(Part::Protocol),
        None => Some(Part::Endpoint(parts)),
        Some((port, rest)) => match (port.strip_prefix('_'), protocol(rest)) {
            (Some(port), Some(protocol)) if !port.is_empty() => Some(Part::Port(port, protocol)),
            _ => None,
        },
    };
    part.map_or(Place::Nothing, |part| Place::Service { key, part })
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` is made of (RFC 1035 section 3.5, RFC 3596
/// section 2.5).
pub(super) fn reverse(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = rest.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            let canonical = label.len() == 1 || !label.starts_with(['0', '+']);
            *octet = label.parse().ok().filter(|_| canonical)?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let mut labels = text.strip_suffix(".ip6.arpa")?.split('.');
    let mut address = 0_u128;
    for shift in 0..32 {
        let label = labels.next().filter(|label| label.len() == 1)?;
        address |= u128::from_str_radix(label, 16).ok()? << (4 * shift);
    }
    labels.next().is_none().then(|| Ipv6Addr::from(address).into())
}

/// Whether a name is above those of addresses: `arpa`, `in-addr.arpa`, `0.10.in-addr.arpa`.
pub(super) fn is_above_reverse(text: &str) -> bool {
    let above = |tree: &str, most: usize, is_part: fn(&str) -> bool| {
        let part = below(text, tree).map(|rest| rest.split('.').filter(|label| !label.is_empty()));
        part.is_some_and(|mut labels| labels.clone().count() < most && labels.all(is_part))
    };
    text == "arpa"
        || above("in-addr.arpa", 4, |label| label.parse::<u8>().is_ok())
        || above("ip6.arpa", 32, |label| {
            label.len() == 1 && label.parse::<char>().is_ok_and(|c| c.is_ascii_hexdigit())
        })
}

/// The address that a label like `172-0-0-2` or `5678-abcd--1` stands for.
pub(super) fn dashed(label: &str) -> Option<IpAddr> {
    let v4 = label.bytes().filter(|byte| *byte == b'-').count() == 3 && !label.contains("--");
    label.replace('-', if v4 { "." } else { ":" }).parse().ok()
}

/// The label of an address: its usual text with dashes. One that would end in a dash has a `0` behind it.
pub(super) fn to_dashed(address: IpAddr) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{address}");
    let mut text = text.replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_they_stand_for() {
        let service = |key, part| Place::Service { key, part };
        for (name, expected) in [
            ("", Place::Apex),
            ("dns-version", Place::Version),
            ("dns", Place::Branch),
            ("ns.dns", Place::NameServer),
            ("a.ns.dns", Place::Nothing),
            ("b.dns", Place::Nothing),
            ("svc", Place::Branch),
            ("pod", Place::Branch),
            ("foo", Place::Nothing),
            ("a.foo", Place::Nothing),
            ("shop.svc", Place::Namespace("shop")),
            ("shop.pod", Place::Namespace("shop")),
            ("1-2-3-4.shop.pod", Place::Pod { namespace: "shop", address: "1-2-3-4" }),
            ("a.1-2-3-4.shop.pod", Place::Nothing),
            ("web.shop.svc", service("web.shop", Part::Itself)),
            ("c1.web.shop.svc", service("web.shop", Part::Endpoint("c1"))),
            ("_tcp.web.shop.svc", service("web.shop", Part::Protocol(Protocol::Tcp))),
            ("_foo.web.shop.svc", Place::Nothing),
            ("_http._tcp.web.shop.svc", service("web.shop", Part::Port("http", Protocol::Tcp))),
            ("_dns._udp.web.shop.svc", service("web.shop", Part::Port("dns", Protocol::Udp))),
            ("_a._sctp.web.shop.svc", service("web.shop", Part::Port("a", Protocol::Sctp))),
            ("http.tcp.web.shop.svc", Place::Nothing),
            ("_._tcp.web.shop.svc", Place::Nothing),
            ("_http._foo.web.shop.svc", Place::Nothing),
            ("a._http._tcp.web.shop.svc", Place::Nothing),
            ("a.b.web.shop.svc", Place::Nothing),
        ] {
            assert_eq!(place(name), expected, "{name}");
        }
    }

    #[test]
    fn names_as_text() {
        let name = Name::from_ascii("SvC1.Te_st.cLuStEr.LoCaL.").unwrap();
        assert_eq!(text(&name), "svc1.te_st.cluster.local");
        let odd = Name::from_labels([&b"web.shop"[..], b"s\xffc", b"*"]).unwrap();
        assert_eq!(text(&odd), "web?shop.s?c.?");
        assert_eq!(text(&Name::root()), "");
        for (name, expected) in
            [("a.b.c", Some("a")), ("b.c", Some("")), ("ab.c", None), ("c", None), ("", None)]
        {
            assert_eq!(below(name, "b.c"), expected, "{name}");
        }
    }

    #[test]
    fn addresses_backwards() {
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        for (name, address) in [
            ("1.0.3.10.in-addr.arpa", Some("10.3.0.1")),
            ("01.0.3.10.in-addr.arpa", None),
            ("0.3.10.in-addr.arpa", None),
            ("a.1.0.3.10.in-addr.arpa", None),
            ("256.0.3.10.in-addr.arpa", None),
            ("+1.0.3.10.in-addr.arpa", None),
            ("in-addr.arpa", None),
            (six, Some("2001:db8::1")),
            (&six[2..], None),
            (&format!("0.{six}"), None),
            (&six.replace('b', "g"), None),
        ] {
            assert_eq!(reverse(name), address.map(|address| address.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn names_above_those_of_addresses() {
        for name in ["arpa", "in-addr.arpa", "0.3.10.in-addr.arpa", "ip6.arpa", "d.f.ip6.arpa"] {
            assert!(is_above_reverse(name), "{name}");
        }
        for name in
            ["", "1.0.3.10.in-addr.arpa", "x.in-addr.arpa", "256.in-addr.arpa", "g.ip6.arpa", "xip6.arpa"]
        {
            assert!(!is_above_reverse(name), "{name}");
        }
    }

    #[test]
    fn addresses_with_dashes() {
        for (label, address) in [
            ("172-0-0-2", "172.0.0.2"),
            ("5678-abcd--1", "5678:abcd::1"),
            ("1234-abcd--0", "1234:abcd::"),
            ("--1", "::1"),
            ("--ffff-172-0-0-2", "::ffff:172.0.0.2"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(to_dashed(address), label);
            if !label.contains("ffff") {
                assert_eq!(dashed(label), Some(address), "{label}");
            }
        }
        for label in ["blah", "172-0-0", "172-0-0-02", "172-0-0-256", "1-2-3-4-5", "", "-", "----"] {
            assert_eq!(dashed(label), None, "{label}");
        }
    }
}
