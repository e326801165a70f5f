//! To whom a request goes, and under which conditions: maps, which nginx looks at when it needs their
//! value.

use std::collections::BTreeMap;

use super::writer::Writer;
use crate::model::{Choice, Condition, Subject, Test};
use crate::text::{Part, Word, literal};

/// Names of variables and locations that are not taken yet.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, u32>);

impl Names {
    /// A name of letters, digits and underscores that reminds of `text`.
    pub(super) fn take(&mut self, kind: &str, text: &str) -> String {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let text = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
        let short: String = text.chars().take(100).collect();
        let name = format!("{kind}_{}", short.trim_end_matches('_'));
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        // Two underscores stand in no other name.
        if *count == 1 { name } else { format!("{name}__{count}") }
    }
}

/// Where a request goes: as a word it stands behind `proxy_pass http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Always the same.
    Fixed(String),
    /// What this variable has.
    Variable(String),
    /// Nobody: this status.
    Nobody(u16),
}

/// The word for nobody, among the values of a variable.
pub(super) fn nobody(status: u16) -> String {
    format!("nobody-{status}")
}

/// Writes the maps of a choice.
pub(super) fn choose(out: &mut Writer, names: &mut Names, about: &str, choice: &Choice) -> Target {
    match choice {
        Choice::Upstream(name) | Choice::Address(name) => Target::Fixed(name.clone()),
        Choice::Nobody(status, _) => Target::Nobody(*status),
        // A name is found anew every few seconds only if it stands in a variable.
        Choice::Name(name) => {
            let variable = names.take("name", about);
            out.open("map", [Word::plain("\"\""), Word::variable(&variable)]);
            out.entry("default".into(), Word::value(name));
            out.close();
            Target::Variable(variable)
        }
        Choice::Split(parts) => split(out, names, about, parts),
        Choice::Match { on, arms, otherwise } => {
            let otherwise = choose(out, names, about, otherwise);
            let arms: Vec<_> =
                arms.iter().map(|(test, choice)| (test, choose(out, names, about, choice))).collect();
            let variable = names.take("to", about);
            out.open("map", [Word::variable(&variable_of(on)), Word::variable(&variable)]);
            out.entry("default".into(), value(&otherwise));
            for (test, target) in arms {
                out.entry(key(on, test), value(&target));
            }
            out.close();
            Target::Variable(variable)
        }
    }
}

fn value(target: &Target) -> Word {
    match target {
        Target::Fixed(name) => Word::value(name),
        Target::Variable(name) => Word::variable(name),
        Target::Nobody(status) => Word::text(&nobody(*status)),
    }
}

/// By chance, in hundredths of a percent. The request's own number is the die.
fn split(out: &mut Writer, names: &mut Names, about: &str, parts: &[(u32, Choice)]) -> Target {
    const WHOLE: u64 = 10_000;
    let parts: Vec<_> = parts.iter().filter(|(weight, _)| *weight > 0).collect();
    let sum: u64 = parts.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let Some((last, rest)) = parts.split_last() else { return Target::Nobody(500) };
    if rest.is_empty() {
        return choose(out, names, about, &last.1);
    }
    let targets: Vec<_> = parts.iter().map(|(_, choice)| choose(out, names, about, choice)).collect();
    // Shares have plain values only; where one is a variable, a map leads from its number to it.
    let plain: Option<Vec<String>> = targets.iter().map(Target::plain).collect();
    let values = plain.clone().unwrap_or_else(|| (0..targets.len()).map(|i| i.to_string()).collect());
    let variable = names.take("share", about);
    out.open("split_clients", [Word::variable("request_id"), Word::variable(&variable)]);
    for ((weight, _), value) in rest.iter().zip(&values) {
        let share = u64::from(*weight) * WHOLE / sum;
        // nginx takes no share of nothing.
        if share > 0 {
            out.entry(Word::text(&format!("{}.{:02}%", share / 100, share % 100)), Word::text(value));
        }
    }
    out.entry("*".into(), Word::text(values.last().map(String::as_str).unwrap_or_default()));
    out.close();
    if plain.is_some() {
        return Target::Variable(variable);
    }
    let by_number = names.take("to", about);
    out.open("map", [Word::variable(&variable), Word::variable(&by_number)]);
    for (number, target) in values.iter().zip(&targets) {
        out.entry(Word::text(number), value(target));
    }
    out.close();
    Target::Variable(by_number)
}

impl Target {
    /// Its name, if it is no variable.
    fn plain(&self) -> Option<String> {
        match self {
            Self::Fixed(name) => Some(name.clone()),
            Self::Nobody(status) => Some(nobody(*status)),
            Self::Variable(_) => None,
        }
    }
}

/// The variable that has what is looked at, or that in which it stands.
fn variable_of(subject: &Subject) -> String {
    match subject {
        Subject::Header(name) => format!("http_{}", name.to_ascii_lowercase().replace('-', "_")),
        Subject::Cookie(_) => "http_cookie".into(),
        Subject::Query(_) => "args".into(),
        Subject::Method => "request_method".into(),
    }
}

/// The test as a key of a map. Always a regular expression: nginx compares texts in any case of letters.
fn key(subject: &Subject, test: &Test) -> Word {
    let pattern = match (subject, test) {
        (Subject::Header(_) | Subject::Method, Test::Is(text)) => format!("~^{}$", literal(text)),
        (Subject::Header(_) | Subject::Method, Test::Matches(pattern)) => format!("~{pattern}"),
        (Subject::Cookie(name), Test::Is(text)) => {
            format!("~(?:^|; *){}={}(?:;|$)", literal(name), literal(text))
        }
        (Subject::Cookie(name), Test::Matches(pattern)) => {
            format!("~(?:^|; *){}=(?:{pattern})(?:;|$)", literal(name))
        }
        (Subject::Query(name), Test::Is(text)) => {
            format!("~(?:^|&){}={}(?:&|$)", literal(name), literal(text))
        }
        (Subject::Query(name), Test::Matches(pattern)) => {
            format!("~(?:^|&){}=(?:{pattern})(?:&|$)", literal(name))
        }
    };
    Word::text(&pattern)
}

/// Writes the maps by which a location finds the first of several cases whose conditions are met. The
/// variable has the name of the case's location, out of `cases`, or `otherwise`.
pub(super) fn first_of(
    out: &mut Writer,
    names: &mut Names,
    about: &str,
    cases: &[(&[Condition], String)],
    otherwise: &str,
) -> String {
    let mut all: Vec<&Condition> = cases.iter().flat_map(|(when, _)| when.iter()).collect();
    all.sort();
    all.dedup();
    let mut variables = Vec::new();
    for condition in &all {
        let variable = names.take("meets", about);
        let looked_at = Word::variable(&variable_of(&condition.subject));
        out.open("map", [looked_at, Word::variable(&variable)]);
        out.entry("default".into(), 0u32.into());
        out.entry(key(&condition.subject, &condition.test), 1u32.into());
        out.close();
        variables.push(variable);
    }
    let variable = names.take("case", about);
    let parts: Vec<_> = variables.iter().map(|name| Part::Variable(name)).collect();
    let together = if parts.is_empty() { Word::text("") } else { Word::of(&parts) };
    out.open("map", [together, Word::variable(&variable)]);
    let always = cases.iter().find(|(when, _)| when.is_empty());
    out.entry("default".into(), Word::text(always.map_or(otherwise, |(_, name)| name)));
    for (when, name) in cases.iter().take_while(|(when, _)| !when.is_empty()) {
        let bit = |condition: &&Condition| if when.contains(condition) { '1' } else { '.' };
        let pattern: String = all.iter().map(bit).collect();
        out.entry(Word::text(&format!("~^{pattern}$")), Word::text(name));
    }
    out.close();
    variable
}

/// The variable by which clients with this cookie are told apart.
pub(super) fn cookie_key(cookie: &str) -> String {
    format!("key_{}", hex(cookie))
}

/// The variable with the cookie's value for clients that have none yet.
pub(super) fn new_cookie(cookie: &str) -> String {
    format!("new_{}", hex(cookie))
}

/// The maps of a cookie that binds clients to endpoints.
pub(super) fn cookie(out: &mut Writer, cookie: &str) {
    let pattern = format!("~(?:^|; *){}=(?<found>[0-9a-f]+)(?:;|$)", literal(cookie));
    out.open("map", [Word::variable("http_cookie"), Word::variable(&cookie_key(cookie))]);
    out.entry("default".into(), Word::variable("request_id"));
    out.entry(Word::text(&pattern), Word::variable("found"));
    out.close();
    let given = format!("~(?:^|; *){}=[0-9a-f]+(?:;|$)", literal(cookie));
    out.open("map", [Word::variable("http_cookie"), Word::variable(&new_cookie(cookie))]);
    out.entry("default".into(), Word::variable("request_id"));
    out.entry(Word::text(&given), Word::text(""));
    out.close();
}

/// A name of small letters, digits and underscores that no other text has.
pub(super) fn hex(text: &str) -> String {
    spelt(text, "")
}

/// A name of a limit's memory, as nginx reads it up to a colon.
pub(super) fn zone(text: &str) -> String {
    spelt(text, "-.")
}

fn spelt(text: &str, more: &str) -> String {
    let letter = |b: u8| match b {
        // nginx does not tell capital letters from small ones.
        b'a'..=b'z' | b'0'..=b'9' => char::from(b).to_string(),
        b if more.contains(char::from(b)) => char::from(b).to_string(),
        b => format!("_{b:02x}"),
    };
    text.bytes().map(letter).collect()
}
