//! What `link set` changes: how the cables of the underlay are.
//!
//! Each figure has its place, so that none hides another:
//!
//! | figure | by | on |
//! |---|---|---|
//! | rate | tbf | both ends, each for what leaves it |
//! | delay | netem | both ends; where the kernel has none, a delay line in front of the switch's port |
//! | loss | nftables, netdev table `knetsim-links` | the switch's port, both ways |
//! | mtu | the link | both ends |
//! | up, down | the link | the switch's end: the other sees no carrier, and keeps its routes |

use std::sync::Arc;
use std::time::Duration;

use net::delay::crossing_time;
use net::links::VethEnd;
use net::tc::Shape;
use net::{Links, NetNs};
use nft::loss::{Hook, Loss};
use tokio::sync::{Mutex, OnceCell};
use topology::{Cable, LinkProperties, Topology, closest};

use crate::error::{Error, Result};
use crate::init::Lab;
use crate::protocol::{LinkEnd, LinkStatus};
use crate::supervisor::{Process, Spec};

/// The nftables table that loses packets.
const TABLE: &str = "knetsim-links";
/// A frame that is this much later than it should be does not come.
const LATE: Duration = Duration::from_secs(1);
/// A delay line that has not opened its devices by then never will.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every cable, and what is done to it.
#[derive(Debug)]
pub(crate) struct Wires {
    /// One change at a time.
    wires: Mutex<Vec<Wire>>,
    netem: OnceCell<bool>,
}

#[derive(Debug)]
struct Wire {
    cable: Cable,
    properties: LinkProperties,
    line: Option<Line>,
}

/// A delay line: the switch's port is taken out of its bridge, and a veth pair takes its place.
///
/// ```text
/// C0w1-eth0 ── C0s0-eth2 ◀─ delay line ─▶ dl1b ── dl1a (port of C0s0)
/// ```
#[derive(Debug)]
struct Line {
    port: String,
    inner: String,
    process: Arc<Process>,
    delay: Duration,
}

impl Wire {
    /// The device that is the bridge's port now.
    fn port(&self) -> &str {
        self.line.as_ref().map_or(&self.cable.switch_port, |line| &line.port)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.cable.node, self.cable.switch)
    }
}

/// Sockets at both ends of a cable.
struct Ends {
    node: Links,
    switch: Links,
}

impl Ends {
    fn open(lab: &Lab, cable: &Cable) -> Result<Self> {
        let node = match lab.machine(&cable.node) {
            Some(machine) => Links::open_in(&machine.net)?,
            None => Links::open()?,
        };
        Ok(Self { node, switch: Links::open()? })
    }
}

impl Wires {
    pub(crate) fn new(topology: &Topology) -> Self {
        let plain = |mut cable: Cable| {
            // What the file says of it is set once everything runs.
            let properties = std::mem::take(&mut cable.properties);
            (Wire { cable, properties: LinkProperties::default(), line: None }, properties)
        };
        let wires = topology.cables().into_iter().map(|cable| plain(cable).0).collect();
        Self { wires: Mutex::new(wires), netem: OnceCell::new() }
    }

    /// Sets what the topology file says.
    pub(crate) async fn apply_file(&self, lab: &Lab) -> Result<()> {
        for link in &lab.topology.links {
            let (a, b) = (&link.between.0, &link.between.1);
            self.set(lab, a, b, link.properties, false).await?;
        }
        Ok(())
    }

    /// Changes one link, checks that it is so, and tells how it is. What fails is undone.
    pub(crate) async fn set(
        &self,
        lab: &Lab,
        a: &str,
        b: &str,
        change: LinkProperties,
        clear: bool,
    ) -> Result<LinkStatus> {
        let mut wires = self.wires.lock().await;
        let index = find(&wires, a, b)?;
        let before = wires[index].properties;
        let base = if clear { LinkProperties::default() } else { before };
        let wanted = without_zeroes(base.with(change));
        if let Err(error) = self.realise(lab, &mut wires, index, wanted).await {
            // The first error is the one to tell; the old state was possible once.
            let _ = self.realise(lab, &mut wires, index, before).await;
            return Err(error);
        }
        self.describe(lab, &wires[index]).await
    }

    /// Every link as it is.
    pub(crate) async fn all(&self, lab: &Lab) -> Result<Vec<LinkStatus>> {
        let wires = self.wires.lock().await;
        let mut all = Vec::with_capacity(wires.len());
        for wire in wires.iter() {
            all.push(self.describe(lab, wire).await?);
        }
        Ok(all)
    }

    async fn netem(&self) -> Result<bool> {
        let known = self.netem.get_or_try_init(|| async { Links::open()?.has_qdisc("netem").await }).await?;
        Ok(*known)
    }

    async fn realise(
        &self,
        lab: &Lab,
        wires: &mut [Wire],
        index: usize,
        wanted: LinkProperties,
    ) -> Result<()> {
        let netem = wanted.delay.is_some() && self.netem().await?;
        let ends = Ends::open(lab, &wires[index].cable)?;
        let line = if netem { None } else { wanted.delay.map(|delay| delay.duration()) };
        set_line(lab, &ends, &mut wires[index], index, line).await?;
        let wire = &mut wires[index];
        let cable = &wire.cable;
        let mtu = wanted.mtu.unwrap_or(lab.topology.underlay.mtu);
        ends.node.set_mtu(&cable.node_port, mtu).await?;
        ends.switch.set_mtu(&cable.switch_port, mtu).await?;
        if let Some(line) = &wire.line {
            ends.switch.set_mtu(&line.port, mtu).await?;
            ends.switch.set_mtu(&line.inner, mtu).await?;
        }
        let shape = Shape {
            rate: wanted.rate.map(topology::Rate::bits),
            delay: if netem { wanted.delay.map(topology::Delay::duration) } else { None },
            loss: None,
        };
        if shape != Shape::default() || wire.properties.rate.is_some() || wire.properties.delay.is_some() {
            ends.node.set_shape(&cable.node_port, &shape).await?;
            ends.switch.set_shape(&cable.switch_port, &shape).await?;
        }
        let losing = wanted.loss.is_some() || wire.properties.loss.is_some();
        wire.properties = wanted;
        if losing {
            nft::loss::set_loss(TABLE, &losses(wires))?;
        }
        let wire = &wires[index];
        ends.switch.set_up(&wire.cable.switch_port, wanted.up != Some(false)).await?;
        verify(&ends, wire, mtu, &shape).await?;
        measure(lab, wire).await
    }

    async fn describe(&self, lab: &Lab, wire: &Wire) -> Result<LinkStatus> {
        let ends = Ends::open(lab, &wire.cable)?;
        let end = |node: &str, link: net::links::Link| LinkEnd {
            node: node.into(),
            up: link.admin_up && link.carrier,
            mtu: link.mtu,
            interface: link.name,
        };
        let cable = &wire.cable;
        let a = end(&cable.node, ends.node.get(&cable.node_port).await?);
        let b = end(&cable.switch, ends.switch.get(&cable.switch_port).await?);
        let properties = wire.properties;
        let delay = match &wire.line {
            Some(_) => "delay line",
            None => "netem",
        };
        let means =
            [properties.rate.map(|_| "tbf"), properties.loss.map(|_| "nft"), properties.delay.map(|_| delay)];
        let means = means.into_iter().flatten().map(str::to_owned).collect();
        Ok(LinkStatus { a, b, properties, means })
    }
}

fn find(wires: &[Wire], a: &str, b: &str) -> Result<usize> {
    if let Some(index) = wires.iter().position(|wire| wire.cable.joins(a, b)) {
        return Ok(index);
    }
    let names = || wires.iter().flat_map(|w| [w.cable.node.as_str(), w.cable.switch.as_str()]);
    for name in [a, b] {
        if !names().any(|known| known == name) {
            let message = format!("there is no node or switch {name}");
            return Err(match closest(name, names()) {
                Some(near) => Error::Hinted { message, hint: format!("did you mean {near}?") },
                None => Error::Hinted { message, hint: "`topo links` shows all links".into() },
            });
        }
    }
    let neighbours: Vec<&str> = wires.iter().filter_map(|wire| wire.cable.other(a)).collect();
    Err(Error::Hinted {
        message: format!("there is no link between {a} and {b}"),
        hint: format!("{a} is linked to {}", neighbours.join(", ")),
    })
}

fn without_zeroes(mut properties: LinkProperties) -> LinkProperties {
    properties.delay = properties.delay.filter(|delay| !delay.duration().is_zero());
    properties.loss = properties.loss.filter(|loss| loss.percent() > 0.0);
    properties
}

/// The rules for all wires: a table is replaced as a whole.
fn losses(wires: &[Wire]) -> Vec<Loss> {
    let mut losses = Vec::new();
    for wire in wires {
        let Some(loss) = wire.properties.loss else { continue };
        let Cable { node, switch, .. } = &wire.cable;
        for (hook, from, to) in [(Hook::Ingress, node, switch), (Hook::Egress, switch, node)] {
            losses.push(Loss {
                device: wire.port().into(),
                percent: loss.percent(),
                hook,
                comment: format!("link {node} - {switch}: loss {loss} from {from} to {to}"),
            });
        }
    }
    losses
}

/// Puts a delay line in, takes it out, or exchanges it.
async fn set_line(
    lab: &Lab,
    ends: &Ends,
    wire: &mut Wire,
    index: usize,
    delay: Option<Duration>,
) -> Result<()> {
    if wire.line.as_ref().map(|line| line.delay) == delay {
        return Ok(());
    }
    let controller = ends.switch.get(&wire.cable.switch).await?.index;
    if let Some(line) = wire.line.take() {
        line.process.stop();
        ends.switch.delete(&line.port).await?;
        ends.switch.set_controller(&wire.cable.switch_port, Some(controller)).await?;
    }
    let Some(delay) = delay else { return Ok(()) };
    let (port, inner) = (format!("dl{index}a"), format!("dl{index}b"));
    let alias = format!("delay line of {}", wire.name());
    let mtu = lab.topology.underlay.mtu;
    // Out of the bridge first: with both in it, the line would close a loop.
    ends.switch.set_controller(&wire.cable.switch_port, None).await?;
    let made = async {
        let outer = VethEnd { name: &port, alias: &alias };
        ends.switch
            .add_veth(outer, Some(controller), VethEnd { name: &inner, alias: &alias }, None, mtu)
            .await?;
        ends.switch.set_up_with_alias(&inner, &alias).await?;
        start_line(lab, wire, &inner, delay).await
    };
    match made.await {
        Ok(process) => {
            wire.line = Some(Line { port, inner, process, delay });
            Ok(())
        }
        Err(error) => {
            // The cable goes back to where it was; the error is the one to tell.
            let _ = ends.switch.delete(&port).await;
            ends.switch.set_controller(&wire.cable.switch_port, Some(controller)).await?;
            Err(error)
        }
    }
}

async fn start_line(lab: &Lab, wire: &Wire, inner: &str, delay: Duration) -> Result<Arc<Process>> {
    let args = ["delay-line", &wire.cable.switch_port, inner, &delay.as_micros().to_string()].map(Into::into);
    let mut changes = lab.supervisor.changes();
    let process = lab.supervisor.start(Spec {
        node: wire.cable.node.clone(),
        component: "delay-line".into(),
        program: "/proc/self/exe".into(),
        arg0: "topo".into(),
        args: args.into(),
        namespaces: Vec::new(),
    });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let state = process.state();
        if state.ready {
            return Ok(process);
        }
        let late = tokio::time::timeout_at(deadline, changes.changed()).await.is_err();
        if late || state.failures > 0 {
            process.stop();
            return Err(Error::Refused(format!("delay line of {}: {}", wire.name(), state.message)));
        }
    }
}

/// Looks whether the kernel has what was asked of it.
async fn verify(ends: &Ends, wire: &Wire, mtu: u32, shape: &Shape) -> Result<()> {
    let Cable { node_port, switch_port, .. } = &wire.cable;
    let wanted_up = wire.properties.up != Some(false);
    for (links, name) in [(&ends.node, node_port), (&ends.switch, switch_port)] {
        let link = links.get(name).await?;
        expect(name, "mtu", link.mtu, mtu)?;
        let now = links.shape(name).await?;
        let near = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(b) <= b / 100 + 8,
            (a, b) => a == b,
        };
        if !near(now.rate, shape.rate) || now.delay != shape.delay {
            return Err(Error::Refused(format!("{name}: the kernel has {now:?} instead of {shape:?}")));
        }
    }
    if let Some(line) = &wire.line {
        for name in [&line.port, &line.inner] {
            expect(name, "mtu", ends.switch.get(name).await?.mtu, mtu)?;
        }
    }
    expect(switch_port, "up", ends.switch.get(switch_port).await?.admin_up, wanted_up)?;
    let have = nft::loss::losses(TABLE)?.into_iter().map(|counted| counted.loss);
    let have: Vec<Loss> = have.filter(|l| l.device == wire.port()).collect();
    let percent = wire.properties.loss.map(topology::Loss::percent);
    let as_wanted = have.iter().all(|l| Some(l.percent) == percent)
        && have.len() == if percent.is_some() { 2 } else { 0 };
    if !as_wanted {
        return Err(Error::Refused(format!(
            "{}: the kernel has {have:?} instead of a loss of {percent:?}",
            wire.port()
        )));
    }
    Ok(())
}

/// Sends frames both ways and looks how long they take: whether a delay is there cannot be read from a
/// delay line, and netem's is worth a look too.
async fn measure(lab: &Lab, wire: &Wire) -> Result<()> {
    let properties = &wire.properties;
    let Some(delay) = properties.delay.map(topology::Delay::duration) else { return Ok(()) };
    let loss = properties.loss.map_or(0.0, topology::Loss::percent);
    if properties.up == Some(false) || loss > 90.0 {
        return Ok(());
    }
    let (name, machine) = (wire.name(), lab.machine(&wire.cable.node));
    let (node_port, port) = (wire.cable.node_port.clone(), wire.port().to_owned());
    // Where some are lost, nine in ten, 50 times in a row, are not.
    let copies = if loss > 0.0 { 50 } else { 1 };
    let crossing = move || {
        let own = NetNs::current()?;
        let node = (machine.as_ref().map_or(&own, |machine| &*machine.net), node_port.as_str());
        let switch = (&own, port.as_str());
        for (from, to) in [(node, switch), (switch, node)] {
            let what = match crossing_time(from, to, copies, delay + LATE)? {
                Some(taken) if taken >= delay.mul_f64(0.95) => continue,
                Some(taken) => format!("took {taken:?}"),
                None => "did not arrive".into(),
            };
            let message =
                format!("{name}: with a delay of {delay:?} a frame from {} to {} {what}", from.1, to.1);
            return Err(Error::Refused(message));
        }
        Ok(())
    };
    match tokio::task::spawn_blocking(crossing).await {
        Ok(result) => result,
        Err(e) => Err(Error::Refused(format!("measure a delay: {e}"))),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(name: &str, what: &str, have: T, want: T) -> Result<()> {
    if have == want {
        return Ok(());
    }
    Err(Error::Refused(format!("{name}: {what} is {have:?} instead of {want:?}")))
}
