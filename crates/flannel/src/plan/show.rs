//! Changes as the commands that would make them.

use std::fmt;

use net::batch::Change;
use net::vxlan::Vxlan;

use super::{Observed, Op};

impl Observed {
    /// A change as the command that would make it.
    pub(crate) fn show<'a>(&'a self, op: &'a Op) -> impl fmt::Display + 'a {
        Shown { op, seen: self }
    }

    fn name(&self, index: u32) -> String {
        let device = self.devices.iter().find(|device| device.index == index).map(|device| &device.name);
        let external = self.external.iter().find(|external| external.index == index).map(|e| &e.name);
        device.or(external).cloned().unwrap_or_else(|| format!("#{index}"))
    }
}

struct Shown<'a> {
    op: &'a Op,
    seen: &'a Observed,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Op::DeleteDevice { name } => write!(f, "ip link delete {name}"),
            Op::AddDevice(device) => {
                let Vxlan { name, vni, local, mtu, mac, .. } = device;
                let underlay = self.seen.name(device.underlay);
                write!(f, "ip link add {name} address {mac} mtu {mtu} type vxlan id {vni} dev {underlay}")?;
                write!(f, " local {local}")?;
                device.port.map_or(Ok(()), |port| write!(f, " dstport {port}"))?;
                f.write_str(if device.learning { " learning" } else { " nolearning" })?;
                f.write_str(if device.gbp { " gbp" } else { "" })
            }
            Op::SetMtu { name, mtu } => write!(f, "ip link set {name} mtu {mtu}"),
            Op::DeleteAddress { index, address } => {
                write!(f, "ip address delete {address} dev {}", self.seen.name(*index))
            }
            Op::AddAddress { index, address } => {
                write!(f, "ip address add {address} dev {}", self.seen.name(*index))
            }
            Op::SetUp { name } => write!(f, "ip link set {name} up"),
            Op::Entry(change) => self.entry(f, change),
        }
    }
}

impl Shown<'_> {
    fn entry(&self, f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
        let name = |index: u32| self.seen.name(index);
        match *change {
            Change::SetNeighbour { index, address, mac } => {
                write!(f, "ip neigh replace {address} lladdr {mac} dev {} nud permanent", name(index))
            }
            Change::DeleteNeighbour { index, address } => {
                write!(f, "ip neigh delete {address} dev {}", name(index))
            }
            Change::SetForwarding { index, mac, to } => {
                write!(f, "bridge fdb replace {mac} dev {} dst {to} self permanent", name(index))
            }
            Change::DeleteForwarding { index, mac, to } => {
                write!(f, "bridge fdb delete {mac} dev {} dst {to} self", name(index))
            }
            Change::SetRoute { to, gateway, index, onlink } => {
                let onlink = if onlink { " onlink" } else { "" };
                write!(f, "ip route replace {to} via {gateway} dev {}{onlink}", name(index))
            }
            Change::DeleteRoute { to, gateway, index } => {
                write!(f, "ip route delete {to} via {gateway} dev {}", name(index))
            }
        }
    }
}
