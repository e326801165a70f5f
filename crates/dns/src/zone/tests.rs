//! Tables of questions and answers, and what changes of objects do to them.

use std::fmt::Write;

use hickory_proto::rr::{Name, Record, RecordType};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Cluster {
    namespaces: Vec<Namespace>,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
}

fn cluster() -> Cluster {
    serde_yaml::from_str(include_str!("tests/cluster.yaml")).unwrap()
}

fn index() -> Index {
    let cluster = cluster();
    let mut index = Index::new("cluster.local", &["100.64.0.10".parse().unwrap()]).unwrap();
    for namespace in &cluster.namespaces {
        assert!(index.put_namespace(namespace));
    }
    // Slices may come first.
    for slice in &cluster.slices {
        assert_eq!(index.put_slice(slice), slice.metadata.labels.is_some());
    }
    for service in &cluster.services {
        assert!(index.put_service(service));
    }
    index
}

/// The answer as in the tables; the usual SOA record as `no more: ZONE`.
fn answer(index: &Index, name: &Name, kind: RecordType) -> String {
    let inside = match index.answer(name, kind) {
        Answer::Outside if index.is_above(name) => return "outside, above\n".into(),
        Answer::Outside => return "outside\n".into(),
        Answer::Refused => return "refused\n".into(),
        Answer::Inside(inside) => inside,
    };
    let mut text = String::new();
    if inside.code != hickory_proto::op::ResponseCode::NoError {
        writeln!(text, "{:?}", inside.code).unwrap();
    }
    for record in &inside.answers {
        writeln!(text, "{}", line(record)).unwrap();
    }
    for record in &inside.authorities {
        let zone = &record.name;
        let soa = format!("5 IN SOA ns.dns.{zone} hostmaster.{zone} 1 7200 1800 86400 5");
        assert_eq!(line(record), format!("{zone} {soa}"));
        writeln!(text, "no more: {zone}").unwrap();
    }
    for record in &inside.additionals {
        writeln!(text, "with {}", line(record)).unwrap();
    }
    if let Some(name) = inside.chase {
        writeln!(text, "chase {name}").unwrap();
    }
    text
}

fn line(record: &Record) -> String {
    record.to_string().trim_end().to_owned()
}

/// A file of questions, each with its answer indented below it; `#` begins a comment.
fn check(table: &str) {
    let index = index();
    let mut checked = 0;
    let lines: Vec<&str> = table.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    let mut rest = lines.as_slice();
    while let [question, more @ ..] = rest {
        let end = more.iter().position(|line| !line.starts_with(' ')).unwrap_or(more.len());
        let expected: String = more[..end].iter().map(|line| format!("{}\n", line.trim())).collect();
        rest = &more[end..];
        let (name, kind) = question.split_once(' ').unwrap();
        let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        let name = Name::from_labels(labels).unwrap();
        let kind = if kind == "IXFR" { RecordType::IXFR } else { kind.parse().unwrap() };
        assert_eq!(answer(&index, &name, kind), expected, "{question}");
        checked += 1;
    }
    assert!(checked > 10, "{checked} questions");
}

#[test]
fn every_record_of_the_specification() {
    check(include_str!("tests/specification.txt"));
}

#[test]
fn the_cases_that_others_test() {
    check(include_str!("tests/handler.txt"));
}

#[test]
fn names_that_exist_and_names_that_do_not() {
    check(include_str!("tests/exact.txt"));
}

/// Everything that the tables ask for, and a few more, as one text.
fn everything(index: &Index) -> String {
    let tables = [
        include_str!("tests/specification.txt"),
        include_str!("tests/handler.txt"),
        include_str!("tests/exact.txt"),
        "4.0.0.172.in-addr.arpa. PTR\nmoved.db.shop.svc.cluster.local. A\n",
    ];
    let questions = tables.iter().flat_map(|table| table.lines()).filter(|l| !l.starts_with(['#', ' ']));
    let mut all = String::new();
    for (name, kind) in questions.filter_map(|line| line.split_once(' ')) {
        let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        let name = Name::from_labels(labels).unwrap();
        let kind = if kind == "IXFR" { RecordType::IXFR } else { kind.parse().unwrap() };
        writeln!(all, "{name} {kind}\n{}", answer(index, &name, kind)).unwrap();
    }
    all
}

#[test]
fn the_same_object_again_changes_nothing() {
    let (mut index, cluster) = (index(), cluster());
    assert!(!cluster.namespaces.iter().any(|namespace| index.put_namespace(namespace)));
    assert!(!cluster.services.iter().any(|service| index.put_service(service)));
    assert!(!cluster.slices.iter().any(|slice| index.put_slice(slice)));
}

/// One object less, and one object back, whichever it is, is the same as if it had never been gone; and
/// without all of them nothing is left.
#[test]
fn what_is_deleted_leaves_nothing_behind() {
    let (mut index, cluster) = (index(), cluster());
    let whole = everything(&index);
    let names = |meta: &api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    for service in &cluster.services {
        let (namespace, name) = names(&service.metadata);
        assert!(index.delete_service(&namespace, &name), "{name}");
        assert!(!index.delete_service(&namespace, &name), "{name}");
        // These make no names at all.
        let makes_none = ["silent", "bare", "ext-address"].contains(&name.as_str());
        assert!((everything(&index) == whole) == makes_none, "{name}");
        index.put_service(service);
        assert!(everything(&index) == whole, "{name}");
    }
    for slice in &cluster.slices {
        let (namespace, name) = names(&slice.metadata);
        assert_eq!(index.delete_slice(&namespace, &name), name != "stray", "{name}");
        assert!(!index.delete_slice(&namespace, &name), "{name}");
        index.put_slice(slice);
        assert!(everything(&index) == whole, "{name}");
    }
    assert!(index.retain_services(|_, name| name != "web"));
    assert!(index.retain_slices(|namespace, name| (namespace, name) != ("shop", "db-1")));
    assert!(index.retain_namespaces(|name| name != "vacant"));
    assert!(!index.retain_namespaces(|name| name != "vacant"));
    assert_eq!(index.counts(), (cluster.services.len() - 1, cluster.slices.len() - 2));
    index.retain_services(|_, _| false);
    index.retain_slices(|_, _| false);
    index.retain_namespaces(|_| false);
    assert!(index.is_empty(), "{index:?}");
}

#[test]
fn changes_of_a_slice() {
    let mut index = index();
    let put = |index: &mut Index, slice: &str| index.put_slice(&serde_yaml::from_str(slice).unwrap());
    let ask = |index: &Index, name: &str, kind| answer(index, &Name::from_ascii(name).unwrap(), kind);
    let endpoints = "addressType: IPv4, endpoints: [{addresses: [172.0.0.4], hostname: moved}]";
    // Fewer endpoints, another hostname.
    let slice = "{metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}, ";
    assert!(put(&mut index, &format!("{slice}{endpoints}}}")));
    let moved = "moved.db.shop.svc.cluster.local.";
    assert_eq!(ask(&index, moved, RecordType::A), format!("{moved} 5 IN A 172.0.0.4\n"));
    let backwards = "4.0.0.172.in-addr.arpa.";
    assert_eq!(ask(&index, backwards, RecordType::PTR), format!("{backwards} 5 IN PTR {moved}\n"));
    assert_eq!(ask(&index, "5.0.0.172.in-addr.arpa.", RecordType::PTR), "outside\n");
    // It is also in another slice.
    let two = "2.0.0.172.in-addr.arpa.";
    assert!(ask(&index, two, RecordType::PTR).contains("172-0-0-2.db.shop"));
    // Of another service, then of none.
    let slice = "{metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: bare}}, ";
    assert!(put(&mut index, &format!("{slice}{endpoints}}}")));
    assert_eq!(ask(&index, moved, RecordType::A), "NXDomain\nno more: cluster.local.\n");
    assert!(ask(&index, backwards, RecordType::PTR).contains("moved.bare.shop"));
    let slice = "{metadata: {name: db-1, namespace: shop}, ";
    assert!(put(&mut index, &format!("{slice}{endpoints}}}")));
    assert_eq!(ask(&index, backwards, RecordType::PTR), "outside\n");
}

#[test]
fn zones_that_cannot_be_one() {
    assert_eq!(
        Index::new(".", &[]).unwrap_err().to_string(),
        "zone \".\": the root cannot be a cluster's zone"
    );
    let long = "a".repeat(64);
    assert!(Index::new(&long, &[]).unwrap_err().to_string().starts_with("zone \"aaaa"));
    // Without name servers there is none.
    let index = Index::new("a.Example", &[]).unwrap();
    let ask = |name: &str, kind| answer(&index, &Name::from_ascii(name).unwrap(), kind);
    assert_eq!(ask("a.example.", RecordType::NS), "no more: a.example.\n");
    assert_eq!(ask("ns.dns.a.example.", RecordType::A), "NXDomain\nno more: a.example.\n");
}

/// Names that are no names, as etcd may have them if somebody writes there by hand.
#[test]
fn objects_that_make_no_name_are_left_out() {
    let mut index = Index::new("cluster.local", &[]).unwrap();
    let long = "x".repeat(64);
    for name in [long.as_str(), "a.b", "", "ä"] {
        let mut service = Service::default();
        service.metadata.name = Some(name.into());
        service.metadata.namespace = Some("shop".into());
        service.spec.cluster_ips = Some(vec!["100.64.0.1".into(), "nonsense".into()]);
        assert!(index.put_service(&service));
    }
    let backwards = Name::from_ascii("1.0.64.100.in-addr.arpa.").unwrap();
    let text = answer(&index, &backwards, RecordType::PTR);
    assert!(!text.contains(&long), "{text}");
}
