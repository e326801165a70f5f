//! The table's layout: which maps there are, and what marks mean.
//!
//! There are few rules, however many services: what differs from service to service stands in maps that all
//! share. A new connection is looked up twice:
//!
//! ```text
//! services           address . protocol . port         : mark            how many endpoints, and which rules
//! service-balancers  mark                              : goto service-3  one chain for each number of them
//! service-endpoints  address . protocol . port . index : address . port  index is drawn by the chain
//! ```
//!
//! So a change of one service is a change of a few elements, whatever the number of the others. A map of verdicts
//! for each service would do with one lookup less, but the kernel follows every verdict of a map whenever it
//! changes (`nft_set_catchall_validate`, `nf_tables_check_loops`).
//!
//! The mark between the lookups:
//!
//! | bits | |
//! |---|---|
//! | 0 to 12 | number of endpoints; 0: reject, 0x1fff: drop |
//! | 13 | masquerade clients outside of the pod network |
//! | 14 | masquerade: kube-proxy's own mark, 0x4000, and all that is left of the mark in the end |
//! | 15 to 31 | seconds of affinity |
//!
//! With affinity the mark then is the number of an endpoint (bit 15 set): a client is remembered with that number,
//! and a number that has no endpoint any more is no longer found. See [`Kind`] for who has which maps.

use std::net::IpAddr;

use nft::ruleset::{Contents, Field, Map};

use crate::frontend::{Audience, Backend, Balance, Frontend, Masquerade, Place, Target};

/// Endpoints of one frontend that there can be.
pub(crate) const MOST: usize = DROP as usize - 1;

const COUNT: u32 = 0x1fff;
const DROP: u32 = COUNT;
/// Masquerade clients outside of the pod network.
pub(crate) const OUTSIDE: u32 = 1 << 13;
/// Masquerade.
pub(crate) const MASQUERADE: u32 = 1 << 14;
const AFFINITY: u32 = 15;
/// The mark is the number of an endpoint.
pub(crate) const CHOSEN: u32 = 1 << 15;
/// What decides of a mark which chain it is.
pub(crate) const BALANCER: u32 = !OUTSIDE;

/// The clients that one map can remember.
const CLIENTS: u32 = 65_535;

/// Frontends of one kind have maps and chains of their own: their keys differ, or who may use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A port of an address, as of every service.
    Service,
    /// The same for clients outside of the pod network.
    OutsideService,
    /// A port of the worker.
    NodePort,
    /// The same for clients outside of the pod network.
    OutsideNodePort,
    /// All of an address.
    Virtual,
}

/// What a map is there for, in the order in which a kind has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Frontend to mark.
    Frontends,
    /// Mark to chain.
    Balancers,
    /// Frontend and index to endpoint.
    Endpoints,
    /// With affinity: frontend and index to number of an endpoint.
    Choices,
    /// With affinity: frontend and number to endpoint.
    Chosen,
    /// With affinity: client and frontend to number. Rules fill it.
    Clients,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Service, Kind::OutsideService, Kind::NodePort, Kind::OutsideNodePort, Kind::Virtual];

/// Maps in the order in which they are listed.
pub(crate) const ROLES: [Role; 6] =
    [Role::Frontends, Role::Balancers, Role::Endpoints, Role::Choices, Role::Chosen, Role::Clients];

const MARK: &[Field] = &[Field::Mark];
const ENDPOINT: &[Field] = &[Field::Destination, Field::DestinationPort];

const fn declare(
    name: &'static str,
    key: &'static [Field],
    contents: Contents,
    counted: bool,
    comment: &'static str,
) -> Map {
    Map { name, key, contents, counted, comment, size: None }
}

/// The six maps of a kind whose frontends have ports.
macro_rules! maps {
    ($many:literal $one:literal $what:literal [$($field:ident)*]) => {
        [
            declare($many, &[$(Field::$field),*], Contents::Value(MARK), true, $what),
            declare(concat!($one, "-balancers"), MARK, Contents::Verdict, false, "by number of endpoints"),
            declare(
                concat!($one, "-endpoints"),
                &[$(Field::$field,)* Field::Random(2)],
                Contents::Value(ENDPOINT),
                true,
                "one of them is drawn",
            ),
            declare(
                concat!($one, "-choices"),
                &[$(Field::$field,)* Field::Random(2)],
                Contents::Value(MARK),
                false,
                "one of them is drawn for a new client",
            ),
            declare(
                concat!($one, "-chosen"),
                &[$(Field::$field,)* Field::Mark],
                Contents::Value(ENDPOINT),
                true,
                "what was drawn for a client",
            ),
            Map {
                name: concat!($one, "-clients"),
                key: &[Field::Source, $(Field::$field),*],
                contents: Contents::Dynamic(MARK),
                counted: false,
                comment: "who stays with what was drawn",
                size: Some(CLIENTS),
            },
        ]
    };
}

static SERVICES: [Map; 6] =
    maps!("services" "service" "addresses and ports of services" [Destination Protocol DestinationPort]);
static OUTSIDE_SERVICES: [Map; 6] = maps!("outside-services" "outside-service" "the same for clients outside" [Destination Protocol DestinationPort]);
static NODE_PORTS: [Map; 6] =
    maps!("node-ports" "node-port" "ports of the worker" [Protocol DestinationPort]);
static OUTSIDE_NODE_PORTS: [Map; 6] =
    maps!("outside-node-ports" "outside-node-port" "the same for clients outside" [Protocol DestinationPort]);
static VIRTUALS: [Map; 3] = [
    declare(
        "virtual-ips",
        &[Field::Destination],
        Contents::Value(MARK),
        true,
        "addresses for every protocol",
    ),
    declare("virtual-ip-balancers", MARK, Contents::Verdict, false, "by number of endpoints"),
    declare(
        "virtual-ip-endpoints",
        &[Field::Destination, Field::Turn(2)],
        Contents::Value(&[Field::Destination]),
        true,
        "they take turns",
    ),
];

/// Addresses of services: they have no other ports.
pub(crate) static CLUSTER_IPS: Map =
    declare("cluster-ips", &[Field::Destination], Contents::Nothing, false, "addresses of services");
/// Endpoints that reach themselves through a service.
pub(crate) static HAIRPINS: Map = declare(
    "hairpins",
    &[Field::Source, Field::Destination],
    Contents::Nothing,
    false,
    "endpoints here, who may be their own clients",
);

impl Kind {
    pub(crate) fn of(frontend: &Frontend) -> Self {
        match (frontend.place, frontend.audience) {
            (Place::Address(..), Audience::Everyone) => Self::Service,
            (Place::Address(..), Audience::Outside) => Self::OutsideService,
            (Place::NodePort(..), Audience::Everyone) => Self::NodePort,
            (Place::NodePort(..), Audience::Outside) => Self::OutsideNodePort,
            (Place::Virtual(_), _) => Self::Virtual,
        }
    }

    fn maps(self) -> &'static [Map] {
        match self {
            Self::Service => &SERVICES,
            Self::OutsideService => &OUTSIDE_SERVICES,
            Self::NodePort => &NODE_PORTS,
            Self::OutsideNodePort => &OUTSIDE_NODE_PORTS,
            Self::Virtual => &VIRTUALS,
        }
    }

    /// The map for a purpose; a virtual IP has no affinity, and none of its maps.
    pub(crate) fn map(self, role: Role) -> Option<&'static Map> {
        self.maps().get(role as usize)
    }

    /// What its chains are called: `service-3`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::OutsideService => "outside-service",
            Self::NodePort => "node-port",
            Self::OutsideNodePort => "outside-node-port",
            Self::Virtual => "virtual-ip",
        }
    }
}

/// The map of a name.
pub(crate) fn map(name: &str) -> Option<&'static Map> {
    let kinds = KINDS.iter().flat_map(|kind| kind.maps());
    [&CLUSTER_IPS, &HAIRPINS].into_iter().chain(kinds).find(|map| map.name == name)
}

/// What the mark says of a connection to a frontend.
pub(crate) fn mark(balance: &Balance) -> u32 {
    let count = match &balance.target {
        Target::Reject => return 0,
        Target::Drop => return DROP,
        Target::Backends(backends) => backends.len().min(MOST) as u32,
    };
    let masquerade = match balance.masquerade {
        Masquerade::Never => 0,
        Masquerade::Outside => OUTSIDE,
        Masquerade::Always => MASQUERADE,
    };
    count | masquerade | balance.affinity.unwrap_or(0) << AFFINITY
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Reject,
    Drop,
    Balance { count: u32, affinity: Option<u32>, masquerade: Masquerade },
}

pub(crate) fn meaning(mark: u32) -> Meaning {
    match mark & COUNT {
        0 => Meaning::Reject,
        DROP => Meaning::Drop,
        count => Meaning::Balance {
            count,
            affinity: Some(mark >> AFFINITY).filter(|seconds| *seconds > 0),
            masquerade: match (mark & MASQUERADE != 0, mark & OUTSIDE != 0) {
                (true, _) => Masquerade::Always,
                (_, true) => Masquerade::Outside,
                _ => Masquerade::Never,
            },
        },
    }
}

/// The marks with which connections to a frontend may come to be balanced.
pub(crate) fn balancers(mark: u32) -> impl Iterator<Item = u32> {
    let plain = mark & BALANCER;
    let masqueraded = (mark & OUTSIDE != 0).then_some(plain | MASQUERADE);
    std::iter::once(plain).chain(masqueraded)
}

/// The numbers of endpoints that a client is remembered with. An endpoint has the same one as long as it is
/// there, and on every worker; bit 14 is left free for [`MASQUERADE`].
pub(crate) fn numbers(backends: &[Backend]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..backends.len()).collect();
    order.sort_by_key(|&at| (backends[at].address, backends[at].port));
    let mut taken = std::collections::BTreeSet::new();
    let mut numbers = vec![0; backends.len()];
    for at in order {
        let mut number = hash(&backends[at]) & !MASQUERADE | CHOSEN;
        while !taken.insert(number) {
            number = number.wrapping_add(1 << 16);
        }
        numbers[at] = number;
    }
    numbers
}

/// FNV-1a of address and port.
fn hash(backend: &Backend) -> u32 {
    let address = match backend.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bytes = address.into_iter().chain(backend.port.to_be_bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u16) -> Vec<Backend> {
        let address = |n: u16| IpAddr::from([11, 10, (n >> 8) as u8, n as u8]);
        (0..count).map(|n| Backend { address: address(n), port: 80, local: false, name: "".into() }).collect()
    }

    #[test]
    fn marks_mean_what_they_were_made_of() {
        let masquerades = [Masquerade::Never, Masquerade::Outside, Masquerade::Always];
        for (count, affinity) in [(1, None), (3, Some(10_800)), (MOST, Some(86_400)), (7, Some(1))] {
            for masquerade in masquerades {
                let target = Target::Backends(backends(count as u16));
                let balance = Balance { owner: "".into(), target, masquerade, affinity };
                let expected = Meaning::Balance { count: count as u32, affinity, masquerade };
                assert_eq!(meaning(mark(&balance)), expected);
            }
        }
        let without =
            |target| Balance { owner: "".into(), target, masquerade: Masquerade::Always, affinity: Some(5) };
        assert_eq!(meaning(mark(&without(Target::Reject))), Meaning::Reject);
        assert_eq!(meaning(mark(&without(Target::Drop))), Meaning::Drop);
        // More than there is room for are not taken for something else.
        let balance = without(Target::Backends(backends(9000)));
        assert!(matches!(meaning(mark(&balance)), Meaning::Balance { count: 8190, .. }));
    }

    #[test]
    fn numbers_are_unique_and_stay_when_others_go() {
        let all = backends(5000);
        let numbers_of_all = numbers(&all);
        let unique: std::collections::BTreeSet<_> = numbers_of_all.iter().collect();
        assert_eq!(unique.len(), all.len());
        assert!(numbers_of_all.iter().all(|number| number & CHOSEN != 0 && number & MASQUERADE == 0));
        let mut shuffled = all.clone();
        shuffled.reverse();
        shuffled.pop();
        let again = numbers(&shuffled);
        let same = shuffled.iter().zip(again).filter(|(backend, number)| {
            let at = all.iter().position(|one| one == *backend).unwrap();
            numbers_of_all[at] == *number
        });
        assert_eq!(same.count(), shuffled.len());
    }
}
