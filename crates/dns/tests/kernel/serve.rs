//! Readiness, changes, TCP, HTTP.

use std::net::SocketAddr;

use api::types::api::core::v1::ConfigMap;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use store::{ObjectName, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::forward::{Resolver, answers, is_silent, says_no};
use crate::lab::{
    DNS, Server, alone, cluster, fill, get, lookup, options, query, receive, send, service, slice, soon, tcp,
    udp, until,
};

#[test]
fn not_ready_before_it_knows_the_cluster() {
    alone(async {
        // Takes connections, and never says a word.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let etcd = format!("http://{}", silent.local_addr().unwrap());
        let server = Server::start(&Store::etcd(&[etcd]).await.unwrap(), options());
        server.until(|ready, message| !ready && message == "reading the cluster's names").await;
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "ServFail");
        assert_eq!(lookup("www.example.com").await, "NXDomain");
        assert_eq!(get("/health").await, (200, "OK".into()));
        assert_eq!(get("/ready").await.0, 503);
        assert!(get("/metrics").await.1.contains("knetsim_dns_synced 0"));
    });
}

#[test]
fn an_address_that_is_taken_is_told_and_tried_again() {
    alone(async {
        let taken = TcpListener::bind(DNS).await.unwrap();
        let server = Server::start(&Store::memory(), options());
        let message = server.until(|ready, message| !ready && message.contains("in use")).await;
        assert!(message.starts_with("listen at 127.0.0.1:53 by TCP: Address already in use"), "{message}");
        drop(taken);
        server.until(|ready, message| ready && message.is_empty()).await;
    });
}

#[test]
fn a_zone_that_is_none_ends_it() {
    alone(async {
        let bad = dns::Options { zone: ".".into(), ..options() };
        let error = dns::run(bad, Store::memory(), runtime::Health::default()).await.unwrap_err();
        assert_eq!(error.to_string(), r#"zone ".": the root cannot be a cluster's zone"#);
    });
}

#[test]
fn changes_are_answered() {
    alone(async {
        let (store, _server) = cluster(options()).await;
        let name = "new.shop.svc.cluster.local";
        assert_eq!(lookup(name).await, "NXDomain");
        let mut new = service("{metadata: {name: new, namespace: shop}, spec: {clusterIPs: [None]}}");
        store.create(&mut new).await.unwrap();
        let mut endpoints = slice(
            "{metadata: {name: new-1, namespace: shop, labels: {kubernetes.io/service-name: new}},
              addressType: IPv4, endpoints: [{addresses: [11.10.0.7]}]}",
        );
        store.create(&mut endpoints).await.unwrap();
        until(name, "11.10.0.7").await;
        endpoints.endpoints[0].addresses = vec!["11.10.0.8".into()];
        store.update(&mut endpoints).await.unwrap();
        until(name, "11.10.0.8").await;
        store.delete(&endpoints).await.unwrap();
        until(name, "NXDomain").await;
        new.spec.as_mut().unwrap().cluster_ips = Some(vec!["100.64.7.7".into()]);
        store.update(&mut new).await.unwrap();
        until(name, "100.64.7.7").await;
        store.delete(&new).await.unwrap();
        until(name, "NXDomain").await;
    });
}

#[test]
fn several_questions_on_a_connection_in_pieces_of_any_size() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut stream = TcpStream::connect(DNS).await.unwrap();
        for id in 0..20 {
            send(&mut stream, &query(id, "web.shop.svc.cluster.local", RecordType::A)).await;
        }
        for id in 0..20 {
            let answer = receive(&mut stream).await;
            assert_eq!((answer.metadata.id, answer.answers.len()), (id, 1));
        }
        let packet = query(99, "db.shop.svc.cluster.local", RecordType::A).to_vec().unwrap();
        stream.write_u16(packet.len().try_into().unwrap()).await.unwrap();
        for byte in packet {
            stream.write_all(&[byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        // It has said all, and is answered still.
        stream.shutdown().await.unwrap();
        let answer = receive(&mut stream).await;
        assert_eq!((answer.metadata.id, answer.answers.len()), (99, 4));
        assert_eq!(
            soon("its end", stream.read_u8()).await.unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
    });
}

#[test]
fn a_message_of_64_kilobytes_is_refused_and_ends_its_connection() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut packet = query(5, "web.shop.svc.cluster.local", RecordType::A).to_vec().unwrap();
        packet.resize(65_535, b'a');
        let mut stream = TcpStream::connect(DNS).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        // It may stop reading long before the end.
        let write = async {
            let _ = writer.write_u16(65_535).await;
            let _ = writer.write_all(&packet).await;
        };
        let read = async {
            let length = reader.read_u16().await.unwrap();
            let mut reply = vec![0; length.into()];
            reader.read_exact(&mut reply).await.unwrap();
            Message::from_vec(&reply).unwrap()
        };
        let ((), reply) = soon("the refusal", async { tokio::join!(write, read) }).await;
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (5, ResponseCode::FormErr));
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
    });
}

#[test]
fn nonsense_disturbs_nobody() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for length in [0, 1, 11, 12, 13, 600, 5000, 65_000] {
            socket.send_to(&vec![0x55; length], DNS).await.unwrap();
        }
        let mut open = Vec::new();
        for byte in 0..50 {
            // Broken off in the middle; some stay open and say no more.
            let mut stream = TcpStream::connect(DNS).await.unwrap();
            stream.write_all(&[0, 20, byte]).await.unwrap();
            if byte % 2 == 0 {
                open.push(stream);
            }
        }
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        let answer = tcp(&query(3, "web.shop.svc.cluster.local", RecordType::A)).await;
        assert_eq!(answer.answers.len(), 1);
    });
}

/// A crowd of connections that say nothing keeps others out until their time is over, and no longer.
#[test]
fn connections_have_a_bound_and_an_end() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(TcpStream::connect(DNS).await.unwrap());
        }
        // UDP is not concerned.
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        let answer = tcp(&query(3, "web.shop.svc.cluster.local", RecordType::A)).await;
        assert_eq!(answer.answers.len(), 1);
        let mut first = idle.swap_remove(0);
        assert_eq!(
            soon("the end of the first", first.read_u8()).await.unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
    });
}

#[test]
fn pages_about_itself() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        assert_eq!(get("/ready").await, (200, "OK".into()));
        assert_eq!(get("/").await.0, 404);
        let (status, text) = get("/metrics").await;
        assert_eq!(status, 200);
        for line in [
            r#"knetsim_dns_requests_total{zone="cluster.local.",proto="udp",type="A"} 1"#,
            r#"knetsim_dns_responses_total{zone="cluster.local.",rcode="NOERROR"} 1"#,
            "knetsim_dns_synced 1",
            "knetsim_dns_services 22",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let mut stream = TcpStream::connect(crate::lab::HTTP).await.unwrap();
        stream.write_all(b"DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        soon("a refusal", stream.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 405"), "{said}");
    });
}

#[test]
fn the_systems_choice_of_a_port_can_be_read_back() {
    alone(async {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = dns::Bound::open(&dns::Options { listen: vec![any], http: vec![any], ..options() }).await;
        let bound = bound.unwrap();
        let (dns, http) = (bound.addresses()[0], bound.http_addresses()[0]);
        let task = tokio::spawn(bound.run(Store::memory(), runtime::Health::default()));
        TcpStream::connect(dns).await.unwrap();
        TcpStream::connect(http).await.unwrap();
        task.abort();
    });
}

/// One that asks again and again while the server is killed and another takes its place.
#[test]
fn a_server_that_comes_back_answers_again() {
    alone(async {
        let (store, server) = cluster(options()).await;
        drop(server);
        let again = Server::ready(&store, options()).await;
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
        let answer = soon("an answer", udp(&query(1, "db.shop.svc.cluster.local", RecordType::A))).await;
        assert_eq!(answer.answers.len(), 4);
        drop(again);
    });
}

fn corefile(lines: &str) -> ConfigMap {
    let text = format!(".:53 {{\n{lines}\n}}\n");
    let meta = ObjectMeta {
        name: Some("coredns".into()),
        namespace: Some("kube-system".into()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata: meta, data: Some([("Corefile".into(), text)].into()), ..ConfigMap::default() }
}

/// Who is asked for other names is heard while it runs; what makes no sense changes nothing.
#[test]
fn a_corefile_is_followed() {
    alone(async {
        let first = Resolver::start(2, answers, is_silent).await;
        let store = Store::memory();
        fill(&store).await;
        let mut map = corefile("forward . 127.0.0.2");
        store.create(&mut map).await.unwrap();
        let config = Some(ObjectName::new("kube-system", "coredns"));
        let _server = Server::ready(&store, dns::Options { config, ..options() }).await;
        // It is not ready before it knows.
        assert_eq!(lookup("www.example.com").await, "192.0.2.80");
        assert_eq!(lookup("ext.shop.svc.cluster.local").await, "192.0.2.80 www.example.com.");
        assert!(first.asked() > 0);
        map.data = corefile("log").data;
        store.update(&mut map).await.unwrap();
        until("www.example.com", "NXDomain").await;
        map.data = corefile("forward . 127.0.0.2").data;
        store.update(&mut map).await.unwrap();
        until("www.example.com", "192.0.2.80").await;
        map.data = corefile("forward . tls://127.0.0.9").data;
        store.update(&mut map).await.unwrap();
        map.data = corefile("forward . 127.0.0.3\n log").data;
        let second = Resolver::start(3, says_no, is_silent).await;
        assert_eq!(lookup("www.example.com").await, "192.0.2.80");
        store.update(&mut map).await.unwrap();
        until("www.example.com", "NXDomain").await;
        assert!(second.asked() > 0);
        assert_eq!(lookup("web.shop.svc.cluster.local").await, "100.64.1.1");
    });
}
