use std::net::IpAddr;

use proptest::prelude::*;
use store::ObjectName;

use super::*;
use crate::chains::Networks;
use crate::fake::Fake;
use crate::frontend::{Balance, Masquerade, Target};

fn networks() -> Networks {
    Networks { pods: "11.0.0.0/8".parse().unwrap(), services: "100.64.0.0/16".parse().unwrap() }
}

fn proxy(kernel: Fake) -> Proxy<Fake> {
    Proxy::new(kernel, State::new(networks()), "10.0.0.3".parse().unwrap())
}

fn source(n: u8) -> Source {
    Source::Service(ObjectName::new("default", &format!("s{n}")))
}

fn backend(n: u8, local: bool) -> Backend {
    let name = format!("default/p{n}");
    Backend { address: IpAddr::from([11, 10, 0, n]), port: 8080, local, name: name.as_str().into() }
}

/// What a service wants, in few words.
#[derive(Debug, Clone)]
struct Wish {
    address: u8,
    pods: Vec<u8>,
    masquerade: Masquerade,
    affinity: Option<u32>,
    node_port: bool,
    outside: bool,
    dropped: bool,
}

impl Wish {
    fn plan(&self, n: u8) -> Plan {
        let backends: Vec<_> = self.pods.iter().map(|&pod| backend(pod, pod % 2 == 0)).collect();
        let target = match (backends.is_empty(), self.dropped) {
            (true, true) => Target::Drop,
            (true, false) => Target::Reject,
            _ => Target::Backends(backends),
        };
        let balance = Balance {
            owner: format!("default/s{n}:http").into(),
            target,
            masquerade: self.masquerade,
            affinity: self.affinity,
        };
        let ip = IpAddr::from([100, 64, 0, self.address]);
        let mut plan = Plan::default();
        plan.cluster_ips.insert(ip);
        let mut places = vec![Place::Address(ip, Protocol::Tcp, 80)];
        if self.node_port {
            places.push(Place::NodePort(Protocol::Udp, 30_000 + u16::from(self.address)));
        }
        for place in places {
            plan.frontends.insert(Frontend::new(place), balance.clone());
            if self.outside {
                plan.frontends.insert(Frontend::outside(place), balance.clone());
            }
        }
        plan
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let masquerade =
        prop_oneof![Just(Masquerade::Never), Just(Masquerade::Outside), Just(Masquerade::Always)];
    let affinity = prop_oneof![2 => Just(None), 1 => Just(Some(10_800)), 1 => Just(Some(60))];
    let pods = prop::collection::btree_set(0u8..12, 0..8);
    (0u8..4, pods, masquerade, affinity, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(address, pods, masquerade, affinity, node_port, outside, dropped)| Wish {
            address,
            pods: pods.into_iter().collect(),
            masquerade,
            affinity,
            node_port,
            outside,
            dropped,
        },
    )
}

/// Bursts of changes: services that come, change and go.
fn changes() -> impl Strategy<Value = Vec<Vec<(u8, Option<Wish>)>>> {
    let change = (0u8..5, prop::option::weighted(0.8, wish()));
    prop::collection::vec(prop::collection::vec(change, 1..4), 1..8)
}

fn plans(burst: &[(u8, Option<Wish>)]) -> Vec<(Source, Option<Plan>)> {
    burst.iter().map(|(n, wish)| (source(*n), wish.as_ref().map(|wish| wish.plan(*n)))).collect()
}

/// The table as the state describes it.
fn expected(proxy: &Proxy<Fake>) -> crate::fake::Table {
    let structure = proxy.state().structure();
    let elements = |map: &nft::ruleset::Map| {
        let elements = if map.is_dynamic() { Elements::new() } else { proxy.state().elements(map.name) };
        (map.name.to_owned(), (*map, elements))
    };
    crate::fake::Table {
        maps: structure.maps.values().map(elements).collect(),
        chains: structure.chains.clone(),
    }
}

/// Maps of which it is not known how many elements they have.
fn miscounted(proxy: &Proxy<Fake>, table: &crate::fake::Table) -> Vec<String> {
    let counts = table.maps.iter().map(|(name, (_, has))| (name, has.len(), proxy.state().room().has(name)));
    counts.filter(|(_, has, known)| has != known).map(|(name, ..)| name.clone()).collect()
}

/// What makes one table of the other, in few words; nothing if they are the same.
fn differences(ours: Option<&crate::fake::Table>, theirs: Option<&crate::fake::Table>) -> Vec<String> {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return if ours == theirs { vec![] } else { vec!["one is missing".into()] };
    };
    let mut all = Vec::new();
    for name in ours.maps.keys().chain(theirs.maps.keys()) {
        match (ours.maps.get(name), theirs.maps.get(name)) {
            (Some(ours), Some(theirs)) if ours == theirs => {}
            (Some((map, ours)), Some((other, theirs))) => {
                all.push(format!("{name}: {}, {:?} {:?}", map == other, ours.values(), theirs.values()));
            }
            (ours, _) => all.push(format!("{name}: {}", ours.is_some())),
        }
    }
    for name in ours.chains.keys().chain(theirs.chains.keys()) {
        if ours.chains.get(name) != theirs.chains.get(name) {
            all.push(format!("chain {name}: {:?}", ours.chains.get(name).map(|chain| &chain.comment)));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens to services: what is written leaves the table that is wanted, at every step one that is sound,
    /// and as one that makes it anew; and an agent that starts anew has nothing to write.
    #[test]
    fn differences_add_up(bursts in changes()) {
        let mut proxy = proxy(Fake::default());
        proxy.load([]).unwrap();
        for burst in &bursts {
            let before = proxy.kernel().table.clone();
            proxy.kernel().written.clear();
            proxy.change(plans(burst)).unwrap();
            let expected = expected(&proxy);
            prop_assert_eq!(differences(proxy.kernel().table.as_ref(), Some(&expected)), [""; 0]);
            prop_assert_eq!(proxy.kernel().table.as_ref().unwrap().is_sound(), Ok(()));
            prop_assert_eq!(miscounted(&proxy, &expected), [""; 0]);
            // However a load is split.
            let ops = std::mem::take(&mut proxy.kernel().written);
            let mut step = Fake { table: before, ..Fake::default() };
            for op in &ops {
                step.commit(std::slice::from_ref(op)).unwrap();
                prop_assert_eq!(step.table.as_ref().unwrap().is_sound(), Ok(()), "after {:?}", op);
            }
            prop_assert_eq!(differences(step.table.as_ref(), Some(&expected)), [""; 0]);
        }

        // The same again writes nothing.
        proxy.kernel().written.clear();
        let all: Vec<_> = bursts.iter().flatten().collect();
        let last = |n: u8| all.iter().rfind(|(m, _)| *m == n).and_then(|(_, wish)| wish.clone());
        let wanted: Vec<_> = (0..5).map(|n| (n, last(n))).collect();
        proxy.change(plans(&wanted)).unwrap();
        prop_assert_eq!(&proxy.kernel().written, &[]);
        let table = proxy.kernel().table.clone();

        // Neither does one that starts anew.
        let mut again = self::proxy(Fake { table, ..Fake::default() });
        again.load(plans(&wanted).into_iter().filter_map(|(source, plan)| Some((source, plan?)))).unwrap();
        prop_assert_eq!(&again.kernel().written, &[]);

        // An empty table gets there at once, but for the places of endpoints.
        let mut fresh = self::proxy(Fake::default());
        fresh.load(plans(&wanted).into_iter().filter_map(|(source, plan)| Some((source, plan?)))).unwrap();
        let expected = expected(&fresh);
        prop_assert_eq!(differences(fresh.kernel().table.as_ref(), Some(&expected)), [""; 0]);
        prop_assert_eq!(miscounted(&fresh, &expected), [""; 0]);
        let names = |fake: &Fake| fake.names();
        prop_assert_eq!(names(fresh.kernel()), names(again.kernel()));
        // And gets rid of everything.
        let none: Vec<_> = (0..5).map(|n| (source(n), None)).collect();
        fresh.change(none).unwrap();
        let mut empty = self::proxy(Fake::default());
        empty.load([]).unwrap();
        prop_assert_eq!(differences(fresh.kernel().table.as_ref(), empty.kernel().table.as_ref()), [""; 0]);
    }

    /// Whatever somebody does to the table is undone.
    #[test]
    fn tampering_is_undone(bursts in changes(), other in changes()) {
        let mut proxy = proxy(Fake::default());
        proxy.load([]).unwrap();
        let mut stranger = self::proxy(Fake::default());
        stranger.load([]).unwrap();
        bursts.iter().for_each(|burst| drop(proxy.change(plans(burst)).unwrap()));
        other.iter().for_each(|burst| drop(stranger.change(plans(burst)).unwrap()));
        let own = proxy.kernel().table.clone();
        proxy.kernel().table = stranger.kernel().table.clone();
        let differs = own != proxy.kernel().table;
        prop_assert_eq!(proxy.resync().unwrap(), Done::default(), "nobody has changed a rule");
        proxy.kernel().generation += 1;
        let done = proxy.resync().unwrap();
        prop_assert_eq!(differences(proxy.kernel().table.as_ref(), own.as_ref()), [""; 0]);
        prop_assert_eq!(done.repaired.is_some(), differs, "{:?}", done);
        prop_assert_eq!(proxy.resync().unwrap(), Done::default());
    }
}

fn wanted(pods: &[u8]) -> Wish {
    Wish {
        address: 1,
        pods: pods.to_vec(),
        masquerade: Masquerade::Outside,
        affinity: None,
        node_port: false,
        outside: false,
        dropped: false,
    }
}

#[test]
fn one_endpoint_more_or_less_is_a_handful_of_operations() {
    let mut proxy = proxy(Fake::default());
    proxy
        .load([
            (source(1), wanted(&[1, 2, 3]).plan(1)),
            (source(2), {
                let wish = Wish { address: 2, ..wanted(&[4, 5, 6, 7]) };
                wish.plan(2)
            }),
        ])
        .unwrap();
    let mut change = |pods: &[u8]| {
        proxy.kernel().written.clear();
        proxy.change([(source(1), Some(wanted(pods).plan(1)))]).unwrap();
        let words = |op: &Op| match op {
            Op::Add(map, element) => format!("add {}: {}", map.name, element.comment),
            Op::Replace(map, element) => format!("replace {}: {}", map.name, element.comment),
            Op::Delete(map, _) => format!("delete {}", map.name),
            other => format!("{other:?}").split(['(', '{']).next().unwrap().to_owned(),
        };
        proxy.kernel().written.iter().map(words).collect::<Vec<_>>()
    };
    // The other service has four already.
    assert_eq!(
        change(&[1, 2, 3, 9]),
        [
            "add service-endpoints: default/s1:http -> default/p9/11.10.0.9",
            "replace services: default/s1:http",
            "delete service-balancers",
            "delete service-balancers",
            "Flush",
            "DeleteChain",
        ]
    );
    // The last one takes the place of the one that goes.
    assert_eq!(
        change(&[1, 3, 9])[4..],
        [
            "replace service-endpoints: default/s1:http -> default/p9/11.10.0.9",
            "replace services: default/s1:http",
            "delete hairpins",
            "delete service-endpoints"
        ]
    );
    assert_eq!(change(&[1, 3, 9]), [""; 0]);
    assert_eq!(
        change(&[1, 3, 8]),
        ["add hairpins: default/p8", "replace service-endpoints: default/s1:http -> default/p8/11.10.0.8"],
        "one for another"
    );
}

/// So many services of one endpoint, as at the first sync.
fn many(from: u32, to: u32) -> impl Iterator<Item = (Source, Plan)> {
    (from..to).map(|n| {
        let ip = IpAddr::from(std::net::Ipv4Addr::from(0x6440_0000 + n));
        let name = format!("default/s{n}:http");
        let target = Target::Backends(vec![backend((n % 250) as u8, false)]);
        let balance = Balance { owner: name.into(), target, masquerade: Masquerade::Outside, affinity: None };
        let place = Frontend::new(Place::Address(ip, Protocol::Tcp, 80));
        let plan = Plan { frontends: [(place, balance)].into(), cluster_ips: [ip].into(), warnings: vec![] };
        (Source::Service(ObjectName::new("default", &format!("s{n}"))), plan)
    })
}

#[test]
fn a_table_that_begins_large_says_its_size_and_is_made_anew_when_that_is_not_enough() {
    let mut proxy = proxy(Fake::default());
    let size = |proxy: &Proxy<Fake>| proxy.kernel.table.as_ref().unwrap().maps["services"].0.size;
    let anew =
        |proxy: &mut Proxy<Fake>| std::mem::take(&mut proxy.kernel().written).contains(&Op::DeleteTable);
    proxy.load(many(0, 1001)).unwrap();
    assert_eq!(size(&proxy), Some(2048));
    // What was added and has gone again does not count.
    for round in 0..3 {
        let (some, none) = (many(1001, 2040), many(1001, 2040));
        proxy.change(some.map(|(source, plan)| (source, Some(plan)))).unwrap();
        proxy.change(none.map(|(source, _)| (source, None))).unwrap();
        assert_eq!((size(&proxy), anew(&mut proxy)), (Some(2048), false), "{round}");
    }
    let done = proxy.change(many(1001, 2049).map(|(source, plan)| (source, Some(plan)))).unwrap();
    assert_eq!((size(&proxy), anew(&mut proxy), done.repaired), (Some(8192), true, None));
    let table = expected(&proxy);
    assert_eq!(proxy.kernel().table.as_ref(), Some(&table));
    // Neither is anything written by one that starts anew, nor if it begins with few now.
    for services in [2049, 10] {
        let table = proxy.kernel().table.clone();
        let mut again = self::proxy(Fake { table, ..Fake::default() });
        again.load(many(0, services)).unwrap();
        assert_eq!((size(&again), anew(&mut again)), (Some(8192), false));
    }
    // While it cannot be written it is not forgotten.
    proxy.kernel().fails = Some(libc::ENOMEM);
    proxy.change(many(2049, 8193).map(|(source, plan)| (source, Some(plan)))).unwrap_err();
    proxy.kernel().fails = None;
    proxy.resync().unwrap();
    assert_eq!((size(&proxy), anew(&mut proxy)), (Some(32_768), true));
    // One that begins with few grows as it likes.
    let mut small = self::proxy(Fake::default());
    small.load(many(0, 1000)).unwrap();
    small.change(many(1000, 3000).map(|(source, plan)| (source, Some(plan)))).unwrap();
    assert_eq!((size(&small), anew(&mut small)), (None, false));
}

#[test]
fn the_first_by_name_has_a_frontend_that_two_want() {
    let mut proxy = proxy(Fake::default());
    proxy.load([]).unwrap();
    let plan = |n: u8| wanted(&[n]).plan(n);
    let frontend = *plan(1).frontends.keys().next().unwrap();
    let owner =
        |proxy: &Proxy<Fake>| proxy.state().balance(&frontend).map(|balance| balance.owner.to_string());
    proxy.change([(source(2), Some(plan(2)))]).unwrap();
    assert_eq!(owner(&proxy).unwrap(), "default/s2:http");
    proxy.change([(source(1), Some(plan(1)))]).unwrap();
    assert_eq!(owner(&proxy).unwrap(), "default/s1:http");
    assert_eq!(
        proxy.state().conflicts(&source(2)),
        ["service default/s2: 100.64.0.1:80/tcp is taken by service default/s1"]
    );
    assert_eq!(proxy.state().conflicts(&source(1)), [""; 0]);
    proxy.change([(source(1), None)]).unwrap();
    assert_eq!(owner(&proxy).unwrap(), "default/s2:http");
    let expected = expected(&proxy);
    assert_eq!(proxy.kernel().table, Some(expected));
}

#[test]
fn what_fails_is_done_later_and_a_foreign_table_is_left_alone() {
    let mut proxy = proxy(Fake { foreign: true, ..Fake::default() });
    let plan = wanted(&[1]).plan(1);
    let error = proxy.load([(source(1), plan.clone())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "table ip kube-proxy was not made by knetsim: delete it (nft delete table ip kube-proxy) or stop what made it"
    );
    assert_eq!(proxy.kernel().written, []);
    proxy.kernel().foreign = false;
    proxy.load([(source(1), plan)]).unwrap();

    proxy.kernel().fails = Some(libc::ENOMEM);
    let change = || [(source(1), Some(wanted(&[1, 2]).plan(1)))];
    assert_eq!(proxy.change(change()).unwrap_err().errno(), Some(libc::ENOMEM));
    assert_eq!(proxy.change(change()).unwrap_err().errno(), Some(libc::ENOMEM));
    proxy.kernel().fails = None;
    proxy.resync().unwrap();
    let expected = expected(&proxy);
    assert_eq!(proxy.kernel().table, Some(expected));
}

#[test]
fn what_was_wrong_is_told_in_words() {
    let mut proxy = proxy(Fake::default());
    proxy.load([(source(1), wanted(&[1, 2]).plan(1))]).unwrap();
    let mut tamper = |change: &dyn Fn(&mut Fake)| {
        change(proxy.kernel());
        proxy.kernel().generation += 1;
        proxy.resync().unwrap().repaired
    };
    assert_eq!(tamper(&|_| {}), None, "somebody has changed another table");
    let gone = tamper(&|kernel| kernel.table = None);
    assert_eq!(gone.as_deref(), Some("the table was gone"));
    let flushed = tamper(&|kernel| {
        let table = kernel.table.as_mut().unwrap();
        table.maps.get_mut("service-endpoints").unwrap().1.clear();
        table.chains.get_mut("services").unwrap().rules.pop();
        table.chains.get_mut("services").unwrap().rules.pop();
    });
    assert_eq!(
        flushed.as_deref(),
        Some("chain services had other rules, map service-endpoints lacked 2 elements")
    );
}
