//! The daemon's part in the kernel: the device, its address, the entries of all peers.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use net::Mac;
use net::vxlan::Vxlan;

use super::{Daemon, Summary};
use crate::apply::{Kernel, Refusal};
use crate::config::{self, Backend, NetworkConfig};
use crate::error::{Error, Result};
use crate::follow::Mirror;
use crate::hold::random;
use crate::lease::{Attributes, BackendData};
use crate::plan::{self, External, Observed, Op, Peer, Scope};
use crate::store::Registry;

/// What our lease says: by the device, or by a route where there is none.
pub(super) fn attributes(address: Ipv4Addr, device: Option<&Vxlan>) -> Attributes {
    let vxlan = |device: &Vxlan| BackendData::Vxlan { vni: device.vni, mac: device.mac };
    Attributes { public_ip: address, backend: device.map_or(BackendData::HostGw, vxlan) }
}

impl<R: Registry, K: Kernel> Daemon<R, K> {
    /// The links whose changes matter.
    pub(super) fn links(&self) -> Vec<String> {
        let external = self.seen.iter().filter_map(|seen| seen.external.as_ref()).map(|e| e.name.clone());
        let device = self.running.iter().filter_map(|config| match &config.backend {
            Backend::Vxlan(vxlan) => Some(vxlan.device()),
            Backend::HostGw => None,
        });
        external.chain(device).collect()
    }

    /// Looks at the kernel unless it is as it was left, and makes the device if it is not right.
    pub(super) async fn device(
        &mut self,
        config: &NetworkConfig,
        mirror: &Mirror,
    ) -> Result<(External, Option<Vxlan>)> {
        // Twice at most: to see, to change, and to see what came of it.
        for _ in 0..2 {
            let seen = match self.seen.take() {
                Some(seen) => seen,
                None => self.kernel.observe(self.options.address).await?,
            };
            let external = seen.external.clone().ok_or(Error::NoInterface(self.options.address))?;
            let wanted = match &config.backend {
                Backend::Vxlan(vxlan) => Some(self.vxlan(vxlan, &external, &seen, mirror)?),
                Backend::HostGw => None,
            };
            let ops = plan::device(wanted.as_ref(), &seen);
            if ops.is_empty() {
                self.seen = Some(seen);
                return Ok((external, wanted));
            }
            self.apply(&seen, &ops).await?;
        }
        Err(Error::Kernel(net::Error::Other("the vxlan device changes while it is made".into())))
    }

    /// The device that is wanted. Its Ethernet address is that of the one which is there; else the one
    /// that peers know already, from our lease; else a random one.
    fn vxlan(
        &self,
        vxlan: &config::Vxlan,
        external: &External,
        seen: &Observed,
        mirror: &Mirror,
    ) -> Result<Vxlan> {
        let mut device = Vxlan {
            name: vxlan.device(),
            vni: vxlan.vni,
            port: vxlan.port,
            underlay: external.index,
            local: self.options.address,
            learning: vxlan.learning,
            gbp: vxlan.gbp,
            mtu: vxlan.device_mtu(external.mtu)?,
            mac: Mac([0; 6]),
        };
        let there = seen.device(&device.name).filter(|there| plan::compatible(&device, there));
        let leased = || {
            let leases = mirror.leases.values().filter_map(|lease| lease.attributes.as_ref());
            let ours = leases.filter(|attributes| attributes.public_ip == self.options.address);
            self.holder.attributes().into_iter().chain(ours).find_map(|a| match a.backend {
                BackendData::Vxlan { mac, .. } => Some(mac).filter(|mac| mac.is_station()),
                _ => None,
            })
        };
        device.mac = match there.and_then(|there| there.mac).or_else(leased) {
            Some(mac) => mac,
            None => Mac::local(random()?),
        };
        Ok(device)
    }

    /// The device's address and the entries of all peers, as far as they are not there.
    pub(super) async fn entries(
        &mut self,
        config: &NetworkConfig,
        wanted: Option<&Vxlan>,
        subnet: Ipv4Network,
        mirror: &Mirror,
        summary: &mut Summary,
    ) -> Result<Vec<Peer>> {
        let Some(mut seen) = self.seen.take() else {
            return Err(Error::NoInterface(self.options.address));
        };
        let external = seen.external.clone().ok_or(Error::NoInterface(self.options.address))?;
        let device = wanted.and_then(|wanted| seen.device(&wanted.name)).cloned();
        let index = device.as_ref().map(|device| device.index);
        let own = (self.options.address, subnet);
        let peers = plan::peers(config, mirror.leases.values(), own, &external, index);
        let mut ops = device.map(|device| plan::address(&device, subnet)).unwrap_or_default();
        let links = ops.len();
        ops.extend(plan::entries(&peers, &self.scope(config, &external, index), &seen));
        let refusals = self.apply(&seen, &ops).await?;
        for op in &ops {
            if let Op::Entry(change) = op {
                seen.absorb(change);
            }
        }
        summary.remarks.extend(refused(&refusals, &seen));
        // What was not only entries is looked at again, and so is what was refused.
        if links == 0 && refusals.is_empty() {
            self.seen = Some(seen);
        }
        Ok(peers)
    }

    /// What is ours: under this configuration, and under the one before, so that nothing of that stays.
    fn scope(&self, config: &NetworkConfig, external: &External, device: Option<u32>) -> Scope {
        let direct = |config: &&NetworkConfig| match &config.backend {
            Backend::Vxlan(vxlan) => vxlan.direct_routing,
            Backend::HostGw => true,
        };
        Scope {
            device,
            external: Some(external.index),
            direct: [Some(config), self.running.as_ref()]
                .into_iter()
                .flatten()
                .filter(direct)
                .map(|config| (config.network, config.subnet_len))
                .collect(),
        }
    }

    async fn apply(&mut self, seen: &Observed, ops: &[Op]) -> Result<Vec<Refusal>> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        for op in ops {
            tracing::debug!(node = self.options.node, "{}", seen.show(op));
        }
        self.kernel.apply(ops).await
    }
}

/// One line for all that was refused.
fn refused(refusals: &[Refusal], seen: &Observed) -> Option<String> {
    let first = refusals.first()?;
    let more = match refusals.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more entries"),
    };
    Some(format!("{}: {}{more}", seen.show(&first.op), first.source))
}
