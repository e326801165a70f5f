//! The `topo` command in tests: labs with a state folder of their own, ended with the test.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Who runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Own,
    /// Somebody without any privilege: user and group 65534.
    Nobody,
}

/// A place for labs: its own state folder, removed with everything in it.
#[derive(Debug)]
pub struct Bench {
    folder: PathBuf,
    exe: PathBuf,
    user: User,
}

impl Bench {
    /// A place where `user` runs `exe`, which is copied where everybody can read it.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new(exe: &str, user: User) -> Self {
        let folder = tempfile::Builder::new().prefix("knetsim-test-").tempdir().and_then(|dir| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
            Ok(dir.keep())
        });
        let folder = folder.unwrap_or_else(|e| panic!("make a folder: {e}"));
        let state = folder.join("state");
        let made = fs::create_dir(&state).and_then(|()| match user {
            User::Own => Ok(()),
            User::Nobody => std::os::unix::fs::chown(&state, Some(65534), Some(65534)),
        });
        made.unwrap_or_else(|e| panic!("make {}: {e}", state.display()));
        let copy = folder.join("topo");
        // A link where that works: copies of a large binary for every test would fill the disk.
        let placed = fs::hard_link(exe, &copy).or_else(|_| fs::copy(exe, &copy).map(|_| ()));
        placed.unwrap_or_else(|e| panic!("place {exe}: {e}"));
        Self { folder, exe: copy, user }
    }

    /// The folder of all state folders.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A folder for files of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `topo` with these arguments, not yet started; nothing on standard input.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self.user {
            User::Own => Command::new(&self.exe),
            User::Nobody => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&self.exe);
                command
            }
        };
        command.args(args).stdin(Stdio::null()).current_dir("/");
        command
            .env("KNETSIM_STATE_DIR", self.state())
            .env_remove("KNETSIM_LAB")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// Runs `topo` and gives back what came of it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        let mut command = self.command(args);
        let line = format!("{command:?}");
        Outcome::of(command.output().unwrap_or_else(|e| panic!("{line}: {e}")), line)
    }

    /// Runs `topo`, which must succeed; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.run(args).ok()
    }

    /// Runs `topo` with `input` on its standard input.
    ///
    /// # Panics
    /// When it cannot be started, or does not read to the end.
    #[must_use]
    pub fn told<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Outcome {
        let mut command = self.command(args);
        let line = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.spawn().and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        });
        Outcome::of(output.unwrap_or_else(|e| panic!("{line}: {e}")), line)
    }

    /// `topo apply` of these documents, which must succeed; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn apply(&self, documents: &str) -> String {
        self.told(["apply", "-f", "-"], documents).ok()
    }

    /// Starts the default lab with this topology; its processes have these variables, too.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(&self, topology: &str, env: &[(&str, &str)]) {
        let file = self.folder.join("lab.yaml");
        fs::write(&file, topology).unwrap_or_else(|e| panic!("write {}: {e}", file.display()));
        let mut command =
            self.command([OsStr::new("up"), OsStr::new("-q"), OsStr::new("-f"), file.as_os_str()]);
        let line = format!("{command:?}");
        let output = command.envs(env.iter().copied()).output();
        Outcome::of(output.unwrap_or_else(|e| panic!("{line}: {e}")), line).ok();
    }

    /// `topo status -o json` of the default lab.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let outcome = self.run(["status", "-o", "json"]);
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{outcome:?}: {e}"))
    }

    /// Waits until the default lab is ready again.
    ///
    /// # Panics
    /// After 30 seconds.
    pub fn wait_ready(&self) {
        crate::wait_for("lab ready", Duration::from_secs(30), || {
            let outcome = self.run(["status"]);
            if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
        });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A test that failed may leave labs; nothing of them must stay.
        let _ = self.command(["down", "--all"]).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command.
    pub line: String,
    /// Its exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Outcome {
    /// The outcome of a command that was called `line`.
    #[must_use]
    pub fn of(output: Output, line: String) -> Self {
        Self {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What a command printed that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    #[allow(clippy::must_use_candidate)]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}
