//! `topo shell`: a shell in a node, or the prompt.
//!
//! A line at the prompt is either `NODE COMMAND…`, which the node's own shell runs, or a verb of `topo`, or
//! one of the few words below. Every line runs as a process of its own (`topo exec …`, `topo VERB …`), so the
//! prompt, `topo shell -c` and a script on standard input all speak the same grammar as the command line.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::CommandFactory;
use lab::LabName;
use net::process;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, Helper, Highlighter, Hinter, Validator};

use crate::cli::Cli;
use crate::cli::labs::ShellArgs;
use crate::enter::{client, exec};
use crate::output::{Hinted, line, note};

const HELP: &str = "\
NODE COMMAND      run it in the node's shell: C0w1 ip addr, C0w1 ping -c1 C0w2, C0s0 bridge link
NODE              a shell in the node; a pod is C0/c1 or C0/kube-system/dns

nodes  net  links  dump         what there is
pingall  iperf [A B]            what works
link A B up|down                plug and unplug
link set A B --rate 10mbit --loss 5% --delay 20ms --mtu 1400
pod create C0w1 c10  pod delete C0w1 c10  vip add C0 100.64.10.2 c1 c2  dns trace C0/c1 web
ingress create C0w1 g --port 8002 --path /a=100.64.11.1:8000  ingress show
apply -f FILE  get pods [-o wide|yaml] [-w]  describe svc/web  scale deploy/web --replicas 3
delete pod c1  label  annotate  rollout status deploy/web  wait    Kubernetes' objects, as kubectl
status  logs NODE  topology print  and every other verb of topo: `VERB --help` tells more

sh COMMAND        run it in the lab itself, where all switches are
source FILE       run the lines of a file
help  exit        also Ctrl-D";

/// Files within files, at most.
const DEEPEST: u32 = 16;

pub(crate) fn run(lab: &LabName, args: &ShellArgs) -> Result<ExitCode> {
    if args.ns {
        return exec(lab, "", &[shell()]);
    }
    if let Some(node) = &args.node {
        return exec(lab, node, &[shell()]);
    }
    let prompt = Prompt::new(lab, args)?;
    if !args.commands.is_empty() {
        return prompt.lines(args.commands.iter().map(|text| Ok(text.clone()))).map(ExitCode::from);
    }
    if io::stdin().is_terminal() {
        return prompt.interact();
    }
    prompt.lines(io::stdin().lines()).map(ExitCode::from)
}

fn shell() -> OsString {
    let given = env::var_os("SHELL").filter(|shell| !shell.is_empty());
    given.unwrap_or_else(|| {
        if PathBuf::from("/bin/bash").exists() { "/bin/bash".into() } else { "/bin/sh".into() }
    })
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Exit,
    Help,
    Source(PathBuf),
    /// Arguments of `topo`.
    Topo(Vec<String>),
    Bad(String),
}

/// Reads a line; `is_node` knows the names of nodes and switches.
fn parse(text: &str, is_node: impl Fn(&str) -> bool) -> Line {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Line::Nothing;
    }
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let topo = |words: &[&str]| Line::Topo(words.iter().map(|word| (*word).to_owned()).collect());
    match first {
        "exit" | "quit" => Line::Exit,
        "help" | "?" if rest.is_empty() => Line::Help,
        "source" if !rest.is_empty() => Line::Source(rest.into()),
        // The rest is the user's own line for the node's own shell, pipes and all. Only a pod's name has a /.
        _ if (is_node(first) || first.contains('/')) && rest.is_empty() => topo(&["shell", first]),
        _ if is_node(first) || first.contains('/') => topo(&["exec", first, "--", "/bin/sh", "-c", rest]),
        "sh" if !rest.is_empty() => topo(&["exec", "", "--", "/bin/sh", "-c", rest]),
        _ => match shlex::split(text) {
            Some(words) => Line::Topo(words),
            None => Line::Bad(format!("a quote is not closed: {text}")),
        },
    }
}

struct Prompt {
    lab: LabName,
    names: Vec<String>,
    history: PathBuf,
    /// Whether lines come from standard input that is no terminal.
    script: bool,
    /// Files that are being read, one within the other.
    depth: std::cell::Cell<u32>,
}

impl Prompt {
    fn new(lab: &LabName, args: &ShellArgs) -> Result<Self> {
        let client = client(lab)?;
        let topology = topology::load(&client.state().topology())?;
        let names = topology.nodes().map(|(name, _)| name).chain(topology.switches());
        Ok(Self {
            lab: lab.clone(),
            names: names.map(str::to_owned).collect(),
            history: client.state().path().join("history"),
            script: args.commands.is_empty() && !io::stdin().is_terminal(),
            depth: std::cell::Cell::new(0),
        })
    }

    fn interact(&self) -> Result<ExitCode> {
        let mut editor: Editor<Words, FileHistory> = Editor::new().context("open the terminal")?;
        let kinds = api::kinds::KINDS.iter().map(|info| info.plural.to_owned());
        editor.set_helper(Some(Words { words: self.words().into_iter().chain(kinds).collect() }));
        // There is none the first time.
        let _ = editor.load_history(&self.history);
        line(format_args!("lab {}: `help` tells what can be typed, Ctrl-D leaves", self.lab));
        let mut last = 0;
        loop {
            match editor.readline("topo> ") {
                Ok(text) => {
                    let _ = editor.add_history_entry(&text);
                    match self.step(&text)? {
                        Some(code) => last = code,
                        None => break,
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break,
                Err(e) => return Err(e).context("read a line"),
            }
        }
        // In memory or on a full disk it may not be kept; that is no reason to fail.
        let _ = editor.save_history(&self.history);
        Ok(ExitCode::from(last))
    }

    /// Runs lines to the end; the status is the last one that was not 0.
    fn lines(&self, lines: impl Iterator<Item = io::Result<String>>) -> Result<u8> {
        let mut worst = 0;
        for text in lines {
            match self.step(&text.context("read a line")?)? {
                Some(0) => {}
                Some(code) => worst = code,
                None => break,
            }
        }
        Ok(worst)
    }

    /// Runs a line; none says to leave.
    fn step(&self, text: &str) -> Result<Option<u8>> {
        match parse(text, |name| self.names.iter().any(|known| known == name)) {
            Line::Nothing => Ok(Some(0)),
            Line::Exit => Ok(None),
            Line::Help => {
                line(HELP);
                Ok(Some(0))
            }
            Line::Bad(why) => {
                note(format_args!("topo: {why}"));
                Ok(Some(2))
            }
            Line::Source(path) => {
                let lines = std::fs::read_to_string(&path).map_err(|e| Hinted {
                    message: format!("source: cannot read {}: {e}", path.display()),
                    hint: "one line a command, as typed at the prompt; # begins a comment".into(),
                });
                match lines {
                    Ok(_) if self.depth.get() >= DEEPEST => {
                        note(format_args!("topo: source: {} is read within itself", path.display()));
                        Ok(Some(2))
                    }
                    Ok(lines) => {
                        self.depth.set(self.depth.get() + 1);
                        let worst = self.lines(lines.lines().map(|text| Ok(text.to_owned())));
                        self.depth.set(self.depth.get() - 1);
                        worst.map(Some)
                    }
                    Err(e) => {
                        note(format_args!("topo: {e}\nhint: {}", e.hint));
                        Ok(Some(2))
                    }
                }
            }
            Line::Topo(words) => self.topo(&words).map(Some),
        }
    }

    /// Runs `topo` with these words, in the foreground: Ctrl-C is for it.
    fn topo(&self, words: &[String]) -> Result<u8> {
        if let Some(first) = words.first()
            && !verbs().iter().any(|verb| verb == first)
        {
            let known = self.words();
            let near = topology::closest(first, known.iter().map(String::as_str));
            let hint =
                near.map_or("`help` tells what can be typed".into(), |near| format!("did you mean {near}?"));
            note(format_args!("topo: {first}: no such command, node or switch\nhint: {hint}"));
            return Ok(2);
        }
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGQUIT);
        set.thread_block().context("block signals")?;
        let pending = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut command = Command::new("/proc/self/exe");
        if self.script {
            // The rest of the script is not for the first command that reads.
            command.stdin(std::process::Stdio::null());
        }
        command.args(words).env(lab::state::LAB_VARIABLE, self.lab.as_str());
        process::unblock_signals(&mut command);
        let status = command.status();
        // What the terminal sent was for the command; it must not strike when let through again.
        while let Ok(Some(_)) = pending.read_signal() {}
        set.thread_unblock().context("unblock signals")?;
        let status = status.context("run topo")?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
    }

    fn words(&self) -> Vec<String> {
        let own = ["help", "exit", "source", "sh"].map(str::to_owned);
        self.names.iter().cloned().chain(verbs()).chain(own).collect()
    }
}

fn verbs() -> Vec<String> {
    let command = Cli::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| verb.get_name().to_owned()).chain(["--help".into(), "--version".into()]).collect()
}

/// Completes names, verbs and kinds.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Words {
    words: Vec<String>,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        text: &str,
        at: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let start = text[..at].rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let begun = &text[start..at];
        Ok((start, self.words.iter().filter(|word| word.starts_with(begun)).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Line {
        parse(text, |name| ["C0w1", "C0s0"].contains(&name))
    }

    fn topo(words: &[&str]) -> Line {
        Line::Topo(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn lines_mean_what_a_mininet_user_expects() {
        assert_eq!(
            read("C0w1 ping -c1 C0w2 | tail -1"),
            topo(&["exec", "C0w1", "--", "/bin/sh", "-c", "ping -c1 C0w2 | tail -1"])
        );
        assert_eq!(
            read("  C0s0  bridge link "),
            topo(&["exec", "C0s0", "--", "/bin/sh", "-c", "bridge link"])
        );
        assert_eq!(read("C0w1"), topo(&["shell", "C0w1"]));
        assert_eq!(read("C0/c1 curl web"), topo(&["exec", "C0/c1", "--", "/bin/sh", "-c", "curl web"]));
        assert_eq!(read("C0/kube-system/dns"), topo(&["shell", "C0/kube-system/dns"]));
        assert_eq!(read("link C0w1 C0s0 down"), topo(&["link", "C0w1", "C0s0", "down"]));
        assert_eq!(read("status -o json"), topo(&["status", "-o", "json"]));
        assert_eq!(read("sh bridge link"), topo(&["exec", "", "--", "/bin/sh", "-c", "bridge link"]));
        assert_eq!(read("source a file"), Line::Source("a file".into()));
        assert_eq!((read("exit"), read("quit"), read("help")), (Line::Exit, Line::Exit, Line::Help));
        assert_eq!((read(""), read("   "), read("# x")), (Line::Nothing, Line::Nothing, Line::Nothing));
        assert!(matches!(read("logs 'C0w1"), Line::Bad(_)));
    }
}
