//! What makes links slow and late.

use std::time::Duration;

use anyhow::{Result, bail};
use net::Links;
use net::delay::DelayLine;
use nix::errno::Errno;

use super::Lane;
use super::links::end;
use super::netlink::Netlink;

pub(super) fn run(lane: &Lane<'_>) {
    // Both belong to the same place, which is not the root: there, kernels before 6.4 take them, and
    // do themselves harm (`ingress_init` of net/sched/sch_ingress.c).
    for (name, kind, device) in [("clsact", "clsact", "a"), ("ingress qdisc", "ingress", "b")] {
        lane.attempt(name, || {
            if name == "clsact" {
                pair(lane)?;
            }
            let index = lane.runtime.block_on(async { Links::open()?.get(device).await })?.index;
            Netlink::open()?.add_ingress(index, kind).map_err(|e| lacking(kind, e))?;
            Ok(String::new())
        });
    }
    lane.attempt("delay line", || {
        DelayLine::open("a", "b", Duration::from_millis(1))?;
        Ok(String::new())
    });
    // Last: to delete what they were tried on takes its time.
    for kind in ["tbf", "netem"] {
        lane.attempt_async(kind, async {
            match Links::open()?.has_qdisc(kind).await? {
                true => Ok(String::new()),
                false => bail!("this kernel has no {kind}"),
            }
        });
    }
}

/// Two devices, joined by a cable.
fn pair(lane: &Lane<'_>) -> Result<()> {
    lane.runtime.block_on(async { Links::open()?.add_veth(end("a"), None, end("b"), None, 1500).await })?;
    Ok(())
}

/// `ENOENT` stands for a kind that is not there, even after its module was looked for.
fn lacking(kind: &str, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Errno::ENOENT) => anyhow::anyhow!("this kernel has no {kind}"),
        _ => error,
    }
}
