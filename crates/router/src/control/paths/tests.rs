use super::*;

fn states(text: &str) -> LinkStates {
    let mut states = LinkStates::new();
    for link in text.split_whitespace() {
        let (ends, cost) = link.split_once(':').unwrap();
        let (from, to) = ends.split_at(1);
        states.entry(from.to_owned()).or_default().insert(to.to_owned(), cost.parse().unwrap());
        states.entry(to.to_owned()).or_default().insert(from.to_owned(), cost.parse().unwrap());
    }
    states
}

fn shown(me: &str, states: &LinkStates) -> Vec<String> {
    ways(me, states)
        .into_iter()
        .map(|(id, way)| {
            let origins: Vec<_> = way.valid_origins.into_iter().collect();
            format!("{id} by {} for {} from [{}]", way.next_hop, way.cost, origins.join(" "))
        })
        .collect()
}

/// Networks at random, with many equal ways, and what upstream's `PathEngine.calculate_routes` says of each:
/// next hop, cost, valid origins.
#[test]
fn the_ways_are_upstreams() {
    let recorded: Vec<serde_json::Value> = serde_json::from_str(include_str!("upstream.json")).unwrap();
    for one in recorded {
        let states: LinkStates = serde_json::from_value(one["states"].clone()).unwrap();
        let ours = ways(one["me"].as_str().unwrap(), &states);
        let ours = ours.into_iter().map(|(id, way)| (id, (way.next_hop, way.cost, way.valid_origins)));
        let theirs = serde_json::from_value(one["ways"].clone()).unwrap();
        assert_eq!(ours.collect::<BTreeMap<String, (String, u64, BTreeSet<String>)>>(), theirs, "{one}");
    }
}

#[test]
fn ways_in_a_row_and_in_a_star() {
    let line = states("RA:1 AB:1");
    assert_eq!(shown("R", &line), ["A by A for 1 from []", "B by A for 2 from []"]);
    let star = states("RA:1 RB:1 RC:1");
    assert_eq!(
        shown("R", &star),
        ["A by A for 1 from [B C]", "B by B for 1 from [A C]", "C by C for 1 from [A B]"]
    );
}

#[test]
fn of_equal_ways_that_over_the_lower_id_is_taken_by_everybody() {
    let square = states("AB:1 AC:1 BD:1 CD:1");
    assert_eq!(shown("A", &square)[2], "D by B for 2 from []");
    assert_eq!(
        shown("B", &square),
        ["A by A for 1 from [D]", "C by A for 2 from []", "D by D for 1 from [A]"]
    );
    // Neither of D's messages to A nor of A's to D goes over C.
    assert_eq!(shown("C", &square), ["A by A for 1 from []", "B by A for 2 from []", "D by D for 1 from []"]);
}

#[test]
fn a_neighbour_that_has_not_spoken_yet_can_be_reached() {
    let states = LinkStates::from([("A".to_owned(), BTreeMap::from([("B".to_owned(), 4)]))]);
    assert_eq!(shown("A", &states), ["B by B for 4 from []"]);
}

#[test]
fn who_cannot_be_reached_has_no_way() {
    let mut states = states("AB:1 CD:1");
    states.insert("E".to_owned(), BTreeMap::new());
    assert_eq!(shown("A", &states), ["B by B for 1 from []"]);
}
