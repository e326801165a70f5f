//! Rules, statement by statement.
//!
//! Each statement becomes the expressions that `nft` makes of its text, in the registers that it takes, so
//! that a listing shows the text again. Attributes' numbers: `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;
use std::time::Duration;

use super::field::Fields;
use super::{Family, Field, Network, Verdict};
use crate::encode::{Encoder, covers};
use crate::message::Attributes;

/// A register of 32 bits, counted from nought. Longer values fill those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register(u32);

const FIRST: Register = Register(0);
/// Verdicts have a register of their own.
const VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

impl Register {
    /// As the kernel numbers it: one that begins 128 bits goes by the old name (`nft_dump_register`).
    pub(super) fn number(self) -> u32 {
        if self.0.is_multiple_of(4) {
            libc::NFT_REG_1 as u32 + self.0 / 4
        } else {
            libc::NFT_REG32_00 as u32 + self.0
        }
    }

    /// The register after a value of so many bytes.
    pub(super) fn after(self, length: u32) -> Self {
        Self(self.0 + length.div_ceil(4))
    }
}

/// Adds an expression to a list.
pub(super) fn expression(out: &mut Encoder, name: &str, data: impl FnOnce(&mut Encoder)) {
    out.nest(EXPRESSION, |inner| {
        inner.string(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data);
    });
}

const EXPRESSION: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// A value among attributes that hold data (`NFTA_DATA_VALUE`).
const DATA: u16 = 1;
const DATA_VERDICT: u16 = 2;

const EQUAL: u32 = libc::NFT_CMP_EQ as u32;
const NOT_EQUAL: u32 = libc::NFT_CMP_NEQ as u32;

/// A rule: statements that are carried out one after the other, up to the first that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    family: Family,
    expressions: Encoder,
    comment: String,
}

impl Rule {
    /// A rule that does nothing yet.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self { family, expressions: Encoder::default(), comment: String::new() }
    }

    /// Says what the rule is there for: at most [`COMMENT`](super::COMMENT) bytes, without quotes.
    #[must_use]
    pub fn because(mut self, comment: &str) -> Self {
        self.comment = comment.into();
        self
    }

    /// What it is there for.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(super) fn expressions(&self) -> &[u8] {
        self.expressions.as_slice()
    }

    fn add(mut self, name: &str, data: impl FnOnce(&mut Encoder)) -> Self {
        expression(&mut self.expressions, name, data);
        self
    }

    fn load(mut self, fields: &[Field], first: Register) -> Self {
        Fields(fields, self.family).load(first, &mut self.expressions);
        self
    }

    fn compare(self, operation: u32, value: &[u8]) -> Self {
        self.add("cmp", |data| {
            data.u32(1, FIRST.number()).u32(2, operation).nest(3, |inner| {
                inner.bytes(DATA, value);
            });
        })
    }

    fn mask(self, mask: &[u8], or: &[u8]) -> Self {
        self.add("bitwise", |data| {
            let number = FIRST.number();
            data.u32(1, number).u32(2, number).u32(3, mask.len() as u32).u32(6, 0);
            data.nest(4, |inner| {
                inner.bytes(DATA, mask);
            });
            data.nest(5, |inner| {
                inner.bytes(DATA, or);
            });
        })
    }

    fn lookup(self, map: &str, to: Option<u32>) -> Self {
        self.add("lookup", |data| {
            data.string(1, map).u32(2, FIRST.number());
            if let Some(to) = to {
                data.u32(3, to);
            }
        })
    }

    fn set_mark_from_register(self) -> Self {
        self.add("meta", |data| {
            data.u32(2, libc::NFT_META_MARK as u32).u32(3, FIRST.number());
        })
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        self.add("immediate", |data| {
            data.u32(1, VERDICT).nest(2, |inner| {
                inner.nest(DATA_VERDICT, |verdict| {
                    verdict.bytes(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        verdict.string(2, chain);
                    }
                });
            });
        })
    }

    /// `jump CHAIN`
    #[must_use]
    pub fn jump(self, chain: &str) -> Self {
        self.verdict(libc::NFT_JUMP, Some(chain))
    }

    /// `goto CHAIN`
    #[must_use]
    pub fn goto(self, chain: &str) -> Self {
        self.verdict(libc::NFT_GOTO, Some(chain))
    }

    /// `return`
    #[must_use]
    pub fn leave(self) -> Self {
        self.verdict(libc::NFT_RETURN, None)
    }

    /// `drop`
    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(libc::NF_DROP, None)
    }

    /// Matches what is in a set: `FIELDS @SET`.
    #[must_use]
    pub fn is_in(self, fields: &[Field], set: &str) -> Self {
        self.load(fields, FIRST).lookup(set, None)
    }

    /// Sets the mark to what a map has, and ends the rule if it has nothing: `meta mark set FIELDS map @MAP`.
    #[must_use]
    pub fn set_mark_from(self, fields: &[Field], map: &str) -> Self {
        self.load(fields, FIRST).lookup(map, Some(FIRST.number())).set_mark_from_register()
    }

    /// `meta mark set VALUE`
    #[must_use]
    pub fn set_mark(self, value: u32) -> Self {
        self.add("immediate", |data| {
            data.u32(1, FIRST.number()).nest(2, |inner| {
                inner.bytes(DATA, &value.to_ne_bytes());
            });
        })
        .set_mark_from_register()
    }

    /// Keeps these bits of the mark only: `meta mark set meta mark & BITS`.
    #[must_use]
    pub fn keep_mark_bits(self, bits: u32) -> Self {
        self.load(&[Field::Mark], FIRST).mask(&bits.to_ne_bytes(), &[0; 4]).set_mark_from_register()
    }

    /// Sets these bits of the mark: `meta mark set meta mark | BITS`.
    #[must_use]
    pub fn set_mark_bits(self, bits: u32) -> Self {
        self.load(&[Field::Mark], FIRST)
            .mask(&(!bits).to_ne_bytes(), &bits.to_ne_bytes())
            .set_mark_from_register()
    }

    /// Matches a mark that has all of these bits: `meta mark & BITS == BITS`.
    #[must_use]
    pub fn mark_has(self, bits: u32) -> Self {
        let bits = bits.to_ne_bytes();
        self.load(&[Field::Mark], FIRST).mask(&bits, &[0; 4]).compare(EQUAL, &bits)
    }

    /// Goes where a map of verdicts has it for these bits of the mark: `meta mark & BITS vmap @MAP`.
    #[must_use]
    pub fn dispatch_mark(self, bits: u32, map: &str) -> Self {
        self.load(&[Field::Mark], FIRST).mask(&bits.to_ne_bytes(), &[0; 4]).lookup(map, Some(VERDICT))
    }

    /// `ip saddr != NETWORK`
    #[must_use]
    pub fn not_from(self, network: Network) -> Self {
        self.address(Field::Source, network, NOT_EQUAL)
    }

    /// `ip daddr NETWORK`
    #[must_use]
    pub fn to(self, network: Network) -> Self {
        self.address(Field::Destination, network, EQUAL)
    }

    /// `ip daddr != NETWORK`
    #[must_use]
    pub fn not_to(self, network: Network) -> Self {
        self.address(Field::Destination, network, NOT_EQUAL)
    }

    /// Compares an address with a network, whole bytes by loading only them, as `nft` does.
    fn address(self, field: Field, network: Network, operation: u32) -> Self {
        let mut bytes = match network.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let prefix = usize::from(network.prefix).min(8 * bytes.len());
        let mask: Vec<u8> = (0..bytes.len())
            .map(|at| match prefix.saturating_sub(8 * at) {
                0 => 0,
                left @ 1..8 => !(0xff_u8 >> left),
                _ => 0xff,
            })
            .collect();
        bytes.iter_mut().zip(&mask).for_each(|(byte, mask)| *byte &= mask);
        let whole = prefix / 8;
        if !prefix.is_multiple_of(8) {
            let zero = vec![0; bytes.len()];
            return self.load(&[field], FIRST).mask(&mask, &zero).compare(operation, &bytes);
        }
        let offset = self.family.address_offset(field == Field::Source);
        self.add("payload", |data| {
            data.u32(1, FIRST.number()).u32(2, 1).u32(3, offset).u32(4, whole as u32);
        })
        .compare(operation, &bytes[..whole])
    }

    /// Matches what is for an address of this namespace: `fib daddr type local`.
    #[must_use]
    pub fn to_local(self) -> Self {
        /// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`
        const RESULT_ADDRESS_TYPE: u32 = 3;
        const OF_DESTINATION: u32 = 2;
        self.add("fib", |data| {
            data.u32(1, FIRST.number()).u32(2, RESULT_ADDRESS_TYPE).u32(3, OF_DESTINATION);
        })
        .compare(EQUAL, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// `meta l4proto PROTOCOL`
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.load(&[Field::Protocol], FIRST).compare(EQUAL, &[protocol])
    }

    /// Matches a connection whose destination was not changed: `ct status ! dnat`.
    #[must_use]
    pub fn not_translated(self) -> Self {
        /// `IPS_DST_NAT` (`linux/netfilter/nf_conntrack_common.h`).
        const DNAT: u32 = 0x20;
        self.add("ct", |data| {
            data.u32(1, FIRST.number()).u32(2, libc::NFT_CT_STATUS as u32);
        })
        .mask(&DNAT.to_ne_bytes(), &[0; 4])
        .compare(EQUAL, &[0; 4])
    }

    /// Changes the destination to what a map has, and ends the rule if it has nothing: `dnat ip to FIELDS map
    /// @MAP`, whose value is an address and, if `port`, a port.
    #[must_use]
    pub fn dnat_from(self, fields: &[Field], map: &str, port: bool) -> Self {
        let family = self.family;
        let to = FIRST.after(family.address_length()).number();
        self.load(fields, FIRST).lookup(map, Some(FIRST.number())).add("nat", |data| {
            data.u32(1, libc::NFT_NAT_DNAT as u32).u32(2, family.number().into()).u32(3, FIRST.number());
            if port {
                data.u32(5, to);
            }
        })
    }

    /// Puts the mark into a dynamic map, or renews what is there: `update @MAP { FIELDS timeout … : meta mark
    /// }`.
    #[must_use]
    pub fn remember_mark(self, fields: &[Field], map: &str, timeout: Duration) -> Self {
        self.dynamic(libc::NFT_DYNSET_OP_UPDATE as u32, fields, map, timeout)
    }

    /// Takes a key out of a dynamic map: `delete @MAP { FIELDS : meta mark }`.
    #[must_use]
    pub fn forget(self, fields: &[Field], map: &str) -> Self {
        /// `NFT_DYNSET_OP_DELETE`
        const DELETE: u32 = 2;
        self.dynamic(DELETE, fields, map, Duration::ZERO)
    }

    fn dynamic(self, operation: u32, fields: &[Field], map: &str, timeout: Duration) -> Self {
        // The value begins 128 bits behind the key.
        let value = Register(FIRST.after(Fields(fields, self.family).length()).0.next_multiple_of(4));
        self.load(fields, FIRST).load(&[Field::Mark], value).add("dynset", |data| {
            data.string(1, map).u32(3, operation).u32(4, FIRST.number()).u32(5, value.number());
            if !timeout.is_zero() {
                data.u64(6, timeout.as_millis() as u64);
            }
        })
    }

    /// `masquerade fully-random`
    #[must_use]
    pub fn masquerade(self) -> Self {
        /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
        const FULLY_RANDOM: u32 = 1 << 4;
        self.add("masq", |data| {
            data.u32(1, FULLY_RANDOM);
        })
    }

    /// `counter`
    #[must_use]
    pub fn counter(self) -> Self {
        self.add("counter", |data| {
            data.u64(1, 0).u64(2, 0);
        })
    }

    /// `reject with tcp reset`
    #[must_use]
    pub fn reset(self) -> Self {
        self.add("reject", |data| {
            data.u32(1, libc::NFT_REJECT_TCP_RST as u32);
        })
    }

    /// `reject`: ICMP port unreachable.
    #[must_use]
    pub fn reject(self) -> Self {
        // RFC 792, RFC 4443
        let port_unreachable = match self.family {
            Family::Ip => 3,
            Family::Ip6 => 4,
        };
        self.add("reject", |data| {
            data.u32(1, libc::NFT_REJECT_ICMP_UNREACH as u32).u8(2, port_unreachable);
        })
    }

    /// Carries out a verdict.
    #[must_use]
    pub fn then(self, verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Drop => self.drop(),
            Verdict::Goto(chain) => self.goto(chain),
        }
    }

    /// The chains and the maps that it leads to, in the order of its statements.
    #[must_use]
    pub fn leads_to(&self) -> (Vec<String>, Vec<String>) {
        let (mut chains, mut maps) = (Vec::new(), Vec::new());
        for expression in listed(Attributes(self.expressions())) {
            let data = Attributes(expression).nest(EXPRESSION_DATA);
            match Attributes(expression).string(EXPRESSION_NAME).as_deref() {
                // Both have the name first.
                Some("lookup" | "dynset") => maps.extend(data.string(1)),
                Some("immediate") => chains.extend(data.nest(2).nest(DATA_VERDICT).string(2)),
                _ => {}
            }
        }
        (chains, maps)
    }

    /// Whether a rule of the kernel's does the same, whatever its counters say.
    pub(super) fn does(&self, theirs: &[u8]) -> bool {
        let (ours, theirs) = (Attributes(self.expressions()), Attributes(theirs));
        let (mut ours, mut theirs) = (listed(ours), listed(theirs));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(ours), Some(theirs)) if same_expression(ours, theirs) => {}
                _ => return false,
            }
        }
    }
}

fn listed<'a>(list: Attributes<'a>) -> impl Iterator<Item = &'a [u8]> {
    list.filter_map(|(kind, value)| (kind == EXPRESSION).then_some(value))
}

fn same_expression(ours: &[u8], theirs: &[u8]) -> bool {
    let name = Attributes(ours).get(EXPRESSION_NAME);
    if name != Attributes(theirs).get(EXPRESSION_NAME) {
        return false;
    }
    name == Some(b"counter\0") || covers(ours, theirs)
}
