//! The containers' log files, in the CRI's format (see `runtime::crilog`). Their sizes are those of the
//! kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use runtime::crilog::{self, Splitter, format_line};

/// A file is put aside when it has grown to this many bytes.
const MOST: u64 = 10 << 20;
/// So many of those put aside are kept, beside the one written to.
const KEPT: usize = 4;

/// The log of one run of a container.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    /// A log at `path`; its folder is made. A log that cannot be written is no reason not to run: what it
    /// misses is lost, and later lines are tried again.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let mut log = Self { path, file: None, size: 0 };
        // Tried again with the first line.
        let _ = log.open();
        log
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.open()?.write_all(lines)?;
        self.size += lines.len() as u64;
        if self.size >= MOST {
            self.put_aside()?;
        }
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.file = None;
        let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S.%6f").to_string();
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{stamp}"));
        fs::rename(&self.path, name)?;
        let mut old = set_aside(&self.path)?;
        old.sort();
        for path in old.iter().rev().skip(KEPT) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Removes the logs of a container's runs before that of this number, with what was put aside of them.
pub fn remove_before(folder: &Path, run: u32) {
    // Nothing is there before the first run; and a log that stays is no reason not to run.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split_once(".log")?.0.parse::<u32>().ok());
        if number.is_some_and(|number| number < run) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The files that were put aside from `path`, in any order.
fn set_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// One of the streams that a log is made of: holds back what is not a whole line yet.
#[derive(Debug)]
pub struct Stream {
    name: crilog::Stream,
    splitter: Splitter,
}

impl Stream {
    /// A stream that has said nothing yet.
    #[must_use]
    pub fn new(name: crilog::Stream) -> Self {
        Self { name, splitter: Splitter::default() }
    }

    /// Takes what the container printed.
    pub fn take(&mut self, bytes: &[u8], log: &mut Log) {
        let now = Timestamp::now();
        let mut lines = Vec::new();
        self.splitter.feed(bytes, |partial, text| lines.extend(format_line(now, self.name, partial, text)));
        if !lines.is_empty() {
            // A full disk costs lines, not the container.
            let _ = log.write(&lines);
        }
    }

    /// The container has ended: what is held back is its last line, though nothing ended it.
    pub fn end(&mut self, log: &mut Log) {
        let now = Timestamp::now();
        self.splitter.finish(|text| drop(log.write(&format_line(now, self.name, false, text))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn lines_have_a_time_a_stream_and_a_tag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web/0.log");
        let mut log = Log::new(path.clone());
        let (mut out, mut err) = (Stream::new(crilog::Stream::Stdout), Stream::new(crilog::Stream::Stderr));
        out.take(b"one\ntw", &mut log);
        err.take(b"oops\n", &mut log);
        out.take(b"o\n\n", &mut log);
        out.take(b"last", &mut log);
        out.end(&mut log);
        err.end(&mut log);
        assert_eq!(
            written(&path),
            ["stdout F one", "stderr F oops", "stdout F two", "stdout F ", "stdout F last"]
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|line| crilog::parse_line(line.as_bytes()).is_some()), "{text}");
    }

    #[test]
    fn files_are_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut log = Log::new(path.clone());
        let mut out = Stream::new(crilog::Stream::Stdout);
        let chunk = [b"y".repeat(1023), b"\n".to_vec()].concat().repeat(1024);
        for _ in 0..(KEPT + 3) * 10 {
            out.take(&chunk, &mut log);
        }
        assert_eq!(set_aside(&path).unwrap().len(), KEPT);
    }
}
