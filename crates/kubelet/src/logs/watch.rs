//! Waiting for a folder to change.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Where the kernel has no more watches to give, looks are so far apart.
const LOOK: Duration = Duration::from_millis(200);

/// Watches a folder, from the moment when it is made.
#[derive(Debug)]
pub(super) struct Watch(Option<Inotify>);

impl Watch {
    pub(super) fn new(folder: &Path) -> Self {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|inotify| inotify.add_watch(folder, flags).map(|_| inotify));
        Self(watch.ok())
    }

    /// Waits for a change, but no longer than `most`; it may also be over without one.
    pub(super) fn wait(&self, most: Duration) {
        let Some(inotify) = &self.0 else {
            std::thread::sleep(most.min(LOOK));
            return;
        };
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        // Whatever happens, the state of the files decides.
        let _ = poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], timeout);
        while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
