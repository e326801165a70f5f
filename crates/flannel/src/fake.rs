//! A kernel in memory that refuses what the real one refuses.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use net::batch::Change;
use net::vxlan::VxlanInfo;
use tokio::sync::Notify;

use crate::apply::{Kernel, Refusal};
use crate::error::{Error, Result};
use crate::masquerade::Masquerade;
use crate::plan::{Device, External, Observed, Op};

/// Clones are the same kernel.
#[derive(Debug, Clone)]
pub(crate) struct FakeKernel {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    state: Observed,
    next: u32,
    /// What was done, as commands.
    log: Vec<String>,
    observed: usize,
    masquerade: Vec<Option<Masquerade>>,
    /// Why there are no VXLAN devices, if so.
    no_vxlan: Option<i32>,
}

impl FakeKernel {
    /// With `eth0`, index 2, MTU 1500, 10.0.0.3/24.
    pub(crate) fn new() -> Self {
        let external = External {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            networks: vec!["10.0.0.3/24".parse().unwrap()],
        };
        let state = Observed { external: Some(external), ..Observed::default() };
        let inner =
            Inner { state, next: 3, log: Vec::new(), observed: 0, masquerade: Vec::new(), no_vxlan: None };
        Self { inner: Arc::new(Mutex::new(inner)), changed: Arc::default() }
    }

    /// Refuses VXLAN devices with an error number, or no longer.
    pub(crate) fn refuse_vxlan(&self, errno: Option<i32>) {
        self.lock().no_vxlan = errno;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What there is.
    pub(crate) fn state(&self) -> Observed {
        self.lock().state.clone()
    }

    /// What was done since the last time, one command a line.
    pub(crate) fn log(&self) -> String {
        std::mem::take(&mut self.lock().log).join("\n")
    }

    /// How often it was looked at.
    pub(crate) fn observed(&self) -> usize {
        self.lock().observed
    }

    /// The rules that were asked for, one after the other.
    pub(crate) fn masqueraded(&self) -> Vec<Option<Masquerade>> {
        self.lock().masquerade.clone()
    }

    /// Somebody else changes something.
    pub(crate) fn meddle(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.lock().state);
    }

    /// Somebody else deletes a link, and with it all that is on it.
    pub(crate) fn delete_link(&self, name: &str) {
        self.lock().delete(name);
        self.changed.notify_waiters();
    }
}

impl Inner {
    fn delete(&mut self, name: &str) {
        let Some(index) = self.state.device(name).map(|device| device.index) else { return };
        let state = &mut self.state;
        state.devices.retain(|device| device.index != index);
        state.neighbours.retain(|neighbour| neighbour.index != index);
        state.forwarding.retain(|forwarding| forwarding.index != index);
        state.routes.retain(|route| route.index != index);
    }

    fn link(&mut self, op: &Op) {
        let state = &mut self.state;
        let by_index = |state: &mut Observed, index: u32| {
            state.devices.iter().position(|device| device.index == index).expect("no such device")
        };
        match op {
            Op::DeleteDevice { name } => self.delete(name),
            Op::AddDevice(device) => {
                assert!(state.device(&device.name).is_none(), "File exists: {}", device.name);
                state.devices.push(Device {
                    name: device.name.clone(),
                    index: self.next,
                    mtu: device.mtu,
                    up: false,
                    mac: Some(device.mac),
                    vxlan: Some(VxlanInfo {
                        vni: device.vni,
                        port: device.port.unwrap_or(8472),
                        underlay: Some(device.underlay),
                        local: Some(device.local),
                        group: None,
                        learning: device.learning,
                        gbp: device.gbp,
                    }),
                    addresses: Vec::new(),
                });
                self.next += 1;
            }
            Op::SetMtu { name, mtu } => {
                state.devices.iter_mut().find(|d| d.name == *name).expect("no such device").mtu = *mtu;
            }
            Op::SetUp { name } => {
                state.devices.iter_mut().find(|d| d.name == *name).expect("no such device").up = true;
            }
            Op::DeleteAddress { index, address } => {
                let at = by_index(state, *index);
                state.devices[at].addresses.retain(|a| a != address);
            }
            Op::AddAddress { index, address } => {
                let at = by_index(state, *index);
                assert!(!state.devices[at].addresses.contains(address), "File exists: {address}");
                state.devices[at].addresses.push(*address);
            }
            Op::Entry(_) => unreachable!(),
        }
    }

    fn entry(&mut self, change: &Change) -> std::result::Result<(), i32> {
        let state = &mut self.state;
        let external = state.external.as_ref().expect("an external interface");
        let device = |index: u32| state.devices.iter().find(|device| device.index == index);
        match *change {
            Change::SetNeighbour { index, .. } | Change::SetForwarding { index, .. } => {
                device(index).ok_or(libc::ENODEV)?;
            }
            Change::SetRoute { index, gateway, onlink, .. } if index == external.index => {
                let reachable = onlink || external.networks.iter().any(|n| n.contains(gateway));
                reachable.then_some(()).ok_or(libc::ENETUNREACH)?;
            }
            Change::SetRoute { index, onlink, .. } => {
                let up = device(index).ok_or(libc::ENODEV)?.up;
                up.then_some(()).ok_or(libc::ENETDOWN)?;
                onlink.then_some(()).ok_or(libc::ENETUNREACH)?;
            }
            Change::DeleteNeighbour { index, address } => {
                let there = state.neighbours.iter().any(|n| (n.index, n.address) == (index, address));
                there.then_some(()).ok_or(libc::ENOENT)?;
            }
            Change::DeleteForwarding { index, mac, to } => {
                let there = state.forwarding.iter().any(|f| (f.index, f.mac, f.to) == (index, mac, to));
                there.then_some(()).ok_or(libc::ENOENT)?;
            }
            Change::DeleteRoute { to, gateway, index } => {
                let there = state.routes.iter().any(|r| (r.to, r.gateway, r.index) == (to, gateway, index));
                there.then_some(()).ok_or(libc::ESRCH)?;
            }
        }
        state.absorb(change);
        Ok(())
    }
}

impl Kernel for FakeKernel {
    async fn observe(&mut self, address: Ipv4Addr) -> Result<Observed> {
        let mut inner = self.lock();
        inner.observed += 1;
        let mut seen = inner.state.clone();
        seen.external = seen.external.filter(|e| e.networks.iter().any(|n| n.ip() == address));
        Ok(seen)
    }

    async fn apply(&mut self, ops: &[Op]) -> Result<Vec<Refusal>> {
        let mut inner = self.lock();
        let mut refusals = Vec::new();
        for op in ops {
            let command = inner.state.show(op).to_string();
            match op {
                Op::Entry(change) => match inner.entry(change) {
                    Ok(()) => inner.log.push(command),
                    Err(errno) => {
                        refusals.push(Refusal { op: op.clone(), source: io::Error::from_raw_os_error(errno) })
                    }
                },
                Op::AddDevice(device) if inner.no_vxlan.is_some() => {
                    let source = io::Error::from_raw_os_error(inner.no_vxlan.unwrap_or_default());
                    let source = net::Error::sys(format!("add vxlan device {}", device.name), source);
                    return Err(Error::NoVxlan { device: device.name.clone(), source });
                }
                link => {
                    inner.link(link);
                    inner.log.push(command);
                }
            }
        }
        Ok(refusals)
    }

    fn masquerade(&mut self, rules: Option<&Masquerade>) -> Result<()> {
        self.lock().masquerade.push(rules.cloned());
        Ok(())
    }

    async fn changed(&mut self, _: &[String]) {
        self.changed.notified().await;
    }
}
