//! Impaired links, with packets.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use testkit::topo::{Bench, User};
use testkit::wait_for;

const ONE_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-cluster.yaml");

fn bench() -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    bench
}

/// Round trip times in milliseconds.
fn ping(bench: &Bench, args: &str) -> Vec<f64> {
    let said = bench.run(["exec", "C0w1", "--", "sh", "-c", &format!("ping -W2 {args} C0w2")]).stdout;
    let times = said.split("time=").skip(1);
    times.filter_map(|rest| rest.split_once(" ms")?.0.parse().ok()).collect()
}

#[test]
fn a_delay_is_on_the_wire_both_ways_until_it_is_taken_away() {
    let bench = bench();
    for wait in ["20ms", "5ms"] {
        let said = bench.ok(["link", "set", "C0w1", "C0s0", "--delay", wait]);
        assert!(said.starts_with(&format!("C0w1-eth0<->C0s0-eth2 (OK OK)  delay {wait}  by ")), "{said}");
        let wanted: f64 = wait.trim_end_matches("ms").parse().unwrap();
        let fastest = ping(&bench, "-c5 -i0.05").into_iter().fold(f64::MAX, f64::min);
        assert!((2.0 * wanted..2.0 * wanted + 8.0).contains(&fastest), "{wait}: {fastest}");
    }
    bench.ok(["link", "set", "C0w1", "C0s0", "--delay", "0ms"]);
    let fastest = ping(&bench, "-c5 -i0.05").into_iter().fold(f64::MAX, f64::min);
    assert!(fastest < 5.0, "{fastest}");
    let left = bench.ok(["exec", "C0s0", "ip", "-o", "link"]);
    assert!(!left.contains("dl1"), "{left}");
    assert_eq!(bench.status()["helpers"].as_array().unwrap().len(), 0);
}

#[test]
fn a_killed_delay_line_is_back() {
    let bench = bench();
    bench.ok(["link", "set", "C0w1", "C0s0", "--delay", "5ms"]);
    let status = bench.status();
    let Some(line) = status["helpers"].get(0) else {
        // The kernel's own netem does the work here.
        return;
    };
    let pid = line["pid"].to_string();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    wait_for("packets again", Duration::from_secs(20), || match ping(&bench, "-c1").first() {
        Some(time) if *time >= 10.0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    bench.wait_ready();
}

#[test]
fn losses_are_counted_by_rules_that_name_the_link() {
    let bench = bench();
    bench.ok(["link", "set", "C0s0", "C0w1", "--loss", "50%"]);
    let rules = bench.ok(["exec", "C0s0", "nft", "list", "table", "netdev", "knetsim-links"]);
    assert!(rules.contains("comment \"link C0w1 - C0s0: loss 50% from C0w1 to C0s0\""), "{rules}");
    let received = ping(&bench, "-c100 -i0.01").len();
    assert!((5..50).contains(&received), "{received} of 100, a quarter expected");
    bench.ok(["link", "set", "C0w1", "C0s0", "--loss", "100%"]);
    assert_eq!(ping(&bench, "-c3 -i0.01").len(), 0);
    bench.ok(["link", "set", "C0w1", "C0s0", "--loss", "0%"]);
    assert_eq!(ping(&bench, "-c10 -i0.01").len(), 10);
    assert_eq!(bench.ok(["exec", "C0s0", "nft", "list", "ruleset"]), "");
}

#[test]
fn a_rate_holds_for_both_directions() {
    let bench = bench();
    bench.ok(["link", "set", "C0w1", "C0s0", "--rate", "50mbit"]);
    for ends in [["C0w1", "C0w2"], ["C0w2", "C0w1"]] {
        let said = bench.ok(["iperf", ends[0], ends[1], "-t", "1"]);
        let rate: f64 = said.split('\'').nth(1).unwrap().trim_end_matches(" Mbits/sec").parse().unwrap();
        assert!((30.0..60.0).contains(&rate), "{said}");
    }
}

#[test]
fn large_packets_need_a_large_mtu() {
    let bench = bench();
    bench.ok(["link", "set", "C0w2", "C0s0", "--mtu", "1400"]);
    assert_eq!(ping(&bench, "-c1 -M do -s 1372").len(), 1);
    assert_eq!(ping(&bench, "-c1 -M do -s 1373").len(), 0);
    let links: serde_json::Value = serde_json::from_str(&bench.ok(["links", "-o", "json"])).unwrap();
    let link = links.as_array().unwrap().iter().find(|l| l["a"]["node"] == "C0w2").unwrap();
    assert_eq!((&link["a"]["mtu"], &link["b"]["mtu"]), (&1400.into(), &1400.into()));
}

#[test]
fn a_pulled_plug_leaves_routes_as_they_are() {
    let bench = bench();
    let routes = bench.ok(["exec", "C0w1", "ip", "route"]);
    assert_eq!(bench.ok(["link", "C0w1", "C0s0", "down"]), "C0w1-eth0<->C0s0-eth2 (DOWN DOWN)\n");
    assert_eq!(ping(&bench, "-c1").len(), 0);
    bench.ok(["link", "C0s0", "C0w1", "up"]);
    assert_eq!(bench.ok(["exec", "C0w1", "ip", "route"]), routes);
    // A neighbour that did not answer is asked again a second later.
    wait_for("an answer", Duration::from_secs(20), || match ping(&bench, "-c1").len() {
        1 => Ok(()),
        answers => Err(format!("{answers} answers")),
    });
}

#[test]
fn all_figures_at_once_and_none_after_clear() {
    let bench = bench();
    let all = [
        "link", "set", "C0w1", "C0s0", "--rate", "20mbit", "--loss", "1%", "--delay", "3ms", "--mtu", "1300",
    ];
    let said = bench.ok(all);
    assert!(said.contains("rate 20mbit, delay 3ms, loss 1%, mtu 1300"), "{said}");
    bench.ok(["link", "set", "C0w1", "C0s0", "--down"]);
    let said = bench.ok(["link", "set", "C0w1", "C0s0", "--clear", "--up"]);
    assert_eq!(said, "C0w1-eth0<->C0s0-eth2 (OK OK)\n");
    assert_eq!(ping(&bench, "-c5 -i0.01").len(), 5);
}

#[test]
fn links_of_the_topology_file_are_as_it_says() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let file = bench.folder().join("lab.yaml");
    let text =
        "clusters: [{name: C0, workers: 2}]\nlinks: [{between: [C0w1, C0s0], delay: 4ms, mtu: 1400}]\n";
    std::fs::write(&file, text).unwrap();
    bench.ok(["up", "-q", "-f", file.to_str().unwrap()]);
    assert!(bench.ok(["links"]).contains("C0w1-eth0<->C0s0-eth2 (OK OK)  delay 4ms, mtu 1400"));
    let fastest = ping(&bench, "-c3 -i0.05").into_iter().fold(f64::MAX, f64::min);
    assert!(fastest >= 8.0, "{fastest}");
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let bench = bench();
    let cases = [
        (
            vec!["C0w1", "C0w2", "--loss", "1%"],
            2,
            "topo: there is no link between C0w1 and C0w2\nhint: C0w1 is linked to C0s0\n",
        ),
        (
            vec!["C0w9", "C0s0", "--loss", "1%"],
            2,
            "topo: there is no node or switch C0w9\nhint: did you mean C0w1?\n",
        ),
        (
            vec!["C0w1", "C0s0"],
            2,
            "topo: link set: nothing to set: give --rate, --loss, --delay, --mtu, --up, --down or --clear\n",
        ),
        // A veth cannot be smaller than IPv4 needs for its least header (ETH_MIN_MTU).
        (vec!["C0w1", "C0s0", "--mtu", "67"], 2, "error: invalid value '67' for '--mtu <MTU>'"),
        (
            vec!["C0w1", "C0s0", "--rate", "fast"],
            2,
            "error: invalid value 'fast' for '--rate <RATE>': \"fast\" is not a rate",
        ),
    ];
    for (args, code, said) in cases {
        let outcome = bench.run(["link", "set"].iter().chain(&args));
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.starts_with(said), "{outcome:?}");
    }
    assert_eq!(ping(&bench, "-c1").len(), 1);
    assert!(!bench.ok(["links"]).contains(" by "));
}

#[test]
fn a_large_mtu_passes_a_delay_line_whichever_comes_first() {
    let bench = bench();
    bench.ok(["link", "set", "C0w2", "C0s0", "--mtu", "9000"]);
    bench.ok(["link", "set", "C0w1", "C0s0", "--mtu", "9000", "--delay", "2ms"]);
    assert_eq!(ping(&bench, "-c1 -M do -s 8000").len(), 1);
    bench.ok(["link", "set", "C0w1", "C0s0", "--mtu", "1500"]);
    assert_eq!(ping(&bench, "-c1 -M do -s 8000").len(), 0);
    bench.ok(["link", "set", "C0w1", "C0s0", "--mtu", "9000"]);
    assert_eq!(ping(&bench, "-c1 -M do -s 8000").len(), 1);
}
