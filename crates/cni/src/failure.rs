//! How a plugin failed: its own words where it found any, else what was seen of it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use crate::request::Command;

/// Longest piece of a plugin's output in a message.
const EXCERPT: usize = 600;

/// A plugin that was called and did not do its work.
#[derive(Debug)]
pub struct Failure {
    /// The network; none where a plugin was only asked for its versions.
    pub network: Option<String>,
    /// The plugin's type.
    pub plugin: String,
    /// Its file.
    pub path: PathBuf,
    /// What it was to do.
    pub command: Command,
    /// What happened.
    pub reason: Reason,
    /// What it said on standard error, at most its first 64 KiB.
    pub stderr: String,
}

/// What happened to a plugin.
#[derive(Debug)]
pub enum Reason {
    /// It could not be started.
    Start(io::Error),
    /// Its pipes broke.
    Pipe(io::Error),
    /// It did not end within the time limit and was killed, with its process group.
    TimedOut {
        /// The limit.
        limit: Duration,
        /// Whether the plugin itself had ended, and only something that it started held its output open.
        ended: bool,
    },
    /// It ended with a failure and told why, as the specification wants it.
    Answer {
        /// How it ended.
        status: ExitStatus,
        /// What it told.
        error: PluginError,
    },
    /// It ended with a failure and without a CNI error on standard output.
    Exit {
        /// How it ended.
        status: ExitStatus,
        /// What it printed instead.
        stdout: String,
    },
    /// It ended well, but what it printed is no answer.
    Output {
        /// What is wrong with it.
        why: String,
        /// What it printed.
        stdout: String,
    },
}

/// An error in a plugin's own words (specification, section 5, "Error").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// What kind of error.
    pub code: Code,
    /// A short message.
    pub msg: String,
    /// A longer one, or empty.
    pub details: String,
}

/// The error codes of the specification, and those of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1: the plugin does not speak the configuration's version.
    IncompatibleVersion,
    /// 2: a field of the configuration that the plugin does not support.
    UnsupportedField,
    /// 3: the container does not exist; there is nothing to clean up.
    UnknownContainer,
    /// 4: a bad or missing environment variable.
    InvalidEnvironment,
    /// 5: input or output failed.
    Io,
    /// 6: the configuration cannot be decoded.
    Decode,
    /// 7: the configuration is invalid.
    InvalidConfig,
    /// 8: the network namespace is no good. Not in the specification; plugins made with its Go library
    /// give it.
    InvalidNetns,
    /// 11: try again later.
    TryAgain,
    /// 50: the plugin cannot serve ADD.
    NotAvailable,
    /// 51: as 50, and containers that are attached already may have limited connectivity.
    LimitedConnectivity,
    /// Another one below 100, which the specification reserves.
    Reserved(u64),
    /// 100 and more: the plugin's own.
    Own(u64),
}

impl Code {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfig => 7,
            Self::InvalidNetns => 8,
            Self::TryAgain => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::Reserved(number) | Self::Own(number) => number,
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::IncompatibleVersion => "incompatible CNI version",
            Self::UnsupportedField => "unsupported field",
            Self::UnknownContainer => "unknown container",
            Self::InvalidEnvironment => "invalid environment",
            Self::Io => "input or output failed",
            Self::Decode => "cannot be decoded",
            Self::InvalidConfig => "invalid configuration",
            Self::InvalidNetns => "invalid network namespace",
            Self::TryAgain => "try again later",
            Self::NotAvailable => "plugin not available",
            Self::LimitedConnectivity => "plugin not available, limited connectivity",
            Self::Reserved(_) => "reserved",
            Self::Own(_) => "plugin's own",
        }
    }
}

impl From<u64> for Code {
    fn from(number: u64) -> Self {
        match number {
            1 => Self::IncompatibleVersion,
            2 => Self::UnsupportedField,
            3 => Self::UnknownContainer,
            4 => Self::InvalidEnvironment,
            5 => Self::Io,
            6 => Self::Decode,
            7 => Self::InvalidConfig,
            8 => Self::InvalidNetns,
            11 => Self::TryAgain,
            50 => Self::NotAvailable,
            51 => Self::LimitedConnectivity,
            100.. => Self::Own(number),
            _ => Self::Reserved(number),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}, {}", self.number(), self.meaning())
    }
}

impl PluginError {
    /// Reads what a plugin printed; nothing when that is no CNI error.
    pub(crate) fn parse(stdout: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(stdout).ok()?;
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = value.get("code")?.as_u64()?.into();
        Some(Self { code, msg: text("msg"), details: text("details") })
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for text in [&self.msg, &self.details] {
            if !text.is_empty() {
                write!(f, ": {}", excerpt(text))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(_) => f.write_str("cannot be started"),
            Self::Pipe(_) => f.write_str("its pipes broke"),
            Self::TimedOut { limit, ended: false } => {
                write!(f, "did not end within {limit:?} and was killed")
            }
            Self::TimedOut { limit, ended: true } => {
                write!(f, "ended, but something that it started held its output open for {limit:?}")
            }
            Self::Answer { status, error } => write!(f, "{status}: {error}"),
            Self::Exit { status, stdout } if stdout.trim().is_empty() => {
                write!(f, "{status}, without a CNI error")
            }
            Self::Exit { status, stdout } => {
                write!(f, "{status}, without a CNI error; stdout: {}", excerpt(stdout))
            }
            Self::Output { why, stdout } if stdout.trim().is_empty() => {
                write!(f, "printed nothing where an answer is due ({why})")
            }
            Self::Output { why, stdout } => {
                write!(f, "printed what is no answer ({why}); stdout: {}", excerpt(stdout))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.network {
            write!(f, "network {network}: ")?;
        }
        let Self { plugin, path, command, reason, stderr, .. } = self;
        write!(f, "plugin {plugin} ({}): {command}: {reason}", path.display())?;
        if !stderr.trim().is_empty() {
            write!(f, "; stderr: {}", excerpt(stderr))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Start(source) | Reason::Pipe(source) => Some(source),
            _ => None,
        }
    }
}

/// A text as one line of bounded length.
fn excerpt(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.join(" | ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn failure(reason: Reason, stderr: &str) -> String {
        Failure {
            network: Some("dbnet".into()),
            plugin: "bridge".into(),
            path: "/cni/bridge".into(),
            command: Command::Add,
            reason,
            stderr: stderr.into(),
        }
        .to_string()
    }

    #[test]
    fn every_code_has_its_number_back() {
        for number in (0..=120).chain([999, u64::MAX]) {
            assert_eq!(Code::from(number).number(), number);
        }
        assert_eq!(Code::from(11), Code::TryAgain);
        assert_eq!(Code::from(9), Code::Reserved(9));
        assert_eq!(Code::from(100), Code::Own(100));
        assert_eq!(Code::NotAvailable.to_string(), "code 50, plugin not available");
    }

    #[test]
    fn an_error_is_read_and_rubbish_is_none() {
        let error =
            PluginError::parse(br#"{"cniVersion":"1.0.0","code":7,"msg":"no","details":"why"}"#).unwrap();
        assert_eq!(error.code, Code::InvalidConfig);
        assert_eq!(error.to_string(), "code 7, invalid configuration: no: why");
        let short = PluginError::parse(br#"{"code":103}"#).unwrap();
        assert_eq!(short.to_string(), "code 103, plugin's own");
        for rubbish in ["", "null", "[]", "{}", r#"{"code":"7"}"#, r#"{"code":-1}"#, "{", "{\"code\":1} x"] {
            assert_eq!(PluginError::parse(rubbish.as_bytes()), None, "{rubbish}");
        }
    }

    #[test]
    fn a_failure_names_network_plugin_path_command_status_and_what_was_said() {
        let status = ExitStatus::from_raw(3 << 8);
        let exit = |stdout: &str| Reason::Exit { status, stdout: stdout.into() };
        assert_eq!(
            failure(exit("\n"), "line one\n\n  line two\n"),
            "network dbnet: plugin bridge (/cni/bridge): ADD: exit status: 3, without a CNI error; \
             stderr: line one | line two"
        );
        assert!(failure(exit("oops"), "").ends_with("without a CNI error; stdout: oops"));
        let killed = Reason::Exit { status: ExitStatus::from_raw(9), stdout: String::new() };
        assert!(failure(killed, "").contains("signal: 9 (SIGKILL)"));
        let limit = Duration::from_secs(60);
        let hung = failure(Reason::TimedOut { limit, ended: false }, "waiting");
        assert!(hung.ends_with("did not end within 60s and was killed; stderr: waiting"), "{hung}");
    }

    #[test]
    fn long_output_is_cut() {
        let text = "ä".repeat(EXCERPT + 1);
        assert_eq!(excerpt(&text).chars().count(), EXCERPT + 1);
        assert_eq!(excerpt(&text[..2 * EXCERPT]), text[..2 * EXCERPT]);
    }
}
