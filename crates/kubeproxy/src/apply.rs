//! The kernel: the table, and tracked connections.

mod render;

use nft::conntrack::{self, Flow};
use nft::ruleset::{self, Live, Table};
use nft::{Socket, Transaction};

use crate::chains::Structure;
use crate::error::{Error, Result};
use crate::ops::{Elements, Observed, Op, Standing};

use render::{Unit, units};

/// The table's name, as the real kube-proxy has it.
pub const TABLE: &str = "kube-proxy";
/// What a table of ours says of itself first.
pub const OWNER: &str = "knetsim kube-proxy";
/// Bytes that open and close a batch.
const FRAME: usize = 64;

/// The messages for operations on a table whose comment is `comment`, in their order.
#[must_use]
pub fn messages(table: &Table, comment: &str, ops: &[Op]) -> Vec<ruleset::Change> {
    units(table, comment, ops).into_iter().flat_map(|unit| unit.changes).collect()
}

/// What is asked of the kernel. The other one is the fake of the tests.
///
/// # Errors
/// Each operation fails with what the kernel says; `observe` with [`Error::Foreign`] where the table is somebody else's.
pub trait Kernel {
    /// How the table stands to what it is to be; none if there is none.
    fn observe(&mut self, wanted: &Structure) -> Result<Option<Observed>>;
    /// The elements of a map of the table.
    fn elements(&mut self, map: &str) -> Result<Elements>;
    /// Does all of it, in this order: at once, or in several steps where the kernel takes no more at once. Says in
    /// how many.
    fn commit(&mut self, ops: &[Op]) -> Result<u32>;
    /// The number of the ruleset: every transaction, of whomever, makes it another.
    fn generation(&mut self) -> Result<u32>;
    /// Tracked connections of a protocol.
    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>>;
    /// Forgets a tracked connection, if it is still there.
    fn forget(&mut self, flow: &Flow) -> Result<()>;
}

/// The kernel of the namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    table: Table,
    comment: String,
    /// Bytes of a batch, where that is less than the kernel takes.
    at_most: usize,
}

fn failed(what: &'static str) -> impl Fn(nft::Error) -> Error {
    move |source| Error::Kernel { what, source }
}

impl Netlink {
    /// Opens the table of a family in the calling thread's network namespace; `node` is the worker's name.
    ///
    /// # Errors
    /// When the kernel has no netfilter.
    pub fn open(family: ruleset::Family, node: &str) -> Result<Self> {
        let socket = Socket::open().map_err(failed("open netfilter"))?;
        Ok(Self {
            socket,
            table: Table::new(family, TABLE),
            comment: format!("{OWNER} of {node}"),
            at_most: usize::MAX,
        })
    }

    /// Sends no batch of more bytes: as where the kernel caps the send buffer.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Self {
        self.at_most = bytes;
        self
    }

    /// The table as it is, if it is ours; none if there is none.
    pub(crate) fn live(&mut self) -> Result<Option<Live>> {
        let live = self.table.live(&mut self.socket).map_err(failed("read the table of services"))?;
        match live {
            Some(live) if !live.comment.starts_with(OWNER) => Err(Error::Foreign {
                table: format!("{} {}", self.table.family, self.table.name),
                comment: match live.comment.as_str() {
                    "" => String::new(),
                    comment => format!(" (its comment: {comment})"),
                },
            }),
            live => Ok(live),
        }
    }

    pub(crate) fn each_element(&mut self, map: &str, each: impl FnMut(ruleset::LiveElement)) -> Result<()> {
        ruleset::live_elements(&mut self.socket, &self.table, map, each)
            .map_err(failed("read the elements of a map"))
    }
}

impl Kernel for Netlink {
    fn observe(&mut self, wanted: &Structure) -> Result<Option<Observed>> {
        let Some(live) = self.live()? else { return Ok(None) };
        let map = |(name, map): (&String, &ruleset::LiveMap)| {
            let same = wanted.maps.get(name.as_str()).is_some_and(|wanted| map.is(&self.table, wanted));
            (name.clone(), if same { Standing::Same } else { Standing::Other })
        };
        let chain = |(name, chain): (&String, &ruleset::LiveChain)| {
            let standing = match wanted.chains.get(name) {
                Some(wanted) if !chain.is(wanted) => Standing::Other,
                Some(wanted) if !chain.has(&wanted.rules) => Standing::OtherRules,
                Some(_) => Standing::Same,
                None => Standing::Other,
            };
            (name.clone(), standing)
        };
        Ok(Some(Observed {
            maps: live.maps.iter().map(map).collect(),
            chains: live.chains.iter().map(chain).collect(),
            sizes: live.maps.iter().filter_map(|(name, map)| Some((name.clone(), map.size()?))).collect(),
        }))
    }

    fn elements(&mut self, map: &str) -> Result<Elements> {
        let mut elements = Elements::new();
        self.each_element(map, |live| {
            elements.insert(live.element.key, live.element);
        })?;
        Ok(elements)
    }

    fn commit(&mut self, ops: &[Op]) -> Result<u32> {
        let units = units(&self.table, &self.comment, ops);
        let total = units.iter().map(Unit::size).sum::<usize>() + FRAME;
        let total = total.min(self.at_most);
        let limit = self.socket.room_for(total).map_err(failed("make room for the rules of services"))?;
        let (mut transaction, mut size, mut count) = (Transaction::with_room(limit.min(total)), FRAME, 0);
        for unit in units {
            let more = unit.size();
            if FRAME + more > limit {
                return Err(Error::TooLarge { what: unit.what, size: FRAME + more, limit });
            }
            if size + more > limit {
                self.run(std::mem::take(&mut transaction))?;
                count += 1;
                size = FRAME;
            }
            unit.changes.iter().for_each(|change| transaction.push(change));
            size += more;
        }
        if !transaction.is_empty() {
            self.run(transaction)?;
            count += 1;
        }
        Ok(count)
    }

    fn generation(&mut self) -> Result<u32> {
        self.socket.generation().map_err(failed("read the number of the ruleset"))
    }

    fn flows(&mut self, protocol: u8) -> Result<Vec<Flow>> {
        conntrack::flows(&mut self.socket, self.table.family, protocol)
            .map_err(failed("read tracked connections"))
    }

    fn forget(&mut self, flow: &Flow) -> Result<()> {
        conntrack::forget(&mut self.socket, flow).map(|_| ()).map_err(failed("forget a tracked connection"))
    }
}

impl Netlink {
    fn run(&mut self, transaction: Transaction) -> Result<()> {
        self.socket.run(&transaction.seal()).map_err(failed("change the rules of services"))
    }
}
