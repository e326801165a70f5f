//! The two messages of a health check, in the encoding of Protocol Buffers, framed as gRPC does.
//!
//! Sources: protobuf.dev `programming-guides/encoding`; grpc `doc/PROTOCOL-HTTP2.md`
//! (`Length-Prefixed-Message`).

use hyper::body::Bytes;

/// A request: one byte that says not compressed, four of length, then field 1 as text.
pub(super) fn framed(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    frame.into()
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Field 1 of the response in the first frame; 0 if it is left out, as fields of that value are.
pub(super) fn serving(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 {
        return None;
    }
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    let mut status = 0;
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        let value = match key & 7 {
            0 => Some(read_varint(&mut message)?),
            1 => skip(&mut message, 8)?,
            2 => {
                let length = read_varint(&mut message)?;
                skip(&mut message, usize::try_from(length).ok()?)?
            }
            5 => skip(&mut message, 4)?,
            _ => return None,
        };
        if let (1, Some(value)) = (key >> 3, value) {
            status = value;
        }
    }
    Some(status)
}

/// A field that is of no interest; the inner option says that it has no number.
#[allow(clippy::option_option)]
fn skip(message: &mut &[u8], length: usize) -> Option<Option<u64>> {
    *message = message.get(length..)?;
    Some(None)
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed() {
        assert_eq!(&framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = framed(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn responses_are_read_whatever_else_is_in_them() {
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        // Unknown fields of each type around it, then a second frame.
        let message = [0x12, 1, b'x', 8, 2, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 0x96, 1];
        let mut frame = vec![0, 0, 0, 0, message.len() as u8];
        frame.extend(message);
        frame.extend([0, 0]);
        assert_eq!(serving(&frame), Some(2));
        for bad in
            [&[][..], &[0, 0, 0, 0, 9, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 8], &[0, 0, 0, 0, 1, 3]]
        {
            assert_eq!(serving(bad), None, "{bad:?}");
        }
        assert_eq!(read_varint(&mut &[0xff; 11][..]), None);
    }
}
