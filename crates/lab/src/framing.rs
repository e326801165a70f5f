//! Frames on the control socket: a length of four bytes, little endian, then JSON.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Far above any status; a peer that sends garbage must not make us allocate more.
const LARGEST: u32 = 64 << 20;

pub(crate) fn send<T: Serialize>(mut stream: &UnixStream, value: &T) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(json);
    stream.write_all(&frame)
}

pub(crate) fn receive<T: DeserializeOwned>(mut stream: &UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut json = vec![0; length as usize];
    stream.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_arrives_and_garbage_is_refused() {
        let (a, b) = UnixStream::pair().unwrap();
        send(&a, &vec!["x".to_owned(), "y".into()]).unwrap();
        assert_eq!(receive::<Vec<String>>(&b).unwrap(), ["x", "y"]);
        (&a).write_all(&[0xff; 8]).unwrap();
        assert_eq!(receive::<Vec<String>>(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
        (&a).write_all(&[]).unwrap();
        drop(a);
        assert!(receive::<Vec<String>>(&b).is_err());
    }
}
