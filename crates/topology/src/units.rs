//! The figures of a link, written as `tc(8)` writes them, and times.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A figure that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct UnitError {
    value: String,
    expected: &'static str,
}

const RATE: &str = "a rate: a number with bit, kbit, mbit or gbit, as 10mbit";
const LOSS: &str = "a loss: a percentage from 0% to 100%, as 5%";
const DELAY: &str = "a delay: a number with us, ms or s, at most 60s, as 20ms";
const GRACE: &str = "a grace period: a number with ms, s or m, 1s to 60m, as 50s";

/// Bits per second; at least one byte per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

/// A share of packets, in hundredths of a per cent: 0 to 10000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss(u16);

/// A one-way delay, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(u64);

/// How long a node may be silent, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(u64);

impl Grace {
    /// As kube-controller-manager's `--node-monitor-grace-period` since 1.32.
    pub const DEFAULT: Self = Self(50_000);

    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Rate {
    /// Bits per second.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl Loss {
    /// Per cent, 0.0 to 100.0.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Delay {
    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

/// Splits `10mbit` into 10 and `mbit`; no negative, infinite or empty numbers.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

fn refuse(value: &str, expected: &'static str) -> UnitError {
    UnitError { value: value.into(), expected }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| refuse(text, RATE))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            _ => return Err(refuse(text, RATE)),
        };
        let bits = (number * factor).round();
        if (8.0..=1e12).contains(&bits) { Ok(Self(bits as u64)) } else { Err(refuse(text, RATE)) }
    }
}

impl FromStr for Loss {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match split(text) {
            Some((number, "%")) if number <= 100.0 => Ok(Self((number * 100.0).round() as u16)),
            _ => Err(refuse(text, LOSS)),
        }
    }
}

impl FromStr for Delay {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| refuse(text, DELAY))?;
        let factor = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(refuse(text, DELAY)),
        };
        let micros = (number * factor).round();
        if micros <= 60e6 { Ok(Self(micros as u64)) } else { Err(refuse(text, DELAY)) }
    }
}

impl FromStr for Grace {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or_else(|| refuse(text, GRACE))?;
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            _ => return Err(refuse(text, GRACE)),
        };
        let millis = (number * factor).round();
        if (1e3..=3600e3).contains(&millis) { Ok(Self(millis as u64)) } else { Err(refuse(text, GRACE)) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, unit) = match self.0 {
            1_000_000_000.. => (1e9, "gbit"),
            1_000_000.. => (1e6, "mbit"),
            1_000.. => (1e3, "kbit"),
            _ => (1.0, "bit"),
        };
        write!(f, "{}{unit}", self.0 as f64 / divisor)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, unit) = match self.0 {
            1_000_000.. => (1e6, "s"),
            1_000.. => (1e3, "ms"),
            _ => (1.0, "us"),
        };
        write!(f, "{}{unit}", self.0 as f64 / divisor)
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0 as f64 / 1e3)
    }
}

macro_rules! as_text {
    ($($unit:ty),*) => {$(
        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_text!(Rate, Loss, Delay, Grace);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_tc_reads() {
        assert_eq!("10mbit".parse::<Rate>().unwrap().bits(), 10_000_000);
        assert_eq!("1.5Gbit".parse::<Rate>().unwrap().bits(), 1_500_000_000);
        assert_eq!("0.5%".parse::<Loss>().unwrap().percent(), 0.5);
        assert_eq!("20ms".parse::<Delay>().unwrap().duration(), Duration::from_millis(20));
        assert_eq!("1.5m".parse::<Grace>().unwrap().duration(), Duration::from_secs(90));
        assert_eq!("0ms".parse::<Delay>().unwrap().duration(), Duration::ZERO);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for bad in ["", "10", "mbit", "-1mbit", "0mbit", "10mb", "1e3mbit", "inf", "9999999gbit"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        for bad in ["5", "101%", "-1%", "%", "NaN%"] {
            assert!(bad.parse::<Loss>().is_err(), "{bad}");
        }
        for bad in ["20", "20m", "61s", "-1ms"] {
            assert!(bad.parse::<Delay>().is_err(), "{bad}");
        }
        for bad in ["40", "999ms", "0s", "61m", "1h", "-5s"] {
            assert!(bad.parse::<Grace>().is_err(), "{bad}");
        }
        assert_eq!(
            "5".parse::<Loss>().unwrap_err().to_string(),
            "\"5\" is not a loss: a percentage from 0% to 100%, as 5%"
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(rate in 8u64..1_000_000_000_000, loss in 0u16..=10000, delay in 0u64..=60_000_000, grace in 1_000u64..=3_600_000) {
            prop_assert_eq!(Rate(rate).to_string().parse(), Ok(Rate(rate)));
            prop_assert_eq!(Loss(loss).to_string().parse(), Ok(Loss(loss)));
            prop_assert_eq!(Delay(delay).to_string().parse(), Ok(Delay(delay)));
            prop_assert_eq!(Grace(grace).to_string().parse(), Ok(Grace(grace)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,12}") {
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Loss>();
            let _ = text.parse::<Delay>();
            let _ = text.parse::<Grace>();
        }
    }
}
