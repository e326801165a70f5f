//! Against bytes that real routers sent: recorded between two skrouterd 3.5.1 (`docs` of the frames:
//! `docs/notes/router-annotations.adoc`, `src/adaptors/tcp/tcp_adaptor.c`).

use bytes::BytesMut;
use proptest::prelude::*;

use super::frame::{
    self, AMQP, Disposition, Flow, Header, Outcome, Performative, State, Transfer, parse, put_disposition,
    put_flow, put_frame, put_transfer,
};
use super::primitive::Reader;
use super::section::{Annotations, Head, NO_Q2, OCTETS, STREAMING, put_annotations, put_stream};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn performative(hex: &str) -> (Header, Performative, usize) {
    let frame = bytes(hex);
    let header = Header::parse(&frame).unwrap().unwrap();
    assert_eq!(header.size, frame.len());
    let (performative, payload) = parse(&frame[header.body..]).unwrap();
    (header, performative, header.body + payload)
}

const BEGIN: &str = "0000001f02000001005311c0120540437000002000707fffffff707fffffff";
const ATTACH: &str = "0000005e02000000005312c0510ba11671646c696e6b2e39387777344c324d6474563038776a434250025000005328c0\
12054043a30b6c696e6b2d6465746163684342005329c012054043a30b6c696e6b2d646574616368434240404344";
const FLOW: &str = "0000002202000001005313c015095202700000200043707fffffff43520152fa4042";
const ACCEPTED: &str = "0000001602000001005315c009054143404100532445";
const SETTLED_END: &str = "0000001c02000000005314c00f054343a0080a000000000000004341";
/// The sections before a client's stream, in its first transfer.
const CLIENT: &str = "000000b902000000005314c010064343a0080a000000000000004340410080534b50522d2d5241d00000001a00000004\
520540a103302f41d00000000900000001a103302f41005373d000000056000000074040a1047376633140a124616d71703a2f5f746f706f2f302f\
412f74656d702e4b383171466c6f4861433546376479a1076f6a55535a3a33a1186170706c69636174696f6e2f6f637465742d73747265616d0053\
74d10000000900000002a10156520100537740";
/// The sections before a server's stream.
const SERVER: &str = "000000ac02000001005314c010064343a0080c000000000000004340410080534b50522d2d5241d00000001a00000004\
520540a103302f42d00000000900000001a103302f42005373d000000049000000074040a124616d71703a2f5f746f706f2f302f412f74656d702e\
4b383171466c6f4861433546376479404040a1186170706c69636174696f6e2f6f637465742d73747265616d005374d10000000900000002a10156\
520100537740";
const HELLO: &str = "000000d602000000005314c00f054343a008000000000000000043410080534b50522d2d5241d000000019000000044340\
a103302f41d00000000900000001a103302f41005370d0000000050000000142005373d00000001f000000064040a114616d71703a2f5f6c6f6361\
6c2f716468656c6c6f404040005374d10000001300000002a1066f70636f6465a10548454c4c4f005377d10000003b0000000aa1026964a10141a1\
0270765401a10461726561a10130a108696e7374616e6365716b03b74ba1047365656ed00000000700000001a10142";

#[test]
fn a_real_begin_and_attach_are_read() {
    let (header, begin, _) = performative(BEGIN);
    assert_eq!((header.kind, header.channel), (AMQP, 1));
    let Performative::Begin(begin) = begin else { panic!("{begin:?}") };
    assert_eq!((begin.remote_channel, begin.incoming_window), (None, 0x2000));
    let (_, attach, _) = performative(ATTACH);
    let Performative::Attach(attach) = attach else { panic!("{attach:?}") };
    assert_eq!((attach.name.as_str(), attach.handle.0), ("qdlink.98ww4L2MdtV08wj", 0));
    assert!(attach.target.is_some());
}

#[test]
fn a_real_flow_is_read_and_written_to_the_byte() {
    let (_, flow, _) = performative(FLOW);
    let Performative::Flow(flow) = flow else { panic!("{flow:?}") };
    let expected = Flow {
        next_incoming_id: Some(2),
        incoming_window: 0x2000,
        outgoing_window: 0x7fff_ffff,
        handle: Some(0),
        delivery_count: Some(1),
        link_credit: Some(250),
        ..Flow::default()
    };
    assert_eq!(flow, expected);
    let mut out = BytesMut::new();
    put_flow(&mut out, 1, &flow);
    // Ours says `drain` and no more; the last field that proton writes is the same false.
    assert_eq!(out, bytes(FLOW));
}

#[test]
fn a_real_disposition_is_read_and_ours_says_the_same() {
    let (_, read, _) = performative(ACCEPTED);
    let Performative::Disposition(read) = read else { panic!("{read:?}") };
    let accepted = Disposition {
        receiver: true,
        first: 0,
        last: 0,
        settled: true,
        state: Some(State::Outcome(Outcome::Accepted)),
    };
    assert_eq!(read, accepted);
    for state in
        [State::Received(500_000), State::Outcome(Outcome::Modified), State::Outcome(Outcome::Released)]
    {
        let said = Disposition { state: Some(state), settled: false, ..accepted };
        let mut out = BytesMut::new();
        put_disposition(&mut out, 3, &said);
        let header = Header::parse(&out).unwrap().unwrap();
        let Performative::Disposition(read) = parse(&out[header.body..]).unwrap().0 else { panic!() };
        assert_eq!(read, said);
    }
}

#[test]
fn real_transfers_are_read_and_written_to_the_byte() {
    let (_, read, payload) = performative(SETTLED_END);
    let Performative::Transfer(read) = read else { panic!("{read:?}") };
    assert_eq!(read, Transfer { delivery_id: Some(0), settled: true, ..Transfer::default() });
    assert_eq!(payload, bytes(SETTLED_END).len());

    let client = bytes(CLIENT);
    let (header, read, payload) = performative(CLIENT);
    let Performative::Transfer(read) = read else { panic!("{read:?}") };
    assert_eq!(read, Transfer { delivery_id: Some(0), more: true, ..Transfer::default() });
    let mut out = BytesMut::new();
    put_transfer(&mut out, header.channel, &read, 0, client.len() - payload);
    let ours = Header::parse(&out).unwrap().unwrap();
    let Performative::Transfer(again) = parse(&out[ours.body..]).unwrap().0 else { panic!() };
    assert_eq!((again, ours.size), (read, out.len() + client.len() - payload));
}

#[test]
fn a_client_stream_is_read_as_it_was_meant() {
    let (_, _, payload) = performative(CLIENT);
    let sections = &bytes(CLIENT)[payload..];
    let head = Head::parse(sections, false).unwrap();
    let annotations = head.annotations.clone().unwrap();
    assert_eq!(annotations.flags, STREAMING | NO_Q2);
    assert_eq!((annotations.ingress.as_deref(), annotations.trace), (Some("0/A"), vec!["0/A".to_owned()]));
    assert_eq!(head.destination(), Some("svc1"));
    assert_eq!(head.reply_to.as_deref(), Some("amqp:/_topo/0/A/temp.K81qFloHaC5F7dy"));
    assert_eq!(head.content_type.as_deref(), Some(OCTETS));
    assert_eq!(head.body, sections.len());
    for cut in 0..sections.len() {
        assert_eq!(Head::parse(&sections[..cut], false), Err(super::Error::Short), "cut at {cut}");
    }
}

#[test]
fn a_server_stream_is_written_to_the_byte() {
    let (_, _, payload) = performative(SERVER);
    let sections = &bytes(SERVER)[payload..];
    let mut out = BytesMut::new();
    let node = "0/B".to_owned();
    let annotations =
        Annotations { flags: STREAMING | NO_Q2, to: None, ingress: Some(node.clone()), trace: vec![node] };
    put_annotations(&mut out, &annotations);
    put_stream(&mut out, "amqp:/_topo/0/A/temp.K81qFloHaC5F7dy", None);
    assert_eq!(out, sections);
}

#[test]
fn a_real_hello_is_read() {
    let (_, _, payload) = performative(HELLO);
    let sections = &bytes(HELLO)[payload..];
    let head = Head::parse(sections, true).unwrap();
    let message = crate::message::Message::decode(&head, sections).unwrap();
    assert_eq!(message.to.as_deref(), Some("amqp:/_local/qdhello"));
    assert_eq!(message.properties["opcode"], serde_amqp::Value::String("HELLO".into()));
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    let again = Head::parse(&out, true).unwrap();
    assert_eq!(crate::message::Message::decode(&again, &out).unwrap(), message);
}

#[test]
fn what_is_nested_without_end_is_refused() {
    // A list in a list in a list …, each with the right size.
    let mut value = vec![0x45];
    for _ in 0..40 {
        let mut outer = vec![0xd0];
        outer.extend(u32::try_from(value.len() + 4).unwrap().to_be_bytes());
        outer.extend(1_u32.to_be_bytes());
        outer.extend(&value);
        value = outer;
    }
    assert_eq!(Reader::new(&value).skip(), Err(super::Error::Depth));
}

#[test]
fn sizes_that_lie_are_refused() {
    assert!(Header::parse(&[0, 0, 0, 4, 2, 0, 0, 0]).is_err());
    assert!(Header::parse(&[0, 0, 0, 8, 1, 0, 0, 0]).is_err());
    // A list of 4 GB, an array of a billion nulls.
    assert_eq!(Reader::new(&[0xd0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]).skip(), Err(super::Error::Short));
    assert_eq!(Reader::new(&[0xf0, 0, 0, 0, 5, 0x40, 0, 0, 0, 0x40]).skip(), Err(super::Error::Size));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = Head::parse(&bytes, true);
        let _ = Header::parse(&bytes);
    }

    #[test]
    fn no_change_to_a_real_frame_makes_the_reader_fall(
        which in 0_usize..6, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut frame = bytes([BEGIN, ATTACH, FLOW, ACCEPTED, CLIENT, HELLO][which]);
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Ok((_, payload)) = parse(&frame[8..]) {
            let sections = &frame[8 + payload..];
            if let Ok(head) = Head::parse(sections, true) {
                let _ = crate::message::Message::decode(&head, sections);
            }
        }
    }

    #[test]
    fn a_transfer_is_read_as_it_was_written(
        handle: u32, id: u32, settled: bool, more: bool, aborted: bool, channel: u16
    ) {
        let transfer = Transfer { handle, delivery_id: Some(id), settled, more, aborted };
        let mut out = BytesMut::new();
        put_transfer(&mut out, channel, &transfer, 7, 0);
        let header = Header::parse(&out).unwrap().unwrap();
        prop_assert_eq!((header.channel, header.size), (channel, out.len()));
        let (read, _) = parse(&out[header.body..]).unwrap();
        let Performative::Transfer(read) = read else { panic!() };
        prop_assert_eq!(read, transfer);
    }
}

#[test]
fn frames_say_their_size() {
    let mut out = BytesMut::new();
    put_frame(&mut out, AMQP, 5, |out| out.extend_from_slice(b"abc"));
    assert_eq!(&out[..], b"\0\0\0\x0b\x02\0\0\x05abc");
    frame::put_empty(&mut out);
    assert_eq!(out.len(), 19);
}
