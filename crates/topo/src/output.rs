//! Everything that is printed, and how a failure is told.
// The one place that writes to the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::Cli;

/// A line on standard error; that it cannot be written is nothing that could be told.
macro_rules! complain {
    ($($text:tt)*) => {{ let _ = writeln!(io::stderr(), $($text)*); }};
}

macro_rules! show {
    ($($text:tt)*) => {{ let _ = write!(io::stderr(), $($text)*); }};
}

/// A negative result: the command worked, the answer is no.
pub(crate) const NO: u8 = 1;
/// The command did not work.
pub(crate) const ERROR: u8 = 2;

/// A negative result that is told and ends with 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Negative(pub(crate) String);

/// A hint of the command's own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Hinted {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A line on standard output. A reader that has gone away is no failure: there is nothing left to do.
pub(crate) fn line(text: impl Display) {
    if let Err(e) = writeln!(io::stdout(), "{text}")
        && e.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Text on standard output as it is.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A line on standard error, for what is no answer.
pub(crate) fn note(text: impl Display) {
    complain!("{text}");
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A line that is written over, on a terminal only.
pub(crate) struct Progress {
    shown: bool,
    wanted: bool,
}

impl Progress {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { shown: false, wanted: wanted && io::stderr().is_terminal() }
    }

    pub(crate) fn show(&mut self, text: impl Display) {
        if self.wanted {
            show!("\r\x1b[K{text}");
            self.shown = true;
        }
    }

    pub(crate) fn clear(&mut self) {
        if self.shown {
            show!("\r\x1b[K");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A table without lines, as kubectl prints them.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(Cell::new));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table, its lines without trailing blanks.
pub(crate) fn print_table(table: &Table) {
    for text in table.lines() {
        line(text.trim_end());
    }
}

/// A word that is green or red on a terminal.
pub(crate) fn verdict(good: bool, word: &str) -> Cell {
    let cell = Cell::new(word);
    if colours() { cell.fg(if good { Color::Green } else { Color::Red }) } else { cell }
}

/// Whether colours are wanted (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints what clap says: help on standard output, mistakes on standard error.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        // What clap says names the verbs that nobody types.
        ErrorKind::MissingSubcommand => complain!("{}", help(std::env::args())),
        _ => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(ERROR))
}

/// The help of the verb that these arguments name.
fn help(args: impl Iterator<Item = String>) -> impl Display {
    let mut command = Cli::command();
    command.build();
    for word in args.skip(1) {
        if let Some(inner) = command.find_subcommand(&word) {
            command = inner.clone();
        }
    }
    command.render_help()
}

/// Prints a failure: `topo: what: why`, then a hint where one is known.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if let Some(topology::Problems(problems)) = find(error) {
        for problem in problems {
            complain!("topo: {problem}");
            if let Some(hint) = &problem.hint {
                complain!("  hint: {hint}");
            }
        }
        return ExitCode::from(ERROR);
    }
    complain!("topo: {error:#}");
    let lab_error = find::<lab::Error>(error);
    if let Some(lab::Error::Failed { log, .. }) = lab_error {
        for text in log {
            complain!("  | {text}");
        }
    }
    let own_hint = find::<Hinted>(error).map(|hinted| hinted.hint.clone());
    if let Some(hint) = own_hint.or_else(|| lab_error.and_then(lab::Error::hint)) {
        complain!("hint: {hint}");
    }
    if matches!(lab_error, Some(lab::Error::Interrupted)) {
        return ExitCode::from(130);
    }
    ExitCode::from(if find::<Negative>(error).is_some() { NO } else { ERROR })
}

fn find<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    error.chain().find_map(|cause| cause.downcast_ref::<T>())
}
