//! Names of others: resolvers that do as the test wants, beside the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dns::Options;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::lab::{DNS, alone, cluster, get, lookup, name, options, query, soon, tcp, udp, until};

/// What a resolver does with a question.
pub(crate) type Habit = fn(&Message) -> Vec<Message>;

/// A resolver at an address of its own, `127.0.0.<n>`.
pub(crate) struct Resolver {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Resolver {
    pub(crate) async fn start(n: u8, by_udp: Habit, by_tcp: Habit) -> Self {
        let address: SocketAddr = (Ipv4Addr::new(127, 0, 0, n), 53).into();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (socket, count) = (UdpSocket::bind(address).await.unwrap(), asked.clone());
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                for answer in by_udp(&Message::from_vec(&buffer[..length]).unwrap()) {
                    socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
                }
            }
        });
        let (listener, count) = (TcpListener::bind(address).await.unwrap(), asked.clone());
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut packet = vec![0; length.into()];
                stream.read_exact(&mut packet).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                for answer in by_tcp(&Message::from_vec(&packet).unwrap()) {
                    let answer = answer.to_vec().unwrap();
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.response_code = code;
    reply.add_query(query.queries[0].clone());
    reply
}

fn address(query: &Message, n: u8) -> Record {
    let address = RData::A(A(Ipv4Addr::new(192, 0, 2, n)));
    Record::from_rdata(query.queries[0].name().clone(), 300, address)
}

pub(crate) fn answers(query: &Message) -> Vec<Message> {
    let mut reply = reply(query, ResponseCode::NoError);
    reply.add_answer(address(query, 80));
    vec![reply]
}

pub(crate) fn says_no(query: &Message) -> Vec<Message> {
    let mut reply = reply(query, ResponseCode::NXDomain);
    let soa = SOA::new(name("a.example"), name("b.example"), 1, 2, 3, 4, 20);
    reply.add_authority(Record::from_rdata(name("example.com"), 60, RData::SOA(soa)));
    vec![reply]
}

pub(crate) fn fails(query: &Message) -> Vec<Message> {
    vec![reply(query, ResponseCode::ServFail)]
}

pub(crate) fn is_silent(_: &Message) -> Vec<Message> {
    vec![]
}

pub(crate) fn truncates(query: &Message) -> Vec<Message> {
    let mut reply = reply(query, ResponseCode::NoError);
    reply.metadata.truncation = true;
    vec![reply]
}

fn answers_at_length(query: &Message) -> Vec<Message> {
    let mut reply = reply(query, ResponseCode::NoError);
    for n in 0..100 {
        reply.add_answer(address(query, n));
    }
    vec![reply]
}

/// First what others might send that want to be believed, then the answer.
fn is_imitated(query: &Message) -> Vec<Message> {
    let forged = |change: fn(&mut Message)| {
        let mut forged = reply(query, ResponseCode::NoError);
        forged.add_answer(address(query, 66));
        change(&mut forged);
        forged
    };
    let mut all = vec![
        forged(|m| m.metadata.id = m.metadata.id.wrapping_add(1)),
        forged(|m| m.queries[0].name = name("other.example.com")),
        forged(|m| m.queries[0].query_type = RecordType::TXT),
        forged(|m| m.queries.clear()),
        forged(|m| m.metadata.message_type = MessageType::Query),
    ];
    all.extend(answers(query));
    all
}

pub(crate) fn with(resolvers: &[&Resolver]) -> Options {
    Options { upstreams: resolvers.iter().map(|resolver| resolver.address).collect(), ..options() }
}

#[test]
fn an_answer_is_passed_on_and_kept() {
    alone(async {
        let resolver = Resolver::start(2, answers, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        for text in ["www.example.com", "WWW.example.com", "www.example.com"] {
            let answer = udp(&query(3, text, RecordType::A)).await;
            assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
            assert_eq!(answer.queries[0].name().to_string(), format!("{text}."));
            assert_eq!(answer.answers[0].data.to_string(), "192.0.2.80");
            assert!(answer.answers[0].ttl <= 30, "{}", answer.answers[0].ttl);
        }
        assert_eq!(resolver.asked(), 1);
        // Another type is another question; a name of the cluster is none for others.
        udp(&query(3, "www.example.com", RecordType::TXT)).await;
        assert_eq!(lookup("nothing.shop.svc.cluster.local").await, "NXDomain");
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        assert_eq!(resolver.asked(), 2);
        let by_tcp = tcp(&query(3, "www.example.com", RecordType::A)).await;
        assert_eq!(by_tcp.answers.len(), 1);
        // An address that the cluster does not know may be known elsewhere.
        udp(&query(3, "9.9.9.9.in-addr.arpa", RecordType::PTR)).await;
        assert_eq!(resolver.asked(), 3);
        let (_, metrics) = get("/metrics").await;
        for line in ["knetsim_dns_cache_hits_total 3", "knetsim_dns_forward_requests_total 3"] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    });
}

#[test]
fn that_there_is_no_such_name_is_kept_too() {
    alone(async {
        let resolver = Resolver::start(2, says_no, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        for _ in 0..3 {
            let answer = udp(&query(3, "www.example.com", RecordType::A)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
            assert_eq!(answer.authorities.len(), 1);
        }
        assert_eq!(resolver.asked(), 1);
    });
}

#[test]
fn a_long_answer_is_fetched_by_tcp() {
    alone(async {
        let resolver = Resolver::start(2, truncates, answers_at_length).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let whole = tcp(&query(3, "www.example.com", RecordType::A)).await;
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (100, false));
        let part = udp(&query(3, "www.example.com", RecordType::A)).await;
        assert!(part.metadata.truncation && !part.answers.is_empty());
        assert_eq!(resolver.asked(), 2);
    });
}

fn answers_in_part(query: &Message) -> Vec<Message> {
    let mut part = answers(query);
    part[0].metadata.truncation = true;
    part
}

/// By TCP a resolver may refuse, say nothing, or fail.
#[test]
fn a_part_of_a_long_answer_is_better_than_none() {
    alone(async {
        let mut tasks = JoinSet::new();
        let mut by_udp_only = async |address: &str| {
            let socket = UdpSocket::bind(address).await.unwrap();
            let address = socket.local_addr().unwrap();
            tasks.spawn(async move {
                let mut buffer = [0; 4096];
                loop {
                    let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                    let part = answers_in_part(&Message::from_vec(&buffer[..length]).unwrap()).remove(0);
                    socket.send_to(&part.to_vec().unwrap(), peer).await.unwrap();
                }
            });
            address
        };
        let refuses = by_udp_only("127.0.0.2:53").await;
        let silent = by_udp_only("127.0.0.3:53").await;
        let _silence = TcpListener::bind(silent).await.unwrap();
        let fails = Resolver::start(4, answers_in_part, fails).await;
        for upstream in [refuses, silent, fails.address] {
            let (_store, _server) = cluster(Options { upstreams: vec![upstream], ..options() }).await;
            assert_eq!(lookup("www.example.com").await, "192.0.2.80", "{upstream}");
        }
    });
}

/// `ping` and `tcpdump` ask for names of addresses without being told to.
#[test]
fn others_are_not_asked_for_names_of_addresses_that_they_cannot_know() {
    alone(async {
        let resolver = Resolver::start(2, answers, is_silent).await;
        let own = Options { own_networks: vec!["11.0.0.0/8".parse().unwrap()], ..with(&[&resolver]) };
        let (_store, _server) = cluster(own).await;
        for text in [
            "9.0.30.11.in-addr.arpa",
            "1.0.0.10.in-addr.arpa",
            "2.200.64.100.in-addr.arpa",
            "1.0.0.127.in-addr.arpa",
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
        ] {
            let answer = udp(&query(3, text, RecordType::PTR)).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{text}");
        }
        assert_eq!(resolver.asked(), 0);
        udp(&query(3, "1.2.128.100.in-addr.arpa", RecordType::PTR)).await;
        assert_eq!(resolver.asked(), 1);
    });
}

#[test]
fn the_next_resolver_is_asked_when_one_fails_and_first_from_then_on() {
    alone(async {
        let bad = Resolver::start(2, fails, is_silent).await;
        let good = Resolver::start(3, answers, is_silent).await;
        // Nobody is at the last.
        let nobody = SocketAddr::from(([127, 0, 0, 4], 53));
        let options = Options { upstreams: vec![nobody, bad.address, good.address], ..options() };
        let (_store, _server) = cluster(options).await;
        assert_eq!(lookup("a.example.com").await, "192.0.2.80");
        assert_eq!((bad.asked(), good.asked()), (1, 1));
        assert_eq!(lookup("b.example.com").await, "192.0.2.80");
        assert_eq!((bad.asked(), good.asked()), (1, 2));
    });
}

#[test]
fn where_all_fail_that_is_said_within_the_time_of_a_resolver() {
    alone(async {
        let bad = Resolver::start(2, fails, is_silent).await;
        let silent = Resolver::start(3, is_silent, is_silent).await;
        let (_store, _server) = cluster(with(&[&silent, &bad])).await;
        // The cluster's names do not wait for theirs.
        let slow = tokio::spawn(lookup("www.example.com"));
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        assert!(!slow.is_finished());
        assert_eq!(soon("a failure", slow).await.unwrap(), "ServFail");
    });
}

#[test]
fn only_the_one_who_was_asked_is_believed() {
    alone(async {
        let resolver = Resolver::start(2, is_imitated, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        assert_eq!(lookup("www.example.com").await, "192.0.2.80");
    });
}

#[test]
fn an_external_name_is_followed() {
    alone(async {
        let resolver = Resolver::start(2, answers, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let answer = udp(&query(3, "ext.shop.svc.cluster.local", RecordType::A)).await;
        let shown: Vec<String> = answer.answers.iter().map(ToString::to_string).collect();
        let alias = "ext.shop.svc.cluster.local. 5 IN CNAME www.example.com.";
        assert_eq!(shown, [alias, "www.example.com. 30 IN A 192.0.2.80"]);
        assert!(answer.metadata.authoritative);
        // The alias itself needs nobody else.
        udp(&query(3, "ext.shop.svc.cluster.local", RecordType::CNAME)).await;
        assert_eq!(resolver.asked(), 1);
        // Nor does a question that wants nobody to be asked.
        let mut alone = query(3, "ext.shop.svc.cluster.local", RecordType::TXT);
        alone.metadata.recursion_desired = false;
        assert_eq!(udp(&alone).await.answers.len(), 1);
        let mut refused = query(3, "www.example.com", RecordType::TXT);
        refused.metadata.recursion_desired = false;
        assert_eq!(udp(&refused).await.metadata.response_code, ResponseCode::Refused);
        assert_eq!(resolver.asked(), 1);
    });
}

#[test]
fn an_external_name_that_leads_to_nobody_or_nothing() {
    alone(async {
        let resolver = Resolver::start(2, says_no, is_silent).await;
        let (_store, server) = cluster(with(&[&resolver])).await;
        let question = query(3, "ext.shop.svc.cluster.local", RecordType::A);
        let answer = udp(&question).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 1));
        drop((server, resolver));
        let resolver = Resolver::start(3, fails, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let answer = udp(&question).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::ServFail, 1));
    });
}

/// What comes from others may be anything.
fn answers_with_everything(query: &Message) -> Vec<Message> {
    let mut reply = reply(query, ResponseCode::NoError);
    let owner = query.queries[0].name().clone();
    reply.add_answer(Record::from_rdata(owner.clone(), 9, RData::CNAME(CNAME(name("x.example")))));
    let text = TXT::new(vec!["ä".repeat(100)]);
    reply.add_answer(Record::from_rdata(owner.clone(), 9, RData::TXT(text)));
    reply.add_additional(Record::from_rdata(owner, u32::MAX, RData::A(A(Ipv4Addr::LOCALHOST))));
    vec![reply]
}

#[test]
fn records_of_all_kinds_are_passed_on() {
    alone(async {
        let resolver = Resolver::start(2, answers_with_everything, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        for _ in 0..2 {
            let answer = udp(&query(3, "www.example.com", RecordType::ANY)).await;
            assert_eq!((answer.answers.len(), answer.additionals.len()), (2, 1));
        }
    });
}

#[test]
fn a_question_that_many_ask_at_once_goes_out_once() {
    alone(async {
        // Silent to the first, so that the others come while it waits.
        let resolver = Resolver::start(2, is_silent, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let mut many = JoinSet::new();
        for id in 0..50 {
            many.spawn(async move { udp(&query(id, "www.example.com", RecordType::A)).await });
        }
        let answers = soon("answers to all", many.join_all()).await;
        assert!(answers.iter().all(|answer| answer.metadata.response_code == ResponseCode::ServFail));
        // Twice, for a packet may be lost.
        assert_eq!(resolver.asked(), 2);
    });
}

/// A resolver that leads back here, as a node's that asks the cluster's DNS.
#[test]
fn a_circle_ends() {
    alone(async {
        let options = Options { upstreams: vec![DNS], listen: vec![DNS], ..options() };
        let (_store, _server) = cluster(options).await;
        // It has seen that it would ask itself.
        assert_eq!(lookup("www.example.com").await, "NXDomain");
    });
    alone(async {
        // Where that cannot be seen, a question goes round until its time is over.
        let other: SocketAddr = "127.0.0.2:53".parse().unwrap();
        let both = Options { listen: vec![DNS, other], ..options() };
        let hidden = Options { upstreams: vec!["127.0.0.3:53".parse().unwrap()], ..both };
        let relay = UdpSocket::bind("127.0.0.3:53").await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut buffer, mut askers) = ([0; 4096], std::collections::HashMap::new());
            loop {
                let (length, peer) = relay.recv_from(&mut buffer).await.unwrap();
                if peer == DNS {
                    let asker: SocketAddr = askers[&buffer[..2]];
                    relay.send_to(&buffer[..length], asker).await.unwrap();
                } else {
                    askers.insert(buffer[..2].to_vec(), peer);
                    relay.send_to(&buffer[..length], DNS).await.unwrap();
                }
            }
        });
        let (_store, _server) = cluster(hidden).await;
        assert_eq!(lookup("www.example.com").await, "ServFail");
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        let (_, metrics) = get("/metrics").await;
        assert!(metrics.contains("knetsim_dns_forward_requests_total 1\n"), "{metrics}");
    });
}

#[test]
fn a_flood_of_names_that_nobody_answers_leaves_the_clusters_names_alone() {
    alone(async {
        let resolver = Resolver::start(2, is_silent, is_silent).await;
        let (_store, _server) = cluster(with(&[&resolver])).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for n in 0..5000_u16 {
            let packet = query(n, &format!("{n}.example.com"), RecordType::A).to_vec().unwrap();
            socket.send_to(&packet, DNS).await.unwrap();
        }
        until("web.shop.svc.cluster.local", "100.64.1.1").await;
        let (_, metrics) = get("/metrics").await;
        let count = |name: &str| -> u64 {
            let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("knetsim_dns_{name} ")));
            line.unwrap().parse().unwrap()
        };
        assert!(count("forward_requests_total") <= 400, "{metrics}");
        assert!(count("cache_bytes") <= 1 << 20, "{metrics}");
    });
}
