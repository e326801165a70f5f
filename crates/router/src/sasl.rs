//! SASL (specification part 5, section 5.3): ANONYMOUS, and EXTERNAL for those whom TLS has identified.

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::sasl::{SaslCode, SaslInit, SaslMechanisms, SaslOutcome};
use serde_amqp::primitives::{Array, Binary, Symbol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::amqp::frame::{self, Header, SASL, SASL_HEADER};
use crate::io::Io;

/// No mechanism list is longer.
const MAX_FRAME: usize = 4096;

/// Why a connection has not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read or write failed")]
    Io(#[from] std::io::Error),
    #[error("malformed SASL frame")]
    Malformed(#[from] crate::amqp::Error),
    #[error("the peer ended the connection during SASL")]
    Ended,
    #[error("the peer speaks another protocol: it began with {0:?}")]
    Protocol([u8; 8]),
    #[error("the peer sent TLS to a listener without sslProfile")]
    Tls,
    #[error("no common mechanism: the peer has {theirs:?}, this end {ours:?}")]
    Mechanisms { theirs: Vec<String>, ours: Vec<String> },
    #[error("the peer refused {0}")]
    Refused(&'static str),
    #[error("the peer does not authenticate, and the listener asks for it")]
    Unauthenticated,
}

fn allowed(configured: &[String], mechanism: &str) -> bool {
    configured.is_empty() || configured.iter().any(|m| m == mechanism)
}

/// The connecting side; gives what the peer sent behind its last word.
pub(crate) async fn connect(
    io: &mut Io,
    configured: &[String],
    has_certificate: bool,
) -> Result<BytesMut, Error> {
    io.write_all(&SASL_HEADER).await?;
    io.flush().await?;
    let mut input = BytesMut::new();
    let header = protocol(io, &mut input).await?;
    if header != SASL_HEADER {
        return Err(Error::Protocol(header));
    }
    let offered: SaslMechanisms = read(io, &mut input).await?;
    let theirs: Vec<String> =
        offered.sasl_server_mechanisms.0.iter().map(|m| m.as_str().to_owned()).collect();
    let usable = |m: &&str| theirs.iter().any(|t| t == m) && allowed(configured, m);
    let external = Some("EXTERNAL").filter(|_| has_certificate);
    let Some(mechanism) = external.filter(usable).or(Some("ANONYMOUS").filter(usable)) else {
        return Err(Error::Mechanisms { theirs, ours: configured.to_vec() });
    };
    let response = if mechanism == "EXTERNAL" { Vec::new() } else { b"anonymous".to_vec() };
    let init = SaslInit {
        mechanism: Symbol::from(mechanism),
        initial_response: Some(Binary::from(response)),
        hostname: None,
    };
    write(io, &init).await?;
    let outcome: SaslOutcome = read(io, &mut input).await?;
    if outcome.code != SaslCode::Ok {
        return Err(Error::Refused(mechanism));
    }
    Ok(input)
}

/// The listening side.
///
/// A client that begins with AMQP at once is let in when nobody has to authenticate; what it sent is given back.
pub(crate) async fn accept(
    io: &mut Io,
    configured: &[String],
    authenticate: bool,
) -> Result<BytesMut, Error> {
    let mut input = BytesMut::new();
    let header = protocol(io, &mut input).await?;
    if header == frame::AMQP_HEADER && !authenticate {
        let mut rest = BytesMut::from(&header[..]);
        rest.unsplit(input);
        return Ok(rest);
    }
    if header[0] == 0x16 {
        return Err(Error::Tls);
    }
    if header == frame::AMQP_HEADER {
        return Err(Error::Unauthenticated);
    }
    if header != SASL_HEADER {
        // What the specification asks for: say what is spoken here, and end.
        io.write_all(&SASL_HEADER).await?;
        return Err(Error::Protocol(header));
    }
    io.write_all(&SASL_HEADER).await?;
    let mut ours = Vec::new();
    if io.has_peer_certificate() && allowed(configured, "EXTERNAL") {
        ours.push("EXTERNAL");
    }
    if !authenticate && allowed(configured, "ANONYMOUS") {
        ours.push("ANONYMOUS");
    }
    if ours.is_empty() {
        return Err(Error::Unauthenticated);
    }
    let mechanisms: Vec<Symbol> = ours.iter().map(|m| Symbol::from(*m)).collect();
    write(io, &SaslMechanisms { sasl_server_mechanisms: Array::from(mechanisms) }).await?;
    let init: SaslInit = read(io, &mut input).await?;
    let known = ours.iter().any(|m| *m == init.mechanism.as_str());
    let code = if known { SaslCode::Ok } else { SaslCode::Auth };
    write(io, &SaslOutcome { code, additional_data: None }).await?;
    if known {
        Ok(input)
    } else {
        let ours = ours.iter().map(|m| (*m).to_owned()).collect();
        Err(Error::Mechanisms { theirs: vec![init.mechanism.as_str().to_owned()], ours })
    }
}

async fn protocol(io: &mut Io, input: &mut BytesMut) -> Result<[u8; 8], Error> {
    loop {
        if let Some(header) = input.first_chunk::<8>().copied() {
            input.advance(8);
            return Ok(header);
        }
        if io.read_buf(input).await? == 0 {
            return Err(Error::Ended);
        }
    }
}

async fn read<T: serde_amqp::serde::de::DeserializeOwned>(
    io: &mut Io,
    input: &mut BytesMut,
) -> Result<T, Error> {
    loop {
        if let Some(header) = Header::parse(input)? {
            if header.kind != SASL || header.size > MAX_FRAME {
                return Err(crate::amqp::Error::Size.into());
            }
            if input.len() >= header.size {
                let whole = input.split_to(header.size);
                let body = &whole[header.body..];
                crate::amqp::primitive::Reader::new(body).skip()?;
                return Ok(serde_amqp::from_slice(body).map_err(|_| crate::amqp::Error::Performative)?);
            }
        }
        if io.read_buf(input).await? == 0 {
            return Err(Error::Ended);
        }
    }
}

async fn write(io: &mut Io, performative: &impl serde_amqp::serde::Serialize) -> Result<(), Error> {
    let mut out = BytesMut::new();
    frame::put_performative(&mut out, SASL, 0, performative)?;
    io.write_all(&out).await?;
    Ok(io.flush().await?)
}
