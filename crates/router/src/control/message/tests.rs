use super::*;

/// Bodies that skrouterd 3.5.1 sent to its neighbours (A - B - C in a row, costs 2 and 5), taken off the wire.
const RECORDED: &[(&str, &str)] = &[
    (
        "HELLO",
        concat!(
            "d1000000300000000aa1026964a10141a10270765401a10461726561a10130a108696e7374616e636571",
            "6b03c23ca1047365656e45",
        ),
    ),
    (
        "HELLO",
        concat!(
            "d10000003e0000000aa1026964a10142a10270765401a10461726561a10130a108696e7374616e636571",
            "6b03c23ca1047365656ed00000000a00000002a10141a10143",
        ),
    ),
    ("LSR", "d10000001a00000006a1026964a10141a10270765401a10461726561a10130"),
    (
        "LSU",
        concat!(
            "d1000000740000000ca1026964a10142a10270765401a10461726561a10130a108696e7374616e636571",
            "6b03c23ca1066c735f7365715402a1026c73d10000003800000008a1026964a10142a10461726561a101",
            "30a1066c735f7365715402a1057065657273d10000000e00000004a101415402a101435405",
        ),
    ),
    (
        "RA",
        concat!(
            "d1000000410000000ca1026964a10141a10270765401a10461726561a10130a108696e7374616e636571",
            "6b03c23ca1066c735f7365715401a10a6d6f62696c655f7365715403",
        ),
    ),
    (
        "MAR",
        concat!("d10000002600000008a3026964a10142a30270765502a30461726561a10130a308686176655f73657155", "00",),
    ),
    (
        "MAU",
        concat!(
            "d1000000830000000aa3026964a10141a30270765502a30461726561a10130a30a6d6f62696c655f7365",
            "715501a3056578697374d00000004f00000003d00000001600000003a10c4d7366652e47587250673a30",
            "54025400d00000001700000003a10d4d766663722e47587250673a3054025400d00000000f00000003a1",
            "054d7376633154035400",
        ),
    ),
    (
        "MAU",
        concat!(
            "d1000000580000000ca3026964a10141a30270765502a30461726561a10130a30a6d6f62696c655f7365",
            "715502a303616464d00000001800000001d00000000f00000003a1054d7376633254035400a30364656c",
            "d00000000400000000",
        ),
    ),
    (
        "MAU",
        concat!(
            "d1000000540000000ca3026964a10141a30270765502a30461726561a10130a30a6d6f62696c655f7365",
            "715503a303616464d00000000400000000a30364656cd00000001400000001d00000000b00000001a105",
            "4d73766331",
        ),
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn peers(all: &[(&str, u32)]) -> BTreeMap<String, u32> {
    all.iter().map(|(id, cost)| ((*id).to_owned(), *cost)).collect()
}

fn addresses(all: &[(&str, Distribution)]) -> BTreeMap<String, Option<Distribution>> {
    all.iter().map(|(key, how)| ((*key).to_owned(), Some(*how))).collect()
}

fn meant() -> Vec<Message> {
    use Distribution::{Balanced, Closest};
    let a = || "A".to_owned();
    let b = || "B".to_owned();
    let instance = 1_795_408_444;
    vec![
        Message::Hello { id: a(), instance, seen: vec![] },
        Message::Hello { id: b(), instance, seen: vec![a(), "C".to_owned()] },
        Message::Lsr { id: a() },
        Message::Lsu { id: b(), instance, ls_seq: 2, peers: peers(&[("A", 2), ("C", 5)]) },
        Message::Ra { id: a(), instance, ls_seq: 1, mobile_seq: 3 },
        Message::Mar { id: b(), have_seq: 0 },
        Message::Mau {
            id: a(),
            mobile_seq: 1,
            change: Change::Exist(addresses(&[
                ("Msfe.GXrPg:0", Closest),
                ("Mvfcr.GXrPg:0", Closest),
                ("Msvc1", Balanced),
            ])),
        },
        Message::Mau {
            id: a(),
            mobile_seq: 2,
            change: Change::Differ { add: addresses(&[("Msvc2", Balanced)]), del: vec![] },
        },
        Message::Mau {
            id: a(),
            mobile_seq: 3,
            change: Change::Differ { add: BTreeMap::new(), del: vec!["Msvc1".to_owned()] },
        },
    ]
}

/// A value with each list of addresses in the order of keys: upstream has them in the order of their coming.
fn sorted(value: Value) -> Value {
    match value {
        Value::List(mut list) => {
            list.sort_by_key(|one| format!("{one:?}"));
            Value::List(
                list.into_iter()
                    .map(|one| if let Value::List(_) = &one { one } else { sorted(one) })
                    .collect(),
            )
        }
        Value::Map(map) => Value::Map(map.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        other => other,
    }
}

#[test]
fn upstreams_messages_are_read_and_written_field_by_field() {
    assert_eq!(RECORDED.len(), meant().len());
    for ((opcode, hex), message) in RECORDED.iter().zip(meant()) {
        let body: Value = serde_amqp::from_slice(&bytes(hex)).unwrap();
        assert_eq!(Message::decode(opcode, &body).as_ref(), Ok(&message));
        assert_eq!(message.opcode(), *opcode);
        // The same keys in the same order, with the same types; lengths may be coded shorter.
        assert_eq!(sorted(message.encode()), sorted(body), "{opcode}");
        let coded = serde_amqp::to_vec(&message.encode()).unwrap();
        let again: Value = serde_amqp::from_slice(&coded).unwrap();
        assert_eq!(Message::decode(opcode, &again), Ok(message));
    }
}

#[test]
fn an_instance_beyond_32_bits_is_a_long() {
    let message = Message::Hello { id: "A".to_owned(), instance: 1_795_408_444_123, seen: vec![] };
    let Value::Map(map) = message.encode() else { panic!() };
    assert_eq!(map.get(&Value::from("instance")), Some(&Value::Long(1_795_408_444_123)));
}

#[test]
fn a_later_protocol_is_not_guessed_at() {
    let later = Value::Map(
        [
            (Value::from("id"), Value::from("Z")),
            (Value::from("pv"), Value::Int(3)),
            (Value::from("have_seq"), Value::Int(0)),
        ]
        .into_iter()
        .collect(),
    );
    for opcode in ["LSR", "MAR"] {
        assert!(
            matches!(Message::decode(opcode, &later), Err(Error::Version { version: 3, .. })),
            "{opcode}"
        );
    }
}

#[test]
fn a_mau_says_all_or_what_differs_and_not_both() {
    let mau = |fields: &[&str]| {
        let fields = fields.iter().map(|name| (text(name), list([])));
        let fixed = [(text("id"), text("A")), (text("mobile_seq"), Value::Long(1))];
        Message::decode("MAU", &Value::Map(fixed.into_iter().chain(fields).collect()))
    };
    assert!(mau(&["exist"]).is_ok() && mau(&["add", "del"]).is_ok());
    for fields in [vec![], vec!["add"], vec!["del"], vec!["exist", "add"], vec!["exist", "add", "del"]] {
        assert!(mau(&fields).is_err(), "{fields:?}");
    }
}

proptest::proptest! {
    #[test]
    fn bodies_of_any_bytes_do_no_harm(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        if let Ok(body) = serde_amqp::from_slice::<Value>(&bytes) {
            for opcode in ["HELLO", "RA", "LSR", "LSU", "MAR", "MAU"] {
                let _ = Message::decode(opcode, &body);
            }
        }
    }
}
