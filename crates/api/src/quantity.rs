//! Amounts of resources: `500m`, `1.5Gi`, `2e3`.
//!
//! Source: apimachinery `pkg/api/resource/quantity.go`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANOS: i128 = 1_000_000_000;

/// An amount that can be compared and added, exact to a billionth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

/// Not an amount, in apimachinery's words (`ErrFormatWrong`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct Malformed;

impl Amount {
    /// Reads a quantity.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(quantity: &Quantity) -> Result<Self, Malformed> {
        let text = quantity.0.as_str();
        let at = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(at);
        let (mantissa, digits) = decimal(number)?;
        let (factor, scale) = suffix_factor(suffix)?;
        // mantissa / 10^digits * factor * 10^scale, in billionths.
        let exponent = scale - i32::try_from(digits).map_err(|_| Malformed)? + 9;
        let scaled = mantissa.checked_mul(factor).ok_or(Malformed)?;
        Ok(Self(shift(scaled, exponent)))
    }

    /// In whole units, rounded up (`Quantity.Value`).
    #[must_use]
    pub fn units(self) -> i64 {
        saturate(ceil(self.0, NANOS))
    }

    /// In thousandths, rounded up (`Quantity.MilliValue`); for processors.
    #[must_use]
    pub fn millis(self) -> i64 {
        saturate(ceil(self.0, NANOS / 1000))
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl std::ops::Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |sum, amount| sum + amount)
    }
}

/// The digits without the point, and how many stand behind it.
fn decimal(text: &str) -> Result<(i128, usize), Malformed> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    let mantissa: i128 = digits.parse().map_err(|_| Malformed)?;
    Ok((if text.starts_with('-') { -mantissa } else { mantissa }, part.len()))
}

/// A factor and a power of ten.
fn suffix_factor(suffix: &str) -> Result<(i128, i32), Malformed> {
    let binary = |power: u32| (1i128 << (10 * power), 0);
    Ok(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(Malformed)?;
            let exponent: i32 = exponent.parse().map_err(|_| Malformed)?;
            (1, exponent.clamp(-100, 100))
        }
    })
}

/// Times a power of ten; rounds up, and stays at the bounds.
fn shift(value: i128, exponent: i32) -> i128 {
    let power = 10i128.checked_pow(exponent.unsigned_abs());
    match (power, exponent >= 0) {
        (Some(power), true) => value.saturating_mul(power),
        (Some(power), false) => ceil(value, power),
        (None, true) => value.signum() * i128::MAX,
        (None, false) => i128::from(value > 0),
    }
}

fn ceil(value: i128, by: i128) -> i128 {
    let whole = value.div_euclid(by);
    if value.rem_euclid(by) == 0 { whole } else { whole + 1 }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Result<Amount, Malformed> {
        Amount::parse(&Quantity(text.into()))
    }

    #[test]
    fn amounts_are_read_as_apimachinery_reads_them() {
        let table = [
            ("1", 1, 1000),
            ("500m", 1, 500),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("2.", 2, 2000),
            ("1Ki", 1024, 1_024_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("2e3", 2000, 2_000_000),
            ("1E-3", 1, 1),
            ("-1", -1, -1000),
            ("+3k", 3000, 3_000_000),
            ("1n", 1, 1),
            ("9E", 9_000_000_000_000_000_000, i64::MAX),
            ("1e99", i64::MAX, i64::MAX),
            ("0", 0, 0),
        ];
        for (text, units, millis) in table {
            let amount = amount(text).unwrap();
            assert_eq!((amount.units(), amount.millis()), (units, millis), "{text}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in ["", "a", "1.2.3", "1 Gi", "1gi", "1KiB", "e3", "--1", "1e", "1-", "."] {
            assert_eq!(amount(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn amounts_can_be_compared_and_added() {
        assert!(amount("1").unwrap() > amount("999m").unwrap());
        assert_eq!(amount("1Gi").unwrap(), amount("1024Mi").unwrap());
        let sum: Amount = ["250m", "0.75"].into_iter().map(|text| amount(text).unwrap()).sum();
        assert_eq!(sum, amount("1").unwrap());
        assert!(amount("-1m").unwrap().is_negative());
    }
}
