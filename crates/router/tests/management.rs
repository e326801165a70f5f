//! A router is told things by AMQP management, with a client library that is not ours.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use api::router_config::Config;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::types::messaging::{
    AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties, Source,
};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Value};
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use tokio::net::TcpStream;

const CONFIG: &str = r#"[
    ["router", {"id": "one", "mode": "interior"}],
    ["listener", {"name": "clients", "host": "127.0.0.1", "port": 5672, "role": "normal"}],
    ["tcpConnector", {"name": "here", "address": "svc", "host": "127.0.0.1", "port": 7000}]]"#;

struct Manager {
    replies: Receiver,
    requests: Sender,
    reply_to: String,
}

impl Manager {
    /// Status code and body of the answer to a request about a TCP listener.
    async fn ask(&mut self, operation: &str, name: &str, body: &[(&str, &str)]) -> (i32, Value) {
        let properties = ApplicationProperties::builder()
            .insert("operation", operation)
            .insert("type", "io.skupper.router.tcpListener")
            .insert("name", name)
            .build();
        let body: OrderedMap<Value, Value> =
            body.iter().map(|(key, value)| (Value::from(*key), Value::from(*value))).collect();
        let message = Message::builder()
            .properties(
                Properties::builder()
                    .to("$management")
                    .reply_to(self.reply_to.clone())
                    .correlation_id(MessageId::String(operation.into()))
                    .build(),
            )
            .application_properties(properties)
            .body(AmqpValue(Value::Map(body)))
            .build();
        self.requests.send(message).await.unwrap();
        let answer = self.replies.recv::<Body<Value>>().await.unwrap();
        self.replies.accept(&answer).await.unwrap();
        let message = answer.into_message();
        let id = message.properties.unwrap().correlation_id;
        assert_eq!(id, Some(MessageId::String(operation.into())));
        let told: BTreeMap<String, SimpleValue> =
            message.application_properties.unwrap().0.into_iter().collect();
        let SimpleValue::Int(status) = told["statusCode"] else { panic!("{told:?}") };
        let body = match message.body {
            Body::Value(AmqpValue(body)) => body,
            _ => Value::Null,
        };
        (status, body)
    }
}

async fn connect() -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect("127.0.0.1:5672").await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a port takes connections, or does not.
async fn until_open(open: bool) {
    while TcpStream::connect("127.0.0.1:8000").await.is_ok() != open {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn manage() {
    let mut connection = Connection::builder()
        .container_id("test")
        .sasl_profile(SaslProfile::Anonymous)
        .scheme("amqp")
        .domain("localhost")
        .open_with_stream(connect().await)
        .await
        .unwrap();
    let mut session = Session::begin(&mut connection).await.unwrap();
    let source = Source::builder().dynamic(true).build();
    let replies = Receiver::builder().name("replies").source(source).attach(&mut session).await.unwrap();
    let reply_to = replies.source().as_ref().unwrap().address.clone().unwrap();
    let requests = Sender::attach(&mut session, "requests", "$management").await.unwrap();
    let mut manager = Manager { replies, requests, reply_to };

    until_open(false).await;
    let listener = [("address", "svc"), ("host", "127.0.0.1"), ("port", "8000")];
    assert_eq!(manager.ask("CREATE", "new", &listener).await.0, 201);
    until_open(true).await;
    assert_eq!(manager.ask("CREATE", "new", &listener).await.0, 400);
    let (status, told) = manager.ask("READ", "new", &[]).await;
    assert_eq!(status, 200);
    let Value::Map(told) = told else { panic!("{told:?}") };
    assert_eq!(told.get(&Value::from("operStatus")), Some(&Value::from("up")));
    assert_eq!(manager.ask("DELETE", "new", &[]).await.0, 204);
    until_open(false).await;
    assert_eq!(manager.ask("DELETE", "new", &[]).await.0, 404);
}

#[test]
fn a_tcp_listener_comes_and_goes_while_the_router_runs() {
    let ns = testkit::netns();
    // A thread inherits the namespace; this one has room for the client library's futures.
    let main = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (config, _) = Config::parse("test", CONFIG).unwrap();
        runtime.block_on(async {
            tokio::select! {
                ended = router::run(config) => { ended.unwrap(); }
                done = tokio::time::timeout(Duration::from_secs(60), manage()) => done.unwrap(),
            }
        });
    };
    let thread = ns.run(|| -> Result<_, net::Error> { Ok(std::thread::spawn(main)) }).unwrap();
    thread.join().unwrap();
}
