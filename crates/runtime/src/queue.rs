//! What is still to be looked at: keys, each in the queue once, and in work once.
//!
//! A key that is added while it is in work is looked at again afterwards, so nothing that happened meanwhile
//! is missed. One that failed comes back later and later. Time is handed in, so the queue needs no task.
//!
//! Model: client-go `util/workqueue/{queue,delaying_queue,default_rate_limiters}.go`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The first delay after a failure; each further one is twice as long (client-go
/// `DefaultControllerRateLimiter`) …
const FIRST: Duration = Duration::from_millis(5);
/// … up to this one. client-go goes up to a quarter of an hour; people in a lab do not wait that long.
const MOST: Duration = Duration::from_secs(30);

/// A queue of keys.
#[derive(Debug, Clone)]
pub struct Queue<K> {
    /// In the order in which they were added.
    waiting: VecDeque<K>,
    /// The same, to be found.
    queued: BTreeSet<K>,
    /// In work; true if it was added again since.
    running: BTreeMap<K, bool>,
    /// When they will be added.
    later: BTreeSet<(Instant, K)>,
    due: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            queued: BTreeSet::new(),
            running: BTreeMap::new(),
            later: BTreeSet::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// To be looked at now.
    pub fn add(&mut self, key: K) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    /// To be looked at at that time, unless an earlier one is set.
    pub fn add_at(&mut self, key: K, at: Instant) {
        if let Some(due) = self.due.get(&key) {
            if *due <= at {
                return;
            }
            self.later.remove(&(*due, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// The next one to look at; it is in work until it is [`done`](Self::done) or
    /// [`failed`](Self::failed).
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        self.wake(now);
        let key = self.waiting.pop_front()?;
        self.queued.remove(&key);
        self.running.insert(key.clone(), false);
        Some(key)
    }

    /// It went well.
    pub fn done(&mut self, key: &K) {
        self.failures.remove(key);
        self.finish(key);
    }

    /// It did not; it will be looked at again after a delay, which is given.
    pub fn failed(&mut self, key: &K, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = FIRST.saturating_mul(1 << (*failures).min(16)).min(MOST);
        *failures += 1;
        self.finish(key);
        self.add_at(key.clone(), now + delay);
        delay
    }

    /// When the next of those that wait for their time is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    /// How many are to be looked at now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many are in work.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn wake(&mut self, now: Instant) {
        while self.next_due().is_some_and(|at| at <= now) {
            let Some((_, key)) = self.later.pop_first() else { return };
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn finish(&mut self, key: &K) {
        if self.running.remove(key) == Some(true) {
            self.add(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_waits_once_and_is_in_work_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        assert_eq!(queue.pop(now), Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.pop(now), Some("b"));
        assert_eq!(queue.pop(now), None, "a is in work");
        assert_eq!(queue.running(), 2);
        queue.done(&"b");
        queue.done(&"a");
        assert_eq!(queue.pop(now), Some("a"), "it was added meanwhile");
        queue.done(&"a");
        assert!(queue.is_empty() && queue.running() == 0);
    }

    #[test]
    fn what_fails_comes_back_ever_later_until_it_goes_well() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add("a");
        let ms = Duration::from_millis;
        for delay in [5, 10, 20, 40] {
            assert_eq!(queue.pop(now), Some("a"));
            assert_eq!(queue.failed(&"a", now), ms(delay));
            assert_eq!(queue.pop(now + ms(delay - 1)), None);
            assert_eq!(queue.next_due(), Some(now + ms(delay)));
            now += ms(delay);
        }
        for _ in 0..40 {
            queue.pop(now).unwrap();
            now += queue.failed(&"a", now);
        }
        queue.pop(now).unwrap();
        assert_eq!(queue.failed(&"a", now), MOST);
        queue.add("a");
        assert_eq!(queue.pop(now), Some("a"), "news come before the delay");
        queue.done(&"a");
        queue.add("a");
        queue.pop(now).unwrap();
        assert_eq!(queue.failed(&"a", now), ms(5));
    }

    #[test]
    fn the_earlier_time_counts() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let at = |second| now + Duration::from_secs(second);
        queue.add_at("a", at(5));
        queue.add_at("a", at(9));
        queue.add_at("b", at(7));
        queue.add_at("b", at(6));
        assert_eq!(queue.next_due(), Some(at(5)));
        assert_eq!(queue.pop(at(6)), Some("a"));
        assert_eq!(queue.pop(at(6)), Some("b"));
        assert_eq!(queue.next_due(), None);
    }
}
