//! How long ago something was, in two units at most.
//!
//! Source: apimachinery `pkg/util/duration/duration.go` (`HumanDuration`).

use api::types::apimachinery::pkg::apis::meta::v1::Time;

/// `5m10s`, `3h`, `2d4h`: how long before `now`; `<unknown>` where that is not known.
#[must_use]
pub fn since(then: Option<&Time>, now: &Time) -> String {
    then.map_or("<unknown>".into(), |then| duration(now.0.duration_since(then.0).as_secs()))
}

/// As `kubectl get` shows a time of that many seconds.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let two = |whole: i64, unit: &str, rest: i64, part: &str| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{part}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        // Clocks differ a little.
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        let table = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (36_000, "10h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (187_200, "2d4h"),
            (864_000, "10d"),
            (63_072_000, "2y"),
            (70_000_000, "2y80d"),
            (315_360_000, "10y"),
        ];
        for (seconds, expected) in table {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
        assert_eq!(since(None, &api::time::now()), "<unknown>");
    }
}
