//! Where in a configuration file its entities and their attributes stand.
//!
//! The JSON reader tells where text stops being JSON, not where a well-formed value came from. This finds
//! the places again, in text that is already known to be JSON.

use std::fmt;

/// A place in a file; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as it was given.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where one element of the outer list begins, and its attributes' names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Entry {
    /// Offset in bytes.
    pub(super) start: usize,
    /// Names in the file's order with their offsets; one that is given twice is there twice.
    pub(super) keys: Vec<(String, usize)>,
}

/// The elements of the list that `text` is.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let bytes = text.as_bytes();
    let mut found: Vec<Entry> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    // Whether the next thing is an element of the outer list.
    let mut next_is_entry = false;
    while let Some(&byte) = bytes.get(at) {
        if next_is_entry && !byte.is_ascii_whitespace() && byte != b']' {
            found.push(Entry { start: at, keys: Vec::new() });
            next_is_entry = false;
        }
        match byte {
            b'[' | b'{' => {
                depth += 1;
                next_is_entry = depth == 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => next_is_entry = depth == 1,
            b'"' => {
                let end = string_end(bytes, at);
                // [ [type, { "name": …
                if depth == 3
                    && is_key(bytes, end)
                    && let Some(entry) = found.last_mut()
                {
                    let name = text.get(at..end).and_then(|quoted| serde_json::from_str(quoted).ok());
                    entry.keys.push((name.unwrap_or_default(), at));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The offset after the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_key(bytes: &[u8], end: usize) -> bool {
    bytes.iter().skip(end).find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// The place of an offset.
pub(super) fn place(file: &str, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_elements_and_keys_and_is_not_misled_by_strings_or_nesting() {
        let text =
            "[\n  [\"a,[\", {\"k\\\"1\": \"v:\", \"k2\" : {\"inner\": 1}}],\n  7, [\"b\", {\"é\": [1, 2]}]]";
        let entries = entries(text);
        let starts: Vec<_> = entries.iter().map(|entry| place("f", text, entry.start).to_string()).collect();
        assert_eq!(starts, ["f:2:3", "f:3:3", "f:3:6"]);
        let keys: Vec<Vec<_>> =
            entries.iter().map(|entry| entry.keys.iter().map(|(key, _)| key.as_str()).collect()).collect();
        assert_eq!(keys, [vec!["k\"1", "k2"], vec![], vec!["é"]]);
        assert!(super::entries("[]").is_empty());
        assert!(super::entries("[ \n ]").is_empty());
    }
}
