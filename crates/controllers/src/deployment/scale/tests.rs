//! Bounds that hold whatever happens in between, and shares.

use std::sync::Arc;

use api::types::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn set(name: &str, replicas: i32, notes: &[(&str, i32)]) -> ReplicaSet {
    let notes: serde_json::Map<_, _> =
        notes.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "generation": 1, "annotations": notes},
        "spec": {"replicas": replicas, "selector": {}},
        "status": {"replicas": replicas, "availableReplicas": replicas, "observedGeneration": 1},
    }))
    .unwrap()
}

/// A ReplicaSet whose controller and whose pods take their time.
#[derive(Debug)]
struct Model {
    set: ReplicaSet,
    /// For each pod, whether it is available.
    pods: Vec<bool>,
}

impl Model {
    fn new(name: &str, replicas: i32) -> Self {
        Self { set: set(name, replicas, &[]), pods: vec![true; usize::try_from(replicas).unwrap()] }
    }

    fn resize(&mut self, planned: &Set) {
        if planned.is_scaled() {
            self.set.spec.as_mut().unwrap().replicas = Some(planned.replicas);
            *self.set.metadata.generation.as_mut().unwrap() += 1;
        }
    }

    /// As the controller does: it tells what it saw, not what it did then.
    fn sync(&mut self) {
        let count = |of: usize| i32::try_from(of).unwrap();
        self.set.status = Some(ReplicaSetStatus {
            replicas: count(self.pods.len()),
            available_replicas: Some(count(self.pods.iter().filter(|pod| **pod).count())),
            observed_generation: self.set.metadata.generation,
            ..ReplicaSetStatus::default()
        });
        let wanted = usize::try_from(spec_replicas(&self.set)).unwrap();
        // Those that are not available go first.
        self.pods.sort_by_key(|pod| !pod);
        self.pods.resize(wanted, false);
    }

    /// One more pod becomes available.
    fn ready(&mut self) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| !**pod) {
            *pod = true;
        }
    }

    fn planned(&self) -> Set {
        Set::new(&Arc::new(self.set.clone()))
    }
}

struct World {
    bounds: Bounds,
    new: Model,
    old: Vec<Model>,
}

impl World {
    fn sync(&mut self) {
        let (mut new, mut old) =
            (self.new.planned(), self.old.iter().map(Model::planned).collect::<Vec<_>>());
        rolling(self.bounds, &mut new, &mut old);
        self.new.resize(&new);
        self.old.iter_mut().zip(&old).for_each(|(model, planned)| model.resize(planned));
    }

    fn pods(&self) -> Vec<bool> {
        self.old.iter().chain([&self.new]).flat_map(|model| model.pods.clone()).collect()
    }

    fn is_done(&self) -> bool {
        let all = usize::try_from(self.bounds.replicas).unwrap();
        self.new.pods.len() == all && self.old.iter().all(|old| old.pods.is_empty())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In whatever order controllers and pods come to their turns: never too many pods, never too few that are
    /// available, and in the end all are new.
    #[test]
    fn a_rolling_update_keeps_its_bounds(
        replicas in 1i32..20,
        surge in 0i32..6,
        unavailable in 0i32..6,
        more_old in 0i32..4,
        steps in prop::collection::vec((0usize..6, 0usize..3), 0..300),
    ) {
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) };
        let bounds = Bounds { replicas, surge, unavailable };
        // A second old one, from an update that was overtaken.
        let second = more_old.min(surge);
        let mut world = World { bounds, new: Model::new("new", 0), old: vec![Model::new("a", replicas), Model::new("b", second)] };
        let check = |world: &World| {
            let pods = world.pods();
            let available = i32::try_from(pods.iter().filter(|pod| **pod).count()).unwrap();
            prop_assert!(i32::try_from(pods.len()).unwrap() <= bounds.most(), "{} > {}", pods.len(), bounds.most());
            prop_assert!(available >= bounds.least(), "{available} < {}", bounds.least());
            Ok(())
        };
        for (what, which) in steps {
            let World { new, old, .. } = &mut world;
            let model = match which {
                0 => new,
                which => &mut old[which - 1],
            };
            match what {
                0 | 1 => world.sync(),
                2 | 3 => model.sync(),
                _ => model.ready(),
            }
            check(&world)?;
        }
        for _ in 0..500 {
            world.sync();
            check(&world)?;
            let World { new, old, .. } = &mut world;
            for model in old.iter_mut().chain([new]) {
                model.sync();
                model.ready();
            }
            check(&world)?;
        }
        prop_assert!(world.is_done());
    }

    /// Whatever the sizes were, in proportion they add up to what is allowed.
    #[test]
    fn shares_add_up(replicas in 0i32..50, surge in 0i32..10, sizes in prop::collection::vec(1i32..30, 2..6), more in 0i32..9) {
        let noted = sizes.iter().sum::<i32>() + more;
        let bounds = Bounds { replicas, surge, unavailable: 1 };
        let set = |(i, size): (usize, &i32)| Set::new(&Arc::new(set(&format!("s{i}"), *size, &[("deployment.kubernetes.io/max-replicas", noted)])));
        let mut old: Vec<Set> = sizes.iter().enumerate().map(set).collect();
        let mut new = old.pop().unwrap();
        proportional(bounds, true, noted, Some(&mut new), &mut old);
        let sum = new.replicas + old.iter().map(|set| set.replicas).sum::<i32>();
        prop_assert!(old.iter().chain([&new]).all(|set| set.replicas >= 0));
        prop_assert_eq!(sum, bounds.most());
    }
}

#[test]
fn shares_are_as_upstreams() {
    // Sizes of old, old, new; the most that there might have been; replicas and surge; sizes then.
    let table = [
        // Up from 10 to 12 in the middle of an update, without surge.
        ((0, 5, 5), 10, (12, 0), (0, 6, 6)),
        ((0, 5, 5), 10, (5, 0), (0, 2, 3)),
        ((5, 3, 2), 10, (20, 0), (10, 6, 4)),
        ((4, 3, 3), 10, (5, 0), (1, 2, 2)),
        ((0, 2, 8), 10, (0, 0), (0, 0, 0)),
        // With surge.
        ((0, 4, 3), 7, (6, 1), (0, 4, 3)),
        ((0, 6, 7), 13, (20, 6), (0, 12, 14)),
    ];
    for ((a, b, new), most, (replicas, surge), expected) in table {
        let bounds = Bounds { replicas, surge, unavailable: 1 };
        let make = |name: &str, size: i32| {
            Set::new(&Arc::new(set(name, size, &[("deployment.kubernetes.io/max-replicas", most)])))
        };
        let (mut old, mut new) = (vec![make("a", a), make("b", b)], make("c", new));
        proportional(bounds, true, most, Some(&mut new), &mut old);
        let said = (old[0].replicas, old[1].replicas, new.replicas);
        assert_eq!(said, expected, "{a} {b} most {most} to {replicas}+{surge}");
    }
}

#[test]
fn the_only_active_one_takes_all() {
    let bounds = Bounds { replicas: 7, surge: 2, unavailable: 1 };
    let make = |name: &str, size: i32| Set::new(&Arc::new(set(name, size, &[])));
    let scaled = |sizes: [i32; 3]| {
        let (mut old, mut new) = (vec![make("a", sizes[0]), make("b", sizes[1])], make("c", sizes[2]));
        proportional(bounds, true, 0, Some(&mut new), &mut old);
        [old[0].replicas, old[1].replicas, new.replicas]
    };
    assert_eq!(scaled([0, 0, 3]), [0, 0, 7]);
    assert_eq!(scaled([3, 0, 0]), [7, 0, 0]);
    assert_eq!(scaled([0, 0, 0]), [0, 0, 7]);
    let mut old = vec![make("a", 0), make("b", 0)];
    proportional(bounds, true, 0, None, &mut old);
    assert_eq!([old[0].replicas, old[1].replicas], [0, 7]);
}

#[test]
fn all_of_the_old_end_before_the_new_begin() {
    let bounds = Bounds { replicas: 3, surge: 0, unavailable: 0 };
    let mut old = vec![Set::new(&Arc::new(set("a", 3, &[])))];
    let mut new = Set::new(&Arc::new(set("b", 0, &[])));
    recreate(bounds, Some(&mut new), &mut old, true);
    assert_eq!((old[0].replicas, new.replicas), (0, 0));
    recreate(bounds, Some(&mut new), &mut old, true);
    assert_eq!(new.replicas, 0, "one is ending");
    recreate(bounds, Some(&mut new), &mut old, false);
    assert_eq!(new.replicas, 3);
}
