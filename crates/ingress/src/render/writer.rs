//! Lines, and whose they are.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::Owner;
use crate::text::{self, Word};

/// A file in the making.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    /// Where the last directive begins.
    start: usize,
    depth: usize,
    /// For each line, the index of its owner.
    lines: Vec<Option<usize>>,
    owner: Option<usize>,
    owners: Vec<Owner>,
    known: BTreeMap<Owner, usize>,
}

impl Writer {
    /// From now on lines belong to this object.
    pub(super) fn owned_by(&mut self, owner: Option<&Owner>) {
        let index = |owner: &Owner| {
            *self.known.entry(owner.clone()).or_insert_with(|| {
                self.owners.push(owner.clone());
                self.owners.len() - 1
            })
        };
        self.owner = owner.map(index);
    }

    /// A directive.
    pub(super) fn put(&mut self, name: &'static str, words: impl IntoIterator<Item = Word>) {
        self.start(name, words);
        self.text.push(';');
        self.end();
    }

    /// A directive and a remark behind it, if there is one.
    pub(super) fn put_with_comment(
        &mut self,
        name: &'static str,
        words: impl IntoIterator<Item = Word>,
        comment: &str,
    ) {
        self.start(name, words);
        self.text.push(';');
        if !comment.is_empty() {
            let _ = write!(self.text, " # {}", text::comment(comment));
        }
        self.end();
    }

    /// A line of a map: a key and a value.
    pub(super) fn entry(&mut self, key: Word, value: Word) {
        self.indent();
        // Writing to a String does not fail.
        let _ = write!(self.text, "{key} {value};");
        self.end();
    }

    /// A directive with a block, up to [`Writer::close`].
    pub(super) fn open(&mut self, name: &'static str, words: impl IntoIterator<Item = Word>) {
        self.start(name, words);
        self.text.push_str(" {");
        self.end();
        self.depth += 1;
    }

    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.indent();
        self.text.push('}');
        self.end();
    }

    /// A remark on what follows.
    pub(super) fn comment(&mut self, text: &str) {
        self.indent();
        let _ = write!(self.text, "# {}", text::comment(text));
        self.end();
    }

    /// An empty line, but for the beginning of a block.
    pub(super) fn gap(&mut self) {
        if !self.text.ends_with("{\n") && !self.text.is_empty() {
            self.end();
        }
    }

    pub(super) fn finish(self) -> (String, Vec<Option<usize>>, Vec<Owner>) {
        (self.text, self.lines, self.owners)
    }

    fn start(&mut self, name: &'static str, words: impl IntoIterator<Item = Word>) {
        self.indent();
        self.text.push_str(name);
        for word in words {
            let _ = write!(self.text, " {word}");
        }
    }

    fn indent(&mut self) {
        (0..self.depth).for_each(|_| self.text.push_str("    "));
    }

    fn end(&mut self) {
        self.text.push('\n');
        // A word may have several lines, which nginx counts.
        let lines = self.text[self.start..].matches('\n').count();
        self.lines.extend(std::iter::repeat_n(self.owner, lines));
        self.start = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_within_words_belong_to_who_wrote_them() {
        let owner = |name: &str| Owner { kind: "Ingress", namespace: "n".into(), name: name.into() };
        let mut out = Writer::default();
        out.owned_by(Some(&owner("a")));
        out.put("set", [Word::variable("route"), Word::value("a\nb\nc")]);
        out.owned_by(Some(&owner("b")));
        out.put("return", [404u32.into()]);
        let (text, lines, owners) = out.finish();
        let named = lines.iter().map(|line| line.map(|index| owners[index].name.as_str()));
        let of_lines: Vec<_> = text.lines().zip(named.map(Option::unwrap_or_default)).collect();
        assert_eq!(of_lines, [("set $route \"a", "a"), ("b", "a"), ("c\";", "a"), ("return 404;", "b")]);
        assert_eq!(lines.len(), 4);
    }
}
