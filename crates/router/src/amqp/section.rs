//! The sections of a message (specification part 3, section 3.2) and the router's own, which stands before them:
//! `SKPR--RA`, the router annotations (`docs/notes/router-annotations.adoc` of skupper-router).

use bytes::{BufMut, BytesMut};

use super::Error;
use super::primitive::{Reader, put_compound, put_str, put_uint};

/// The descriptor of the router annotations: the letters `SKPR--RA`.
const ANNOTATIONS: u64 = u64::from_be_bytes(*b"SKPR--RA");
/// The message is a stream: pass on what has come, do not wait for its end.
pub const STREAMING: u32 = 0x01;
/// The stream has a window of its own; hold nothing back on its way.
pub const NO_Q2: u32 = 0x04;
/// The content type of a TCP stream (`QD_CONTENT_TYPE_APP_OCTETS`): raw bytes follow the body section.
pub const OCTETS: &str = "application/octet-stream";

/// The router annotations of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// [`STREAMING`] and others; unknown ones are passed on.
    pub flags: u32,
    /// Where to, when not where the properties say.
    pub to: Option<String>,
    /// The router where the message came into the network, as `0/id`.
    pub ingress: Option<String>,
    /// The routers that it passed, in order, as `0/id`.
    pub trace: Vec<String>,
}

/// What a router reads of a message before it passes it on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Absent in what did not come from a router.
    pub annotations: Option<Annotations>,
    /// Where the sections behind the annotations begin: these are passed on as they came.
    pub rest: usize,
    /// Properties: the destination.
    pub to: Option<String>,
    /// Properties: where answers go.
    pub reply_to: Option<String>,
    /// Properties: what the body is.
    pub content_type: Option<String>,
    /// Properties: the correlation id, encoded as it came.
    pub correlation_id: Option<Vec<u8>>,
    /// The application properties, encoded as they came (a map).
    pub properties: Option<Vec<u8>>,
    /// Where the body begins: behind the body section's null for a TCP stream, at the body section else.
    pub body: usize,
}

impl Head {
    /// The destination: the annotations' or the properties'.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.annotations.as_ref().and_then(|a| a.to.as_deref()).or(self.to.as_deref())
    }

    /// Whether the body is a TCP stream.
    #[must_use]
    pub fn is_octets(&self) -> bool {
        self.content_type.as_deref() == Some(OCTETS)
    }

    /// Reads a message's sections up to its body; [`Error::Short`] asks for more bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], complete: bool) -> Result<Self, Error> {
        let mut head = Self::default();
        let mut reader = Reader::new(bytes);
        loop {
            let start = reader.pos();
            if complete && reader.is_empty() {
                head.body = start;
                return Ok(head);
            }
            match reader.descriptor()? {
                ANNOTATIONS if start == 0 => {
                    head.annotations = Some(annotations(&mut reader)?);
                    head.rest = reader.pos();
                }
                0x70..=0x72 => reader.skip()?,
                0x73 => head.read_properties(&mut reader)?,
                0x74 => head.properties = Some(reader.raw()?.to_vec()),
                0x75..=0x77 => {
                    head.body = start;
                    if head.is_octets() {
                        reader.skip()?;
                        head.body = reader.pos();
                    }
                    return Ok(head);
                }
                other => return Err(Error::Descriptor(other)),
            }
        }
    }

    fn read_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let (mut inside, count) = reader.list()?;
        for field in 0..count {
            if inside.null()? {
                continue;
            }
            match field {
                2 => self.to = Some(inside.text()?.to_owned()),
                4 => self.reply_to = Some(inside.text()?.to_owned()),
                5 => self.correlation_id = Some(inside.raw()?.to_vec()),
                6 => self.content_type = Some(inside.text()?.to_owned()),
                _ => inside.skip()?,
            }
        }
        Ok(())
    }
}

fn annotations(reader: &mut Reader<'_>) -> Result<Annotations, Error> {
    let (mut inside, count) = reader.list()?;
    let mut read = Annotations::default();
    for field in 0..count {
        if inside.null()? {
            continue;
        }
        match field {
            0 => read.flags = inside.uint()?,
            1 => read.to = Some(inside.text()?.to_owned()),
            2 => read.ingress = Some(inside.text()?.to_owned()),
            3 => {
                let (mut trace, routers) = inside.list()?;
                for _ in 0..routers {
                    read.trace.push(trace.text()?.to_owned());
                }
            }
            _ => inside.skip()?,
        }
    }
    Ok(read)
}

/// Writes router annotations; every field stands, and compounds have four bytes of size, as skrouterd's.
#[expect(clippy::cast_possible_truncation, reason = "a trace has as many routers as a path has hops")]
pub fn put_annotations(out: &mut BytesMut, annotations: &Annotations) {
    out.put_slice(&[0x00, 0x80]);
    out.put_u64(ANNOTATIONS);
    put_compound(out, 0xd0, 4, |out| {
        put_uint(out, annotations.flags);
        put_str_or_null(out, annotations.to.as_deref());
        put_str_or_null(out, annotations.ingress.as_deref());
        put_compound(out, 0xd0, annotations.trace.len() as u32, |out| {
            for router in &annotations.trace {
                put_str(out, router);
            }
        });
    });
}

/// Writes the sections before a TCP stream's bytes (`try_compose_and_send_client_stream_LSIDE_IO` and
/// `compose_and_send_server_stream_CSIDE_IO` in `src/adaptors/tcp/tcp_adaptor.c`).
///
/// `to` is the service's address from the client's side, with `reply_to`; the reply address from the server's.
pub fn put_stream(out: &mut BytesMut, to: &str, reply_to: Option<&str>) {
    out.put_slice(&[0x00, 0x53, 0x73]);
    put_compound(out, 0xd0, 7, |out| {
        out.put_slice(&[0x40, 0x40]); // message-id, user-id
        put_str(out, to);
        out.put_u8(0x40); // subject
        put_str_or_null(out, reply_to);
        out.put_u8(0x40); // correlation-id
        put_str(out, OCTETS);
    });
    out.put_slice(&[0x00, 0x53, 0x74]);
    put_compound(out, 0xd1, 2, |out| {
        put_str(out, "V");
        out.put_slice(&[0x52, 1]);
    });
    out.put_slice(&[0x00, 0x53, 0x77, 0x40]);
}

fn put_str_or_null(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_str(out, text),
        None => out.put_u8(0x40),
    }
}
