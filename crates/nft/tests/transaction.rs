//! Batches against the real kernel: whole or not at all, however large.
// clippy.toml allows it in tests, but does not see that their helpers are part of them.
#![allow(clippy::unwrap_used)]

use std::ffi::CString;
use std::process::Command;

use net::NetNs;
use nft::{Error, Socket, Transaction};
use nftnl::{Chain, ProtoFamily, Table};
use testkit::netns;

fn chain(table: &Table, n: usize) -> Chain<'_> {
    Chain::new(CString::new(format!("chain-{n}")).unwrap(), table)
}

fn socket(ns: &NetNs) -> Socket {
    ns.run(|| Ok::<_, net::Error>(Socket::open())).unwrap().unwrap()
}

fn listed_chains(ns: &NetNs) -> usize {
    let output =
        ns.run(|| Ok::<_, net::Error>(Command::new("nft").args(["list", "chains"]).output())).unwrap();
    String::from_utf8(output.unwrap().stdout).unwrap().matches("chain chain-").count()
}

#[test]
fn a_batch_of_many_pages_is_made_once_and_runs_in_many_namespaces() {
    const CHAINS: usize = 8000;
    let table = Table::new(c"big", ProtoFamily::Ipv4);
    let mut transaction = Transaction::new();
    transaction.add(&table);
    (0..CHAINS).for_each(|n| transaction.add(&chain(&table, n)));
    let batch = transaction.seal();
    assert!(batch.bytes().len() > 2 * nftnl::default_batch_page_size() as usize, "{}", batch.bytes().len());
    for ns in [netns(), netns()] {
        socket(&ns).run(&batch).unwrap();
        assert_eq!(listed_chains(&ns), CHAINS);
    }
}

#[test]
fn one_bad_message_is_named_and_undoes_all() {
    let ns = netns();
    let mut socket = socket(&ns);
    let (table, missing) = (Table::new(c"t", ProtoFamily::Ipv4), Table::new(c"nope", ProtoFamily::Ipv6));
    let mut transaction = Transaction::new();
    transaction.add(&table);
    (0..100).for_each(|n| transaction.add(&chain(&table, n)));
    transaction.delete(&missing);
    (100..200).for_each(|n| transaction.add(&chain(&table, n)));
    let error = socket.run(&transaction.seal()).unwrap_err();
    assert_eq!(error.to_string(), "delete table ip6 nope");
    assert_eq!(error.errno(), Some(libc::ENOENT));
    assert!(matches!(error, Error::Refused { position: Some(101), .. }), "{error:?}");
    assert_eq!(listed_chains(&ns), 0);
}

#[test]
fn more_errors_than_fit_into_the_socket_leave_it_usable() {
    let ns = netns();
    let mut socket = socket(&ns);
    let table = Table::new(c"t", ProtoFamily::Ipv4);
    let mut transaction = Transaction::new();
    transaction.add(&table);
    (0..5000).for_each(|n| transaction.delete(&chain(&table, n)));
    let error = socket.run(&transaction.seal()).unwrap_err();
    assert_eq!(error.to_string(), "delete chain ip t chain-0");
    assert!(matches!(error, Error::Refused { position: Some(1), .. }), "{error:?}");

    let mut transaction = Transaction::new();
    transaction.add(&table);
    transaction.add(&chain(&table, 7));
    let batch = transaction.seal();
    socket.run(&batch).unwrap();
    assert_eq!(listed_chains(&ns), 1);
    // The same bytes again: nothing of the first run is taken for an answer to the second.
    socket.run(&batch).unwrap();
    socket.run(&Transaction::new().seal()).unwrap();
}
