//! What files are taken, what they become, and what is said of those that are refused.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use topology::{LinkProperties, Topology, load, load_default, load_str, manifest};

fn conf(name: &str) -> Topology {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf").join(name)).unwrap()
}

fn complaints(text: &str) -> String {
    let problems = load_str("lab.yaml", text, Path::new("/nonexistent")).unwrap_err();
    let mut out = String::new();
    for problem in &problems.0 {
        writeln!(out, "{problem}").unwrap();
        if let Some(hint) = &problem.hint {
            writeln!(out, "    hint: {hint}").unwrap();
        }
    }
    out
}

#[test]
fn the_default_lab_is_the_one_of_the_course() {
    let default = load_default().unwrap();
    let nodes: Vec<String> = default.nodes().map(|(name, address)| format!("{name} {address}")).collect();
    assert_eq!(
        nodes,
        [
            "C0e1 10.1.0.1",
            "C0w1 10.0.0.3",
            "C0w2 10.0.0.4",
            "C0w3 10.0.0.5",
            "C1e1 10.2.0.1",
            "C1w1 10.0.0.8",
            "C1w2 10.0.0.9",
            "C1w3 10.0.0.10",
        ]
    );
    assert_eq!(default.switches().collect::<Vec<_>>(), ["t0", "C0s0", "C1s0"]);
    let mut of_file = conf("two-clusters.yaml");
    for ((built_in, cluster), count) in default.clusters.iter().zip(&mut of_file.clusters).zip([4, 3]) {
        // The same files: the default lab has them compiled in.
        let names = [&built_in.manifests, &cluster.manifests]
            .map(|all| all.iter().map(|path| base(path)).collect::<Vec<_>>());
        assert_eq!(names[0], names[1]);
        assert_eq!(names[0].len(), count);
        cluster.manifests.clone_from(&built_in.manifests);
    }
    assert_eq!(default, of_file);
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[test]
fn counts_give_the_same_lab_as_the_list_of_the_default_file() {
    let text = "clusters: [{name: C0, workers: 3}, {name: C1, workers: 3}]";
    let mut default = load_default().unwrap();
    default.clusters.iter_mut().for_each(|cluster| cluster.manifests.clear());
    default.site_links.clear();
    assert_eq!(load_str("lab.yaml", text, Path::new(".")).unwrap(), default);
}

#[test]
fn the_other_files_hold_what_their_names_say() {
    assert_eq!(conf("one-cluster.yaml").nodes().count(), 3);
    let hundred = conf("hundred-workers.yaml");
    assert_eq!(hundred.nodes().count(), 101);
    assert_eq!(hundred.nodes().last().unwrap().1.to_string(), "10.0.0.102");
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same() {
    let text = "
clusters:
  - name: A
    etcd: 3
    components: {flannel: builtin}
    workers: [{name: w1, address: 10.9.0.1, components: real}, {name: w2, address: 10.9.0.2}]
links:
  - {between: [A-s0, t0], rate: 10mbit, delay: 5ms}
  - {between: [w1, A-s0], loss: 1.5%, mtu: 1400, up: false}
"
    .replace("name: A\n", "name: A\n    switch: A-s0\n");
    let topology = load_str("lab.yaml", &text, Path::new(".")).unwrap();
    let printed = serde_yaml::to_string(&topology).unwrap();
    insta::assert_snapshot!(printed);
    assert_eq!(load_str("printed.yaml", &printed, Path::new(".")).unwrap(), topology);
}

#[test]
fn cables_have_the_names_that_the_prompt_shows() {
    let cables: Vec<String> = load_default()
        .unwrap()
        .cables()
        .iter()
        .map(|c| format!("{} {}<->{} {}", c.node, c.node_port, c.switch_port, c.switch))
        .collect();
    insta::assert_snapshot!(cables.join("\n"));
}

#[test]
fn a_change_of_a_link_leaves_what_it_does_not_name() {
    let rate: LinkProperties = serde_yaml::from_str("rate: 10mbit").unwrap();
    let both = rate.with(serde_yaml::from_str("mtu: 1400").unwrap());
    assert_eq!(both, serde_yaml::from_str("{rate: 10mbit, mtu: 1400}").unwrap());
}

/// What is wrong, and the file.
const REFUSED: &[(&str, &str)] = &[
    ("not yaml", "clusters: [\n  - name: x\n"),
    ("nothing", ""),
    ("no clusters", "clusters: []"),
    ("unknown key at the top", "clusters: [{name: C0, workers: 1}]\nunderlai: {}\n"),
    ("unknown key in a cluster", "clusters:\n  - name: C0\n    wrkers: 3\n"),
    ("no workers", "clusters:\n  - name: C0\n    workers: 0\n"),
    ("workers of a strange kind", "clusters:\n  - name: C0\n    workers: many\n"),
    ("negative count", "clusters:\n  - name: C0\n    workers: -1\n"),
    ("too many workers", "clusters:\n  - name: C0\n    workers: 70000\n"),
    ("two etcd members", "clusters:\n  - name: C0\n    etcd: 2\n    workers: 1\n"),
    ("name too long", "clusters:\n  - name: C0\n    workers: [{name: my-long-worker, address: 10.0.0.3}]\n"),
    ("name unfit", "clusters:\n  - name: C0\n    workers: [{name: a/b, address: 10.0.0.3}]\n"),
    ("reserved name", "clusters:\n  - name: C0\n    workers: [{name: all, address: 10.0.0.3}]\n"),
    ("cluster name with a dash", "clusters:\n  - name: C0-a\n    workers: 1\n"),
    ("cluster name too long", "clusters:\n  - name: production\n    workers: 1\n"),
    (
        "duplicate name",
        "clusters:\n  - name: C0\n    workers:\n      - {name: w1, address: 10.0.0.3}\n      - {name: w1, address: 10.0.0.4}\n",
    ),
    (
        "duplicate address",
        "clusters:\n  - name: C0\n    workers:\n      - {name: w1, address: 10.0.0.3}\n      - {name: w2, address: 10.0.0.3}\n",
    ),
    (
        "counted addresses run into listed ones",
        "clusters:\n  - {name: C0, workers: 3}\n  - {name: C1, workers: {count: 3, firstAddress: 10.0.0.5}}\n",
    ),
    ("address outside", "clusters:\n  - name: C0\n    workers: [{name: w1, address: 192.168.0.3}]\n"),
    ("network address", "clusters:\n  - name: C0\n    workers: [{name: w1, address: 10.0.0.0}]\n"),
    ("not an address", "clusters:\n  - name: C0\n    workers: [{name: w1, address: 10.0.0.300}]\n"),
    ("bad underlay", "underlay: {network: 10.0.0.1/8}\nclusters: [{name: C0, workers: 1}]\n"),
    ("no prefix", "serviceNetwork: 100.64.0.0\nclusters: [{name: C0, workers: 1}]\n"),
    ("service network overlaps", "serviceNetwork: 10.5.0.0/16\nclusters: [{name: C0, workers: 1}]\n"),
    ("balancers' pool outside", "clusters: [{name: C0, workers: 1, loadBalancerPool: 192.168.0.0/24}]\n"),
    ("balancers' pool with a node", "clusters: [{name: C0, workers: 1, loadBalancerPool: 10.0.0.0/24}]\n"),
    (
        "balancers' pools overlap",
        "clusters:\n  - {name: C0, workers: 1, loadBalancerPool: 10.9.0.0/16}\n  - {name: C1, workers: 1, loadBalancerPool: 10.9.1.0/24}\n",
    ),
    (
        "etcd without default addresses",
        "underlay: {network: 192.168.7.0/24}\nclusters: [{name: C0, workers: 1}]\n",
    ),
    ("mtu", "underlay: {mtu: 68}\nclusters: [{name: C0, workers: 1}]\n"),
    ("missing pod network file", "podNetwork: {file: flanel.json}\nclusters: [{name: C0, workers: 1}]\n"),
    (
        "pod network twice",
        "podNetwork: {file: x.json, Network: 11.0.0.0/8}\nclusters: [{name: C0, workers: 1}]\n",
    ),
    (
        "pod network backend",
        "podNetwork: {Network: 11.0.0.0/8, Backend: {Type: vxlan2, VNI: 0, Prt: 1}}\nclusters: [{name: C0, workers: 1}]\n",
    ),
    (
        "pod subnet bounds",
        "podNetwork: {Network: 11.0.0.0/8, SubnetLen: 20, SubnetMin: 11.10.1.0, SubnetMax: 12.0.0.0}\nclusters: [{name: C0, workers: 1}]\n",
    ),
    (
        "pod subnet length",
        "podNetwork: {Network: 11.0.0.0/8, SubnetLen: 8}\nclusters: [{name: C0, workers: 1}]\n",
    ),
    ("components word", "components: {flannel: builtn}\nclusters: [{name: C0, workers: 1}]\n"),
    ("components part", "components: {flanel: auto}\nclusters: [{name: C0, workers: 1}]\n"),
    ("missing manifest", "manifests: [web.yaml]\nclusters: [{name: C0, workers: 1}]\n"),
    (
        "link to nowhere",
        "clusters: [{name: C0, workers: 2}]\nlinks:\n  - {between: [C0w3, C0s0], rate: 10mbit}\n",
    ),
    ("link of strangers", "clusters: [{name: C0, workers: 2}]\nlinks:\n  - {between: [C0w1, C0w2]}\n"),
    (
        "link with bad figures",
        "clusters: [{name: C0, workers: 2}]\nlinks:\n  - {between: [C0w1, C0s0], rate: fast}\n",
    ),
    (
        "link twice",
        "clusters: [{name: C0, workers: 2}]\nlinks:\n  - {between: [C0w1, C0s0]}\n  - {between: [C0s0, C0w1]}\n",
    ),
    (
        "several at once",
        "underlay: {network: 10.0.0.0/33}\nserviceNetwork: x\nclusters:\n  - {name: C0, workers: 0}\n  - {name: C0, workers: 1}\n",
    ),
];

#[test]
fn balancers_have_a_pool_where_nobody_is() {
    let pools = |text: &str| -> Vec<String> {
        let topology = load_str("lab.yaml", text, Path::new("/nonexistent")).unwrap();
        let pool = |cluster: &topology::Cluster| match cluster.load_balancer_pool {
            Some(pool) => pool.to_string(),
            None => "none".into(),
        };
        topology.clusters.iter().map(pool).collect()
    };
    let two = "clusters: [{name: C0, workers: 1}, {name: C1, workers: 1}]\n";
    assert_eq!(pools(two), ["10.200.0.0/24", "10.201.0.0/24"]);
    // Somebody is there already, or wants to be.
    let node =
        "clusters:\n  - {name: C0, workers: [{name: w, address: 10.200.0.7}]}\n  - {name: C1, workers: 1}\n";
    assert_eq!(pools(node), ["10.201.0.0/24", "10.202.0.0/24"]);
    let pool = "clusters:\n  - {name: C0, workers: 1, loadBalancerPool: 10.201.0.0/28}\n  - {name: C1, workers: 1}\n";
    assert_eq!(pools(pool), ["10.201.0.0/28", "10.202.0.0/24"]);
    let small = |prefix: u8| {
        format!(
            "underlay: {{network: 192.168.7.0/{prefix}}}\nclusters:\n  - name: C0\n    etcd: [{{name: e, address: 192.168.7.1}}]\n    workers: [{{name: w, address: 192.168.7.2}}]\n"
        )
    };
    assert_eq!(pools(&small(24)), ["192.168.7.192/28"]);
    assert_eq!(pools(&small(29)), ["none"]);
}

#[test]
fn refused_files_are_told_where_and_why() {
    let mut said = String::new();
    for (what, text) in REFUSED {
        writeln!(said, "# {what}\n{}", complaints(text)).unwrap();
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_missing_file_is_named_with_a_way_out() {
    let problems = load(Path::new("/nonexistent/lab.yaml")).unwrap_err();
    assert!(
        problems
            .to_string()
            .starts_with("/nonexistent/lab.yaml: cannot read the topology file: No such file")
    );
    assert!(problems.0[0].hint.is_some());
}

#[test]
fn problems_of_the_pod_network_file_name_that_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("net.json"),
        "{\n  \"Network\": \"11.0.0.0/8\",\n  \"SubnetLne\": 20\n}\n",
    )
    .unwrap();
    let text = "podNetwork: {file: net.json}\nclusters: [{name: C0, workers: 1}]\n";
    let problems = load_str("lab.yaml", text, folder.path()).unwrap_err();
    let problem = &problems.0[0];
    assert!(problem.file.ends_with("net.json"), "{problem}");
    assert_eq!(problem.place.unwrap().0, 3, "{problem}");
    assert_eq!(problem.hint.as_deref(), Some("did you mean SubnetLen?"));
}

#[test]
fn manifests_are_found_from_everywhere_those_that_are_compiled_in_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.yaml"), "text").unwrap();
    let text =
        "manifests: [web.yaml, \"builtin:manifests/pods-C0.yaml\"]\nclusters: [{name: C0, workers: 3}]\n";
    let manifests = load_str("lab.yaml", text, folder.path()).unwrap().clusters[0].manifests.clone();
    let path = folder.path().canonicalize().unwrap().join("web.yaml").display().to_string();
    assert_eq!(manifests, [path.as_str(), "builtin:manifests/pods-C0.yaml"]);
    assert_eq!(manifest(&manifests[0]).unwrap(), "text");
    assert!(manifest(&manifests[1]).unwrap().contains("nodeName: C0w1"));
    for missing in ["builtin:web.yaml", "/nowhere/web.yaml"] {
        assert!(manifest(missing).is_err());
        let text = format!("manifests: [\"{missing}\"]\nclusters: [{{name: C0, workers: 1}}]\n");
        assert!(load_str("lab.yaml", &text, folder.path()).is_err(), "{missing}");
    }
}

#[test]
fn site_links_join_clusters_that_there_are() {
    let load = |links: &str| {
        let text =
            format!("clusters: [{{name: C0, workers: 1}}, {{name: C1, workers: 1}}]\nsiteLinks: {links}\n");
        load_str("lab.yaml", &text, Path::new("."))
    };
    let good = load("[{from: C1, to: C0}]").unwrap();
    assert_eq!((good.site_links[0].from.as_str(), good.site_links[0].cost), ("C1", 1));
    let table = [
        ("[{from: C1, to: C7}]", "there is no cluster \"C7\""),
        ("[{from: C1, to: C1}]", "a site is not linked to itself"),
        ("[{from: C1, to: C0}, {from: C0, to: C1}]", "C0 and C1 are linked already"),
        ("[{from: C1, to: C0, cost: 0}]", "a link costs at least 1"),
    ];
    for (links, why) in table {
        let problems = load(links).unwrap_err().to_string();
        assert!(problems.contains(why), "{links}: {problems}");
    }
}
