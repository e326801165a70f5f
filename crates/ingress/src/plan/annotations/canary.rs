//! Trying out another version: a second Ingress for the same host and path.

use super::reader::Reader;
use crate::model::{Choice, Subject, Test};
use crate::text;

/// Who gets the other version. A header decides first, then a cookie, then chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Canary {
    /// The header's name and what makes its sender one who gets it: a text or a regular expression. Without
    /// either `always` and `never` do.
    header: Option<(String, Option<Test>)>,
    /// `always` and `never`.
    cookie: Option<String>,
    /// How many of how many.
    weight: (u32, u32),
}

pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Canary> {
    const MOST: u32 = 1_000_000;
    let is_canary = reader.boolean("canary").unwrap_or(false);
    let is_header = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let header = reader.text_if(
        "canary-by-header",
        is_header,
        "must be a header's name of letters, digits and dashes",
    );
    let value = reader.text("canary-by-header-value").map(Test::Is);
    let is_pattern = |pattern: &str| text::refusal_of_pattern(pattern).is_none();
    let why = "must be a regular expression without named groups";
    let pattern = reader.text_if("canary-by-header-pattern", is_pattern, why).map(Test::Matches);
    let is_cookie = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let cookie = reader.text_if("canary-by-cookie", is_cookie, "must be a cookie's name");
    let total = reader.number("canary-weight-total", 1, MOST).unwrap_or(100);
    let weight = reader.number("canary-weight", 0, total).unwrap_or(0);
    is_canary.then(|| Canary {
        header: header.map(|name| (name, value.or(pattern))),
        cookie,
        weight: (weight, total),
    })
}

impl Canary {
    /// The choice between what there was and the other version.
    pub(in crate::plan) fn choose(&self, main: &Choice, other: &Choice) -> Choice {
        let always_or_never = |on: Subject, otherwise: Choice| Choice::Match {
            on,
            arms: vec![(Test::Is("always".into()), other.clone()), (Test::Is("never".into()), main.clone())],
            otherwise: Box::new(otherwise),
        };
        let mut choice = match self.weight {
            (0, _) => main.clone(),
            (weight, total) if weight == total => other.clone(),
            (weight, total) => Choice::Split(vec![(total - weight, main.clone()), (weight, other.clone())]),
        };
        if let Some(cookie) = &self.cookie {
            choice = always_or_never(Subject::Cookie(cookie.clone()), choice);
        }
        match &self.header {
            None => choice,
            Some((name, None)) => always_or_never(Subject::Header(name.clone()), choice),
            Some((name, Some(test))) => Choice::Match {
                on: Subject::Header(name.clone()),
                arms: vec![(test.clone(), other.clone())],
                otherwise: Box::new(choice),
            },
        }
    }
}
