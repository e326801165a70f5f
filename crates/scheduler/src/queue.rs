//! Pods that wait for a node: the important first, then the oldest; those that fit nowhere wait until
//! something changes that could help them.
//!
//! Source: kubernetes `pkg/scheduler/backend/queue/scheduling_queue.go`, `pkg/scheduler/framework/plugins/
//! queuesort/priority_sort.go`. Upstream asks each filter whether a change helps (`QueueingHintFn`); here a
//! pod remembers what kind of change could.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use store::ObjectName;

use crate::plan::Obstacle;

/// The first delay of a pod that fitted nowhere; each further one is twice as long …
const FIRST: Duration = Duration::from_millis(20);
/// … up to this one. Upstream begins with a second and goes up to ten; a lab is smaller and its people wait.
const MOST: Duration = Duration::from_secs(2);

/// What orders pods: the priority, and the number that each pod gets when it comes.
type Rank = (Reverse<i32>, u64);

/// Pods without a node.
#[derive(Debug, Default)]
pub(crate) struct PodQueue {
    pods: BTreeMap<ObjectName, Waiting>,
    ready: BTreeMap<Rank, ObjectName>,
    later: BTreeSet<(Instant, ObjectName)>,
    came: u64,
}

#[derive(Debug)]
struct Waiting {
    rank: Rank,
    tries: u32,
    /// Not before then.
    not_before: Option<Instant>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Later,
    /// It waits for a change that takes this away.
    Stuck(Obstacle),
    /// It is being placed.
    Out,
}

impl PodQueue {
    /// A pod has come, or has changed.
    pub(crate) fn add(&mut self, pod: ObjectName, priority: i32) {
        match self.pods.get(&pod) {
            Some(waiting) if waiting.state == State::Out => {}
            Some(waiting) => {
                let came = waiting.rank.1;
                self.remove(&pod);
                self.enter(pod, (Reverse(priority), came));
            }
            None => {
                self.came += 1;
                let rank = (Reverse(priority), self.came);
                self.enter(pod, rank);
            }
        }
    }

    fn enter(&mut self, pod: ObjectName, rank: Rank) {
        self.ready.insert(rank, pod.clone());
        self.pods.insert(pod, Waiting { rank, tries: 0, not_before: None, state: State::Ready });
    }

    pub(crate) fn remove(&mut self, pod: &ObjectName) {
        let Some(waiting) = self.pods.remove(pod) else { return };
        self.ready.remove(&waiting.rank);
        if let Some(at) = waiting.not_before {
            self.later.remove(&(at, pod.clone()));
        }
    }

    /// The next one; it is out until it is [removed](Self::remove) or [put back](Self::put_back).
    pub(crate) fn pop(&mut self, now: Instant) -> Option<ObjectName> {
        while let Some((at, pod)) = self.later.first().cloned().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, pod.clone()));
            if let Some(waiting) = self.pods.get_mut(&pod) {
                waiting.state = State::Ready;
                self.ready.insert(waiting.rank, pod);
            }
        }
        let (_, pod) = self.ready.pop_first()?;
        if let Some(waiting) = self.pods.get_mut(&pod) {
            waiting.state = State::Out;
        }
        Some(pod)
    }

    /// It fitted nowhere (then it waits for a change), or its binding failed (then only for its time).
    pub(crate) fn put_back(&mut self, pod: &ObjectName, stuck: Option<Obstacle>, now: Instant) {
        let Some(waiting) = self.pods.get_mut(pod) else { return };
        let delay = FIRST.saturating_mul(1 << waiting.tries.min(10)).min(MOST);
        waiting.tries += 1;
        waiting.not_before = Some(now + delay);
        waiting.state = match stuck {
            Some(obstacle) => State::Stuck(obstacle),
            None => {
                self.later.insert((now + delay, pod.clone()));
                State::Later
            }
        };
    }

    /// Something has changed that takes this obstacle away, and all that are less.
    pub(crate) fn wake(&mut self, from: Obstacle, now: Instant) {
        for (pod, waiting) in &mut self.pods {
            if !matches!(waiting.state, State::Stuck(obstacle) if obstacle >= from) {
                continue;
            }
            match waiting.not_before.filter(|at| *at > now) {
                Some(at) => {
                    self.later.insert((at, pod.clone()));
                    waiting.state = State::Later;
                }
                None => {
                    self.ready.insert(waiting.rank, pod.clone());
                    waiting.state = State::Ready;
                }
            }
        }
    }

    /// When the next one that waits for its time is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    fn popped(queue: &mut PodQueue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|name| name.name).collect()
    }

    #[test]
    fn the_important_come_first_then_the_oldest() {
        let (mut queue, now) = (PodQueue::default(), Instant::now());
        for (pod, priority) in [("a", 0), ("b", 0), ("c", 1000), ("d", -1)] {
            queue.add(name(pod), priority);
        }
        queue.add(name("a"), 0);
        queue.remove(&name("d"));
        assert_eq!(popped(&mut queue, now), ["c", "a", "b"]);
        queue.add(name("a"), 0);
        assert_eq!(popped(&mut queue, now), [""; 0], "they are out");
    }

    #[test]
    fn those_that_fit_nowhere_wait_for_a_change_and_their_time() {
        let (mut queue, now) = (PodQueue::default(), Instant::now());
        for (pod, obstacle) in
            [("node", Obstacle::Node), ("space", Obstacle::Space), ("pods", Obstacle::Pods)]
        {
            queue.add(name(pod), 0);
            queue.pop(now).unwrap();
            queue.put_back(&name(pod), Some(obstacle), now);
        }
        let later = now + FIRST;
        assert_eq!(popped(&mut queue, later), [""; 0]);
        queue.wake(Obstacle::Pods, later);
        assert_eq!(popped(&mut queue, later), ["pods"]);
        queue.wake(Obstacle::Space, now);
        assert_eq!(popped(&mut queue, now), [""; 0], "not before its time");
        assert_eq!(queue.next_due(), Some(later));
        assert_eq!(popped(&mut queue, later), ["space"]);
        queue.wake(Obstacle::Node, later);
        assert_eq!(popped(&mut queue, later), ["node"]);
    }

    #[test]
    fn a_changed_pod_is_tried_at_once_and_a_failed_binding_after_its_time() {
        let (mut queue, now) = (PodQueue::default(), Instant::now());
        queue.add(name("a"), 0);
        queue.pop(now).unwrap();
        queue.put_back(&name("a"), Some(Obstacle::Node), now);
        queue.add(name("a"), 0);
        assert_eq!(popped(&mut queue, now), ["a"]);
        queue.put_back(&name("a"), None, now);
        assert_eq!(popped(&mut queue, now), [""; 0]);
        assert_eq!(popped(&mut queue, now + FIRST), ["a"]);
    }
}
