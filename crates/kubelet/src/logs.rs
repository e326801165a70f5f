//! Reading containers' logs, as `kubectl logs` does.
//!
//! ```text
//! <root>/<namespace>_<pod>_<uid>/<container>/0.log.20240101-120000   rotated, oldest first
//!                                            0.log                   the first container
//!                                            1.log                   the one after its restart
//! ```
//!
//! [`files`] finds them; a [`Reader`] gives what they hold as text, and goes on with what comes, over
//! rotations and restarts. The format of the files is [`runtime::crilog`].
//!
//! Sources: kubernetes `pkg/kubelet/kuberuntime/logs/logs.go` (options, and what they do to a line),
//! `pkg/kubelet/kuberuntime/helpers.go` (`BuildPodLogsDirectory`), `pkg/kubelet/logs/container_log_manager.go`
//! (rotation). The kubelet reads the file of one container only; this reads rotated ones, too, and while it
//! follows it goes on with the container that comes after a restart.

pub mod files;
mod show;
mod tail;
mod watch;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use files::LogFile;
use show::Show;
use watch::Watch;

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// What is wanted of a log (`PodLogOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on with what comes.
    pub follow: bool,
    /// Of the container before the last restart; there is nothing to follow then.
    pub previous: bool,
    /// Only so many lines from the end, before what comes.
    pub tail: Option<u64>,
    /// Only what was written then or later.
    pub since: Option<Timestamp>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Not more than so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container has not been started yet.
    #[error("there is no log in {}", .0.display())]
    Nothing(PathBuf),
    /// The container has not been restarted.
    #[error("previous terminated container not found: {} has the log of one container", .0.display())]
    NoPrevious(PathBuf),
    /// A file cannot be read.
    #[error("{what} {}", path.display())]
    File {
        /// As `read`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

/// How far a [`Reader`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more.
    More,
    /// That is all there is now; more may come.
    Waiting,
    /// That was all.
    Done,
}

/// Reads the log of one container.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    follow: bool,
    current: Current,
    show: Show,
    watch: Option<Watch>,
    buffer: Vec<u8>,
}

/// The file that is being read.
#[derive(Debug)]
struct Current {
    of: LogFile,
    file: File,
    inode: u64,
    /// A later file has been seen, so nothing more is written to this one.
    complete: bool,
}

impl Reader {
    /// A reader of the log in a container's folder.
    ///
    /// # Errors
    /// There is no log, or it cannot be read.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, Error> {
        // Before the first look, so that nothing is missed between the last look and the first wait.
        let follow = options.follow && !options.previous;
        let watch = follow.then(|| Watch::new(folder));
        let mut all = files::of_container(folder)?;
        let Some(last) = all.last().map(|file| file.restart) else {
            return Err(Error::Nothing(folder.into()));
        };
        let restart = if options.previous {
            let before = all.iter().rev().map(|file| file.restart).find(|restart| *restart < last);
            before.ok_or_else(|| Error::NoPrevious(folder.into()))?
        } else {
            last
        };
        all.retain(|file| file.restart == restart);
        let (of, offset) = match options.tail {
            Some(lines) => tail::start(&all, lines)?,
            None => (all.swap_remove(0), 0),
        };
        let mut current = Current::open(of)?;
        current.seek(offset)?;
        Ok(Self {
            folder: folder.into(),
            follow,
            current,
            show: Show::new(options),
            watch,
            buffer: vec![0; CHUNK],
        })
    }

    /// Appends what comes next to `out`, some tens of KiB at most.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<Progress, Error> {
        loop {
            let read = self.current.read(&mut self.buffer)?;
            if read > 0 {
                self.show.feed(&self.buffer[..read], out);
                return Ok(if self.show.is_full() { Progress::Done } else { Progress::More });
            }
            match self.successor()? {
                // What was written before the later file came may have been written after the last read.
                Some(_) if !self.current.complete => self.current.complete = true,
                Some(next) => {
                    self.show.finish(out, next.restart != self.current.of.restart);
                    self.current = Current::open(next)?;
                }
                None if self.follow && self.folder.is_dir() => return Ok(Progress::Waiting),
                None => {
                    self.show.finish(out, false);
                    return Ok(Progress::Done);
                }
            }
        }
    }

    /// Waits until something may have come, but no longer than `most`.
    pub fn wait(&self, most: Duration) {
        if let Some(watch) = &self.watch {
            watch.wait(most);
        }
    }

    /// The file after the current one, wherever that has been moved.
    fn successor(&self) -> Result<Option<LogFile>, Error> {
        let current = &self.current;
        let mut later = files::of_container(&self.folder)?;
        later.retain(|file| {
            file.restart == current.of.restart || self.follow && file.restart > current.of.restart
        });
        let is_current = |file: &LogFile| file.path.metadata().is_ok_and(|meta| meta.ino() == current.inode);
        let at = later.iter().position(is_current);
        // If it is gone, all that are left of its container are later ones.
        Ok(later.into_iter().nth(at.map_or(0, |at| at + 1)))
    }
}

impl Current {
    fn open(of: LogFile) -> Result<Self, Error> {
        let file = File::open(&of.path).map_err(Error::file("open", &of.path))?;
        let inode = file.metadata().map_err(Error::file("read", &of.path))?.ino();
        Ok(Self { of, file, inode, complete: false })
    }

    fn seek(&mut self, offset: u64) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(offset)).map(drop).map_err(Error::file("read", &self.of.path))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(Error::file("read", &self.of.path)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
