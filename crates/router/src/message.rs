//! Whole messages for the router itself: control between routers, management from clients.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use serde_amqp::Value;

use crate::amqp::Error;
use crate::amqp::primitive::{Reader, put_compound, put_str};
use crate::amqp::section::Head;

/// A whole message for the router itself, decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Where to.
    pub to: Option<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// Given back in the answer, of whatever type it is.
    pub correlation_id: Option<Value>,
    /// The application properties.
    pub properties: BTreeMap<String, Value>,
    /// The `amqp-value` section; `None` when the message has no body.
    pub body: Option<Value>,
}

impl Message {
    /// Decodes a message whose sections up to the body were read as `head`.
    ///
    /// # Errors
    /// A value that is malformed, or a body that is no `amqp-value`.
    pub fn decode(head: &Head, bytes: &[u8]) -> Result<Self, Error> {
        let mut message = Self { to: head.to.clone(), reply_to: head.reply_to.clone(), ..Self::default() };
        if let Some(id) = &head.correlation_id {
            message.correlation_id = Some(value(id)?);
        }
        if let Some(map) = &head.properties {
            let (mut inside, count) = Reader::new(map).map()?;
            for _ in 0..count / 2 {
                let key = inside.text()?.to_owned();
                message.properties.insert(key, value(inside.raw()?)?);
            }
        }
        let mut body = Reader::new(bytes.get(head.body..).unwrap_or_default());
        if !body.is_empty() {
            match body.descriptor()? {
                0x77 => message.body = Some(value(body.raw()?)?),
                other => return Err(Error::Descriptor(other)),
            }
        }
        Ok(message)
    }

    /// Writes the sections; the router annotations are not among them.
    ///
    /// # Errors
    /// A value that cannot be coded.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        let mut id = Vec::new();
        if let Some(value) = &self.correlation_id {
            id = serde_amqp::to_vec(value).map_err(|_| Error::Performative)?;
        }
        out.put_slice(&[0x00, 0x53, 0x70]);
        put_compound(out, 0xd0, 1, |out| out.put_u8(0x42));
        out.put_slice(&[0x00, 0x53, 0x73]);
        put_compound(out, 0xd0, 6, |out| {
            out.put_slice(&[0x40, 0x40]);
            match &self.to {
                Some(to) => put_str(out, to),
                None => out.put_u8(0x40),
            }
            out.put_u8(0x40);
            match &self.reply_to {
                Some(reply_to) => put_str(out, reply_to),
                None => out.put_u8(0x40),
            }
            if id.is_empty() {
                out.put_u8(0x40);
            } else {
                out.put_slice(&id);
            }
        });
        let mut properties = BytesMut::new();
        for (key, value) in &self.properties {
            put_str(&mut properties, key);
            properties.put_slice(&serde_amqp::to_vec(value).map_err(|_| Error::Performative)?);
        }
        let count = u32::try_from(self.properties.len() * 2).map_err(|_| Error::Size)?;
        out.put_slice(&[0x00, 0x53, 0x74]);
        put_compound(out, 0xd1, count, |out| out.put_slice(&properties));
        if let Some(body) = &self.body {
            out.put_slice(&[0x00, 0x53, 0x77]);
            out.put_slice(&serde_amqp::to_vec(body).map_err(|_| Error::Performative)?);
        }
        Ok(())
    }
}

/// Decodes one value whose sizes and depth were checked by the reader that cut it out.
fn value(bytes: &[u8]) -> Result<Value, Error> {
    serde_amqp::from_slice(bytes).map_err(|_| Error::Performative)
}
