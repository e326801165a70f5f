//! Words of nginx's configuration. Text of users becomes a [`Word`] or it does not get into the file.
//!
//! Source: nginx `src/core/ngx_conf_file.c` (`ngx_conf_read_token`): a word ends at blanks, `;` and `{`
//! unless it is quoted; in quotes `\` escapes quotes and itself; no word has more than 4096 bytes. Most
//! directives look for variables in a word, quoted or not, and there is no escape for `$`: it is written as
//! a variable of that value.

use std::fmt::{self, Write};

/// The variable whose value is `$`.
pub(crate) const DOLLAR: &str = "dollar";
/// As many bytes has a word at most, quotes and escapes counted; nginx takes 4096.
const MOST: usize = 3800;

/// A word, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(String);

/// A piece of a word that has variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text, to be taken as it is.
    Text(&'a str),
    /// A variable's value.
    Variable(&'a str),
}

impl Word {
    /// Words that this crate knows, as they are.
    pub(crate) fn plain(text: &'static str) -> Self {
        Self(text.into())
    }

    /// Text for a place where `$` has no meaning, as a location's path or a regular expression.
    pub(crate) fn text(text: &str) -> Self {
        Self(quoted(text))
    }

    /// Text for a place where variables are looked for.
    pub(crate) fn value(text: &str) -> Self {
        Self::of(&[Part::Text(text)])
    }

    /// A variable.
    pub(crate) fn variable(name: &str) -> Self {
        Self::of(&[Part::Variable(name)])
    }

    /// A condition: whether a variable has a value, which is a word of letters, digits and dashes.
    pub(crate) fn condition(variable: &str, value: &str) -> Self {
        let value = value.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
        Self(format!("(${variable} = {value})"))
    }

    /// Text and variables in one word.
    pub(crate) fn of(parts: &[Part<'_>]) -> Self {
        let mut text = String::new();
        for (i, part) in parts.iter().enumerate() {
            match part {
                Part::Text(part) => text.push_str(&part.replace('$', &format!("${{{DOLLAR}}}"))),
                // Braces only where the next piece would be taken for a part of the name.
                // A capture has one digit and takes no braces.
                Part::Variable(name) if !is_capture(name) && joins(parts.get(i + 1)) => {
                    let _ = write!(text, "${{{name}}}");
                }
                Part::Variable(name) => {
                    let _ = write!(text, "${name}");
                }
            }
        }
        Self(quoted(&text))
    }
}

fn is_capture(name: &str) -> bool {
    name.len() == 1 && name.as_bytes()[0].is_ascii_digit()
}

fn joins(next: Option<&Part<'_>>) -> bool {
    match next {
        Some(Part::Text(text)) => text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'),
        _ => false,
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Word {
    fn from(text: &'static str) -> Self {
        Self::plain(text)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for Word {
            fn from(number: $number) -> Self {
                Self(number.to_string())
            }
        }
    )*};
}

numbers! { u16 u32 u64 }

fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-:*@=$[],%+".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.into();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Text of users for a comment: in one line, and not too long.
pub(crate) fn comment(text: &str) -> String {
    const LONGEST: usize = 200;
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut comment: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        comment.push('…');
    }
    comment
}

/// Why a text of a user cannot be in the file, if it cannot.
pub(crate) fn refusal(text: &str) -> Option<&'static str> {
    if text.contains(char::is_control) {
        return Some("it has a control character");
    }
    let dollars = text.matches('$').count() * DOLLAR.len();
    let escapes = text.matches(['"', '\\', '$']).count() * 3;
    (text.len() + dollars + escapes > MOST).then_some("it is too long")
}

/// Why a regular expression of a user cannot be in the file, if it cannot. A named group is a variable of the whole
/// file, and empties the one of that name on which others rely.
pub(crate) fn refusal_of_pattern(pattern: &str) -> Option<&'static str> {
    let named = ["(?<", "(?P<", "(?'"].iter().any(|open| {
        let mut found = pattern.match_indices(open);
        found.any(|(at, _)| !["(?<=", "(?<!"].iter().any(|look| pattern[at..].starts_with(look)))
    });
    if named { Some("it has a named group") } else { refusal(pattern) }
}

/// Text as a part of a regular expression that means this very text (pcre2pattern(3)).
pub(crate) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"/_-".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_have_to_be() {
        let table = [
            ("/foo", "/foo"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a;b", "\"a;b\""),
            ("{", "\"{\""),
            ("#a", "\"#a\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("^/a(/|$)", "\"^/a(/|$)\""),
            ("ä", "\"ä\""),
        ];
        for (text, word) in table {
            assert_eq!(Word::text(text).to_string(), word, "{text}");
        }
    }

    #[test]
    fn dollars_of_users_are_no_variables() {
        assert_eq!(Word::value("a$host").to_string(), "\"a${dollar}host\"");
        let parts = [Part::Text("https://"), Part::Variable("host"), Part::Text("a$"), Part::Variable("uri")];
        assert_eq!(Word::of(&parts).to_string(), "\"https://${host}a${dollar}$uri\"");
        assert_eq!(Word::variable("host").to_string(), "$host");
        assert_eq!(Word::of(&[Part::Variable("1"), Part::Text("foo")]).to_string(), "$1foo");
        assert_eq!(Word::of(&[Part::Variable("host"), Part::Text("foo")]).to_string(), "\"${host}foo\"");
    }

    #[test]
    fn what_nginx_could_not_read_is_refused() {
        assert_eq!(refusal("/a b\"c"), None);
        assert_eq!(refusal("a\nb"), Some("it has a control character"));
        for part in ["a", "$", "\"", "\\"] {
            let long = part.repeat(MOST + 1);
            let at_most = (0..=MOST).rev().find(|n| refusal(&long[..*n]).is_none()).unwrap();
            assert!(Word::value(&long[..at_most]).to_string().len() < 4096, "{part}");
            assert_eq!(refusal(&long[..=at_most]), Some("it is too long"));
        }
    }

    #[test]
    fn patterns_name_no_variables() {
        for pattern in ["/(?<dollar>a)", "/(?P<dollar>a)", "/(?'dollar'a)", "/(?<=a)(?<x>b)"] {
            assert_eq!(refusal_of_pattern(pattern), Some("it has a named group"), "{pattern}");
        }
        for pattern in ["/a(b|c)(?:d)", "/(?<=a)b(?<!c)", "/(?i)a"] {
            assert_eq!(refusal_of_pattern(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn comments_stay_in_their_line() {
        assert_eq!(comment("/a\n}\r\u{7f}"), "/a?}??");
        assert_eq!(comment(&"a".repeat(300)).chars().count(), 201);
    }

    #[test]
    fn a_literal_has_nothing_special() {
        assert_eq!(literal("a.b*[c]$ d/e-f"), "a\\.b\\*\\[c\\]\\$\\ d/e-f");
    }
}
