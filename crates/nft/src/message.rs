//! Netlink messages of nftables, taken apart.
//!
//! Layout: `linux/netlink.h`, `linux/netfilter/nfnetlink.h`; numbers: `linux/netfilter/nf_tables.h`.

/// `struct nlmsghdr` and `struct nfgenmsg`.
pub(crate) const HEADER: usize = 16;
pub(crate) const FAMILY_HEADER: usize = 4;

/// First attribute of every object: the table's name.
pub(crate) const TABLE: u16 = 1;

/// A message within a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// The messages of a buffer, up to its end or to what is not a message.
pub(crate) fn messages(buffer: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = buffer.get(at..at + HEADER)?;
        let length = u32_ne(header)? as usize;
        let message = Message {
            kind: u16_ne(&header[4..])?,
            flags: u16_ne(&header[6..])?,
            seq: u32_ne(&header[8..])?,
            payload: buffer.get(at + HEADER..at + length)?,
        };
        at += length.next_multiple_of(4);
        Some(message)
    })
}

impl<'a> Message<'a> {
    /// Number of the message within nftables, as `NFT_MSG_NEWRULE`; none for other parts of netlink.
    pub(crate) fn nftables(&self) -> Option<i32> {
        (i32::from(self.kind >> 8) == libc::NFNL_SUBSYS_NFTABLES).then_some(i32::from(self.kind & 0xff))
    }

    /// Attributes of an nftables message.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(FAMILY_HEADER..).unwrap_or_default())
    }

    /// What it is about, as `add chain netdev loss ingress-eth0`.
    pub(crate) fn describe(&self) -> String {
        let Some(kind) = self.nftables() else {
            return "run nftables batch".into();
        };
        // The name of an object is its second attribute, but of a chain the third.
        let (verb, object, name) = match kind {
            libc::NFT_MSG_NEWTABLE => ("add", "table", None),
            libc::NFT_MSG_DELTABLE => ("delete", "table", None),
            libc::NFT_MSG_NEWCHAIN => ("add", "chain", Some(3)),
            libc::NFT_MSG_DELCHAIN => ("delete", "chain", Some(3)),
            libc::NFT_MSG_NEWRULE => ("add", "rule", Some(2)),
            libc::NFT_MSG_DELRULE => ("delete", "rule", Some(2)),
            libc::NFT_MSG_NEWSET => ("add", "set", Some(2)),
            libc::NFT_MSG_DELSET => ("delete", "set", Some(2)),
            libc::NFT_MSG_NEWSETELEM => ("add", "element", Some(2)),
            libc::NFT_MSG_DELSETELEM => ("delete", "element", Some(2)),
            _ => ("change", "object", None),
        };
        let family = match i32::from(self.payload.first().copied().unwrap_or(0)) {
            libc::NFPROTO_INET => "inet",
            libc::NFPROTO_IPV4 => "ip",
            libc::NFPROTO_IPV6 => "ip6",
            libc::NFPROTO_ARP => "arp",
            libc::NFPROTO_BRIDGE => "bridge",
            libc::NFPROTO_NETDEV => "netdev",
            _ => "?",
        };
        let text = |attribute| self.attributes().get(attribute).map(string).unwrap_or_default();
        let mut words = format!("{verb} {object} {family} {}", text(TABLE));
        if let Some(name) = name {
            words = words + " " + &text(name);
        }
        words
    }
}

/// Netlink attributes, as pairs of type (without flags) and value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_ne(self.0)?);
        // The two highest bits are flags.
        let kind = u16_ne(self.0.get(2..)?)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn get(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// The attributes within an attribute; none if there are none.
    pub(crate) fn nest(self, wanted: u16) -> Self {
        Self(self.get(wanted).unwrap_or_default())
    }

    pub(crate) fn u32(self, wanted: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(wanted)?.try_into().ok()?))
    }

    pub(crate) fn u64(self, wanted: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(wanted)?.try_into().ok()?))
    }

    pub(crate) fn string(self, wanted: u16) -> Option<String> {
        self.get(wanted).map(string)
    }
}

/// Adds a string attribute to a message.
pub(crate) fn put_string(out: &mut Vec<u8>, kind: u16, value: &str) {
    let length = value.len() + 5;
    out.extend((length as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Text up to its end or to the first zero byte.
pub(crate) fn string(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

pub(crate) fn u32_ne(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

fn u16_ne(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_ends_the_walk() {
        let mut attributes = Vec::new();
        put_string(&mut attributes, 1, "loss");
        put_string(&mut attributes, 2, "eth");
        assert_eq!(attributes.len(), 12 + 8);
        let found: Vec<_> = Attributes(&attributes).collect();
        assert_eq!(found, [(1, &b"loss\0"[..]), (2, b"eth\0")]);
        for length in 0..20 {
            let found = Attributes(&attributes[..length]).count();
            // The padding of the first is not needed.
            assert_eq!(found, usize::from(length >= 9), "{length} bytes");
        }
        // Shorter than its own header, which would never end.
        assert_eq!(Attributes(&[0, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(messages(&[0xff; 64]).count(), 0);
    }
}
