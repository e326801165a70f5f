//! Losses as the kernel has them.

use std::collections::BTreeMap;

use super::{Hook, Loss, SCALE};
use crate::error::{Error, Result};
use crate::message::{Attributes, TABLE, put_string};
use crate::ruleset::comment;
use crate::socket::Socket;

// Attributes of objects and expressions (`linux/netfilter/nf_tables.h`).
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_NG_MODULUS: u16 = 2;
const NFTA_NG_TYPE: u16 = 3;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_IMMEDIATE_DATA: u16 = 2;

/// A loss that the kernel has, and what it lost so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// The loss, as it was set.
    pub loss: Loss,
    /// Packets lost.
    pub packets: u64,
    /// Bytes lost, Ethernet headers not counted.
    pub bytes: u64,
}

/// The losses that table `netdev <table>` of the calling thread's namespace makes, ordered by device
/// and direction; none when there is no such table.
///
/// # Errors
/// The kernel's; [`Error::Answer`] when the table has a rule that [`super::set_loss`] does not make.
pub fn losses(table: &str) -> Result<Vec<Counted>> {
    let mut socket = Socket::open()?;
    let mut filter = Vec::new();
    put_string(&mut filter, TABLE, table);
    let ours = |object: &Vec<u8>| Attributes(object).string(TABLE).as_deref() == Some(table);
    let chains = socket.dump(libc::NFT_MSG_GETCHAIN, libc::NFPROTO_NETDEV, &filter)?;
    // The kernel need not heed the filter.
    let chains: BTreeMap<String, (String, Hook)> =
        chains.iter().filter(|object| ours(object)).filter_map(|object| chain(Attributes(object))).collect();
    let rules = socket.dump(libc::NFT_MSG_GETRULE, libc::NFPROTO_NETDEV, &filter)?;
    let rules = rules.iter().filter(|object| ours(object));
    let mut found =
        rules.map(|object| rule(table, Attributes(object), &chains)).collect::<Result<Vec<_>>>()?;
    found.sort_by(|a, b| (&a.loss.device, a.loss.hook).cmp(&(&b.loss.device, b.loss.hook)));
    Ok(found)
}

/// Name, device and direction of a base chain.
fn chain(chain: Attributes<'_>) -> Option<(String, (String, Hook))> {
    let hook = chain.nest(NFTA_CHAIN_HOOK);
    let direction = match hook.u32(NFTA_HOOK_HOOKNUM)? {
        0 => Hook::Ingress,
        1 => Hook::Egress,
        _ => return None,
    };
    Some((chain.string(NFTA_CHAIN_NAME)?, (hook.string(NFTA_HOOK_DEV)?, direction)))
}

fn rule(table: &str, rule: Attributes<'_>, chains: &BTreeMap<String, (String, Hook)>) -> Result<Counted> {
    let name = rule.string(NFTA_RULE_CHAIN).unwrap_or_default();
    let unknown = || {
        let handle = rule.u64(NFTA_RULE_HANDLE).unwrap_or(0);
        Error::Answer(format!("rule {handle} of chain netdev {table} {name} is not one that makes a loss"))
    };
    let (device, hook) = chains.get(&name).cloned().ok_or_else(unknown)?;
    let Effect { threshold, packets, bytes, .. } =
        effect(rule.nest(NFTA_RULE_EXPRESSIONS)).ok_or_else(unknown)?;
    let comment = comment(rule.get(NFTA_RULE_USERDATA).unwrap_or_default());
    let percent = f64::from(threshold) * 100.0 / f64::from(SCALE);
    Ok(Counted { loss: Loss { device, percent, hook, comment }, packets, bytes })
}

/// What a rule does.
struct Effect {
    threshold: u32,
    packets: u64,
    bytes: u64,
    drops: bool,
}

/// The effect of expressions, nothing if they are not those of a loss.
fn effect(expressions: Attributes<'_>) -> Option<Effect> {
    let mut effect = Effect { threshold: SCALE, packets: 0, bytes: 0, drops: false };
    for (_, expression) in expressions {
        let expression = Attributes(expression);
        let data = expression.nest(NFTA_EXPR_DATA);
        match expression.string(NFTA_EXPR_NAME)?.as_str() {
            "numgen" => {
                let random = data.u32(NFTA_NG_TYPE)? == libc::NFT_NG_RANDOM as u32;
                (random && data.u32(NFTA_NG_MODULUS)? == SCALE).then_some(())?;
            }
            "byteorder" => {}
            "cmp" => {
                (data.u32(NFTA_CMP_OP)? == libc::NFT_CMP_LT as u32).then_some(())?;
                effect.threshold = data.nest(NFTA_CMP_DATA).u32(NFTA_DATA_VALUE)?;
            }
            "counter" => {
                effect.packets = data.u64(NFTA_COUNTER_PACKETS)?;
                effect.bytes = data.u64(NFTA_COUNTER_BYTES)?;
            }
            "immediate" => {
                let verdict = data.nest(NFTA_IMMEDIATE_DATA).nest(NFTA_DATA_VERDICT);
                effect.drops = verdict.u32(NFTA_VERDICT_CODE)?.cast_signed() == libc::NF_DROP;
            }
            _ => return None,
        }
    }
    effect.drops.then_some(effect)
}
