//! What processes print: kept in files of bounded size, and the last lines at hand.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A log and the one before it: no process fills the state folder, which is often in memory.
const LARGEST: u64 = 1 << 20;
/// Lines that `Failed` and `topo status` can show.
const LINES: usize = 20;

/// One process's log. Clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    last: VecDeque<String>,
    partial: Vec<u8>,
}

impl Log {
    /// The log of `component` on `node`, below `folder`. A file that cannot be made is done without:
    /// a full disk must not stop a lab.
    pub(crate) fn new(folder: &Path, node: &str, component: &str) -> Self {
        let folder = folder.join(node);
        let _ = fs::create_dir_all(&folder);
        let path = folder.join(format!("{component}.log"));
        Self(Arc::new(Mutex::new(Inner {
            file: open(&path),
            path,
            size: 0,
            last: VecDeque::with_capacity(LINES),
            partial: Vec::new(),
        })))
    }

    /// Adds what a process printed.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.keep(bytes);
        inner.remember(bytes);
    }

    /// The last lines, the oldest first.
    pub(crate) fn last(&self) -> Vec<String> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last.iter().cloned().collect()
    }
}

impl Inner {
    fn keep(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > LARGEST {
            let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
            self.file = None;
            self.size = 0;
        }
        if self.file.is_none() {
            self.file = open(&self.path);
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            // Tried again with the next line; what did not fit is lost, and the process goes on.
            self.file = None;
        }
        self.size += bytes.len() as u64;
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            if self.last.len() == LINES {
                self.last.pop_front();
            }
            self.last.push_back(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        // A line without an end is not worth any amount of memory.
        if self.partial.len() > 64 << 10 {
            self.partial.clear();
        }
    }
}

fn open(path: &Path) -> Option<File> {
    OpenOptions::new().create(true).append(true).open(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_stays_within_two_files_and_the_last_lines_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path(), "C0w1", "agent");
        let line = format!("{}\n", "x".repeat(1000));
        for _ in 0..5000 {
            log.write(line.as_bytes());
        }
        log.write(b"the last ");
        log.write(b"line\nand a beginning");
        let size: u64 = fs::read_dir(folder.path().join("C0w1"))
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 2 * LARGEST + 2000, "{size}");
        assert_eq!(log.last().last().unwrap(), "the last line");
        assert_eq!(log.last().len(), LINES);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_still_remembered() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("C0w1"), "a file where a folder should be").unwrap();
        let log = Log::new(folder.path(), "C0w1", "agent");
        log.write(b"hello\n");
        assert_eq!(log.last(), ["hello"]);
    }
}
