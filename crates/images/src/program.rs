//! The programs behind the images: `topo image NAME ARGUMENTS…`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::{Error, agnhost, frontend, hello, mirror, nginx, pause};

/// A program, by the name that the table calls it.
pub(crate) type Program = fn(&[String]) -> Result<ExitCode, Error>;

/// All programs, in the order of their names.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("agnhost", agnhost::run),
    ("echo-server", mirror::echo_server),
    ("echoserver", mirror::echoserver),
    ("hello", hello::hello),
    ("hello-frontend", frontend::run),
    ("http-echo", hello::http_echo),
    ("httpd", nginx::httpd),
    ("nginx", nginx::run),
    ("nginx-hello", mirror::nginx_hello),
    ("pause", |_| pause::run()),
    ("whoami", mirror::whoami),
];

/// Runs the program that `args` begins with, and tells why if it cannot.
///
/// The status is the program's own; 1 if it could not go on, 2 if its arguments are wrong.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (name, result) = match args.split_first() {
        Some((name, args)) => (name.as_str(), find(name).and_then(|program| program(args))),
        None => ("", Err(Error::Usage(format!("which one? there are {}", names())))),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{}", told(name, &error));
        ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
    })
}

fn find(name: &str) -> Result<Program, Error> {
    let found = PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, program)| *program);
    found.ok_or_else(|| Error::Usage(format!("no such program; there are {}", names())))
}

fn names() -> String {
    PROGRAMS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// `topo image NAME: what: why`, then a hint where there is one.
fn told(name: &str, error: &Error) -> String {
    let mut text = format!("topo image {name}: {}", runtime::chain(error));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}
