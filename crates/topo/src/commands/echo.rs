//! A little web server that answers one text.

use std::process::ExitCode;

use anyhow::Result;
use images::echo::{Options, run as serve};

use crate::cli::pods::EchoArgs;
use crate::output::Hinted;

pub(crate) fn run(args: EchoArgs) -> Result<ExitCode> {
    let text = (!args.text.is_empty()).then(|| args.text.join(" "));
    let options = Options { port: args.port, status: args.status, text, log: args.log };
    serve(&options).map_err(|error| {
        let hint = error.hint();
        let error = anyhow::Error::new(error).context("echo");
        match hint {
            Some(hint) => Hinted { message: format!("{error:#}"), hint: hint.into() }.into(),
            None => error,
        }
    })
}
