//! Times as Go writes them: `1.5s`, `500ms`, `1m30s`.

use std::str::FromStr;
use std::time::Duration;

/// A time (<https://pkg.go.dev/time#ParseDuration>), none below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GoDuration(pub(crate) Duration);

/// What is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no time as 1.5s, 500ms or 1m30s")]
pub(crate) struct NoDuration;

const UNITS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl FromStr for GoDuration {
    type Err = NoDuration;

    fn from_str(text: &str) -> Result<Self, NoDuration> {
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut seconds = 0.0;
        while !rest.is_empty() || rest == text {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(NoDuration)?;
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NoDuration)?;
            seconds += number.parse::<f64>().map_err(|_| NoDuration)? * factor;
            rest = after;
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| NoDuration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        let millis = |text: &str| text.parse::<GoDuration>().map(|duration| duration.0.as_millis());
        let good =
            [("0", 0), ("1.5s", 1500), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000), (".5s", 500)];
        for (text, expected) in good {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "1", "s", "1x", "-1s", "1s2", "1..5s", "99999999999999999999h"] {
            assert_eq!(millis(text), Err(NoDuration), "{text}");
        }
    }
}
