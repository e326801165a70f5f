//! Packets, good and bad, and what the server says to them.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::*;
use crate::server::{Server, Verdict};
use crate::zone::{EndpointSlice, Index, Namespace, Service};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4242);

/// A server that knows `web` and `wide`, a headless service of that many addresses.
fn server(wide: u8) -> Server {
    let mut index = Index::new("cluster.local", &[]).unwrap();
    let read = |yaml: &str| -> Service { serde_yaml::from_str(yaml).unwrap() };
    index.put_namespace(&serde_yaml::from_str::<Namespace>("metadata: {name: shop}").unwrap());
    index.put_service(&read("{metadata: {name: web, namespace: shop}, spec: {clusterIPs: [100.64.1.1]}}"));
    index.put_service(&read("{metadata: {name: wide, namespace: shop}, spec: {clusterIPs: [None]}}"));
    let endpoints: Vec<String> = (0..wide).map(|n| format!("{{addresses: [11.0.0.{n}]}}")).collect();
    let slice = format!(
        "{{metadata: {{name: w, namespace: shop, labels: {{kubernetes.io/service-name: wide}}}},
          addressType: IPv4, ports: [{{name: http, port: 80}}], endpoints: [{}]}}",
        endpoints.join(", ")
    );
    index.put_slice(&serde_yaml::from_str::<EndpointSlice>(&slice).unwrap());
    let server = Server::new(index, None, true);
    server.set_synced();
    server
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// The reply's bytes; none if there is silence.
fn respond(server: &Server, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let mut out = b"left from before".to_vec();
    match server.respond(packet, transport, PEER, &mut out) {
        Verdict::Silence => None,
        Verdict::Reply => Some(out),
        Verdict::Later(_) => panic!("there is nobody to ask"),
    }
}

fn ask(server: &Server, message: &Message) -> Message {
    let reply = respond(server, &message.to_vec().unwrap(), Transport::Udp).unwrap();
    Message::from_vec(&reply).unwrap()
}

#[test]
fn a_reply_has_the_number_the_question_and_authority() {
    let reply = ask(&server(0), &query("wEb.Shop.svc.cluster.local.", RecordType::A));
    let metadata = reply.metadata;
    assert_eq!((metadata.id, metadata.message_type), (7, MessageType::Response));
    assert!(metadata.authoritative && metadata.recursion_desired);
    assert!(!metadata.recursion_available && !metadata.truncation);
    assert_eq!(reply.queries[0].name().to_string(), "wEb.Shop.svc.cluster.local.");
    assert_eq!(reply.answers[0].to_string(), "wEb.Shop.svc.cluster.local. 5 IN A 100.64.1.1");
    assert_eq!(reply.edns, None);
}

#[test]
fn before_the_first_sync_the_server_fails_but_not_for_names_of_others() {
    let index = Index::new("cluster.local", &[]).unwrap();
    let server = Server::new(index, None, false);
    let code = |name: &str, kind| ask(&server, &query(name, kind)).metadata.response_code;
    assert_eq!(code("web.shop.svc.cluster.local.", RecordType::A), ResponseCode::ServFail);
    assert_eq!(code("dns-version.cluster.local.", RecordType::TXT), ResponseCode::ServFail);
    assert_eq!(code("1.1.64.100.in-addr.arpa.", RecordType::PTR), ResponseCode::ServFail);
    assert_eq!(code("www.example.com.", RecordType::A), ResponseCode::NXDomain);
    let metrics = server.render_metrics();
    assert!(metrics.contains(r#"responses_total{zone="cluster.local.",rcode="SERVFAIL"} 2"#), "{metrics}");
    assert!(metrics.contains(r#"responses_total{zone="in-addr.arpa.",rcode="SERVFAIL"} 1"#), "{metrics}");
    server.set_synced();
    assert_eq!(code("web.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(code("1.1.64.100.in-addr.arpa.", RecordType::PTR), ResponseCode::NXDomain);
}

#[test]
fn what_is_refused() {
    let server = server(0);
    let base = || query("web.shop.svc.cluster.local.", RecordType::A);
    let change = |change: &dyn Fn(&mut Message)| {
        let mut message = base();
        change(&mut message);
        ask(&server, &message).metadata.response_code
    };
    assert_eq!(change(&|m| m.queries[0].query_type = RecordType::AXFR), ResponseCode::Refused);
    assert_eq!(change(&|m| m.queries[0].query_type = RecordType::IXFR), ResponseCode::Refused);
    assert_eq!(change(&|m| m.queries[0].query_class = DNSClass::CH), ResponseCode::Refused);
    assert_eq!(change(&|m| m.queries[0].query_class = DNSClass::ANY), ResponseCode::Refused);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        assert_eq!(change(&|m| m.metadata.op_code = op_code), ResponseCode::NotImp);
    }
    assert_eq!(change(&|m| m.queries.clear()), ResponseCode::FormErr);
    assert_eq!(change(&|m| m.queries.push(m.queries[0].clone())), ResponseCode::FormErr);
}

#[test]
fn silence_to_what_is_no_query() {
    let server = server(0);
    let mut packet = query("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    for length in 0..HEADER {
        assert_eq!(respond(&server, &packet[..length], Transport::Udp), None);
    }
    // Each further beginning of it is a query that breaks off.
    for length in HEADER..packet.len() {
        let reply = Message::from_vec(&respond(&server, &packet[..length], Transport::Udp).unwrap()).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (7, ResponseCode::FormErr));
    }
    packet[2] |= 0x80;
    assert_eq!(respond(&server, &packet, Transport::Udp), None);
}

#[test]
fn a_name_that_points_at_itself_is_malformed() {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    let reply = respond(&server(0), &packet, Transport::Udp).unwrap();
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    // And one of 64 KiB, which no name has.
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend([&[63][..], &[b'a'; 63]].concat().iter().cycle().take(65_000));
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    let reply = respond(&server(0), &packet, Transport::Tcp).unwrap();
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn edns_is_answered_with_edns() {
    let server = server(0);
    let mut message = with_edns(query("web.shop.svc.cluster.local.", RecordType::A), 4096);
    message.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = ask(&server, &message).edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
    message.edns.as_mut().unwrap().set_version(1);
    let reply = ask(&server, &message);
    assert_eq!(u16::from(reply.metadata.response_code), u16::from(ResponseCode::BADVERS));
    assert_eq!((reply.answers.len(), reply.edns.unwrap().version()), (0, 0));
    // Two of them are one too many.
    let mut packet = query("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    packet[11] = 2;
    packet.extend([0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0].repeat(2));
    let reply = Message::from_vec(&respond(&server, &packet, Transport::Udp).unwrap()).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn what_does_not_fit_is_cut_off_at_a_record_and_said_so() {
    let server = server(200);
    let name = "wide.shop.svc.cluster.local.";
    for (message, limit) in [
        (query(name, RecordType::A), 512),
        (with_edns(query(name, RecordType::A), 100), 512),
        (with_edns(query(name, RecordType::A), 700), 700),
        (with_edns(query(name, RecordType::A), 65_000), 1232),
    ] {
        let reply = respond(&server, &message.to_vec().unwrap(), Transport::Udp).unwrap();
        // The writer needs room for a whole name before it finds that two bytes are enough.
        assert!((limit - 48..=limit).contains(&reply.len()), "{} of {limit}", reply.len());
        let reply = Message::from_vec(&reply).unwrap();
        assert!(reply.metadata.truncation);
        assert!(!reply.answers.is_empty());
        assert_eq!(reply.edns.is_some(), message.edns.is_some());
    }
    let packet = query(name, RecordType::A).to_vec().unwrap();
    let whole = Message::from_vec(&respond(&server, &packet, Transport::Tcp).unwrap()).unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    // What is only helpful may be missing without a word.
    let few = self::server(6);
    let message = with_edns(query("_http._tcp.wide.shop.svc.cluster.local.", RecordType::SRV), 512);
    let reply = ask(&few, &message);
    assert_eq!((reply.answers.len(), reply.metadata.truncation), (6, false));
    assert!((1..6).contains(&reply.additionals.len()), "{}", reply.additionals.len());
    assert!(reply.edns.is_some());
}

#[test]
fn several_addresses_take_turns() {
    let server = server(3);
    let first = |id| {
        let mut message = query("wide.shop.svc.cluster.local.", RecordType::A);
        message.metadata.id = id;
        match &ask(&server, &message).answers[0].data {
            RData::A(address) => address.octets()[3],
            other => panic!("{other}"),
        }
    };
    assert_eq!((0..6).map(first).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn records_that_cannot_be_written_are_a_failure_and_not_a_broken_packet() {
    let Packet::Request(request) = read(&query("a.", RecordType::TXT).to_vec().unwrap(), Transport::Tcp)
    else {
        panic!("a request");
    };
    let mut reply = request.reply(ResponseCode::NoError);
    let text = hickory_proto::rr::rdata::TXT::new(vec!["x".repeat(256)]);
    reply.answers.push(Record::from_rdata(Name::root(), 1, RData::TXT(text)));
    let mut out = Vec::new();
    assert_eq!(reply.write(&mut out), ResponseCode::ServFail);
    let read = Message::from_vec(&out).unwrap();
    assert_eq!((read.metadata.id, read.metadata.response_code), (7, ResponseCode::ServFail));
}

/// The laws that every reply keeps.
fn check(server: &Server, packet: &[u8], transport: Transport) {
    let Some(reply) = respond(server, packet, transport) else {
        assert!(packet.len() < HEADER || packet[2] & 0x80 != 0);
        return;
    };
    assert_eq!(reply[..2], packet[..2], "its number");
    assert!(reply[2] & 0x80 != 0, "it is a reply");
    let read = Message::from_vec(&reply).unwrap();
    if transport == Transport::Udp {
        assert!(reply.len() <= UDP_MOST.into());
    }
    // Two servers that talk to each other by mistake fall silent.
    assert_eq!(respond(server, &reply, transport), None);
    if let Some(question) = read.queries.first() {
        let asked = Message::from_vec(packet).unwrap();
        assert!(asked.queries[0].name().eq_case(question.name()), "0x20");
    }
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    let words =
        ["_http", "_tcp", "web", "wide", "11-0-0-1", "shop", "svc", "pod", "cluster", "local", "Local"];
    prop_oneof![
        4 => proptest::sample::select(words.map(|word| word.as_bytes().to_vec()).to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..=63),
    ]
}

proptest! {
    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..600), tcp: bool) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        check(&server(3), &packet, transport);
    }

    /// The header of a query, and then anything.
    #[test]
    fn any_bytes_behind_a_header(
        counts in proptest::array::uniform3(0..3_u8),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut packet = vec![1, 2, 1, 0, 0, 1, 0, counts[0], 0, counts[1], 0, counts[2]];
        packet.extend(body);
        check(&server(3), &packet, Transport::Udp);
    }

    /// A question for a name near the zone's, with something wrong with one byte.
    #[test]
    fn almost_questions(
        labels in proptest::collection::vec(label(), 0..8),
        kind in prop_oneof![Just(1_u16), Just(28), Just(33), Just(255), any::<u16>()],
        edns: bool,
        wrong in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
    ) {
        let zone = [&b"svc"[..], b"cluster", b"local"];
        let name = Name::from_labels(labels.iter().map(Vec::as_slice).chain(zone));
        prop_assume!(name.is_ok());
        let mut message = Message::new(9, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name.unwrap(), RecordType::from(kind)));
        let message = if edns { with_edns(message, 1232) } else { message };
        let mut packet = message.to_vec().unwrap();
        if let Some((at, byte)) = wrong {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        check(&server(60), &packet, Transport::Udp);
        check(&server(60), &packet, Transport::Tcp);
    }
}
