//! Where the last lines of a log begin.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};

use runtime::crilog::parse_line;

use super::Error;
use super::files::LogFile;

/// The file and the place in it where the last `lines` lines begin. `files` are those of one container, in
/// order, and not none.
pub(super) fn start(files: &[LogFile], lines: u64) -> Result<(LogFile, u64), Error> {
    let mut wanted = lines;
    for file in files.iter().rev() {
        let starts = last_lines(file, wanted)?;
        let found = starts.len() as u64;
        if found >= wanted || file == &files[0] {
            return Ok((file.clone(), starts.front().copied().unwrap_or_default()));
        }
        wanted -= found;
    }
    Ok((files[0].clone(), 0))
}

/// Where the last `most` lines of a file begin; with 0, where the file ends.
fn last_lines(file: &LogFile, most: u64) -> Result<VecDeque<u64>, Error> {
    let error = |error| Error::file("read", &file.path)(error);
    let mut reader = BufReader::new(File::open(&file.path).map_err(error)?);
    let (mut starts, mut offset, mut within_line) = (VecDeque::new(), 0, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(error)? as u64;
        if read == 0 {
            break;
        }
        if !within_line {
            starts.push_back(offset);
            if starts.len() as u64 > most {
                starts.pop_front();
            }
        }
        within_line = parse_line(&line).is_some_and(|entry| entry.partial);
        offset += read;
    }
    if most == 0 {
        starts.push_back(offset);
    }
    Ok(starts)
}
