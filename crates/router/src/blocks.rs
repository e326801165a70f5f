//! Memory for what is read: blocks that are used again as soon as nothing of them is on its way any more.
//!
//! A block that is freed goes back to the kernel, and what is allocated instead comes as pages to be zeroed, each by
//! a fault: of a router that only passed a stream on, that was a third of its time.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;

/// A block's size.
pub(crate) const BLOCK: usize = 256 * 1024;
/// A block with less room than this is not read into.
const ROOM: usize = 64 * 1024;
/// So many are remembered; more is not on its way where streams are passed on as they come.
const KEEP: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Given back; of some, parts are still on their way.
    kept: RefCell<Vec<BytesMut>>,
    /// One was taken since the last look.
    used: Cell<bool>,
}

impl Blocks {
    /// An empty block with room for a read.
    pub(crate) fn take(&self) -> BytesMut {
        self.used.set(true);
        let mut kept = self.kept.borrow_mut();
        // From the end: what was read into last is in the processor's cache.
        let free = kept.iter_mut().rposition(|block| block.capacity() >= ROOM || block.try_reclaim(BLOCK));
        match free {
            Some(at) => kept.remove(at),
            None => BytesMut::with_capacity(BLOCK),
        }
    }

    /// Takes the rest of a block back, when all that was read into it has been split off.
    pub(crate) fn give(&self, mut block: BytesMut) {
        block.clear();
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEEP {
            kept.remove(0);
        }
        kept.push(block);
    }

    /// Frees all if none was needed since the last call: for now and then.
    pub(crate) fn tidy(&self) {
        if !self.used.replace(false) {
            self.kept.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_when_nothing_of_it_is_held() {
        let blocks = Blocks::default();
        let mut block = blocks.take();
        let memory = block.as_ptr();
        block.resize(BLOCK, 7);
        let held = block.split().freeze();
        blocks.give(block);
        let other = blocks.take();
        assert_ne!(other.as_ptr(), memory, "the first one is full, and held");
        blocks.give(other);
        assert!(held.iter().all(|b| *b == 7));
        drop(held);
        let (one, two) = (blocks.take(), blocks.take());
        assert!([one.as_ptr(), two.as_ptr()].contains(&memory));
        assert!(one.capacity() >= ROOM && two.capacity() >= ROOM);
    }

    #[test]
    fn room_beside_what_is_held_is_used() {
        let blocks = Blocks::default();
        let mut block = blocks.take();
        block.extend_from_slice(&[1; 5000]);
        let held = block.split().freeze();
        blocks.give(block);
        let mut block = blocks.take();
        block.extend_from_slice(&[2; 5000]);
        assert_eq!(block.as_ptr(), held.as_ptr().wrapping_add(5000));
        assert!(held.iter().all(|b| *b == 1));
    }

    #[test]
    fn no_more_are_kept_than_said_and_none_when_idle() {
        let blocks = Blocks::default();
        let many: Vec<_> = (0..2 * KEEP).map(|_| blocks.take()).collect();
        many.into_iter().for_each(|block| blocks.give(block));
        assert_eq!(blocks.kept.borrow().len(), KEEP);
        blocks.tidy();
        assert_eq!(blocks.kept.borrow().len(), KEEP, "they were used since");
        blocks.tidy();
        assert!(blocks.kept.borrow().is_empty());
    }
}
