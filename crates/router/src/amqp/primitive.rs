//! Reading and writing primitive values (specification part 1, sections 1.2 and 1.6), in place.

use bytes::BufMut;

use super::Error;

/// Nesting beyond this is refused: it is an attack on the stack, not a message.
const MAX_DEPTH: u32 = 24;

/// Reads values from a slice, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the first byte of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let end = self.pos.checked_add(n).ok_or(Error::Size)?;
        let part = self.bytes.get(self.pos..end).ok_or(Error::Short)?;
        self.pos = end;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn be32(&mut self) -> Result<u32, Error> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn be64(&mut self) -> Result<u64, Error> {
        Ok(u64::from(self.be32()?) << 32 | u64::from(self.be32()?))
    }

    /// The next format code, left in place.
    ///
    /// # Errors
    /// [`Error::Short`] at the end.
    pub fn peek(&self) -> Result<u8, Error> {
        self.bytes.get(self.pos).copied().ok_or(Error::Short)
    }

    /// Steps over a null, when it is one.
    ///
    /// # Errors
    /// [`Error::Short`] at the end.
    pub fn null(&mut self) -> Result<bool, Error> {
        let null = self.peek()? == 0x40;
        if null {
            self.pos += 1;
        }
        Ok(null)
    }

    /// A descriptor's number: `0x00` and a ulong.
    ///
    /// # Errors
    /// Something else stands here.
    pub fn descriptor(&mut self) -> Result<u64, Error> {
        match self.byte()? {
            0x00 => self.ulong(),
            code => Err(Error::Type(code)),
        }
    }

    /// A ulong in any encoding.
    ///
    /// # Errors
    /// Another type stands here.
    pub fn ulong(&mut self) -> Result<u64, Error> {
        match self.byte()? {
            0x44 => Ok(0),
            0x53 => Ok(u64::from(self.byte()?)),
            0x80 => self.be64(),
            code => Err(Error::Type(code)),
        }
    }

    /// A uint in any encoding.
    ///
    /// # Errors
    /// Another type stands here.
    pub fn uint(&mut self) -> Result<u32, Error> {
        match self.byte()? {
            0x43 => Ok(0),
            0x52 | 0x50 => Ok(u32::from(self.byte()?)),
            0x70 => self.be32(),
            code => Err(Error::Type(code)),
        }
    }

    /// A boolean in any encoding.
    ///
    /// # Errors
    /// Another type stands here.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        match self.byte()? {
            0x41 => Ok(true),
            0x42 => Ok(false),
            0x56 => Ok(self.byte()? != 0),
            code => Err(Error::Type(code)),
        }
    }

    /// A string or symbol.
    ///
    /// # Errors
    /// Another type stands here, or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = match self.byte()? {
            0xa1 | 0xa3 => {
                let n = self.byte()?;
                self.take(n.into())?
            }
            0xb1 | 0xb3 => {
                let n = self.be32()?;
                self.take(n as usize)?
            }
            code => return Err(Error::Type(code)),
        };
        std::str::from_utf8(bytes).map_err(|_| Error::Text)
    }

    /// The inside of a list, and how many values it has.
    ///
    /// # Errors
    /// Another type stands here, or its sizes are wrong.
    pub fn list(&mut self) -> Result<(Reader<'a>, u32), Error> {
        match self.byte()? {
            0x45 => Ok((Reader::new(&[]), 0)),
            0xc0 => self.compound8(),
            0xd0 => self.compound32(),
            code => Err(Error::Type(code)),
        }
    }

    /// The inside of a map, and how many values (keys and values counted apart) it has.
    ///
    /// # Errors
    /// Another type stands here, or its sizes are wrong.
    pub fn map(&mut self) -> Result<(Reader<'a>, u32), Error> {
        match self.byte()? {
            0xc1 => self.compound8(),
            0xd1 => self.compound32(),
            code => Err(Error::Type(code)),
        }
    }

    fn compound8(&mut self) -> Result<(Reader<'a>, u32), Error> {
        let size = self.byte()?;
        let inside = self.take(size.into())?;
        let (&count, rest) = inside.split_first().ok_or(Error::Size)?;
        Ok((Reader::new(rest), count.into()))
    }

    fn compound32(&mut self) -> Result<(Reader<'a>, u32), Error> {
        let size = self.be32()?;
        let inside = self.take(size as usize)?;
        let (count, rest) = inside.split_at_checked(4).ok_or(Error::Size)?;
        Ok((Reader::new(rest), u32::from_be_bytes([count[0], count[1], count[2], count[3]])))
    }

    /// Steps over one value of any type and checks its sizes and depth all the way down.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn skip(&mut self) -> Result<(), Error> {
        self.skip_at(0)
    }

    /// Steps over one value and gives its bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn raw(&mut self) -> Result<&'a [u8], Error> {
        let start = self.pos;
        self.skip()?;
        Ok(&self.bytes[start..self.pos])
    }

    fn skip_at(&mut self, depth: u32) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        let code = self.byte()?;
        if code == 0x00 {
            self.skip_at(depth + 1)?;
            return self.skip_at(depth + 1);
        }
        match code {
            0xc0 | 0xc1 => {
                let (inside, count) = self.compound8()?;
                inside.skip_all(count, depth)
            }
            0xd0 | 0xd1 => {
                let (inside, count) = self.compound32()?;
                inside.skip_all(count, depth)
            }
            0xe0 => {
                let (inside, count) = self.compound8()?;
                inside.skip_array(count)
            }
            0xf0 => {
                let (inside, count) = self.compound32()?;
                inside.skip_array(count)
            }
            0xa0 | 0xa1 | 0xa3 => {
                let n = self.byte()?;
                self.take(n.into()).map(drop)
            }
            0xb0 | 0xb1 | 0xb3 => {
                let n = self.be32()?;
                self.take(n as usize).map(drop)
            }
            _ => {
                let width = fixed_width(code).ok_or(Error::Code(code))?;
                self.take(width).map(drop)
            }
        }
    }

    fn skip_all(mut self, count: u32, depth: u32) -> Result<(), Error> {
        for _ in 0..count {
            self.skip_at(depth + 1)?;
        }
        if self.is_empty() { Ok(()) } else { Err(Error::Size) }
    }

    /// Arrays of primitives only: routers send arrays of symbols; arrays of lists nowhere.
    fn skip_array(mut self, count: u32) -> Result<(), Error> {
        if count == 0 && self.is_empty() {
            return Ok(());
        }
        let code = self.byte()?;
        for _ in 0..count {
            match code {
                0xa0 | 0xa1 | 0xa3 => {
                    let n = self.byte()?;
                    self.take(n.into())?;
                }
                0xb0 | 0xb1 | 0xb3 => {
                    let n = self.be32()?;
                    self.take(n as usize)?;
                }
                _ => match fixed_width(code).ok_or(Error::Code(code))? {
                    // Elements without bytes make a count that nothing bounds.
                    0 => return Err(Error::Size),
                    width => {
                        self.take(width)?;
                    }
                },
            }
        }
        if self.is_empty() { Ok(()) } else { Err(Error::Size) }
    }
}

/// How many bytes follow the format codes of fixed width that the specification has.
fn fixed_width(code: u8) -> Option<usize> {
    match code {
        0x40..=0x45 => Some(0),
        0x50..=0x56 => Some(1),
        0x60 | 0x61 => Some(2),
        0x70..=0x74 => Some(4),
        0x80..=0x84 => Some(8),
        0x94 | 0x98 => Some(16),
        _ => None,
    }
}

/// Writes a uint in its shortest form.
pub fn put_uint(out: &mut impl BufMut, value: u32) {
    match u8::try_from(value) {
        Ok(0) => out.put_u8(0x43),
        Ok(small) => out.put_slice(&[0x52, small]),
        Err(_) => {
            out.put_u8(0x70);
            out.put_u32(value);
        }
    }
}

/// Writes a ulong in its shortest form.
pub fn put_ulong(out: &mut impl BufMut, value: u64) {
    match u8::try_from(value) {
        Ok(0) => out.put_u8(0x44),
        Ok(small) => out.put_slice(&[0x53, small]),
        Err(_) => {
            out.put_u8(0x80);
            out.put_u64(value);
        }
    }
}

/// Writes a boolean.
pub fn put_bool(out: &mut impl BufMut, value: bool) {
    out.put_u8(if value { 0x41 } else { 0x42 });
}

/// Writes a string in its shortest form.
pub fn put_str(out: &mut impl BufMut, text: &str) {
    put_variable(out, 0xa1, text.as_bytes());
}

/// Writes a symbol in its shortest form.
pub fn put_symbol(out: &mut impl BufMut, text: &str) {
    put_variable(out, 0xa3, text.as_bytes());
}

/// Text beyond 4 GB cannot come from anywhere: its length is cut, not checked.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn put_variable(out: &mut impl BufMut, code: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(n) => out.put_slice(&[code, n]),
        Err(_) => {
            out.put_u8(code | 0x10);
            out.put_u32(bytes.len() as u32);
        }
    }
    out.put_slice(bytes);
}

/// Writes `code` (`0xd0` list, `0xd1` map), size and count, then what `inside` writes.
///
/// The router writes compounds of messages with four bytes of size always, as `qd_compose` does.
#[expect(clippy::cast_possible_truncation, reason = "messages that the router makes are small")]
pub fn put_compound(
    out: &mut bytes::BytesMut,
    code: u8,
    count: u32,
    inside: impl FnOnce(&mut bytes::BytesMut),
) {
    out.put_u8(code);
    let at = out.len();
    out.put_u32(0);
    out.put_u32(count);
    inside(out);
    let size = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}
