//! From entries to what is shown.

use jiff::Timestamp;
use runtime::crilog::parse_line;

use super::Options;

/// Takes a log's bytes as they come, gives text.
#[derive(Debug)]
pub(super) struct Show {
    since: Option<Timestamp>,
    timestamps: bool,
    /// Bytes that may still be given.
    left: Option<u64>,
    /// The beginning of an entry.
    begun: Vec<u8>,
    /// The last entry goes on in the next.
    within_line: bool,
}

impl Show {
    pub(super) fn new(options: &Options) -> Self {
        let (since, timestamps, left) = (options.since, options.timestamps, options.limit_bytes);
        Self { since, timestamps, left, begun: Vec::new(), within_line: false }
    }

    /// Whether nothing more may be given.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !piece.ends_with(b"\n") {
                self.begun.extend_from_slice(piece);
            } else if self.begun.is_empty() {
                self.entry(piece, out);
            } else {
                self.begun.extend_from_slice(piece);
                let whole = std::mem::take(&mut self.begun);
                self.entry(&whole, out);
            }
        }
        self.limit(before, out);
    }

    /// The file has come to its end, perhaps within an entry. With `whole_lines`, what follows begins a
    /// new line.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, whole_lines: bool) {
        let before = out.len();
        let rest = std::mem::take(&mut self.begun);
        if !rest.is_empty() {
            self.entry(&rest, out);
        }
        if whole_lines && std::mem::take(&mut self.within_line) {
            out.push(b'\n');
        }
        self.limit(before, out);
    }

    fn entry(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = parse_line(line) else {
            // Not ours; whoever wrote it wants it to be seen.
            out.extend_from_slice(line);
            return;
        };
        let needed = self.since.is_some() || self.timestamps && !self.within_line;
        let time = if needed { entry.timestamp() } else { None };
        if self.since.is_some_and(|since| time.is_some_and(|time| time < since)) {
            return;
        }
        if self.timestamps && !self.within_line {
            // With all nine digits, so that lines are aligned (`RFC3339NanoFixed`).
            let shown = time.map_or_else(|| entry.time.to_owned(), |time| format!("{time:.9}"));
            out.extend_from_slice(shown.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        // An entry without its end has been cut; its line is not over.
        self.within_line = entry.partial || !line.ends_with(b"\n");
        if !self.within_line {
            out.push(b'\n');
        }
    }

    fn limit(&mut self, before: usize, out: &mut Vec<u8>) {
        if let Some(left) = &mut self.left {
            let given = (out.len() - before).min(usize::try_from(*left).unwrap_or(usize::MAX));
            out.truncate(before + given);
            *left -= given as u64;
        }
    }
}
