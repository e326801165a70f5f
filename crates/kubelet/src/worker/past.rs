//! What has run: in this sandbox, and in those before it.

use std::collections::BTreeMap;

use super::{Life, WARNING, all, now};
use crate::plan::{self, Notes};

impl Life {
    /// Takes up what an agent before this one has left.
    pub(super) fn recall(&mut self) {
        if let Some(sandbox) = &self.sandbox {
            self.ips = if sandbox.spec().host_network {
                Some(vec![self.shared.options.address.to_string()])
            } else {
                crate::network::attached(&self.shared, sandbox.spec())
            };
        }
        let told = self.pod.status.clone().unwrap_or_default();
        let statuses = told.container_statuses.iter().chain(&told.init_container_statuses).flatten();
        let told: BTreeMap<_, _> = statuses.map(|status| (status.name.as_str(), status)).collect();
        let spec = self.spec();
        for container in all(&spec) {
            let before = told.get(container.name.as_str());
            let ran = before.is_some_and(|status| status.container_id.is_some());
            let restarts = before.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0));
            let runs = before.filter(|_| ran).map(|status| plan::told(status, now())).unwrap_or_default();
            let notes = Notes {
                next_attempt: if ran { restarts + 1 } else { restarts },
                // Of what runs on; whoever is started is looked at anew.
                started: container.startup_probe.is_none() || before.is_some_and(|s| s.started == Some(true)),
                ready: container.readiness_probe.is_none() || before.is_some_and(|s| s.ready),
                ..Notes::default()
            };
            self.notes.insert(container.name.clone(), notes);
            if !runs.is_empty() {
                self.past.insert(container.name.clone(), runs);
            }
        }
        self.look();
        // What runs on is told by the sandbox.
        let here = &self.runs;
        self.past.retain(|name, _| !here.contains_key(name));
        for (name, notes) in &mut self.notes {
            let calm = here.get(name).map_or(notes.next_attempt, |runs| plan::calm_before(runs));
            notes.calm_since = notes.calm_since.max(calm);
        }
        self.keep_done();
    }

    /// What is done stays so in the next sandbox, but for init containers.
    pub(super) fn keep_done(&mut self) {
        let spec = self.spec();
        for container in &spec.containers {
            let last = plan::last(&self.past, &container.name);
            if let Some(done) = last.filter(|run| plan::is_done(run, plan::policy(&spec)))
                && !self.runs.contains_key(&container.name)
            {
                self.runs.insert(container.name.clone(), vec![done.clone()]);
            }
        }
    }

    /// The sandbox has ended: what has run in it is past.
    pub(super) fn bury(&mut self) {
        self.endings.clear();
        self.probers.clear();
        self.posts.abort_all();
        self.posting.clear();
        self.state = None;
        self.ips = None;
        for (name, runs) in std::mem::take(&mut self.runs) {
            let runs: Vec<_> = runs.into_iter().map(|run| plan::lost(run, now())).collect();
            if let Some(last) = runs.last() {
                let notes = self.notes.entry(name.clone()).or_default();
                notes.next_attempt = notes.next_attempt.max(last.attempt + 1);
                self.past.insert(name, runs);
            }
        }
        self.keep_done();
        self.publish();
    }

    /// Tells why what the sandbox held cannot be given back.
    pub(super) fn cannot_let_go(&mut self, message: &str) {
        self.tell(WARNING, "FailedKillPod", message);
        self.stuck = Some(message.to_owned());
        self.publish();
    }

    /// Takes over what the sandbox tells.
    pub(super) fn look(&mut self) {
        let Some(state) = &mut self.state else { return };
        let state = state.borrow_and_update();
        for (name, runs) in &state.containers {
            self.runs.insert(name.clone(), runs.clone());
            if let (Some(notes), Some(calm)) = (self.notes.get_mut(name), plan::calm_since(runs, now())) {
                notes.calm_since = notes.calm_since.max(calm);
            }
        }
        let runs = &self.runs;
        self.endings.retain(|name, ending| {
            plan::last(runs, name).is_some_and(|run| run.attempt == ending.attempt && run.running())
        });
    }
}
