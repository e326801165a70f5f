//! Management over AMQP 1.0.
//!
//! Source: skupper-router `docs/notes`, `python/skupper_router_internal/management/agent.py`: requests go to
//! `$management`, or to `_topo/0/<id>/$management` for another router; the answer comes to a dynamic address.
//! Correlation ids are texts: other forms do not come back as they went.

use std::collections::BTreeMap;
use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::{Receiver, Sender};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::Message;
use fe2o3_amqp::types::messaging::{AmqpValue, ApplicationProperties, Body, MessageId, Properties, Source};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Value as Amqp1};
use fe2o3_amqp::{Connection, Session};
use serde_json::{Map, Number, Value};
use tokio::time::timeout;

use super::Management;
use crate::error::{Error, Result};
use crate::ops::{Attributes, long_name};

/// A router on the same machine answers in milliseconds, and another one of the network within a few of its
/// greetings.
const LIMIT: Duration = Duration::from_secs(3);

/// A connection to a router's management.
#[derive(Debug)]
pub struct Amqp {
    at: String,
    replies: Receiver,
    reply_to: String,
    senders: BTreeMap<String, Sender>,
    session: SessionHandle<()>,
    /// Ends with its last handle.
    _connection: ConnectionHandle<()>,
    number: u64,
}

impl Amqp {
    /// Connects to the router that listens at `at`, as `127.0.0.1:5672`.
    ///
    /// # Errors
    /// It does not, or does not answer as a router.
    pub async fn connect(at: &str) -> Result<Self> {
        let fail = |what: String| Error::Management { at: at.into(), what };
        timeout(LIMIT, Self::open(at)).await.map_err(|_| fail("does not answer".into()))?.map_err(fail)
    }

    async fn open(at: &str) -> std::result::Result<Self, String> {
        let stream = tokio::net::TcpStream::connect(at).await.map_err(|e| e.to_string())?;
        let id = format!("knetsim-{}", store::new_uid());
        let mut connection = Connection::builder()
            .container_id(id)
            .sasl_profile(SaslProfile::Anonymous)
            .scheme("amqp")
            .domain("localhost")
            .open_with_stream(stream)
            .await
            .map_err(|e| e.to_string())?;
        let mut session = Session::begin(&mut connection).await.map_err(|e| e.to_string())?;
        let replies = Receiver::builder()
            .name("replies")
            .source(Source::builder().dynamic(true).build())
            .attach(&mut session)
            .await
            .map_err(|e| e.to_string())?;
        let reply_to = replies.source().as_ref().and_then(|source| source.address.clone());
        let reply_to = reply_to.ok_or("it has given no address for answers")?;
        let connection = Self {
            at: at.into(),
            replies,
            reply_to,
            senders: BTreeMap::new(),
            session,
            _connection: connection,
            number: 0,
        };
        Ok(connection)
    }

    fn fail(&self, what: impl Into<String>) -> Error {
        Error::Management { at: self.at.clone(), what: what.into() }
    }

    /// Sends a request and waits for its answer.
    async fn request(
        &mut self,
        router: Option<&str>,
        operation: Operation<'_>,
        body: Amqp1,
    ) -> Result<Message<Body<Amqp1>>> {
        let limit = timeout(LIMIT, self.exchange(router, operation, body)).await;
        match limit {
            Ok(answer) => answer,
            Err(_) => Err(self.fail(format!("no answer to {} {}", operation.verb, operation.kind))),
        }
    }

    async fn exchange(
        &mut self,
        router: Option<&str>,
        operation: Operation<'_>,
        body: Amqp1,
    ) -> Result<Message<Body<Amqp1>>> {
        let to = router.map_or_else(|| "$management".into(), |id| format!("_topo/0/{id}/$management"));
        self.number += 1;
        let id = self.number.to_string();
        let mut properties = ApplicationProperties::builder()
            .insert("operation", operation.verb)
            .insert("entityType", long_name(operation.kind))
            .insert(
                "type",
                if operation.verb == "QUERY" {
                    "org.amqp.management".into()
                } else {
                    long_name(operation.kind)
                },
            );
        if let Some(name) = operation.name {
            // By its name alone: identities of most types have host and port in front.
            properties = properties.insert("name", name);
        }
        let properties = properties.build();
        let message = Message::builder()
            .properties(
                Properties::builder()
                    .to(to.clone())
                    .reply_to(self.reply_to.clone())
                    .correlation_id(MessageId::String(id.clone()))
                    .build(),
            )
            .application_properties(properties)
            .body(AmqpValue(body))
            .build();
        if !self.senders.contains_key(&to) {
            let name = format!("to {to} {}", self.number);
            let sender = Sender::attach(&mut self.session, name, to.clone()).await;
            let sender = sender.map_err(|e| self.fail(e.to_string()))?;
            self.senders.insert(to.clone(), sender);
        }
        let at = self.at.clone();
        let fail = |what: String| Error::Management { at: at.clone(), what };
        if let Some(sender) = self.senders.get_mut(&to) {
            let outcome = sender.send(message).await;
            match outcome {
                Ok(outcome) if outcome.is_accepted() => {}
                Ok(outcome) => {
                    self.senders.remove(&to);
                    return Err(fail(format!("{to} has not taken the request: {outcome:?}")));
                }
                Err(error) => {
                    self.senders.remove(&to);
                    return Err(fail(error.to_string()));
                }
            }
        }
        loop {
            let delivery = self.replies.recv::<Body<Amqp1>>().await.map_err(|e| fail(e.to_string()))?;
            self.replies.accept(&delivery).await.map_err(|e| fail(e.to_string()))?;
            let message = delivery.into_message();
            let answered = message.properties.as_ref().and_then(|p| p.correlation_id.clone());
            // An answer that came too late is for a request that nobody waits for.
            if answered == Some(MessageId::String(id.clone())) {
                return judge(operation, message);
            }
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Operation<'a> {
    verb: &'static str,
    kind: &'a str,
    name: Option<&'a str>,
}

/// The answer, if it is not a refusal.
fn judge(operation: Operation<'_>, message: Message<Body<Amqp1>>) -> Result<Message<Body<Amqp1>>> {
    let property =
        |name: &str| message.application_properties.as_ref().and_then(|all| all.0.get(name).cloned());
    let status = match property("statusCode") {
        Some(SimpleValue::Int(code)) => i64::from(code),
        Some(SimpleValue::Uint(code)) => i64::from(code),
        Some(SimpleValue::Long(code)) => code,
        _ => 0,
    };
    if (200..300).contains(&status) {
        return Ok(message);
    }
    let description = match property("statusDescription") {
        Some(SimpleValue::String(text)) => text,
        _ => String::new(),
    };
    let entity = match operation.name {
        Some(name) => format!("{} \"{name}\"", operation.kind),
        None => operation.kind.into(),
    };
    Err(Error::Refused { operation: operation.verb.to_lowercase(), entity, status, description })
}

impl Management for Amqp {
    async fn query(&mut self, router: Option<&str>, kind: &str) -> Result<Vec<Attributes>> {
        let all = Amqp1::List(Vec::new());
        let body = Amqp1::Map(OrderedMap::from_iter([(Amqp1::String("attributeNames".into()), all)]));
        let operation = Operation { verb: "QUERY", kind, name: None };
        let answer = self.request(router, operation, body).await?;
        let rows = match answer.body {
            Body::Value(AmqpValue(value)) => table(&value),
            _ => None,
        };
        rows.ok_or_else(|| self.fail(format!("the answer to a query for {kind} is no table")))
    }

    async fn create(&mut self, kind: &str, name: &str, attributes: &Map<String, Value>) -> Result<()> {
        let operation = Operation { verb: "CREATE", kind, name: Some(name) };
        self.request(None, operation, map(attributes)).await.map(drop)
    }

    async fn update(&mut self, kind: &str, name: &str, attributes: &Map<String, Value>) -> Result<()> {
        let operation = Operation { verb: "UPDATE", kind, name: Some(name) };
        self.request(None, operation, map(attributes)).await.map(drop)
    }

    async fn delete(&mut self, kind: &str, name: &str) -> Result<()> {
        let operation = Operation { verb: "DELETE", kind, name: Some(name) };
        self.request(None, operation, Amqp1::Map(OrderedMap::new())).await.map(drop)
    }
}

fn map(attributes: &Map<String, Value>) -> Amqp1 {
    Amqp1::Map(attributes.iter().map(|(key, value)| (Amqp1::String(key.clone()), to_amqp(value))).collect())
}

fn to_amqp(value: &Value) -> Amqp1 {
    match value {
        Value::Null => Amqp1::Null,
        Value::Bool(truth) => Amqp1::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Amqp1::Long(number),
            None => Amqp1::String(number.to_string()),
        },
        Value::String(text) => Amqp1::String(text.clone()),
        Value::Array(items) => Amqp1::List(items.iter().map(to_amqp).collect()),
        Value::Object(fields) => map(fields),
    }
}

fn of_amqp(value: &Amqp1) -> Value {
    let number = |number: i64| Value::Number(Number::from(number));
    match value {
        Amqp1::Bool(truth) => Value::Bool(*truth),
        Amqp1::Ubyte(n) => number((*n).into()),
        Amqp1::Ushort(n) => number((*n).into()),
        Amqp1::Uint(n) => number((*n).into()),
        Amqp1::Ulong(n) => Value::Number(Number::from(*n)),
        Amqp1::Byte(n) => number((*n).into()),
        Amqp1::Short(n) => number((*n).into()),
        Amqp1::Int(n) => number((*n).into()),
        Amqp1::Long(n) => number(*n),
        Amqp1::String(text) => Value::String(text.clone()),
        Amqp1::Symbol(symbol) => Value::String(symbol.0.clone()),
        Amqp1::List(items) => Value::Array(items.iter().map(of_amqp).collect()),
        Amqp1::Map(fields) => {
            let text = |key: &Amqp1| of_amqp(key).as_str().map(str::to_owned);
            Value::Object(
                fields.iter().filter_map(|(key, value)| Some((text(key)?, of_amqp(value)))).collect(),
            )
        }
        _ => Value::Null,
    }
}

/// `{attributeNames: [..], results: [[..], ..]}` as rows.
fn table(value: &Amqp1) -> Option<Vec<Attributes>> {
    let value = of_amqp(value);
    let names: Vec<&str> =
        value.get("attributeNames")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let rows = value.get("results")?.as_array()?.iter().filter_map(Value::as_array);
    let row = |row: &Vec<Value>| names.iter().map(ToString::to_string).zip(row.iter().cloned()).collect();
    Some(rows.map(row).collect())
}
