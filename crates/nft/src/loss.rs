//! Links that lose packets.
//!
//! One table of family `netdev` holds, for each device and direction, a base chain with rules that
//! drop at random. It works on every packet, ARP too, and costs nothing where there is no loss.
//!
//! ```text
//! table netdev loss {
//!     chain ingress-eth0 {
//!         type filter hook ingress device "eth0" priority filter; policy accept;
//!         numgen random mod 10000 < 500 counter packets 0 bytes 0 drop comment "C0w1 - C0s0"
//!     }
//! }
//! ```

use std::collections::BTreeMap;
use std::ffi::CString;

use nftnl::expr::{Cmp, CmpOp, Counter, Register, Verdict};
use nftnl::{Chain, ChainType, Policy, ProtoFamily, Rule, Table};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::expr::{random, to_network_order};
use crate::socket::Socket;
use crate::transaction::{Batch, Transaction};

mod read;

pub use read::{Counted, losses};

/// Losses are counted in hundredths of a percent: a random figure below this is drawn.
const SCALE: u32 = 10_000;

/// libnftnl's buffer for a comment, less its header and the zero byte at its end
/// (`NFTNL_UDATA_COMMENT_MAXLEN`).
const COMMENT: usize = 125;

/// Priority `filter`: what listens elsewhere may run before or after.
const PRIORITY: i32 = 0;

/// Which way packets go, seen from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// What the device receives.
    Ingress,
    /// What the device sends. Not every kernel has it: [`Error::NoEgress`].
    Egress,
}

/// Packets that are to be lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Name of a device.
    pub device: String,
    /// Share of the packets, in percent, 0 to 100, rounded to 0.01 (what is less but not nought, up).
    pub percent: f64,
    /// Of what it receives or of what it sends.
    pub hook: Hook,
    /// Shown in a listing: what the rule is there for. At most 125 bytes, without quotes.
    pub comment: String,
}

/// Makes `netdev <table>`, in the calling thread's namespace, lose exactly these packets. The table is
/// replaced at once, or left as it was after an error; without any loss it is deleted. Counters start
/// anew.
///
/// Losses of the same device and direction add up, one after the other. A device that goes away takes
/// its loss with it; since Linux 6.16 it brings it back under the same name.
///
/// # Errors
/// [`Error::NoDevice`], [`Error::NoEgress`], [`Error::Invalid`] for values out of range; otherwise
/// what the kernel says ([`Error::Refused`]).
pub fn set_loss(table: &str, losses: &[Loss]) -> Result<()> {
    let chains = plan(losses)?;
    for chain in &chains {
        device_exists(&chain.device)?;
    }
    let (batch, positions) = render(table, &chains)?;
    Socket::open()?.run(&batch).map_err(|e| explain(e, &positions))
}

/// Since Linux 6.16 the kernel takes a chain for a device that is not there.
fn device_exists(device: &str) -> Result<()> {
    match nix::net::if_::if_nametoindex(device) {
        Ok(_) => Ok(()),
        Err(Errno::ENODEV) => Err(Error::NoDevice(device.into())),
        Err(e) => Err(Error::Refused {
            what: format!("look for device {device}"),
            position: None,
            source: e.into(),
        }),
    }
}

/// A base chain that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LossChain {
    device: String,
    hook: Hook,
    /// Threshold, out of [`SCALE`], and comment.
    rules: Vec<(u32, String)>,
}

impl LossChain {
    fn name(&self) -> String {
        match self.hook {
            Hook::Ingress => format!("ingress-{}", self.device),
            Hook::Egress => format!("egress-{}", self.device),
        }
    }
}

/// The chains that losses take, ordered by device and direction, each of them valid.
fn plan(losses: &[Loss]) -> Result<Vec<LossChain>> {
    let mut chains: BTreeMap<(&str, Hook), Vec<(u32, String)>> = BTreeMap::new();
    for loss in losses {
        let threshold = threshold(loss)?;
        check_comment(loss)?;
        if threshold > 0 {
            chains.entry((&loss.device, loss.hook)).or_default().push((threshold, loss.comment.clone()));
        }
    }
    let chain = |((device, hook), rules): ((&str, Hook), _)| LossChain { device: device.into(), hook, rules };
    Ok(chains.into_iter().map(chain).collect())
}

fn threshold(loss: &Loss) -> Result<u32> {
    let percent = loss.percent;
    if !(0.0..=100.0).contains(&percent) {
        return Err(Error::Invalid(format!(
            "loss of {percent} % on device {}: not within 0 to 100",
            loss.device
        )));
    }
    let threshold = (percent * f64::from(SCALE) / 100.0).round() as u32;
    Ok(if percent > 0.0 { threshold.max(1) } else { 0 })
}

/// nft has no way to write a quote within a comment: its own listing would not load again.
fn check_comment(loss: &Loss) -> Result<()> {
    let Loss { comment, device, .. } = loss;
    if comment.len() > COMMENT {
        return Err(Error::Invalid(format!(
            "comment for device {device}: longer than {COMMENT} bytes: {comment}"
        )));
    }
    if comment.contains(|c: char| c == '"' || c.is_control()) {
        return Err(Error::Invalid(format!(
            "comment for device {device}: has a quote or control character: {comment:?}"
        )));
    }
    Ok(())
}

/// The batch that makes the table hold these chains, and at which of its positions each chain is.
fn render<'a>(table: &str, chains: &'a [LossChain]) -> Result<(Batch, BTreeMap<usize, &'a LossChain>)> {
    let table = Table::new(c_string(table)?, ProtoFamily::NetDev);
    let mut transaction = Transaction::new();
    let mut positions = BTreeMap::new();
    // To delete what is not there is an error, so it is made first.
    transaction.add(&table);
    transaction.delete(&table);
    if !chains.is_empty() {
        transaction.add(&table);
    }
    for plan in chains {
        let mut chain = Chain::new(c_string(&plan.name())?, &table);
        chain.set_type(ChainType::Filter);
        chain.set_hook(hook_number(plan.hook), PRIORITY);
        chain.set_policy(Policy::Accept);
        chain.set_device(c_string(&plan.device)?);
        positions.insert(transaction.len(), plan);
        transaction.add(&chain);
        for (threshold, comment) in &plan.rules {
            transaction.add(&rule(&chain, *threshold, comment)?);
        }
    }
    Ok((transaction.seal(), positions))
}

fn rule<'a>(chain: &'a Chain<'a>, threshold: u32, comment: &str) -> Result<Rule<'a>> {
    let mut rule = Rule::new(chain);
    // All is less than SCALE, and nft refuses to read the comparison back.
    if threshold < SCALE {
        rule.add_expr(&random(SCALE, Register::Reg1));
        rule.add_expr(&to_network_order(Register::Reg1));
        rule.add_expr(&Cmp::new(CmpOp::Lt, threshold.to_be_bytes().as_slice()));
    }
    rule.add_expr(&Counter);
    rule.add_expr(&Verdict::Drop);
    if !comment.is_empty() {
        rule.set_comment(c_string(comment)?)
            .map_err(|e| Error::Invalid(format!("comment {comment}: {e}")))?;
    }
    Ok(rule)
}

/// The numbers of hooks are a family's own: `netdev` has ingress as 0 and egress as 1 (`enum
/// nf_dev_hooks` of `linux/netfilter.h`); the crate's names are those of `inet` (`enum nf_inet_hooks`).
fn hook_number(hook: Hook) -> nftnl::Hook {
    match hook {
        Hook::Ingress => nftnl::Hook::PreRouting,
        Hook::Egress => nftnl::Hook::In,
    }
}

/// Says what a refused chain means.
fn explain(error: Error, positions: &BTreeMap<usize, &LossChain>) -> Error {
    let Error::Refused { position: Some(position), .. } = &error else {
        return error;
    };
    match (positions.get(position), error.errno()) {
        // nft_chain_parse_hook() or nf_register_net_hook(), as the kernel is too old or built without.
        (Some(chain), Some(libc::EOPNOTSUPP)) if chain.hook == Hook::Egress => {
            Error::NoEgress(chain.device.clone())
        }
        // It went away since it was looked for.
        (Some(chain), Some(libc::ENOENT)) => Error::NoDevice(chain.device.clone()),
        _ => error,
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Invalid(format!("name with a zero byte: {text:?}")))
}

#[cfg(test)]
mod tests;
