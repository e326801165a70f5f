//! Which consumer of an address a message goes to.
//!
//! As upstream's `src/router_core/forwarder.c`: *closest* takes a local consumer if there is one, else one at
//! the lowest cost, each in turn; *balanced* takes the one with the fewest deliveries under way, where a
//! remote one counts its cost on top, so that work overflows to the farther ones only when the nearer are
//! that much busier; *multicast* takes all.
//!
//! A TCP connection is one delivery from its beginning to its end, so that what is balanced is connections.

use api::router_config::Distribution;

/// One place that a message can go to: a consumer here, or a router that has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// What the way costs; 0: it is here.
    pub cost: u64,
    /// Deliveries that this router sent there and that are not settled.
    pub outstanding: u64,
    /// It has no room: only chosen where nobody has.
    pub full: bool,
}

impl Candidate {
    fn load(self) -> u64 {
        self.outstanding.saturating_add(self.cost)
    }
}

/// Chooses; keeps whose turn it is. One for each address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chooser {
    turn: usize,
}

impl Chooser {
    /// The places in `candidates` that the next message goes to, none where there is none. Equals take turns,
    /// as long as their order stays.
    pub fn choose(&mut self, distribution: Distribution, candidates: &[Candidate]) -> Vec<usize> {
        match distribution {
            Distribution::Unavailable => Vec::new(),
            Distribution::Multicast => (0..candidates.len()).collect(),
            Distribution::Closest => self.least(candidates, |candidate| candidate.cost),
            Distribution::Balanced => self.least(candidates, Candidate::load),
        }
    }

    fn least(&mut self, candidates: &[Candidate], of: impl Fn(Candidate) -> u64) -> Vec<usize> {
        let of = |candidate: &Candidate| (candidate.full, of(*candidate));
        let Some(least) = candidates.iter().map(of).min() else { return Vec::new() };
        let mut equals = candidates.iter().enumerate().filter(|(_, candidate)| of(candidate) == least);
        // The first at or after the turn, or else the first of all.
        let next = equals.clone().find(|(at, _)| *at >= self.turn).or_else(|| equals.next());
        let chosen: Vec<usize> = next.map(|(at, _)| at).into_iter().collect();
        self.turn = chosen.first().map_or(0, |at| at + 1);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of `messages` each gets when none is settled.
    fn shares(distribution: Distribution, costs: &[u64], messages: usize) -> Vec<u64> {
        let mut chooser = Chooser::default();
        let mut all: Vec<_> =
            costs.iter().map(|cost| Candidate { cost: *cost, ..Candidate::default() }).collect();
        for _ in 0..messages {
            for at in chooser.choose(distribution, &all) {
                all[at].outstanding += 1;
            }
        }
        all.iter().map(|candidate| candidate.outstanding).collect()
    }

    #[test]
    fn closest_stays_here_then_goes_where_it_is_cheapest_in_turn() {
        assert_eq!(shares(Distribution::Closest, &[5, 0, 0, 1], 100), [0, 50, 50, 0]);
        assert_eq!(shares(Distribution::Closest, &[5, 3, 3, 9], 100), [0, 50, 50, 0]);
    }

    #[test]
    fn balanced_overflows_to_the_farther_by_the_difference_of_costs() {
        assert_eq!(shares(Distribution::Balanced, &[0, 0, 0], 99), [33, 33, 33]);
        assert_eq!(shares(Distribution::Balanced, &[0, 10], 10), [10, 0]);
        assert_eq!(shares(Distribution::Balanced, &[0, 10], 110), [60, 50]);
        assert_eq!(shares(Distribution::Balanced, &[1, 4, 4], 99), [35, 32, 32]);
    }

    #[test]
    fn who_is_full_is_chosen_last() {
        let mut chooser = Chooser::default();
        let near = Candidate { full: true, ..Candidate::default() };
        let far = Candidate { cost: 9, ..Candidate::default() };
        for distribution in [Distribution::Closest, Distribution::Balanced] {
            assert_eq!(chooser.choose(distribution, &[near, far]), [1]);
            assert_eq!(chooser.choose(distribution, &[near]), [0]);
        }
    }

    #[test]
    fn idle_equals_take_turns() {
        let mut chooser = Chooser::default();
        let idle = [Candidate { cost: 2, ..Candidate::default() }; 3];
        let chosen: Vec<_> = (0..6).flat_map(|_| chooser.choose(Distribution::Balanced, &idle)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn multicast_goes_to_all_and_unavailable_to_none() {
        assert_eq!(shares(Distribution::Multicast, &[0, 7, 7], 3), [3, 3, 3]);
        assert_eq!(shares(Distribution::Unavailable, &[0, 7], 3), [0, 0]);
        assert_eq!(shares(Distribution::Balanced, &[], 3), Vec::<u64>::new());
    }

    proptest! {
        /// Whatever comes and goes, nobody is chosen while another one is less loaded.
        #[test]
        fn the_least_loaded_is_chosen(
            costs in prop::collection::vec(0..20_u64, 1..6),
            settled in prop::collection::vec(0..6_usize, 0..200),
        ) {
            let mut chooser = Chooser::default();
            let mut all: Vec<_> = costs.iter().map(|cost| Candidate { cost: *cost, ..Candidate::default() }).collect();
            for done in settled {
                let chosen = chooser.choose(Distribution::Balanced, &all);
                prop_assert_eq!(chosen.len(), 1);
                let load = all[chosen[0]].load();
                prop_assert!(all.iter().all(|candidate| candidate.load() >= load));
                all[chosen[0]].outstanding += 1;
                if let Some(candidate) = all.get_mut(done) {
                    candidate.outstanding = candidate.outstanding.saturating_sub(1);
                }
            }
        }
    }
}
