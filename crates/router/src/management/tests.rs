use serde_amqp::serde::Deserialize;
use serde_json::{Value as Json, json};

use super::value::to_json;
use super::*;

const CONFIG: &str = r#"[
  ["router", {"id": "A", "mode": "interior"}],
  ["listener", {"host": "127.0.0.1", "port": 5671}],
  ["tcpConnector", {"name": "c2", "address": "svc2", "host": "127.0.0.1", "port": 8082}]
]"#;

/// A router with three others and everything up.
struct Running;

impl Live for Running {
    fn attributes(&self, kind: &str, _: &str) -> Vec<(&'static str, Value)> {
        match kind {
            "tcpListener" => vec![("operStatus", text("up")), ("bytesIn", Value::Long(12))],
            _ => Vec::new(),
        }
    }

    fn rows(&self, kind: &str) -> Vec<BTreeMap<String, Value>> {
        let row = |id: &str| {
            let name = format!("router.node/{id}");
            BTreeMap::from([("id", id), ("name", &name), ("identity", &name)])
                .into_iter()
                .map(|(key, value)| (key.to_owned(), text(value)))
                .collect()
        };
        if kind == "router.node" { ["A", "B", "C"].into_iter().map(row).collect() } else { Vec::new() }
    }
}

fn agent() -> Agent {
    let (config, _) = Config::parse("test.json", CONFIG).unwrap();
    Agent::new(&config, "A").unwrap()
}

fn message(properties: &Json, body: &Json) -> Message {
    let properties = properties.as_object().unwrap().iter();
    Message {
        to: Some("$management".to_owned()),
        reply_to: Some("amqp:/_topo/0/A/temp.1".to_owned()),
        correlation_id: Some(Value::Ulong(7)),
        properties: properties.map(|(name, value)| (name.clone(), from_json(value))).collect(),
        body: Some(from_json(body)),
    }
}

fn ask(agent: &mut Agent, properties: Json, body: Json) -> (i64, Json, Vec<Change>) {
    let (answer, changes) = agent.request(&message(&properties, &body), &Running);
    let answer = answer.unwrap();
    assert_eq!(answer.to.as_deref(), Some("amqp:/_topo/0/A/temp.1"));
    assert_eq!(answer.correlation_id, Some(Value::Ulong(7)));
    let code = to_json(&answer.properties["statusCode"]).unwrap().as_i64().unwrap();
    assert!(matches!(&answer.properties["statusDescription"], Value::String(why) if !why.is_empty()));
    (code, to_json(&answer.body.unwrap()).unwrap(), changes)
}

/// A request to skrouterd 3.5.1 and its answer, in the order in which they were put.
#[derive(Deserialize)]
#[serde(crate = "serde_amqp::serde", deny_unknown_fields)]
struct Recorded {
    properties: Json,
    #[serde(default)]
    body: Json,
    status: i64,
    /// Where this answers otherwise.
    ours: Option<i64>,
    answer: Option<Json>,
}

/// Takes out what the state of ports and machines decides.
fn settled(mut answer: Json) -> Json {
    let volatile = ["operStatus", "connectionsOpened", "bytesIn", "hostName", "connectionStatus"];
    let listed: Vec<usize> = match answer.get("attributeNames").and_then(Json::as_array) {
        Some(names) => names
            .iter()
            .enumerate()
            .filter(|(_, name)| volatile.contains(&name.as_str().unwrap()))
            .map(|(at, _)| at)
            .collect(),
        None => Vec::new(),
    };
    if let Some(rows) = answer.get_mut("results").and_then(Json::as_array_mut) {
        for row in rows {
            for at in &listed {
                row[*at] = Json::Null;
            }
        }
    }
    if let Some(map) = answer.as_object_mut() {
        map.retain(|name, _| !volatile.contains(&name.as_str()));
    }
    answer
}

#[test]
fn requests_are_answered_as_by_skrouterd() {
    let recorded: Vec<Recorded> = serde_json::from_str(include_str!("recorded.json")).unwrap();
    let mut agent = agent();
    let mut wrong = Vec::new();
    for Recorded { properties, body, status, ours, answer } in recorded {
        let (code, told, _) = ask(&mut agent, properties.clone(), body.clone());
        if code != ours.unwrap_or(status) {
            wrong.push(format!("{properties} {body}: {code} {told}, not {status}"));
        } else if let Some(answer) = answer.filter(|_| code == status)
            && settled(told.clone()) != settled(answer.clone())
        {
            wrong.push(format!("{properties} {body}:\n  ours   {told}\n  theirs {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_created_and_deleted_is_done() {
    let mut agent = agent();
    let create = json!({"operation": "CREATE", "type": "io.skupper.router.tcpListener", "name": "svc1"});
    let (code, told, changes) = ask(&mut agent, create, json!({"address": "svc1", "port": 1028}));
    assert_eq!((code, &told["bytesIn"], &told["port"]), (201, &json!(12), &json!("1028")));
    let expected = TcpListener {
        name: "svc1".to_owned(),
        address: "svc1".to_owned(),
        port: 1028,
        ..TcpListener::default()
    };
    assert_eq!(changes, [Change::Add(Configured::TcpListener(expected))]);
    let delete = json!({"operation": "DELETE", "type": "tcpListener", "name": "svc1"});
    let (code, told, changes) = ask(&mut agent, delete.clone(), Json::Null);
    assert_eq!((code, told), (204, json!({})));
    assert_eq!(changes, [Change::Remove { kind: "tcpListener", name: "svc1".to_owned() }]);
    let (code, _, changes) = ask(&mut agent, delete, Json::Null);
    assert_eq!((code, changes), (404, Vec::new()));
}

#[test]
fn certificates_are_renewed_by_update_and_nothing_is_done_for_no_change() {
    let mut agent = agent();
    let create = json!({"operation": "CREATE", "type": "sslProfile", "name": "tls"});
    ask(&mut agent, create, json!({"caCertFile": "/a", "certFile": "/b", "privateKeyFile": "/c"}));
    let update = json!({"operation": "UPDATE", "type": "sslProfile", "name": "tls"});
    let (code, told, changes) = ask(&mut agent, update.clone(), json!({"ordinal": 1, "certFile": "/d"}));
    assert_eq!((code, &told["certFile"]), (200, &json!("/d")));
    let [Change::Update(Configured::SslProfile(profile))] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((profile.ordinal, profile.cert_file.as_deref()), (1, Some(std::path::Path::new("/d"))));
    let (code, _, changes) = ask(&mut agent, update.clone(), json!({"ordinal": 1, "certFile": "/d"}));
    assert_eq!((code, changes), (200, Vec::new()));
    // A refused update leaves what was there.
    assert_eq!(ask(&mut agent, update.clone(), json!({"oldestValidOrdinal": 5})).0, 500);
    let read = json!({"operation": "READ", "type": "sslProfile", "name": "tls"});
    assert_eq!(ask(&mut agent, read, Json::Null).1["oldestValidOrdinal"], Json::Null);
}

#[test]
fn what_would_not_be_obeyed_cannot_be_created() {
    let mut agent = agent();
    let create = json!({"operation": "CREATE", "type": "vhost", "name": "v"});
    let (code, _, changes) = ask(&mut agent, create, json!({"hostname": "h"}));
    assert_eq!((code, changes), (501, Vec::new()));
}

#[test]
fn who_says_not_where_the_answer_goes_gets_none_and_nothing_is_done() {
    let mut agent = agent();
    let properties = json!({"operation": "DELETE", "type": "tcpConnector", "name": "c2"});
    let request = Message { reply_to: None, ..message(&properties, &Json::Null) };
    assert_eq!(agent.request(&request, &Running), (None, Vec::new()));
    let read = json!({"operation": "READ", "type": "tcpConnector", "name": "c2"});
    assert_eq!(ask(&mut agent, read, Json::Null).0, 200);
}

#[test]
fn odd_bodies_and_names_are_the_askers_fault() {
    let mut agent = agent();
    let create = json!({"operation": "CREATE", "type": "tcpListener", "name": "x"});
    for body in [
        json!([1]),
        json!("text"),
        json!({"address": "a", "port": [1]}),
        json!({"address": "a", "port": "x y"}),
    ] {
        let (code, _, changes) = ask(&mut agent, create.clone(), body.clone());
        assert!((400..=500).contains(&code), "{body}: {code}");
        assert_eq!(changes, []);
    }
    let query = json!({"operation": "QUERY", "entityType": "tcpListener"});
    assert_eq!(ask(&mut agent, query, json!({"attributeNames": 3})).0, 400);
}

#[test]
fn a_query_goes_page_by_page_and_over_live_entities() {
    let mut agent = agent();
    let names = json!({"attributeNames": ["id", "name"]});
    let query =
        json!({"operation": "QUERY", "entityType": "io.skupper.router.router.node", "offset": 1, "count": 1});
    let (code, told, _) = ask(&mut agent, query, names);
    assert_eq!(code, 200);
    assert_eq!(told, json!({"attributeNames": ["id", "name"], "results": [["B", "router.node/B"]]}));
    let read = json!({"operation": "READ", "type": "router.node", "name": "router.node/C"});
    assert_eq!(ask(&mut agent, read, Json::Null).1["id"], json!("C"));
}

#[test]
fn passwords_are_not_told() {
    let mut agent = agent();
    let create = json!({"operation": "CREATE", "type": "connector", "name": "k"});
    let (code, told, changes) =
        ask(&mut agent, create, json!({"port": 1, "saslUsername": "u", "saslPassword": "secret"}));
    assert_eq!((code, &told["saslPassword"]), (201, &json!("*******")));
    let [Change::Add(Configured::Connector(connector))] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(connector.more["saslPassword"], json!("secret"));
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    fn word() -> impl Strategy<Value = Json> {
        let words = [
            "CREATE",
            "READ",
            "UPDATE",
            "DELETE",
            "QUERY",
            "GET-TYPES",
            "tcpListener",
            "tcpConnector",
            "sslProfile",
            "connector",
            "io.skupper.router.listener",
            "router.config.address",
            "entity",
            "management",
            "self",
            "c2",
            "a",
            "",
            "interior",
            "inter-router",
            "amqp",
        ];
        prop_oneof![
            prop::sample::select(words.to_vec()).prop_map(Json::from),
            (-3..70_000_i64).prop_map(Json::from),
            any::<bool>().prop_map(Json::from),
            Just(Json::Null),
            Just(json!(["name", "port"])),
            Just(json!({"a": 1})),
        ]
    }

    fn map(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Json> {
        prop::collection::btree_map(prop::sample::select(names), word(), 0..most)
            .prop_map(|map| map.into_iter().collect())
    }

    fn request() -> impl Strategy<Value = (Json, Json)> {
        let operations = ["CREATE", "READ", "UPDATE", "DELETE", "QUERY"];
        let kinds =
            ["tcpListener", "tcpConnector", "sslProfile", "connector", "listener", "router.config.address"];
        let likely = (prop::sample::select(operations.to_vec()), prop::sample::select(kinds.to_vec()), 0..4_u8)
            .prop_map(|(operation, kind, name)| json!({"operation": operation, "type": kind, "name": format!("n{name}")}));
        let properties = prop_oneof![
            3 => likely,
            1 => map(&["operation", "type", "name", "identity", "entityType", "offset", "count"], 5),
        ];
        let names = &[
            "name",
            "type",
            "identity",
            "address",
            "host",
            "port",
            "role",
            "cost",
            "sslProfile",
            "prefix",
            "pattern",
            "caCertFile",
            "certFile",
            "privateKeyFile",
            "ordinal",
            "observer",
            "attributeNames",
            "nonsense",
        ];
        (properties, prop_oneof![4 => map(names, 6), 1 => word()])
    }

    proptest! {
        #[test]
        fn is_answered_and_leaves_a_configuration_that_could_be_loaded(
            requests in prop::collection::vec(request(), 0..40),
        ) {
            let mut agent = agent();
            for (properties, body) in requests {
                let (code, _, changes) = ask(&mut agent, properties.clone(), body.clone());
                prop_assert!(matches!(code, 200 | 201 | 204 | 400 | 404 | 500 | 501), "{code}");
                prop_assert!(changes.is_empty() || code < 300, "{properties} {body}: {code} {changes:?}");
                for (at, entity) in agent.entities.iter().enumerate() {
                    let (before, rest) = agent.entities.split_at(at);
                    let others = before.iter().chain(&rest[1..]);
                    prop_assert_eq!(api::router_config::check::alone(entity), Ok(()));
                    prop_assert_eq!(api::router_config::check::clash(entity, others), Ok(()));
                }
            }
        }
    }
}
