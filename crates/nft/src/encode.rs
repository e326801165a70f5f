//! Netlink messages of nftables, put together.

use crate::message::Attributes;

/// What an attribute's type has set when there are attributes in it (`NLA_F_NESTED`).
pub(crate) const NESTED: u16 = 0x8000;

/// Attributes, one after the other. Numbers are in network byte order, as everywhere in nftables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// One that need not grow up to so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.header(kind, value.len());
        self.0.extend(value);
        self.pad()
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Text, with the zero byte that ends it.
    pub(crate) fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        self.header(kind, value.len() + 1);
        self.0.extend(value.as_bytes());
        self.0.push(0);
        self.pad()
    }

    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.0.len();
        self.header(kind | NESTED, 0);
        inner(self);
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// A comment as the programs of nftables keep it: type 0 for every object, length, text, zero byte
    /// (`libnftnl/udata.h`).
    pub(crate) fn user_data(&mut self, kind: u16, comment: &str) -> &mut Self {
        self.header(kind, comment.len() + 3);
        self.0.extend([0, (comment.len() + 1) as u8]);
        self.0.extend(comment.as_bytes());
        self.0.push(0);
        self.pad()
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Attributes that are encoded already.
    pub(crate) fn append(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend(encoded);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn header(&mut self, kind: u16, length: usize) {
        self.0.extend(((length + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
    }

    fn pad(&mut self) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// Whether `theirs` has all that `ours` has. The kernel adds attributes of its own to what it was given,
/// as the defaults of what was left out.
pub(crate) fn covers(ours: &[u8], theirs: &[u8]) -> bool {
    raw(ours).all(|(kind, value)| match Attributes(theirs).get(kind & !NESTED) {
        Some(other) if kind & NESTED != 0 => covers(value, other),
        other => other == Some(value),
    })
}

/// As [`Attributes`], but with the flags of the types.
pub(crate) fn raw(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let kinds = {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (length, kind) = (rest.first_chunk::<2>()?, rest.get(2..)?.first_chunk::<2>()?);
            let length = usize::from(u16::from_ne_bytes(*length));
            rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
            Some(u16::from_ne_bytes(*kind))
        })
    };
    kinds.zip(Attributes(bytes)).map(|(kind, (_, value))| (kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_taken_apart() {
        let mut encoder = Encoder::default();
        encoder.string(1, "loss").u32(2, 7).nest(3, |inner| {
            inner.u64(1, 9).bytes(2, b"abc");
        });
        let bytes = encoder.finish();
        assert_eq!(bytes.len() % 4, 0);
        let all = Attributes(&bytes);
        assert_eq!((all.string(1).as_deref(), all.u32(2)), (Some("loss"), Some(7)));
        assert_eq!((all.nest(3).u64(1), all.nest(3).get(2)), (Some(9), Some(&b"abc"[..])));
        let flags: Vec<_> = raw(&bytes).map(|(kind, _)| kind & NESTED != 0).collect();
        assert_eq!(flags, [false, false, true]);
    }

    #[test]
    fn what_the_kernel_adds_does_no_harm_but_what_it_lacks_or_has_otherwise_does() {
        let of = |value, extra: bool, nested_extra: bool| {
            let mut encoder = Encoder::default();
            if extra {
                encoder.u32(9, 1);
            }
            encoder.nest(1, |inner| {
                inner.u32(1, value);
                if nested_extra {
                    inner.u32(2, 0);
                }
            });
            encoder.finish()
        };
        assert!(covers(&of(5, false, false), &of(5, true, true)));
        assert!(!covers(&of(5, true, false), &of(5, false, true)));
        assert!(!covers(&of(5, false, true), &of(5, true, false)));
        assert!(!covers(&of(5, false, false), &of(6, false, false)));
        assert!(!covers(&of(5, false, false), &[]));
    }
}
