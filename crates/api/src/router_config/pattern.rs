//! Which address entity speaks of an address.
//!
//! Source: upstream `src/parse_tree.c` and the documentation of the address entity: an address is a row of
//! segments between `.` or `/`; an exact segment goes before `*`, and `*` before `#`.

use super::Config;
use super::model::{Address, Distribution, Pattern};

impl Config {
    /// How an address is distributed.
    #[must_use]
    pub fn distribution(&self, address: &str) -> Distribution {
        distribution(&self.addresses, address).unwrap_or(self.router.default_distribution)
    }
}

/// What the most exact of the entities says, if one speaks of the address.
#[must_use]
pub fn distribution(entities: &[Address], address: &str) -> Option<Distribution> {
    let segments: Vec<&str> = address.split(['.', '/']).collect();
    let ranked = entities.iter().filter_map(|entity| {
        let pattern = match &entity.pattern {
            Pattern::Prefix(prefix) => format!("{}/#", prefix.trim_end_matches(['.', '/'])),
            Pattern::Pattern(pattern) => pattern.clone(),
        };
        let pattern: Vec<&str> = pattern.split(['.', '/']).collect();
        fit(&pattern, &segments).map(|fit| (fit, entity.distribution))
    });
    // Of equals the first, as the router refuses the later one.
    ranked
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .map(|(_, distribution)| distribution)
}

/// How a segment was met, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Exactly,
    ByOne,
    ByAny,
}

/// How each segment is met by the pattern, in the best of its ways.
fn fit(pattern: &[&str], segments: &[&str]) -> Option<Vec<Met>> {
    let (first, rest) = match pattern.split_first() {
        None => return segments.is_empty().then(Vec::new),
        Some(split) => split,
    };
    let and_then = |met: Met, pattern: &[&str], segments: &[&str]| {
        let mut all = vec![met];
        all.extend(fit(pattern, segments)?);
        Some(all)
    };
    match (*first, segments.split_first()) {
        ("#", None) => fit(rest, segments),
        // Nothing more, or one segment and perhaps more.
        ("#", Some((_, after))) => {
            let none = fit(rest, segments);
            let some = and_then(Met::ByAny, pattern, after);
            none.into_iter().chain(some).min()
        }
        (_, None) => None,
        ("*", Some((_, after))) => and_then(Met::ByOne, rest, after),
        (exact, Some((segment, after))) if exact == *segment => and_then(Met::Exactly, rest, after),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(entities: &[(&str, Distribution)], address: &str) -> Option<Distribution> {
        let entities: Vec<_> = entities
            .iter()
            .map(|(pattern, distribution)| Address {
                name: String::new(),
                pattern: match pattern.strip_suffix("...") {
                    Some(prefix) => Pattern::Prefix(prefix.to_owned()),
                    None => Pattern::Pattern((*pattern).to_owned()),
                },
                distribution: *distribution,
                priority: None,
                more: BTreeMap::new(),
            })
            .collect();
        distribution(&entities, address)
    }

    use Distribution::{Balanced, Closest, Multicast};
    use std::collections::BTreeMap;

    #[test]
    fn a_prefix_is_the_address_itself_and_what_follows_a_separator() {
        let entities = [("mc...", Multicast)];
        for address in ["mc", "mc/a", "mc.a.b", "mc/"] {
            assert_eq!(said(&entities, address), Some(Multicast), "{address}");
        }
        for address in ["mca", "m", "x/mc", ""] {
            assert_eq!(said(&entities, address), None, "{address}");
        }
    }

    #[test]
    fn the_more_exact_pattern_wins_segment_by_segment() {
        let entities = [("#", Balanced), ("a/*/c", Multicast), ("a/b/#", Closest)];
        assert_eq!(said(&entities, "a/b/c"), Some(Closest));
        assert_eq!(said(&entities, "a.x.c"), Some(Multicast));
        assert_eq!(said(&entities, "a/x/d"), Some(Balanced));
        assert_eq!(said(&entities, "a/b"), Some(Closest));
        assert_eq!(said(&[("a/#/z", Closest)], "a/1/2/z"), Some(Closest));
        assert_eq!(said(&[("a/#/z", Closest)], "a/z"), Some(Closest));
        assert_eq!(said(&[("a/#/z", Closest)], "a/1/2"), None);
        assert_eq!(said(&[("a/*", Closest)], "a"), None);
    }
}
