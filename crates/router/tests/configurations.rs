//! The real router's verdict on the configurations that `api::router_config` judges.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// A listener that cannot listen ends the router soon after it has started.
const AFTERWARDS: Duration = Duration::from_millis(400);

fn skrouterd() -> Option<PathBuf> {
    let named = std::env::var_os("KNETSIM_SKROUTERD").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("skrouterd"));
    named.into_iter().chain(found).find(|file| file.is_file())
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `starts` or `refuses`, and what it said.
fn verdict(program: &Path, file: &Path, log: &Path) -> (&'static str, String) {
    let out = std::fs::File::create(log).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(file).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let mut running = Running(command.spawn().unwrap());
    let begin = Instant::now();
    let mut operational: Option<Instant> = None;
    loop {
        let mut said = String::new();
        std::fs::File::open(log).unwrap().read_to_string(&mut said).unwrap();
        if running.0.try_wait().unwrap().is_some() {
            return ("refuses", said);
        }
        if operational.is_none() && said.contains("Operational") {
            operational = Some(Instant::now());
        }
        if operational.is_some_and(|since| since.elapsed() > AFTERWARDS) {
            return ("starts", said);
        }
        assert!(begin.elapsed() < PATIENCE, "{}: neither started nor ended: {said}", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn skrouterd_says_of_every_configuration_what_is_written_of_it() {
    let Some(program) = skrouterd() else {
        eprintln!("there is no skrouterd: name one in KNETSIM_SKROUTERD to compare with it");
        return;
    };
    let table = include_str!("../../api/src/router_config/verdicts.json");
    let table: Vec<Value> = serde_json::from_str(table).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // When the others die is chance.
    let next = Mutex::new(table.iter().filter(|one| one["skrouterd"] != "breaks").enumerate());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((number, one)) = next.lock().unwrap().next() else { return };
                    let text = one["text"].as_str().map_or_else(|| one["conf"].to_string(), str::to_owned);
                    let file = folder.path().join(format!("{number}.json"));
                    std::fs::write(&file, text).unwrap();
                    let log = folder.path().join(format!("{number}.log"));
                    // Each in its own network: they use the same ports. skrouterd dies of a signal at its start
                    // now and then, whatever the file: who surprises is asked again.
                    let ask = |_| {
                        let ns = testkit::netns();
                        ns.run(|| Ok::<_, net::Error>(verdict(&program, &file, &log))).unwrap()
                    };
                    let verdicts: Vec<_> =
                        (0..3).map(ask).take_while(|(said, _)| one["skrouterd"] != *said).collect();
                    if let [_, _, (verdict, said)] = verdicts.as_slice() {
                        wrong.lock().unwrap().push(format!("{}: {verdict}\n{said}", one["what"]));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
