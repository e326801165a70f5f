//! The tables of questions, by packets.

use std::fmt::Write;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::lab::{alone, cluster, options, query, tcp, udp};

const TABLES: [&str; 3] = [
    include_str!("../../src/zone/tests/specification.txt"),
    include_str!("../../src/zone/tests/handler.txt"),
    include_str!("../../src/zone/tests/exact.txt"),
];

/// As in the tables, but for what is not in a packet; records in any order.
fn shown(message: &Message) -> Vec<String> {
    let line = |record: &Record| {
        let mut record = record.clone();
        if let RData::SOA(soa) = &mut record.data {
            // When the zone last changed.
            soa.serial = soa.serial.min(1);
        }
        record.to_string().trim_end().to_owned()
    };
    let mut lines: Vec<String> = message.answers.iter().map(line).collect();
    lines.extend(message.authorities.iter().map(|record| format!("no more: {}", record.name)));
    lines.extend(message.additionals.iter().map(|record| format!("with {}", line(record))));
    if message.metadata.response_code != ResponseCode::NoError {
        lines.push(format!("{:?}", message.metadata.response_code));
    }
    lines.sort();
    lines
}

/// What a table expects, where there is nobody else to ask.
fn expected<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let in_packet = lines.filter(|line| !line.starts_with("chase ") && *line != "outside, above");
    let mut lines: Vec<String> = in_packet
        .map(|line| match line {
            "outside" => "NXDomain".into(),
            "refused" => "Refused".into(),
            line => line.into(),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_question_of_the_tables_by_udp_and_by_tcp() {
    alone(async {
        let (_store, _server) = cluster(options()).await;
        let mut wrong = String::new();
        let mut asked = 0;
        for table in TABLES {
            let lines: Vec<&str> = table.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
            let mut rest = lines.as_slice();
            while let [question, more @ ..] = rest {
                let end = more.iter().position(|line| !line.starts_with(' ')).unwrap_or(more.len());
                let expected = expected(more[..end].iter().map(|line| line.trim()));
                rest = &more[end..];
                let (name, kind) = question.split_once(' ').unwrap();
                let kind = if kind == "IXFR" { RecordType::IXFR } else { kind.parse().unwrap() };
                asked += 1;
                let message = query(asked, name, kind);
                for (how, answer) in [("udp", udp(&message).await), ("tcp", tcp(&message).await)] {
                    assert_eq!(answer.metadata.id, asked);
                    assert!(answer.queries[0].name().eq_case(message.queries[0].name()), "{question}");
                    // Of the bytes of a packet without EDNS, addresses of names in the answer are the first
                    // to go.
                    let mut shown = shown(&answer);
                    let mut expected = expected.clone();
                    if how == "udp" {
                        shown.retain(|line| !line.starts_with("with "));
                        expected.retain(|line| !line.starts_with("with "));
                    }
                    if shown != expected {
                        writeln!(wrong, "{question} by {how}: {shown:#?}, not {expected:#?}").unwrap();
                    }
                }
            }
        }
        assert!(asked > 100, "{asked} questions");
        assert!(wrong.is_empty(), "{wrong}");
    });
}
