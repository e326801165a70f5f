//! The format of containers' logs: `<time> <stream> <tag> <text>`, a line each.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout F the whole of a line
//! 2016-10-06T00:17:09.669794203Z stderr P the beginning of a
//! 2016-10-06T00:17:09.669794204Z stderr F very long one
//! ```
//!
//! Source: Kubernetes design proposal `kubelet-cri-logging`; kubernetes
//! `pkg/kubelet/kuberuntime/logs/logs.go` reads it so, containerd `internal/cri/io/logger.go` writes it so.

use jiff::Timestamp;

/// Longer lines are written in parts of this many bytes (containerd `max_container_log_line_size`).
pub const MOST_LINE: usize = 16 * 1024;

/// Where a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// As it stands in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was written, as it stands there; [`Self::timestamp`] reads it.
    pub time: &'a str,
    /// Where to.
    pub stream: Stream,
    /// The line goes on in the next entry.
    pub partial: bool,
    /// What was written, without the end of the line.
    pub text: &'a [u8],
}

impl Entry<'_> {
    /// When it was written; none if that is no time.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// An entry of a log, with the end of the line. `text` should have none.
#[must_use]
pub fn format_line(time: Timestamp, stream: Stream, partial: bool, text: &[u8]) -> Vec<u8> {
    let tag = if partial { "P" } else { "F" };
    let mut line = format!("{time} {} {tag} ", stream.name()).into_bytes();
    line.reserve(text.len() + 1);
    line.extend_from_slice(text);
    line.push(b'\n');
    line
}

/// Reads an entry, with or without the end of the line; none if it is not one.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    // An empty line may have lost its last blank.
    let (tag, text) = word(rest).unwrap_or((rest, b""));
    let time =
        str::from_utf8(time).ok().filter(|time| time.as_bytes().first().is_some_and(u8::is_ascii_digit))?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // More tags may follow after colons.
    let partial = match tag.split(|byte| *byte == b':').next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Entry { time, stream, partial, text })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    Some((&line[..at], &line[at + 1..]))
}

/// Cuts what a container writes into lines, and long lines into parts.
#[derive(Debug, Default)]
pub struct Splitter {
    begun: Vec<u8>,
}

impl Splitter {
    /// Takes what was written, and gives each line that is complete, or part of [`MOST_LINE`] bytes, to
    /// `line`; true says that the line goes on.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(bool, &[u8])) {
        while !bytes.is_empty() {
            let room = MOST_LINE - self.begun.len();
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let (text, partial) = match end {
                Some(end) => (&bytes[..end], false),
                None if bytes.len() > room => (&bytes[..room], true),
                None => {
                    self.begun.extend_from_slice(bytes);
                    return;
                }
            };
            // Most lines come whole, and are not copied.
            if self.begun.is_empty() {
                line(partial, text);
            } else {
                self.begun.extend_from_slice(text);
                line(partial, &self.begun);
                self.begun.clear();
            }
            bytes = &bytes[text.len() + usize::from(!partial)..];
        }
    }

    /// Nothing more will be written: gives the last line, if it has no end.
    pub fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        "2016-10-06T00:17:09.669794202Z".parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for (partial, text) in [(false, &b"hello world"[..]), (true, b""), (false, b" x \xff\0 y ")] {
            let line = format_line(time(), Stream::Stderr, partial, text);
            let entry = parse_line(&line).unwrap();
            let same =
                Entry { time: "2016-10-06T00:17:09.669794202Z", stream: Stream::Stderr, partial, text };
            assert_eq!(entry, same);
            assert_eq!(entry.timestamp(), Some(time()));
        }
        let line = format_line(time(), Stream::Stdout, false, b"hello");
        assert_eq!(line, b"2016-10-06T00:17:09.669794202Z stdout F hello\n");
    }

    #[test]
    fn what_other_runtimes_write_is_read_too() {
        let entry = parse_line(b"2016-10-06T00:17:09.1+02:00 stdout P:x:y a\n").unwrap();
        assert!(entry.partial && entry.timestamp().is_some() && entry.text == b"a");
        let entry = parse_line(b"2016-10-06T00:17:09Z stdout F").unwrap();
        assert_eq!(entry.text, b"");
        for bad in
            ["", "hello", "a b c d", "2016 stdin F x", "2016 stdout G x", "Error stdout F x", "2016 stdout"]
        {
            assert_eq!(parse_line(bad.as_bytes()), None, "{bad}");
        }
    }

    /// The lines that come of these pieces; `…` where one goes on.
    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        let shown = |line: &[u8], rest: &str| {
            let text = String::from_utf8_lossy(line);
            let text = if text.len() > 20 { format!("{} {}", &text[..1], text.len()) } else { text.into() };
            text + rest
        };
        for piece in pieces {
            splitter.feed(piece, |partial, line| lines.push(shown(line, if partial { "…" } else { "" })));
        }
        splitter.finish(|line| lines.push(shown(line, "|")));
        lines
    }

    #[test]
    fn lines_are_put_together_and_cut() {
        assert_eq!(split(&[b"a\nb", b"c\n\n", b"", b"d"]), ["a", "bc", "", "d|"]);
        assert_eq!(split(&[]), [""; 0]);
        let long = |length: usize, end: &str| [&vec![b'x'; length][..], end.as_bytes()].concat();
        // Exactly a part, with its end, is a line.
        assert_eq!(split(&[&long(MOST_LINE, "\n")]), ["x 16384"]);
        assert_eq!(split(&[&long(MOST_LINE, ""), b"\n"]), ["x 16384"]);
        assert_eq!(split(&[&long(MOST_LINE + 1, "\n")]), ["x 16384…", "x"]);
        assert_eq!(split(&[&long(MOST_LINE, ""), b"yz", b"\n"]), ["x 16384…", "yz"]);
        assert_eq!(split(&[&long(40_000, "\na")]), ["x 16384…", "x 16384…", "x 7232", "a|"]);
        assert_eq!(split(&[&long(10_000, ""), &long(10_000, "\n")]), ["x 16384…", "x 3616"]);
    }
}
