//! One of several does the work: leader election with a Lease.
//!
//! Source: client-go `tools/leaderelection/{leaderelection,resourcelock/leaselock}.go`: its rules, its numbers
//! and its fields, so that a real component could take part. Clocks of the candidates are not compared: a
//! lease has run out when its record has not changed for so long while one looked.
//!
//! A candidate that finds its own name in the record goes on at once. So a process that is restarted under
//! its old name does not wait; two that run at the same time must have different names.

use std::future::Future;
use std::time::Duration;

use api::time;
use api::types::api::coordination::v1::{Lease, LeaseSpec};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, Result};
use crate::typed::Store;
use crate::uid::new_uid;

/// Where the leases of a cluster's components are.
pub const NAMESPACE: &str = "kube-system";
/// After so long without renewal another may take the lease (`--leader-elect-lease-duration`).
const DURATION: Duration = Duration::from_secs(15);
/// Who has not managed to renew it for so long stops (`--leader-elect-renew-deadline`).
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries (`--leader-elect-retry-period`).
const RETRY: Duration = Duration::from_secs(2);
/// The first tries come sooner: etcd and this process start together.
const FIRST_RETRY: Duration = Duration::from_millis(20);

/// A candidate for a lease.
#[derive(Debug)]
pub struct Candidate {
    store: Store,
    lease: String,
    identity: String,
    /// The record as it was last seen to change, and when.
    observed: Option<(LeaseSpec, Instant)>,
}

/// How a candidate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It leads.
    Leads,
    /// Another one does.
    Waits(String),
    /// The lease cannot be read or written.
    Trouble(String),
}

impl Candidate {
    /// A candidate called `identity`, as its host, for the lease of that name, as `kube-scheduler`.
    #[must_use]
    pub fn new(store: &Store, lease: &str, identity: &str) -> Self {
        Self { store: store.clone(), lease: lease.into(), identity: identity.into(), observed: None }
    }

    /// The name of this host, which names a candidate where each host has one.
    #[must_use]
    pub fn host() -> String {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_owned()
    }

    /// Runs `work` whenever this candidate leads, and drops it when it does not any more; until dropped itself.
    /// `tell` hears of every change.
    pub async fn run<F: Future<Output = ()>>(
        mut self,
        mut work: impl FnMut() -> F,
        mut tell: impl FnMut(&Standing),
    ) {
        loop {
            self.acquire(&mut tell).await;
            tell(&Standing::Leads);
            let lost = tokio::select! {
                why = self.hold() => why,
                // Work ends by a defect only; it begins again.
                () = work() => "the work has ended".to_owned(),
            };
            tell(&Standing::Trouble(lost));
        }
    }

    /// Waits until it leads.
    async fn acquire(&mut self, tell: &mut impl FnMut(&Standing)) {
        let mut retry = FIRST_RETRY;
        let mut told = None;
        loop {
            let standing = match self.try_once().await {
                Ok(None) => return,
                Ok(Some(holder)) => Standing::Waits(holder),
                Err(error) => Standing::Trouble(error.in_one_line()),
            };
            if told.as_ref() != Some(&standing) {
                tell(&standing);
                told = Some(standing);
            }
            sleep(retry).await;
            retry = (retry * 2).min(RETRY);
        }
    }

    /// Renews the lease; returns the reason when it is lost.
    async fn hold(&mut self) -> String {
        let mut deadline = Instant::now() + DEADLINE;
        loop {
            sleep(RETRY).await;
            let began = Instant::now();
            let why = tokio::select! {
                tried = self.try_once() => match tried {
                    Ok(None) => {
                        deadline = began + DEADLINE;
                        continue;
                    }
                    Ok(Some(holder)) => return format!("{holder} has taken the lease"),
                    Err(error) => error.in_one_line(),
                },
                () = sleep_until(deadline) => "no answer".to_owned(),
            };
            if Instant::now() >= deadline {
                return format!("lease {} not renewed: {why}", self.lease);
            }
        }
    }

    /// Takes or renews the lease if it may (`tryAcquireOrRenew`); gives who has it instead.
    async fn try_once(&mut self) -> Result<Option<String>> {
        let found: Option<Lease> = self.store.get(NAMESPACE, &self.lease).await?;
        let Some(mut lease) = found else { return self.create().await };
        let record = lease.spec.clone().unwrap_or_default();
        let seen = match &self.observed {
            Some((old, seen)) if *old == record => *seen,
            _ => Instant::now(),
        };
        self.observed = Some((record.clone(), seen));
        let holder = record.holder_identity.clone().unwrap_or_default();
        let seconds = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let valid = seconds.is_some_and(|seconds| seen.elapsed() < Duration::from_secs(seconds));
        if !holder.is_empty() && holder != self.identity && valid {
            return Ok(Some(holder));
        }
        let mine = holder == self.identity;
        lease.spec = Some(self.record(mine.then_some(&record), record.lease_transitions));
        match self.store.update(&mut lease).await {
            Ok(()) => {
                self.observed = lease.spec.map(|spec| (spec, Instant::now()));
                Ok(None)
            }
            // Another was faster.
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(Some(holder)),
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self) -> Result<Option<String>> {
        let spec = self.record(None, None);
        let metadata = ObjectMeta {
            name: Some(self.lease.clone()),
            namespace: Some(NAMESPACE.into()),
            uid: Some(new_uid()),
            creation_timestamp: Some(time::now()),
            ..ObjectMeta::default()
        };
        match self.store.create(&mut Lease { metadata, spec: Some(spec.clone()) }).await {
            Ok(()) => {
                self.observed = Some((spec, Instant::now()));
                Ok(None)
            }
            Err(Error::Exists { .. }) => Ok(Some(String::new())),
            Err(error) => Err(error),
        }
    }

    /// What stands in the lease when it is taken, or renewed if it was `mine`.
    fn record(&self, mine: Option<&LeaseSpec>, transitions: Option<i32>) -> LeaseSpec {
        let now = time::micro_now();
        let acquired = mine.and_then(|mine| mine.acquire_time.clone());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(match (mine, transitions) {
                (Some(_), transitions) => transitions.unwrap_or_default(),
                (None, None) => 0,
                (None, Some(transitions)) => transitions + 1,
            }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<String>>>;

    struct Working(&'static str, Log);

    impl Drop for Working {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(format!("{} stops", self.0));
        }
    }

    fn start(store: &Store, name: &'static str, log: &Log) -> tokio::task::JoinHandle<()> {
        let (candidate, log) = (Candidate::new(store, "test", name), log.clone());
        tokio::spawn(async move {
            let work = || async {
                log.lock().unwrap().push(format!("{name} works"));
                let _working = Working(name, log.clone());
                pending::<()>().await;
            };
            candidate.run(work, |_| {}).await;
        })
    }

    async fn lease(store: &Store) -> LeaseSpec {
        store.get::<Lease>(NAMESPACE, "test").await.unwrap().unwrap().spec.unwrap()
    }

    fn seconds(seconds: u64) -> impl Future<Output = ()> {
        sleep(Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_when_it_is_gone_the_other() {
        let (store, log) = (Store::memory(), Log::default());
        let a = start(&store, "a", &log);
        seconds(1).await;
        let b = start(&store, "b", &log);
        seconds(60).await;
        assert_eq!(*log.lock().unwrap(), ["a works"]);
        assert_eq!(lease(&store).await.lease_transitions, Some(0));
        a.abort();
        seconds(14).await;
        assert_eq!(*log.lock().unwrap(), ["a works", "a stops"], "it might come back");
        seconds(8).await;
        assert_eq!(*log.lock().unwrap(), ["a works", "a stops", "b works"]);
        let record = lease(&store).await;
        assert_eq!((record.holder_identity.as_deref(), record.lease_transitions), (Some("b"), Some(1)));
        b.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_under_its_name_goes_on_at_once() {
        let (store, log) = (Store::memory(), Log::default());
        start(&store, "a", &log).abort();
        let a = start(&store, "a", &log);
        seconds(1).await;
        let taken = lease(&store).await.acquire_time;
        a.abort();
        let again = start(&store, "a", &log);
        tokio::task::yield_now().await;
        seconds(1).await;
        assert_eq!(*log.lock().unwrap(), ["a works", "a stops", "a works"]);
        assert_eq!(lease(&store).await.acquire_time, taken);
        again.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_loses_the_lease_stops() {
        let (store, log) = (Store::memory(), Log::default());
        let a = start(&store, "a", &log);
        seconds(5).await;
        let steal = |lease: &mut Lease| {
            lease.spec.get_or_insert_default().holder_identity = Some("thief".into());
        };
        store.modify(NAMESPACE, "test", steal).await.unwrap();
        seconds(3).await;
        assert_eq!(*log.lock().unwrap(), ["a works", "a stops"]);
        // The thief does not renew it.
        seconds(20).await;
        assert_eq!(*log.lock().unwrap(), ["a works", "a stops", "a works"]);
        a.abort();
    }
}
