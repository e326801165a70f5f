//! The engine against peers that say anything.

use std::rc::Rc;
use std::time::Instant;

use api::router_config::Distribution;
use bytes::{Buf, Bytes, BytesMut};
use proptest::prelude::*;

use super::{Engine, Settings};
use crate::amqp::frame::{
    Disposition, Flow, Header, Outcome, State, Transfer, put_disposition, put_flow, put_transfer,
};
use crate::amqp::section::{Annotations, put_annotations, put_stream};
use crate::control::{Control, Options};
use crate::core::Core;
use crate::mailbox::Mailbox;

fn core(id: &str) -> Rc<Core> {
    let control = Control::new(Options::new(id, 1), Instant::now());
    Rc::new(Core::new(id.to_owned(), control, Vec::new(), Distribution::Balanced))
}

fn engine(id: &str, incoming: bool) -> Engine {
    let settings = Settings {
        id: 1,
        inter_router: true,
        incoming,
        cost: 1,
        max_frame: 16384,
        idle: 8000,
        hostname: None,
    };
    let mut engine = Engine::new(settings, core(id), Mailbox::new());
    engine.start().unwrap();
    engine
}

/// All that an engine says, as frames; the protocol header is left out.
fn said(engine: &mut Engine) -> Vec<(Header, Bytes)> {
    let mut all = BytesMut::new();
    for chunk in engine.fill().unwrap().drain(..) {
        all.extend_from_slice(&chunk);
    }
    if all.starts_with(b"AMQP") {
        all.advance(8);
    }
    frames(all)
}

fn frames(mut all: BytesMut) -> Vec<(Header, Bytes)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(&all).unwrap() {
        let mut frame = all.split_to(header.size).freeze();
        frame.advance(header.body);
        frames.push((header, frame));
    }
    frames
}

/// Two engines that talk until neither has anything to say.
fn talk(a: &mut Engine, b: &mut Engine) {
    loop {
        let (from_a, from_b) = (said(a), said(b));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.into_iter().for_each(|(header, body)| b.frame(header, body).unwrap());
        from_b.into_iter().for_each(|(header, body)| a.frame(header, body).unwrap());
        for engine in [&mut *a, &mut *b] {
            while let Some(letter) = engine.mailbox.clone().take() {
                engine.letter(letter).unwrap();
            }
        }
    }
}

fn pair() -> (Engine, Engine) {
    let (mut a, mut b) = (engine("A", false), engine("B", true));
    talk(&mut a, &mut b);
    (a, b)
}

#[test]
fn two_engines_make_the_links_between_routers() {
    let (a, b) = pair();
    assert!(a.up && b.up);
    assert_eq!(b.peer.as_ref().unwrap().container, "A");
}

#[test]
fn more_frames_than_the_window_end_the_connection() {
    let (_, mut b) = pair();
    let mut out = BytesMut::new();
    for _ in 0..200 {
        // Of a message that never ends, and that nobody reads.
        let transfer = Transfer { handle: 1, delivery_id: Some(0), more: true, ..Transfer::default() };
        put_transfer(&mut out, 1, &transfer, 0, 0);
    }
    // Whole messages are taken off the window at once; the engine goes on, and holds nothing.
    let ok = frames(out).into_iter().all(|(header, body)| b.frame(header, body).is_ok());
    assert!(ok);
    assert!(b.out.is_empty());
}

#[test]
fn a_connection_that_ends_ends_what_passed_over_it() {
    let (mut a, mut b) = pair();
    let pipe = crate::pipe::Pipe::new();
    let mut head = BytesMut::new();
    put_annotations(&mut head, &Annotations { flags: 1, ..Annotations::default() });
    put_stream(&mut head, "nowhere", None);
    let delivery = crate::mailbox::Delivery {
        class: crate::mailbox::Class::Stream,
        head: head.freeze(),
        pipe: Rc::clone(&pipe),
        settled: false,
    };
    a.letter(crate::mailbox::Letter::Deliver(delivery)).unwrap();
    said(&mut a);
    assert_eq!(pipe.outcome(), None);
    drop(a);
    assert_eq!(pipe.outcome(), Some(Outcome::Released));
    said(&mut b);
}

#[test]
fn a_stream_for_an_address_that_nobody_serves_is_released() {
    let (mut a, mut b) = pair();
    let pipe = crate::pipe::Pipe::new();
    let mut head = BytesMut::new();
    put_annotations(
        &mut head,
        &Annotations { flags: 1, ingress: Some("0/A".into()), ..Annotations::default() },
    );
    put_stream(&mut head, "nowhere", None);
    let delivery = crate::mailbox::Delivery {
        class: crate::mailbox::Class::Stream,
        head: head.freeze(),
        pipe: Rc::clone(&pipe),
        settled: false,
    };
    a.letter(crate::mailbox::Letter::Deliver(delivery)).unwrap();
    talk(&mut a, &mut b);
    assert_eq!(pipe.outcome(), Some(Outcome::Released));
    // The link is used again for the next stream.
    assert_eq!(a.idle_senders.len(), 1);
}

/// One thing that a peer may say.
fn thing() -> impl Strategy<Value = (u16, BytesMut)> {
    let small = 0_u32..4;
    let channel = 0_u16..4;
    prop_oneof![
        (
            channel.clone(),
            small.clone(),
            prop::option::of(0_u32..4),
            any::<(bool, bool, bool)>(),
            0_usize..300
        )
            .prop_map(|(channel, handle, delivery_id, (settled, more, aborted), payload)| {
                let mut out = BytesMut::new();
                let transfer = Transfer { handle, delivery_id, settled, more, aborted };
                put_transfer(&mut out, channel, &transfer, 0, payload);
                out.extend_from_slice(&vec![0x40; payload]);
                (channel, out)
            }),
        (channel.clone(), prop::option::of(small.clone()), any::<u32>(), any::<u32>(), any::<(bool, bool)>())
            .prop_map(|(channel, handle, window, credit, (drain, echo))| {
                let mut out = BytesMut::new();
                let flow = Flow {
                    next_incoming_id: Some(window),
                    incoming_window: window,
                    handle,
                    delivery_count: Some(credit),
                    link_credit: Some(credit),
                    drain,
                    echo,
                    ..Flow::default()
                };
                put_flow(&mut out, channel, &flow);
                (channel, out)
            }),
        (channel, any::<bool>(), small, any::<u32>(), any::<bool>()).prop_map(
            |(channel, receiver, first, last, settled)| {
                let mut out = BytesMut::new();
                let state = Some(State::Outcome(Outcome::Released));
                put_disposition(&mut out, channel, &Disposition { receiver, first, last, settled, state });
                (channel, out)
            }
        ),
    ]
}

proptest! {
    /// Whatever a peer says: an error perhaps, no panic, and what is held stays small.
    #[test]
    fn no_peer_makes_the_engine_fall(things in prop::collection::vec(thing(), 0..60)) {
        let (_, mut b) = pair();
        'peer: for (_, out) in things {
            for (header, body) in frames(out) {
                if b.frame(header, body).is_err() {
                    break 'peer;
                }
            }
            let bytes: usize = b.fill().unwrap().iter().map(Bytes::len).sum();
            prop_assert!(bytes < 1 << 20);
        }
    }
}
