//! The rules of `-ip-masq`: what leaves the pod network takes on the worker's address.
//!
//! Sources: flannel `pkg/trafficmngr/iptables/iptables.go` (`masqRules`: which packets),
//! `pkg/trafficmngr/nftables/nftables.go` (names of table and chain). Unlike the real one these rules do
//! not ask for random ports (`fully-random`), as with its `-ip-masq-fully-random-disable`.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use nft::{Batch, Error, Result, Transaction};
use nftnl::expr::{
    Bitwise, Cmp, CmpOp, Ipv4HeaderField, Masquerade as Masq, Meta, NetworkHeaderField, Payload, Verdict,
};
use nftnl::{Chain, ChainType, Hook, Policy, ProtoFamily, Rule, Table};

/// `srcnat`.
const PRIORITY: i32 = 100;
/// What kube-proxy will masquerade itself (`KubeProxyMark`).
const MARK: u32 = 0x4000;
/// 224.0.0.0/4.
const MULTICAST: (Ipv4Addr, u8) = (Ipv4Addr::new(224, 0, 0, 0), 4);

/// Between which networks packets keep their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Masquerade {
    /// The whole pod network.
    pub(crate) network: Ipv4Network,
    /// The worker's part.
    pub(crate) subnet: Ipv4Network,
}

/// A condition on a packet's source or destination.
struct Within {
    field: Ipv4HeaderField,
    network: Ipv4Address,
    holds: bool,
}

type Ipv4Address = (Ipv4Addr, u8);

fn source(network: Ipv4Address, holds: bool) -> Within {
    Within { field: Ipv4HeaderField::Saddr, network, holds }
}

fn destination(network: Ipv4Address, holds: bool) -> Within {
    Within { field: Ipv4HeaderField::Daddr, network, holds }
}

/// The batch that makes these the rules, at once, or takes away what there is.
pub(crate) fn batch(rules: Option<&Masquerade>) -> Result<Batch> {
    let table = Table::new(c"flannel-ipv4", ProtoFamily::Ipv4);
    let mut transaction = Transaction::new();
    // To delete what is not there is an error, so it is made first.
    transaction.add(&table);
    transaction.delete(&table);
    if let Some(rules) = rules {
        transaction.add(&table);
        let mut chain = Chain::new(c"postrtg", &table);
        chain.set_type(ChainType::Nat);
        chain.set_hook(Hook::PostRouting, PRIORITY);
        chain.set_policy(Policy::Accept);
        transaction.add(&chain);
        for rule in all(&chain, rules)? {
            transaction.add(&rule);
        }
    }
    Ok(transaction.seal())
}

fn all<'a>(chain: &'a Chain<'a>, rules: &Masquerade) -> Result<Vec<Rule<'a>>> {
    let cluster = (rules.network.network(), rules.network.prefix());
    let own = (rules.subnet.network(), rules.subnet.prefix());
    let mut marked = commented(chain)?;
    marked.add_expr(&Meta::Mark { set: false });
    marked.add_expr(&Bitwise::new(MARK, 0_u32));
    marked.add_expr(&Cmp::new(CmpOp::Eq, MARK));
    marked.add_expr(&Verdict::Return);
    let mut all = vec![marked];
    // Pods among each other, and who comes to a pod from outside, keep their addresses.
    for conditions in [
        [source(own, true), destination(cluster, true)],
        [source(cluster, true), destination(own, true)],
        [source(cluster, false), destination(own, true)],
    ] {
        let mut rule = matching(chain, &conditions)?;
        rule.add_expr(&Verdict::Return);
        all.push(rule);
    }
    // Pods to the outside, and the worker itself to pods, take on the worker's address.
    for conditions in [
        [source(cluster, true), destination(MULTICAST, false)],
        [source(cluster, false), destination(cluster, true)],
    ] {
        let mut rule = matching(chain, &conditions)?;
        rule.add_expr(&Masq);
        all.push(rule);
    }
    Ok(all)
}

fn commented<'a>(chain: &'a Chain<'a>) -> Result<Rule<'a>> {
    let mut rule = Rule::new(chain);
    rule.set_comment(c"flanneld masq").map_err(|e| Error::Invalid(e.into()))?;
    Ok(rule)
}

fn matching<'a>(chain: &'a Chain<'a>, conditions: &[Within]) -> Result<Rule<'a>> {
    let mut rule = commented(chain)?;
    for Within { field, network: (address, prefix), holds } in conditions {
        rule.add_expr(&Payload::Network(NetworkHeaderField::Ipv4(*field)));
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        rule.add_expr(&Bitwise::new(mask.to_be_bytes().as_slice(), [0_u8; 4].as_slice()));
        rule.add_expr(&Cmp::new(if *holds { CmpOp::Eq } else { CmpOp::Neq }, *address));
    }
    Ok(rule)
}
