//! The cables of a topology, with the names of their plugs.

use crate::model::{LinkProperties, Topology};

/// A cable from a node, or a cluster's switch, up to a switch.
#[derive(Debug, Clone, PartialEq)]
pub struct Cable {
    /// The node, or the lower switch.
    pub node: String,
    /// Its interface: `C0w1-eth0`; of a switch the next free port.
    pub node_port: String,
    /// The switch.
    pub switch: String,
    /// The port: `C0s0-eth2`, from 1, as Mininet counts them.
    pub switch_port: String,
    /// Whether the lower end is a switch too.
    pub uplink: bool,
    /// What the topology file says of it.
    pub properties: LinkProperties,
}

impl Cable {
    /// Whether it runs between these two, in either order.
    #[must_use]
    pub fn joins(&self, a: &str, b: &str) -> bool {
        (self.node == a && self.switch == b) || (self.node == b && self.switch == a)
    }

    /// The far end, seen from `end`.
    #[must_use]
    pub fn other(&self, end: &str) -> Option<&str> {
        if self.node == end {
            Some(&self.switch)
        } else if self.switch == end {
            Some(&self.node)
        } else {
            None
        }
    }
}

impl Topology {
    /// Every cable: of each cluster its nodes' in their order, then its switch's uplink.
    #[must_use]
    pub fn cables(&self) -> Vec<Cable> {
        let mut cables = Vec::new();
        for (i, cluster) in self.clusters.iter().enumerate() {
            let mut port = 0;
            for (name, _) in cluster.nodes() {
                port += 1;
                cables.push(self.cable(
                    (name, format!("{name}-eth0")),
                    (&cluster.switch, format!("{}-eth{port}", cluster.switch)),
                    false,
                ));
            }
            let top = &self.underlay.switch;
            cables.push(self.cable(
                (&cluster.switch, format!("{}-eth{}", cluster.switch, port + 1)),
                (top, format!("{top}-eth{}", i + 1)),
                true,
            ));
        }
        cables
    }

    fn cable(
        &self,
        (node, node_port): (&str, String),
        (switch, switch_port): (&str, String),
        uplink: bool,
    ) -> Cable {
        let mut cable = Cable {
            node: node.into(),
            node_port,
            switch: switch.into(),
            switch_port,
            uplink,
            properties: LinkProperties::default(),
        };
        if let Some(spec) = self.links.iter().find(|l| cable.joins(&l.between.0, &l.between.1)) {
            cable.properties = spec.properties;
        }
        cable
    }
}
