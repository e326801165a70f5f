//! "Did you mean …?"

/// The candidate nearest to `word`, if one is near enough to be a slip of the finger.
#[must_use]
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(word.len()) / 3).max(1))
        .min_by_key(|(distance, candidate)| {
            (*distance, std::cmp::Reverse(common(word, candidate)), *candidate)
        })
        .map(|(_, candidate)| candidate)
}

/// How many characters both begin with.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Levenshtein distance without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_leaves_strangers_alone() {
        assert_eq!(closest("wrkers", ["workers", "etcd"]), Some("workers"));
        assert_eq!(closest("c0w1", ["C0w1", "C0w2"]), Some("C0w1"));
        assert_eq!(closest("banana", ["workers", "etcd"]), None);
        assert_eq!(closest("C0s1", ["C0e1", "C0s0"]), Some("C0s0"));
        assert_eq!(closest("bogus", ["logs"]), None);
        assert_eq!(closest("x", []), None);
    }
}
