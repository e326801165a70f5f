//! Probes that run a command in the container. How that is done is the caller's.
//!
//! Sources: kubernetes `pkg/probe/exec/exec.go`; CRI `ExecSync`.

use std::pin::Pin;
use std::time::Duration;

use super::{MOST_OUTPUT, Outcome, go};

/// How long after its time-out a command may take to be ended, before nobody waits for it any more.
const ENDING: Duration = Duration::from_secs(2);

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code (128 + the signal's number if one ended it); none if it was ended because it took
    /// longer than allowed.
    pub exit_code: Option<i32>,
    /// What it wrote to standard output and standard error; the first 10 KiB are enough.
    pub output: Vec<u8>,
}

/// A command that runs.
pub type ExecFuture<'a> = Pin<Box<dyn Future<Output = Result<ExecOutput, String>> + Send + 'a>>;

/// Runs commands in a container.
pub trait Exec: Send + Sync {
    /// Runs `argv` for at most `timeout`, and ends it then, with all that it started; also when the future
    /// is dropped. An error says why the command could not be started.
    fn exec(&self, argv: Vec<String>, timeout: Duration) -> ExecFuture<'_>;
}

impl<F, R> Exec for F
where
    F: Fn(Vec<String>, Duration) -> R + Send + Sync,
    R: Future<Output = Result<ExecOutput, String>> + Send + 'static,
{
    fn exec(&self, argv: Vec<String>, timeout: Duration) -> ExecFuture<'_> {
        Box::pin(self(argv, timeout))
    }
}

pub(super) async fn probe(exec: &dyn Exec, command: &[String], timeout: Duration) -> Outcome {
    let run = exec.exec(command.to_vec(), timeout);
    let done = match tokio::time::timeout(timeout + ENDING, run).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => return Outcome::Error(error),
        Err(_) => ExecOutput { exit_code: None, output: Vec::new() },
    };
    match done.exit_code {
        Some(0) => Outcome::Success,
        Some(_) => {
            let most = done.output.len().min(MOST_OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&done.output[..most]).trim_end().to_owned())
        }
        None => {
            let (line, timeout) = (command.join(" "), go::duration(timeout));
            Outcome::Failure(format!(
                "command timed out: {} timed out after {timeout}",
                api::field::quoted(&line)
            ))
        }
    }
}
