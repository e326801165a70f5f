//! What of a packet makes a key.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use super::rule::{Register, expression};
use crate::encode::Encoder;

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ip } else { Self::Ip6 }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ip => libc::NFPROTO_IPV4 as u8,
            Self::Ip6 => libc::NFPROTO_IPV6 as u8,
        }
    }

    pub(super) fn address_length(self) -> u32 {
        match self {
            Self::Ip => 4,
            Self::Ip6 => 16,
        }
    }

    /// Where the source and the destination are in the header (RFC 791, RFC 8200).
    pub(super) fn address_offset(self, source: bool) -> u32 {
        match (self, source) {
            (Self::Ip, true) => 12,
            (Self::Ip, false) => 16,
            (Self::Ip6, true) => 8,
            (Self::Ip6, false) => 24,
        }
    }
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// How many bits are alike.
    pub prefix: u8,
}

/// A field of a packet, or what is made up for it; part of a map's key, or its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `ip saddr`
    Source,
    /// `ip daddr`
    Destination,
    /// `meta l4proto`
    Protocol,
    /// `th dport`
    DestinationPort,
    /// `meta mark`
    Mark,
    /// `numgen random mod …`: chance.
    Random(u32),
    /// `numgen inc mod …`: one after the other.
    Turn(u32),
}

// Data types (nftables `include/datatype.h`).
const TYPE_INTEGER: u32 = 4;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_MARK: u32 = 19;
/// Bits that each type takes of the type of a key of several.
const TYPE_BITS: u32 = 6;

// Byte orders (`enum byteorder`).
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;

// Expressions and headers by their numbers in user data (nftables `include/expression.h`,
// `include/proto.h`).
const EXPRESSION_PAYLOAD: u32 = 7;
const EXPRESSION_META: u32 = 9;
const EXPRESSION_CONCAT: u32 = 13;
const EXPRESSION_NUMGEN: u32 = 23;
const HEADER_TRANSPORT: u32 = 11;
const HEADER_IP: u32 = 12;
const HEADER_IP6: u32 = 13;

// Expressions' numbers (`linux/netfilter/nf_tables.h`).
const META_MARK: u32 = 3;
const META_PROTOCOL: u32 = 16;
const NUMGEN_TURN: u32 = 0;
const NUMGEN_RANDOM: u32 = 1;

impl Field {
    fn data_type(self, family: Family) -> u32 {
        match (self, family) {
            (Self::Source | Self::Destination, Family::Ip) => TYPE_IPV4,
            (Self::Source | Self::Destination, Family::Ip6) => TYPE_IPV6,
            (Self::Protocol, _) => TYPE_PROTOCOL,
            (Self::DestinationPort, _) => TYPE_PORT,
            (Self::Mark, _) => TYPE_MARK,
            (Self::Random(_) | Self::Turn(_), _) => TYPE_INTEGER,
        }
    }

    /// Bytes that it takes of a key: each field fills 32 bits at least.
    pub(super) fn length(self, family: Family) -> u32 {
        match self {
            Self::Source | Self::Destination => family.address_length(),
            _ => 4,
        }
    }

    fn byte_order(self) -> u32 {
        match self {
            Self::Source | Self::Destination | Self::DestinationPort => NETWORK_ORDER,
            Self::Protocol | Self::Mark | Self::Random(_) | Self::Turn(_) => HOST_ORDER,
        }
    }

    /// The expression that loads it into a register.
    pub(super) fn load(self, family: Family, to: Register, out: &mut Encoder) {
        let mut payload = |base: u32, offset: u32, length: u32| {
            expression(out, "payload", |data| {
                data.u32(1, to.number()).u32(2, base).u32(3, offset).u32(4, length);
            });
        };
        const NETWORK_HEADER: u32 = 1;
        const TRANSPORT_HEADER: u32 = 2;
        match self {
            Self::Source => payload(NETWORK_HEADER, family.address_offset(true), family.address_length()),
            Self::Destination => {
                payload(NETWORK_HEADER, family.address_offset(false), family.address_length())
            }
            Self::DestinationPort => payload(TRANSPORT_HEADER, 2, 2),
            Self::Protocol => meta(META_PROTOCOL, to, out),
            Self::Mark => meta(META_MARK, to, out),
            Self::Random(modulus) => numgen(NUMGEN_RANDOM, modulus, to, out),
            Self::Turn(modulus) => numgen(NUMGEN_TURN, modulus, to, out),
        }
    }

    /// What `typeof` says of it, for listings.
    fn type_of(self, family: Family) -> Vec<u8> {
        let (header, source, destination) = match family {
            Family::Ip => (HEADER_IP, 11, 12),
            Family::Ip6 => (HEADER_IP6, 8, 9),
        };
        let (expression, data) = match self {
            Self::Source => (EXPRESSION_PAYLOAD, numbers(&[header, source])),
            Self::Destination => (EXPRESSION_PAYLOAD, numbers(&[header, destination])),
            Self::DestinationPort => (EXPRESSION_PAYLOAD, numbers(&[HEADER_TRANSPORT, 2])),
            Self::Protocol => (EXPRESSION_META, numbers(&[META_PROTOCOL])),
            Self::Mark => (EXPRESSION_META, numbers(&[META_MARK])),
            Self::Random(modulus) => (EXPRESSION_NUMGEN, numbers(&[NUMGEN_RANDOM, modulus, 0])),
            Self::Turn(modulus) => (EXPRESSION_NUMGEN, numbers(&[NUMGEN_TURN, modulus, 0])),
        };
        described(expression, &data)
    }
}

fn meta(what: u32, to: Register, out: &mut Encoder) {
    expression(out, "meta", |data| {
        data.u32(2, what).u32(1, to.number());
    });
}

fn numgen(kind: u32, modulus: u32, to: Register, out: &mut Encoder) {
    expression(out, "numgen", |data| {
        data.u32(1, to.number()).u32(2, modulus).u32(3, kind).u32(4, 0);
    });
}

/// Numbers as user data: type by place, length, value in the machine's order.
fn numbers(values: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, value) in values.iter().enumerate() {
        put(&mut out, kind as u8, &value.to_ne_bytes());
    }
    out
}

pub(super) fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend([kind, value.len() as u8]);
    out.extend(value);
}

/// An expression in user data: its number, and what it is of.
fn described(expression: u32, data: &[u8]) -> Vec<u8> {
    let mut out = numbers(&[expression]);
    put(&mut out, 1, data);
    out
}

/// Fields one after the other, as a key or a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [Field], pub(super) Family);

impl Fields<'_> {
    pub(super) fn data_type(self) -> u32 {
        self.0.iter().fold(0, |all, field| all << TYPE_BITS | field.data_type(self.1))
    }

    pub(super) fn length(self) -> u32 {
        self.0.iter().map(|field| field.length(self.1)).sum()
    }

    /// Of one field; of several it is each one's own.
    pub(super) fn byte_order(self) -> u32 {
        match self.0 {
            [field] => field.byte_order(),
            _ => 0,
        }
    }

    pub(super) fn type_of(self) -> Vec<u8> {
        if let [field] = self.0 {
            return field.type_of(self.1);
        }
        let mut parts = Vec::new();
        for (kind, field) in self.0.iter().enumerate() {
            put(&mut parts, kind as u8, &field.type_of(self.1));
        }
        described(EXPRESSION_CONCAT, &parts)
    }

    /// Loads them into registers that follow each other.
    pub(super) fn load(self, first: Register, out: &mut Encoder) {
        let mut register = first;
        for field in self.0 {
            field.load(self.1, register, out);
            register = register.after(field.length(self.1));
        }
    }
}

/// The longest key: two addresses of IPv6, a protocol and a port.
const LONGEST: usize = 40;

/// A key or a value, as the kernel has it: parts that begin at every fourth byte. Kept in place, for there are many.
#[derive(Clone, Copy)]
pub struct Bytes {
    length: u8,
    bytes: [u8; LONGEST],
}

impl Default for Bytes {
    fn default() -> Self {
        Self { length: 0, bytes: [0; LONGEST] }
    }
}

impl Bytes {
    /// What the kernel has; none if that is longer than any key here.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= LONGEST).then(|| Self::default().with(bytes))
    }

    fn with(mut self, part: &[u8]) -> Self {
        let at = usize::from(self.length);
        self.bytes[at..at + part.len()].copy_from_slice(part);
        self.length += part.len() as u8;
        self
    }

    /// An address follows.
    ///
    /// # Panics
    /// As the others, when it gets longer than any key of this crate's fields.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.with(&v4.octets()),
            IpAddr::V6(v6) => self.with(&v6.octets()),
        }
    }

    /// A protocol by its number follows.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.with(&[protocol, 0, 0, 0])
    }

    /// A port follows.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.with(&[high, low, 0, 0])
    }

    /// A mark or a figure follows.
    #[must_use]
    pub fn number(self, number: u32) -> Self {
        self.with(&number.to_ne_bytes())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn types_are_described_as_nft_describes_them() {
        // As nft 1.0.6 sends them for the same declarations.
        let key = [Field::Destination, Field::Protocol, Field::DestinationPort, Field::Random(2)];
        let key = Fields(&key, Family::Ip);
        assert_eq!((key.data_type(), key.length(), key.byte_order()), (0x001c_c344, 16, 0));
        assert_eq!(
            hex(&key.type_of()),
            "00040d00000001580014000407000000010c00040c00000001040c000000010e000409000000010600041000000002140004\
             07000000010c00040b000000010402000000031a0004170000000112000401000000010402000000020400000000"
        );
        let value = Fields(&[Field::Destination, Field::DestinationPort], Family::Ip6);
        assert_eq!((value.data_type(), value.length()), (0x20d, 20));
        assert_eq!(
            hex(&value.type_of()),
            "00040d000000012c0014000407000000010c00040d0000000104090000000114000407000000010c00040b00000001040200\
             0000"
        );
        let mark = Fields(&[Field::Mark], Family::Ip);
        assert_eq!((mark.data_type(), mark.length(), mark.byte_order()), (0x13, 4, 1));
        assert_eq!(hex(&mark.type_of()), "0004090000000106000403000000");
    }
}
