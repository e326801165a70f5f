//! Time stands still but for the probes' own waits, so that what happens when can be compared exactly.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::probe::{ExecFuture, ExecOutput, Failed};

/// A container whose probes run `startup`, `readiness` and `liveness`, which do as they are told.
struct World {
    began: Instant,
    answers: Mutex<BTreeMap<String, Result<ExecOutput, String>>>,
    /// Second and command of each probe.
    log: Mutex<Vec<String>>,
    events: Mutex<Vec<String>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            answers: Mutex::default(),
            log: Mutex::default(),
            events: Mutex::default(),
        })
    }

    fn answer(&self, command: &str, answer: Result<ExecOutput, String>) {
        self.answers.lock().unwrap().insert(command.into(), answer);
    }

    fn fails(&self, command: &str, fails: bool) {
        let exit_code = Some(i32::from(fails));
        self.answer(command, Ok(ExecOutput { exit_code, output: b"no\n".to_vec() }));
    }

    fn log(&self) -> String {
        std::mem::take(&mut *self.log.lock().unwrap()).join(" ")
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

impl Exec for World {
    fn exec(&self, argv: Vec<String>, _: Duration) -> ExecFuture<'_> {
        self.log.lock().unwrap().push(format!("{}:{}", self.began.elapsed().as_secs(), argv[0]));
        let answer = self.answers.lock().unwrap().get(&argv[0]).cloned();
        let fine = Ok(ExecOutput { exit_code: Some(0), output: Vec::new() });
        Box::pin(async { answer.unwrap_or(fine) })
    }
}

/// Starts the probes, each of which is `exec` of its name with the fields that are given.
fn start(world: &Arc<World>, probes: Value, running_for: u64, before: Option<Before>) -> Prober {
    let mut container = json!({"name": "web"});
    for (name, fields) in probes.as_object().unwrap() {
        let mut probe = json!({"exec": {"command": [name]}});
        probe.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        container[format!("{name}Probe")] = probe;
    }
    let events = world.clone();
    Prober::start(Subject {
        container: serde_json::from_value(container).unwrap(),
        pod_ip: "11.10.0.5".into(),
        running_for: Duration::from_secs(running_for),
        before,
        exec: world.clone(),
        events: Arc::new(move |event: ProbeEvent| {
            events.events.lock().unwrap().push(format!("{}: {}", event.reason, event.message));
        }),
    })
}

/// Lets time pass, to just before that second.
async fn until(world: &World, second: u64) {
    tokio::time::sleep_until(world.began + Duration::from_secs(second) - Duration::from_millis(1)).await;
}

fn state(started: bool, ready: bool) -> ProbeState {
    ProbeState { started, ready, failed: None }
}

#[tokio::test(start_paused = true)]
async fn without_probes_a_container_is_ready_at_once() {
    let world = World::new();
    let prober = start(&world, json!({}), 0, None);
    assert_eq!(prober.state(), state(true, true));
}

#[tokio::test(start_paused = true)]
async fn a_container_is_probed_at_once_and_then_every_period() {
    let world = World::new();
    let prober = start(&world, json!({"readiness": {}, "liveness": {"periodSeconds": 7}}), 0, None);
    assert_eq!(prober.state(), state(true, false));
    prober.watch().wait_for(|state| state.ready).await.unwrap();
    assert_eq!(world.began.elapsed(), Duration::ZERO);
    until(&world, 21).await;
    assert_eq!(world.log(), "0:readiness 0:liveness 7:liveness 10:readiness 14:liveness 20:readiness");
    assert_eq!(world.events(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_initial_delay_counts_from_the_start_of_the_container() {
    let world = World::new();
    let probes = json!({"readiness": {"initialDelaySeconds": 5}, "liveness": {"initialDelaySeconds": 2}});
    let _prober = start(&world, probes, 3, None);
    until(&world, 13).await;
    assert_eq!(world.log(), "0:liveness 2:readiness 10:liveness 12:readiness");
}

#[tokio::test(start_paused = true)]
async fn the_startup_probe_holds_back_the_others() {
    let world = World::new();
    world.fails("startup", true);
    let probes = json!({
        "startup": {"periodSeconds": 2, "failureThreshold": 30},
        "readiness": {"initialDelaySeconds": 3},
        "liveness": {"initialDelaySeconds": 60},
    });
    let prober = start(&world, probes, 0, None);
    until(&world, 5).await;
    assert_eq!(prober.state(), state(false, false));
    assert_eq!(world.log(), "0:startup 2:startup 4:startup");
    assert_eq!(world.events(), vec!["Unhealthy: Startup probe failed: no"; 3]);
    world.fails("startup", false);
    until(&world, 62).await;
    assert_eq!(prober.state(), state(true, true));
    let log = world.log();
    assert!(log.starts_with("6:startup 6:readiness 16:readiness"), "{log}");
    assert!(log.ends_with("56:readiness 60:liveness"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn readiness_changes_at_its_thresholds_and_back() {
    let world = World::new();
    let probes = json!({"readiness": {"periodSeconds": 1, "successThreshold": 2, "failureThreshold": 3}});
    let prober = start(&world, probes, 0, None);
    let mut seen = prober.watch();
    let mut changes = Vec::new();
    for _ in 0..3 {
        seen.changed().await.unwrap();
        let ready = seen.borrow_and_update().ready;
        changes.push((world.began.elapsed().as_secs(), ready));
        world.fails("readiness", ready);
    }
    // Fails at 2, 3, 4; succeeds at 5 and 6.
    assert_eq!(changes, [(1, true), (4, false), (6, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_is_told_once_and_probed_no_more() {
    let world = World::new();
    let probes = json!({
        "liveness": {"periodSeconds": 1, "terminationGracePeriodSeconds": 4}, "readiness": {"periodSeconds": 60},
    });
    let prober = start(&world, probes, 0, None);
    until(&world, 2).await;
    world.fails("liveness", true);
    let mut seen = prober.watch();
    let failed = seen.wait_for(|state| state.failed.is_some()).await.unwrap().failed.clone();
    let kind = ProbeKind::Liveness;
    assert_eq!(failed, Some(Failed { kind, message: "no".into(), grace_seconds: Some(4) }));
    assert_eq!(world.began.elapsed().as_secs(), 4);
    until(&world, 30).await;
    assert_eq!(world.log(), "0:readiness 0:liveness 1:liveness 2:liveness 3:liveness 4:liveness",);
    assert_eq!(world.events(), vec!["Unhealthy: Liveness probe failed: no"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_never_starts_is_told() {
    let world = World::new();
    world.fails("startup", true);
    let prober = start(&world, json!({"startup": {"failureThreshold": 2}, "readiness": {}}), 0, None);
    until(&world, 60).await;
    let state = prober.state();
    assert_eq!(state.failed.unwrap().killing("web"), "Container web failed startup probe, will be restarted");
    assert_eq!((state.started, state.ready), (false, false));
    assert_eq!(world.log(), "0:startup 10:startup");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_probed_counts_neither_way() {
    let world = World::new();
    let probes = json!({"readiness": {"failureThreshold": 1}, "liveness": {"failureThreshold": 1}});
    let prober = start(&world, probes, 0, None);
    prober.watch().wait_for(|state| state.ready).await.unwrap();
    let error = "exec: \"readiness\": executable file not found in $PATH";
    world.answer("readiness", Err(error.into()));
    world.answer("liveness", Err(error.into()));
    until(&world, 11).await;
    assert_eq!(prober.state(), state(true, true));
    // Each was tried three times.
    assert_eq!(world.log().matches("10:").count(), 6);
    let said = |kind: &str| format!("Unhealthy: {kind} probe errored and resulted in unknown state: {error}");
    let mut events = world.events();
    events.sort();
    assert_eq!(events, [said("Liveness"), said("Readiness")]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_means_nothing_is_told_each_time() {
    let world = World::new();
    let events = world.clone();
    let container = json!({"name": "a", "readinessProbe": {"tcpSocket": {"port": "db"}}});
    let prober = Prober::start(Subject {
        container: serde_json::from_value(container).unwrap(),
        pod_ip: String::new(),
        running_for: Duration::ZERO,
        before: None,
        exec: world.clone(),
        events: Arc::new(move |event: ProbeEvent| events.events.lock().unwrap().push(event.message)),
    });
    until(&world, 11).await;
    let text = "Readiness probe errored and resulted in unknown state: port \"db\" not found";
    assert_eq!(world.events(), [text, text]);
    assert_eq!(prober.state(), state(true, false));
}

#[tokio::test(start_paused = true)]
async fn commands_have_their_time() {
    let world = World::new();
    let slow = |argv: Vec<String>, timeout: Duration| async move {
        assert_eq!(timeout, Duration::from_secs(90));
        match argv[0].as_str() {
            "ended" => Ok(ExecOutput { exit_code: None, output: b"ignored".to_vec() }),
            // Nobody ends it.
            _ => std::future::pending().await,
        }
    };
    for command in ["ended", "never"] {
        let action = Action::Exec(vec![command.into(), "a b".into()]);
        let outcome = action.run(Duration::from_secs(90), &slow).await;
        let text = format!("command timed out: \"{command} a b\" timed out after 1m30s");
        assert_eq!(outcome, Outcome::Failure(text));
    }
    assert_eq!(world.began.elapsed(), Duration::from_secs(92));
    let loud = |_: Vec<String>, _: Duration| async {
        Ok(ExecOutput { exit_code: Some(2), output: vec![b'x'; 20_000] })
    };
    let outcome = Action::Exec(vec!["x".into()]).run(Duration::from_secs(1), &loud).await;
    assert_eq!(outcome, Outcome::Failure("x".repeat(10 * 1024)));
}

#[tokio::test(start_paused = true)]
async fn a_container_of_a_deleted_pod_is_only_asked_whether_it_is_ready() {
    let world = World::new();
    let probes = json!({"readiness": {"failureThreshold": 1}, "liveness": {}});
    let mut prober = start(&world, probes, 0, None);
    until(&world, 5).await;
    world.log();
    prober.pod_deleted();
    world.fails("readiness", true);
    until(&world, 15).await;
    assert_eq!(world.log(), "10:readiness");
    assert_eq!(prober.state(), state(true, false));
    drop(prober);
    until(&world, 60).await;
    assert_eq!(world.log(), "");
}

#[tokio::test(start_paused = true)]
async fn what_was_known_before_stays_until_something_else_is() {
    let world = World::new();
    world.fails("readiness", true);
    let before = Some(Before { started: true, ready: true });
    let probes = json!({"startup": {}, "readiness": {"failureThreshold": 1}, "liveness": {}});
    let prober = start(&world, probes.clone(), 100, before);
    assert_eq!(prober.state(), state(true, true));
    // Within the first period, at a time of its own.
    tokio::time::sleep_until(world.began + Duration::from_secs(10)).await;
    let log = world.log();
    assert_eq!((log.matches("readiness").count(), log.matches("liveness").count()), (1, 1), "{log}");
    assert!(!log.contains("startup"), "{log}");
    assert_eq!(prober.state(), state(true, false));

    // One that was not ready does not wait.
    let world = World::new();
    let prober = start(&world, probes, 100, Some(Before { started: true, ready: false }));
    prober.watch().wait_for(|state| state.ready).await.unwrap();
    assert_eq!(world.began.elapsed(), Duration::ZERO);
}
