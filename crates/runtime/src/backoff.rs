//! When to try again: at once, then ever later.

use std::time::Duration;

/// Doubling delays between two bounds; a run that lasted longer than the upper bound starts afresh.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The delay before the next try, after one that lasted `lasted`.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted > self.most {
            self.reset();
        }
        let delay = self.next;
        self.next = (self.next * 2).min(self.most);
        delay
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_forgets_after_a_long_run() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        let delays: Vec<_> = (0..4).map(|_| backoff.after(ms(1))).collect();
        assert_eq!(delays, [ms(100), ms(200), ms(350), ms(350)]);
        assert_eq!(backoff.after(ms(351)), ms(100));
        backoff.after(ms(1));
        backoff.reset();
        assert_eq!(backoff.after(ms(1)), ms(100));
    }
}
