//! Plugins that are not there, for tests of this crate and of those above it.
//!
//! Without being told otherwise they behave as good plugins do, and refuse what good plugins refuse:
//! a variable or a name that is missing, a version that they do not speak, an interface that exists.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::exec::{Call, ExecError, Output, PluginExec};
use crate::version::Version;

/// Variables that a plugin must be given (specification, section 2).
const NEEDED: [(&str, &[&str]); 5] = [
    ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
    ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
    ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
    ("GC", &["CNI_PATH"]),
    ("STATUS", &["CNI_PATH"]),
];

/// A folder of plugins that records every call.
#[derive(Debug, Default)]
pub struct FakeExec {
    plugins: BTreeMap<String, Vec<Version>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<(String, String), VecDeque<Answer>>,
    calls: Vec<Recorded>,
    log: Vec<String>,
    /// Plugin, container and interface.
    attached: BTreeSet<(String, String, String)>,
}

/// One call of a plugin, as the plugin saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The plugin's type.
    pub plugin: String,
    /// `CNI_COMMAND`.
    pub command: String,
    /// The variables of the protocol.
    pub environment: BTreeMap<String, String>,
    /// What came on standard input.
    pub config: Value,
}

/// What a plugin does, once, instead of what a good one would do.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Does its work, but prints this.
    Print(String),
    /// Prints a CNI error of this code and ends with 1.
    Error(u64, String),
    /// Ends with this status after printing this on standard output and on standard error.
    Exit(i32, String, String),
    /// Cannot be started, for this error number.
    Unstartable(i32),
    /// Does not end.
    Hang,
    /// Waits for others at a barrier, then does what a good plugin does.
    Meet(Arc<Barrier>),
}

impl FakeExec {
    /// These plugins, each speaking every version.
    #[must_use]
    pub fn new(plugins: &[&str]) -> Self {
        plugins.iter().fold(Self::default(), |fake, plugin| fake.with(plugin, &Version::ALL))
    }

    /// One plugin more, or another range of versions for one.
    #[must_use]
    pub fn with(mut self, plugin: &str, versions: &[Version]) -> Self {
        self.plugins.insert(plugin.into(), versions.to_vec());
        self
    }

    /// Sets what a plugin does when it is called with a command the next time that nothing is set for.
    pub fn next(&self, plugin: &str, command: &str, answer: Answer) {
        self.state().answers.entry((plugin.into(), command.into())).or_default().push_back(answer);
    }

    /// Every call so far, in the order of their beginnings.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded> {
        self.state().calls.clone()
    }

    /// Every call so far, as `ADD bridge`.
    #[must_use]
    pub fn order(&self) -> Vec<String> {
        self.state().calls.iter().map(|call| format!("{} {}", call.command, call.plugin)).collect()
    }

    /// Beginnings and ends, as `begin ADD c1` and `end ADD c1`; GC and STATUS have `-` for a container.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, call: &Call) -> (Recorded, Option<Answer>) {
        let plugin = call.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = |(name, value): (&&str, &std::ffi::OsString)| {
            ((*name).to_owned(), value.to_string_lossy().into_owned())
        };
        let environment: BTreeMap<String, String> = call.environment.iter().map(text).collect();
        let command = environment.get("CNI_COMMAND").cloned().unwrap_or_default();
        let config = serde_json::from_slice(&call.stdin).unwrap_or(Value::Null);
        let recorded = Recorded { plugin, command, environment, config };
        let mut state = self.state();
        state.log.push(format!("begin {}", recorded.title()));
        state.calls.push(recorded.clone());
        let key = (recorded.plugin.clone(), recorded.command.clone());
        let answer = state.answers.get_mut(&key).and_then(VecDeque::pop_front);
        (recorded, answer)
    }

    /// What a good plugin prints, or the code and text of its error.
    fn good(&self, call: &Recorded) -> Result<String, (u64, String)> {
        let versions = self.plugins.get(&call.plugin).cloned().unwrap_or_default();
        if call.command == "VERSION" {
            let supported: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
            return Ok(json!({"cniVersion": "1.1.0", "supportedVersions": supported}).to_string());
        }
        call.refuse_bad_input(&versions)?;
        let key = (call.plugin.clone(), call.variable("CNI_CONTAINERID"), call.variable("CNI_IFNAME"));
        let mut state = self.state();
        match call.command.as_str() {
            "ADD" if state.attached.contains(&key) => Err((100, "interface exists".into())),
            "ADD" => {
                state.attached.insert(key);
                Ok(call.config.get("prevResult").cloned().unwrap_or_else(|| call.result()).to_string())
            }
            "CHECK" if !state.attached.contains(&key) => Err((100, "interface is missing".into())),
            "DEL" => {
                state.attached.remove(&key);
                Ok(String::new())
            }
            _ => Ok(String::new()),
        }
    }
}

impl Recorded {
    /// A variable of the protocol, empty when it was not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> String {
        self.environment.get(name).cloned().unwrap_or_default()
    }

    fn title(&self) -> String {
        let container = self.environment.get("CNI_CONTAINERID").map_or("-", String::as_str);
        format!("{} {container}", self.command)
    }

    fn refuse_bad_input(&self, versions: &[Version]) -> Result<(), (u64, String)> {
        let Some((_, needed)) = NEEDED.iter().find(|(command, _)| *command == self.command) else {
            return Err((4, format!("unknown CNI_COMMAND {:?}", self.command)));
        };
        if let Some(name) = needed.iter().find(|name| self.variable(name).is_empty()) {
            return Err((4, format!("{name} is missing")));
        }
        if self.config.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err((7, "name is missing".into()));
        }
        let version = self.config.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
        if !versions.iter().any(|supported| supported.as_str() == version) {
            return Err((1, format!("version {version} is not spoken here")));
        }
        Ok(())
    }

    /// What the first plugin of a chain makes: an interface and an address.
    fn result(&self) -> Value {
        let mut address = json!({"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0});
        if self.config.get("cniVersion").and_then(Value::as_str).is_some_and(|version| version < "1.0.0") {
            address["version"] = "4".into();
        }
        json!({
            "cniVersion": self.config["cniVersion"],
            "interfaces": [{"name": self.variable("CNI_IFNAME"), "sandbox": self.variable("CNI_NETNS")}],
            "ips": [address],
        })
    }
}

impl PluginExec for FakeExec {
    fn find(&self, plugin: &str, folders: &[PathBuf]) -> Option<PathBuf> {
        let folder = folders.first()?;
        self.plugins.contains_key(plugin).then(|| folder.join(plugin))
    }

    async fn run(&self, call: &Call) -> Result<Output, ExecError> {
        let (recorded, answer) = self.begin(call);
        // Others get their turn, as they would while a process runs.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let output = |status: i32, stdout: String, stderr: String| {
            let status = ExitStatus::from_raw(status << 8);
            Ok(Output { status, stdout: stdout.into(), stderr: stderr.into() })
        };
        let error = |code: u64, text: String| {
            output(1, json!({"cniVersion": "1.1.0", "code": code, "msg": text}).to_string(), String::new())
        };
        if let Some(Answer::Meet(barrier)) = &answer {
            barrier.wait().await;
        }
        let done = match &answer {
            Some(Answer::Error(code, text)) => error(*code, text.clone()),
            Some(Answer::Exit(status, stdout, stderr)) => output(*status, stdout.clone(), stderr.clone()),
            Some(Answer::Unstartable(errno)) => {
                Err(ExecError::Start(std::io::Error::from_raw_os_error(*errno)))
            }
            Some(Answer::Hang) => {
                tokio::time::sleep(call.limit).await;
                Err(ExecError::TimedOut { ended: false, stderr: Vec::new() })
            }
            Some(Answer::Print(_) | Answer::Meet(_)) | None => match (self.good(&recorded), &answer) {
                (Ok(_), Some(Answer::Print(text))) => output(0, text.clone(), String::new()),
                (Ok(text), _) => output(0, text, String::new()),
                (Err((code, text)), _) => error(code, text),
            },
        };
        self.state().log.push(format!("end {}", recorded.title()));
        done
    }
}
