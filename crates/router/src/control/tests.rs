mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_amqp::Value;

use super::*;
use network::Network;

fn served<'a>(all: &[(&'a str, &[&'a str])]) -> BTreeMap<&'a str, Vec<&'a str>> {
    all.iter().map(|(id, names)| (*id, names.to_vec())).collect()
}

fn assert_whole(network: &Network, served: &BTreeMap<&str, Vec<&str>>) {
    let wrong = network.wrong(served);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A - B - C in a row.
fn row() -> (Network, [LinkId; 2]) {
    let mut network = Network::new(1);
    for (number, id) in ["A", "B", "C"].into_iter().enumerate() {
        network.add(id, number as u64 + 1);
    }
    let links = [network.connect("A", "B", 2), network.connect("B", "C", 5)];
    (network, links)
}

#[test]
fn two_routers_know_each_other_within_a_few_messages() {
    let mut network = Network::new(1);
    network.add("A", 1);
    network.add("B", 2);
    network.serve("A", &["svc1"]);
    network.connect("A", "B", 1);
    network.millis(5);
    assert_whole(&network, &served(&[("A", &["svc1"])]));
    let said: BTreeSet<_> = network.notices.iter().map(|(id, notice)| format!("{id}: {notice}")).collect();
    assert_eq!(said.into_iter().collect::<Vec<_>>(), ["A: neighbour B is up", "B: neighbour A is up"]);
}

#[test]
fn three_in_a_row_learn_what_comes_and_goes_at_once() {
    let (mut network, _) = row();
    network.serve("A", &["svc1", "svc2"]);
    network.millis(20);
    assert_whole(&network, &served(&[("A", &["svc1", "svc2"])]));
    assert_eq!(network.routers["C"].routes().nodes["A"].cost, 7);
    network.count.clear();
    network.serve("A", &["svc2", "svc3"]);
    network.serve("C", &["svc2"]);
    network.millis(5);
    assert_whole(&network, &served(&[("A", &["svc2", "svc3"]), ("C", &["svc2"])]));
    // Nothing but the change and its number was needed.
    assert_eq!(network.count, BTreeMap::from([("MAU", 2), ("RA", 2)]));
}

#[test]
fn little_is_said_while_nothing_happens() {
    let (mut network, _) = row();
    network.millis(20_000);
    network.count.clear();
    network.millis(60_000);
    // Three routers, one HELLO a second over each link (B's goes to both as one), an RA each half minute.
    assert_eq!(network.count["HELLO"], 180);
    assert_eq!(network.count["RA"], 6);
    assert_eq!(network.count.len(), 2, "{:?}", network.count);
}

#[test]
fn a_silent_neighbour_is_gone_after_its_age_and_back_at_once() {
    let (mut network, links) = row();
    network.serve("C", &["svc1"]);
    network.millis(2_000);
    network.cut(links[1]);
    network.millis(1_900);
    assert!(network.routers["A"].routes().addresses.contains_key("svc1"));
    network.millis(1_200);
    assert_whole(&network, &served(&[("C", &["svc1"])]));
    assert!(!network.routers["A"].routes().addresses.contains_key("svc1"));
    // Long enough for addresses to be forgotten.
    network.millis(10_000);
    network.raise(links[1]);
    network.millis(50);
    assert_whole(&network, &served(&[("C", &["svc1"])]));
    assert!(network.routers["A"].routes().addresses.contains_key("svc1"));
}

#[test]
fn a_closed_link_is_gone_at_once_and_the_way_round_is_taken() {
    let (mut network, links) = row();
    network.connect("A", "C", 20);
    network.serve("C", &["svc1"]);
    network.millis(100);
    assert_eq!(network.routers["A"].routes().nodes["C"].next_hop, "B");
    network.close(links[0]);
    network.millis(10);
    assert_whole(&network, &served(&[("C", &["svc1"])]));
    assert_eq!(network.routers["A"].routes().nodes["B"].next_hop, "C");
}

#[test]
fn of_two_links_to_a_neighbour_the_cheaper_counts_while_it_is_there() {
    let mut network = Network::new(1);
    network.add("A", 1);
    network.add("B", 2);
    let dear = network.connect("A", "B", 9);
    let cheap = network.connect("A", "B", 3);
    network.millis(10);
    assert_eq!(network.routers["A"].routes().nodes["B"].link, cheap);
    network.millis(5_000);
    assert_eq!(network.routers["A"].routes().nodes["B"].link, cheap);
    network.close(cheap);
    network.millis(10);
    assert_whole(&network, &BTreeMap::new());
    assert_eq!(network.routers["A"].routes().nodes["B"].link, dear);
}

#[test]
fn a_new_link_takes_over_without_anybody_noticing() {
    let (mut network, links) = row();
    network.serve("C", &["svc1"]);
    network.millis(20_000);
    let new = network.connect("A", "B", 2);
    assert!(!network.routers["A"].is_mutual(new));
    network.millis(10);
    assert!(network.routers["A"].is_mutual(new) && network.routers["B"].is_mutual(new));
    assert_eq!(network.routers["A"].routes().nodes["C"].link, links[0]);
    (network.count, network.notices) = (BTreeMap::new(), Vec::new());
    network.close(links[0]);
    network.millis(10);
    assert_eq!(network.routers["A"].routes().nodes["C"].link, new);
    assert_whole(&network, &served(&[("C", &["svc1"])]));
    assert!(
        network.count.is_empty() && network.notices.is_empty(),
        "{:?} {:?}",
        network.count,
        network.notices
    );
}

#[test]
fn a_restarted_router_is_learnt_anew() {
    let (mut network, links) = row();
    network.serve("C", &["old", "both"]);
    network.millis(5_000);
    network.close(links[1]);
    network.add("C", 77);
    network.serve("C", &["both", "new"]);
    network.raise(links[1]);
    network.millis(300);
    assert_whole(&network, &served(&[("C", &["both", "new"])]));
    assert!(network.notices.contains(&("B".to_owned(), Notice::Restarted("C".to_owned()))));
}

#[test]
fn a_router_of_the_same_id_is_no_neighbour_and_is_told_of() {
    let now = Instant::now();
    let mut control = Control::new(Options::new("A", 1), now);
    control.link_opened(LinkId(1), 1, now);
    let other = Message::Hello { id: "A".to_owned(), instance: 2, seen: vec!["A".to_owned()] };
    for _ in 0..2 {
        control.receive(LinkId(1), "HELLO", &other.encode(), now).unwrap();
    }
    let outputs: Vec<_> = std::iter::from_fn(|| control.poll()).collect();
    let notices = outputs.iter().filter(|output| matches!(output, Output::Notice(Notice::SameId)));
    assert_eq!(notices.count(), 1);
    assert!(control.routes().nodes.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let now = Instant::now();
    let (mut network, links) = row();
    network.serve("A", &["svc1"]);
    network.millis(100);
    let control = network.routers.get_mut("C").unwrap();
    let before = control.routes().clone();
    let hello = Message::Hello { id: "X".to_owned(), instance: 1, seen: Vec::new() }.encode();
    for (opcode, body) in [
        ("HELLO", Value::Null),
        ("HELLO", Value::Map([(Value::from("id"), Value::from(3))].into_iter().collect())),
        ("RA", hello.clone()),
        ("LSU", hello.clone()),
        ("MAU", hello.clone()),
        ("MAR", hello.clone()),
        ("WHAT", hello),
    ] {
        assert!(control.receive(links[1], opcode, &body, now).is_err(), "{opcode} {body:?}");
    }
    assert_eq!(control.routes(), &before);
}

#[test]
fn there_is_an_end_to_routers() {
    let now = Instant::now();
    let mut control = Control::new(Options::new("A", 1), now);
    control.link_opened(LinkId(1), 1, now);
    let refused = (0..300).filter(|number| {
        let lsr = Message::Lsr { id: format!("R{number}") }.encode();
        control.receive(LinkId(1), "LSR", &lsr, now).is_err()
    });
    assert_eq!(refused.count(), 300 - (MOST_ROUTERS - 1));
}

/// Routers by number, links between them with cost, in some order of happening.
#[derive(Clone, Debug)]
struct Plan {
    routers: usize,
    links: Vec<(usize, usize, u32)>,
    /// Which links come or go, and how long afterwards the next does, in milliseconds.
    events: Vec<(usize, u64)>,
    served: Vec<usize>,
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    (2..9_usize)
        .prop_flat_map(|routers| {
            let link = (0..routers, 0..routers, 1..10_u32);
            let events = (0..20_usize, 0..4000_u64);
            (
                Just(routers),
                proptest::collection::vec(link, 1..16),
                proptest::collection::vec(events, 0..8),
                proptest::collection::vec(0..routers, 0..12),
                any::<u64>(),
            )
        })
        .prop_map(|(routers, links, events, served, seed)| {
            let links = links.into_iter().filter(|(a, b, _)| a != b).collect();
            Plan { routers, links, events, served, seed }
        })
}

const IDS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];
const NAMES: [&str; 4] = ["svc1", "svc2", "svc3", "svc4"];

/// Carries the plan out; the network is then whole within `patience`.
fn carry_out(plan: &Plan, loss: u64, delay: u64, patience: Duration) -> Result<(), TestCaseError> {
    let mut network = Network::new(plan.seed);
    for (number, id) in IDS.iter().take(plan.routers).enumerate() {
        network.add(id, number as u64 + 1);
    }
    (network.loss, network.delay) = (loss, delay);
    let links: Vec<_> =
        plan.links.iter().map(|(a, b, cost)| network.connect(IDS[*a], IDS[*b], *cost)).collect();
    let mut served: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (number, router) in plan.served.iter().enumerate() {
        let names = served.entry(IDS[*router]).or_default();
        if !names.contains(&NAMES[number % 4]) {
            names.push(NAMES[number % 4]);
        }
        network.serve(IDS[*router], names);
        network.millis(3);
    }
    let mut down = vec![0_u8; links.len()];
    for (link, pause) in &plan.events {
        if let Some(link) = links.get(*link) {
            let state = &mut down[link.0 as usize - 1];
            *state = (*state + 1) % 4;
            match *state {
                1 => network.close(*link),
                3 => network.cut(*link),
                _ => network.raise(*link),
            }
        }
        network.millis(*pause);
    }
    network.loss = 0;
    network.delay = delay.min(20);
    network.run(patience);
    let wrong = network.wrong(&served);
    prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_network_finds_its_shortest_ways_and_addresses(plan in plan()) {
        carry_out(&plan, 0, 2, Duration::from_millis(4_000))?;
    }

    #[test]
    fn lost_and_reordered_messages_do_no_lasting_harm(plan in plan(), loss in 0..40_u64) {
        carry_out(&plan, loss, 300, Duration::from_secs(45))?;
    }
}

/// Something that happens to a router: sound or not, from a few routers over a few links.
fn happening() -> impl Strategy<Value = (u8, u64, usize, i64, Vec<usize>, u64)> {
    let numbers = prop_oneof![-2..6_i64, Just(i64::MAX), Just(i64::MIN)];
    (0..10_u8, 0..3_u64, 0..5_usize, numbers, prop::collection::vec(0..5_usize, 0..4), 0..5_000_u64)
}

fn said(kind: u8, id: usize, number: i64, others: &[usize]) -> Message {
    let names: Vec<String> = others.iter().map(|other| IDS[*other].to_owned()).collect();
    let id = IDS[id].to_owned();
    let all = || names.iter().map(|name| (format!("M{name}"), None)).collect();
    match kind {
        0 | 1 => Message::Hello { id, instance: number, seen: names },
        2 => Message::Ra { id, instance: 1, ls_seq: number, mobile_seq: number },
        3 => Message::Lsr { id },
        4 => {
            let peers = names.iter().map(|name| (name.clone(), u32::MAX)).collect();
            Message::Lsu { id, instance: 1, ls_seq: number, peers }
        }
        5 => Message::Mar { id, have_seq: number },
        6 => Message::Mau { id, mobile_seq: number, change: Change::Exist(all()) },
        _ => {
            Message::Mau { id, mobile_seq: number, change: Change::Differ { add: all(), del: names.clone() } }
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_said_the_table_holds_only_ways_that_exist(
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut now = Instant::now();
        let mut control = Control::new(Options::new("A", 1), now);
        let mut open = BTreeSet::new();
        for (kind, link, id, number, others, pause) in happenings {
            let link = LinkId(link);
            match kind {
                8 => {
                    control.link_opened(link, 1, now);
                    open.insert(link);
                }
                9 => {
                    control.link_lost(link, now);
                    open.remove(&link);
                }
                kind => {
                    let message = said(kind, id, number, &others);
                    prop_assert!(control.receive(link, message.opcode(), &message.encode(), now).is_ok());
                }
            }
            let outputs: Vec<_> = std::iter::from_fn(|| control.poll()).collect();
            for output in outputs {
                if let Output::Send { links, .. } = output {
                    prop_assert!(!links.is_empty() && links.iter().all(|link| open.contains(link)));
                }
            }
            let routes = control.routes();
            for node in routes.nodes.values() {
                prop_assert!(open.contains(&node.link));
                prop_assert!(control.neighbours().contains_key(&node.next_hop));
            }
            prop_assert!(!routes.nodes.contains_key("A"));
            for on in routes.addresses.values() {
                prop_assert!(!on.is_empty() && on.iter().all(|id| routes.nodes.contains_key(id)));
            }
            now += Duration::from_millis(pause);
            control.tick(now);
            while control.poll().is_some() {}
            prop_assert!(control.next_deadline(now) > now, "it would tick without end");
        }
    }
}
