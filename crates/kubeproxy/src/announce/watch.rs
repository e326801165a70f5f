//! Looks after the nodes before this one in a line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use net::ping;
use tokio::time::Instant;

use super::Claims;

/// Between two rounds of pings while everybody answers.
const PATROL: Duration = Duration::from_secs(2);
/// Between two rounds while somebody does not.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a node has for its answer.
const ANSWER: Duration = Duration::from_millis(500);
/// A node that has left so many pings without an answer is not alive.
const MISSED: u32 = 4;

/// By our pings only those are reached.
pub(super) fn version_4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The nodes before this one, in the order of each line.
type Lines = BTreeSet<Vec<Ipv4Addr>>;

fn lines(claims: &Claims) -> Lines {
    let line = |before: &Vec<IpAddr>| before.iter().filter_map(|address| version_4(*address)).collect();
    claims.values().map(|claim| line(&claim.before)).filter(|line: &Vec<_>| !line.is_empty()).collect()
}

/// Asks the first of each line, and where that does not answer the others: as long as one of them is alive, it is not for
/// this node to step in. `ping` says for each target whether it has answered.
fn ask<E>(
    lines: &Lines,
    mut ping: impl FnMut(&[Ipv4Addr]) -> Result<Vec<bool>, E>,
) -> Result<BTreeMap<Ipv4Addr, bool>, E> {
    let firsts: BTreeSet<_> = lines.iter().filter_map(|line| line.first().copied()).collect();
    let mut answers = BTreeMap::new();
    let mut targets: Vec<_> = firsts.into_iter().collect();
    while !targets.is_empty() {
        answers.extend(targets.iter().copied().zip(ping(&targets)?));
        let silent =
            |line: &&Vec<Ipv4Addr>| line.first().is_some_and(|first| answers.get(first) == Some(&false));
        let others = lines.iter().filter(silent).flatten().filter(|other| !answers.contains_key(*other));
        targets = others.copied().collect::<BTreeSet<_>>().into_iter().collect();
    }
    Ok(answers)
}

/// Who does not answer.
#[derive(Debug)]
pub(super) struct Watch {
    node: String,
    /// How many pings nodes have left without an answer, of those that were asked.
    missed: BTreeMap<Ipv4Addr, u32>,
    /// When the next round is.
    next: Instant,
}

impl Watch {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.into(), missed: BTreeMap::new(), next: Instant::now() }
    }

    /// Makes a round, if it is time for one.
    pub(super) async fn round(&mut self, claims: &Claims) {
        let lines = lines(claims);
        self.missed.retain(|address, _| lines.iter().flatten().any(|before| before == address));
        let began = Instant::now();
        if lines.is_empty() || began < self.next {
            return;
        }
        let ping = |targets: &[Ipv4Addr]| {
            let answers = ping::ping_all(targets, ANSWER)?;
            Ok::<_, net::Error>(answers.into_iter().map(|answer| answer.is_some()).collect())
        };
        // Threads are born into the namespace of who starts them.
        let asked = tokio::task::spawn_blocking(move || ask(&lines, ping)).await;
        // Who cannot ask has no reason to believe that nobody is there.
        if let Ok(Ok(answers)) = asked {
            self.note(answers);
        }
        let all_well = self.missed.values().all(|missed| *missed == 0);
        self.next = began + if all_well { PATROL } else { AGAIN };
    }

    fn note(&mut self, answers: BTreeMap<Ipv4Addr, bool>) {
        // Who was not asked stands behind one that lives.
        self.missed.retain(|address, _| answers.contains_key(address));
        for (target, answered) in answers {
            let missed = self.missed.entry(target).or_default();
            *missed = if answered { 0 } else { missed.saturating_add(1) };
            if *missed == MISSED {
                tracing::warn!(node = self.node, "{target} does not answer any more");
            }
        }
    }

    /// Whether a node is not alive.
    pub(super) fn is_silent(&self, address: IpAddr) -> bool {
        version_4(address).is_some_and(|ip| self.missed.get(&ip).is_some_and(|missed| *missed >= MISSED))
    }

    /// When the next round is, if there is anybody to ask.
    pub(super) fn next(&self, claims: &Claims) -> Option<Instant> {
        (!lines(claims).is_empty()).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use store::ObjectName;

    use super::super::Claim;
    use super::*;

    fn node(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, n)
    }

    /// Who was asked, one round after the other, when these do not answer.
    fn asked(lines: &[&[u8]], silent: &[u8]) -> (Vec<Vec<Ipv4Addr>>, BTreeMap<Ipv4Addr, bool>) {
        let lines = lines.iter().map(|line| line.iter().map(|n| node(*n)).collect()).collect();
        let mut rounds = Vec::new();
        let answers = ask(&lines, |targets| {
            rounds.push(targets.to_vec());
            Ok::<_, ()>(targets.iter().map(|target| !silent.contains(&target.octets()[3])).collect())
        });
        (rounds, answers.unwrap())
    }

    #[test]
    fn only_where_the_first_is_silent_others_are_asked() {
        assert_eq!(asked(&[&[3, 4], &[3], &[5, 4]], &[4]).0, [vec![node(3), node(5)]]);
        let (rounds, answers) = asked(&[&[3, 4], &[5, 6]], &[3]);
        assert_eq!(rounds, [vec![node(3), node(5)], vec![node(4)]]);
        assert_eq!(answers.into_values().collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(asked(&[&[3, 4]], &[3, 4]).0.concat(), [node(3), node(4)]);
        assert!(asked(&[], &[]).0.is_empty());
        let broken = ask(&[vec![node(3)]].into(), |_| Err::<Vec<bool>, _>("no socket"));
        assert_eq!(broken, Err("no socket"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_silent_before_the_fourth_ping_and_an_answer_is_enough_to_be_back() {
        let mut watch = Watch::new("C0w1");
        let say = |watch: &mut Watch, first: bool, second: bool| {
            watch.note([(node(3), first), (node(4), second)].into());
            [3, 4].map(|n| watch.is_silent(node(n).into()))
        };
        for _ in 0..3 {
            assert_eq!(say(&mut watch, false, true), [false, false]);
        }
        assert_eq!(say(&mut watch, false, true), [true, false]);
        assert_eq!(say(&mut watch, true, false), [false, false]);
        // One that was not asked begins anew.
        watch.note([(node(3), true)].into());
        for _ in 0..3 {
            assert_eq!(say(&mut watch, true, false), [false, false]);
        }
        assert_eq!(say(&mut watch, true, false), [false, true]);
        let claim = |before: Vec<IpAddr>| Claim { service: ObjectName::new("default", "web"), before };
        let claims = |before| Claims::from([(IpAddr::from([10, 200, 0, 1]), claim(before))]);
        assert_eq!(watch.next(&claims(vec![])), None, "who is first asks nobody");
        assert!(watch.next(&claims(vec![node(3).into()])).is_some());
    }
}
