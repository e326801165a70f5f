//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// A 48 bit Ethernet address, written `c6:d2:32:6f:8f:44`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that these random bytes make: of one station, and locally administered (IEEE 802,
    /// the two lowest bits of the first byte), so that it is nobody's from the factory.
    #[must_use]
    pub fn local(mut random: [u8; 6]) -> Self {
        random[0] = (random[0] | 0b10) & !0b1;
        Self(random)
    }

    /// Whether an interface can have it: it is not nought, and not of a group.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no Ethernet address, such as c6:d2:32:6f:8f:44")]
pub struct InvalidMac(String);

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(text.into());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(part.ok_or_else(invalid)?, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<&[u8]> for Mac {
    type Error = InvalidMac;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| InvalidMac(format!("{bytes:02x?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let mac = Mac([0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x04]);
        assert_eq!(mac.to_string(), "c6:d2:32:6f:8f:04");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("C6:D2:32:6F:8F:04".parse(), Ok(mac));
        for wrong in ["", "c6:d2:32:6f:8f", "c6:d2:32:6f:8f:44:00", "c6:d2:32:6f:8f:4", "c6:d2:32:6f:8f:+4"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_local_address_is_of_one_station() {
        for first in 0..=255 {
            let mac = Mac::local([first, 0, 0, 0, 0, 0]);
            assert!(mac.is_station());
            assert_eq!(mac.0[0] & 0b10, 0b10);
        }
        assert!(!Mac([1, 0, 0x5e, 0, 0, 1]).is_station());
        assert!(!Mac([0; 6]).is_station());
    }
}
