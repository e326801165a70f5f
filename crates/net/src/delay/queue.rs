//! Frames on their way: a byte-bounded queue that reads in place and reuses its memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::socket::MAX_FRAME;

/// Memory is handed out in pieces of this size: at most an eighth of a piece stays unused.
const CHUNK: usize = 8 * MAX_FRAME;

/// Chunks that may stay touched when the queue runs empty.
const KEPT_CHUNKS: usize = 4;

/// Frames in the order of their arrival, each with the moment at which it is to leave.
///
/// All memory is one allocation, of which the kernel gives a page only once it is written to. The
/// chunk that was freed last is used first, so that no more is touched than was once on the line;
/// when the line is empty, most of that goes back to the kernel.
#[derive(Debug)]
pub(super) struct Queue {
    memory: Box<[u8]>,
    /// Chunks of `memory` that hold nothing, by their number; the last is used next.
    free: Vec<usize>,
    /// Chunks that hold frames: the first the oldest, the last is being filled.
    busy: VecDeque<Chunk>,
    frames: VecDeque<Frame>,
    /// Chunks that have been written to since `memory` was new.
    touched: usize,
}

#[derive(Debug)]
struct Chunk {
    /// Where it starts in `memory`.
    start: usize,
    /// Bytes from its start that are, or were, taken by frames.
    used: usize,
    /// Frames that are still in it.
    frames: usize,
}

#[derive(Debug)]
struct Frame {
    due: Instant,
    /// Where it starts in `memory`.
    start: u32,
    len: u32,
}

impl Queue {
    /// An empty queue of so many chunks.
    pub(super) fn new(chunks: usize) -> Self {
        Self {
            memory: vec![0; chunks * CHUNK].into_boxed_slice(),
            free: (0..chunks).rev().collect(),
            busy: VecDeque::new(),
            frames: VecDeque::new(),
            touched: 0,
        }
    }

    /// Room for one frame of [`MAX_FRAME`] bytes, to be filled and then [pushed](Self::push);
    /// `None` when the queue is full.
    pub(super) fn space(&mut self) -> Option<&mut [u8]> {
        if self.busy.back().is_none_or(|chunk| CHUNK - chunk.used < MAX_FRAME) {
            let number = self.free.pop()?;
            self.touched = self.touched.max(number + 1);
            self.busy.push_back(Chunk { start: number * CHUNK, used: 0, frames: 0 });
        }
        let chunk = self.busy.back()?;
        let start = chunk.start + chunk.used;
        self.memory.get_mut(start..start + MAX_FRAME)
    }

    /// Appends what stands at `range` of the last [`space`](Self::space).
    pub(super) fn push(&mut self, range: Range<usize>, due: Instant) {
        let Some(chunk) = self.busy.back_mut() else { return };
        // Neither cuts: the memory is far smaller than 4 GiB.
        let (start, len) = ((chunk.start + chunk.used + range.start) as u32, range.len() as u32);
        chunk.used += range.end;
        chunk.frames += 1;
        self.frames.push_back(Frame { due, start, len });
    }

    /// When the oldest frame is to leave.
    pub(super) fn due(&self) -> Option<Instant> {
        self.frames.front().map(|frame| frame.due)
    }

    /// The oldest frame, if it is due.
    pub(super) fn front(&self, now: Instant) -> Option<&[u8]> {
        let frame = self.frames.front().filter(|frame| frame.due <= now)?;
        let start = frame.start as usize;
        self.memory.get(start..start + frame.len as usize)
    }

    /// Forgets the oldest frame.
    pub(super) fn pop(&mut self) {
        if self.frames.pop_front().is_none() {
            return;
        }
        // The oldest frame stands in the oldest chunk: a chunk without frames can only be the last.
        if let Some(chunk) = self.busy.front_mut() {
            chunk.frames -= 1;
            if chunk.frames == 0 {
                self.free.push(chunk.start / CHUNK);
                self.busy.pop_front();
            }
        }
        if self.frames.is_empty() && self.touched > KEPT_CHUNKS {
            *self = Self::new(self.memory.len() / CHUNK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &mut Queue, fill: u8, len: usize, due: Instant) -> bool {
        let Some(space) = queue.space() else { return false };
        space[3..3 + len].fill(fill);
        queue.push(3..3 + len, due);
        true
    }

    #[test]
    fn frames_leave_in_order_and_not_before_they_are_due() {
        let mut queue = Queue::new(4);
        let now = Instant::now();
        let later = now + std::time::Duration::from_millis(1);
        assert!(put(&mut queue, 1, 60, now) && put(&mut queue, 2, 0, now) && put(&mut queue, 3, 9000, later));
        assert_eq!(queue.front(now), Some(&[1; 60][..]));
        queue.pop();
        assert_eq!(queue.front(now), Some(&[][..]));
        queue.pop();
        assert_eq!((queue.front(now), queue.due()), (None, Some(later)));
        assert_eq!(queue.front(later), Some(&[3; 9000][..]));
        queue.pop();
        assert_eq!(queue.due(), None);
    }

    #[test]
    fn a_full_queue_has_no_space_until_a_chunk_is_free() {
        let mut queue = Queue::new(2);
        let now = Instant::now();
        let mut frames = 0;
        while put(&mut queue, frames as u8, MAX_FRAME - 100, now) {
            frames += 1;
        }
        assert_eq!(frames, 16);
        for expected in 0..8 {
            assert_eq!(queue.front(now).unwrap()[0], expected);
            assert!(queue.space().is_none());
            queue.pop();
        }
        assert!(queue.space().is_some());
    }

    #[test]
    fn memory_is_reused_while_busy_and_given_back_when_empty() {
        let mut queue = Queue::new(64);
        let now = Instant::now();
        for _ in 0..100 {
            assert!(put(&mut queue, 0, 60_000, now));
        }
        let busy = queue.touched;
        for _ in 0..1000 {
            queue.pop();
            assert!(put(&mut queue, 0, 60_000, now));
            assert!(queue.touched <= busy + 1);
        }
        while queue.due().is_some() {
            queue.pop();
        }
        assert_eq!((queue.touched, queue.free.len(), queue.frames.capacity()), (0, 64, 0));
    }

    #[test]
    fn a_little_traffic_stays_in_the_same_memory() {
        let mut queue = Queue::new(64);
        let now = Instant::now();
        for _ in 0..1000 {
            assert!(put(&mut queue, 0, 60_000, now));
            assert!(queue.space().is_some());
            queue.pop();
        }
        assert!(queue.touched <= 2);
    }
}
